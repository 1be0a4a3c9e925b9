//! A board in a JSON file, which people change with an editor.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{PeoplesBoard, QUEUES};
use crate::bridge::board::{Board, Card, QueueRef};
use crate::bridge::json_board::JsonBoard;

/// The file.
pub(super) struct BoardFile {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl BoardFile {
    pub(super) fn new() -> Self {
        let dir = super::quick_directory();
        let path = dir.path().canonicalize().unwrap().join("board.json");
        let queues: Map<String, Value> = QUEUES.iter().map(|name| ((*name).to_string(), json!([]))).collect();
        std::fs::write(&path, json!({"queues": queues}).to_string()).unwrap();
        Self { _dir: dir, path }
    }

    /// Reads the board, changes it, and writes it.
    fn edit(&self, change: impl FnOnce(&mut Map<String, Value>)) {
        let mut board: Value = serde_json::from_slice(&std::fs::read(&self.path).unwrap()).unwrap();
        change(board["queues"].as_object_mut().unwrap());
        std::fs::write(&self.path, serde_json::to_string_pretty(&board).unwrap()).unwrap();
    }
}

fn cards(queues: &mut Map<String, Value>) -> impl Iterator<Item = &mut Vec<Value>> {
    queues.values_mut().map(|cards| cards.as_array_mut().unwrap())
}

fn take(queues: &mut Map<String, Value>, id: &str) -> Value {
    let mut found = cards(queues).filter_map(|cards| {
        let at = cards.iter().position(|card| card["id"] == id)?;
        Some(cards.remove(at))
    });
    found.next().expect("the card exists")
}

fn append(queues: &mut Map<String, Value>, queue: &str, card: Value) {
    queues[queue].as_array_mut().unwrap().push(card);
}

impl PeoplesBoard for BoardFile {
    fn connect(&self) -> Box<dyn Board + '_> {
        let mut board = JsonBoard::open(self.path.clone()).unwrap();
        board.set_write_over_time(Duration::from_millis(5));
        Box::new(board)
    }

    fn source(&self, queue: &str) -> QueueRef {
        QueueRef::Name(queue.to_string())
    }

    fn add(&self, id: &str, queue: &str) {
        self.edit(|queues| append(queues, queue, json!({"id": id, "name": format!("Card {id}")})));
    }

    fn put(&self, id: &str, queue: &str) {
        self.edit(|queues| {
            let card = take(queues, id);
            append(queues, queue, card);
        });
    }

    fn rename(&self, id: &str, name: &str) {
        self.edit(|queues| {
            let mut all = cards(queues).flatten();
            all.find(|card| card["id"] == id).expect("the card exists")["name"] = json!(name);
        });
    }

    fn remove(&self, id: &str) {
        self.edit(|queues| drop(take(queues, id)));
    }

    fn card(&self, id: &str) -> Card {
        self.connect().get_task(id).unwrap()
    }
}
