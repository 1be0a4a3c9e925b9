//! Locks, channels and atomics of the modules that `concurrency_tests` runs in many schedules.
//!
//! Such a module imports them as `super::sync`. The tests compile its file a second time, below a module whose
//! `sync` is that of shuttle.

#[cfg(feature = "cli")]
pub(crate) use std::sync::mpsc;
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic};
