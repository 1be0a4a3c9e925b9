//! Reads the output pipes of an agent without waiting for their end.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::log::{CappedLog, TailBuffer};
use crate::dispatch::cost_limit::CostLimit;
use crate::dispatch::output::{Note, StreamParser};

/// Number of bytes at the end of standard error that are kept in memory to classify the run.
const STDERR_TAIL_BYTES: usize = 16 * 1024;
/// Maximum time to read once every known process of the run has ended.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(1);

/// An event during a run.
#[derive(Debug)]
pub enum AgentEvent<'a> {
    /// The agent's process was started, with this process id.
    Started(u32),
    /// The agent reported the id of its conversation.
    Session(&'a str),
    /// Progress, for people.
    Note(Note),
}

/// What the agent has reported about its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionCheck {
    /// Nothing yet.
    Unreported,
    /// One that it may have.
    Accepted,
    /// Another one than the expected one.
    Wrong,
}

/// The output pipes of an agent's process, with the logs and the parser that receive their bytes.
pub(super) struct AgentPipes {
    stdout: Option<File>,
    stderr: Option<File>,
    out_log: CappedLog<File>,
    err_log: CappedLog<File>,
    err_tail: TailBuffer,
    parser: StreamParser,
    cost_limit: Option<CostLimit>,
    is_over_budget: bool,
    expected_session: Option<String>,
    session: SessionCheck,
    /// When the service refused the account, while the agent still retries.
    refused_since: Option<Instant>,
    /// Time of the last output on standard output.
    last_stdout: Instant,
    /// Time of the last output on either pipe or, without any, the start of the run.
    last_output: Instant,
}

impl AgentPipes {
    /// Creates pipes that are not connected to a process yet.
    pub(super) fn new(
        out_log: CappedLog<File>,
        err_log: CappedLog<File>,
        parser: StreamParser,
        cost_limit: Option<CostLimit>,
        expected_session: Option<String>,
    ) -> Self {
        Self {
            stdout: None,
            stderr: None,
            out_log,
            err_log,
            err_tail: TailBuffer::new(STDERR_TAIL_BYTES),
            parser,
            cost_limit,
            is_over_budget: false,
            expected_session,
            session: SessionCheck::Unreported,
            refused_since: None,
            last_stdout: Instant::now(),
            last_output: Instant::now(),
        }
    }

    /// Returns the time of the agent's last output or, without any, the start of the run.
    pub(super) fn last_output(&self) -> Instant {
        self.last_output
    }

    /// Returns whether the agent reported another conversation than the expected one.
    pub(super) fn is_wrong_session(&self) -> bool {
        self.session == SessionCheck::Wrong
    }

    /// Returns whether the run has cost as much as it may, and is not over.
    pub(super) fn is_over_budget(&self) -> bool {
        self.is_over_budget && !self.parser.has_final_result()
    }

    /// Returns when the service refused the account, while the agent still retries.
    pub(super) fn refused_since(&self) -> Option<Instant> {
        self.refused_since
    }

    /// Returns the time of the last output if the agent has reported its result.
    pub(super) fn done_since(&self) -> Option<Instant> {
        self.parser.has_final_result().then_some(self.last_stdout)
    }

    /// Connects the pipes of `child`.
    pub(super) fn take_pipes(&mut self, child: &mut Child) {
        let unblocked = |pipe: OwnedFd| {
            // Changes the reading end only; the agent's end is a separate open file description.
            let _ = rustix::io::ioctl_fionbio(&pipe, true);
            File::from(pipe)
        };
        self.stdout = child.stdout.take().map(|pipe| unblocked(pipe.into()));
        self.stderr = child.stderr.take().map(|pipe| unblocked(pipe.into()));
    }

