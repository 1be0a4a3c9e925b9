//! The end of a file of lines, read once by a process that appends to it.

use std::fs::File;
use std::io::{ErrorKind as IoErrorKind, Result as IoResult};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Error, Result};

/// How much of the end of a file is read first, in bytes; doubled until it suffices.
pub(super) const FIRST_READ: u64 = 8 * 1024;

/// The last bytes of a file.
pub(super) struct FileTail {
    /// The bytes from [`FileTail::start`] to the end.
    pub(super) bytes: Vec<u8>,
    start: u64,
}

impl FileTail {
    /// Reads the last `length` bytes.
    pub(super) fn read(file: &File, length: u64) -> IoResult<Self> {
        Self::before(file, file.metadata()?.len(), length)
    }

    /// Reads the last `length` bytes before `end`.
    fn before(file: &File, end: u64, length: u64) -> IoResult<Self> {
        let start = end.saturating_sub(length);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
        let mut filled = 0;
        // A writer may cut off an incomplete line meanwhile; then there are fewer bytes.
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], start + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == IoErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(Self { bytes, start })
    }

    /// Reads the end of a file that will be appended to, and cuts off everything after the last newline: an
    /// incomplete line, or the zeros that a power cut left. The caller is the only writer.
    pub(super) fn of_whole_lines(file: &File, path: &Path) -> Result<Self> {
        let fail = |error| Error::io("read", path, error);
        let mut tail = Self::read(file, FIRST_READ).map_err(fail)?;
        loop {
            let whole = match tail.bytes.iter().rposition(|byte| *byte == b'\n') {
                Some(at) => at + 1,
                None if tail.is_all() => 0,
                None => {
                    tail.read_more(file).map_err(fail)?;
                    continue;
                }
            };
            if whole < tail.bytes.len() {
                tail.cut(file, whole).map_err(|error| Error::io("write", path, error))?;
            }
            return Ok(tail);
        }
    }

    /// Returns the offset of the first of these bytes in the file.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Returns whether these bytes are the whole file.
    pub(super) fn is_all(&self) -> bool {
        self.start == 0
    }

    /// Returns the offset after these bytes: the size of the file, unless another process has written
    /// meanwhile.
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Reads at least twice as many bytes.
    pub(super) fn read_more(&mut self, file: &File) -> IoResult<()> {
        let length = (2 * self.bytes.len() as u64).max(FIRST_READ);
        *self = Self::before(file, self.end(), length)?;
        Ok(())
    }

    /// Shortens the file so that only the first `keep` of these bytes remain.
    pub(super) fn cut(&mut self, file: &File, keep: usize) -> IoResult<()> {
        file.set_len(self.start + keep as u64)?;
        self.bytes.truncate(keep);
        Ok(())
    }

    /// Returns the lines of these bytes; the first may have begun before them.
    pub(super) fn lines(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        lines(&self.bytes)
    }
}

/// Returns the lines of a text, without empty ones.
pub(super) fn lines(bytes: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}
