//! Watches directories by a signal (dnotify).
//!
//! For a process that waits once and then ends: the kernel takes 5 to 10 ms to close an inotify descriptor,
//! and the end of the process, which is what a shell waits for, comes after that. A directory is closed at
//! once. `benches/cost/wake.rs` measures it.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use signal_hook::SigId;
use signal_hook::consts::SIGIO;

// From linux/fcntl.h. A file that is moved into the directory counts as created; setting both times of the
// directory itself counts as a change of its attributes.
const DN_CREATE: i32 = 0x04;
const DN_DELETE: i32 = 0x08;
const DN_RENAME: i32 = 0x10;
const DN_ATTRIB: i32 = 0x20;

/// Directories whose changes wake this process.
pub(super) struct DirectoryWatch {
    // Closed before the handler is removed.
    watched: Vec<OwnedFd>,
    alarm: UnixStream,
    handler: SigId,
}

impl DirectoryWatch {
    /// Watches each of `paths`, which must be a directory.
    ///
    /// # Errors
    /// When one is not a directory, or the kernel has no dnotify.
    pub(super) fn watch(paths: &[PathBuf]) -> std::io::Result<Self> {
        let (alarm, bell) = UnixStream::pair()?;
        alarm.set_nonblocking(true)?;
        // Registered before the first directory: the signal ends a process that has no handler for it.
        let handler = signal_hook::low_level::pipe::register(SIGIO, bell)?;
        let mut directories = Self { watched: Vec::with_capacity(paths.len()), alarm, handler };
        for path in paths {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let dir = rustix::fs::open(path, flags, Mode::empty())?;
            ask_for_a_signal(&dir)?;
            directories.watched.push(dir);
        }
        Ok(directories)
    }

    /// Sleeps until one of the directories changes, for at most `time`. Returns `true` when one may have
    /// changed; a change from then on ends the next sleep.
    pub(super) fn wait(&mut self, time: Duration) -> bool {
        let time = Timespec::try_from(time).ok();
        let mut alarm = [PollFd::new(&self.alarm, PollFlags::IN)];
        match poll(&mut alarm, time.as_ref()) {
            Ok(0) => return false,
            // Whatever the signal was, checking does no harm.
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => {}
        }
        let mut rung = [0; 64];
        while matches!(self.alarm.read(&mut rung), Ok(count) if count == rung.len()) {}
        for dir in &self.watched {
            // A directory without notifications is covered by the periodic check.
            let _ = ask_for_a_signal(dir);
        }
        true
    }
}

impl Drop for DirectoryWatch {
    fn drop(&mut self) {
        self.watched.clear();
        signal_hook::low_level::unregister(self.handler);
    }
}

/// Makes the kernel send SIGIO for the next change in `dir` only: on a busy lane, notifying hundreds of
/// waiters of every change would take more time than all the work.
#[expect(unsafe_code, reason = "no library offers this call")]
fn ask_for_a_signal(dir: &OwnedFd) -> std::io::Result<()> {
    let changes = DN_CREATE | DN_DELETE | DN_RENAME | DN_ATTRIB;
    // SAFETY: the descriptor is open, and the call takes a number and touches none of our memory.
    match unsafe { libc::fcntl(dir.as_raw_fd(), libc::F_NOTIFY, changes) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::atomic;
    use crate::store::dir::Dir;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(1);

    fn quiet(watch: &mut DirectoryWatch) {
        // Another test's signal may come in between.
        while watch.wait(SHORT) {}
    }

    #[test]
    fn a_new_name_in_a_directory_and_a_ring_at_it_wake() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("dir");
        std::fs::create_dir(&dir).unwrap();
        let mut watch = DirectoryWatch::watch(std::slice::from_ref(&dir)).unwrap();
        quiet(&mut watch);
        std::fs::write(dir.join("new"), "").unwrap();
        assert!(watch.wait(LONG));
        quiet(&mut watch);
        atomic::ring(&Dir::open_root(root.path()).unwrap(), "dir");
        assert!(watch.wait(LONG));
    }

    #[test]
    fn only_directories_can_be_watched() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(DirectoryWatch::watch(&[file.path().to_path_buf()]).is_err());
    }
}
