//! One agent process, from its start until nothing of it is left.
//!
//! One thread starts it, reads both of its pipes as they fill, watches the clock and the
//! [`StopHandle`], and ends it: asks the group (TERM), waits, then kills the group and every process
//! found to belong to the run. The first process is collected only after that, so that its number
//! cannot come to mean another group while signals are sent to it.
//!
//! The end never depends on the end of a pipe: a descendant may hold it open for ever. Once the first
//! process is gone and its family ended, what is in the pipes is read and they are closed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::log::{CappedLog, Tail};
use super::outcome::{Exit, Failure, StopReason};
use super::spawn::tie_to_this_thread;
use super::stop::StopHandle;
use super::stream::{Note, StreamParser};
use super::tree::{self, Process, RunId};
use crate::model::FailureClass;

/// How much of standard error is kept in memory to judge the run by.
const STDERR_TAIL: usize = 16 * 1024;
/// How long to go on reading the pipes once every known process of the run has ended.
const DRAIN: Duration = Duration::from_secs(1);
/// How long a killed process may take to vanish before it is left behind.
const VANISH: Duration = Duration::from_secs(5);
/// How often to look whether processes that were told to end have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Longest sleep; every wake-up this is a fallback for comes at once.
const LONGEST_NAP: Duration = Duration::from_secs(60);

/// What to run.
#[derive(Debug)]
pub struct AgentSpec {
    /// Program, looked up on the PATH of `env` unless it contains a slash.
    pub program: OsString,
    /// Arguments.
    pub args: Vec<String>,
    /// Working directory; must exist.
    pub cwd: PathBuf,
    /// The whole environment.
    pub env: BTreeMap<OsString, OsString>,
    /// The run's random name; must also be in `env` as [`tree::MARKER`].
    pub run: RunId,
    /// Standard input: the file that holds the prompt. A file needs no feeding and no reader.
    pub stdin: File,
    /// Receives standard output.
    pub stdout: CappedLog<File>,
    /// Receives standard error.
    pub stderr: CappedLog<File>,
    /// Reads standard output.
    pub parser: StreamParser,
    /// How long the run may take.
    pub timeout: Option<Duration>,
    /// Time between the polite and the final signal.
    pub grace: Duration,
    /// How long the process may stay, silent, after it has reported its result.
    pub linger: Duration,
    /// The conversation that must be continued: a run that announces another one is ended.
    pub expected_session: Option<String>,
}

/// What happens during a run.
#[derive(Debug)]
pub enum Happening<'a> {
    /// The process runs under this number.
    Started(u32),
    /// The agent said which conversation this is.
    Session(&'a str),
    /// Progress for people.
    Note(Note),
}

/// A run that is over.
#[derive(Debug)]
pub struct Finished {
    /// How the first process ended.
    pub exit: Exit,
    /// Why it was ended, if it was.
    pub stopped: Option<StopReason>,
    /// Has read everything.
    pub parser: StreamParser,
    /// The end of standard error.
    pub stderr: String,
    /// How long it took.
    pub duration: Duration,
    /// How many processes had to be ended after the first one was gone.
    pub leftovers: usize,
    /// How many processes could not be ended.
    pub survivors: usize,
    /// How many bytes of output are missing in the logs.
    pub dropped: u64,
    /// Why the logs are incomplete, if they are.
    pub log_error: Option<io::Error>,
}

