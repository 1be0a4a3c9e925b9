//! What is still to be sent to one client.

use std::io::{self, Write};
use std::time::Instant;

use super::memory_budget::Hold;
use super::slow_client::Pace;

/// Bodies above this size, in bytes, are sent from where they are.
const LARGE: usize = 64 * 1024;
/// What an empty box keeps of its room, in bytes.
const IDLE: usize = 8 * 1024;

/// Bytes on their way to a client. Those that it does not take at once count for `hold` until they are sent.
#[derive(Debug)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// Follows `bytes`.
    large: Vec<u8>,
    /// How much of both is sent.
    sent: usize,
    hold: Hold,
    pace: Option<Pace>,
}

impl Outbox {
    /// An empty one.
    pub fn new(hold: Hold) -> Self {
        Self { bytes: Vec::new(), large: Vec::new(), sent: 0, hold, pace: None }
    }

    /// How many bytes are still to be sent.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.large.len() - self.sent
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds some bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.large.is_empty() {
            // A stream whose client is always a little behind is never empty.
            if self.sent > self.bytes.len() / 2 {
                self.bytes.drain(..self.sent);
                self.sent = 0;
            }
            self.bytes.extend_from_slice(bytes);
        } else {
            self.large.extend_from_slice(bytes);
        }
    }

    /// Adds the body of an answer.
    pub fn push_body(&mut self, body: Vec<u8>) {
        if body.len() > LARGE && self.large.is_empty() {
            self.large = body;
        } else {
            self.push(&body);
        }
    }

    /// Sends what `to` takes. `true`: that was all.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` is none.
    pub fn send(&mut self, mut to: impl Write, is_stream: bool) -> io::Result<bool> {
        while !self.is_empty() {
            let rest = match self.bytes.get(self.sent..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => &self.large[self.sent - self.bytes.len()..],
            };
            match to.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    self.sent += length;
                    if let Some(pace) = &mut self.pace {
                        pace.took(length);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let length = self.len();
                    self.hold.force(self.bytes.len() + self.large.len());
                    self.pace.get_or_insert_with(|| Pace::start(Instant::now(), length, is_stream));
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.bytes.shrink_to(IDLE);
        self.large = Vec::new();
        self.sent = 0;
        self.hold.clear();
        self.pace = None;
        Ok(true)
    }

    /// Whether the client takes too little to be waited for.
    pub fn is_too_slow(&mut self, now: Instant) -> bool {
        self.pace.as_mut().is_some_and(|pace| pace.is_too_slow(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::transport::memory_budget::Budget;

    /// Takes so many bytes at a time and then nothing more for now.
    struct Narrow<'a>(&'a mut Vec<u8>, usize);

    impl Write for Narrow<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(std::mem::take(&mut self.1));
            self.0.extend_from_slice(&bytes[..length]);
            if length == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(length) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_is_sent_in_order_and_counts_until_then() {
        let budget = Budget::new(10 * LARGE);
        let mut outbox = Outbox::new(Hold::on(&budget));
        let (mut expected, mut received) = (Vec::new(), Vec::new());
        for (n, size) in [10, 2 * LARGE, 7, LARGE + 1].into_iter().enumerate() {
            let piece = vec![b'a' + n as u8; size];
            expected.extend_from_slice(&piece);
            outbox.push_body(piece);
        }
        assert_eq!((outbox.len(), budget.used()), (expected.len(), 0));
        while !outbox.send(Narrow(&mut received, 50_000), false).unwrap() {
            assert_eq!(outbox.len() + received.len(), expected.len());
            assert_eq!(budget.used(), expected.len());
            assert!(outbox.pace.is_some());
        }
        assert!(received == expected && outbox.is_empty() && outbox.pace.is_none());
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_stream_that_is_never_sent_whole_keeps_only_its_rest() {
        let mut outbox = Outbox::new(Hold::default());
        let mut received = Vec::new();
        outbox.push(&[b'x'; 1000]);
        for n in 0..10_000 {
            outbox.push(format!("{n:01000}").as_bytes());
            assert!(!outbox.send(Narrow(&mut received, 1000), true).unwrap());
        }
        assert_eq!((outbox.len(), received.len()), (1000, 10_000_000));
        assert!(outbox.bytes.capacity() < 10_000, "{}", outbox.bytes.capacity());
    }
}