    /// Waits until there is output, one of `extra` is readable, or `timeout` has passed; then reads. Output is neither
    /// waited for nor read unless `reads` is set.
    pub(super) fn wait(
        &mut self,
        extra: &[Option<BorrowedFd<'_>>],
        timeout: Duration,
        reads: bool,
        observe: &mut dyn FnMut(AgentEvent<'_>),
    ) {
        let pipes = [&self.stdout, &self.stderr];
        let pipes = pipes.into_iter().flatten().filter(|_| reads).map(AsFd::as_fd);
        let descriptors = pipes.chain(extra.iter().flatten().copied());
        let mut polled: Vec<PollFd<'_>> =
            descriptors.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(timeout).ok();
        // An interrupted or failed call ends the wait early, which costs one more iteration.
        let _ = poll(&mut polled, timeout.as_ref());
        if reads {
            self.read(observe);
        }
    }

    /// Reads once from each pipe, without waiting.
    fn read(&mut self, observe: &mut dyn FnMut(AgentEvent<'_>)) -> bool {
        let mut buffer = [0; 64 * 1024];
        let mut got_some = false;
        if let Some(length) = read_some(&mut self.stdout, &mut buffer) {
            let bytes = &buffer[..length];
            self.out_log.push(bytes);
            self.parser.feed(bytes, &mut |note| observe(AgentEvent::Note(note)));
            self.last_stdout = Instant::now();
            self.check_session(observe);
            if let Some(limit) = &self.cost_limit {
                self.is_over_budget =
                    self.parser.usage_so_far().is_some_and(|usage| limit.is_reached(&usage));
            }
            let since = self.refused_since.unwrap_or(self.last_stdout);
            self.refused_since = self.parser.is_refused().then_some(since);
            got_some = true;
        }
        if let Some(length) = read_some(&mut self.stderr, &mut buffer) {
            let bytes = &buffer[..length];
            self.err_log.push(bytes);
            self.err_tail.push(bytes);
            got_some = true;
        }
        if got_some {
            self.last_output = Instant::now();
        }
        got_some
    }

    fn check_session(&mut self, observe: &mut dyn FnMut(AgentEvent<'_>)) {
        let Some(session) = self.parser.session_id() else { return };
        let is_first = self.session == SessionCheck::Unreported;
        if self.expected_session.as_deref().is_some_and(|expected| expected != session) {
            self.session = SessionCheck::Wrong;
        } else if is_first {
            self.session = SessionCheck::Accepted;
        }
        if is_first {
            observe(AgentEvent::Session(session));
        }
    }

    /// Reads the rest of the pipes, for at most `MAX_DRAIN_TIME`, and closes them.
    pub(super) fn drain(&mut self, observe: &mut dyn FnMut(AgentEvent<'_>)) {
        let until = Instant::now() + MAX_DRAIN_TIME;
        // All processes of the run have ended, so their output is already in the pipes. An unrelated process
        // that holds a pipe open is not waited for.
        while (self.stdout.is_some() || self.stderr.is_some()) && Instant::now() < until {
            if !self.read(observe) {
                break;
            }
        }
        self.stdout = None;
        self.stderr = None;
    }

    /// Completes the logs and returns the output.
    pub(super) fn finish(self) -> CapturedOutput {
        let logs = [self.out_log.finish(), self.err_log.finish()];
        CapturedOutput {
            parser: self.parser,
            stderr: self.err_tail.text(),
            dropped: logs.iter().filter_map(|log| log.as_ref().ok()).sum(),
            log_error: logs.into_iter().find_map(Result::err),
        }
    }
}

/// The output of an agent that has ended.
pub(super) struct CapturedOutput {
    pub parser: StreamParser,
    /// End of standard error.
    pub stderr: String,
    /// Number of output bytes that are missing in the logs.
    pub dropped: u64,
    pub log_error: Option<io::Error>,
}

/// Reads once; returns `None` if there is no output now. Closes a pipe that has ended or failed.
fn read_some(pipe: &mut Option<File>, buffer: &mut [u8]) -> Option<usize> {
    match pipe.as_mut()?.read(buffer) {
        Ok(0) => *pipe = None,
        Ok(length) => return Some(length),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
        Err(_) => *pipe = None,
    }
    None
}
