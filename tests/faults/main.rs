//! Crashes and faults: tests that are slow, or need strace, root, libfaketime or a file system of their own.
//!
//! A test whose tool is missing prints `skipped:` and passes.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod concurrent;
mod copies;
mod disk;
mod driver;
mod failing_disk;
mod full_disk;
mod hammer;
mod killed_anywhere;
mod points;
mod power_cut;
mod reader;
mod real_power_cut;
mod scenarios;
mod set_clock;
#[path = "../testkit/mod.rs"]
mod testkit;
mod usage;
mod world;
