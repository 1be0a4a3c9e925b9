//! Every command, with the power cut after each of its file calls: what may be left is worked out
//! from the recorded calls, put on the disk, and looked at.
//!
//! Without LANES_TEST_EVERY_POINT only a few of the states are tried.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "it says how much was tried")]

mod faults;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use faults::disk::{Dice, Disk, materialise};
use faults::reader::{After, Snapshot};
use faults::{Scenario, World, usage};

/// The scenarios are dealt out to this many tests, which run side by side.
const HANDS: usize = 3;

/// How many states are looked at: after one call, and in how manieth the queue is worked off.
struct Effort {
    states: usize,
    works: usize,
}

fn play(hand: usize) {
    if !faults::have("strace") {
        return faults::skipped("strace is not installed");
    }
    let effort = match faults::asked_for("LANES_TEST_EVERY_POINT") {
        true => Effort { states: 256, works: 50 },
        false => Effort { states: 4, works: 13 },
    };
    let world = World::new();
    let base = usage::look(&world, After::Kill, "the prepared store");
    for (number, scenario) in world.scenarios().iter().enumerate().filter(|(n, _)| n % HANDS == hand) {
        cut(&world, scenario, number, &base, &effort);
    }
}

fn cut(world: &World, scenario: &Scenario, number: usize, base: &Snapshot, effort: &Effort) {
    world.set_up(scenario);
    let start = usage::look(world, After::Kill, "before");
    let mut disk = Disk::load(&world.home());
    let output = world.traced(&["-xx", "-s", "100000000"], scenario);
    assert!(output.status.success(), "{}: {}", scenario.name, String::from_utf8_lossy(&output.stderr));
    let effect = usage::look(world, After::Kill, "after").named(base);
    let trace = world.trace();

    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 + number as u64);
    let mut seen = HashSet::new();
    let (mut calls, mut worked) = (0, 0);
    for line in trace.lines() {
        let told = disk.told;
        if !disk.replay(line) && disk.told == told {
            continue;
        }
        calls += 1;
        for left in disk.after_power_cut(effort.states, &mut dice) {
            let mut hash = DefaultHasher::new();
            (&left, disk.told).hash(&mut hash);
            if !seen.insert(hash.finish()) {
                continue;
            }
            let what = format!(
                "{}, power cut {} (told: {}) after {line:.150}",
                scenario.name,
                seen.len(),
                disk.told
            );
            materialise(&world.home(), &left);
            let found = usage::look(world, After::PowerCut, &what);
            let is_after = found.named(base) == effect;
            assert!(is_after || !disk.told, "{what}: what was told of is gone: {found:#?}");
            let between = scenario.steps && found.named(base).is_between(&start.named(base), &effect);
            assert!(is_after || found == start || between, "{what}: in between: {found:#?}");
            usage::nothing_is_lost(world, After::PowerCut, scenario, &start, &what);
            if (seen.len() + number).is_multiple_of(effort.works) {
                if scenario.steps && (worked % 2 == 0 || !found.broken.is_empty()) {
                    usage::repeat(world, After::PowerCut, scenario, (base, &effect), &what);
                }
                usage::work_it_off(world, After::PowerCut, &what);
                worked += 1;
            }
        }
    }
    assert!(disk.told, "{}: the output was not seen", scenario.name);
    println!("{}: {calls} calls, {} states, {worked} worked off", scenario.name, seen.len());
}

#[test]
fn the_power_may_fail_at_any_time_1() {
    play(0);
}

#[test]
fn the_power_may_fail_at_any_time_2() {
    play(1);
}

#[test]
fn the_power_may_fail_at_any_time_3() {
    play(2);
}
