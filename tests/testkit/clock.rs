//! A clock that a test moves by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use lanes::internals::model::Time;
use lanes::internals::store::{Clock, StoreOptions};

/// 2026-11-21T07:00:00Z, where the clock of a test starts, in microseconds.
pub const START: i64 = 1_795_244_400_000_000;

/// The wall clock and the uptime of a store, which stand still until they are moved. All times are in
/// microseconds.
#[derive(Debug)]
pub struct TestClock {
    wall: Arc<AtomicI64>,
    uptime: Arc<AtomicI64>,
}

impl TestClock {
    /// A clock that shows [`START`].
    pub fn new() -> Self {
        Self::at(START)
    }

    /// A clock that shows `micros` since 1970, as its uptime does.
    pub fn at(micros: i64) -> Self {
        Self { wall: Arc::new(AtomicI64::new(micros)), uptime: Arc::new(AtomicI64::new(micros)) }
    }

    /// The options of a store that reads this clock.
    pub fn options(&self) -> StoreOptions {
        let clock = Clock::settable_with_uptime(Arc::clone(&self.wall), Arc::clone(&self.uptime));
        StoreOptions { clock, ..StoreOptions::default() }
    }

    /// Lets time pass.
    pub fn pass(&self, micros: i64) {
        self.set_forward(micros);
        self.uptime.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the wall clock, forward or back; the uptime is not affected.
    pub fn set_forward(&self, micros: i64) {
        self.wall.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the uptime, as a restart of the machine does.
    pub fn set_uptime(&self, uptime: i64) {
        self.uptime.store(uptime, Ordering::SeqCst);
    }

    pub fn micros(&self) -> i64 {
        self.wall.load(Ordering::SeqCst)
    }

    pub fn uptime(&self) -> i64 {
        self.uptime.load(Ordering::SeqCst)
    }

    pub fn now(&self) -> Time {
        Time::from_micros(self.micros())
    }
}
