//! When a run ends, as its dispatcher decides, and the end of a run whose guard fails.

use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::guard::{END, VANISH, Word};
use super::pipes::{Happening, Output};
use super::process_tree::{self, Process, RunId};
use super::reaper::Household;
use crate::dispatch::outcome::{Exit, StopReason};
use crate::{Error, Result};

/// How much longer than it needs a guard may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look whether processes that were told to end have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long an agent may try again whose account is refused: long enough to take a fresh access token.
const REFUSAL: Duration = Duration::from_secs(5);
/// Longest sleep; every wake-up this is a fallback for comes at once.
const LONGEST_NAP: Duration = Duration::from_secs(60);

/// Ends one run. Copies belong to the same run; the first reason given is the one that counts, and
/// one given before the start keeps the agent from starting at all.
#[derive(Clone, Debug)]
pub struct StopHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reason: OnceLock<StopReason>,
    /// Readable once a reason is there, so that the supervisor wakes up.
    wake: OwnedFd,
}

impl StopHandle {
    /// A handle for a run that has not been started.
    pub fn new() -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Error::io("create", "an event descriptor", error))?;
        Ok(Self(Arc::new(Inner { reason: OnceLock::new(), wake })))
    }

    /// Asks the run to end; returns whether this reason was the first.
    pub fn stop(&self, reason: StopReason) -> bool {
        let is_first = self.0.reason.set(reason).is_ok();
        // Cannot fail short of 2^64 calls; the supervisor looks at the reason at every turn as well.
        let _ = rustix::io::write(&self.0.wake, &1u64.to_ne_bytes());
        is_first
    }

    /// The reason given, if there is one.
    pub fn reason(&self) -> Option<StopReason> {
        self.0.reason.get().copied()
    }

    /// Readable from the moment a reason is given.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The agent ran and ended.
    Ended(Exit),
    /// It could not be started, for this reason (`errno`).
    Failed(i32),
    /// Another run has what it needs for itself.
    Locked,
    /// The guard could not do its work.
    Broken(String),
}

/// What became of the rest of the family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending {
    /// How many processes were still there when the first one was gone.
    pub leftovers: usize,
    /// How many of them could not be ended.
    pub survivors: usize,
}

/// The rules by which one run is ended.
pub struct Limits {
    /// When time is up.
    pub deadline: Option<Instant>,
    /// How long the process may print nothing.
    pub silence: Option<Duration>,
    /// Time between the polite and the final signal.
    pub grace: Duration,
    /// How long the process may stay, silent, after it has reported its result.
    pub linger: Duration,
}

/// Listens to the guard of one run, and tells it when to end the run.
pub struct Supervision<'a> {
    household: &'a Household,
    guard: Child,
    control: Option<UnixStream>,
    /// What came from the guard and is no whole line yet.
    heard: Vec<u8>,
    /// Readable once the agent has ended, whatever its guard says.
    agent: Option<OwnedFd>,
    run: RunId,
    limits: Limits,
    stop: StopHandle,
    stopped: Option<StopReason>,
    fate: Option<Fate>,
    ending: Option<Ending>,
    /// When the guard must be done.
    due: Option<Instant>,
}

impl<'a> Supervision<'a> {
    /// Listens to `guard` through `control`.
    pub fn new(
        household: &'a Household,
        (guard, control): (Child, UnixStream),
        run: RunId,
        limits: Limits,
        stop: StopHandle,
    ) -> Self {
        Self {
            household,
            guard,
            control: Some(control),
            heard: Vec::new(),
            agent: None,
            run,
            limits,
            stop,
            stopped: None,
            fate: None,
            ending: None,
            due: None,
        }
    }

    /// Why the process was ended, if it was.
    pub fn stopped(&self) -> Option<StopReason> {
        self.stopped
    }

