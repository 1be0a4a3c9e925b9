//! Waits for a condition, with a limit that only a hang reaches.

use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// The time limit of a wait: long enough for a loaded machine.
pub const SOON: Duration = Duration::from_secs(60);

/// The delay between two checks.
const NAP: Duration = Duration::from_millis(5);

/// Waits until `holds` returns true.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "not within {} seconds: {what}", SOON.as_secs());
        std::thread::sleep(NAP);
    }
}

/// Waits until a process ends, for `limit` at most. Returns `None` if it had to be killed.
pub fn end_of(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if start.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(NAP);
    }
}

/// Waits until a process waits for a lane of the store at `root`: until it has created a doorbell.
#[track_caller]
pub fn until_a_lane_is_waited_for(root: &Path) {
    let bells = root.join("bells");
    eventually("a wait for a lane", || {
        std::fs::read_dir(&bells).is_ok_and(|mut names| names.next().is_some())
    });
}

/// Whether a process runs; a zombie does not.
pub fn is_alive(pid: impl std::fmt::Display) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
