//! Decides when a run ends, and cleans up a run whose guard fails.

use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, Signal};

use super::person_wait::PersonWait;
use super::pipes::{AgentEvent, AgentPipes};
use super::reaper::GuardPool;
use crate::dispatch::outcome::{AgentExit, StopReason};
use crate::guard::process_tree::{self, Process};
use crate::guard::{END_REQUEST, GuardMessage, KILL_TIMEOUT};
use crate::model::RunId;
use crate::os::process_handle::ProcessHandle;
use crate::{Error, Result};

/// Time for a guard to exit, in addition to the time limits of its work, before it is killed.
const GUARD_EXIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval between checks whether the signalled processes have ended.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum time that an agent may retry after its account was refused: enough to get a new access token.
const MAX_REFUSED_TIME: Duration = Duration::from_secs(5);
/// Maximum sleep while the run waits for a person: the end of the wait wakes nobody.
const WAITING_SLEEP: Duration = Duration::from_secs(1);
/// Maximum sleep. This is only a fallback: every relevant event wakes the supervisor immediately.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// Stops one run. Clones refer to the same run. The first reason wins, and a reason set before the start
/// prevents the agent from starting.
#[derive(Clone, Debug)]
pub struct StopHandle(Arc<StopState>);

#[derive(Debug)]
struct StopState {
    reason: OnceLock<StopReason>,
    /// Readable once a reason is set, which wakes the supervisor.
    wake: OwnedFd,
    person_wait: PersonWait,
}

impl StopHandle {
    /// Creates a handle for a run that has not been started.
    ///
    /// # Errors
    /// When the kernel has no descriptor left for the wake-up event.
    pub fn new() -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Error::io("create", "an event descriptor", error))?;
        Ok(Self(Arc::new(StopState { reason: OnceLock::new(), wake, person_wait: PersonWait::default() })))
    }

    /// Requests the end of the run. Returns whether this reason was the first.
    pub fn stop(&self, reason: StopReason) -> bool {
        let is_first = self.0.reason.set(reason).is_ok();
        // Fails only after 2^64 calls; the supervisor also checks the reason in every iteration.
        let _ = rustix::io::write(&self.0.wake, &1u64.to_ne_bytes());
        is_first
    }

    /// Records whether the run waits for a person's answer, which its time limits do not count.
    pub(crate) fn set_waiting(&self, is_waiting: bool) {
        self.0.person_wait.set(is_waiting, Instant::now());
    }

    fn person_wait(&self) -> &PersonWait {
        &self.0.person_wait
    }

    /// Returns the reason, if one is set.
    pub fn reason(&self) -> Option<StopReason> {
        self.0.reason.get().copied()
    }

    /// Returns a descriptor that is readable once a reason is set.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}

/// What the guard reported about the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GuardOutcome {
    /// The agent has run and exited.
    Exited(AgentExit),
    /// The agent could not be started; the value is `errno`.
    SpawnFailed(i32),
    /// Another run holds the lock.
    Locked,
    /// The guard failed, with this message.
    GuardFailed(String),
}

/// Counts of the processes that outlived the agent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LeftoverProcesses {
    /// Number of processes that were left when the agent had exited.
    pub leftovers: usize,
    /// Number of these processes that could not be ended.
    pub survivors: usize,
}

/// Time limits of a run.
pub(super) struct RunLimits {
    /// Time at which the run is stopped.
    pub deadline: Option<Instant>,
    /// Maximum time without output.
    pub silence_timeout: Option<Duration>,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Maximum time without output after the agent has reported its result.
    pub linger: Duration,
}

/// Reads the messages of a run's guard, and requests the end of the run from it.
pub(super) struct Supervisor<'a> {
    guard_pool: &'a GuardPool,
    guard: Child,
    control: Option<UnixStream>,
    /// Bytes from the guard that do not form a complete line yet.
    received: Vec<u8>,
    /// The agent, readable once the agent has exited, independently of the guard.
    agent: Option<ProcessHandle>,
    /// Whether the guard has reported the start of the agent.
    agent_is_reported: bool,
    run: RunId,
    limits: RunLimits,
    stop: StopHandle,
    stopped: Option<StopReason>,
    guard_outcome: Option<GuardOutcome>,
    leftover_processes: Option<LeftoverProcesses>,
    /// Time by which the guard must have finished.
    guard_deadline: Option<Instant>,
}

