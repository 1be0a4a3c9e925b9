//! Uses a store after a fault: every command must work at once, with consistent results.

use std::collections::{BTreeMap, BTreeSet};

use lanes::internals::model::Time;
use lanes::internals::store::{Severity, StoreOptions};
use serde_json::Value;

use crate::copies;
use crate::driver::{Driver, User};
use crate::reader::{self, After, Snapshot, View};
use crate::scenarios::Scenario;
use crate::world::{World, files_below};

/// Reads the store; panics with `what` if it is inconsistent.
pub fn look(world: &World, after: After, what: &str) -> Snapshot {
    if world.store().exists() {
        for path in files_below(&world.store()) {
            assert!(reader::is_explained(&path), "{what}: {} has no explanation", path.display());
        }
    }
    reader::read(&world.home(), after).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Repeats a command of several changes that was stopped in the middle: it completes its effect, and a second
/// repetition changes nothing.
pub fn repeat(
    world: &World,
    after: After,
    scenario: &Scenario,
    (base, effect): (&Snapshot, &Snapshot),
    what: &str,
) {
    let words: Vec<&str> = scenario.args.iter().map(String::as_str).collect();
    world.ok(&words);
    let whole = look(world, after, what);
    assert!(whole.named(base) == *effect, "{what}: repeated, it has another effect: {whole:#?}");
    world.ok(&words);
    assert!(look(world, after, what) == whole, "{what}: repeated twice, it goes on");
}

/// Repairs a store that was damaged before the fault.
pub fn repair(world: &World, after: After, what: &str) {
    if !look(world, after, what).broken.is_empty() {
        world.ok(&["fsck", "--repair"]);
    }
}

/// Checks that every removed task is in the archive, if there is one.
pub fn nothing_is_lost(world: &World, after: After, scenario: &Scenario, start: &Snapshot, what: &str) {
    if scenario.args.iter().any(|word| word == "--archive") {
        let archived = reader::archived(&world.home(), after).unwrap_or_else(|why| panic!("{what}: {why}"));
        let there = look(world, after, what);
        for id in start.tasks.keys().filter(|id| !there.tasks.contains_key(*id)) {
            assert!(archived.contains(id), "{what}: {id} is neither in the store nor in the archive");
        }
    }
}

fn lease_is_over(task: &Value) -> bool {
    let end = Time::parse(task["lease_expires_at"].as_str().unwrap()).unwrap();
    end <= StoreOptions::default().clock.now().wall
}

fn is_spent(task: &Value) -> bool {
    task["max_attempts"].as_u64().is_some_and(|most| task["attempt"].as_u64() >= Some(most))
}

/// Returns the state in which commands show a task. One that rests as blocked because of its keys is shown as queued while
/// nobody holds them, and one whose last lease is over as failed.
fn shown_state(seen: &Snapshot, id: &str, view: &View, read: &dyn Fn(&str) -> Value) -> String {
    let keys = |task: &Value| task["exclusive"].as_array().cloned().unwrap_or_default();
    let task = read(id);
    if view.state == "claimed" && lease_is_over(&task) && is_spent(&task) {
        return "failed".to_string();
    }
    let waits = task["after"].is_array() && task["_lanes"]["dependencies_met"] != true;
    if view.state != "blocked" || keys(&task).is_empty() || waits {
        return view.state.clone();
    }
    let is_held = seen.tasks.iter().filter(|(other, view)| *other != id && view.state == "claimed").any(
        |(other, _)| {
            let other = read(other);
            !lease_is_over(&other) && keys(&other).iter().any(|key| keys(&task).contains(key))
        },
    );
    if is_held { "blocked".to_string() } else { "queued".to_string() }
}

/// Processes the whole queue, and compares the output with the files.
pub fn work_it_off(world: &World, after: After, driver: Driver, what: &str) {
    let user = User { world, driver, what };
    if !world.store().exists() {
        // Nothing has been created yet; the next command creates it.
        user.submit();
        return;
    }
    let seen = look(world, after, what);
    assert!(seen.broken.is_empty(), "{what}: {:#?}", seen.broken);
    let held = |id: &str| reader::parse(&world.store().join("tasks").join(id).join("task.json")).unwrap();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (id, view) in &seen.tasks {
        let state = match driver {
            Driver::Commands => shown_state(&seen, id, view, &held),
            Driver::Library => view.state.clone(),
        };
        *counts.entry(state).or_default() += 1;
    }
    assert_eq!(user.counts(), (counts, seen.tasks.len()), "{what}");

    for lane in &seen.paused {
        user.resume(lane);
    }
    let new = user.submit();
    assert_eq!(user.submit(), new, "{what}: a key submits once");

    // Every waiting task can be claimed, each once, and nothing else.
    let waits = |(id, view): &(&String, &View)| match view.state.as_str() {
        "queued" => true,
        "claimed" => lease_is_over(&held(id)) && !is_spent(&held(id)),
        _ => false,
    };
    let waiting = seen.tasks.iter().filter(waits).map(|(id, _)| id.clone());
    let waiting: BTreeSet<String> = waiting.chain([new]).collect();
    let mut had = BTreeSet::new();
    while let Some((id, token)) = user.claim() {
        assert!(had.insert(id.clone()), "{what}: {id} was had twice");
        user.respond(&id, &token);
    }
    // A blocked task is released by the first command that finds the end of its dependency.
    let blocked = seen.tasks.iter().filter(|(_, view)| view.state == "blocked").map(|(id, _)| id);
    let blocked: BTreeSet<&String> = blocked.collect();
    let others: BTreeSet<String> = had.iter().filter(|id| !blocked.contains(id)).cloned().collect();
    assert_eq!(others, waiting, "{what}: what could be claimed");
    for (id, view) in &seen.tasks {
        match view.state.as_str() {
            "claimed" if had.contains(id) => {}
            // Its attempts are spent, and a search for work has recorded that.
            "claimed" if held(id)["state"] == "failed" => {}
            "claimed" => user.respond(id, held(id)["claim_token"].as_str().unwrap()),
            "completed" | "failed" => {
                user.note(id);
                assert_eq!(user.answer(id), view.answer, "{what}: {id}");
            }
            "scheduled" | "input_required" => user.cancel(id),
            _ => {}
        }
    }
    while let Some((id, token)) = user.claim() {
        assert!(blocked.contains(&id) && had.insert(id.clone()), "{what}: {id} was released twice");
        user.respond(&id, &token);
    }

    let then = look(world, after, what);
    assert_eq!(then.tasks.len(), seen.tasks.len() + 1, "{what}");
    for (id, view) in &then.tasks {
        assert!(view.answer.is_some(), "{what}: {id} is {}", view.state);
    }
    copies::check(&world.store(), after, false).unwrap_or_else(|error| panic!("{what}: {error}"));
    care(&user, after, then);
}

/// Checks that leftovers are harmless, known to fsck, and gone after a repair, which changes nothing else.
fn care(user: &User<'_>, after: After, before: Snapshot) {
    let User { world, what, .. } = *user;
    let store = user.store();
    let report = store.fsck(&mut |_, _| {}).unwrap();
    let bad: Vec<_> = report.findings.iter().filter(|found| found.severity != Severity::Leftover).collect();
    assert!(bad.is_empty(), "{what}: {bad:#?}");
    store.repair(&mut |_, _| {}).unwrap();
    let report = store.fsck(&mut |_, _| {}).unwrap();
    // A line of the feed that a power cut tore stays, since its number is used.
    let left: Vec<_> = report
        .findings
        .iter()
        .filter(|found| after == After::Kill || !found.code.starts_with("feed-"))
        .collect();
    assert!(left.is_empty(), "{what}: not repaired: {left:#?}");
    for path in files_below(&world.store()) {
        assert!(reader::is_finished(&path), "{what}: a repair left {}", path.display());
    }
    let mut then = look(world, after, what);
    then.set_aside.clone_from(&before.set_aside);
    copies::check(&world.store(), after, true).unwrap_or_else(|error| panic!("{what}: repaired: {error}"));
    assert!(then == before, "{what}: a repair changed {before:#?} to {then:#?}");
}
