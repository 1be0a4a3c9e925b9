//! A hold on one process, which never becomes a hold on another one that has got its id.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

/// A process that has an id, whatever becomes of it.
#[derive(Debug)]
pub(crate) struct ProcessHandle(OwnedFd);

impl ProcessHandle {
    /// Returns a handle of the process that has this id now. `None` when there is none, or the kernel is older than 5.3.
    pub(crate) fn open(pid: Pid) -> Option<Self> {
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok().map(Self)
    }
}

/// The descriptor is readable once the process has exited, reaped or not.
impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends a signal to the process that has this id, if it is the one that is meant.
///
/// `is_meant` is asked after the process is held, so its answer stays right until the signal is sent. Where the kernel cannot
/// hold a process, it is asked immediately before.
pub(crate) fn signal_if(pid: Pid, signal: Signal, is_meant: impl Fn() -> bool) {
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) if is_meant() => {
            let _ = rustix::process::pidfd_send_signal(process, signal);
        }
        Err(Errno::NOSYS) if is_meant() => {
            let _ = rustix::process::kill_process(pid, signal);
        }
        _ => {}
    }
}
