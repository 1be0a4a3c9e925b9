//! Every command, with a power cut after each of its file calls: the possible states are computed from the
//! recorded calls, written to the disk, and checked.
//!
//! Without LANES_TEST_EVERY_POINT only a few of the states are tried.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::concurrent::{ScenarioRunner, Stage};
use crate::disk::{Dice, Disk, Left, materialise};
use crate::driver::Driver;
use crate::reader::{self, After, Snapshot};
use crate::testkit::skip::has;
use crate::usage;
use crate::world::{World, asked_for};

/// The maximum number of states checked after one call, and the interval at which the queue is processed.
struct Effort {
    states: usize,
    works: usize,
}

#[test]
fn the_power_may_fail_at_any_time() {
    if !has("strace") {
        return;
    }
    let effort = match asked_for("LANES_TEST_EVERY_POINT") {
        true => Effort { states: 64, works: 40 },
        false => Effort { states: 4, works: 13 },
    };
    let calls = AtomicUsize::new(0);
    let runner = ScenarioRunner::play(|runner, stage| {
        calls.fetch_add(cut(runner, stage, &effort), Ordering::Relaxed);
    });
    let (states, scenarios) = runner.finish();
    println!("power cut after {} calls of {scenarios} scenarios: {states} states", calls.into_inner());
}

#[test]
fn a_missing_sync_is_noticed() {
    if !has("strace") {
        return;
    }
    let world = World::new();
    let scenario = world.scenario("submit", &["submit", "--lane", "l", "--prompt", "new"]);
    let mut disk = Disk::load(&world.home());
    assert!(world.traced(&["-xx", "-s", "100000000"], &scenario).status.success());
    for line in world.trace().lines().filter(|line| !line.contains("fsync(")) {
        disk.replay(line);
    }
    let new = usage::look(&world, After::Kill, "after").tasks.len();
    let mut seen = HashSet::new();
    for left in disk.after_power_cut(64, &mut Dice(1)) {
        materialise(&world.home(), &left, None);
        let read = reader::read(&world.home(), After::PowerCut);
        seen.insert(read.is_ok_and(|found| found.broken.is_empty() && found.tasks.len() == new));
    }
    assert_eq!(seen.len(), 2, "without a sync a task may be there, and be lost or torn: {seen:?}");
}

/// Cuts the power after every call; returns the numbers of calls and states.
fn cut(runner: &ScenarioRunner, stage: &Stage<'_>, effort: &Effort) -> usize {
    let Stage { world, scenario, number, base, .. } = stage;
    let mut disk = Disk::load(&world.home());
    let output = world.traced(&["-xx", "-s", "100000000"], scenario);
    assert!(output.status.success(), "{}: {}", scenario.name, String::from_utf8_lossy(&output.stderr));
    let effect = usage::look(world, After::Kill, "after").named(base);
    let trace = world.trace();

    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 + *number as u64);
    let mut seen = HashSet::new();
    let mut calls = 0;
    // What is in the workspace now, as long as nothing has changed it.
    let mut shown: Option<Left> = None;
    for line in trace.lines() {
        let reported = disk.reported;
        if !disk.replay(line) && disk.reported == reported {
            continue;
        }
        calls += 1;
        for left in disk.after_power_cut(effort.states, &mut dice) {
            let mut hash = DefaultHasher::new();
            (&left, disk.reported).hash(&mut hash);
            if !seen.insert(hash.finish()) {
                continue;
            }
            let what = format!(
                "{}, power cut {} (reported: {}) after {line:.150}",
                scenario.name,
                seen.len(),
                disk.reported
            );
            let nth = seen.len() + number;
            let works = nth.is_multiple_of(effort.works).then_some(nth / effort.works);
            let before = shown.take();
            runner.attempt(|| {
                materialise(&world.home(), &left, before.as_ref());
                look(stage, disk.reported, &effect, works, &what);
                shown = works.is_none().then_some(left);
            });
        }
    }
    assert!(disk.reported, "{}: the output was not seen", scenario.name);
    calls
}

/// Checks one state, and processes the queue if it is the `works`th state.
fn look(stage: &Stage<'_>, reported: bool, effect: &Snapshot, works: Option<usize>, what: &str) {
    let Stage { world, scenario, base, start, .. } = stage;
    let found = usage::look(world, After::PowerCut, what);
    let is_after = found.named(base) == *effect;
    assert!(is_after || !reported, "{what}: what was reported is gone: {found:#?}");
    let between = scenario.may_stop_at(&found, (base, start, effect));
    assert!(is_after || found == *start || between, "{what}: in between: {found:#?}");
    usage::nothing_is_lost(world, After::PowerCut, scenario, start, what);
    let Some(works) = works else { return };
    if scenario.steps && (works.is_multiple_of(2) || !found.broken.is_empty()) {
        usage::repeat(world, After::PowerCut, scenario, (base, effect), what);
    }
    let driver = if works.is_multiple_of(8) { Driver::Commands } else { Driver::Library };
    usage::work_it_off(world, After::PowerCut, driver, what);
}