/// Runs one agent to its end. Fails only if it cannot be started.
///
/// A reason given to `stop` before the start wins: nothing is started then.
pub fn run(
    spec: AgentSpec,
    stop: &StopHandle,
    observe: &mut dyn FnMut(Happening<'_>),
) -> Result<Finished, Failure> {
    let started = Instant::now();
    let mut output = Output {
        stdout: None,
        stderr: None,
        out_log: spec.stdout,
        err_log: spec.stderr,
        err_tail: Tail::new(STDERR_TAIL),
        parser: spec.parser,
        expected_session: spec.expected_session,
        session_told: false,
        wrong_session: false,
        last_output: started,
    };
    if stop.reason().is_some() {
        return Ok(output.finish(Exit::NotStarted, stop.reason(), started, Ending::default()));
    }
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .current_dir(&spec.cwd)
        .env_clear()
        .envs(&spec.env)
        .stdin(Stdio::from(spec.stdin))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    tie_to_this_thread(&mut command);
    let mut child = command
        .spawn()
        .map_err(|error| cannot_start(&spec.program, &spec.cwd, &error))?;
    let leader = Pid::from_child(&child);
    observe(Happening::Started(child.id()));
    output.take_pipes(&mut child);
    let mut supervision = Supervision {
        leader,
        // Without such a descriptor (an old kernel) the loop looks from time to time.
        exit_fd: rustix::process::pidfd_open(leader, PidfdFlags::empty()).ok(),
        run: spec.run,
        deadline: spec.timeout.and_then(|limit| started.checked_add(limit)),
        grace: spec.grace,
        linger: spec.linger,
        stop: stop.clone(),
        stopped: None,
        family: Vec::new(),
    };
    let is_gone = supervision.until_leader_ends(&mut output, observe);
    let ending = supervision.end_family(&mut output, observe);
    let exit = if is_gone {
        // The zombie kept its number until here.
        child.wait().map_or(Exit::Signal(9), exit_of)
    } else {
        // Killed, but stuck in the kernel: somebody has to collect it whenever it gets out.
        std::thread::spawn(move || child.wait());
        Exit::Signal(9)
    };
    output.drain(observe);
    Ok(output.finish(exit, supervision.stopped, started, ending))
}

fn cannot_start(program: &OsStr, cwd: &Path, error: &io::Error) -> Failure {
    let program = crate::error::printable(&program.to_string_lossy());
    let cwd_text = crate::error::printable(&cwd.to_string_lossy());
    if !cwd.is_dir() {
        return Failure::permanent(format!("the working directory {cwd_text} does not exist"));
    }
    match error.kind() {
        io::ErrorKind::NotFound => Failure::permanent(format!(
            "{program} is not installed, or not on the PATH of the dispatcher"
        )),
        io::ErrorKind::PermissionDenied => {
            Failure::permanent(format!("{program} may not be executed here: {error}"))
        }
        io::ErrorKind::ArgumentListTooLong => {
            Failure::permanent(format!("the arguments of {program} are too long"))
        }
        _ => Failure::new(
            FailureClass::Error,
            format!("{program} could not be started: {error}"),
        ),
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    }
}

/// How far ending the first process has come.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Running,
    /// Asked to end; killed at this time.
    Asked(Instant),
    /// Killed; left behind at this time.
    Killed(Instant),
}

/// What became of the rest of the family.
#[derive(Clone, Copy, Debug, Default)]
struct Ending {
    leftovers: usize,
    survivors: usize,
}

struct Supervision {
    leader: Pid,
    exit_fd: Option<OwnedFd>,
    run: RunId,
    deadline: Option<Instant>,
    grace: Duration,
    linger: Duration,
    stop: StopHandle,
    stopped: Option<StopReason>,
    /// Members seen before the first process ended: afterwards descent no longer tells.
    family: Vec<Process>,
}

