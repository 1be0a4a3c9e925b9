//! Runs the modules whose threads wait for each other in many schedules, with shuttle instead of `std::sync`.
//!
//! Each test compiles the file of a module a second time, below a `sync` that is shuttle's. A schedule decides at
//! every use of a lock, a channel or an atomic which thread continues, and no wait ever times out: a lost wake-up
//! leaves all threads waiting, which shuttle reports as a deadlock. A failed test prints its schedule;
//! `shuttle::replay` runs that one again.

mod lock_queue;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

/// The number of schedules of each kind that a test tries.
const SCHEDULES: usize = 1_000;

/// The number of priority changes in a schedule: bugs that need this many threads to be stopped at certain points
/// are found.
const DEPTH: usize = 3;

/// Fails when `test` panics or deadlocks in one of the schedules that are tried.
pub(crate) fn check(test: impl Fn() + Send + Sync + Clone + 'static) {
    run(RandomScheduler::new(SCHEDULES), test.clone());
    run(PctScheduler::new(DEPTH, SCHEDULES), test);
}

fn run(scheduler: impl Scheduler + 'static, test: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    // Debug builds need more than the default of 32 KiB.
    config.stack_size = 256 * 1024;
    Runner::new(scheduler, config).run(test);
}
