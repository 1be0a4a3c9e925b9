//! A panic in one request ends that request, not the server.
//!
//! Everywhere else a panic ends the process. Here a thousand other requests may be waiting, and it is safe to go on
//! serving them: what a request changes in the store is one rename, as if its process had died before or after it;
//! its locks are released while the stack unwinds; and no lock of the server's own is held while the store is used.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether a panic of this thread would be caught; for the panic hook.
pub(crate) fn is_panic_caught() -> bool {
    IS_CAUGHT.get()
}

/// Calls `act`; returns `None` if that panicked.
pub(crate) fn catch_panic<T>(act: impl FnOnce() -> T) -> Option<T> {
    let outer = IS_CAUGHT.replace(true);
    let done = catch_unwind(AssertUnwindSafe(act)).ok();
    IS_CAUGHT.set(outer);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_and_the_hook_knows_it() {
        assert!(!is_panic_caught());
        assert_eq!(catch_panic(|| (is_panic_caught(), catch_panic(|| 1))), Some((true, Some(1))));
        let inner = catch_panic(|| {
            assert_eq!(catch_panic::<()>(|| panic!("on purpose")), None);
            is_panic_caught()
        });
        assert_eq!((inner, is_panic_caught()), (Some(true), false));
    }
}
