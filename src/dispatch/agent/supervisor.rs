//! When a run ends, as its dispatcher decides, and the end of a run whose guard fails.

use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::guard::{END_REQUEST, GuardMessage, VANISH};
use super::pipes::{AgentEvent, AgentPipes};
use super::process_tree::{self, Process, RunId};
use super::reaper::GuardPool;
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
pub struct StopHandle(Arc<StopState>);

#[derive(Debug)]
struct StopState {
    reason: OnceLock<StopReason>,
    /// Readable once a reason is there, so that the supervisor wakes up.
    wake: OwnedFd,
}

impl StopHandle {
    /// A handle for a run that has not been started.
    pub fn new() -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Error::io("create", "an event descriptor", error))?;
        Ok(Self(Arc::new(StopState { reason: OnceLock::new(), wake })))
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
pub enum AgentEnd {
    /// The agent ran and ended.
    Exited(Exit),
    /// It could not be started, for this reason (`errno`).
    SpawnFailed(i32),
    /// Another run has what it needs for itself.
    Locked,
    /// The guard could not do its work.
    GuardFailed(String),
}

/// What became of the rest of the family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cleanup {
    /// How many processes were still there when the first one was gone.
    pub leftovers: usize,
    /// How many of them could not be ended.
    pub survivors: usize,
}

/// The rules by which one run is ended.
pub struct RunLimits {
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
pub struct Supervisor<'a> {
    guard_pool: &'a GuardPool,
    guard: Child,
    control: Option<UnixStream>,
    /// What came from the guard and is no whole line yet.
    received: Vec<u8>,
    /// Readable once the agent has ended, whatever its guard says.
    agent: Option<OwnedFd>,
    run: RunId,
    limits: RunLimits,
    stop: StopHandle,
    stopped: Option<StopReason>,
    agent_end: Option<AgentEnd>,
    cleanup: Option<Cleanup>,
    /// When the guard must be done.
    guard_deadline: Option<Instant>,
}

impl<'a> Supervisor<'a> {
    /// Listens to `guard` through `control`.
    pub fn new(
        guard_pool: &'a GuardPool,
        (guard, control): (Child, UnixStream),
        run: RunId,
        limits: RunLimits,
        stop: StopHandle,
    ) -> Self {
        Self {
            guard_pool,
            guard,
            control: Some(control),
            received: Vec::new(),
            agent: None,
            run,
            limits,
            stop,
            stopped: None,
            agent_end: None,
            cleanup: None,
            guard_deadline: None,
        }
    }

    /// Why the process was ended, if it was.
    pub fn stopped(&self) -> Option<StopReason> {
        self.stopped
    }

