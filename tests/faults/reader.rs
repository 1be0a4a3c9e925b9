//! Reads a store without the library, and checks that its files are complete. `copies` compares derived data with
//! the tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// One task as its files describe it, without values that differ from run to run.
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
    /// Its request, as the store keeps it or as the file that is named.
    pub request: Option<String>,
}

/// A store as its files describe it: tasks by id, and the paused lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub tasks: BTreeMap<String, View>,
    pub paused: BTreeSet<String>,
    /// The files that `wait` wrote into the workspace.
    pub delivered: Option<String>,
    /// The files of the store that cannot be read, with the reason.
    pub broken: BTreeMap<String, String>,
    /// The files that were moved to the quarantine.
    pub set_aside: BTreeSet<String>,
}

impl Snapshot {
    /// Returns the same with the ids that are not in `known` replaced, so that two runs can be compared.
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

    /// Adds the tasks of another state, so that [`Snapshot::named`] keeps their names.
    pub fn with_names_of(mut self, other: &Snapshot) -> Snapshot {
        self.tasks.extend(other.tasks.clone());
        self
    }

    /// Returns whether this is a state between `start` and `effect` of a command of several changes, each of them
    /// made or not. All three have normalized ids.
    pub fn is_between(&self, start: &Snapshot, effect: &Snapshot) -> bool {
        let known = |snapshot: &Snapshot| -> BTreeSet<String> {
            snapshot.tasks.keys().filter(|id| !id.starts_with("new-")).cloned().collect()
        };
        let new = |snapshot: &Snapshot| -> Vec<View> {
            let views = snapshot.tasks.iter().filter(|(id, _)| id.starts_with("new-"));
            views.map(|(_, view)| view.clone()).collect()
        };
        let mut possible = new(effect);
        let all_new_are_wanted = new(self).iter().all(|view| {
            let at = possible.iter().position(|wanted| wanted == view);
            at.map(|at| possible.swap_remove(at)).is_some()
        });
        let ids: BTreeSet<String> = [self, start, effect].into_iter().flat_map(known).collect();
        let is_one = |id: &String| {
            let here = self.tasks.get(id);
            here == start.tasks.get(id) || here == effect.tasks.get(id)
        };
        all_new_are_wanted
            && ids.iter().all(is_one)
            && (self.paused == start.paused || self.paused == effect.paused)
            && (self.delivered == start.delivered || self.delivered == effect.delivered)
            && self.broken.iter().all(|entry| start.broken.get(entry.0) == Some(entry.1))
            && self.set_aside.is_subset(&effect.set_aside)
            && start.set_aside.is_subset(&self.set_aside)
    }
}

/// How strict a check is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// After the death of a process: what it wrote is there.
    Kill,
    /// After a power cut: what was not synced may be missing or torn.
    PowerCut,
}

pub fn parse(path: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

pub fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_string)
}

/// Returns the complete lines of a file of JSON lines. An incomplete line at the end is skipped; any other line
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

/// Reads a whole workspace: the store in `state` and the delivered answers.
pub fn read(home: &Path, after: After) -> Result<Snapshot, String> {
    let store = home.join("state");
    let mut snapshot =
        Snapshot { delivered: std::fs::read_to_string(home.join("answer.md")).ok(), ..Snapshot::default() };
    match paused(&store) {
        Ok(paused) => snapshot.paused = paused,
        Err(why) => drop(snapshot.broken.insert("lanes.json".to_string(), why)),
    }
    if store.join("format.json").exists() && parse(&store.join("format.json"))?["version"] != 1 {
        return Err("format.json names no version".to_string());
    }
    if let Ok(quarantine) = std::fs::read_dir(store.join("quarantine")) {
        for run in quarantine {
            let run = run.unwrap().path();
            let files = crate::world::files_below(&run).into_iter().filter(|path| run.join(path).is_file());
            snapshot.set_aside.extend(files.map(|path| path.display().to_string()));
        }
    }
    let Ok(tasks) = std::fs::read_dir(store.join("tasks")) else { return Ok(snapshot) };
    for entry in tasks {
        let dir = entry.unwrap().path();
        let id = dir.file_name().unwrap().to_str().unwrap().to_string();
        match view(&dir, &id, after) {
            Ok(view) => drop(snapshot.tasks.insert(id, view)),
            Err(why) => drop(snapshot.broken.insert(id, why)),
        }
    }
    Ok(snapshot)
}

