//! Compares derived data with the tasks, without the library: histories, the feed, answers, idempotency keys and
//! correlations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::reader::{After, lines, parse, text};

/// A task with its history.
struct Task {
    id: String,
    json: Value,
    events: Vec<Value>,
}

impl Task {
    fn text(&self, key: &str) -> String {
        text(&self.json[key]).unwrap_or_default()
    }
}

/// Checks that every copy in `store` agrees with its task. Every task has been written since the fault, which
/// completes what a killed process left undone. Entries for removed tasks may be left until a repair, which is
/// strict.
pub fn check(store: &Path, after: After, strict: bool) -> Result<(), String> {
    let mut tasks = Vec::new();
    for entry in std::fs::read_dir(store.join("tasks")).map_err(|error| error.to_string())? {
        let dir = entry.unwrap().path();
        let id = dir.file_name().unwrap().to_string_lossy().into_owned();
        let json = parse(&dir.join("task.json"))?;
        let events = history(&dir, &json).map_err(|why| format!("{id}: events.jsonl {why}"))?;
        response(&dir, &json).map_err(|why| format!("{id}: {why}"))?;
        let request = dir.join("request.md");
        if strict
            && request.exists()
            && std::fs::read_to_string(request).ok().as_deref() != json["prompt"].as_str()
        {
            return Err(format!("{id}: request.md is not what was asked"));
        }
        tasks.push(Task { id, json, events });
    }
    feed(store, &tasks, after)?;
    keys(store, &tasks, strict)?;
    correlations(store, &tasks, after, strict)
}

/// Checks that each event is once in events.jsonl, in order, and equal to the one in task.json.
fn history(dir: &Path, task: &Value) -> Result<Vec<Value>, String> {
    let path = dir.join("events.jsonl");
    if !std::fs::read(&path).unwrap_or_default().ends_with(b"\n") {
        return Err("ends in the middle of a line".to_string());
    }
    let written = lines(&path, After::Kill)?;
    let recent = task["_lanes"]["recent"].as_array().ok_or("cannot be compared: no recent events")?;
    if let Some(event) = recent.iter().find(|event| !written.contains(event)) {
        return Err(format!("lacks {event}"));
    }
    let last = task["_lanes"]["last_event"].as_u64().ok_or("cannot be compared: no last event")?;
    let numbers: Vec<u64> = written.iter().map(|event| event["n"].as_u64().unwrap_or(0)).collect();
    match numbers.iter().copied().eq(1..=last) {
        true => Ok(written),
        false => Err(format!("has {numbers:?}, not 1 to {last}")),
    }
}

/// Checks that an open task has no answer, and that the answer of an ended one is in response.json and the same
/// everywhere.
fn response(dir: &Path, task: &Value) -> Result<(), String> {
    let file = dir.join("response.json");
    let state = task["state"].as_str().unwrap_or_default();
    if !["completed", "failed"].contains(&state) {
        return if file.exists() { Err("has an answer although it is open".to_string()) } else { Ok(()) };
    }
    let response = parse(&file)?;
    if response["task_id"] != task["id"] || response["status"] != state {
        return Err(format!("is {state}, and its answer is {response}"));
    }
    let inline = &task["_lanes"]["response"];
    if !inline.is_null() && *inline != response {
        return Err("two answers".to_string());
    }
    match std::fs::read_to_string(dir.join("response.md")) {
        Ok(body) if Some(body.as_str()) != response["body"].as_str() => {
            Err("response.md is not the answer".to_string())
        }
        _ => Ok(()),
    }
}

