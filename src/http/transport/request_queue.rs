//! Who works on requests: so many threads at once, so that one more is always free for what never waits.
//!
//! Requests may wait for a lock or a disk. A thread that finds all others at it puts its request into a queue
//! instead and goes on with the network; the next thread that is done takes it from there.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Requests that may be in the store at the same time. Some of their time goes into waiting for the
/// disk, so that there are more than processors; but more of them only queue for the store's lock.
pub const WORKERS: usize = 8;

/// Threads at work, and what waits for one of them.
pub struct RequestQueue<T> {
    most: usize,
    inner: Mutex<Inner<T>>,
    /// How many wait, readable without the lock. A thread that leaves after a job began to wait sees it.
    waiting: AtomicUsize,
}

struct Inner<T> {
    working: usize,
    waiting: VecDeque<T>,
}

/// Leave to work on one request, given back when this is dropped.
pub struct RequestSlot<'a, T>(&'a RequestQueue<T>);

impl<T> RequestQueue<T> {
    /// At most `most` at once.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            inner: Mutex::new(Inner { working: 0, waiting: VecDeque::new() }),
            waiting: AtomicUsize::new(0),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave for a job that has just come, or nothing once the job has its place in the queue.
    pub fn begin(&self, job: T) -> Option<(RequestSlot<'_, T>, T)> {
        let mut inner = self.inner();
        if inner.working >= self.most || !inner.waiting.is_empty() {
            inner.waiting.push_back(job);
            self.waiting.store(inner.waiting.len(), Ordering::SeqCst);
            return None;
        }
        inner.working += 1;
        Some((RequestSlot(self), job))
    }

    /// The job that has waited the longest, with leave for it; to be asked by every thread that is done.
    pub fn next(&self) -> Option<(RequestSlot<'_, T>, T)> {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut inner = self.inner();
        if inner.working >= self.most {
            return None;
        }
        let job = inner.waiting.pop_front()?;
        self.waiting.store(inner.waiting.len(), Ordering::SeqCst);
        inner.working += 1;
        Some((RequestSlot(self), job))
    }
}

impl<T> Drop for RequestSlot<'_, T> {
    fn drop(&mut self) {
        self.0.inner().working -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_beyond_the_threads_wait_in_order() {
        let crew = RequestQueue::new(2);
        let (one, two) = (crew.begin(1), crew.begin(2));
        assert_eq!(two.as_ref().map(|(_, job)| *job), Some(2));
        assert!(crew.begin(3).is_none() && crew.begin(4).is_none() && crew.next().is_none());
        drop(one);
        assert!(crew.begin(5).is_none(), "who waits goes first");
        let three = crew.next();
        assert_eq!(three.as_ref().map(|(_, job)| *job), Some(3));
        drop((two, three));
        let rest: Vec<i32> = std::iter::from_fn(|| crew.next().map(|(_, job)| job)).collect();
        assert_eq!(rest, [4, 5]);
        assert!(crew.begin(6).is_some());
    }
}
