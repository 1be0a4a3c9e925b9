//! Task lanes for agents, scripts and people on one machine.

pub mod error;

pub use error::{Error, ErrorKind, Result};