impl<'a> Supervisor<'a> {
    /// Creates the supervisor of the run of `guard`, whose socket is `control`.
    pub(super) fn new(
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
            agent_is_reported: false,
            run,
            limits,
            stop,
            stopped: None,
            guard_outcome: None,
            leftover_processes: None,
            guard_deadline: None,
        }
    }

    /// Returns the reason for which the run was stopped, if it was.
    pub(super) fn stopped(&self) -> Option<StopReason> {
        self.stopped
    }

    /// Reads output until no process of the run is left; stops the run when there is a reason.
    pub(super) fn run_to_end(
        &mut self,
        output: &mut AgentPipes,
        observe: &mut dyn FnMut(AgentEvent<'_>),
    ) -> (GuardOutcome, LeftoverProcesses) {
        while self.leftover_processes.is_none() && self.control.is_some() {
            let now = Instant::now();
            if self.guard_deadline.is_some_and(|guard_deadline| now >= guard_deadline) {
                // The guard is stopped or stuck. This process inherits its children.
                process_tree::kill_all(Pid::from_child(&self.guard), &self.run);
                break;
            }
            if self.stopped.is_none() && self.guard_outcome.is_none() {
                self.stopped = self.stop_reason(now, output);
                if self.stopped.is_some() {
                    self.request_end();
                    // One grace period for the agent, one for its remaining processes.
                    self.guard_deadline =
                        Some(now + (self.limits.grace + KILL_TIMEOUT) * 2 + GUARD_EXIT_TIMEOUT);
                }
            }
            self.sleep(now, output, observe);
            self.read_messages(observe);
        }
        // The guard stays until everything is read.
        output.drain(observe);
        self.control = None;
        self.reap_guard();
        let leftover_processes = match self.leftover_processes {
            Some(leftover_processes) => leftover_processes,
            None => self.end_leftovers(),
        };
        // The guard did not report an exit, so the agent was killed, by the kernel at the latest.
        (self.guard_outcome.take().unwrap_or(GuardOutcome::Exited(AgentExit::Signal(9))), leftover_processes)
    }

    /// Returns the reason to stop the run now, if there is one.
    fn stop_reason(&self, now: Instant, output: &AgentPipes) -> Option<StopReason> {
        if let Some(reason) = self.stop.reason() {
            return Some(reason);
        }
        if output.is_wrong_session() {
            return Some(StopReason::WrongSession);
        }
        if output.is_over_budget() {
            return Some(StopReason::OverBudget);
        }
        if self.refusal_deadline(output).is_some_and(|at| now >= at) {
            return Some(StopReason::Refused);
        }
        if self.linger_deadline(output).is_some_and(|at| now >= at) {
            return Some(StopReason::Lingering);
        }
        if self.deadline().is_some_and(|at| now >= at) {
            return Some(StopReason::Timeout);
        }
        self.silence_deadline(output).filter(|at| now >= *at).map(|_| StopReason::Silent)
    }

    /// Returns when the run is stopped unless there is further output.
    fn silence_deadline(&self, output: &AgentPipes) -> Option<Instant> {
        let since = self.stop.person_wait().last_end_or(output.last_output())?;
        since.checked_add(self.limits.silence_timeout?)
    }

    /// Returns when the run is stopped at the latest.
    fn deadline(&self) -> Option<Instant> {
        self.stop.person_wait().postponed(self.limits.deadline?)
    }

    /// Returns when the run is stopped unless the service accepts its account.
    fn refusal_deadline(&self, output: &AgentPipes) -> Option<Instant> {
        output.refused_since()?.checked_add(MAX_REFUSED_TIME)
    }

    /// Returns when the run is stopped unless there is further output after the result.
    fn linger_deadline(&self, output: &AgentPipes) -> Option<Instant> {
        output.done_since()?.checked_add(self.limits.linger)
    }

    /// Requests the end of the run from the guard.
    fn request_end(&mut self) {
        if let Some(control) = &self.control {
            // A write error means that the guard has exited; the end of the socket reports that.
            let _ = rustix::io::write(control, END_REQUEST);
        }
        // A stopped guard does not read its socket.
        let _ = rustix::process::kill_process(Pid::from_child(&self.guard), Signal::CONT);
    }

    /// Sleeps until there is output or a message, or something is due.
    fn sleep(&mut self, now: Instant, output: &mut AgentPipes, observe: &mut dyn FnMut(AgentEvent<'_>)) {
        let is_running = self.stopped.is_none() && self.guard_outcome.is_none();
        let reasons = if is_running {
            [
                self.linger_deadline(output),
                self.deadline(),
                self.silence_deadline(output),
                self.refusal_deadline(output),
            ]
        } else {
            [None; 4]
        };
        let next = reasons.into_iter().flatten().chain(self.guard_deadline).min();
        let longest = if self.stop.person_wait().is_waiting() { WAITING_SLEEP } else { MAX_SLEEP };
        let timeout = next.map_or(longest, |at| at.saturating_duration_since(now).min(longest));
        let wake = is_running.then(|| self.stop.clone());
        let extra = [
            self.control.as_ref().map(AsFd::as_fd),
            self.agent.as_ref().map(AsFd::as_fd),
            wake.as_ref().map(StopHandle::wake_fd),
        ];
        // The guard reports the start of the agent after it has started it, so output may come first. It waits.
        let may_have_started = self.agent_is_reported || self.control.is_none() || !is_running;
        output.wait(&extra, timeout, may_have_started, observe);
    }

    /// Reads and handles the guard's messages.
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
            if let Some(message) = GuardMessage::parse(String::from_utf8_lossy(&line).trim_end()) {
                self.handle(message, observe);
            }
        }
        if self.guard_outcome.is_none() && self.agent.as_ref().is_some_and(has_ended) {
            // The guard has not reported this yet; it gets a short time to do so.
            self.agent = None;
            self.limit_guard_time();
        }
    }

    /// Handles a message of the guard.
    fn handle(&mut self, message: GuardMessage, observe: &mut dyn FnMut(AgentEvent<'_>)) {
        match message {
            GuardMessage::Started(pid) => {
                let agent = Pid::from_raw(pid.cast_signed());
                self.agent = agent.and_then(ProcessHandle::open);
                self.agent_is_reported = true;
                observe(AgentEvent::Started(pid));
            }
            GuardMessage::SpawnFailed(errno) => self.end_without_run(GuardOutcome::SpawnFailed(errno)),
            GuardMessage::Locked => self.end_without_run(GuardOutcome::Locked),
            GuardMessage::GuardFailed(why) => self.end_without_run(GuardOutcome::GuardFailed(why)),
            GuardMessage::Exited(exit) => {
                self.agent = None;
                self.guard_outcome = Some(GuardOutcome::Exited(exit));
                self.limit_guard_time();
            }
            GuardMessage::Done(leftovers, survivors) => {
                self.leftover_processes = Some(LeftoverProcesses { leftovers, survivors })
            }
        }
    }

    /// Records the end of a run whose agent was not started.
    fn end_without_run(&mut self, guard_outcome: GuardOutcome) {
        self.guard_outcome = Some(guard_outcome);
        self.leftover_processes = Some(LeftoverProcesses::default());
    }

    /// Sets the time by which the guard must have ended the remaining processes and exited.
    fn limit_guard_time(&mut self) {
        self.guard_deadline = Some(Instant::now() + self.limits.grace + KILL_TIMEOUT + GUARD_EXIT_TIMEOUT);
    }

    /// Reaps the guard, which has sent its last message or is dead; kills it if it does not exit.
    fn reap_guard(&mut self) {
        let pid = Pid::from_child(&self.guard);
        let exit = ProcessHandle::open(pid);
        for _ in 0..2 {
            let until = Instant::now() + GUARD_EXIT_TIMEOUT;
            while Instant::now() < until {
                if !matches!(self.guard.try_wait(), Ok(None)) {
                    self.guard_pool.reaped(pid);
                    return;
                }
                match &exit {
                    Some(exit) => drop(wait_readable(exit, until.saturating_duration_since(Instant::now()))),
                    None => std::thread::sleep(POLL_INTERVAL),
                }
            }
            process_tree::kill_all(pid, &self.run);
        }
        // Killed, but stuck in the kernel: it stays in the pool, so that it is not taken for a leftover.
    }

    /// Ends the processes that a killed guard has left.
    fn end_leftovers(&self) -> LeftoverProcesses {
        let find = || {
            let mut left = process_tree::marked_processes(&self.run);
            left.extend(self.guard_pool.leftovers());
            left.sort();
            left.dedup();
            left
        };
        let mut left = find();
        let mut leftover_processes = LeftoverProcesses { leftovers: left.len(), survivors: 0 };
        let started = Instant::now();
        let mut signalled: Vec<Process> = Vec::new();
        while !left.is_empty() {
            let waited = started.elapsed();
            if waited >= self.limits.grace + KILL_TIMEOUT {
                leftover_processes.survivors = left.len();
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
            std::thread::sleep(POLL_INTERVAL);
            left = find();
        }
        leftover_processes
    }
}

fn has_ended(process: &ProcessHandle) -> bool {
    wait_readable(process, Duration::ZERO)
}

fn wait_readable(descriptor: &impl AsFd, timeout: Duration) -> bool {
    let timeout = Timespec::try_from(timeout).ok();
    poll(&mut [PollFd::new(descriptor, PollFlags::IN)], timeout.as_ref()).is_ok_and(|ready| ready > 0)
}
