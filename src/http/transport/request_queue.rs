//! Limits how many threads work on requests, so that one more is always free for connections.
//!
//! Requests may wait for a lock or a disk. A thread that finds the limit reached puts its request into a queue
//! and continues with the connections; the next thread that finishes a request takes it from there.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The maximum number of requests that use the store at the same time. They spend part of their time waiting for
/// the disk, so this is more than the number of processors; even more of them would only queue for the store lock.
pub(crate) const MAX_WORKING: usize = 8;

/// The requests in progress, and those that wait for a thread.
pub(crate) struct RequestQueue<T> {
    max_working: usize,
    state: Mutex<QueueState<T>>,
    /// The number of waiting requests, readable without the lock. A thread that ends a request after another began
    /// to wait sees it.
    waiting: AtomicUsize,
}

struct QueueState<T> {
    working: usize,
    waiting: VecDeque<T>,
}

/// The right to work on one request, returned when this is dropped.
pub(crate) struct RequestSlot<'a, T>(&'a RequestQueue<T>);

impl<T> RequestQueue<T> {
    /// Makes a queue for at most `max_working` requests in progress.
    pub(crate) fn new(max_working: usize) -> Self {
        Self {
            max_working,
            state: Mutex::new(QueueState { working: 0, waiting: VecDeque::new() }),
            waiting: AtomicUsize::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a slot for a request that has just arrived, or `None` after putting the request into the queue.
    pub(crate) fn start_or_queue(&self, request: T) -> Option<(RequestSlot<'_, T>, T)> {
        let mut state = self.state();
        if state.working >= self.max_working || !state.waiting.is_empty() {
            state.waiting.push_back(request);
            self.waiting.store(state.waiting.len(), Ordering::SeqCst);
            return None;
        }
        state.working += 1;
        Some((RequestSlot(self), request))
    }

    /// Returns the request that has waited longest, with a slot for it; called by every thread that is free.
    pub(crate) fn next_waiting(&self) -> Option<(RequestSlot<'_, T>, T)> {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut state = self.state();
        if state.working >= self.max_working {
            return None;
        }
        let request = state.waiting.pop_front()?;
        self.waiting.store(state.waiting.len(), Ordering::SeqCst);
        state.working += 1;
        Some((RequestSlot(self), request))
    }
}

impl<T> Drop for RequestSlot<'_, T> {
    fn drop(&mut self) {
        self.0.state().working -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_beyond_the_limit_wait_in_order() {
        let queue = RequestQueue::new(2);
        let (one, two) = (queue.start_or_queue(1), queue.start_or_queue(2));
        assert_eq!(two.as_ref().map(|(_, request)| *request), Some(2));
        assert!(
            queue.start_or_queue(3).is_none()
                && queue.start_or_queue(4).is_none()
                && queue.next_waiting().is_none()
        );
        drop(one);
        assert!(queue.start_or_queue(5).is_none(), "requests that wait go first");
        let three = queue.next_waiting();
        assert_eq!(three.as_ref().map(|(_, request)| *request), Some(3));
        drop((two, three));
        let rest: Vec<i32> =
            std::iter::from_fn(|| queue.next_waiting().map(|(_, request)| request)).collect();
        assert_eq!(rest, [4, 5]);
        assert!(queue.start_or_queue(6).is_some());
    }
}
