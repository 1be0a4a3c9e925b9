//! One running adapter: its guard, its pipes, and the lines between it and the bridge.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};

use super::message::MAX_LINE_BYTES;
use super::redaction::Redaction;
use super::stderr::{AdapterLog, StderrReader};
use crate::bridge::stop::StopFlag;
use crate::guard::process_tree::{self, RUN_ID_VARIABLE, run_marker};
use crate::guard::{AgentExit, END_REQUEST, GuardCommand, GuardMessage, KILL_TIMEOUT};
use crate::model::{RunId, Time};
use crate::os::own_process;
use crate::os::process_handle::ProcessHandle;
use crate::store::Entropy;

/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// How long an adapter is waited for until the wish to stop is looked at again.
const STOP_CHECK: Duration = Duration::from_millis(100);
/// Maximum time for a guard to exit once it has nothing left to do.
const GUARD_EXIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the exit of an adapter that has closed its standard input is waited for.
const CLOSED_INPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// How an adapter is started.
pub(super) struct AdapterCommand {
    /// The program: a path, or a name to be found on the PATH of `environment`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Its environment; the variable that marks the processes of a run is added.
    pub environment: BTreeMap<OsString, OsString>,
    /// The value of that variable in the environment of this process.
    pub enclosing_runs: Option<String>,
}

/// Why an adapter cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AdapterFault {
    /// It could not be started; the value is `errno`.
    NotStarted(i32),
    /// Its guard failed, with this message.
    GuardFailed(String),
    /// It exited.
    Exited(AgentExit),
    /// It closed its standard input.
    ClosedInput,
    /// It did not answer in time.
    TimedOut,
    /// It wrote a line that is too long.
    LineTooLong,
    /// It wrote something that is not a message, or not the expected one.
    Misbehaved(String),
    /// Nothing is wrong with it: the bridge is being stopped.
    Stopped,
}

/// What takes lines of an adapter, and returns a value once it has what it waits for.
pub(super) type TakeLine<'a, T> = &'a mut dyn FnMut(&[u8]) -> Result<Option<T>, AdapterFault>;

/// A running adapter. It is ended with all of its descendants when this is dropped.
pub(super) struct AdapterProcess {
    run: RunId,
    guard: Child,
    /// The socket to the guard; `None` once the adapter has been ended.
    control: Option<UnixStream>,
    /// Bytes from the guard that do not form a complete line yet.
    received: Vec<u8>,
    is_started: bool,
    exit: Option<AgentExit>,
    not_started: Option<AdapterFault>,
    /// Whether the guard has reported that no process is left.
    is_over: bool,
    stdin: Option<File>,
    /// Whether the adapter has closed its standard input.
    is_input_refused: bool,
    stdout: Option<File>,
    lines: LineBuffer,
    stderr: StderrReader,
    /// Ends every wait for the adapter; `None` once it does not matter any more.
    stop: Option<Arc<StopFlag>>,
}

impl AdapterProcess {
    /// Starts an adapter, within `timeout`. Once the flag is set, it is not waited for any more.
    ///
    /// # Errors
    /// Why it could not be started.
    pub(super) fn start(
        command: &AdapterCommand,
        timeout: Duration,
        redaction: Redaction,
        (log, stop): (AdapterLog, Arc<StopFlag>),
    ) -> Result<Self, AdapterFault> {
        let failed = |error: io::Error| AdapterFault::GuardFailed(format!("its guard: {error}"));
        let (stdin_of_adapter, stdin) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let (control, theirs) = UnixStream::pair().map_err(failed)?;
        control.set_nonblocking(true).map_err(failed)?;
        let run = RunId::from_random(Entropy::system().next(Time::from_micros(0)));
        // The guard opens the pipe of this process by this name.
        let stdin_path = own_process::path_for_others(&stdin_of_adapter);
        let guard_command = GuardCommand {
            run: &run,
            grace: GRACE,
            lock: None,
            log: None,
            stdin: &stdin_path,
            cwd: &command.directory,
            program: &command.program,
            args: &command.args,
        };
        let mut guard = guard_command.command(own_process::program());
        guard.env_clear().envs(&command.environment);
        guard.env(RUN_ID_VARIABLE, run_marker(&run, command.enclosing_runs.as_deref()));
        guard.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut guard = guard.spawn().map_err(failed)?;
        let stdout = guard.stdout.take().map(|pipe| without_blocking(pipe.into()));
        let stderr: Box<dyn io::Read + Send> = match guard.stderr.take() {
            Some(pipe) => Box::new(pipe),
            None => Box::new(io::empty()),
        };
        let mut process = Self {
            run,
            guard,
            control: Some(control),
            received: Vec::new(),
            is_started: false,
            exit: None,
            not_started: None,
            is_over: false,
            stdin: Some(without_blocking(stdin)),
            is_input_refused: false,
            stdout,
            lines: LineBuffer::default(),
            stderr: StderrReader::start(stderr, redaction, log),
            stop: Some(stop),
        };
        process.wait_for_start(Instant::now() + timeout)?;
        drop(stdin_of_adapter);
        Ok(process)
    }

