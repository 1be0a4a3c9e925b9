//! Skips tests that need something that this machine may not have.

use std::io::Write;
use std::panic::Location;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Reports that the running test is skipped, or the rest of it, because it needs `what`.
///
/// The line goes to the standard error of the process itself: libtest hides what a test that passes prints
/// by macro, and whoever runs the tests must see what was not tested.
#[track_caller]
pub fn skipped(what: &str) {
    let thread = std::thread::current();
    let place = Location::caller().to_string();
    // A test that runs in the first thread has no name of its own there.
    let test = thread.name().filter(|name| *name != "main").unwrap_or(&place);
    let _ = std::io::stderr().write_all(format!("skipped: {test}: needs {what}\n").as_bytes());
}

/// Whether `program` can be started here; reports that the test is skipped if not.
#[track_caller]
pub fn has(program: &str) -> bool {
    let starts_with = |flag: &&str| {
        let started = Command::new(program).arg(flag).stdout(Stdio::null()).stderr(Stdio::null()).status();
        started.is_ok_and(|status| status.success())
    };
    let has = ["-V", "--version"].iter().any(starts_with);
    if !has {
        skipped(program);
    }
    has
}

/// Whether this process is root's; reports that the test is skipped if not.
#[track_caller]
pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skipped("root");
    }
    is_root
}

/// The other implementation, which is found on PATH (`.ci/run tools` installs it); reports that the test is
/// skipped if it is not there.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "the other implementation is found on PATH")]
pub fn agent_lanes() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("agent-lanes")).find(|file| file.is_file());
    if found.is_none() {
        skipped("agent-lanes on PATH");
    }
    found
}

/// A Python that has the official client of the Model Context Protocol, which `LANES_TEST_MCP_PYTHON` names (`.ci/run
/// tools` installs it); reports that the test is skipped if there is none.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "the environment of the tests names it")]
pub fn mcp_python() -> Option<PathBuf> {
    let named = std::env::var_os("LANES_TEST_MCP_PYTHON").map(PathBuf::from).filter(|file| file.is_file());
    if named.is_none() {
        skipped("LANES_TEST_MCP_PYTHON");
    }
    named
}
