//! Reading what the runs of a task wrote, without trusting what lies there.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Store;
use super::layout::{ATTEMPTS, is_regular};
use crate::error::{Error, Result, printable};
use crate::model::TaskId;

impl Store {
    /// Opens the file `name` of a run of a task: of run number `run`, or of the last one. `None` when
    /// there is no such run, or it has not written that file.
    ///
    /// # Errors
    /// `Corrupt` when what lies there is no regular file (links are not followed); `Io`; `NotFound`.
    pub fn open_log(&self, id: &TaskId, run: Option<u64>, name: &str) -> Result<Option<File>> {
        let Some(runs) = self.task_dir(id)?.open_existing(ATTEMPTS)? else {
            return Ok(None);
        };
        let run = match run {
            Some(run) => Some(run),
            None => runs.names()?.iter().filter_map(|name| name.parse().ok()).max(),
        };
        let Some(dir) = run.map(|run| runs.open_existing(&run.to_string())).transpose()?.flatten() else {
            return Ok(None);
        };
        let path = dir.path().join(name);
        let stranger =
            || Error::corrupt(format!("{} is not a file of the store", printable(&path.to_string_lossy())));
        // NONBLOCK: opening a FIFO must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd: OwnedFd = match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(stranger()),
            Err(errno) => return Err(Error::io("open", path, errno)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::io("read", &path, errno))?;
        if is_regular(&stat) { Ok(Some(File::from(fd))) } else { Err(stranger()) }
    }
}
