//! Reads the output of a task's runs, from one run to the next.

use crate::error::{Error, Result};
use crate::model::TaskId;
use crate::store::{RunLogFile, Store};

/// The files that a run writes, by the names that clients use for them.
pub(super) const FILES: [(&str, &str); 4] = [
    ("stdout", "stdout.log"),
    ("stderr", "stderr.log"),
    ("progress", "progress.log"),
    ("prompt", "prompt.md"),
];

/// The names that clients use for the files of a run, and for both outputs as lines.
pub(super) const STREAMS: [&str; 5] = ["stdout", "stderr", "progress", "prompt", "all"];

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
            Ok(Some(file)) => file.read_at(&mut bytes, self.offset).unwrap_or(0),
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

    /// Goes to an offset of the file.
    pub(crate) fn go_to(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Goes to the last `lines` lines of the file.
    ///
    /// # Errors
    /// `Io` when the file cannot be read.
    pub(crate) fn go_to_tail(&mut self, store: &Store, lines: u64) -> Result<()> {
        if let Some(file) = self.open(store)? {
            self.offset = tail_offset(&file, lines)?;
        }
        Ok(())
    }

    /// Returns what follows in the file, at most `most` bytes; `None` when no output is kept.
    ///
    /// # Errors
    /// `Io` when the file cannot be read.
    pub(crate) fn next_bytes(&self, store: &Store, most: usize) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open(store)? else { return Ok(None) };
        let mut bytes = vec![0; most];
        let length = file.read_at(&mut bytes, self.offset).map_err(cannot_read)?;
        bytes.truncate(length);
        Ok(Some(bytes))
    }

    /// Returns the last lines of the file, at most `most` bytes of them.
    pub(crate) fn last_text(&self, store: &Store, most: u64) -> Option<String> {
        let file = self.open(store).ok()??;
        let size = file.size().ok()?;
        let mut bytes = vec![0; usize::try_from(size.min(most)).ok()?];
        let length = file.read_at(&mut bytes, size.saturating_sub(most)).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// Returns the number of the newest run.
    fn latest(&self, store: &Store) -> Option<u64> {
        store.blobs().attempt_numbers(&self.id).ok()?.pop()
    }

    fn open(&self, store: &Store) -> Result<Option<RunLogFile>> {
        let Some(attempt) = self.attempt else { return Ok(None) };
        match store.blobs().attempt(&self.id, attempt)? {
            Some(attempt) => attempt.log(self.file),
            None => Ok(None),
        }
    }
}

/// Returns the error of an output that cannot be read.
pub(super) fn cannot_read(error: std::io::Error) -> Error {
    Error::io("read", "the output of a run", error)
}

/// Returns the offset at which the last `lines` lines of a file begin.
///
/// # Errors
/// `Io` when it cannot be read.
pub(super) fn tail_offset(file: &RunLogFile, lines: u64) -> Result<u64> {
    const BLOCK: usize = 64 * 1024;
    let size = file.size().map_err(cannot_read)?;
    let (mut end, mut ends) = (size, 0);
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let part = &mut block[..usize::try_from(end - start).unwrap_or(BLOCK)];
        let length = file.read_at(part, start).map_err(cannot_read)?;
        let part = &part[..length];
        for (at, byte) in part.iter().enumerate().rev() {
            let after = start + at as u64 + 1;
            // The end of the last line is not the beginning of another one.
            if *byte == b'\n' && after < size {
                ends += 1;
                if ends == lines {
                    return Ok(after);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn file(text: &[u8]) -> RunLogFile {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(text, 0).unwrap();
        RunLogFile::of(file)
    }

    #[test]
    fn the_tail_begins_with_a_line() {
        let text: String = (0..40_000).map(|n| format!("{n}\n")).collect();
        let whole = file(text.as_bytes());
        for count in [1, 2, 39_999, 40_000, 40_001] {
            let offset = tail_offset(&whole, count).unwrap();
            let tail = &text[usize::try_from(offset).unwrap()..];
            assert_eq!(tail.lines().count() as u64, count.min(40_000));
        }
        assert_eq!(tail_offset(&file(b"a\nb"), 1).unwrap(), 2);
        assert_eq!(tail_offset(&file(b""), 1).unwrap(), 0);
    }
}
