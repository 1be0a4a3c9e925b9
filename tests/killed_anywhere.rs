//! Every command, killed at each system call that changes or syncs a file.
//!
//! Without LANES_TEST_EVERY_POINT a sample of the points is tried, another one for each command.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "it says how much was tried")]

mod faults;

use std::os::unix::process::ExitStatusExt;

use faults::reader::{After, Snapshot};
use faults::{Scenario, World, points, usage};

/// Of how many points one is tried, unless all are.
const SAMPLE: usize = 7;

/// The scenarios are dealt out to this many tests, which run side by side.
const HANDS: usize = 3;

fn play(hand: usize) {
    if !faults::have("strace") {
        return faults::skipped("strace is not installed");
    }
    let world = World::new();
    let base = usage::look(&world, After::Kill, "the prepared store");
    let every = faults::asked_for("LANES_TEST_EVERY_POINT");
    for (number, scenario) in world.scenarios().iter().enumerate().filter(|(n, _)| n % HANDS == hand) {
        world.set_up(scenario);
        let points = points::of_run(&world, scenario);
        let effect = usage::look(&world, After::Kill, "after").named(&base);
        assert!(points.len() > 2, "{}: {points:?}", scenario.name);
        let mut tried = 0;
        for (n, point) in points.iter().enumerate() {
            if every || (n + number).is_multiple_of(SAMPLE) {
                kill(&world, scenario, point, &base, &effect);
                tried += 1;
            }
        }
        println!("{}: {} points, {tried} tried", scenario.name, points.len());
    }
}

fn kill(world: &World, scenario: &Scenario, point: &points::Point, base: &Snapshot, effect: &Snapshot) {
    let what = format!("{} killed at {} {}: {}", scenario.name, point.call, point.nth, point.shown);
    world.set_up(scenario);
    let start = usage::look(world, After::Kill, &what);
    let inject = format!("inject={}:signal=KILL:when={}", point.call, point.nth);
    let output = world.traced(&["-e", &inject], scenario);
    let left = usage::look(world, After::Kill, &what);
    // Calls are counted for each thread, and which thread makes one may differ between runs.
    if scenario.steps && output.status.success() {
        assert!(left.named(base) == *effect, "{what}: it has another effect: {left:#?}");
        return;
    }
    assert_eq!(output.status.signal(), Some(9), "{what}: it was not killed");
    let is_before = left == start;
    let is_after = left.named(base) == *effect;
    let between = scenario.steps && left.named(base).is_between(&start.named(base), effect);
    assert!(is_before || is_after || between, "{what}: between before and after: {left:#?}");
    if !output.stdout.is_empty() {
        assert!(is_after, "{what}: told of what is not there");
    }
    usage::nothing_is_lost(world, After::Kill, scenario, &start, &what);
    // Half of the times it is repeated, the other half others come first.
    if scenario.steps && (point.nth.is_multiple_of(2) || !left.broken.is_empty()) {
        usage::repeat(world, After::Kill, scenario, (base, effect), &what);
    }
    usage::work_it_off(world, After::Kill, &what);
}

#[test]
fn any_command_may_be_killed_anywhere_1() {
    play(0);
}

#[test]
fn any_command_may_be_killed_anywhere_2() {
    play(1);
}

#[test]
fn any_command_may_be_killed_anywhere_3() {
    play(2);
}

#[test]
fn a_key_that_moved_to_a_retry_stays_there() {
    if !faults::have("strace") {
        return faults::skipped("strace is not installed");
    }
    let world = World::new();
    let failed = world.tasks.failed.clone();
    let task = world.json(&["show", &failed]);
    assert_eq!(task["task"]["idempotency_key"], "again", "{task}");
    let retried = world.ok(&["retry", &failed]);
    world.keep();
    let scenario = world.scenario("event", &["event", &failed, "--type", "note"]);
    let points = points::of_run(&world, &scenario);
    let commit = points.iter().position(|point| point.commits).unwrap();
    world.reset();
    let next = &points[commit + 1];
    let inject = format!("inject={}:signal=KILL:when={}", next.call, next.nth);
    assert_eq!(world.traced(&["-e", &inject], &scenario).status.signal(), Some(9));
    let again = ["submit", "--lane", "l", "--prompt", "do it", "--task-id", "failed", "--key", "again"];
    assert_eq!(world.ok(&again), retried);
}