    /// Waits until the guard has started the adapter.
    fn wait_for_start(&mut self, deadline: Instant) -> Result<(), AdapterFault> {
        loop {
            self.read_control();
            if let Some(fault) = self.not_started.take() {
                return Err(fault);
            }
            if self.is_started {
                return Ok(());
            }
            if self.control.is_none() {
                return Err(AdapterFault::GuardFailed("its guard was killed".to_string()));
            }
            self.check_stop()?;
            let now = Instant::now();
            if now >= deadline {
                return Err(AdapterFault::TimedOut);
            }
            self.poll(false, false, deadline.saturating_duration_since(now).min(STOP_CHECK));
        }
    }

    /// Waits for the adapter from now on even if the bridge is being stopped, since it is asked to exit.
    pub(super) fn ignore_stop(&mut self) {
        self.stop = None;
    }

    fn check_stop(&self) -> Result<(), AdapterFault> {
        let is_stopped = self.stop.as_ref().is_some_and(|stop| stop.is_set());
        if is_stopped { Err(AdapterFault::Stopped) } else { Ok(()) }
    }

    /// Writes `request`, and reads lines until `take` returns a value.
    ///
    /// # Errors
    /// Why the adapter cannot go on: also when there is no value at `deadline`.
    pub(super) fn exchange<T>(
        &mut self,
        request: &[u8],
        deadline: Instant,
        take: TakeLine<'_, T>,
    ) -> Result<T, AdapterFault> {
        self.drive(request, deadline, take)?.ok_or(AdapterFault::TimedOut)
    }

    /// Reads lines until `take` returns a value, or until `deadline`.
    ///
    /// # Errors
    /// Why the adapter cannot go on.
    pub(super) fn read_until<T>(
        &mut self,
        deadline: Instant,
        take: TakeLine<'_, T>,
    ) -> Result<Option<T>, AdapterFault> {
        self.drive(&[], deadline, take)
    }

    fn drive<T>(
        &mut self,
        mut unwritten: &[u8],
        mut deadline: Instant,
        take: TakeLine<'_, T>,
    ) -> Result<Option<T>, AdapterFault> {
        loop {
            while let Some(line) = self.lines.next_line()? {
                if let Some(value) = take(&line)? {
                    return if unwritten.is_empty() {
                        Ok(Some(value))
                    } else {
                        Err(AdapterFault::Misbehaved("answered a request before reading it".to_string()))
                    };
                }
            }
            if let Some(exit) = self.exit {
                return Err(AdapterFault::Exited(exit));
            }
            if self.control.is_none() {
                return Err(AdapterFault::GuardFailed("its guard was killed".to_string()));
            }
            self.check_stop()?;
            let now = Instant::now();
            if now >= deadline {
                return if self.is_input_refused { Err(AdapterFault::ClosedInput) } else { Ok(None) };
            }
            let left = deadline.saturating_duration_since(now);
            self.poll(!unwritten.is_empty(), true, left.min(STOP_CHECK));
            // What the adapter wrote before its exit is in the pipe when the guard reports the exit.
            self.read_control();
            unwritten = self.write_some(unwritten);
            if self.is_input_refused {
                unwritten = &[];
                deadline = deadline.min(Instant::now() + CLOSED_INPUT_TIMEOUT);
            }
            self.read_stdout();
        }
    }

