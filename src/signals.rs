//! Signals that the parent of this process made it ignore.
//!
//! `nohup` ignores SIGHUP, and a shell without job control ignores SIGINT for background commands: the
//! process is meant to survive them. A handler would undo that.

/// Returns those of `signals` that this process does not ignore; all of them when the kernel does not report
/// it.
pub(crate) fn not_ignored(signals: &[i32]) -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored(&status);
    signals.iter().copied().filter(|signal| ignored & mask(*signal) == 0).collect()
}

/// Parses the ignored signals in the text of `/proc/PID/status`, one bit each.
fn ignored(status: &str) -> u64 {
    let field = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    field.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Returns the bit of a signal; 0 for a number that is not a signal.
fn mask(signal: i32) -> u64 {
    u32::try_from(signal - 1).ok().and_then(|shift| 1u64.checked_shl(shift)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_found_in_the_kernels_mask() {
        let status = "Name:\tlanes\nSigBlk:\t0000000000000000\nSigIgn:\t8000000000000003\nSigCgt:\tff\n";
        let bits = ignored(status);
        for (signal, is_ignored) in [(1, true), (2, true), (3, false), (15, false), (64, true), (0, false)] {
            assert_eq!(bits & mask(signal) != 0, is_ignored, "{signal}");
        }
        assert_eq!((ignored(""), ignored("SigIgn:\tx\n")), (0, 0));
    }
}
