//! What boards keep beside the tasks: descriptions of lanes.
//!
//! The configuration file belongs to a person, with its comments and its order; what programs add
//! over HTTP is kept in the store instead, in `board.json`.

use super::layout::BOARD;
use super::{Store, atomic, reader};
use crate::error::{Error, Result, printable};
use crate::model::json::{self, Object};

/// The largest board.json read, in bytes.
const MAX_BOARD: u64 = 16 * 1024 * 1024;

impl Store {
    /// One section of the board, by name; empty when nothing was ever put there.
    ///
    /// # Errors
    /// `Corrupt` when board.json cannot be read.
    pub fn board(&self, section: &str) -> Result<Object> {
        Ok(self.read_board()?.get(section).and_then(|value| value.as_object()).cloned().unwrap_or_default())
    }

    /// Changes one section of the board.
    ///
    /// # Errors
    /// Whatever `change` says, with nothing written; `Corrupt`, `Io`, `Locked`.
    pub fn change_board(&self, section: &str, change: impl FnOnce(&mut Object) -> Result<()>) -> Result<()> {
        self.check_writable()?;
        let tmp = self.layout.tmp()?;
        // Rare, and a person waits for it: here the sync may happen under the lock.
        let _lock = self.lock_store()?;
        let mut board = self.read_board()?;
        let mut object = board.get(section).and_then(|value| value.as_object()).cloned().unwrap_or_default();
        change(&mut object)?;
        board.insert(section.to_string(), object.into());
        atomic::replace_durably(&tmp, &self.layout.root, BOARD, json::to_text(&board).as_bytes())
    }

    fn read_board(&self) -> Result<Object> {
        let Some(content) = reader::file(&self.layout.root, BOARD, MAX_BOARD)? else {
            return Ok(Object::new());
        };
        json::parse_object(&content.bytes).map_err(|why| {
            let path = self.layout.root.path().join(BOARD);
            Error::corrupt(format!("{} cannot be read: {why}", printable(&path.to_string_lossy())))
        })
    }
}
