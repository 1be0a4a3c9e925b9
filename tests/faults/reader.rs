//! Reads a store without the library: what the files say, and whether they are whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// What the files say of one task, without what differs from run to run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct View {
    pub state: String,
    pub lane: String,
    pub owner: Option<String>,
    pub fence: u64,
    pub attempt: u64,
    pub last_event: u64,
    pub events: Vec<String>,
    pub answer: Option<String>,
    pub has_successor: bool,
}

/// What the files say of a store: tasks by id, and the paused lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub tasks: BTreeMap<String, View>,
    pub paused: BTreeSet<String>,
    /// What `wait` wrote into the workspace.
    pub delivered: Option<String>,
}

impl Snapshot {
    /// The same with the ids that are not in `known` replaced, so that two runs compare.
    pub fn named(&self, known: &Snapshot) -> Snapshot {
        let mut named = Snapshot { tasks: BTreeMap::new(), ..self.clone() };
        let mut new: Vec<View> = Vec::new();
        for (id, view) in &self.tasks {
            match known.tasks.contains_key(id) {
                true => drop(named.tasks.insert(id.clone(), view.clone())),
                false => new.push(view.clone()),
            }
        }
        new.sort();
        for (n, view) in new.into_iter().enumerate() {
            named.tasks.insert(format!("new-{n}"), view);
        }
        named
    }
}

/// How strict a look is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// A process died; what it wrote is there.
    Kill,
    /// The machine lost power; what was not synced may be missing or torn.
    PowerCut,
}

pub fn parse(path: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_string)
}

