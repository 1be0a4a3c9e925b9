//! Signals that the parent of this process made it ignore, what is done before one ends it, and those that a program has
//! to which the terminal is lent.
//!
//! `nohup` ignores SIGHUP, and a shell without job control ignores SIGINT for background commands: the
//! process is meant to survive them. A handler would undo that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Whether a part of this process decides what follows a signal that would end it.
static IS_END_DECIDED: AtomicBool = AtomicBool::new(false);

/// Returns those of `signals` that this process does not ignore, for handlers that decide what follows them; all of
/// them when the kernel does not report it.
pub(crate) fn not_ignored(signals: &[i32]) -> Vec<i32> {
    IS_END_DECIDED.store(true, Ordering::SeqCst);
    not_ignored_now(signals)
}

/// Has a thread call `last_act` when a signal comes that ends this process, which then ends by that signal; what
/// `last_act` returns, such as a lock, is kept until then. Where a handler of another part of the process decides what
/// follows, this ends nothing. Returns when the thread listens.
pub(crate) fn run_before_end<T>(last_act: impl Fn() -> T + Send + 'static) {
    let (ready, is_ready) = std::sync::mpsc::channel::<()>();
    let wait = move || {
        let ends = not_ignored_now(&[SIGHUP, SIGINT]).into_iter().chain([SIGTERM]);
        // Without handlers, a signal ends the process as it always does.
        let Ok(mut signals) = Signals::new(ends) else { return };
        drop(ready);
        for signal in signals.forever() {
            if is_lent() && signal == SIGINT {
                continue;
            }
            let kept = last_act();
            if !IS_END_DECIDED.load(Ordering::SeqCst) {
                let _ = emulate_default_handler(signal);
            }
            drop(kept);
        }
    };
    let _ = std::thread::Builder::new().name("signals".to_string()).spawn(wait);
    // The other end is dropped when the thread listens or is gone.
    let _ = is_ready.recv();
}

/// Whether the terminal is this process's own; set once it was lent for the first time.
static IS_TERMINAL_OWN: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The terminal while another program, such as an editor, has it: the signals of its keys go to every process in the
/// foreground, and those that interrupt and quit are for that program alone.
pub(crate) struct LentTerminal(Arc<AtomicBool>);

impl LentTerminal {
    /// Lends the terminal until this is dropped. After that, its keys end this process as before.
    pub(crate) fn lend() -> Self {
        let is_own = IS_TERMINAL_OWN.get_or_init(|| {
            let is_own = Arc::new(AtomicBool::new(false));
            for signal in not_ignored_now(&[SIGINT, SIGQUIT]) {
                // Without a handler, the key ends this process, too.
                let _ = register_conditional_default(signal, Arc::clone(&is_own));
            }
            is_own
        });
        is_own.store(false, Ordering::SeqCst);
        Self(Arc::clone(is_own))
    }
}

impl Drop for LentTerminal {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn is_lent() -> bool {
    IS_TERMINAL_OWN.get().is_some_and(|is_own| !is_own.load(Ordering::SeqCst))
}

fn not_ignored_now(signals: &[i32]) -> Vec<i32> {
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
