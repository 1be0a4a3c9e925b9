//! Every command, killed at each system call that changes or syncs a file.
//!
//! Without LANES_TEST_EVERY_POINT only a sample of the points is tried, a different one for each command.

use std::os::unix::process::ExitStatusExt;

use crate::concurrent::{ScenarioRunner, Stage};
use crate::driver::Driver;
use crate::points::{self, Point};
use crate::reader::{After, Snapshot};
use crate::scenarios::{Scenario, told_task};
use crate::testkit::skip::has;
use crate::usage;
use crate::world::{World, asked_for};
use serde_json::Value;

/// One in this many points is tried, unless all are.
const SAMPLE: usize = 7;

/// After one in this many points the queue is processed by commands, after the others by the library.
const COMMANDS: usize = 8;

#[test]
fn any_command_may_be_killed_anywhere() {
    if !has("strace") {
        return;
    }
    let every = asked_for("LANES_TEST_EVERY_POINT");
    let runner = ScenarioRunner::play(|runner, stage| {
        let points = points::of_changes(stage.world, stage.scenario);
        let effect = usage::look(stage.world, After::Kill, "after").named(&stage.base);
        assert!(points.len() > 2, "{}: {points:?}", stage.scenario.name);
        for (n, point) in points.iter().enumerate() {
            if every || (n + stage.number).is_multiple_of(SAMPLE) {
                let is_sampled = (n + stage.number).is_multiple_of(COMMANDS);
                let driver = if is_sampled { Driver::Commands } else { Driver::Library };
                runner.attempt(|| kill(stage, point, &effect, driver));
            }
        }
    });
    let (points, scenarios) = runner.finish();
    println!("killed at {points} points of {scenarios} scenarios");
}

fn kill(stage: &Stage<'_>, point: &Point, effect: &Snapshot, driver: Driver) {
    let Stage { world, scenario, base, start, .. } = stage;
    let what = format!("{} killed at {} {}: {}", scenario.name, point.call, point.nth, point.shown);
    world.set_up(scenario);
    let output = world.traced(&point.inject("signal=KILL"), scenario);
    let left = usage::look(world, After::Kill, &what);
    // Calls are counted for each thread, and which thread makes one may differ between runs.
    if (scenario.steps || scenario.releases) && output.status.success() {
        assert!(left.named(base) == *effect, "{what}: it has another effect: {left:#?}");
        return;
    }
    assert_eq!(output.status.signal(), Some(9), "{what}: it was not killed");
    let is_before = left == *start;
    let is_after = left.named(base) == *effect;
    let between = scenario.may_stop_at(&left, (base, start, effect));
    assert!(is_before || is_after || between, "{what}: between before and after: {left:#?}");
    if !output.stdout.is_empty() {
        assert!(is_after, "{what}: reported what is not there");
    }
    usage::nothing_is_lost(world, After::Kill, scenario, start, &what);
    // Half of the time the command is repeated at once, otherwise after other commands.
    if scenario.steps && (point.nth.is_multiple_of(2) || !left.broken.is_empty()) {
        usage::repeat(world, After::Kill, scenario, (base, effect), &what);
    }
    usage::work_it_off(world, After::Kill, driver, &what);
}

#[test]
fn a_key_that_moved_to_a_retry_stays_there() {
    if !has("strace") {
        return;
    }
    let world = World::new();
    let failed = world.tasks.failed.clone();
    let task = world.json(&["show", &failed]);
    assert_eq!(task["task"]["idempotency_key"], "again", "{task}");
    let retried = world.ok(&["retry", &failed]);
    world.keep();
    let scenario = world.scenario("event", &["event", &failed, "--type", "note"]);
    let points = points::of_changes(&world, &scenario);
    let commit = points.iter().position(|point| point.commits).unwrap();
    world.reset();
    let next = &points[commit + 1];
    assert_eq!(world.traced(&next.inject("signal=KILL"), &scenario).status.signal(), Some(9));
    let again = ["submit", "--lane", "l", "--prompt", "do it", "--task-id", "failed", "--key", "again"];
    assert_eq!(world.ok(&again), retried);
}