impl Supervision {
    /// Reads and waits until the first process has ended, ending it when there is a reason to.
    /// False if even killing did not end it.
    fn until_leader_ends(&mut self, output: &mut Output, observe: &mut dyn FnMut(Happening<'_>)) -> bool {
        let mut phase = Phase::Running;
        loop {
            let now = Instant::now();
            let next = match phase {
                Phase::Running => match self.reason_to_end(now, output) {
                    Some(reason) => {
                        self.stopped = Some(reason);
                        self.ask();
                        let kill_at = now + self.grace;
                        phase = Phase::Asked(kill_at);
                        Some(kill_at)
                    }
                    None => self.next_moment(output),
                },
                Phase::Asked(at) if now >= at => {
                    self.kill();
                    phase = Phase::Killed(now + VANISH);
                    Some(now + VANISH)
                }
                Phase::Killed(at) if now >= at => return false,
                Phase::Asked(at) | Phase::Killed(at) => Some(at),
            };
            if self.leader_has_ended() {
                return true;
            }
            let listen = matches!(phase, Phase::Running);
            let wake = listen.then(|| self.stop.clone());
            let extra = [
                self.exit_fd.as_ref().map(AsFd::as_fd),
                wake.as_ref().map(StopHandle::wake_fd),
            ];
            let nap = if self.exit_fd.is_some() {
                LONGEST_NAP
            } else {
                LOOK_AGAIN
            };
            output.wait(
                &extra,
                next.map_or(nap, |at| at.saturating_duration_since(now).min(nap)),
                observe,
            );
        }
    }

    fn reason_to_end(&self, now: Instant, output: &Output) -> Option<StopReason> {
        if let Some(reason) = self.stop.reason() {
            return Some(reason);
        }
        if output.wrong_session {
            return Some(StopReason::WrongSession);
        }
        if output.parser.has_result() && now >= output.last_output + self.linger {
            return Some(StopReason::Lingering);
        }
        self.deadline.filter(|at| now >= *at).map(|_| StopReason::Timeout)
    }

    /// When something will have to be done even if nothing happens.
    fn next_moment(&self, output: &Output) -> Option<Instant> {
        let linger = output
            .parser
            .has_result()
            .then(|| output.last_output + self.linger);
        [linger, self.deadline].into_iter().flatten().min()
    }

    fn leader_has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Looks without collecting. An error means that there is nothing to wait for any more.
        !matches!(
            rustix::process::waitid(WaitId::Pid(self.leader), options),
            Ok(None)
        )
    }

    fn ask(&mut self) {
        self.family = tree::members(self.leader, &self.run);
        let _ = rustix::process::kill_process_group(self.leader, Signal::TERM);
        // A stopped process would get the signal only after being continued.
        let _ = rustix::process::kill_process_group(self.leader, Signal::CONT);
    }

    fn kill(&mut self) {
        let _ = rustix::process::kill_process_group(self.leader, Signal::KILL);
        for process in self.living_family() {
            process.signal(Signal::KILL);
        }
    }

    /// Everything of the run that lives, apart from the first process.
    fn living_family(&mut self) -> Vec<Process> {
        self.family.extend(tree::members(self.leader, &self.run));
        self.family.sort();
        self.family.dedup();
        self.family.retain(|process| process.is_alive());
        self.family.clone()
    }

    /// Ends what the first process left behind, reading on meanwhile.
    fn end_family(&mut self, output: &mut Output, observe: &mut dyn FnMut(Happening<'_>)) -> Ending {
        let mut left = self.living_family();
        let mut ending = Ending {
            leftovers: left.len(),
            survivors: 0,
        };
        let asked = Instant::now();
        let mut signal = Signal::TERM;
        let mut told: Vec<Process> = Vec::new();
        while !left.is_empty() {
            let waited = asked.elapsed();
            if waited >= self.grace + VANISH {
                ending.survivors = left.len();
                break;
            }
            if waited >= self.grace && signal == Signal::TERM {
                signal = Signal::KILL;
                told.clear();
            }
            for process in &left {
                if !told.contains(process) {
                    process.signal(signal);
                    told.push(*process);
                }
            }
            output.wait(&[], LOOK_AGAIN, observe);
            left = self.living_family();
        }
        ending
    }
}

/// Both pipes of the process and where they lead.
struct Output {
    stdout: Option<File>,
    stderr: Option<File>,
    out_log: CappedLog<File>,
    err_log: CappedLog<File>,
    err_tail: Tail,
    parser: StreamParser,
    expected_session: Option<String>,
    session_told: bool,
    wrong_session: bool,
    last_output: Instant,
}

impl Output {
    fn take_pipes(&mut self, child: &mut Child) {
        let unblocked = |pipe: OwnedFd| {
            // Only the reading end changes; the agent's end is another open file.
            let _ = rustix::io::ioctl_fionbio(&pipe, true);
            File::from(pipe)
        };
        self.stdout = child.stdout.take().map(|pipe| unblocked(pipe.into()));
        self.stderr = child.stderr.take().map(|pipe| unblocked(pipe.into()));
    }

