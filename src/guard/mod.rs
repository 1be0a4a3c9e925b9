//! The guard of a run: a process between the dispatcher and its agent that ensures that no process of the agent
//! outlives the run, however the dispatcher ends.
//!
//! The guard is this program under another name. It is a subreaper: the kernel makes it the parent of every
//! orphaned descendant, whatever its session, group or environment, so a guard without children means a run
//! without processes. Its standard input is a socket to the dispatcher, to which it writes [`GuardMessage`]s.
//! When the dispatcher requests it, or the socket closes because the dispatcher has died, the guard ends the
//! run: it sends SIGTERM, waits, sends SIGKILL, and exits.
//!
//! If the dispatcher has died, the guard appends the unread output of the agent to the log, so that a reported
//! result is not lost. For this it keeps running until the dispatcher has read everything.
//!
//! If the guard itself is killed, the kernel kills the agent (parent-death signal), and the dispatcher becomes
//! the parent of the agent's descendants; see `dispatch::agent::reaper`.

pub(crate) mod process_tree;
mod protocol;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use self::process_tree::{GUARD_NAME, Process};
use crate::model::RunId;
use crate::os::{own_process, process_family};
use crate::signals::not_ignored;
use crate::store::FileLock;
pub use protocol::AgentExit;
pub(crate) use protocol::{END_REQUEST, GuardCommand, GuardMessage};

/// Maximum time for a killed process to disappear before it is given up.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time between SIGTERM and SIGKILL once the dispatcher has died: the next dispatcher has to wait for
/// the end of the run.
const ORPHAN_GRACE: Duration = Duration::from_secs(2);
/// Interval between checks whether the signalled processes have ended.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Maximum number of unread bytes that are saved: a pipe holds less, but the agent may keep writing.
const MAX_UNREAD_BYTES: usize = 16 * 1024 * 1024;

/// Runs the guard if this process was started as one; returns its exit code, or `None` for any other process.
pub(crate) fn run_if_guard(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if args.next()? != GUARD_NAME {
        return None;
    }
    let message = run(args).unwrap_or_else(|error| Some(GuardMessage::GuardFailed(error.to_string())));
    if let Some(message) = message {
        message.send();
    }
    Some(ExitCode::SUCCESS)
}

/// Runs the guard. Returns its last message, which has not been sent yet.
///
/// # Errors
/// When the arguments are invalid, or the guard cannot watch its run.
fn run(mut args: impl Iterator<Item = OsString>) -> io::Result<Option<GuardMessage>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "only a dispatcher starts a guard");
    let mut next = || args.next().ok_or_else(invalid);
    let run = next()?.to_str().and_then(RunId::parse).ok_or_else(invalid)?;
    let grace = next()?.to_str().and_then(|text| text.parse().ok()).ok_or_else(invalid)?;
    let (lock, log, stdin, cwd) = (next()?, PathBuf::from(next()?), next()?, next()?);
    let mut agent = Command::new(next()?);
    // Sets the name in process listings, which would be "exe".
    own_process::set_name(GUARD_NAME);
    process_family::adopt_orphans()?;
    let signals = GuardSignals::register()?;
    let _lock = match (!lock.is_empty()).then(|| FileLock::try_acquire(Path::new(&lock))) {
        None => None,
        Some(Ok(Some(held))) => Some(held),
        Some(Ok(None)) => return Ok(Some(GuardMessage::Locked)),
        Some(Err(error)) => return Err(io::Error::other(error.to_string())),
    };
    // The agent inherits both output pipes from the guard.
    agent.args(args).current_dir(cwd).stdin(Stdio::from(File::open(stdin)?));
    process_family::die_with_this_thread(&mut agent);
    let child = match agent.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Some(GuardMessage::SpawnFailed(error.raw_os_error().unwrap_or(0)))),
    };
    drop(agent);
    GuardMessage::Started(child.id()).send();
    let mut guard = GuardProcess {
        agent: Some(Pid::from_child(&child)),
        run,
        grace: Duration::from_millis(grace),
        phase: EndPhase::Running,
        signalled: Vec::new(),
        leftovers: None,
        unread_output: None,
    };
    let done = guard.watch(&signals, &log);
    done.send();
    // The dispatcher closes the socket when it has read everything; the kernel does so if it dies.
    while matches!(rustix::io::read(rustix::stdio::stdin(), &mut [0; 64]), Ok(1..) | Err(Errno::INTR)) {}
    guard.save_unread(&log);
    Ok(None)
}

