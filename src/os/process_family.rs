//! Becoming the parent of orphans, and children that die with their parent.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{
    Signal, getpid, getppid, set_child_subreaper, set_parent_process_death_signal, setsid,
};

/// Highest signal number, and the size of a signal set in bytes.
const LAST_SIGNAL: libc::c_int = 64;
const SIGNAL_MASK_BYTES: usize = 8;

/// Makes this process the parent of every descendant whose parent ends, whatever its session, group or environment.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn adopt_orphans() -> rustix::io::Result<()> {
    set_child_subreaper(Some(getpid()))
}

/// Makes `command` start in its own session, with the default action for every signal, and be killed when the
/// calling *thread* ends.
///
/// The session gives the process its own group and detaches it from the terminal: a program that asks for a
/// password on the terminal fails immediately instead of blocking. The kernel sends the parent-death signal
/// when the thread ends, because it considers the thread to be the parent: the thread that starts a process
/// must be the one that waits for it. Signals that `nohup`, a shell's `&` or the C library (signals 32 and 33)
/// have set to be ignored in this process would be ignored by every tool of an agent, which could then not be
/// interrupted.
#[expect(unsafe_code, reason = "the parent-death signal can only be set between fork and exec")]
pub(crate) fn die_with_this_thread(command: &mut Command) {
    let supervisor = getpid();
    let prepare = move || -> io::Result<()> {
        setsid()?;
        for signal in 1..=LAST_SIGNAL {
            reset_signal(signal);
        }
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // If the supervisor died before the line above, the signal would never be sent.
        if getppid() != Some(supervisor) {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::CHILD.raw_os_error()));
        }
        Ok(())
    };
    // SAFETY: the closure runs in the forked child of a program with threads, where only calls that
    // are safe in a signal handler are allowed. It only makes system calls (setsid, rt_sigaction, prctl,
    // getppid), does not allocate (`from_raw_os_error` stores a number) and takes no lock.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Resets a signal to its default action. Has no effect on SIGKILL and SIGSTOP, whose action cannot change.
///
/// Uses the system call, because the function of the C library rejects the signals that the library reserves.
#[expect(unsafe_code, reason = "no library resets the signals of the C library")]
fn reset_signal(signal: libc::c_int) {
    // All zeros mean the default action, no flags and an empty mask in every layout of the structure. The
    // array is longer than any of them.
    let action = [0u64; 8];
    // SAFETY: the call reads at most the size of the kernel's structure from `action`, which is larger,
    // writes nothing (the pointer for the old action is null), and only changes the action of the signal.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            action.as_ptr(),
            std::ptr::null_mut::<u64>(),
            SIGNAL_MASK_BYTES,
        );
    }
}