#[test]
fn a_message_counts_as_read_only_once_it_was_given_out() {
    if !has("strace") {
        return;
    }
    let world = World::new();
    let (held, token) = (world.tasks.held.clone(), world.tasks.token.clone());
    let renew = ["renew", &held, "--claim-token", &token];
    let scenario = Scenario { before: Some(told_task), ..world.scenario("renew", &renew) };
    world.set_up(&scenario);
    let mut seen = [0, 0];
    for point in points::of_changes(&world, &scenario) {
        world.set_up(&scenario);
        let output = world.traced(&point.inject("signal=KILL"), &scenario);
        let what = format!("killed at {} {}: {}", point.call, point.nth, point.shown);
        let is_read = world.json(&["show", &held])["task"]["messages"][0]["read_by"].is_string();
        let was_given = String::from_utf8_lossy(&output.stderr).contains("Use the new one.");
        assert!(was_given || !is_read, "{what}: it is read, and nobody got it");
        let next = world.json(&renew);
        assert_eq!(next.get("messages").is_some(), !is_read, "{what}: {next}");
        seen[usize::from(is_read)] += 1;
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn an_event_that_a_killed_import_published_leaves_its_number_used() {
    if !has("strace") {
        return;
    }
    let world = World::new();
    let scenario = Scenario {
        before: Some(|world| std::fs::remove_dir_all(world.store()).unwrap()),
        ..world.scenario("import", &["import", "exported.jsonl"])
    };
    world.set_up(&scenario);
    let points = points::of_changes(&world, &scenario);
    let feed_write = points.iter().position(|point| point.shown.contains("/feed.jsonl>, \"")).unwrap();
    for how in ["signal=KILL", "error=EIO"] {
        world.set_up(&scenario);
        world.traced(&points[feed_write + 1].inject(how), &scenario);
        world.ok(&["submit", "--lane", "l", "--prompt", "x"]);
        let feed = std::fs::read_to_string(world.store().join("feed.jsonl")).unwrap();
        let numbers = feed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64());
        assert!(numbers.is_sorted_by(|a, b| a < b), "{how} at {:?}: {feed}", points[feed_write + 1]);
    }
}

#[test]
fn a_lane_counts_its_tasks_after_any_failure() {
    if !has("strace") {
        return;
    }
    let world = World::new();
    let mut tried = 0;
    for scenario in world.scenarios() {
        let of_one_lane = ["claim next", "next", "release", "submit a key", "cancel"];
        if !of_one_lane.iter().any(|name| scenario.name.starts_with(name)) {
            continue;
        }
        world.set_up(&scenario);
        let points = points::of_changes(&world, &scenario);
        let at_lanes = |point: &&Point| point.shown.contains("/indexes/lanes/");
        for (point, how) in
            points.iter().filter(at_lanes).flat_map(|point| [(point, "signal=KILL"), (point, "error=EIO")])
        {
            let what = format!("{}: {how} at {} {}: {}", scenario.name, point.call, point.nth, point.shown);
            world.set_up(&scenario);
            world.traced(&point.inject(how), &scenario);
            for lane in ["l", "m"] {
                world.ok(&["submit", "--lane", lane, "--prompt", "x"]);
            }
            let report: Value = serde_json::from_slice(&world.run(&["fsck", "--json"]).stdout).unwrap();
            let disagrees = |found: &Value| found["code"] == "index-disagrees";
            assert!(!report["findings"].as_array().unwrap().iter().any(disagrees), "{what}: {report}");
            tried += 1;
        }
    }
    assert!(tried > 20 || asked_for("LANES_TEST_ONLY"), "only {tried} points were tried");
}

#[test]
fn an_index_that_is_removed_meanwhile_stops_nobody() {
    if !has("strace") {
        return;
    }
    let world = World::new();
    let mut tried = 0;
    for scenario in world.scenarios().iter().filter(|scenario| scenario.name.ends_with("without an index")) {
        world.set_up(scenario);
        let points = points::of_run(&world, scenario);
        let commit = points.iter().position(|point| point.commits).unwrap();
        let names = |point: &&Point| {
            point.shown.contains("/indexes") && ["openat", "mkdirat", "renameat"].contains(&&*point.call)
        };
        for point in points[..commit].iter().filter(names) {
            world.set_up(scenario);
            let output = world.traced(&point.inject("error=ENOENT"), scenario);
            let printed = String::from_utf8_lossy(&output.stderr);
            let what = format!("{} at {} {}: {}", scenario.name, point.call, point.nth, point.shown);
            assert!(output.status.success(), "{what}: {printed}");
            tried += 1;
        }
    }
    assert!(tried > 20 || asked_for("LANES_TEST_ONLY"), "only {tried} points were tried");
}
