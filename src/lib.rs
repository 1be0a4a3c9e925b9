//! Task lanes for agents, scripts and people on one machine.

pub mod error;
pub mod model;

pub use error::{Error, ErrorKind, Result};
