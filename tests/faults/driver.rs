//! The two ways to process a queue after a fault: by commands, and by the library, which takes a fraction of the
//! time. Each call opens the store again, as a process does.

use std::collections::BTreeMap;
use std::time::Duration;

use lanes::internals::model::{ClaimToken, Command, Filter, TaskId};
use lanes::internals::store::{LaneQuery, Store, StoreOptions};
use serde_json::Value;

use crate::testkit::store::{answer_with, idempotency_key, lane_name, new_task, note, owner};
use crate::world::World;

const LANES: [&str; 6] = ["l", "m", "n", "o", "h", "d"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Commands,
    Library,
}

/// A store used through one of the drivers. A failure panics with a message that begins with `what`.
pub struct User<'a> {
    pub world: &'a World,
    pub driver: Driver,
    pub what: &'a str,
}

impl User<'_> {
    pub fn store(&self) -> Store {
        self.done("open", Store::open(&self.world.store(), StoreOptions::default()))
    }

    fn done<T>(&self, doing: &str, result: lanes::internals::error::Result<T>) -> T {
        result.unwrap_or_else(|error| panic!("{}: then {doing}: {}", self.what, error.message()))
    }

    fn id(&self, id: &str) -> TaskId {
        self.done("parse", TaskId::parse(id))
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.world.run(words);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: then {words:?}: {printed}", self.what);
        String::from_utf8(output.stdout).unwrap().trim_end().to_string()
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.ok(words)).unwrap()
    }

    fn apply(&self, id: &str, command: &Command) {
        self.done("apply", self.store().apply(&self.id(id), command));
    }

    /// Returns the number of tasks in each state that has any, and the number of listed tasks.
    pub fn counts(&self) -> (BTreeMap<String, usize>, usize) {
        if self.driver == Driver::Commands {
            let summary = &self.json(&["status", "--json"])["summary"];
            let states =
                ["queued", "scheduled", "blocked", "claimed", "input_required", "completed", "failed"];
            let count = |state: &str| summary[state].as_u64().unwrap() as usize;
            let counts = states.map(|state| (state.to_string(), count(state)));
            let listed = self.json(&["list", "--json"])["count"].as_u64().unwrap() as usize;
            return (counts.into_iter().filter(|(_, count)| *count > 0).collect(), listed);
        }
        let mut counts = BTreeMap::new();
        let seen = self.store().scan(&mut |_, task| {
            let task = self.done("scan", task);
            *counts.entry(task.status.as_str().to_string()).or_default() += 1;
        });
        self.done("scan", seen);
        let listed = counts.values().sum();
        (counts, listed)
    }

    pub fn resume(&self, lane: &str) {
        match self.driver {
            Driver::Commands => drop(self.ok(&["resume", lane])),
            Driver::Library => drop(self.done("resume", self.store().resume(&lane_name(lane)))),
        }
    }

    /// Submits to lane `l`, under the key `afterwards`.
    pub fn submit(&self) -> String {
        if self.driver == Driver::Commands {
            return self.ok(&["submit", "--lane", "l", "--prompt", "afterwards", "--key", "afterwards"]);
        }
        let mut new = new_task("l", &self.world.home());
        new.spec.key = idempotency_key("afterwards");
        self.done("submit", self.store().submit(new)).task.id.to_string()
    }

    /// Claims the next task of any lane; returns its id and the token.
    pub fn claim(&self) -> Option<(String, String)> {
        if self.driver == Driver::Commands {
            let lanes = LANES.iter().flat_map(|lane| ["--lane", lane]);
            let words: Vec<&str> = ["claim", "--json"].into_iter().chain(lanes).collect();
            let output = self.world.run(&words);
            let printed = String::from_utf8_lossy(&output.stderr);
            if output.status.code() == Some(4) {
                return None;
            }
            assert!(output.status.success(), "{}: then {words:?}: {printed}", self.what);
            let task: Value = serde_json::from_slice(&output.stdout).unwrap();
            let text = |key: &str| task["task"][key].as_str().unwrap().to_string();
            return Some((text("id"), text("claim_token")));
        }
        let want = LaneQuery { lanes: LANES.map(lane_name).into(), filter: Filter::default() };
        let task =
            self.done("claim", self.store().claim_next(&want, &owner("me"), Duration::from_secs(3600)))?;
        let token = task.status.claim().unwrap().token.as_str().to_string();
        Some((task.id.to_string(), token))
    }

    pub fn respond(&self, id: &str, token: &str) {
        if self.driver == Driver::Commands {
            self.ok(&["respond", id, "--claim-token", token, "--body", "afterwards"]);
            return;
        }
        let answer = answer_with(Some(ClaimToken::from_text(token)), "afterwards");
        self.apply(id, &Command::Respond(answer));
    }

    pub fn note(&self, id: &str) {
        match self.driver {
            Driver::Commands => drop(self.ok(&["event", id, "--type", "note", "--message", "seen"])),
            Driver::Library => self.apply(id, &note("seen")),
        }
    }

    pub fn cancel(&self, id: &str) {
        match self.driver {
            Driver::Commands => drop(self.ok(&["cancel", id])),
            Driver::Library => self.apply(id, &Command::Cancel { reason: None, by: "me".to_string() }),
        }
    }

    /// Returns the answer of an ended task, as `wait` prints it.
    pub fn answer(&self, id: &str) -> Option<String> {
        if self.driver == Driver::Commands {
            let reply = self.json(&["wait", id, "--timeout", "0", "--json"]);
            return reply["response"]["body"].as_str().map(str::to_string);
        }
        let store = self.store();
        let task = self.done("read", store.task(&self.id(id)));
        self.done("read", store.response(&task)).map(|response| response.body)
    }
}
