//! The processes that belong to a run, found and ended.
//!
//! A process group is not enough: agents give each tool its own session, and what was started in the
//! background outlives its parent. The [guard](super::guard) of a run sees all of it, because whatever
//! loses its parent becomes the guard's child. Where there is no guard any more, members are known by a
//! variable in their environment, and with them their descendants.
//!
//! Numbers of processes are reused, so a process is known by its number and its start time, and is
//! signalled through a descriptor that cannot come to mean another process.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

/// Variable that marks the processes of a run: the ids of all runs around it, outermost first,
/// joined by colons. A nested run so stays findable by the run around it.
pub const MARKER: &str = "LANES_RUN_ID";

/// Under which name this program is a guard.
pub const GUARD_NAME: &str = "lanes-guard";

/// How long to wait between two looks at processes that were told to end.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a killed process may take to vanish before it is given up (it sits in the kernel then).
const VANISH: Duration = Duration::from_secs(2);

/// The random name of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

impl TryFrom<String> for RunId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not the id of a run")
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.0
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
struct ProcStat {
    process: Process,
    parent: i32,
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

/// Everything of the run that lives, as its guard sees it: all that descends from the calling process,
/// and what carries the marker elsewhere.
pub fn members(run: &RunId) -> Vec<Process> {
    let guard = std::process::id().cast_signed();
    find(|stat| stat.parent == guard || carries_marker(stat.process.pid, run))
}

/// The living processes of a run that can be told without its guard.
pub fn marked_processes(run: &RunId) -> Vec<Process> {
    find(|stat| carries_marker(stat.process.pid, run))
}

/// The living processes below those children of the calling process for which `is_meant` holds, these
/// included; and which of these children have ended and wait to be collected.
pub fn descendants(is_meant: impl Fn(i32) -> bool) -> (Vec<Process>, Vec<i32>) {
    let own = std::process::id().cast_signed();
    let ended = snapshot().into_iter().filter(|stat| stat.parent == own && stat.is_dead);
    let ended = ended.map(|stat| stat.process.pid).filter(|pid| is_meant(*pid)).collect();
    (find(|stat| stat.parent == own && is_meant(stat.process.pid)), ended)
}

/// Kills all of a run below its guard, and only then the guard itself: as long as that one lives,
/// nothing escapes it.
pub fn kill_all(guard: Pid, run: &RunId) {
    let guard = guard.as_raw_pid();
    for process in find(|stat| stat.parent == guard || carries_marker(stat.process.pid, run)) {
        if process.pid != guard {
            process.signal(Signal::KILL);
        }
    }
    if let Some(stat) = stat_of(guard) {
        stat.process.signal(Signal::KILL);
    }
}

/// Ends what is left of a run whose dispatcher is gone: asks, waits up to `grace`, kills. Returns how
/// many processes there were, or how many are still there.
///
/// Its guard does the same by itself and is killed only when it is the last and does not go: it alone
/// sees processes that bear no mark.
pub fn terminate(run: &RunId, grace: Duration) -> Result<usize, usize> {
    let mut ended = HashSet::new();
    let steps = [(Signal::TERM, false, grace), (Signal::KILL, false, VANISH), (Signal::KILL, true, VANISH)];
    for (signal, guards_too, patience) in steps {
        let until = Instant::now() + patience;
        loop {
            let found = marked_processes(run);
            if found.is_empty() {
                return Ok(ended.len());
            }
            for process in &found {
                let is_spared = signal == Signal::KILL && !guards_too && is_guard(process.pid, run);
                // Each is asked once; killing is repeated, for those that appear meanwhile.
                if (ended.insert(*process) || signal == Signal::KILL) && !is_spared {
                    process.signal(signal);
                }
            }
            if Instant::now() >= until {
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    match marked_processes(run).len() {
        0 => Ok(ended.len()),
        left => Err(left),
    }
}

fn is_guard(pid: i32, run: &RunId) -> bool {
    let words = read_proc(pid, "cmdline").unwrap_or_default();
    let mut words = words.split(|byte| *byte == 0);
    words.next() == Some(GUARD_NAME.as_bytes()) && words.next() == Some(run.0.as_bytes())
}

/// All living processes for which `belongs` holds, with their descendants.
fn find(belongs: impl Fn(&ProcStat) -> bool) -> Vec<Process> {
    let all = snapshot();
    let spared = own_ancestry(&all);
    let mut members: HashSet<i32> =
        all.iter().filter(|stat| belongs(stat)).map(|stat| stat.process.pid).collect();
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
fn own_ancestry(all: &[ProcStat]) -> HashSet<i32> {
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

fn snapshot() -> Vec<ProcStat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(stat_of).collect()
}

fn stat_of(pid: i32) -> Option<ProcStat> {
    parse_stat(&read_proc(pid, "stat")?)
}

/// Reads `PID (name) state ppid …`. The name may hold anything, so what counts is what
/// follows the last parenthesis.
fn parse_stat(bytes: &[u8]) -> Option<ProcStat> {
    let text = String::from_utf8_lossy(bytes);
    let (pid, _) = text.split_once(' ')?;
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(ProcStat {
        process: Process { pid: pid.parse().ok()?, start: fields.get(19)?.parse().ok()? },
        parent: fields.get(1)?.parse().ok()?,
        is_dead: matches!(*fields.first()?, "Z" | "X" | "x"),
    })
}

fn carries_marker(pid: i32, run: &RunId) -> bool {
    let Some(environment) = read_proc(pid, "environ") else { return false };
    environment.split(|byte| *byte == 0).any(|variable| {
        let value =
            std::str::from_utf8(variable).ok().and_then(|text| text.strip_prefix(MARKER)?.strip_prefix('='));
        value.is_some_and(|value| value.split(':').any(|id| id == run.0))
    })
}

/// A file of `/proc/PID`, in few calls: its size is not known before.
fn read_proc(pid: i32, name: &str) -> Option<Vec<u8>> {
    // The kernel keeps the environment a program was started with; no program's is longer.
    const LONGEST: u64 = 4 * 1024 * 1024;
    let mut bytes = Vec::with_capacity(8 * 1024);
    fs::File::open(format!("/proc/{pid}/{name}")).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn stat_lines_with_hostile_names() {
        let line = b"42 (a) S 1 (b c) S 7 40 41 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 9876 1 2";
        let stat = parse_stat(line).expect("readable");
        assert_eq!((stat.process.pid, stat.parent), (42, 7));
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
        let all = find(|stat| stat.process.pid == own.process.pid);
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
        let mut found = marked_processes(&run);
        for _ in 0..10_000 {
            if !found.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
            found = marked_processes(&run);
        }
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(marked_processes(&RunId::from_random(77)), []);
        assert_eq!(terminate(&run, Duration::ZERO), Ok(1));
        let status = child.wait().expect("collected");
        // The polite signal ends it too when the shell has not set its trap yet.
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert!(matches!(signal, Some(9 | 15)), "{status}");
        assert!(!found[0].is_alive());
    }
}
