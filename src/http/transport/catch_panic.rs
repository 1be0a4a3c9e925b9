//! A mistake of ours that shows in one request ends that request, not the server.
//!
//! Everywhere else a panic ends the process. Here a thousand others may be waiting, and nothing
//! speaks against serving them: what a request changes in the store is one rename, as if its process
//! had died before or after it; its locks are given back on the way out; and no lock of the server's
//! own is held while the store works.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread ends no more than what it is doing; for the panic hook.
pub fn is_panic_caught() -> bool {
    IS_CONTAINED.get()
}

/// Does `act`; `None` when that panicked.
pub(crate) fn catch_panic<T>(act: impl FnOnce() -> T) -> Option<T> {
    let outer = IS_CONTAINED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(act)).ok();
    IS_CONTAINED.set(outer);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_goes_no_further_and_is_known_to_be_contained() {
        assert!(!is_panic_caught());
        assert_eq!(catch_panic(|| (is_panic_caught(), catch_panic(|| 1))), Some((true, Some(1))));
        let inner = catch_panic(|| {
            assert_eq!(catch_panic::<()>(|| panic!("on purpose")), None);
            is_panic_caught()
        });
        assert_eq!((inner, is_panic_caught()), (Some(true), false));
    }
}
