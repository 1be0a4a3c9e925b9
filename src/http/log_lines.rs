//! Reads both outputs of a run as lines with positions, from which a client that reconnects continues.

use serde_json::Value;

use super::log_follower::{FILES, LogPiece, cannot_read, tail_offset};
use crate::error::{Error, Result};
use crate::model::json::{Object, portable_line};
use crate::model::{Status, TaskId};
use crate::store::{RunLogFile, Store};

/// The longest line that is sent whole, in bytes.
const MAX_LINE: usize = 64 * 1024;
/// The outputs that are read, as they are named in [`FILES`].
const OUTPUTS: [(&str, &str); 2] = [FILES[0], FILES[1]];

/// A position in the two outputs of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutputLines {
    id: TaskId,
    /// The number of the run; `None` before the first.
    attempt: Option<u64>,
    /// The next byte of each output.
    offsets: [u64; 2],
    /// The number of the last line.
    number: u64,
}

/// The next line of an output, and the offset after it.
struct NextLine {
    text: Vec<u8>,
    is_cut: bool,
    end: u64,
}

impl OutputLines {
    /// Begins at the start of a run; of the newest one without `attempt`.
    pub(crate) fn new(store: &Store, id: TaskId, attempt: Option<u64>) -> Self {
        let attempt = attempt.or_else(|| latest(store, &id));
        Self { id, attempt, offsets: [0, 0], number: 0 }
    }

    /// Continues after the line with this position.
    ///
    /// # Errors
    /// `Invalid` when it is no position.
    pub(crate) fn after(id: TaskId, position: &str) -> Result<Self> {
        let numbers: Option<Vec<u64>> = position.split('.').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[attempt, stdout, stderr, number]) => {
                Ok(Self { id, attempt: Some(attempt), offsets: [stdout, stderr], number })
            }
            _ => Err(Error::invalid("'since' is not the pos of a line, with stream=all")),
        }
    }

    /// Goes to the last `lines` lines of each output.
    ///
    /// # Errors
    /// `Io` when an output cannot be read.
    pub(crate) fn go_to_tail(&mut self, store: &Store, lines: u64) -> Result<()> {
        for at in 0..OUTPUTS.len() {
            if let Some(file) = self.open(store, at)? {
                self.offsets[at] = tail_offset(&file, lines)?;
            }
        }
        Ok(())
    }

    /// Returns whether no output of the run is kept.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub(crate) fn is_missing(&self, store: &Store) -> Result<bool> {
        Ok(self.open(store, 0)?.is_none() && self.open(store, 1)?.is_none())
    }

    /// Reads on, about `most` bytes.
    pub(crate) fn read(&mut self, store: &Store, most: usize) -> LogPiece {
        if self.attempt.is_none() {
            self.attempt = latest(store, &self.id);
        }
        // The state is read first: once the run has ended, the output that is read afterwards is complete.
        let has_ended = self.has_ended(store);
        let mut sent = Vec::new();
        for (at, (stream, _)) in OUTPUTS.iter().enumerate() {
            let Ok(Some(file)) = self.open(store, at) else { continue };
            // Each output gets its share, so that neither hides the other.
            let share = sent.len() + most / OUTPUTS.len();
            while sent.len() < share
                && let Ok(Some(line)) = next_line(&file, self.offsets[at], has_ended)
            {
                self.offsets[at] = line.end;
                self.number += 1;
                sent.extend_from_slice(self.to_text(stream, &line).as_bytes());
            }
        }
        match sent.is_empty() {
            false => LogPiece::Bytes(sent),
            true if has_ended => LogPiece::End,
            true => LogPiece::Nothing,
        }
    }

    fn to_text(&self, stream: &str, line: &NextLine) -> String {
        let mut object = Object::new();
        object.insert("n".into(), self.number.into());
        // Outputs have no times.
        object.insert("t".into(), Value::Null);
        object.insert("stream".into(), stream.into());
        object.insert("text".into(), String::from_utf8_lossy(&line.text).into_owned().into());
        let [stdout, stderr] = self.offsets;
        let position = format!("{}.{stdout}.{stderr}.{}", self.attempt.unwrap_or(0), self.number);
        object.insert("pos".into(), position.into());
        if line.is_cut {
            object.insert("cut".into(), true.into());
        }
        portable_line(&object)
    }

    /// Returns whether the run has ended: its task has, or has been given back or claimed again.
    fn has_ended(&self, store: &Store) -> bool {
        let Ok(task) = store.task(&self.id) else { return true };
        match (&task.status, self.attempt) {
            (Status::Claimed(_), Some(attempt)) => task.fence != attempt,
            (Status::Claimed(_), None) => false,
            (status, None) => status.is_terminal(),
            (_, Some(_)) => true,
        }
    }

    fn open(&self, store: &Store, at: usize) -> Result<Option<RunLogFile>> {
        let Some(attempt) = self.attempt else { return Ok(None) };
        match store.blobs().attempt(&self.id, attempt)? {
            Some(attempt) => attempt.log(OUTPUTS[at].1),
            None => Ok(None),
        }
    }
}

