//! Starts the guards of a dispatcher, and reaps the processes that a killed guard leaves.
//!
//! A dispatcher with a process of its own is a subreaper: the kernel makes it the parent of the processes that
//! a killed guard leaves. Every child that is not one of its guards is then such a leftover.

use std::collections::HashSet;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use crate::guard::GuardCommand;
use crate::guard::process_tree::{self, Process};
use crate::os::{own_process, process_family};

/// The guards of a dispatcher.
#[derive(Debug)]
pub struct GuardPool {
    /// Program of the guards: this one.
    program: PathBuf,
    /// Whether this process is a subreaper.
    is_subreaper: bool,
    guards: Mutex<HashSet<i32>>,
}

impl GuardPool {
    /// Creates a pool whose guards run `program`. Processes that a killed guard leaves are found only by their
    /// marker.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), is_subreaper: false, guards: Mutex::default() }
    }

    /// Creates the pool of a process that only dispatches and becomes the parent of the processes that a killed
    /// guard leaves.
    ///
    /// If the process already has children, or is the first process of a container, its children may be
    /// unrelated and are not touched.
    pub fn of_this_process() -> Self {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let is_childless =
            matches!(rustix::process::waitid(WaitId::All, options), Err(rustix::io::Errno::CHILD));
        let own = rustix::process::getpid();
        let is_subreaper = is_childless && own != Pid::INIT && process_family::adopt_orphans().is_ok();
        Self { is_subreaper, ..Self::new(own_process::program()) }
    }

    /// Starts a guard; `configure` completes its command. Returns the process and the socket to it.
    ///
    /// # Errors
    /// When the socket or the process cannot be created.
    pub(super) fn start(
        &self,
        guard_command: &GuardCommand<'_>,
        configure: impl FnOnce(&mut Command),
    ) -> io::Result<(Child, UnixStream)> {
        let (own, theirs) = UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let mut command = guard_command.command(&self.program);
        configure(&mut command);
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
        // Held until the guard is recorded, so that it is not taken for a leftover.
        let mut guards = self.lock();
        let child = command.spawn()?;
        guards.insert(Pid::from_child(&child).as_raw_pid());
        Ok((child, own))
    }

    /// Records that a guard was reaped.
    pub(super) fn reaped(&self, guard: Pid) {
        self.lock().remove(&guard.as_raw_pid());
    }

    /// Returns the running processes that killed guards have left, and reaps those that have exited.
    pub(super) fn leftovers(&self) -> Vec<Process> {
        if !self.is_subreaper {
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
        // A panic in another thread leaves the set valid.
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
