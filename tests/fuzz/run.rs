//! Runs a target: the number of inputs, and the report about one that fails.

#![expect(clippy::print_stderr, reason = "a report of a test")]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::noise::Noise;

/// Far longer than any input here takes on a loaded machine.
const HANGS_AFTER: Duration = Duration::from_secs(60);
/// The first seed of a run for which none is given.
const SEED: u64 = 20_261_121;

/// One reader under test.
pub struct Target {
    /// Its name in reports: that of its test.
    pub name: &'static str,
    /// Inputs that failed once.
    pub found: &'static [&'static [u8]],
    /// Makes an input.
    pub make: fn(&mut Noise) -> Vec<u8>,
    /// Panics if the reader does something wrong with it.
    pub check: fn(&[u8]),
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

impl Target {
    /// Tries the inputs that failed once, and then `inputs` others, or as many as LANES_FUZZ_SECONDS allows.
    pub fn run(&self, inputs: u64) {
        silence_expected_panics();
        let seconds = number("LANES_FUZZ_SECONDS");
        let begin = number("LANES_FUZZ_SEED").unwrap_or_else(|| match seconds {
            Some(_) => std::process::id().into(),
            None => SEED,
        });
        let watch = watch(self.name);
        for bytes in self.found {
            self.judge(bytes, "an input of the `found` list");
        }
        let start = Instant::now();
        let mut tried = 0;
        while match seconds {
            Some(seconds) => start.elapsed() < Duration::from_secs(seconds),
            None => tried < inputs,
        } {
            let seed = begin.wrapping_add(tried);
            // The watching thread is gone only when this test is over.
            let _ = watch.send(seed);
            let bytes = (self.make)(&mut Noise::new(seed));
            self.judge(&bytes, &format!("LANES_FUZZ_SEED={seed} cargo test --test fuzz {}", self.name));
            tried += 1;
        }
        eprintln!("fuzz {}: {tried} inputs from seed {begin} on, {} s", self.name, start.elapsed().as_secs());
    }

    fn judge(&self, bytes: &[u8], again: &str) {
        if self.passes(bytes) {
            return;
        }
        let small = self.smaller(bytes.to_vec());
        eprintln!("fuzz {}: this input fails; again with: {again}", self.name);
        eprintln!("  b\"{}\"", small.escape_ascii());
        (self.check)(&small);
        panic!("it fails now and then");
    }

    fn passes(&self, bytes: &[u8]) -> bool {
        QUIET.set(true);
        let passes = catch_unwind(AssertUnwindSafe(|| (self.check)(bytes))).is_ok();
        QUIET.set(false);
        passes
    }

    /// Returns the smallest part found of a failing input that still fails.
    fn smaller(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let end = Instant::now() + Duration::from_secs(20);
        let mut length = bytes.len().div_ceil(2);
        while length > 0 && Instant::now() < end {
            let before = bytes.len();
            let mut at = 0;
            while at < bytes.len() && Instant::now() < end {
                let mut shorter = bytes.clone();
                shorter.drain(at..(at + length).min(bytes.len()));
                if self.passes(&shorter) { at += length } else { bytes = shorter }
            }
            if bytes.len() == before {
                length /= 2;
            }
        }
        bytes
    }
}

fn number(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "asks a person how long to try")]
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Silences panics that are caught; only the last one, of the minimized input, is shown.
fn silence_expected_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                report(info);
            }
        }));
    });
}

/// Ends the process and prints the seed when an input takes far too long. Each seed is announced before its turn.
fn watch(name: &'static str) -> Sender<u64> {
    let (sender, receiver) = channel::<u64>();
    std::thread::spawn(move || {
        let mut last = None;
        loop {
            match receiver.recv_timeout(HANGS_AFTER) {
                Ok(seed) => last = Some(seed),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("fuzz {name}: the input of seed {last:?} takes longer than {HANGS_AFTER:?}");
                    std::process::abort();
                }
            }
        }
    });
    sender
}
