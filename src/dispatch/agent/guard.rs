//! The guard of a run: a process between the dispatcher and its agent, so that nothing the agent
//! starts outlives the run, however the dispatcher ends.
//!
//! It is this program under another name. The kernel hands it every process below it that loses its
//! parent, whatever session, group or environment that has, so "no child is left" means that nothing
//! of the run is left. Its standard input is a socket to the dispatcher: it tells there what happens
//! ([`Word`]), and as soon as nothing can come from there any more, because the dispatcher wants the
//! run to end or has ended itself, it ends the run: asks, waits, kills. Then it ends too.
//!
//! Should the guard itself be killed, the kernel kills the agent (parent-death signal), and what
//! the agent had started falls to the dispatcher; see [`household`](super::household).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use super::spawn;
use super::tree::{self, Process, RunId};
use crate::dispatch::outcome::Exit;
use crate::store::FileLock;

/// Under which name this program is a guard.
pub const NAME: &str = "lanes-guard";

/// How long a killed process may take to vanish before it is left behind.
pub const VANISH: Duration = Duration::from_secs(5);
/// Longest time between the polite and the final signal once the dispatcher is gone: nobody keeps
/// what the agent still says, and the next dispatcher waits for its end.
const ORPHAN_GRACE: Duration = Duration::from_secs(2);
/// How often to look whether processes that were told to end have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What the dispatcher sends when it wants the run to end; the end of the socket alone says that the
/// dispatcher is gone.
pub const END: &[u8] = b"e";

/// What a guard is told before it starts.
pub struct Orders<'a> {
    /// The run.
    pub run: &'a RunId,
    /// Time between the polite and the final signal.
    pub grace: Duration,
    /// The file to be held locked during the run.
    pub lock: Option<&'a Path>,
    /// The agent's standard input.
    pub stdin: &'a Path,
    /// The agent's working directory.
    pub cwd: &'a Path,
    /// The agent's program.
    pub program: &'a OsStr,
    /// The agent's arguments.
    pub args: &'a [String],
}

impl Orders<'_> {
    /// The guard's command line; `guard` is this program.
    pub fn command(&self, guard: &Path) -> Command {
        let mut command = Command::new(guard);
        command
            .arg0(NAME)
            .arg(self.run.as_str())
            .arg(self.grace.as_millis().to_string())
            .arg(self.lock.unwrap_or(Path::new("")))
            .args([self.stdin, self.cwd])
            .arg(self.program)
            .args(self.args)
            // Signals of a terminal are meant for the dispatcher.
            .process_group(0);
        command
    }
}

/// What a guard tells its dispatcher, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The agent runs under this number.
    Started(u32),
    /// The agent cannot be started, for this reason (`errno`).
    Failed(i32),
    /// The lock is held by another run.
    Locked,
    /// The guard cannot do its work.
    Broken(String),
    /// The agent ended.
    Ended(Exit),
    /// All is over: how many processes had to be ended after the agent, and how many are still there.
    Done(usize, usize),
}

impl Word {
    fn line(&self) -> String {
        match self {
            Self::Started(pid) => format!("started {pid}\n"),
            Self::Failed(errno) => format!("failed {errno}\n"),
            Self::Locked => "locked\n".to_string(),
            Self::Broken(why) => format!("broken {}\n", why.replace('\n', " ")),
            Self::Ended(Exit::Signal(signal)) => format!("signal {signal}\n"),
            Self::Ended(Exit::Code(code)) => format!("exit {code}\n"),
            Self::Ended(Exit::NotStarted) => String::new(),
            Self::Done(leftovers, survivors) => format!("done {leftovers} {survivors}\n"),
        }
    }

