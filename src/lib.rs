//! Task lanes for agents, scripts and people on one machine.

// What only the binary needs stays in its module, beside what it belongs to.
#![cfg_attr(not(feature = "cli"), allow(dead_code, reason = "much of the library serves the binary"))]

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(test)]
mod concurrency_tests;
pub mod digest;
#[cfg(feature = "cli")]
pub mod dispatch;
pub mod error;
#[cfg(feature = "cli")]
pub mod http;
pub mod model;
#[cfg(feature = "cli")]
pub mod signals;
pub mod store;
mod sync;
pub mod workspace;

pub use error::{Error, ErrorKind, Result};
