//! Memory that goes back to the system once it is not needed any more.
//!
//! glibc keeps what was freed for the next time, and learns from a freed block of 8 MiB that such blocks
//! are worth keeping: a server that answered sixteen large requests at once would hold their memory until
//! it ends. So large blocks are mappings of their own for good, and after a burst the rest is trimmed.

/// Blocks from this size on, in bytes, are given back as soon as they are freed.
const LARGE: i32 = 256 * 1024;
/// What requests and answers in flight must have taken, and may still take, for a trim to be worth its time.
const BURST: usize = 4 * 1024 * 1024;
const QUIET: usize = 1024 * 1024;

/// When memory is given back.
#[derive(Debug, Default)]
pub struct Memory {
    had_burst: bool,
}

impl Memory {
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
