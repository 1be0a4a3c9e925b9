//! The files of one run of a task.
//!
//! Each claim that leads to a run has a directory of its own, `tasks/ID/attempts/FENCE/`, with the prompt,
//! the output of the agent and the outcome. The fence names it, because an attempt that was given back has no
//! number of its own.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::dir::{Dir, is_regular};
use super::layout::ATTEMPTS;
use super::spool::Spool;
use super::{atomic, bounded_file};
use crate::error::{Error, Result, printable};
use crate::model::TaskId;

/// The directory of one run.
#[derive(Debug)]
pub(crate) struct AttemptDir {
    dir: Dir,
    tmp: Dir,
}

impl AttemptDir {
    /// Returns the path of its file `name`.
    pub(crate) fn file_path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Creates an empty file that only the owner can read, in place of an existing one.
    ///
    /// # Errors
    /// `Io`; also when an existing file cannot be removed.
    pub(crate) fn create(&self, name: &str) -> Result<File> {
        atomic::remove(&self.dir, name)?;
        Ok(File::from(atomic::create_ephemeral(&self.dir, name, b"")?))
    }

    /// Writes a whole file that survives a power cut.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn write_durably(&self, name: &str, content: &[u8]) -> Result<()> {
        atomic::replace_durably(&self.tmp, &self.dir, name, content)
    }

    /// Writes a whole file that need not survive a power cut.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        atomic::replace_derived(&self.dir, name, content)
    }

    /// Opens a file for reading as it grows, if it exists. Links are not followed.
    ///
    /// # Errors
    /// `Corrupt` when it is not a regular file; `Io`.
    pub(crate) fn open(&self, name: &str) -> Result<Option<File>> {
        let path = self.file_path(name);
        let stranger =
            || Error::corrupt(format!("{} is not a file of the store", printable(&path.to_string_lossy())));
        // NONBLOCK: opening a FIFO must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.dir, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(stranger()),
            Err(errno) => return Err(Error::io("open", path, errno)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::io("read", &path, errno))?;
        if is_regular(&stat) { Ok(Some(File::from(fd))) } else { Err(stranger()) }
    }

    /// Overwrites every occurrence of `secret` in a file with stars, if the file exists. No process may be
    /// writing to it.
    ///
    /// # Errors
    /// As [`AttemptDir::open`].
    pub(crate) fn redact(&self, name: &str, secret: &[u8]) -> Result<()> {
        if secret.is_empty() || self.open(name)?.is_none() {
            return Ok(());
        }
        let path = self.file_path(name);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, name, flags, Mode::empty())
            .map_err(|errno| Error::io("open", &path, errno))?;
        redact_in(&File::from(fd), secret).map_err(|error| Error::io("write", &path, error))
    }

    /// Returns the content of a file, if it exists.
    ///
    /// # Errors
    /// `Corrupt` when it has more than `limit` bytes or is not a regular file; `Io`.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        Ok(bounded_file::read(&self.dir, name, limit)?.map(|content| content.bytes))
    }
}

fn redact_in(file: &File, secret: &[u8]) -> io::Result<()> {
    let stars = vec![b'*'; secret.len()];
    // Blocks overlap, so that no occurrence on a border is missed.
    let overlap = secret.len() - 1;
    let mut block = vec![0; 256 * 1024 + overlap];
    let mut from = 0;
    loop {
        let mut length = 0;
        while length < block.len() {
            match file.read_at(&mut block[length..], from + length as u64)? {
                0 => break,
                read => length += read,
            }
        }
        let found = block[..length].windows(secret.len()).enumerate().filter(|(_, part)| *part == secret);
        for (at, _) in found {
            file.write_all_at(&stars, from + at as u64)?;
        }
        if length < block.len() {
            return Ok(());
        }
        from += (length - overlap) as u64;
    }
}

impl Spool<'_> {
    /// Returns the directory of the run with claim number `fence`, which is made if it does not exist.
    ///
    /// # Errors
    /// `NotFound` for an unknown task; `Io`.
    pub(crate) fn attempt(&self, id: &TaskId, fence: u64) -> Result<AttemptDir> {
        let dir = self.0.task_dir(id)?.open_or_make(ATTEMPTS)?.open_or_make(&fence.to_string())?;
        Ok(AttemptDir { dir, tmp: self.0.layout.tmp()? })
    }

    /// Returns the directory of the run with claim number `fence`, if it exists.
    ///
    /// # Errors
    /// `NotFound` for an unknown task; `Corrupt`, `Io`.
    pub(crate) fn existing_attempt(&self, id: &TaskId, fence: u64) -> Result<Option<AttemptDir>> {
        let Some(attempts) = self.0.task_dir(id)?.open_existing(ATTEMPTS)? else {
            return Ok(None);
        };
        let dir = attempts.open_existing(fence.to_string())?;
        dir.map(|dir| Ok(AttemptDir { dir, tmp: self.0.layout.tmp()? })).transpose()
    }

    /// Returns the claim numbers of the runs of a task, in ascending order.
    ///
    /// # Errors
    /// `NotFound` for an unknown task; `Corrupt`, `Io`.
    pub(crate) fn attempt_numbers(&self, id: &TaskId) -> Result<Vec<u64>> {
        let Some(attempts) = self.0.task_dir(id)?.open_existing(ATTEMPTS)? else {
            return Ok(Vec::new());
        };
        let mut numbers: Vec<u64> = attempts.names()?.iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_wherever_it_stands() {
        let mut text = vec![b'x'; 600 * 1024];
        // At both ends, on the borders of blocks, and next to each other.
        for at in [0, 256 * 1024 - 3, 512 * 1024 - 1, 512 * 1024 + 6, text.len() - 6] {
            text[at..at + 6].copy_from_slice(b"secret");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        for content in [&text[..], b"", b"secre", b"secret"] {
            std::fs::write(file.path(), content).unwrap();
            redact_in(&File::options().read(true).write(true).open(file.path()).unwrap(), b"secret").unwrap();
            let hidden = std::fs::read(file.path()).unwrap();
            assert_eq!(hidden, String::from_utf8_lossy(content).replace("secret", "******").as_bytes());
        }
    }
}