    /// The word on a line, without its end.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match word {
            "started" => Self::Started(rest.parse().ok()?),
            "failed" => Self::Failed(rest.parse().ok()?),
            "locked" => Self::Locked,
            "broken" => Self::Broken(rest.to_string()),
            "signal" => Self::Ended(Exit::Signal(rest.parse().ok()?)),
            "exit" => Self::Ended(Exit::Code(rest.parse().ok()?)),
            "done" => {
                let (leftovers, survivors) = rest.split_once(' ')?;
                Self::Done(leftovers.parse().ok()?, survivors.parse().ok()?)
            }
            _ => return None,
        })
    }

    /// Tells the dispatcher. If it is gone there is nobody to tell.
    fn tell(&self) {
        let line = self.line();
        let mut left = line.as_bytes();
        while !left.is_empty() {
            match rustix::io::write(rustix::stdio::stdin(), left) {
                Ok(length) => left = &left[length..],
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// Does a guard's work if this process was started as one.
pub fn run_if_asked(mut words: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if words.next()? != NAME {
        return None;
    }
    let word = match work(words) {
        Ok(word) => word,
        Err(error) => Word::Broken(error.to_string()),
    };
    word.tell();
    Some(ExitCode::SUCCESS)
}

fn work(mut words: impl Iterator<Item = OsString>) -> io::Result<Word> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "a guard is started by a dispatcher alone");
    let mut next = || words.next().ok_or_else(bad);
    let run = next()?.to_str().and_then(RunId::parse).ok_or_else(bad)?;
    let grace = next()?.to_str().and_then(|text| text.parse().ok()).ok_or_else(bad)?;
    let (lock, stdin, cwd) = (next()?, PathBuf::from(next()?), next()?);
    let mut agent = Command::new(next()?);
    // What people see in lists of processes, where the kernel would put "exe".
    let _ = std::fs::write("/proc/self/comm", NAME);
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let signals = Signals::listen()?;
    let _lock = match (!lock.is_empty()).then(|| FileLock::try_acquire(Path::new(&lock))) {
        None => None,
        Some(Ok(Some(held))) => Some(held),
        Some(Ok(None)) => return Ok(Word::Locked),
        Some(Err(error)) => return Err(io::Error::other(error.to_string())),
    };
    // Inherited by the agent: both of its pipes.
    agent.args(words).current_dir(cwd).stdin(Stdio::from(File::open(stdin)?));
    spawn::tie_to_this_thread(&mut agent);
    let child = match agent.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Word::Failed(error.raw_os_error().unwrap_or(0))),
    };
    drop(agent);
    Word::Started(child.id()).tell();
    let mut guard = Guard {
        leader: Some(Pid::from_child(&child)),
        run,
        grace: Duration::from_millis(grace),
        phase: Phase::Running,
        told: Vec::new(),
        leftovers: None,
    };
    Ok(guard.watch(&signals))
}

/// What wakes the guard besides its dispatcher.
struct Signals {
    /// Readable after any of the signals.
    wake: OwnedFd,
    /// Somebody asked the guard to end.
    asked: Arc<AtomicBool>,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
        }
        for signal in [SIGCHLD, SIGTERM, SIGINT, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Self { wake: wake.into(), asked })
    }
}

/// How far ending the run, or what is left of it, has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Asked to end; killed at this time.
    Asked(Instant),
    /// Killed; left behind at this time.
    Killed(Instant),
}

impl Phase {
    /// Whether asking has been enough.
    fn is_late(self, now: Instant) -> bool {
        match self {
            Self::Running => false,
            Self::Asked(at) => now >= at,
            Self::Killed(_) => true,
        }
    }
}

struct Guard {
    /// The agent, until it has been collected.
    leader: Option<Pid>,
    run: RunId,
    grace: Duration,
    phase: Phase,
    /// Who was asked to end.
    told: Vec<Process>,
    /// How many were there when the agent ended.
    leftovers: Option<usize>,
}

