//! Time and randomness, from the system or fixed for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::rand::GetRandomFlags;
use sha2::{Digest, Sha256};

use crate::model::{Now, Time};
use crate::os::machine;

/// The source of the time.
#[derive(Clone, Debug)]
pub struct Clock(ClockSource);

#[derive(Clone, Debug)]
enum ClockSource {
    System,
    /// The wall clock and the uptime, in microseconds.
    Hand(Arc<AtomicI64>, Arc<AtomicI64>),
}

impl Clock {
    /// Returns the clocks of the machine.
    pub fn system() -> Self {
        Self(ClockSource::System)
    }

    /// Returns a clock that always shows `time`.
    pub fn fixed(time: Time) -> Self {
        Self::settable(Arc::new(AtomicI64::new(time.micros())))
    }

    /// Returns a clock that shows `micros` microseconds after 1970, which a test can change.
    pub fn settable(micros: Arc<AtomicI64>) -> Self {
        Self::settable_with_uptime(Arc::clone(&micros), micros)
    }

    /// Returns a clock whose uptime is independent of its wall-clock time, so that a test can set the latter
    /// back. Both are in microseconds.
    pub fn settable_with_uptime(wall: Arc<AtomicI64>, uptime: Arc<AtomicI64>) -> Self {
        Self(ClockSource::Hand(wall, uptime))
    }

    /// Returns the current time of a clock that a test sets; `None` for that of the machine.
    #[cfg(feature = "remote")]
    pub(super) fn by_hand(&self) -> Option<Now> {
        matches!(self.0, ClockSource::Hand(..)).then(|| self.now())
    }

    /// Returns the current time.
    pub fn now(&self) -> Now {
        match &self.0 {
            ClockSource::Hand(wall, uptime) => Now {
                wall: Time::from_micros(wall.load(Ordering::SeqCst)),
                uptime: uptime.load(Ordering::SeqCst),
                boot: "by-hand".to_string(),
            },
            ClockSource::System => {
                let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                Now {
                    wall: Time::from_micros(i64::try_from(wall.as_micros()).unwrap_or(i64::MAX)),
                    uptime: i64::try_from(machine::uptime().as_micros()).unwrap_or(i64::MAX),
                    boot: machine::boot_id().to_string(),
                }
            }
        }
    }
}

/// The source of random numbers.
#[derive(Clone, Debug)]
pub struct Entropy(Option<Arc<SeededEntropy>>);

#[derive(Debug)]
struct SeededEntropy {
    seed: u64,
    drawn: AtomicU64,
}

impl Entropy {
    /// Returns the generator of the system.
    pub fn system() -> Self {
        Self(None)
    }

    /// Returns a repeatable sequence for tests. Draws at different times of a fixed clock differ too, so that
    /// a sequence of processes with one seed does not repeat itself.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(SeededEntropy { seed, drawn: AtomicU64::new(0) })))
    }

    /// Returns 128 random bits.
    pub fn next(&self, now: Time) -> u128 {
        let mut bytes = [0_u8; 16];
        match &self.0 {
            Some(seeded) => {
                let mut hash = Sha256::new();
                hash.update(seeded.seed.to_be_bytes());
                hash.update(seeded.drawn.fetch_add(1, Ordering::SeqCst).to_be_bytes());
                hash.update(now.micros().to_be_bytes());
                bytes.copy_from_slice(&hash.finalize()[..16]);
            }
            None => fill(&mut bytes),
        }
        u128::from_be_bytes(bytes)
    }
}

/// Fills `bytes` from the system's generator or, on a kernel that refuses, from values that differ between
/// two calls.
fn fill(bytes: &mut [u8; 16]) {
    if rustix::rand::getrandom(&mut *bytes, GetRandomFlags::empty()) != Ok(bytes.len()) {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let mut hash = Sha256::new();
        hash.update(format!(
            "{:?} {} {}",
            SystemTime::now(),
            std::process::id(),
            CALLS.fetch_add(1, Ordering::SeqCst)
        ));
        bytes.copy_from_slice(&hash.finalize()[..16]);
    }
}
