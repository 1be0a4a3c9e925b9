//! Task lanes for agents, scripts and people on one machine.

pub mod cli;
pub mod digest;
pub mod dispatch;
pub mod error;
pub mod http;
pub mod model;
pub mod signals;
pub mod store;
pub mod workspace;

pub use error::{Error, ErrorKind, Result};
