//! The processes that belong to a run, found and ended.
//!
//! A process group is not enough: agents give each tool its own session, and what was started in the
//! background outlives its parent. Members of a run are found in three ways that each cover the gaps
//! of the others: by descent (parent numbers in `/proc`), by the group and session of the first
//! process, and by a variable in their environment, which also finds orphans of a dispatcher that
//! died. A process that left all three (a new session, a parent that ended, a scrubbed environment)
//! is not found.
//!
//! Numbers of processes are reused, so a process is known by its number and its start time, and is
//! signalled through a descriptor that cannot come to mean another process.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};

/// Variable that marks the processes of a run: the ids of all runs around it, outermost first,
/// joined by colons. A nested run so stays findable by the run around it.
pub const MARKER: &str = "LANES_RUN_ID";

/// How long to wait between two looks at processes that were told to end.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a killed process may take to vanish before it is given up (it sits in the kernel then).
const VANISH: Duration = Duration::from_secs(2);

/// The random name of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunId(String);

impl RunId {
    /// The id made from these random bytes.
    pub fn from_random(random: u128) -> Self {
        Self(format!("{random:032x}"))
    }

    /// An id read back from where it was recorded; only what [`RunId::from_random`] makes is one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_id.then(|| Self(text.to_string()))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value of [`MARKER`] for a run inside the runs that `inherited` names.
    pub fn marker(&self, inherited: Option<&str>) -> String {
        let mut value = String::new();
        for outer in inherited.unwrap_or_default().split(':').filter_map(Self::parse) {
            let _ = write!(value, "{}:", outer.0);
        }
        value + &self.0
    }
}

/// One process, by number and start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    pid: i32,
    /// Clock ticks from the start of the machine.
    start: u64,
}

/// What `/proc/PID/stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    process: Process,
    parent: i32,
    group: i32,
    session: i32,
    /// Ended and waiting to be collected by its parent.
    is_dead: bool,
}

impl Process {
    /// Whether it still runs. A zombie does not.
    pub fn is_alive(self) -> bool {
        stat_of(self.pid).is_some_and(|stat| stat.process == self && !stat.is_dead)
    }

    /// Sends a signal, unless the process has ended meanwhile.
    pub fn signal(self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return;
        };
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            // The descriptor holds the process; only now is it certain which one that is.
            Ok(descriptor) if self.is_alive() => {
                let _ = rustix::process::pidfd_send_signal(descriptor, signal);
            }
            // A kernel without such descriptors: as close as it gets.
            Err(rustix::io::Errno::NOSYS) if self.is_alive() => {
                let _ = rustix::process::kill_process(pid, signal);
            }
            _ => {}
        }
    }
}

/// The living processes of the run whose first process is `leader`, without that one. `leader` must
/// not have been collected yet, because its number stands for its group and session here.
pub fn members(leader: Pid, run: &RunId) -> Vec<Process> {
    let leader = leader.as_raw_pid();
    find(run, |stat| stat.process.pid == leader || stat.group == leader || stat.session == leader)
        .into_iter()
        .filter(|process| process.pid != leader)
        .collect()
}

/// The living processes of a run whose dispatcher is gone.
pub fn orphans(run: &RunId) -> Vec<Process> {
    find(run, |_| false)
}

