//! This process: its program, its name, and its open files by name.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Returns the program of this process, for it to start again. It is the running one even if its file has been replaced.
pub(crate) fn program() -> &'static Path {
    Path::new("/proc/self/exe")
}

/// Returns a path by which other processes can start the program of this one while this one lives.
pub(crate) fn program_for_others() -> PathBuf {
    PathBuf::from(format!("/proc/{}/exe", std::process::id()))
}

/// Sets the name in process listings, which would be that of the file of the program. Without effect where that fails.
pub(crate) fn set_name(name: &str) {
    let _ = std::fs::write("/proc/self/comm", name);
}

/// Returns a path by which another process of this user can open the same file while this process has it open.
pub(crate) fn path_for_others(file: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_fd().as_raw_fd()))
}

/// Opens the end for reading of the pipe that is the standard output of this process. A read from it never waits.
///
/// # Errors
/// The system's error.
pub(crate) fn open_other_end_of_stdout() -> io::Result<File> {
    File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open("/proc/self/fd/1")
}
