//! The integration tests: the library through its public interface, and the built program from outside.
//!
//! One binary, because each one links the whole library. Run a part by its module:
//! `cargo test --test it cli::submit`.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod architecture;
mod bridge;
mod cli;
mod contract;
mod dispatch;
mod examples;
mod frozen;
mod http;
mod interop;
mod lock;
#[cfg(feature = "mcp")]
mod mcp;
mod model;
mod races;
#[cfg(feature = "remote")]
mod remote;
mod security_model;
mod store;
#[path = "../testkit/mod.rs"]
mod testkit;
