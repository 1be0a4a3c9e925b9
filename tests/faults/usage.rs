//! Uses a store after a fault: everything must work at once, and add up.

use std::collections::BTreeSet;

use lanes::store::{Options, Severity, Store};
use serde_json::Value;

use super::reader::{self, After, Snapshot};
use super::{Scenario, World, copies, files_below};

/// Reads the store, and complains with `what` when it is not whole.
pub fn look(world: &World, after: After, what: &str) -> Snapshot {
    if world.store().exists() {
        for path in files_below(&world.store()) {
            assert!(reader::is_explained(&path), "{what}: {} has no explanation", path.display());
        }
    }
    reader::read(&world.home(), after).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// A command of several changes that was stopped in the middle is given again: it ends with its whole
/// effect, and once more changes nothing.
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
pub fn mend(world: &World, after: After, what: &str) {
    if !look(world, after, what).broken.is_empty() {
        world.ok(&["fsck", "--repair"]);
    }
}

/// A task that is gone is in the archive, if one was asked for.
pub fn nothing_is_lost(world: &World, after: After, scenario: &Scenario, start: &Snapshot, what: &str) {
    if scenario.args.iter().any(|word| word == "--archive") {
        let archived = reader::archived(&world.home(), after).unwrap_or_else(|why| panic!("{what}: {why}"));
        let there = look(world, after, what);
        for id in start.tasks.keys().filter(|id| !there.tasks.contains_key(*id)) {
            assert!(archived.contains(id), "{what}: {id} is neither in the store nor in the archive");
        }
    }
}

/// Works the whole queue off, and compares what the commands say with what the files say.
pub fn work_it_off(world: &World, after: After, what: &str) {
    if !world.store().exists() {
        // Nothing was made yet; what comes next makes it.
        world.ok(&["submit", "--lane", "l", "--prompt", "the first"]);
        return;
    }
    let seen = look(world, after, what);
    assert!(seen.broken.is_empty(), "{what}: {:#?}", seen.broken);
    let count = |state: &str| seen.tasks.values().filter(|view| view.state == state).count();
    let ok = |words: &[&str]| {
        let output = world.run(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{what}: then {words:?}: {said}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_string()
    };
    let json = |words: &[&str]| -> Value { serde_json::from_str(&ok(words)).unwrap() };

    let status = json(&["status", "--json"]);
    for state in ["queued", "scheduled", "claimed", "completed", "failed"] {
        assert_eq!(status["summary"][state].as_u64().unwrap() as usize, count(state), "{what}: {state}");
    }
    assert_eq!(json(&["list", "--json"])["count"].as_u64().unwrap() as usize, seen.tasks.len(), "{what}");

    for lane in &seen.paused {
        ok(&["resume", lane]);
    }
    let new = ok(&["submit", "--lane", "l", "--prompt", "afterwards", "--key", "afterwards"]);
    let same = ok(&["submit", "--lane", "l", "--prompt", "afterwards", "--key", "afterwards"]);
    assert_eq!(new, same, "{what}: a key submits once");

    // Everything that waits can be had, each once; nothing else can.
    let waiting: BTreeSet<String> = seen
        .tasks
        .iter()
        .filter(|(_, view)| view.state == "queued")
        .map(|(id, _)| id.clone())
        .chain([new.clone()])
        .collect();
    let mut had = BTreeSet::new();
    let lanes = ["--lane", "l", "--lane", "m", "--lane", "n", "--lane", "o", "--lane", "h"];
    loop {
        let words: Vec<&str> = ["claim", "--json"].into_iter().chain(lanes).collect();
        let output = world.run(&words);
        if output.status.code() == Some(4) {
            break;
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{what}: then {words:?}: {said}");
        let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (id, token) =
            (reply["task"]["id"].as_str().unwrap(), reply["task"]["claim_token"].as_str().unwrap());
        assert!(had.insert(id.to_string()), "{what}: {id} was had twice");
        ok(&["respond", id, "--claim-token", token, "--body", "afterwards"]);
    }
    assert_eq!(had, waiting, "{what}: what could be claimed");
    for (id, view) in &seen.tasks {
        match view.state.as_str() {
            "claimed" => {
                let task = reader::parse(&world.store().join("tasks").join(id).join("task.json")).unwrap();
                let token = task["claim_token"].as_str().unwrap();
                ok(&["respond", id, "--claim-token", token, "--body", "afterwards"]);
            }
            "completed" | "failed" => {
                ok(&["event", id, "--type", "seen"]);
                let reply = json(&["wait", id, "--timeout", "0", "--json"]);
                assert_eq!(reply["response"]["body"].as_str(), view.answer.as_deref(), "{what}: {id}");
            }
            "scheduled" => drop(ok(&["cancel", id])),
            _ => {}
        }
    }

    let then = look(world, after, what);
    assert_eq!(then.tasks.len(), seen.tasks.len() + 1, "{what}");
    for (id, view) in &then.tasks {
        assert!(view.answer.is_some(), "{what}: {id} is {}", view.state);
    }
    copies::check(&world.store(), after, false).unwrap_or_else(|error| panic!("{what}: {error}"));
    care(world, after, what);
}

/// What is left is harmless, known to fsck, and gone after a repair, which touches nothing else.
fn care(world: &World, after: After, what: &str) {
    let before = look(world, after, what);
    let store = Store::open(&world.store(), Options::default()).unwrap();
    let report = store.fsck(false, &mut |_, _| {}).unwrap();
    let bad: Vec<_> = report.findings.iter().filter(|found| found.severity != Severity::Leftover).collect();
    assert!(bad.is_empty(), "{what}: {bad:#?}");
    store.fsck(true, &mut |_, _| {}).unwrap();
    let report = store.fsck(false, &mut |_, _| {}).unwrap();
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
