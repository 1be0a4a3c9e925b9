//! Memory: how much of it all connections may use together, and how it goes back to the system.
//!
//! What one request or response uses is a [`Reservation`] on a [`MemoryBudget`].
//!
//! glibc keeps what was freed for the next time, and learns from a freed block of 8 MiB that such blocks are worth
//! keeping: a server that answered sixteen large requests at once would hold their memory until it ends. So large
//! blocks are always mappings of their own, and after a burst the rest is trimmed by a [`MemoryTrimmer`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests that ask for no more than this are served from a reserve of an eighth, so that a few clients
/// with large bodies cannot keep out everybody else.
const SMALL: usize = 64 * 1024;

/// So many bytes at most, over all connections.
#[derive(Debug)]
pub struct MemoryBudget {
    most: usize,
    used: AtomicUsize,
}

impl MemoryBudget {
    /// A budget of `most` bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, used: AtomicUsize::new(0) })
    }

    /// The bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether there is room for somebody who needs `bytes`; for one alone there always is.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.used() <= self.most / 8 || self.used().saturating_add(bytes) <= self.most_for(bytes)
    }

    fn most_for(&self, bytes: usize) -> usize {
        if bytes > SMALL { self.most - self.most / 8 } else { self.most }
    }

    /// Takes `more` bytes for somebody who then has `total`. `false`: there is no room for them.
    fn take(&self, more: usize, total: usize) -> bool {
        let most = self.most_for(total);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(more).filter(|sum| *sum <= most)
        });
        taken.is_ok()
    }
}

/// A part of a budget, given back when this is dropped. One without a budget is not counted.
#[derive(Debug, Default)]
pub struct Reservation {
    budget: Option<Arc<MemoryBudget>>,
    bytes: usize,
}

impl Reservation {
    /// Nothing of `budget` yet.
    pub fn on(budget: &Arc<MemoryBudget>) -> Self {
        Self { budget: Some(Arc::clone(budget)), bytes: 0 }
    }

    /// Makes it at least `bytes`. `false`: the budget has no room for that, and the hold stays as it is.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let has_room =
            more == 0 || self.budget.as_ref().is_none_or(|budget| budget.take(more, self.bytes + more));
        if has_room {
            self.bytes += more;
        }
        has_room
    }

    /// Makes it `bytes`, whether the budget has room for that or not.
    pub fn force(&mut self, bytes: usize) {
        if let Some(budget) = &self.budget {
            budget.used.fetch_add(bytes, Ordering::Relaxed);
        }
        self.clear();
        self.bytes = bytes;
    }

    /// Gives back all of it.
    pub fn clear(&mut self) {
        if let Some(budget) = &self.budget {
            budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        self.bytes = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Blocks from this size on, in bytes, are given back as soon as they are freed.
const LARGE: i32 = 256 * 1024;
/// What requests and answers in flight must have taken, and may still take, for a trim to be worth its time.
const BURST: usize = 4 * 1024 * 1024;
const QUIET: usize = 1024 * 1024;

/// When memory is given back.
#[derive(Debug, Default)]
pub struct MemoryTrimmer {
    had_burst: bool,
}

impl MemoryTrimmer {
    /// Lets large blocks go back by themselves from now on.
    pub fn prepare() -> Self {
        allocator::map_from(LARGE);
        Self::default()
    }

    /// Gives back what a burst has left; to be told every now and then what is in flight, in bytes.
    pub fn look(&mut self, in_flight: usize) {
        if in_flight > BURST {
            self.had_burst = true;
        } else if self.had_burst && in_flight < QUIET {
            self.had_burst = false;
            allocator::trim();
        }
    }
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no library offers these calls")]
mod allocator {
    pub(crate) fn map_from(bytes: i32) {
        // SAFETY: sets a number under the allocator's own lock.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, bytes);
        }
    }

    pub(crate) fn trim() {
        // SAFETY: gives back free pages, each arena under its own lock.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(not(target_env = "gnu"))]
mod allocator {
    pub(crate) fn map_from(_: i32) {}

    pub(crate) fn trim() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_and_given_back() {
        let budget = MemoryBudget::new(8 * SMALL);
        let mut first = Reservation::on(&budget);
        assert!(first.grow(6 * SMALL) && first.grow(5 * SMALL) && first.grow(7 * SMALL));
        assert_eq!(budget.used(), 7 * SMALL, "a hold never shrinks, and counts once");
        let (mut large, mut small) = (Reservation::on(&budget), Reservation::on(&budget));
        assert!(!large.grow(SMALL + 1), "the reserve is for small ones");
        assert!(small.grow(SMALL) && !Reservation::on(&budget).grow(1), "and it has an end");
        drop((large, small));
        assert_eq!(budget.used(), 7 * SMALL);
        assert!(budget.has_room(SMALL) && !budget.has_room(SMALL + 1));
        drop(first);
        assert_eq!(budget.used(), 0);
        assert!(budget.has_room(20 * SMALL), "one alone may have more than all together");
        let mut forced = Reservation::on(&budget);
        forced.force(20 * SMALL);
        assert!(!budget.has_room(1));
        forced.force(2 * SMALL);
        assert_eq!(budget.used(), 2 * SMALL);
        drop(forced);
        assert!(Reservation::default().grow(usize::MAX), "what has no budget is not counted");
    }
}
