//! Tests of boards in files.

#![expect(clippy::disallowed_methods, reason = "the tests play editors, which rename files")]

mod changes;
mod competition;
mod files;
mod random_boards;

use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

/// A board with all forms of cards that the documentation shows.
const BOARD: &str = r#"{
  "title": "Team",
  "queues": {
    "Todo": [
      {
        "id": 7,
        "name": "Fix login",
        "description": "It fails",
        "labels": ["bug"],
        "assignees": [],
        "comments": [],
        "tasks": [{"name": "reproduce", "done": true}, "fix it"],
        "due": 1.50
      },
      {"id": "A-1", "name": "Write docs", "url": "https://board.example/A-1"}
    ],
    "In Progress": [],
    "Done": []
  },
  "version": 12345678901234567890123
}
"#;

/// A board in a directory of its own.
struct TestBoard {
    dir: TempDir,
    board: JsonBoard,
}

impl TestBoard {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("board.json");
        std::fs::write(&path, text).unwrap();
        let mut board = JsonBoard::open(path).unwrap();
        board.clock = Clock::fixed(crate::model::Time::parse("2026-11-29T10:00:00Z").unwrap());
        Self { dir, board }
    }

    fn path(&self) -> PathBuf {
        self.board.file.path().to_path_buf()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn queue(name: &str) -> QueueRef {
    QueueRef::Name(name.to_string())
}

/// Applies a change to a text.
fn changed(text: &str, change: impl Fn(&mut JsonBoard)) -> String {
    let mut test = TestBoard::new(text);
    change(&mut test.board);
    test.text()
}