fn latest(store: &Store, id: &TaskId) -> Option<u64> {
    store.blobs().attempt_numbers(id).ok()?.pop()
}

/// Returns the line at an offset; `None` when it is not complete yet. Once the output `has_ended`, its last line needs no
/// line end.
fn next_line(file: &RunLogFile, offset: u64, has_ended: bool) -> Result<Option<NextLine>> {
    let mut text = Vec::new();
    let mut block = vec![0; MAX_LINE];
    let mut at = offset;
    loop {
        let read = file.read_at(&mut block, at).map_err(cannot_read)?;
        let line_end = block[..read].iter().position(|byte| *byte == b'\n');
        let part = &block[..line_end.unwrap_or(read)];
        let room = MAX_LINE - text.len();
        text.extend_from_slice(&part[..part.len().min(room)]);
        at += part.len() as u64;
        let is_cut = at - offset > MAX_LINE as u64;
        match line_end {
            Some(_) => return Ok(Some(NextLine { text, is_cut, end: at + 1 })),
            None if read > 0 => {}
            None if has_ended && at > offset => return Ok(Some(NextLine { text, is_cut, end: at })),
            None => return Ok(None),
        }
    }
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

    fn lines(file: &RunLogFile, has_ended: bool) -> Vec<(String, bool)> {
        let (mut offset, mut lines) = (0, Vec::new());
        while let Some(line) = next_line(file, offset, has_ended).unwrap() {
            offset = line.end;
            lines.push((String::from_utf8(line.text).unwrap(), line.is_cut));
        }
        lines
    }

    #[test]
    fn a_line_is_complete_at_its_end_or_at_that_of_the_output() {
        let file = file(b"a\n\nbc");
        let whole = |text: &str| (text.to_string(), false);
        assert_eq!(lines(&file, false), [whole("a"), whole("")]);
        assert_eq!(lines(&file, true), [whole("a"), whole(""), whole("bc")]);
    }

    #[test]
    fn a_long_line_is_cut_and_skipped() {
        for length in [MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE + 5] {
            let text = "x".repeat(length) + "\nend\n";
            let lines = lines(&file(text.as_bytes()), false);
            assert_eq!((lines[0].0.len(), lines[0].1), (length.min(MAX_LINE), length > MAX_LINE), "{length}");
            assert_eq!(lines[1], ("end".to_string(), false));
        }
    }

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let id = TaskId::parse("t").unwrap();
        let lines = OutputLines { id: id.clone(), attempt: Some(2), offsets: [7, 8], number: 3 };
        let line = NextLine { text: b"x".to_vec(), is_cut: false, end: 7 };
        let object: Value = serde_json::from_str(&lines.to_text("stdout", &line)).unwrap();
        assert_eq!(OutputLines::after(id.clone(), object["pos"].as_str().unwrap()).unwrap(), lines);
        for wrong in ["", "7", "1.2.3", "1.2.3.x", "1.2.3.4.5"] {
            assert!(OutputLines::after(id.clone(), wrong).is_err(), "{wrong}");
        }
    }
}
