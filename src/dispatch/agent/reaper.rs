//! The guards of a dispatcher, and the processes that fall to it when one of them is killed.
//!
//! A dispatcher that has its process for itself has the kernel hand it what a killed guard leaves
//! behind. Every child that is not one of its guards is then such a leftover.

use std::collections::HashSet;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::guard::GuardCommand;
use super::process_tree::{self, Process};

/// Starts guards and knows them.
#[derive(Debug)]
pub struct GuardPool {
    /// This program, which is also the guards'.
    program: PathBuf,
    adopts: bool,
    guards: Mutex<HashSet<i32>>,
}

impl GuardPool {
    /// Guards are started from `program`; what a killed one leaves is known by its mark alone.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), adopts: false, guards: Mutex::default() }
    }

    /// For a process that does nothing but dispatch: it takes over what a killed guard leaves.
    ///
    /// Children that it had before are not its own, and the first process of a container is given
    /// those of everybody: then nothing is taken over.
    pub fn of_this_process() -> Self {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let is_childless =
            matches!(rustix::process::waitid(WaitId::All, options), Err(rustix::io::Errno::CHILD));
        let own = rustix::process::getpid();
        let adopts =
            is_childless && own != Pid::INIT && rustix::process::set_child_subreaper(Some(own)).is_ok();
        // The link leads to this very program even when its file has been replaced meanwhile.
        Self { adopts, ..Self::new("/proc/self/exe") }
    }

    /// Starts a guard; `finish` completes its command. Returns it with the socket to it.
    pub(super) fn start(
        &self,
        guard_command: &GuardCommand<'_>,
        finish: impl FnOnce(&mut Command),
    ) -> io::Result<(Child, UnixStream)> {
        let (own, theirs) = UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let mut command = guard_command.command(&self.program);
        finish(&mut command);
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
        // Held until it is known: else it would look like a leftover.
        let mut guards = self.lock();
        let child = command.spawn()?;
        guards.insert(Pid::from_child(&child).as_raw_pid());
        Ok((child, own))
    }

    /// A guard has been collected.
    pub(super) fn reaped(&self, guard: Pid) {
        self.lock().remove(&guard.as_raw_pid());
    }

    /// What killed guards have left, all of them together. Those that have ended are collected.
    pub(super) fn leftovers(&self) -> Vec<Process> {
        if !self.adopts {
            return Vec::new();
        }
        let guards = self.lock();
        let (living, ended) = process_tree::descendants(|pid| !guards.contains(&pid));
        for pid in ended.into_iter().filter_map(Pid::from_raw) {
            let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
        living
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<i32>> {
        // A panic elsewhere leaves the set as it was: still right.
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
