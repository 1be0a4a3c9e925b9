//! A workspace with a bridge to a JSON file.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::testkit::pool::Pool;

/// A workspace with a bridge `team` to the board in `board.json`.
pub struct Desk {
    pub pool: Pool,
}

impl Desk {
    /// A desk with settings of its own for the queue `Todo`.
    pub fn new(more: &str) -> Self {
        let pool = Pool::new(&format!(
            "dispatch:\n  vendor: claude\n  grace: 0.5\n  retry_delay: 0\n  max_retries: 1\n  vendors:\n    claude: {{command: AGENT}}\n\
             bridges:\n  team:\n    adapter: json\n    path: board.json\n    poll_interval: 50ms\n    take_assigned_after: 0\n    requests_per_second: 1000\n    queues:\n      Todo:\n        lane: work\n        \
             in_progress: In Progress\n        done: Done\n        failed: Failed\n{more}"
        ));
        let desk = Self { pool };
        desk.write(
            &json!({"queues": {"Todo": [], "In Progress": [], "Done": [], "Failed": [], "Attic": []}}),
        );
        desk
    }

    pub fn board_file(&self) -> PathBuf {
        self.pool.path("board.json")
    }

    pub fn write(&self, board: &Value) {
        std::fs::write(self.board_file(), serde_json::to_string_pretty(board).unwrap()).unwrap();
    }

    pub fn board(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.board_file()).unwrap()).unwrap()
    }

    /// Adds a card whose agent executes `script`.
    pub fn add(&self, id: Value, script: &str) {
        let mut board = self.board();
        let card = json!({"id": id, "name": format!("Card {id}"), "description": format!("DO: {script}")});
        board["queues"]["Todo"].as_array_mut().unwrap().push(card);
        self.write(&board);
    }

    /// Puts the card `id` at the end of a queue, as a person does.
    pub fn put(&self, id: &Value, queue: &str) {
        let mut board = self.board();
        let queues = board["queues"].as_object_mut().unwrap();
        let mut found = None;
        for cards in queues.values_mut().map(|cards| cards.as_array_mut().unwrap()) {
            if let Some(at) = cards.iter().position(|card| card["id"] == *id) {
                found = Some(cards.remove(at));
            }
        }
        queues[queue].as_array_mut().unwrap().push(found.unwrap());
        self.write(&board);
    }

    /// The ids of the cards in a queue.
    pub fn cards(&self, queue: &str) -> Vec<Value> {
        let board = self.board();
        board["queues"][queue].as_array().unwrap().iter().map(|card| card["id"].clone()).collect()
    }

    /// The first lines of the comments of a card.
    pub fn comments(&self, id: &Value) -> Vec<String> {
        let board = self.board();
        let queues = board["queues"].as_object().unwrap();
        let cards = queues.values().flat_map(|cards| cards.as_array().unwrap());
        let card = cards.into_iter().find(|card| card["id"] == *id).unwrap();
        let text = |comment: &Value| comment.as_str().or(comment["text"].as_str()).unwrap().to_string();
        let comments = card["comments"].as_array().cloned().unwrap_or_default();
        let lines = comments.iter().map(|comment| text(comment).lines().next().unwrap().to_string());
        lines.filter(|line| line != "Taken.").collect()
    }

    pub fn bridge(&self, more: &[&str]) -> Command {
        self.pool.lanes(&[&["bridge"], more].concat())
    }

    /// Makes one round, which must succeed; what it printed.
    pub fn round(&self) -> String {
        self.pool.ok(&["bridge", "team", "--once"])
    }

    /// The tasks, oldest first.
    pub fn tasks(&self) -> Vec<Value> {
        let listed = self.pool.json(&["list"]);
        let mut tasks = listed["tasks"].as_array().unwrap().clone();
        tasks.sort_by_key(|task| task["created_at"].to_string());
        tasks
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