/// The whole lines of a file of JSON lines. A half line at the end is left out; anywhere else a line
/// that does not parse is an error.
pub fn lines(path: &Path, after: After) -> Result<Vec<Value>, String> {
    let Ok(bytes) = std::fs::read(path) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        match serde_json::from_slice(line) {
            Ok(value) => found.push(value),
            Err(_) if after == After::PowerCut => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Ok(found)
}

/// Reads a whole workspace: the store in `state` and what was delivered beside it.
pub fn read(home: &Path, after: After) -> Result<Snapshot, String> {
    let store = home.join("state");
    let mut snapshot =
        Snapshot { delivered: std::fs::read_to_string(home.join("answer.md")).ok(), ..Snapshot::default() };
    if store.join("lanes.json").exists() {
        let lanes = parse(&store.join("lanes.json"))?;
        let paused = lanes["paused"].as_object().ok_or("lanes.json names no lanes")?;
        snapshot.paused = paused.keys().cloned().collect();
    }
    if store.join("format.json").exists() && parse(&store.join("format.json"))?["version"] != 1 {
        return Err("format.json names no version".to_string());
    }
    let Ok(tasks) = std::fs::read_dir(store.join("tasks")) else { return Ok(snapshot) };
    for entry in tasks {
        let dir = entry.unwrap().path();
        let id = dir.file_name().unwrap().to_str().unwrap().to_string();
        let view = view(&dir, &id, after).map_err(|error| format!("{id}: {error}"))?;
        snapshot.tasks.insert(id, view);
    }
    Ok(snapshot)
}

fn view(dir: &Path, id: &str, after: After) -> Result<View, String> {
    let task = parse(&dir.join("task.json"))?;
    if task["id"] != id {
        return Err(format!("its id is {}", task["id"]));
    }
    let state = text(&task["state"]).ok_or("no state")?;
    let inline = &task["_lanes"]["response"];
    let fence = task["fence"].as_u64().ok_or("no fence")?;
    let answer = match state.as_str() {
        "completed" | "failed" => {
            let candidates = [dir.join("response.json"), dir.join(format!("response.{fence}.json"))];
            let file = candidates.iter().find(|path| path.exists());
            let mut response = inline.clone();
            if let Some(path) = file {
                let written = parse(path)?;
                if !response.is_null() && response != written {
                    return Err("two answers".to_string());
                }
                response = written;
            }
            Some(text(&response["body"]).ok_or("ended without an answer")?)
        }
        "queued" | "scheduled" | "claimed" => {
            // After a power cut the name of the answer may have survived without the commit; it
            // counts for nobody.
            if after == After::Kill && dir.join("response.json").exists() {
                return Err("an answer although it is open".to_string());
            }
            if !inline.is_null() {
                return Err("an answer inside although it is open".to_string());
            }
            None
        }
        other => return Err(format!("state {other}")),
    };
    if (state == "claimed") == task["claim_token"].is_null() && answer.is_none() {
        return Err("state and token disagree".to_string());
    }
    if dir.join("request.md") == Path::new(task["request_path"].as_str().unwrap_or_default()) {
        let request = std::fs::read_to_string(dir.join("request.md")).map_err(|error| error.to_string())?;
        if task["prompt"] != request.as_str() {
            return Err("request.md is not what was asked".to_string());
        }
    }
    let last_event = task["_lanes"]["last_event"].as_u64().ok_or("no events")?;
    let mut events: BTreeMap<u64, String> = BTreeMap::new();
    let recent = task["_lanes"]["recent"].as_array().ok_or("no recent events")?;
    for event in lines(&dir.join("events.jsonl"), after)?.iter().chain(recent) {
        let n = event["n"].as_u64().ok_or("an event without a number")?;
        // The copy of an event may survive a power cut that its commit did not.
        if after == After::PowerCut && n > last_event {
            continue;
        }
        events.insert(n, text(&event["type"]).ok_or("an event without a type")?);
    }
    if events.keys().copied().ne(1..=last_event) {
        return Err(format!("{last_event} events, known: {:?}", events.keys()));
    }
    Ok(View {
        state,
        lane: text(&task["lane"]).ok_or("no lane")?,
        owner: text(&task["claim_owner"]),
        fence,
        attempt: task["attempt"].as_u64().ok_or("no attempt")?,
        last_event,
        events: events.into_values().collect(),
        answer,
        has_successor: !task["retried_as"].is_null(),
    })
}

/// Each event of a task stands once in its events.jsonl, in order.
pub fn check_events(store: &Path, id: &str, last_event: u64) -> Result<(), String> {
    let path = store.join("tasks").join(id).join("events.jsonl");
    let bytes = std::fs::read(&path).unwrap_or_default();
    if !bytes.ends_with(b"\n") {
        return Err(format!("{id}: events.jsonl ends in the middle of a line"));
    }
    let written = lines(&path, After::Kill)?;
    let task = parse(&store.join("tasks").join(id).join("task.json"))?;
    if let Some(event) = task["_lanes"]["recent"].as_array().unwrap().iter().find(|e| !written.contains(e)) {
        return Err(format!("{id}: events.jsonl lacks {event}"));
    }
    let numbers: Vec<u64> = written.iter().map(|event| event["n"].as_u64().unwrap_or(0)).collect();
    match numbers.iter().copied().eq(1..=last_event) {
        true => Ok(()),
        false => Err(format!("{id}: events.jsonl has {numbers:?}, not 1 to {last_event}")),
    }
}

/// The feed is in order, and has each change of `tasks` once.
pub fn check_feed(store: &Path, tasks: &BTreeMap<String, View>, after: After) -> Result<(), String> {
    let feed = lines(&store.join("feed.jsonl"), after)?;
    let numbers: Vec<u64> = feed.iter().map(|entry| entry["seq"].as_u64().unwrap_or(0)).collect();
    if !numbers.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err(format!("the numbers of the feed do not grow: {numbers:?}"));
    }
    let told: Vec<(String, u64)> = feed
        .iter()
        .map(|entry| (text(&entry["task_id"]).unwrap_or_default(), entry["n"].as_u64().unwrap_or(0)))
        .collect();
    let unique: BTreeSet<&(String, u64)> = told.iter().collect();
    if unique.len() != told.len() && after == After::Kill {
        return Err(format!("the feed tells something twice: {told:?}"));
    }
    for (id, view) in tasks {
        let missing: Vec<u64> =
            (1..=view.last_event).filter(|n| !unique.contains(&(id.clone(), *n))).collect();
        if !missing.is_empty() && after == After::Kill {
            return Err(format!("the feed lacks {missing:?} of {id}"));
        }
    }
    Ok(())
}

/// Whether a name in a store has an explanation; `path` is relative to the store.
pub fn is_explained(path: &Path) -> bool {
    let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap_or("?")).collect();
    let is_unique = |name: &str| {
        let parts: Vec<&str> = name.split('-').collect();
        parts.len() == 3 && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    match parts.as_slice() {
        [
            "tasks" | "tmp" | "indexes" | "bells" | "workers" | "lock" | "format.json" | "feed.jsonl"
            | "lanes.json",
        ]
        | ["tasks", _]
        | ["tasks", _, "task.json" | "events.jsonl" | "request.md" | "response.json" | "response.md"]
        | ["bells" | "workers", _]
        | ["indexes", "state" | "keys" | "correlations" | "lanes"]
        | ["indexes", "keys" | "correlations" | "lanes", ..] => true,
        ["tasks", _, name] => name
            .strip_prefix("response.")
            .and_then(|rest| rest.strip_suffix(".json"))
            .is_some_and(|n| n.bytes().all(|byte| byte.is_ascii_digit())),
        ["tmp", name, ..] => is_unique(name) || name.starts_with("lanes-"),
        _ => false,
    }
}
