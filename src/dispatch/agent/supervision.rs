//! When a run ends, and how all of it is made to end.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::Happening;
use super::pipes::Output;
use super::stop::StopHandle;
use super::tree::{self, Process, RunId};
use crate::dispatch::outcome::StopReason;

/// How long a killed process may take to vanish before it is left behind.
const VANISH: Duration = Duration::from_secs(5);
/// How often to look whether processes that were told to end have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Longest sleep; every wake-up this is a fallback for comes at once.
const LONGEST_NAP: Duration = Duration::from_secs(60);

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
    /// Time between the polite and the final signal.
    pub grace: Duration,
    /// How long the process may stay, silent, after it has reported its result.
    pub linger: Duration,
}

/// Watches one process and its family, and ends them.
pub struct Supervision {
    leader: Pid,
    /// Readable once the first process has ended. Without such a descriptor (an old kernel) the loop
    /// looks from time to time.
    exit_fd: Option<OwnedFd>,
    run: RunId,
    limits: Limits,
    stop: StopHandle,
    stopped: Option<StopReason>,
    /// Members seen before the first process ended: afterwards descent no longer tells.
    family: Vec<Process>,
}

impl Supervision {
    /// Watches `leader`, which must not be collected before this is over.
    pub fn new(leader: Pid, run: RunId, limits: Limits, stop: StopHandle) -> Self {
        Self {
            leader,
            exit_fd: rustix::process::pidfd_open(leader, PidfdFlags::empty()).ok(),
            run,
            limits,
            stop,
            stopped: None,
            family: Vec::new(),
        }
    }

    /// Why the process was ended, if it was.
    pub fn stopped(&self) -> Option<StopReason> {
        self.stopped
    }

    /// Reads and waits until the first process has ended, ending it when there is a reason to.
    /// False if even killing did not end it.
    pub fn until_leader_ends(&mut self, output: &mut Output, observe: &mut dyn FnMut(Happening<'_>)) -> bool {
        let mut phase = Phase::Running;
        loop {
            let now = Instant::now();
            let next = match phase {
                Phase::Running => match self.reason_to_end(now, output) {
                    Some(reason) => {
                        self.stopped = Some(reason);
                        self.ask();
                        let kill_at = now + self.limits.grace;
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
            let extra = [self.exit_fd.as_ref().map(AsFd::as_fd), wake.as_ref().map(StopHandle::wake_fd)];
            let nap = if self.exit_fd.is_some() { LONGEST_NAP } else { LOOK_AGAIN };
            output.wait(&extra, next.map_or(nap, |at| at.saturating_duration_since(now).min(nap)), observe);
        }
    }

    fn reason_to_end(&self, now: Instant, output: &Output) -> Option<StopReason> {
        if let Some(reason) = self.stop.reason() {
            return Some(reason);
        }
        if output.is_wrong_session() {
            return Some(StopReason::WrongSession);
        }
        if self.linger_end(output).is_some_and(|at| now >= at) {
            return Some(StopReason::Lingering);
        }
        self.limits.deadline.filter(|at| now >= *at).map(|_| StopReason::Timeout)
    }

    /// When something will have to be done even if nothing happens.
    fn next_moment(&self, output: &Output) -> Option<Instant> {
        [self.linger_end(output), self.limits.deadline].into_iter().flatten().min()
    }

    fn linger_end(&self, output: &Output) -> Option<Instant> {
        output.done_since()?.checked_add(self.limits.linger)
    }

    fn leader_has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Looks without collecting. An error means that there is nothing to wait for any more.
        !matches!(rustix::process::waitid(WaitId::Pid(self.leader), options), Ok(None))
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
    pub fn end_family(&mut self, output: &mut Output, observe: &mut dyn FnMut(Happening<'_>)) -> Ending {
        let mut left = self.living_family();
        let mut ending = Ending { leftovers: left.len(), survivors: 0 };
        let asked = Instant::now();
        let mut signal = Signal::TERM;
        let mut told: Vec<Process> = Vec::new();
        while !left.is_empty() {
            let waited = asked.elapsed();
            if waited >= self.limits.grace + VANISH {
                ending.survivors = left.len();
                break;
            }
            if waited >= self.limits.grace && signal == Signal::TERM {
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
