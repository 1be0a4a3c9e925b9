//! How fast a client takes what there is for it.
//!
//! An answer that is taken a few bytes at a time would keep its memory for hours. The server sees progress
//! as the kernel takes more, which it does in steps; so the bounds are averages.

use std::time::{Duration, Instant};

/// While there is something to send, this much must be taken in each such time: 1 KiB/s on average.
const WINDOW: Duration = Duration::from_secs(30);
const LEAST: usize = 30 * 1024;
/// A whole answer must be taken within the first and one more second for each of the second.
const GRACE: Duration = Duration::from_secs(30);
const RATE: usize = 16 * 1024;

/// The pace of one client, from when it has something to take until it has taken all of it.
#[derive(Debug)]
pub struct Pace {
    /// When the present window ends, and what has been taken in it.
    window: Instant,
    taken: usize,
    /// When the whole must have been taken; `None` for a stream, which has no whole.
    end: Option<Instant>,
}

impl Pace {
    /// A client that from now on has `length` bytes to take, or as many as the stream goes on to have.
    pub fn start(now: Instant, length: usize, is_stream: bool) -> Self {
        let time = GRACE + Duration::from_secs((length / RATE) as u64);
        Self { window: now + WINDOW, taken: 0, end: (!is_stream).then(|| now + time) }
    }

    /// The client has taken so many bytes.
    pub fn took(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    /// Whether the client is too slow to be waited for any longer; to be asked every now and then.
    pub fn is_too_slow(&mut self, now: Instant) -> bool {
        if self.end.is_some_and(|end| end <= now) {
            return true;
        }
        if now < self.window {
            return false;
        }
        let is_slow = self.taken < LEAST;
        self.window = now + WINDOW;
        self.taken = 0;
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds a client is given up that takes so many bytes each second.
    fn patience(length: usize, rate: usize, is_stream: bool) -> Option<u64> {
        let start = Instant::now();
        let mut pace = Pace::start(start, length, is_stream);
        (1..=3600).find(|second| {
            pace.took(rate);
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
        let mut pace = Pace::start(start, 0, true);
        pace.took(LEAST);
        assert!(!pace.is_too_slow(start + WINDOW));
        assert!(pace.is_too_slow(start + 2 * WINDOW), "what was taken before does not count for ever");
    }
}