    /// Waits until there is something to read, or to write, or `timeout` has passed.
    fn poll(&self, with_stdin: bool, with_stdout: bool, timeout: Duration) {
        let mut polled = Vec::with_capacity(3);
        if let Some(control) = &self.control {
            polled.push(PollFd::new(control, PollFlags::IN));
        }
        if let Some(stdout) = self.stdout.as_ref().filter(|_| with_stdout) {
            polled.push(PollFd::new(stdout, PollFlags::IN));
        }
        if let Some(stdin) = self.stdin.as_ref().filter(|_| with_stdin) {
            polled.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::OUT));
        }
        let timeout = Timespec::try_from(timeout).ok();
        // An interrupted or failed call ends the wait early, which costs one more iteration.
        let _ = poll(&mut polled, timeout.as_ref());
    }

    /// Writes what the pipe takes now. Returns the rest.
    fn write_some<'a>(&mut self, mut unwritten: &'a [u8]) -> &'a [u8] {
        while let Some(stdin) = self.stdin.as_mut().filter(|_| !unwritten.is_empty()) {
            match stdin.write(unwritten) {
                Ok(length) => unwritten = &unwritten[length..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.stdin = None;
                    self.is_input_refused = true;
                }
            }
        }
        unwritten
    }

    /// Reads what the adapter has written, up to a little more than the longest line.
    fn read_stdout(&mut self) {
        let mut buffer = [0; 64 * 1024];
        while let Some(stdout) = self.stdout.as_mut().filter(|_| !self.lines.is_too_long()) {
            match stdout.read(&mut buffer) {
                Ok(0) => self.stdout = None,
                Ok(length) => self.lines.push(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.stdout = None,
            }
        }
    }

    /// Reads and handles the guard's messages.
    fn read_control(&mut self) {
        let mut buffer = [0; 1024];
        while let Some(control) = &mut self.control {
            match control.read(&mut buffer) {
                Ok(0) => self.control = None,
                Ok(length) => self.received.extend(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.control = None,
            }
        }
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            match GuardMessage::parse(String::from_utf8_lossy(&line).trim_end()) {
                Some(GuardMessage::Started(_)) => self.is_started = true,
                Some(GuardMessage::SpawnFailed(errno)) => self.never_started(AdapterFault::NotStarted(errno)),
                Some(GuardMessage::GuardFailed(why)) => {
                    self.never_started(AdapterFault::GuardFailed(format!("its guard: {why}")));
                }
                Some(GuardMessage::Exited(exit)) => self.exit = Some(exit),
                Some(GuardMessage::Done(..)) => self.is_over = true,
                Some(GuardMessage::Locked) | None => {}
            }
        }
    }

    fn never_started(&mut self, fault: AdapterFault) {
        self.not_started = Some(fault);
        self.is_over = true;
    }

    /// Waits until `deadline` for the adapter to exit by itself; what it writes is dropped. Returns whether it did.
    pub(super) fn has_exited_by(&mut self, deadline: Instant) -> bool {
        let exited = self.read_until(deadline, &mut |_| Ok(None::<()>));
        matches!(exited, Err(AdapterFault::Exited(_)))
    }

    /// Closes the standard input of the adapter.
    pub(super) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Ends the adapter with all of its descendants: SIGTERM, then SIGKILL. Returns the last line of its log.
    pub(super) fn end(&mut self) -> String {
        self.stdin = None;
        if self.control.is_some() {
            if let Some(control) = &self.control {
                // A write error means that the guard has exited; the end of the socket reports that.
                let _ = rustix::io::write(control, END_REQUEST);
            }
            // A stopped guard does not read its socket.
            let _ = rustix::process::kill_process(Pid::from_child(&self.guard), Signal::CONT);
            // One grace period for the adapter, one for its remaining processes.
            let deadline = Instant::now() + (GRACE + KILL_TIMEOUT) * 2;
            while !self.is_over && self.control.is_some() && Instant::now() < deadline {
                self.poll(false, false, deadline.saturating_duration_since(Instant::now()));
                self.read_control();
            }
            self.control = None;
        }
        self.reap_guard();
        if !self.is_over {
            // The guard was killed, and the adapter with it. What the adapter has started is known by its marker.
            let _ = process_tree::terminate(&self.run, Duration::ZERO);
        }
        self.stderr.last_line()
    }

    /// Reaps the guard; kills it, and what it was to end, if it does not exit.
    fn reap_guard(&mut self) {
        let pid = Pid::from_child(&self.guard);
        for attempt in 0..3 {
            let timeout = if attempt == 0 { GUARD_EXIT_TIMEOUT } else { KILL_TIMEOUT };
            if wait_for_exit(&mut self.guard, timeout) {
                return;
            }
            process_tree::kill_all(pid, &self.run);
        }
    }
}