/// Ends what is left of a run whose dispatcher is gone: asks, waits up to `grace`, kills. Returns how
/// many processes there were, or how many are still there.
pub fn sweep(run: &RunId, grace: Duration) -> Result<usize, usize> {
    let mut ended = HashSet::new();
    let mut signal = Signal::TERM;
    let mut until = Instant::now() + grace;
    loop {
        let found = orphans(run);
        if found.is_empty() {
            return Ok(ended.len());
        }
        for process in &found {
            // Each is asked once; killing is repeated, for those that appear meanwhile.
            if ended.insert(*process) || signal == Signal::KILL {
                process.signal(signal);
            }
        }
        if Instant::now() >= until {
            if signal == Signal::KILL {
                return Err(found.len());
            }
            signal = Signal::KILL;
            until = Instant::now() + VANISH;
            continue;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// All living processes for which `belongs` holds or that carry the marker, with their descendants.
fn find(run: &RunId, belongs: impl Fn(&Stat) -> bool) -> Vec<Process> {
    let all = snapshot();
    let spared = own_ancestry(&all);
    let mut members: HashSet<i32> = all
        .iter()
        .filter(|stat| belongs(stat) || carries_marker(stat.process.pid, run))
        .map(|stat| stat.process.pid)
        .collect();
    loop {
        let before = members.len();
        let children = all.iter().filter(|stat| members.contains(&stat.parent)).map(|stat| stat.process.pid);
        let children: Vec<i32> = children.collect();
        members.extend(children);
        if members.len() == before {
            break;
        }
    }
    all.iter()
        .filter(|stat| {
            !stat.is_dead && members.contains(&stat.process.pid) && !spared.contains(&stat.process.pid)
        })
        .map(|stat| stat.process)
        .collect()
}

/// This process and those it descends from: never to be ended, whatever their environment says.
fn own_ancestry(all: &[Stat]) -> HashSet<i32> {
    let mut spared = HashSet::from([1]);
    let mut next = std::process::id().cast_signed();
    while spared.insert(next) {
        match all.iter().find(|stat| stat.process.pid == next) {
            Some(stat) if stat.parent > 0 => next = stat.parent,
            _ => break,
        }
    }
    spared
}

fn snapshot() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(stat_of).collect()
}

fn stat_of(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `PID (name) state ppid pgrp session …`. The name may hold anything, so what counts is what
/// follows the last parenthesis.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let text = String::from_utf8_lossy(bytes);
    let (pid, _) = text.split_once(' ')?;
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Stat {
        process: Process { pid: pid.parse().ok()?, start: fields.get(19)?.parse().ok()? },
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        is_dead: matches!(*fields.first()?, "Z" | "X" | "x"),
    })
}

fn carries_marker(pid: i32, run: &RunId) -> bool {
    // The kernel keeps the environment a program was started with; no program's is longer.
    const LONGEST: u64 = 4 * 1024 * 1024;
    let mut environment = Vec::new();
    let read = fs::File::open(format!("/proc/{pid}/environ"))
        .and_then(|file| file.take(LONGEST).read_to_end(&mut environment));
    read.is_ok()
        && environment.split(|byte| *byte == 0).any(|variable| {
            let value = std::str::from_utf8(variable)
                .ok()
                .and_then(|text| text.strip_prefix(MARKER)?.strip_prefix('='));
            value.is_some_and(|value| value.split(':').any(|id| id == run.0))
        })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn stat_lines_with_hostile_names() {
        let line = b"42 (a) S 1 (b c) S 7 40 41 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 9876 1 2";
        let stat = parse_stat(line).expect("readable");
        assert_eq!((stat.process.pid, stat.parent, stat.group, stat.session), (42, 7, 40, 41));
        assert_eq!(stat.process.start, 9876);
        assert!(!stat.is_dead);
        assert_eq!(parse_stat(b"garbage"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn markers_nest_and_refuse_nonsense() {
        let outer = RunId::from_random(1);
        let inner = RunId::from_random(2);
        let value = inner.marker(Some(&outer.marker(Some("nonsense:../x"))));
        assert_eq!(value, format!("{}:{}", outer.as_str(), inner.as_str()));
        assert_eq!(RunId::parse("xyz"), None);
        assert_eq!(RunId::parse(outer.as_str()), Some(outer));
    }

    #[test]
    fn this_process_is_alive_and_spared() {
        let own = stat_of(std::process::id().cast_signed()).expect("own entry");
        assert!(own.process.is_alive());
        let earlier = Process { start: own.process.start - 1, ..own.process };
        assert!(!earlier.is_alive(), "the same number at another time is another process");
        let all = find(&RunId::from_random(3), |stat| stat.process.pid == own.process.pid);
        assert!(!all.contains(&own.process));
    }

    #[test]
    fn a_sweep_finds_marked_orphans_only() {
        let run = RunId::from_random(u128::from(std::process::id()) << 64 | 0xabc);
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; read line"])
            .env(MARKER, RunId::from_random(9).marker(None) + ":" + run.as_str())
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh starts");
        // A process has its environment a moment after it has started.
        let mut found = orphans(&run);
        for _ in 0..10_000 {
            if !found.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
            found = orphans(&run);
        }
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(orphans(&RunId::from_random(77)), []);
        assert_eq!(sweep(&run, Duration::ZERO), Ok(1));
        let status = child.wait().expect("collected");
        // The polite signal ends it too when the shell has not set its trap yet.
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert!(matches!(signal, Some(9 | 15)), "{status}");
        assert!(!found[0].is_alive());
    }
}