    /// Reads and waits until nothing of the run is left, ending it when there is a reason to.
    pub fn until_over(
        &mut self,
        output: &mut Output,
        observe: &mut dyn FnMut(Happening<'_>),
    ) -> (Fate, Ending) {
        while self.ending.is_none() && self.control.is_some() {
            let now = Instant::now();
            if self.due.is_some_and(|due| now >= due) {
                // It is stopped, or worse. What it held falls to this process.
                process_tree::crush(Pid::from_child(&self.guard), &self.run);
                break;
            }
            if self.stopped.is_none() && self.fate.is_none() {
                self.stopped = self.reason_to_end(now, output);
                if self.stopped.is_some() {
                    self.tell_end();
                    // The agent's grace, then that of what it leaves behind.
                    self.due = Some(now + (self.limits.grace + VANISH) * 2 + PATIENCE);
                }
            }
            self.sleep(now, output, observe);
            self.listen(observe);
        }
        // The guard stays until everything is read.
        output.drain(observe);
        self.control = None;
        self.collect_guard();
        let ending = match self.ending {
            Some(ending) => ending,
            None => self.end_leftovers(),
        };
        // Without its guard's word about its end it was killed, by the kernel if by nobody else.
        (self.fate.take().unwrap_or(Fate::Ended(Exit::Signal(9))), ending)
    }

    fn reason_to_end(&self, now: Instant, output: &Output) -> Option<StopReason> {
        if let Some(reason) = self.stop.reason() {
            return Some(reason);
        }
        if output.is_wrong_session() {
            return Some(StopReason::WrongSession);
        }
        if self.refusal_end(output).is_some_and(|at| now >= at) {
            return Some(StopReason::Refused);
        }
        if self.linger_end(output).is_some_and(|at| now >= at) {
            return Some(StopReason::Lingering);
        }
        if self.limits.deadline.is_some_and(|at| now >= at) {
            return Some(StopReason::Timeout);
        }
        self.silence_end(output).filter(|at| now >= *at).map(|_| StopReason::Silent)
    }

    fn silence_end(&self, output: &Output) -> Option<Instant> {
        output.last_byte().checked_add(self.limits.silence?)
    }

    fn refusal_end(&self, output: &Output) -> Option<Instant> {
        output.refused_since()?.checked_add(REFUSAL)
    }

    fn linger_end(&self, output: &Output) -> Option<Instant> {
        output.done_since()?.checked_add(self.limits.linger)
    }

    fn tell_end(&mut self) {
        if let Some(control) = &self.control {
            // If nobody hears it any more, the end of the socket says so.
            let _ = rustix::io::write(control, END);
        }
        // It hears nothing while somebody keeps it stopped.
        let _ = rustix::process::kill_process(Pid::from_child(&self.guard), Signal::CONT);
    }

    fn sleep(&mut self, now: Instant, output: &mut Output, observe: &mut dyn FnMut(Happening<'_>)) {
        let is_running = self.stopped.is_none() && self.fate.is_none();
        let reasons = if is_running {
            [
                self.linger_end(output),
                self.limits.deadline,
                self.silence_end(output),
                self.refusal_end(output),
            ]
        } else {
            [None; 4]
        };
        let next = reasons.into_iter().flatten().chain(self.due).min();
        let nap = next.map_or(LONGEST_NAP, |at| at.saturating_duration_since(now).min(LONGEST_NAP));
        let wake = is_running.then(|| self.stop.clone());
        let extra = [
            self.control.as_ref().map(AsFd::as_fd),
            self.agent.as_ref().map(AsFd::as_fd),
            wake.as_ref().map(StopHandle::wake_fd),
        ];
        output.wait(&extra, nap, observe);
    }

    /// Takes in what the guard says.
    fn listen(&mut self, observe: &mut dyn FnMut(Happening<'_>)) {
        let mut buffer = [0; 1024];
        while let Some(control) = &mut self.control {
            match control.read(&mut buffer) {
                Ok(0) => self.control = None,
                Ok(length) => self.heard.extend(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => self.control = None,
            }
        }
        while let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            if let Some(word) = Word::parse(String::from_utf8_lossy(&line).trim_end()) {
                self.take(word, observe);
            }
        }
        if self.fate.is_none() && self.agent.as_ref().is_some_and(has_ended) {
            // The guard should have said so; it gets a little time for it.
            self.agent = None;
            self.must_be_done_soon();
        }
    }

    fn take(&mut self, word: Word, observe: &mut dyn FnMut(Happening<'_>)) {
        match word {
            Word::Started(pid) => {
                let agent = Pid::from_raw(pid.cast_signed());
                self.agent = agent.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
                observe(Happening::Started(pid));
            }
            Word::Failed(errno) => self.is_over(Fate::Failed(errno)),
            Word::Locked => self.is_over(Fate::Locked),
            Word::Broken(why) => self.is_over(Fate::Broken(why)),
            Word::Ended(exit) => {
                self.agent = None;
                self.fate = Some(Fate::Ended(exit));
                self.must_be_done_soon();
            }
            Word::Done(leftovers, survivors) => self.ending = Some(Ending { leftovers, survivors }),
        }
    }

    fn is_over(&mut self, fate: Fate) {
        self.fate = Some(fate);
        self.ending = Some(Ending::default());
    }

    fn must_be_done_soon(&mut self) {
        self.due = Some(Instant::now() + self.limits.grace + VANISH + PATIENCE);
    }

    /// Collects the guard, which has said its last word or is dead; killed if it stays all the same.
    fn collect_guard(&mut self) {
        let pid = Pid::from_child(&self.guard);
        let exit = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok();
        for _ in 0..2 {
            let until = Instant::now() + PATIENCE;
            while Instant::now() < until {
                if !matches!(self.guard.try_wait(), Ok(None)) {
                    self.household.collected(pid);
                    return;
                }
                match &exit {
                    Some(exit) => drop(wait_readable(exit, until.saturating_duration_since(Instant::now()))),
                    None => std::thread::sleep(LOOK_AGAIN),
                }
            }
            process_tree::crush(pid, &self.run);
        }
        // Killed, but stuck in the kernel: it stays known, so that nobody takes it for a leftover.
    }

    /// Ends what a guard left behind that was killed.
    fn end_leftovers(&self) -> Ending {
        let find = || {
            let mut left = process_tree::orphans(&self.run);
            left.extend(self.household.leftovers());
            left.sort();
            left.dedup();
            left
        };
        let mut left = find();
        let mut ending = Ending { leftovers: left.len(), survivors: 0 };
        let asked = Instant::now();
        let mut told: Vec<Process> = Vec::new();
        while !left.is_empty() {
            let waited = asked.elapsed();
            if waited >= self.limits.grace + VANISH {
                ending.survivors = left.len();
                break;
            }
            for process in &left {
                if waited >= self.limits.grace {
                    process.signal(Signal::KILL);
                } else if !told.contains(process) {
                    process.signal(Signal::TERM);
                    told.push(*process);
                }
            }
            std::thread::sleep(LOOK_AGAIN);
            left = find();
        }
        ending
    }
}

fn has_ended(process: &OwnedFd) -> bool {
    wait_readable(process, Duration::ZERO)
}

fn wait_readable(descriptor: &OwnedFd, patience: Duration) -> bool {
    let timeout = Timespec::try_from(patience).ok();
    poll(&mut [PollFd::new(descriptor, PollFlags::IN)], timeout.as_ref()).is_ok_and(|ready| ready > 0)
}