fn paused(store: &Path) -> Result<BTreeSet<String>, String> {
    if !store.join("lanes.json").exists() {
        return Ok(BTreeSet::new());
    }
    let lanes = parse(&store.join("lanes.json"))?;
    Ok(lanes["paused"].as_object().ok_or("lanes.json names no lanes")?.keys().cloned().collect())
}

/// Returns the ids of the tasks in the archive.
pub fn archived(home: &Path, after: After) -> Result<BTreeSet<String>, String> {
    let Ok(files) = std::fs::read_dir(home.join("archive")) else { return Ok(BTreeSet::new()) };
    let mut ids = BTreeSet::new();
    for file in files {
        for line in lines(&file.unwrap().path(), after)? {
            let whole = line["response"]["body"].is_string() && line["events"].as_array().is_some();
            let id = text(&line["task"]["id"]).filter(|_| whole);
            ids.insert(id.ok_or("a line of the archive holds no ended task")?);
        }
    }
    Ok(ids)
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
                match parse(path) {
                    Ok(written) if response.is_null() || response == written => response = written,
                    Ok(_) => return Err("two answers".to_string()),
                    // The copy of an answer that task.json carries.
                    Err(_) if after == After::PowerCut && !response.is_null() => {}
                    Err(why) => return Err(why),
                }
            }
            Some(text(&response["body"]).ok_or("ended without an answer")?)
        }
        "queued" | "scheduled" | "blocked" | "claimed" | "input_required" => {
            // agent-lanes trusts response.json, complete or torn, whatever the state in task.json.
            if dir.join("response.json").exists() {
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
    let request_path = Path::new(task["request_path"].as_str().ok_or("no request_path")?);
    let mut request = std::fs::read_to_string(request_path).ok();
    if dir.join("request.md") == request_path {
        let prompt = text(&task["prompt"]).ok_or("no prompt")?;
        // An edit renames its copy after the commit; the next claim completes that.
        let next = std::fs::read_to_string(dir.join("request.next.md")).ok();
        if next.as_ref() == Some(&prompt) {
            request = next;
        }
        // A copy of the prompt, written again by the next claim.
        let is_torn = request.as_ref().is_some_and(|found| is_part(found.as_bytes(), prompt.as_bytes()));
        if after == After::PowerCut && is_torn {
            request = Some(prompt);
        } else if request != Some(prompt) {
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
        request,
    })
}

/// Returns whether a power cut may leave `found` of `whole`.
fn is_part(found: &[u8], whole: &[u8]) -> bool {
    found.len() <= whole.len() && found.iter().zip(whole).all(|(is, was)| is == was || *is == 0)
}

/// Returns whether a file belongs in a store; `path` is relative to the store.
pub fn is_explained(path: &Path) -> bool {
    let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap_or("?")).collect();
    let is_unique = |name: &str| {
        let parts: Vec<&str> = name.split('-').collect();
        parts.len() == 3 && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    match parts.as_slice() {
        [
            "tasks" | "tmp" | "indexes" | "bells" | "workers" | "lock" | "format.json" | "feed.jsonl"
            | "lanes.json" | "quarantine",
        ]
        | ["tasks", _]
        | [
            "tasks",
            _,
            "task.json" | "events.jsonl" | "request.md" | "request.next.md" | "response.json" | "response.md",
        ]
        | ["bells" | "workers", _]
        | ["quarantine", ..]
        | [
            "indexes",
            "state" | "keys" | "correlations" | "lanes" | "dependents" | "releasing" | "exclusive" | "groups",
        ]
        | [
            "indexes",
            "keys" | "correlations" | "lanes" | "dependents" | "releasing" | "exclusive" | "groups",
            ..,
        ] => true,
        ["tasks", _, name] => name
            .strip_prefix("response.")
            .and_then(|rest| rest.strip_suffix(".json"))
            .is_some_and(|n| n.bytes().all(|byte| byte.is_ascii_digit())),
        ["tmp", name, ..] => is_unique(name) || name.starts_with("lanes-"),
        _ => false,
    }
}

/// Returns whether a name is that of a finished file; the others were left by a killed process.
pub fn is_finished(path: &Path) -> bool {
    let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap_or("?")).collect();
    let staged = match parts.as_slice() {
        ["tmp", ..] => parts.len() > 1,
        ["tasks", _, name] => {
            *name == "request.next.md"
                || (name.starts_with("response.") && !["response.json", "response.md"].contains(name))
        }
        _ => false,
    };
    is_explained(path) && !staged && !parts.iter().any(|part| part.starts_with('.'))
}
