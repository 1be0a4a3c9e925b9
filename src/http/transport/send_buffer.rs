//! The bytes still to be sent to one client, and the decision when the client reads too slowly.
//!
//! A client that reads a few bytes at a time would keep the memory of its response in use for hours. The server
//! sees progress only when the kernel accepts more bytes, which it does in steps; the bounds are therefore
//! averages.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::memory::Reservation;

/// Bodies above this size, in bytes, are sent without copying them into the buffer.
const MAX_COPIED_BODY: usize = 64 * 1024;
/// The maximum capacity that an empty buffer keeps, in bytes.
const MAX_IDLE_CAPACITY: usize = 8 * 1024;

/// The bytes that are still to be sent to a client. Those that it does not take immediately count for `memory`.
#[derive(Debug)]
pub(crate) struct SendBuffer {
    bytes: Vec<u8>,
    /// A large body, which follows `bytes`.
    large: Vec<u8>,
    /// How many bytes of both together have been sent.
    sent: usize,
    memory: Reservation,
    pace: Option<ReadPace>,
}

impl SendBuffer {
    /// Makes an empty buffer.
    pub(crate) fn new(memory: Reservation) -> Self {
        Self { bytes: Vec::new(), large: Vec::new(), sent: 0, memory, pace: None }
    }

    /// Returns how many bytes are still to be sent.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.large.len() - self.sent
    }

    /// Returns whether nothing is to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.large.is_empty() {
            // The buffer of a stream whose client is always a little behind is never empty.
            if self.sent > self.bytes.len() / 2 {
                self.bytes.drain(..self.sent);
                self.sent = 0;
            }
            self.bytes.extend_from_slice(bytes);
        } else {
            self.large.extend_from_slice(bytes);
        }
    }

    /// Appends the body of a response.
    pub(crate) fn push_body(&mut self, body: Vec<u8>) {
        if body.len() > MAX_COPIED_BODY && self.large.is_empty() {
            self.large = body;
        } else {
            self.push(&body);
        }
    }

    /// Sends as many bytes as `to` takes. Returns whether that was everything.
    ///
    /// # Errors
    /// The system's error, except `WouldBlock`.
    pub(crate) fn send(&mut self, mut to: impl Write, is_stream: bool) -> io::Result<bool> {
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
                        pace.add_taken(length);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let length = self.len();
                    self.memory.force(self.bytes.len() + self.large.len());
                    self.pace.get_or_insert_with(|| ReadPace::start(Instant::now(), length, is_stream));
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.bytes.shrink_to(MAX_IDLE_CAPACITY);
        self.large = Vec::new();
        self.sent = 0;
        self.memory.clear();
        self.pace = None;
        Ok(true)
    }

    /// Returns whether the client reads too slowly for the server to wait any longer.
    pub(crate) fn is_too_slow(&mut self, now: Instant) -> bool {
        self.pace.as_mut().is_some_and(|pace| pace.is_too_slow(now))
    }
}

/// While there is something to send, the client must take at least `MIN_WINDOW_BYTES` bytes in each window: 1 KiB/s.
const PACE_WINDOW: Duration = Duration::from_secs(30);
const MIN_WINDOW_BYTES: usize = 30 * 1024;
/// A whole response must be taken within this time, and one more second for each `MIN_RATE` bytes.
const RESPONSE_GRACE: Duration = Duration::from_secs(30);
const MIN_RATE: usize = 16 * 1024;

/// How fast a client takes what there is for it, from when there is something until it has taken everything.
#[derive(Debug)]
struct ReadPace {
    /// When the present window ends.
    window_end: Instant,
    /// The bytes taken in the present window.
    taken: usize,
    /// When everything must have been taken; `None` for a stream, which has no end.
    end: Option<Instant>,
}

impl ReadPace {
    /// Begins to measure a client that has `length` bytes to take, or more and more of a stream.
    fn start(now: Instant, length: usize, is_stream: bool) -> Self {
        let time = RESPONSE_GRACE + Duration::from_secs((length / MIN_RATE) as u64);
        Self { window_end: now + PACE_WINDOW, taken: 0, end: (!is_stream).then(|| now + time) }
    }

    /// Records that the client has taken this many bytes.
    fn add_taken(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    /// Returns whether the client is too slow; to be called regularly.
    fn is_too_slow(&mut self, now: Instant) -> bool {
        if self.end.is_some_and(|end| end <= now) {
            return true;
        }
        if now < self.window_end {
            return false;
        }
        let is_slow = self.taken < MIN_WINDOW_BYTES;
        self.window_end = now + PACE_WINDOW;
        self.taken = 0;
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::transport::memory::MemoryBudget;

    /// Takes this many bytes at a time and then reports `WouldBlock`.
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
        let budget = MemoryBudget::new(10 * MAX_COPIED_BODY);
        let mut outbox = SendBuffer::new(Reservation::on(&budget));
        let (mut expected, mut received) = (Vec::new(), Vec::new());
        for (n, size) in [10, 2 * MAX_COPIED_BODY, 7, MAX_COPIED_BODY + 1].into_iter().enumerate() {
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
        let mut outbox = SendBuffer::new(Reservation::default());
        let mut received = Vec::new();
        outbox.push(&[b'x'; 1000]);
        for n in 0..10_000 {
            outbox.push(format!("{n:01000}").as_bytes());
            assert!(!outbox.send(Narrow(&mut received, 1000), true).unwrap());
        }
        assert_eq!((outbox.len(), received.len()), (1000, 10_000_000));
        assert!(outbox.bytes.capacity() < 10_000, "{}", outbox.bytes.capacity());
    }

    /// Returns the number of seconds after which the server gives up a client that reads `rate` bytes each second.
    fn patience(length: usize, rate: usize, is_stream: bool) -> Option<u64> {
        let start = Instant::now();
        let mut pace = ReadPace::start(start, length, is_stream);
        (1..=3600).find(|second| {
            pace.add_taken(rate);
            pace.is_too_slow(start + Duration::from_secs(*second))
        })
    }

    #[test]
    fn slow_clients_are_given_up_and_others_are_not() {
        const ANSWER: usize = 8 * 1024 * 1024;
        assert_eq!(patience(ANSWER, 0, false), Some(30));
        assert_eq!(patience(ANSWER, 512, false), Some(30));
        assert_eq!(patience(ANSWER, 2048, false), Some(30 + 512), "the whole has a time too");
        assert_eq!(patience(100, 1024, false), Some(30), "a short answer as well");
        assert_eq!((patience(0, 512, true), patience(0, 1024, true)), (Some(30), None));
        let start = Instant::now();
        let mut pace = ReadPace::start(start, 0, true);
        pace.add_taken(MIN_WINDOW_BYTES);
        assert!(!pace.is_too_slow(start + PACE_WINDOW));
        assert!(pace.is_too_slow(start + 2 * PACE_WINDOW), "what was taken before does not count forever");
    }
}