impl Guard {
    /// Watches until nothing of the run is left.
    fn watch(&mut self, signals: &Signals) -> Word {
        loop {
            let is_childless = self.collect();
            let now = Instant::now();
            // While the agent works there is nothing to look for.
            let is_over = self.leader.is_none();
            let left = if is_over || self.phase.is_late(now) { tree::family(&self.run) } else { Vec::new() };
            if is_over && self.leftovers.is_none() {
                self.leftovers = Some(left.len());
                self.phase = match self.phase {
                    Phase::Killed(_) => Phase::Killed(now + VANISH),
                    _ => Phase::Asked(now + self.grace),
                };
            }
            let is_stuck = matches!(self.phase, Phase::Killed(at) if now >= at);
            if is_stuck || (is_over && is_childless && left.is_empty()) {
                return Word::Done(self.leftovers.unwrap_or_default(), left.len());
            }
            self.go_on(now, &left);
            self.sleep(signals);
        }
    }

    /// Collects all children that have ended. True if there are no others.
    fn collect(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if Some(pid) == self.leader => {
                    self.leader = None;
                    Word::Ended(exit_of(status)).tell();
                }
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Takes the step that is due against those that are left.
    fn go_on(&mut self, now: Instant, left: &[Process]) {
        match self.phase {
            Phase::Running => return,
            // Before the agent has ended, its tools are left to it: nobody is in `left` then.
            Phase::Asked(at) if now < at => {
                for process in left {
                    if !self.told.contains(process) {
                        process.signal(Signal::TERM);
                        self.told.push(*process);
                    }
                }
                return;
            }
            Phase::Asked(_) => self.phase = Phase::Killed(now + VANISH),
            Phase::Killed(_) => {}
        }
        if let Some(leader) = self.leader {
            let _ = rustix::process::kill_process_group(leader, Signal::KILL);
        }
        for process in left {
            process.signal(Signal::KILL);
        }
    }

    /// Asks the agent to end.
    fn ask(&mut self, grace: Duration) {
        self.phase = Phase::Asked(Instant::now() + grace);
        if let Some(leader) = self.leader {
            let _ = rustix::process::kill_process_group(leader, Signal::TERM);
            // A stopped process would get the signal only after being continued.
            let _ = rustix::process::kill_process_group(leader, Signal::CONT);
        }
    }

    /// Sleeps until something happens, or for a moment while processes are ending.
    fn sleep(&mut self, signals: &Signals) {
        let is_running = self.phase == Phase::Running;
        let nap = (!is_running).then(|| Timespec::try_from(LOOK_AGAIN).ok()).flatten();
        let control = rustix::stdio::stdin();
        let mut polled = vec![PollFd::new(&signals.wake, PollFlags::IN)];
        if is_running {
            polled.push(PollFd::new(&control, PollFlags::IN));
        }
        // An interrupted call only means one more turn.
        let _ = poll(&mut polled, nap.as_ref());
        let has_word = polled.get(1).is_some_and(|control| !control.revents().is_empty());
        let mut buffer = [0; 64];
        while rustix::io::read(signals.wake.as_fd(), &mut buffer).is_ok_and(|length| length > 0) {}
        if !is_running {
            return;
        }
        if has_word {
            match rustix::io::read(control, &mut buffer) {
                Ok(0) | Err(_) => {
                    self.grace = self.grace.min(ORPHAN_GRACE);
                    self.ask(self.grace);
                }
                Ok(_) => self.ask(self.grace),
            }
        } else if signals.asked.load(Ordering::SeqCst) {
            self.ask(self.grace);
        }
    }
}

fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        let words = [
            Word::Started(7),
            Word::Failed(2),
            Word::Locked,
            Word::Broken("no room".to_string()),
            Word::Ended(Exit::Code(3)),
            Word::Ended(Exit::Signal(9)),
            Word::Done(2, 1),
        ];
        for word in words {
            assert_eq!(Word::parse(word.line().trim_end()).as_ref(), Some(&word));
        }
        for line in ["", "started", "started x", "done 1", "nonsense 1"] {
            assert_eq!(Word::parse(line), None, "{line}");
        }
    }

    #[test]
    fn only_its_name_makes_a_guard() {
        assert!(run_if_asked(["lanes", "status"].map(OsString::from).into_iter()).is_none());
        assert!(run_if_asked(std::iter::empty()).is_none());
    }
}
