//! Finds and ends the processes of a run.
//!
//! A process group is not enough: agents give each tool its own session, and background processes outlive
//! their parents. The [guard](crate::guard) of a run sees all of them, because every orphan becomes the
//! guard's child. Without a guard, the processes of a run are identified by a variable in their environment,
//! together with their descendants.
//!
//! Process ids are reused, so a process is identified by its id and its start time, and is signalled
//! through a process descriptor, which never refers to another process.

#[cfg(feature = "mcp")]
use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::model::RunId;
use crate::os::process_handle::signal_if;
use crate::os::process_table::{self, ProcessStat, StartTime};

/// Environment variable that marks the processes of a run: the ids of the run and of all enclosing runs,
/// outermost first, joined by colons, so that an enclosing run finds the processes of a nested one.
pub const RUN_ID_VARIABLE: &str = "LANES_RUN_ID";

/// Process name of a guard.
pub(crate) const GUARD_NAME: &str = "lanes-guard";

/// Interval between checks whether the signalled processes have ended.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum time for a killed process to disappear; after it, the process is stuck in the kernel.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns the value of [`RUN_ID_VARIABLE`] for `run`, started within the runs in `inherited`.
pub fn run_marker(run: &RunId, inherited: Option<&str>) -> String {
    let mut value = String::new();
    for outer in inherited.unwrap_or_default().split(':').filter_map(RunId::parse) {
        let _ = write!(value, "{}:", outer.as_str());
    }
    value + run.as_str()
}

/// A process, identified by its id and start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    pid: i32,
    start: StartTime,
}

impl Process {
    fn of(stat: &ProcessStat) -> Self {
        Self { pid: stat.pid, start: stat.start }
    }

    /// Returns whether the process is running. A zombie is not.
    pub fn is_alive(self) -> bool {
        process_table::stat(self.pid).is_some_and(|stat| Self::of(&stat) == self && !stat.is_dead)
    }

    /// Sends a signal, unless the process has exited.
    pub fn signal(self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return;
        };
        // Process ids are reused, so the identity is checked once the process is held.
        signal_if(pid, signal, || self.is_alive());
    }
}

/// Returns the running processes of a run, as its guard sees them: all descendants of the calling process,
/// and all processes with the marker.
pub(crate) fn run_processes(run: &RunId) -> Vec<Process> {
    let guard = std::process::id().cast_signed();
    find_with_descendants(|stat| stat.parent == guard || has_marker(stat.pid, run))
}

/// Returns the running processes of a run that can be identified without its guard.
pub fn marked_processes(run: &RunId) -> Vec<Process> {
    find_with_descendants(|stat| has_marker(stat.pid, run))
}

/// Selects children of the calling process by `is_selected`. Returns the running ones with their descendants, and
/// the process ids of those that are zombies.
pub(crate) fn descendants(is_selected: impl Fn(i32) -> bool) -> (Vec<Process>, Vec<i32>) {
    let own = std::process::id().cast_signed();
    let ended = process_table::all().into_iter().filter(|stat| stat.parent == own && stat.is_dead);
    let ended = ended.map(|stat| stat.pid).filter(|pid| is_selected(*pid)).collect();
    (find_with_descendants(|stat| stat.parent == own && is_selected(stat.pid)), ended)
}

/// Kills all processes of a run, the guard last: while it is alive, no process can escape.
pub(crate) fn kill_all(guard: Pid, run: &RunId) {
    let guard = guard.as_raw_pid();
    for process in find_with_descendants(|stat| stat.parent == guard || has_marker(stat.pid, run)) {
        if process.pid != guard {
            process.signal(Signal::KILL);
        }
    }
    if let Some(stat) = process_table::stat(guard) {
        Process::of(&stat).signal(Signal::KILL);
    }
}

