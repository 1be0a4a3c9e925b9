//! Why a dispatcher returned a task to its lane.

/// Start of every message about a usage limit.
pub(crate) const USAGE_LIMIT_REASON: &str = "the vendor's usage limit is reached";
/// Start of every message about an overloaded vendor.
pub(crate) const OVERLOADED_REASON: &str = "the vendor is overloaded";
/// Start of every message about an account that the vendor refuses.
pub(crate) const ACCOUNT_REASON: &str = "the vendor refuses the account";

/// Reason of a release by a dispatcher that was stopped.
pub(crate) const DISPATCHER_STOPPED: &str = "the dispatcher was stopped before the agent was done";

/// Why a dispatcher returned a task, as far as later attempts depend on it. A task's history has only the message, so
/// this is read from its words: they must not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReleaseReason {
    /// The vendor refused the run.
    VendorRefusal,
    /// The dispatcher was stopped.
    DispatcherStopped,
    /// Anything else.
    Other,
}

impl ReleaseReason {
    /// Recognises the reason by the message in a task's history.
    pub(crate) fn from_message(message: &str) -> Self {
        let refusals = [USAGE_LIMIT_REASON, OVERLOADED_REASON, ACCOUNT_REASON];
        match message {
            DISPATCHER_STOPPED => Self::DispatcherStopped,
            _ if refusals.iter().any(|start| message.starts_with(start)) => Self::VendorRefusal,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ReleaseReason::{self, DispatcherStopped, Other, VendorRefusal};

    /// The messages are spelled out: histories that earlier versions wrote contain them.
    #[test]
    fn the_reason_of_a_release_is_recognised_in_stored_histories() {
        for (message, expected) in [
            ("the vendor's usage limit is reached: resets at 5", VendorRefusal),
            ("the vendor is overloaded", VendorRefusal),
            ("the vendor refuses the account: log in", VendorRefusal),
            ("the dispatcher was stopped before the agent was done", DispatcherStopped),
            ("the dispatcher was stopped before the agent was done: x", Other),
            ("its conversation is being continued by another run", Other),
            ("", Other),
        ] {
            assert_eq!(ReleaseReason::from_message(message), expected, "{message}");
        }
    }
}
