//! Uses a store after a fault: everything must work at once, and add up.

use std::collections::BTreeSet;

use lanes::store::{Options, Severity, Store};
use serde_json::Value;

use super::reader::{self, After, Snapshot};
use super::{World, files_below};

/// Reads the store, and complains with `what` when it is not whole.
pub fn look(world: &World, after: After, what: &str) -> Snapshot {
    if world.store().exists() {
        for path in files_below(&world.store()) {
            assert!(reader::is_explained(&path), "{what}: {} has no explanation", path.display());
        }
    }
    reader::read(&world.home(), after).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Works the whole queue off, and compares what the commands say with what the files say.
pub fn work_it_off(world: &World, after: After, what: &str) {
    let seen = look(world, after, what);
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
        reader::check_events(&world.store(), id, view.last_event)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    reader::check_feed(&world.store(), &then.tasks, after).unwrap_or_else(|error| panic!("{what}: {error}"));
    let store = Store::open(&world.store(), Options::default()).unwrap();
    let report = store.fsck(false, &mut |_, _| {}).unwrap();
    let bad: Vec<_> = report.findings.iter().filter(|found| found.severity != Severity::Leftover).collect();
    assert!(bad.is_empty(), "{what}: {bad:#?}");
}
