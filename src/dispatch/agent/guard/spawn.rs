//! Starting an agent that dies with its guard. The only unsafe code of the dispatcher.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, setsid};

/// The highest number of a signal, and the size of a set of them in bytes.
const LAST_SIGNAL: libc::c_int = 64;
const SIGNAL_MASK_BYTES: usize = 8;

/// Makes `command` start in a session of its own, ignoring no signal, and be killed when the calling
/// *thread* ends.
///
/// The session gives the process its own group and takes the terminal away from it: a program that
/// asks its terminal for a password fails at once instead of waiting for nobody. The signal follows
/// the thread because the kernel counts the thread as the parent: the thread that starts a process
/// must be the one that waits for it. What `nohup`, a shell's `&` or the C library (signals 32 and 33)
/// had the guard ignore would go on to every tool of the agent, which could not be interrupted then.
#[expect(unsafe_code, reason = "the parent-death signal can only be set between fork and exec")]
pub fn tie_to_this_thread(command: &mut Command) {
    let supervisor = getpid();
    let prepare = move || -> io::Result<()> {
        setsid()?;
        for signal in 1..=LAST_SIGNAL {
            by_default(signal);
        }
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The supervisor may have died before the line above: then nobody would ever send the signal.
        if getppid() != Some(supervisor) {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::CHILD.raw_os_error()));
        }
        Ok(())
    };
    // SAFETY: the closure runs in the forked child of a program with threads, where only calls that
    // are safe in a signal handler are allowed. It makes system calls alone (setsid, rt_sigaction, prctl,
    // getppid; none to allocate: `from_raw_os_error` keeps a number) and touches no lock.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Gives a signal its default effect. It fails for SIGKILL and SIGSTOP, which have no other.
///
/// The system call itself, since the C library's function refuses the signals that it uses.
#[expect(unsafe_code, reason = "no library resets the signals of the C library")]
fn by_default(signal: libc::c_int) {
    // All zero is the default action with no flags and an empty mask, in every layout of the structure; it
    // is longer than any of them.
    let action = [0u64; 8];
    // SAFETY: the call reads at most the size of the kernel's structure from `action`, which is larger,
    // writes nothing (no place is given for the old action), and changes the signal's action alone.
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