/// The signals that wake the guard.
struct GuardSignals {
    /// Readable after any of the signals was received.
    wake: OwnedFd,
    /// Whether a signal requested the end of the guard.
    end_requested: Arc<AtomicBool>,
}

impl GuardSignals {
    /// Registers the handlers of the signals.
    fn register() -> io::Result<Self> {
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let end_requested = Arc::new(AtomicBool::new(false));
        let ending = [&[SIGTERM][..], &not_ignored(&[SIGINT, SIGHUP])].concat();
        for signal in &ending {
            signal_hook::flag::register(*signal, Arc::clone(&end_requested))?;
        }
        for signal in ending.into_iter().chain([SIGCHLD]) {
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Self { wake: wake.into(), end_requested })
    }
}

/// How far the end of the run, or of its remaining processes, has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndPhase {
    Running,
    /// SIGTERM was sent; SIGKILL follows at this time.
    Terminating(Instant),
    /// SIGKILL was sent; the rest is given up at this time.
    Killing(Instant),
}

impl EndPhase {
    /// Returns whether SIGKILL is due or was sent.
    fn is_kill_due(self, now: Instant) -> bool {
        match self {
            Self::Running => false,
            Self::Terminating(at) => now >= at,
            Self::Killing(_) => true,
        }
    }
}

/// The state of a guard.
struct GuardProcess {
    /// The agent, until it is reaped.
    agent: Option<Pid>,
    run: RunId,
    grace: Duration,
    phase: EndPhase,
    /// Processes that SIGTERM was sent to.
    signalled: Vec<Process>,
    /// Number of processes that were left when the agent had exited.
    leftovers: Option<usize>,
    /// Saves the rest of the agent's output, once the dispatcher has died.
    unread_output: Option<UnreadOutput>,
}

impl GuardProcess {
    /// Watches the run until none of its processes is left.
    fn watch(&mut self, signals: &GuardSignals, log: &Path) -> GuardMessage {
        loop {
            let is_childless = self.reap_children();
            if self.unread_output.is_some() {
                self.save_unread(log);
            }
            let now = Instant::now();
            // While the agent is running, its processes are not searched.
            let is_over = self.agent.is_none();
            let remaining = if is_over || self.phase.is_kill_due(now) {
                process_tree::run_processes(&self.run)
            } else {
                Vec::new()
            };
            if is_over && self.leftovers.is_none() {
                self.leftovers = Some(remaining.len());
                self.phase = match self.phase {
                    EndPhase::Killing(_) => EndPhase::Killing(now + KILL_TIMEOUT),
                    _ => EndPhase::Terminating(now + self.grace),
                };
            }
            let is_stuck = matches!(self.phase, EndPhase::Killing(at) if now >= at);
            if is_stuck || (is_over && is_childless && remaining.is_empty()) {
                return GuardMessage::Done(self.leftovers.unwrap_or_default(), remaining.len());
            }
            self.signal_remaining(now, &remaining);
            self.sleep(signals, log);
        }
    }

    /// Saves the output that the dispatcher has not read. Errors are ignored: that output is lost.
    fn save_unread(&mut self, log: &Path) {
        if self.unread_output.is_none() {
            self.unread_output = UnreadOutput::open(log).ok();
        }
        if let Some(unread_output) = &mut self.unread_output {
            unread_output.save();
        }
    }