    /// Reads and waits until nothing of the run is left, ending it when there is a reason to.
    pub fn run_to_end(
        &mut self,
        output: &mut AgentPipes,
        observe: &mut dyn FnMut(AgentEvent<'_>),
    ) -> (AgentEnd, Cleanup) {
        while self.cleanup.is_none() && self.control.is_some() {
            let now = Instant::now();
            if self.guard_deadline.is_some_and(|guard_deadline| now >= guard_deadline) {
                // It is stopped, or worse. What it held falls to this process.
                process_tree::kill_all(Pid::from_child(&self.guard), &self.run);
                break;
            }
            if self.stopped.is_none() && self.agent_end.is_none() {
                self.stopped = self.reason_to_end(now, output);
                if self.stopped.is_some() {
                    self.request_end();
                    // The agent's grace, then that of what it leaves behind.
                    self.guard_deadline = Some(now + (self.limits.grace + VANISH) * 2 + PATIENCE);
                }
            }
            self.sleep(now, output, observe);
            self.read_messages(observe);
        }
        // The guard stays until everything is read.
        output.drain(observe);
        self.control = None;
        self.reap_guard();
        let cleanup = match self.cleanup {
            Some(cleanup) => cleanup,
            None => self.end_leftovers(),
        };
        // Without its guard's word about its end it was killed, by the kernel if by nobody else.
        (self.agent_end.take().unwrap_or(AgentEnd::Exited(Exit::Signal(9))), cleanup)
    }

    fn reason_to_end(&self, now: Instant, output: &AgentPipes) -> Option<StopReason> {
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

    fn silence_end(&self, output: &AgentPipes) -> Option<Instant> {
        output.last_byte().checked_add(self.limits.silence?)
    }

    fn refusal_end(&self, output: &AgentPipes) -> Option<Instant> {
        output.refused_since()?.checked_add(REFUSAL)
    }

    fn linger_end(&self, output: &AgentPipes) -> Option<Instant> {
        output.done_since()?.checked_add(self.limits.linger)
    }

    fn request_end(&mut self) {
        if let Some(control) = &self.control {
            // If nobody hears it any more, the end of the socket says so.
            let _ = rustix::io::write(control, END_REQUEST);
        }
        // It hears nothing while somebody keeps it stopped.
        let _ = rustix::process::kill_process(Pid::from_child(&self.guard), Signal::CONT);
    }

    fn sleep(&mut self, now: Instant, output: &mut AgentPipes, observe: &mut dyn FnMut(AgentEvent<'_>)) {
        let is_running = self.stopped.is_none() && self.agent_end.is_none();
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
        let next = reasons.into_iter().flatten().chain(self.guard_deadline).min();
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
    fn read_messages(&mut self, observe: &mut dyn FnMut(AgentEvent<'_>)) {
        let mut buffer = [0; 1024];
        while let Some(control) = &mut self.control {
            match control.read(&mut buffer) {
                Ok(0) => self.control = None,
                Ok(length) => self.received.extend(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => self.control = None,
            }
        }
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            if let Some(word) = GuardMessage::parse(String::from_utf8_lossy(&line).trim_end()) {
                self.handle(word, observe);
            }
        }
        if self.agent_end.is_none() && self.agent.as_ref().is_some_and(has_ended) {
            // The guard should have said so; it gets a little time for it.
            self.agent = None;
            self.expect_guard_end();
        }
    }

    fn handle(&mut self, word: GuardMessage, observe: &mut dyn FnMut(AgentEvent<'_>)) {
        match word {
            GuardMessage::Started(pid) => {
                let agent = Pid::from_raw(pid.cast_signed());
                self.agent = agent.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
                observe(AgentEvent::Started(pid));
            }
            GuardMessage::SpawnFailed(errno) => self.finish_early(AgentEnd::SpawnFailed(errno)),
            GuardMessage::Locked => self.finish_early(AgentEnd::Locked),
            GuardMessage::GuardFailed(why) => self.finish_early(AgentEnd::GuardFailed(why)),
            GuardMessage::Exited(exit) => {
                self.agent = None;
                self.agent_end = Some(AgentEnd::Exited(exit));
                self.expect_guard_end();
            }
            GuardMessage::Done(leftovers, survivors) => self.cleanup = Some(Cleanup { leftovers, survivors }),
        }
    }

    fn finish_early(&mut self, agent_end: AgentEnd) {
        self.agent_end = Some(agent_end);
        self.cleanup = Some(Cleanup::default());
    }

    fn expect_guard_end(&mut self) {
        self.guard_deadline = Some(Instant::now() + self.limits.grace + VANISH + PATIENCE);
    }

    /// Collects the guard, which has said its last word or is dead; killed if it stays all the same.
    fn reap_guard(&mut self) {
        let pid = Pid::from_child(&self.guard);
        let exit = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok();
        for _ in 0..2 {
            let until = Instant::now() + PATIENCE;
            while Instant::now() < until {
                if !matches!(self.guard.try_wait(), Ok(None)) {
                    self.guard_pool.reaped(pid);
                    return;
                }
                match &exit {
                    Some(exit) => drop(wait_readable(exit, until.saturating_duration_since(Instant::now()))),
                    None => std::thread::sleep(LOOK_AGAIN),
                }
            }
            process_tree::kill_all(pid, &self.run);
        }
        // Killed, but stuck in the kernel: it stays known, so that nobody takes it for a leftover.
    }

    /// Ends what a guard left behind that was killed.
    fn end_leftovers(&self) -> Cleanup {
        let find = || {
            let mut left = process_tree::marked_processes(&self.run);
            left.extend(self.guard_pool.leftovers());
            left.sort();
            left.dedup();
            left
        };
        let mut left = find();
        let mut cleanup = Cleanup { leftovers: left.len(), survivors: 0 };
        let asked = Instant::now();
        let mut signalled: Vec<Process> = Vec::new();
        while !left.is_empty() {
            let waited = asked.elapsed();
            if waited >= self.limits.grace + VANISH {
                cleanup.survivors = left.len();
                break;
            }
            for process in &left {
                if waited >= self.limits.grace {
                    process.signal(Signal::KILL);
                } else if !signalled.contains(process) {
                    process.signal(Signal::TERM);
                    signalled.push(*process);
                }
            }
            std::thread::sleep(LOOK_AGAIN);
            left = find();
        }
        cleanup
    }
}

fn has_ended(process: &OwnedFd) -> bool {
    wait_readable(process, Duration::ZERO)
}

fn wait_readable(descriptor: &OwnedFd, patience: Duration) -> bool {
    let timeout = Timespec::try_from(patience).ok();
    poll(&mut [PollFd::new(descriptor, PollFlags::IN)], timeout.as_ref()).is_ok_and(|ready| ready > 0)
}