impl Drop for AdapterProcess {
    fn drop(&mut self) {
        if self.control.is_some() || matches!(self.guard.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

/// Waits until a child has exited and reaps it. Returns `false` if it has not exited in time.
fn wait_for_exit(child: &mut Child, timeout: Duration) -> bool {
    let exit = ProcessHandle::open(Pid::from_child(child));
    let deadline = Instant::now() + timeout;
    loop {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        match &exit {
            Some(exit) => {
                let timeout = Timespec::try_from(left).ok();
                let _ = poll(&mut [PollFd::new(exit, PollFlags::IN)], timeout.as_ref());
            }
            None => std::thread::sleep(left.min(Duration::from_millis(20))),
        }
    }
}

/// Makes reads from this end of a pipe, or writes to it, fail instead of waiting. The other end is not affected.
fn without_blocking(pipe: OwnedFd) -> File {
    let _ = rustix::io::ioctl_fionbio(&pipe, true);
    File::from(pipe)
}

/// Cuts the bytes that an adapter writes into lines.
#[derive(Debug, Default)]
struct LineBuffer {
    bytes: Vec<u8>,
    /// Number of bytes at the start that contain no line break.
    scanned: usize,
}

impl LineBuffer {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns whether no further bytes should be added before lines are taken.
    fn is_too_long(&self) -> bool {
        self.bytes.len() > MAX_LINE_BYTES
    }

    /// Takes the next line, without its line break. Empty lines are skipped.
    ///
    /// # Errors
    /// `LineTooLong`.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, AdapterFault> {
        loop {
            let Some(end) = self.bytes[self.scanned..].iter().position(|byte| *byte == b'\n') else {
                self.scanned = self.bytes.len();
                return if self.is_too_long() { Err(AdapterFault::LineTooLong) } else { Ok(None) };
            };
            let end = self.scanned + end;
            self.scanned = 0;
            let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
            line.truncate(line.trim_ascii_end().len());
            if line.len() > MAX_LINE_BYTES {
                return Err(AdapterFault::LineTooLong);
            }
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_lines_of_limited_length() {
        let mut lines = LineBuffer::default();
        lines.push(b"a");
        assert_eq!(lines.next_line(), Ok(None));
        lines.push(b"b\r\n\n  \nc\nd");
        assert_eq!(lines.next_line(), Ok(Some(b"ab".to_vec())));
        assert_eq!(lines.next_line(), Ok(Some(b"c".to_vec())));
        assert_eq!(lines.next_line(), Ok(None));
        lines.push(&vec![b'x'; MAX_LINE_BYTES - 1]);
        assert_eq!(lines.next_line(), Ok(None));
        lines.push(b"\n");
        assert_eq!(lines.next_line().map(|line| line.map(|line| line.len())), Ok(Some(MAX_LINE_BYTES)));
        lines.push(&vec![b'x'; MAX_LINE_BYTES + 1]);
        assert_eq!(lines.next_line(), Err(AdapterFault::LineTooLong));
    }
}