    /// Reaps all children that have exited. Returns whether no others are left.
    fn reap_children(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if Some(pid) == self.agent => {
                    self.agent = None;
                    GuardMessage::Exited(exit_from_status(status)).send();
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Sends the signal that is due to the remaining processes `left`.
    fn signal_remaining(&mut self, now: Instant, left: &[Process]) {
        match self.phase {
            EndPhase::Running => return,
            // Before the agent has exited, `left` is empty: the agent ends its own tools.
            EndPhase::Terminating(at) if now < at => {
                for process in left {
                    if !self.signalled.contains(process) {
                        process.signal(Signal::TERM);
                        self.signalled.push(*process);
                    }
                }
                return;
            }
            EndPhase::Terminating(_) => self.phase = EndPhase::Killing(now + KILL_TIMEOUT),
            EndPhase::Killing(_) => {}
        }
        if let Some(agent) = self.agent {
            let _ = rustix::process::kill_process_group(agent, Signal::KILL);
        }
        for process in left {
            process.signal(Signal::KILL);
        }
    }

    /// Sends SIGTERM to the agent.
    fn request_end(&mut self, grace: Duration) {
        self.phase = EndPhase::Terminating(Instant::now() + grace);
        if let Some(agent) = self.agent {
            let _ = rustix::process::kill_process_group(agent, Signal::TERM);
            // A stopped process receives the signal only when it continues.
            let _ = rustix::process::kill_process_group(agent, Signal::CONT);
        }
    }

    /// Waits for the next event; while processes are ending, at most [`POLL_INTERVAL`].
    fn sleep(&mut self, signals: &GuardSignals, log: &Path) {
        let is_running = self.phase == EndPhase::Running;
        let timeout = (!is_running).then(|| Timespec::try_from(POLL_INTERVAL).ok()).flatten();
        let control = rustix::stdio::stdin();
        let mut polled = vec![PollFd::new(&signals.wake, PollFlags::IN)];
        if is_running {
            polled.push(PollFd::new(&control, PollFlags::IN));
        }
        // An interrupted call costs one more iteration.
        let _ = poll(&mut polled, timeout.as_ref());
        let has_message = polled.get(1).is_some_and(|control| !control.revents().is_empty());
        let mut buffer = [0; 64];
        while rustix::io::read(signals.wake.as_fd(), &mut buffer).is_ok_and(|length| length > 0) {}
        if !is_running {
            return;
        }
        if has_message {
            match rustix::io::read(control, &mut buffer) {
                Ok(0) | Err(_) => {
                    self.save_unread(log);
                    self.grace = self.grace.min(ORPHAN_GRACE);
                    self.request_end(self.grace);
                }
                Ok(_) => self.request_end(self.grace),
            }
        } else if signals.end_requested.load(Ordering::SeqCst) {
            self.request_end(self.grace);
        }
    }
}

fn exit_from_status(status: WaitStatus) -> AgentExit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => AgentExit::Code(code),
        (None, signal) => AgentExit::Signal(signal.unwrap_or(0)),
    }
}

/// Saves the output that a dead dispatcher has not read.
struct UnreadOutput {
    pipe: File,
    log: File,
    /// Number of bytes that may still be saved.
    left: usize,
}

impl UnreadOutput {
    /// Opens the agent's output, which is this process's standard output too, to append it to `log`.
    ///
    /// # Errors
    /// When the pipe or the log cannot be opened.
    fn open(log: &Path) -> io::Result<Self> {
        // The guard has the writing end, shared with the agent; this opens the reading end.
        let pipe = own_process::open_other_end_of_stdout()?;
        Ok(Self { pipe, log: File::options().append(true).open(log)?, left: MAX_UNREAD_BYTES })
    }

    /// Saves the output that is available now.
    fn save(&mut self) {
        let mut buffer = [0; 64 * 1024];
        while let Ok(length @ 1..) = self.pipe.read(&mut buffer) {
            let length = length.min(self.left);
            self.left -= length;
            if length == 0 || self.log.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_with_the_name_of_a_guard_runs_one() {
        assert!(run_if_guard(["lanes", "status"].map(OsString::from).into_iter()).is_none());
        assert!(run_if_guard(std::iter::empty()).is_none());
    }
}