/// Ends the remaining processes of a run whose dispatcher has died: sends SIGTERM, waits up to `grace`,
/// sends SIGKILL. Returns the number of processes that were ended.
///
/// The run's guard does the same on its own. It is killed only when it is the last process and does not
/// exit, because only the guard sees processes without the marker.
///
/// # Errors
/// The number of processes that are still running.
pub(crate) fn terminate(run: &RunId, grace: Duration) -> Result<usize, usize> {
    let mut ended = HashSet::new();
    let steps = [
        (Signal::TERM, false, grace),
        (Signal::KILL, false, KILL_TIMEOUT),
        (Signal::KILL, true, KILL_TIMEOUT),
    ];
    for (signal, guards_too, timeout) in steps {
        let until = Instant::now() + timeout;
        loop {
            let found = marked_processes(run);
            if found.is_empty() {
                return Ok(ended.len());
            }
            for process in &found {
                let is_spared = signal == Signal::KILL && !guards_too && is_guard(process.pid, run);
                // SIGTERM is sent once to each; SIGKILL is repeated, for processes that appear meanwhile.
                if (ended.insert(*process) || signal == Signal::KILL) && !is_spared {
                    process.signal(signal);
                }
            }
            if Instant::now() >= until {
                break;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
    match marked_processes(run).len() {
        0 => Ok(ended.len()),
        left => Err(left),
    }
}

/// Returns whether a process is the guard of a run.
fn is_guard(pid: i32, run: &RunId) -> bool {
    guarded_run(pid).is_some_and(|guarded| guarded == *run)
}

/// Returns the run whose guard a process is.
fn guarded_run(pid: i32) -> Option<RunId> {
    let args = process_table::arguments(pid)?;
    let mut args = args.split(|byte| *byte == 0);
    let is_guard = args.next() == Some(GUARD_NAME.as_bytes());
    args.next().filter(|_| is_guard).and_then(|run| RunId::parse(std::str::from_utf8(run).ok()?))
}

/// Returns whether the calling process descends from the guard of a run.
#[cfg(feature = "mcp")]
pub(crate) fn is_below_a_guard() -> bool {
    guard_above().is_some()
}

/// Returns the environment of the nearest guard above the calling process, if there is one: it is that of the agent,
/// whatever the programs in between removed.
#[cfg(feature = "mcp")]
pub(crate) fn variables_of_guard_above() -> Option<HashMap<String, String>> {
    let environment = process_table::environment(guard_above()?)?;
    let environment = String::from_utf8_lossy(&environment);
    let variables = environment.split('\0').filter_map(|variable| variable.split_once('='));
    Some(variables.map(|(name, value)| (name.to_string(), value.to_string())).collect())
}

/// Returns the process id of the nearest guard above the calling process, if there is one.
#[cfg(feature = "mcp")]
fn guard_above() -> Option<i32> {
    // More processes than this are not above one another; processes that end meanwhile could otherwise form a circle.
    const MAX_ANCESTORS: usize = 1000;
    let parent = |pid: &i32| process_table::stat(*pid).map(|stat| stat.parent).filter(|parent| *parent > 0);
    let own = std::process::id().cast_signed();
    std::iter::successors(parent(&own), parent).take(MAX_ANCESTORS).find(|pid| guarded_run(*pid).is_some())
}

/// Returns all running processes that match `belongs`, with their descendants.
fn find_with_descendants(belongs: impl Fn(&ProcessStat) -> bool) -> Vec<Process> {
    let all = process_table::all();
    let spared = own_ancestry(&all);
    let mut members: HashSet<i32> = all.iter().filter(|stat| belongs(stat)).map(|stat| stat.pid).collect();
    loop {
        let before = members.len();
        let children = all.iter().filter(|stat| members.contains(&stat.parent)).map(|stat| stat.pid);
        let children: Vec<i32> = children.collect();
        members.extend(children);
        if members.len() == before {
            break;
        }
    }
    all.iter()
        .filter(|stat| !stat.is_dead && members.contains(&stat.pid) && !spared.contains(&stat.pid))
        .map(Process::of)
        .collect()
}

/// Returns the process ids of this process and its ancestors, which are never ended even if they have the marker.
fn own_ancestry(all: &[ProcessStat]) -> HashSet<i32> {
    let mut spared = HashSet::from([1]);
    let mut next = std::process::id().cast_signed();
    while spared.insert(next) {
        match all.iter().find(|stat| stat.pid == next) {
            Some(stat) if stat.parent > 0 => next = stat.parent,
            _ => break,
        }
    }
    spared
}

/// Returns whether the environment of a process has the marker of a run.
fn has_marker(pid: i32, run: &RunId) -> bool {
    let Some(environment) = process_table::environment(pid) else { return false };
    environment.split(|byte| *byte == 0).any(|variable| {
        let value = std::str::from_utf8(variable)
            .ok()
            .and_then(|text| text.strip_prefix(RUN_ID_VARIABLE)?.strip_prefix('='));
        value.is_some_and(|value| value.split(':').any(|id| id == run.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn markers_nest_and_drop_invalid_ids() {
        let outer = RunId::from_random(1);
        let inner = RunId::from_random(2);
        let value = run_marker(&inner, Some(&run_marker(&outer, Some("nonsense:../x"))));
        assert_eq!(value, format!("{}:{}", outer.as_str(), inner.as_str()));
        assert_eq!(RunId::parse("xyz"), None);
        assert_eq!(RunId::parse(outer.as_str()), Some(outer));
    }

    #[test]
    fn this_process_is_alive_and_spared() {
        let stat = process_table::stat(std::process::id().cast_signed()).expect("own entry");
        let own = Process::of(&stat);
        assert!(own.is_alive());
        let other = Process { start: stat.start.one_tick_earlier(), ..own };
        assert!(!other.is_alive(), "the same number at another time is another process");
        let all = find_with_descendants(|stat| stat.pid == own.pid);
        assert!(!all.contains(&own));
    }

    #[test]
    fn only_processes_with_the_marker_are_found_and_ended() {
        let run = RunId::from_random(u128::from(std::process::id()) << 64 | 0xabc);
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; read line"])
            .env(RUN_ID_VARIABLE, run_marker(&RunId::from_random(9), None) + ":" + run.as_str())
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh starts");
        // The environment becomes visible shortly after the start.
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
        // SIGTERM ends the shell too if it has not set its trap yet.
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert!(matches!(signal, Some(9 | 15)), "{status}");
        assert!(!found[0].is_alive());
    }
}
