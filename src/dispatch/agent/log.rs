//! Logs of bounded length, which keep the beginning and the end of the output.

use std::collections::VecDeque;
use std::io::{self, Write};

/// The last bytes of a stream.
#[derive(Debug)]
pub(crate) struct TailBuffer {
    bytes: VecDeque<u8>,
    limit: usize,
    dropped: u64,
}

impl TailBuffer {
    /// Creates a tail of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: VecDeque::new(), limit, dropped: 0 }
    }

    /// Appends bytes and drops the oldest ones beyond the limit.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let fits = &bytes[bytes.len().saturating_sub(self.limit)..];
        let excess = (self.bytes.len() + fits.len()).saturating_sub(self.limit);
        self.bytes.drain(..excess);
        self.bytes.extend(fits);
        self.dropped += (excess + bytes.len() - fits.len()) as u64;
    }

    /// Returns the kept bytes as text.
    pub(crate) fn text(&self) -> String {
        let (front, back) = self.bytes.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }
}

/// A log that keeps the beginning and the end of what is written to it.
///
/// The beginning is written immediately, so that it can be followed. The newest part of the rest is kept in
/// memory and written by [`CappedLog::finish`], after a line with the number of omitted bytes; it is lost if
/// the process dies. A failing disk never stops the agent: the first error is returned at the end.
#[derive(Debug)]
pub struct CappedLog<W> {
    out: W,
    head_left: usize,
    tail: TailBuffer,
    error: Option<io::Error>,
}

impl<W: Write> CappedLog<W> {
    /// Creates a log that writes the first `head` bytes to `out` and, at the end, the last `tail` bytes.
    pub fn new(out: W, head: usize, tail: usize) -> Self {
        Self { out, head_left: head, tail: TailBuffer::new(tail), error: None }
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(self.head_left));
        if !head.is_empty() && self.error.is_none() {
            self.error = self.out.write_all(head).err();
        }
        self.head_left -= head.len();
        self.tail.push(rest);
    }

    /// Writes the end. Returns the number of omitted bytes.
    ///
    /// # Errors
    /// The first error of any write to the log.
    pub fn finish(mut self) -> io::Result<u64> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let dropped = self.tail.dropped;
        if dropped > 0 {
            writeln!(self.out, "\n[… {dropped} bytes left out …]")?;
        }
        let (front, back) = self.tail.bytes.as_slices();
        self.out.write_all(front)?;
        self.out.write_all(back)?;
        self.out.flush()?;
        Ok(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(pieces: &[&str]) -> (String, u64) {
        let mut out = Vec::new();
        let mut log = CappedLog::new(&mut out, 4, 3);
        for piece in pieces {
            log.push(piece.as_bytes());
        }
        let dropped = log.finish().expect("memory never fails");
        (String::from_utf8(out).expect("text"), dropped)
    }

    #[test]
    fn short_output_is_kept_whole() {
        assert_eq!(logged(&["ab", "cdef", "g"]), ("abcdefg".to_string(), 0));
        assert_eq!(logged(&[]), (String::new(), 0));
    }

    #[test]
    fn long_output_keeps_head_and_tail() {
        let expected = "abcd\n[… 3 bytes left out …]\nhij".to_string();
        assert_eq!(logged(&["abcdefghij"]), (expected.clone(), 3));
        assert_eq!(logged(&["ab", "cde", "fg", "", "hij"]), (expected, 3));
    }

    #[test]
    fn a_full_disk_is_reported_at_the_end() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut log = CappedLog::new(Full, 4, 4);
        log.push(b"abc");
        log.push(b"def");
        assert_eq!(log.finish().expect_err("full").kind(), io::ErrorKind::StorageFull);
    }
}
