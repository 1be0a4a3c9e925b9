//! Keeps a bridge below the number of requests that its board allows.

use std::time::{Duration, Instant};

use super::board::{
    Board, BoardErrorCode, BoardIdentity, BoardQueue, BoardResult, Card, CardChange, NewCard, QueueRef,
};
use super::stop::StopFlag;

/// The wait after a refusal for which the board has named none.
const DEFAULT_PAUSE: Duration = Duration::from_secs(10);
/// The longest wait after which a request is made again by itself; a longer one is reported.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often a request is made again.
const MAX_REPEATS: u32 = 5;

/// Spaces requests evenly.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    interval: Duration,
    next: Option<Instant>,
}

impl RateLimiter {
    /// Allows this many requests per second; a number that is not above 0 counts as one request per second.
    pub(crate) fn new(requests_per_second: f64) -> Self {
        let rate = if requests_per_second > 0.0 { requests_per_second } else { 1.0 };
        Self { interval: Duration::try_from_secs_f64(1.0 / rate).unwrap_or(DEFAULT_PAUSE), next: None }
    }

    /// Reserves the next request at `now`. Returns how long to wait for it.
    pub(crate) fn reserve(&mut self, now: Instant) -> Duration {
        let at = self.next.map_or(now, |next| next.max(now));
        self.next = Some(at + self.interval);
        at.saturating_duration_since(now)
    }

    /// Allows no request before `length` from `now` is over.
    pub(crate) fn pause(&mut self, now: Instant, length: Duration) {
        let until = now + length;
        self.next = Some(self.next.map_or(until, |next| next.max(until)));
    }
}

/// A board whose requests are spaced.
pub(crate) struct RateLimited<'s> {
    board: Box<dyn Board + 's>,
    limiter: RateLimiter,
    stop: &'s StopFlag,
}

impl<'s> RateLimited<'s> {
    /// Spaces the requests to `board`. Once `stop` is set, no request is made any more.
    pub(crate) fn new(board: Box<dyn Board + 's>, requests_per_second: f64, stop: &'s StopFlag) -> Self {
        Self { board, limiter: RateLimiter::new(requests_per_second), stop }
    }

    fn request<T>(&mut self, ask: impl Fn(&mut dyn Board) -> BoardResult<T>) -> BoardResult<T> {
        for repeat in 0.. {
            let wait = self.limiter.reserve(Instant::now());
            if self.stop.sleep(wait) {
                break;
            }
            match ask(self.board.as_mut()) {
                Err(error) if error.code == BoardErrorCode::RateLimited => {
                    let pause = error.retry_after.unwrap_or(DEFAULT_PAUSE);
                    self.limiter.pause(Instant::now(), pause);
                    if pause > LONGEST_PAUSE || repeat >= MAX_REPEATS {
                        return Err(error);
                    }
                }
                answer => return answer,
            }
        }
        Err(StopFlag::refusal())
    }
}

impl Board for RateLimited<'_> {
    fn identity(&self) -> &BoardIdentity {
        self.board.identity()
    }

    fn get_ready_tasks(&mut self, queue: &QueueRef, limit: usize) -> BoardResult<Vec<Card>> {
        self.request(|board| board.get_ready_tasks(queue, limit))
    }

    fn get_task(&mut self, id: &str) -> BoardResult<Card> {
        self.request(|board| board.get_task(id))
    }

    fn move_task(&mut self, id: &str, queue: &QueueRef, expected: Option<&QueueRef>) -> BoardResult<()> {
        self.request(|board| board.move_task(id, queue, expected))
    }

    fn add_comment(&mut self, id: &str, text: &str, marker: &str) -> BoardResult<()> {
        self.request(|board| board.add_comment(id, text, marker))
    }

    fn update_task(&mut self, id: &str, change: &CardChange) -> BoardResult<()> {
        self.request(|board| board.update_task(id, change))
    }

    fn assign_task(&mut self, id: &str) -> BoardResult<bool> {
        self.request(|board| board.assign_task(id))
    }

    fn create_task(&mut self, card: &NewCard) -> BoardResult<Card> {
        self.request(|board| board.create_task(card))
    }

    fn list_queues(&mut self) -> BoardResult<Vec<BoardQueue>> {
        self.request(|board| board.list_queues())
    }

    fn get_queue(&mut self, queue: &QueueRef) -> BoardResult<BoardQueue> {
        self.request(|board| board.get_queue(queue))
    }

    fn create_queue(&mut self, name: &str) -> BoardResult<BoardQueue> {
        self.request(|board| board.create_queue(name))
    }

    fn update_queue(&mut self, queue: &QueueRef, new_name: &str) -> BoardResult<BoardQueue> {
        self.request(|board| board.update_queue(queue, new_name))
    }

    fn delete_queue(&mut self, queue: &QueueRef) -> BoardResult<()> {
        self.request(|board| board.delete_queue(queue))
    }

    fn was_written_over(&mut self) -> bool {
        self.board.was_written_over()
    }

    fn wait_for_change(&mut self, timeout: Duration) -> BoardResult<bool> {
        self.board.wait_for_change(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_requests_than_allowed() {
        let start = Instant::now();
        for rate in [0.5, 1.0, 5.0, 100.0] {
            let mut limiter = RateLimiter::new(rate);
            let mut now = start;
            let mut made = Vec::new();
            for number in 0..200u32 {
                now += limiter.reserve(now);
                made.push(now);
                // Now and then the caller takes its time, which must not be made up for.
                if number % 17 == 0 {
                    now += Duration::from_millis(700);
                }
            }
            for (number, at) in made.iter().enumerate() {
                let within =
                    made[..number].iter().filter(|before| **before + Duration::from_secs(1) > *at).count();
                assert!((within as f64) < rate.max(1.0) + 1e-6, "{rate}: {within} before request {number}");
            }
        }
    }

    #[test]
    fn the_wait_that_a_board_asks_for_is_kept() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(10.0);
        assert_eq!(limiter.reserve(start), Duration::ZERO);
        limiter.pause(start, Duration::from_secs(7));
        assert_eq!(limiter.reserve(start), Duration::from_secs(7));
        limiter.pause(start, Duration::from_secs(1));
        assert!(limiter.reserve(start) > Duration::from_secs(7), "a shorter one does not replace it");
        for odd in [0.0, -1.0, f64::NAN] {
            assert_eq!(RateLimiter::new(odd).interval, Duration::from_secs(1));
        }
    }
}
