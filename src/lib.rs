//! Task lanes for agents, scripts and people on one machine.

pub mod dispatch;
pub mod error;
pub mod model;

pub use error::{Error, ErrorKind, Result};
