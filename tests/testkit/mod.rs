//! What the test binaries share. A module of each of them, not a crate: `CARGO_BIN_EXE_lanes`, the path of
//! the program under test, is known only to the integration tests of the package itself.

#![allow(dead_code, reason = "each test binary uses its part of this")]

pub mod clock;
pub mod command;
pub mod planka;
pub mod pool;
pub mod sandbox;
pub mod server;
pub mod skip;
pub mod store;
pub mod wait;

use std::process::{Command, Output};

/// Runs one of the ignored tests of this binary through `wrapper`, in a process of its own: the `test` of the
/// module whose `module_path!()` is given. The output shows whether it passed.
pub fn run_alone(wrapper: &[&str], module: &str, test: &str) -> std::io::Result<Output> {
    let (_, module) = module.split_once("::").unwrap();
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(std::env::current_exe()?);
    command.args([&format!("{module}::{test}"), "--exact", "--ignored", "--nocapture"]);
    let output = command.output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        !output.status.success() || printed.contains("1 passed"),
        "no such test: {module}::{test}: {printed}"
    );
    Ok(output)
}
