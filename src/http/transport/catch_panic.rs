//! A mistake of ours that shows in one request ends that request, not the server.
//!
//! Everywhere else a panic ends the process. Here a thousand others may be waiting, and nothing
//! speaks against serving them: what a request changes in the store is one rename, as if its process
//! had died before or after it; its locks are given back on the way out; and no lock of the server's
//! own is held while the store works.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::http::response::Answer;

thread_local! {
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread ends no more than what it is doing; for the panic hook.
pub fn is_contained() -> bool {
    IS_CONTAINED.get()
}

/// Does `act`; `None` when that panicked.
pub(crate) fn contain<T>(act: impl FnOnce() -> T) -> Option<T> {
    let outer = IS_CONTAINED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(act)).ok();
    IS_CONTAINED.set(outer);
    done
}

/// The answer to a request that showed a mistake of ours.
pub(crate) fn internal() -> Answer {
    Answer::refusal(500, "internal", "an internal error; the server's standard error says where")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_goes_no_further_and_is_known_to_be_contained() {
        assert!(!is_contained());
        assert_eq!(contain(|| (is_contained(), contain(|| 1))), Some((true, Some(1))));
        let inner = contain(|| {
            assert_eq!(contain::<()>(|| panic!("on purpose")), None);
            is_contained()
        });
        assert_eq!((inner, is_contained()), (Some(true), false));
    }
}
