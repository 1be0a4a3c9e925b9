//! Reads the output of a task's runs, from one run to the next.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};
use crate::model::TaskId;
use crate::store::Store;

/// The files that a run writes, by the names that clients use for them.
const FILES: [(&str, &str); 4] = [
    ("stdout", "stdout.log"),
    ("stderr", "stderr.log"),
    ("progress", "progress.log"),
    ("prompt", "prompt.md"),
];

/// The names that clients use for the files of a run.
pub(super) const STREAMS: [&str; 4] = ["stdout", "stderr", "progress", "prompt"];

/// A position in the output of a task's runs.
#[derive(Clone, Debug)]
pub(crate) struct LogFollower {
    id: TaskId,
    /// The number of the run; `None` before the first.
    attempt: Option<u64>,
    /// Whether the client asked for one run, so that later ones are not read.
    is_fixed: bool,
    file: &'static str,
    /// The next byte of the file.
    offset: u64,
}

/// The result of reading on in a run's output.
pub(crate) enum LogPiece {
    /// More output.
    Bytes(Vec<u8>),
    /// Nothing new so far.
    Nothing,
    /// The end: nothing new can follow.
    End,
}

impl LogFollower {
    /// Begins at the start of one of the [`STREAMS`] of a run; of the newest run without `attempt`.
    pub(crate) fn new(store: &Store, id: TaskId, stream: &str, attempt: Option<u64>) -> Self {
        let file = FILES.iter().find(|(name, _)| *name == stream).map_or(FILES[0].1, |(_, file)| file);
        let mut follower = Self { id, attempt, is_fixed: attempt.is_some(), file, offset: 0 };
        if attempt.is_none() {
            follower.attempt = follower.latest(store);
        }
        follower
    }

    /// Reads on, at most `most` bytes.
    pub(crate) fn read(&mut self, store: &Store, most: usize) -> LogPiece {
        // The state is read first: once the task has ended, the output that is read afterwards is complete.
        let has_ended = store.task(&self.id).map_or(true, |task| task.status.is_terminal());
        let mut bytes = vec![0; most];
        let length = match self.open(store) {
            Ok(Some(file)) => read_at(&file, &mut bytes, self.offset).unwrap_or(0),
            Ok(None) | Err(_) => 0,
        };
        if length > 0 {
            bytes.truncate(length);
            self.offset += length as u64;
            return LogPiece::Bytes(bytes);
        }
        let latest = self.latest(store);
        if !self.is_fixed && latest > self.attempt {
            self.attempt = latest;
            self.offset = 0;
            return self.read(store, most);
        }
        if has_ended { LogPiece::End } else { LogPiece::Nothing }
    }

    /// Returns the beginning of the file, at most `most` bytes; `None` when no output is kept.
    ///
    /// # Errors
    /// `Io` when the file cannot be read.
    pub(crate) fn first_bytes(&self, store: &Store, most: usize) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open(store)? else { return Ok(None) };
        let mut bytes = vec![0; most];
        let length = read_at(&file, &mut bytes, 0)?;
        bytes.truncate(length);
        Ok(Some(bytes))
    }

    /// Returns the last lines of the file, at most `most` bytes of them.
    pub(crate) fn last_text(&self, store: &Store, most: u64) -> Option<String> {
        let file = self.open(store).ok()??;
        let size = file.metadata().ok()?.len();
        let mut bytes = vec![0; usize::try_from(size.min(most)).ok()?];
        let length = read_at(&file, &mut bytes, size.saturating_sub(most)).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// Returns the number of the newest run.
    fn latest(&self, store: &Store) -> Option<u64> {
        store.attempt_numbers(&self.id).ok()?.pop()
    }

    fn open(&self, store: &Store) -> Result<Option<File>> {
        let Some(attempt) = self.attempt else { return Ok(None) };
        match store.existing_attempt(&self.id, attempt)? {
            Some(attempt) => attempt.open(self.file),
            None => Ok(None),
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) => return Err(Error::io("read", "the output of a run", error)),
        }
    }
    Ok(length)
}
