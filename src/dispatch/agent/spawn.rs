//! Starting an agent that dies with its guard. The only unsafe code of the dispatcher.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, setsid};

/// Makes `command` start in a session of its own and be killed when the calling *thread* ends.
///
/// The session gives the process its own group and takes the terminal away from it: a program that
/// asks its terminal for a password fails at once instead of waiting for nobody. The signal follows
/// the thread because the kernel counts the thread as the parent: the thread that starts a process
/// must be the one that waits for it.
#[expect(unsafe_code, reason = "the parent-death signal can only be set between fork and exec")]
pub fn tie_to_this_thread(command: &mut Command) {
    let supervisor = getpid();
    let prepare = move || -> io::Result<()> {
        setsid()?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The supervisor may have died before the line above: then nobody would ever send the signal.
        if getppid() != Some(supervisor) {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::CHILD.raw_os_error()));
        }
        Ok(())
    };
    // SAFETY: the closure runs in the forked child of a program with threads, where only calls that
    // are safe in a signal handler are allowed. It makes four system calls (setsid, prctl, getppid,
    // and none to allocate: `from_raw_os_error` keeps a number) and touches no lock.
    unsafe {
        command.pre_exec(prepare);
    }
}