/// Checks that the feed contains each event once, as in the history, in the order of its numbers. Events before
/// its first entry, or before the import of a task, may be missing.
fn feed(store: &Path, tasks: &[Task], after: After) -> Result<(), String> {
    let feed = lines(&store.join("feed.jsonl"), after)?;
    let numbers: Vec<u64> = feed.iter().map(|entry| entry["seq"].as_u64().unwrap_or(0)).collect();
    if !numbers.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err(format!("the numbers of the feed do not grow: {numbers:?}"));
    }
    let was_cut = numbers.first().is_some_and(|first| *first > 1);
    let begin = feed.first().filter(|_| was_cut).and_then(|entry| text(&entry["created_at"]));
    let mut reported: BTreeSet<(String, u64)> = BTreeSet::new();
    let mut imported: BTreeMap<String, String> = BTreeMap::new();
    let by_id: BTreeMap<&str, &Task> = tasks.iter().map(|task| (task.id.as_str(), task)).collect();
    for entry in &feed {
        let Some(id) = text(&entry["task_id"]).filter(|_| entry["withdrawn"].is_null()) else { continue };
        let Some(n) = entry["n"].as_u64() else {
            imported.insert(id, text(&entry["created_at"]).unwrap_or_default());
            continue;
        };
        if !reported.insert((id.clone(), n)) && after == After::Kill {
            return Err(format!("the feed tells twice: {entry}"));
        }
        let Some(task) = by_id.get(id.as_str()) else { continue };
        let Some(event) = task.events.get(n as usize - 1) else {
            return Err(format!("the feed tells of what did not happen: {entry}"));
        };
        if event.as_object().unwrap().iter().any(|(key, value)| entry[key] != *value) {
            return Err(format!("the feed tells {entry}, the history {event}"));
        }
    }
    for task in tasks {
        let begin = imported.get(&task.id).or(begin.as_ref());
        for event in &task.events {
            let n = event["n"].as_u64().unwrap_or(0);
            let is_known = reported.contains(&(task.id.clone(), n));
            let is_old = begin.is_some_and(|begin| text(&event["created_at"]).is_some_and(|at| at <= *begin));
            if !is_known && !is_old && after == After::Kill {
                return Err(format!("the feed lacks event {n} of {}", task.id));
            }
        }
    }
    Ok(())
}

/// Checks that each key leads to the newest task that holds it, and no key to anything else.
fn keys(store: &Path, tasks: &[Task], strict: bool) -> Result<(), String> {
    let mut expected: BTreeMap<String, (String, String)> = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.json["retried_as"].is_null()) {
        let Some(key) = text(&task.json["idempotency_key"]) else { continue };
        let mut hash = Sha256::new();
        hash.update(task.text("workspace_id"));
        hash.update([0]);
        hash.update(key);
        let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let held = (task.text("created_at"), task.id.clone());
        let newest = expected.entry(name).or_default();
        *newest = held.max(newest.clone());
    }
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for entry in std::fs::read_dir(store.join("indexes/keys")).map_err(|error| error.to_string())? {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.insert(name, std::fs::read_to_string(entry.path()).unwrap().trim().to_string());
        }
    }
    if !strict {
        // Only the name of such a key may have survived a power cut.
        found.retain(|_, id| !id.is_empty() && store.join("tasks").join(id).exists());
    }
    let expected: BTreeMap<String, String> = expected.into_iter().map(|(name, (_, id))| (name, id)).collect();
    match found == expected {
        true => Ok(()),
        false => Err(format!("the keys are {found:?}, and should be {expected:?}")),
    }
}

/// Checks that each correlation leads to its newest task. After a power cut that removed a task, its correlation
/// file stays until a repair.
fn correlations(store: &Path, tasks: &[Task], after: After, strict: bool) -> Result<(), String> {
    let mut newest: BTreeMap<(String, String), (String, String)> = BTreeMap::new();
    for task in tasks {
        let place = newest.entry((task.text("workspace_id"), task.text("correlation_id"))).or_default();
        *place = (task.text("created_at"), task.id.clone()).max(place.clone());
    }
    for entry in std::fs::read_dir(store.join("indexes/correlations")).map_err(|error| error.to_string())? {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        let is_of_a_task = |(workspace, correlation): &(String, String)| {
            path.file_name() == Some(format!("{workspace}--{correlation}.json").as_ref())
        };
        let file = match parse(&path) {
            Err(_) if after == After::PowerCut && !strict && !newest.keys().any(is_of_a_task) => continue,
            file => file?,
        };
        let place = |key: &str| text(&file[key]).unwrap_or_default();
        let (correlation, id) = ((place("workspace_id"), place("correlation_id")), place("task_id"));
        match newest.remove(&correlation) {
            Some((_, newest)) if newest == id => {}
            None if !strict && !store.join("tasks").join(&id).join("task.json").exists() => {}
            other => return Err(format!("{correlation:?} leads to {id}, the newest is {other:?}")),
        }
    }
    match strict && !newest.is_empty() {
        true => Err(format!("no correlation file for {newest:?}")),
        false => Ok(()),
    }
}
