//! Limits the memory of all connections together, and returns it to the system.
//!
//! What one request or response uses is a [`Reservation`] on a [`MemoryBudget`].
//!
//! glibc keeps what was freed for the next time, and learns from a freed block of 8 MiB that such blocks are worth
//! keeping: a server that answered sixteen large requests at once would hold their memory until it ends. So large
//! blocks are always mappings of their own, and after a burst the rest is trimmed by a [`MemoryTrimmer`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Reservations up to this size, in bytes, may use the last eighth of a budget, so that a few clients with large
/// bodies cannot keep out all others.
const SMALL_RESERVATION: usize = 64 * 1024;

/// The maximum number of bytes that all connections may use together.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    max: usize,
    used: AtomicUsize,
}

impl MemoryBudget {
    /// Makes a budget of `max` bytes.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, used: AtomicUsize::new(0) })
    }

    /// Returns the bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns whether `bytes` more fit; while less than an eighth is in use, everything does.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.used() <= self.max / 8 || self.used().saturating_add(bytes) <= self.limit_for(bytes)
    }

    fn limit_for(&self, bytes: usize) -> usize {
        if bytes > SMALL_RESERVATION { self.max - self.max / 8 } else { self.max }
    }

    /// Takes `more` bytes for a reservation that then has `total`. Returns `false` when they do not fit.
    fn try_reserve(&self, more: usize, total: usize) -> bool {
        let limit = self.limit_for(total);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(more).filter(|sum| *sum <= limit)
        });
        taken.is_ok()
    }
}

/// A part of a budget, returned when this is dropped. A reservation without a budget is not counted.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    budget: Option<Arc<MemoryBudget>>,
    bytes: usize,
}

impl Reservation {
    /// Makes an empty reservation on `budget`.
    pub(crate) fn on(budget: &Arc<MemoryBudget>) -> Self {
        Self { budget: Some(Arc::clone(budget)), bytes: 0 }
    }

    /// Makes it at least `bytes`. Returns `false`, changing nothing, when the budget has no room for that.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let has_room = more == 0
            || self.budget.as_ref().is_none_or(|budget| budget.try_reserve(more, self.bytes + more));
        if has_room {
            self.bytes += more;
        }
        has_room
    }

    /// Makes it `bytes`, even if the budget has no room for that.
    pub(crate) fn force(&mut self, bytes: usize) {
        if let Some(budget) = &self.budget {
            budget.used.fetch_add(bytes, Ordering::Relaxed);
        }
        self.clear();
        self.bytes = bytes;
    }

    /// Returns all of it to the budget.
    pub(crate) fn clear(&mut self) {
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

/// Blocks from this size on, in bytes, return to the system as soon as they are freed.
const MAPPED_BLOCK_BYTES: i32 = 256 * 1024;
/// A trim is worth its time once requests and responses in flight have used this many bytes.
const BURST_BYTES: usize = 4 * 1024 * 1024;
/// The trim waits until they use fewer than this many bytes.
const QUIET_BYTES: usize = 1024 * 1024;

/// Returns memory to the system after a burst of requests.
#[derive(Debug, Default)]
pub(crate) struct MemoryTrimmer {
    had_burst: bool,
}

impl MemoryTrimmer {
    /// Lets large blocks return to the system by themselves from now on.
    pub(crate) fn prepare() -> Self {
        allocator::map_from(MAPPED_BLOCK_BYTES);
        Self::default()
    }

    /// Trims after a burst; to be called regularly with the bytes in flight.
    pub(crate) fn trim_after_burst(&mut self, in_flight: usize) {
        if in_flight > BURST_BYTES {
            self.had_burst = true;
        } else if self.had_burst && in_flight < QUIET_BYTES {
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
        let budget = MemoryBudget::new(8 * SMALL_RESERVATION);
        let mut first = Reservation::on(&budget);
        assert!(
            first.grow(6 * SMALL_RESERVATION)
                && first.grow(5 * SMALL_RESERVATION)
                && first.grow(7 * SMALL_RESERVATION)
        );
        assert_eq!(budget.used(), 7 * SMALL_RESERVATION, "a reservation never shrinks, and counts once");
        let (mut large, mut small) = (Reservation::on(&budget), Reservation::on(&budget));
        assert!(!large.grow(SMALL_RESERVATION + 1), "the reserve is for small ones");
        assert!(small.grow(SMALL_RESERVATION) && !Reservation::on(&budget).grow(1), "and it has an end");
        drop((large, small));
        assert_eq!(budget.used(), 7 * SMALL_RESERVATION);
        assert!(budget.has_room(SMALL_RESERVATION) && !budget.has_room(SMALL_RESERVATION + 1));
        drop(first);
        assert_eq!(budget.used(), 0);
        assert!(budget.has_room(20 * SMALL_RESERVATION), "one alone may have more than all together");
        let mut forced = Reservation::on(&budget);
        forced.force(20 * SMALL_RESERVATION);
        assert!(!budget.has_room(1));
        forced.force(2 * SMALL_RESERVATION);
        assert_eq!(budget.used(), 2 * SMALL_RESERVATION);
        drop(forced);
        assert!(Reservation::default().grow(usize::MAX), "a reservation without a budget is not counted");
    }
}