    /// Sleeps until there is output, one of `extra` is readable, or `nap` is over; then reads.
    /// Returns whether there was output.
    fn wait(
        &mut self,
        extra: &[Option<BorrowedFd<'_>>],
        nap: Duration,
        observe: &mut dyn FnMut(Happening<'_>),
    ) -> bool {
        let pipes = [&self.stdout, &self.stderr];
        let pipes = pipes.into_iter().flatten().map(AsFd::as_fd);
        let descriptors = pipes.chain(extra.iter().flatten().copied());
        let mut polled: Vec<PollFd<'_>> = descriptors
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        let timeout = Timespec::try_from(nap).ok();
        // An interrupted or failed call ends the nap early, which only means one more turn.
        let _ = poll(&mut polled, timeout.as_ref());
        self.read(observe)
    }

    /// Reads once from each pipe, without waiting.
    fn read(&mut self, observe: &mut dyn FnMut(Happening<'_>)) -> bool {
        let mut buffer = [0; 64 * 1024];
        let mut got_some = false;
        if let Some(length) = read_some(&mut self.stdout, &mut buffer) {
            let bytes = &buffer[..length];
            self.out_log.push(bytes);
            self.parser
                .feed(bytes, &mut |note| observe(Happening::Note(note)));
            self.last_output = Instant::now();
            self.tell_session(observe);
            got_some = true;
        }
        if let Some(length) = read_some(&mut self.stderr, &mut buffer) {
            let bytes = &buffer[..length];
            self.err_log.push(bytes);
            self.err_tail.push(bytes);
            got_some = true;
        }
        got_some
    }

    fn tell_session(&mut self, observe: &mut dyn FnMut(Happening<'_>)) {
        if self.session_told {
            return;
        }
        if let Some(session) = self.parser.session_id() {
            self.session_told = true;
            self.wrong_session = self
                .expected_session
                .as_deref()
                .is_some_and(|expected| expected != session);
            observe(Happening::Session(session));
        }
    }

    /// Reads what is left in the pipes, for a bounded time, and closes them.
    fn drain(&mut self, observe: &mut dyn FnMut(Happening<'_>)) {
        let until = Instant::now() + DRAIN;
        // Everything of the run has ended, so what it wrote is there already. Whoever else holds a
        // pipe is not waited for.
        while (self.stdout.is_some() || self.stderr.is_some()) && Instant::now() < until {
            if !self.read(observe) {
                break;
            }
        }
        self.stdout = None;
        self.stderr = None;
    }

    fn finish(self, exit: Exit, stopped: Option<StopReason>, started: Instant, ending: Ending) -> Finished {
        let logs = [self.out_log.finish(), self.err_log.finish()];
        let dropped = logs.iter().filter_map(|log| log.as_ref().ok()).sum();
        Finished {
            exit,
            stopped,
            parser: self.parser,
            stderr: self.err_tail.text(),
            duration: started.elapsed(),
            leftovers: ending.leftovers,
            survivors: ending.survivors,
            dropped,
            log_error: logs.into_iter().find_map(Result::err),
        }
    }
}

/// Reads once; nothing if there is nothing now. A pipe that has ended or failed is closed.
fn read_some(pipe: &mut Option<File>, buffer: &mut [u8]) -> Option<usize> {
    match pipe.as_mut()?.read(buffer) {
        Ok(0) => *pipe = None,
        Ok(length) => return Some(length),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) => {}
        Err(_) => *pipe = None,
    }
    None
}
