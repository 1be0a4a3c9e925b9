//! The processes of the machine.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// What the system tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// When it started. Together with the id, it belongs to no other process of this uptime.
    pub(crate) start: StartTime,
    /// Whether it is a zombie: exited, and not reaped by its parent.
    pub(crate) is_dead: bool,
    /// Whether it is stopped, as by Ctrl-Z or by a debugger.
    pub(crate) is_stopped: bool,
}

/// When a process started, in clock ticks of the uptime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StartTime(u64);

impl StartTime {
    /// Returns the uptime at which the process started, rounded down.
    pub(crate) fn uptime(self) -> Duration {
        /// The unit of the kernel's value; the same on every Linux.
        const TICKS_PER_SECOND: u64 = 100;
        Duration::from_secs(self.0 / TICKS_PER_SECOND)
    }

    #[cfg(all(test, feature = "cli"))]
    pub(crate) fn one_tick_earlier(self) -> Self {
        Self(self.0 - 1)
    }
}

/// Returns whether there is a process with this id, if only a zombie.
pub(crate) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Returns what the system tells of a process; `None` when there is none with this id.
pub(crate) fn stat(pid: i32) -> Option<ProcessStat> {
    parse_stat(&read(pid, "stat")?)
}

/// Returns all processes.
#[cfg(feature = "cli")]
pub(crate) fn all() -> Vec<ProcessStat> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(stat).collect()
}

/// Returns the arguments of a process, its name first, each with a NUL after it.
pub(crate) fn arguments(pid: i32) -> Option<Vec<u8>> {
    read(pid, "cmdline")
}

/// Returns the environment that a process was started with, with a NUL after each variable; `None` for one of another user.
#[cfg(feature = "cli")]
pub(crate) fn environment(pid: i32) -> Option<Vec<u8>> {
    read(pid, "environ")
}

/// Returns whether the file of the program of a process has been removed or replaced. For a process of another user
/// this is unknown.
#[cfg(feature = "mcp")]
pub(crate) fn has_replaced_program(pid: u32) -> bool {
    let program = std::fs::read_link(format!("/proc/{pid}/exe"));
    program.is_ok_and(|program| program.to_string_lossy().ends_with(" (deleted)"))
}

/// Reads a file of a process with few system calls; its size is not known in advance.
fn read(pid: i32, name: &str) -> Option<Vec<u8>> {
    // Maximum length of an environment in bytes; the kernel does not start a program with a longer one.
    const MAX_ENVIRONMENT_BYTES: u64 = 4 * 1024 * 1024;
    let mut bytes = Vec::with_capacity(8 * 1024);
    File::open(format!("/proc/{pid}/{name}"))
        .ok()?
        .take(MAX_ENVIRONMENT_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

/// Parses `PID (name) state ppid …`. The name may contain any bytes, so the fields start after the last
/// parenthesis.
fn parse_stat(bytes: &[u8]) -> Option<ProcessStat> {
    let text = String::from_utf8_lossy(bytes);
    let (pid, _) = text.split_once(' ')?;
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let state = *fields.first()?;
    Some(ProcessStat {
        pid: pid.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        start: StartTime(fields.get(19)?.parse().ok()?),
        is_dead: matches!(state, "Z" | "X" | "x"),
        is_stopped: matches!(state, "T" | "t"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_with_unusual_names_are_parsed() {
        let line = b"42 (a) S 1 (b c) S 7 40 41 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 9876 1 2";
        let stat = parse_stat(line).expect("readable");
        assert_eq!((stat.pid, stat.parent), (42, 7));
        assert_eq!((stat.start, stat.start.uptime()), (StartTime(9876), Duration::from_secs(98)));
        assert!(!stat.is_dead && !stat.is_stopped);
        let with_state = |state: &str| {
            let line = String::from_utf8_lossy(line).replace(") S 7", &format!(") {state} 7"));
            parse_stat(line.as_bytes()).map(|stat| (stat.is_dead, stat.is_stopped))
        };
        assert_eq!(with_state("Z"), Some((true, false)));
        assert_eq!(with_state("T"), Some((false, true)));
        assert_eq!(with_state("t"), Some((false, true)));
        assert_eq!(parse_stat(b"garbage"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn this_process_is_in_the_table() {
        let own = std::process::id();
        assert!(exists(own) && !exists(u32::MAX));
        assert_eq!(stat(own.cast_signed()).map(|stat| stat.pid), Some(own.cast_signed()));
        assert!(arguments(own.cast_signed()).is_some_and(|arguments| arguments.ends_with(&[0])));
    }
}
