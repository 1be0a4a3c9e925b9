//! What the runs of a task leave behind, and what of it has not been reported yet.
//!
//! Each claim that leads to a run has a directory of its own, `tasks/ID/attempts/FENCE/`: what was
//! said to the agent, what it printed, how it ended. The fence names it, because an attempt that was
//! given back has no number of its own.
//!
//! The *outbox* names the runs whose end is written down but not yet told to the queue. An entry
//! lives from just before the first word to just after the last; what a killed process leaves there
//! is told by the next.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::index::Index;
use super::layout::{ATTEMPTS, Dir, OUTBOX, is_regular};
use super::{Store, atomic, reader};
use crate::error::{Error, Result, printable};
use crate::model::{Status, Task, TaskId};

/// The directory of one run.
#[derive(Debug)]
pub struct AttemptDir {
    dir: Dir,
    tmp: Dir,
}

impl AttemptDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where its file `name` is.
    pub fn file_path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new, empty file that only the owner can read.
    ///
    /// # Errors
    /// `Io`; also when the file exists and cannot be removed.
    pub fn create(&self, name: &str) -> Result<File> {
        atomic::remove(&self.dir, name)?;
        Ok(File::from(atomic::create_plain(&self.dir, name, b"")?))
    }

    /// Writes a whole file that survives a power cut.
    pub fn write_durably(&self, name: &str, content: &[u8]) -> Result<()> {
        atomic::replace_durably(&self.tmp, &self.dir, name, content)
    }

    /// Writes a whole file that need not survive a power cut.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        atomic::replace_derived(&self.dir, name, content)
    }

    /// Opens a file for reading as it grows, if it exists. Links are not followed.
    ///
    /// # Errors
    /// `Corrupt` when what lies there is no regular file; `Io`.
    pub fn open(&self, name: &str) -> Result<Option<File>> {
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

    /// Overwrites every `secret` in a file with stars, if the file exists. Nobody may be writing to it.
    ///
    /// # Errors
    /// As [`AttemptDir::open`].
    pub fn redact(&self, name: &str, secret: &[u8]) -> Result<()> {
        if secret.is_empty() || self.open(name)?.is_none() {
            return Ok(());
        }
        let path = self.file_path(name);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, name, flags, Mode::empty())
            .map_err(|errno| Error::io("open", &path, errno))?;
        redact_in(&File::from(fd), secret).map_err(|error| Error::io("write", &path, error))
    }

    /// A file's content, if it exists and has at most `limit` bytes.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        Ok(reader::file(&self.dir, name, limit)?.map(|content| content.bytes))
    }
}

fn redact_in(file: &File, secret: &[u8]) -> io::Result<()> {
    let stars = vec![b'*'; secret.len()];
    // Blocks overlap, so that none is missed on a border.
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

impl Store {
    /// The directory of the run under claim number `fence`, made if it is not there.
    ///
    /// # Errors
    /// `NotFound` for an unknown task; `Io`.
    pub fn attempt(&self, id: &TaskId, fence: u64) -> Result<AttemptDir> {
        let dir = self.task_dir(id)?.open_or_make(ATTEMPTS)?.open_or_make(&fence.to_string())?;
        Ok(AttemptDir { dir, tmp: self.layout.tmp()? })
    }

    /// The same if it exists already.
    pub fn existing_attempt(&self, id: &TaskId, fence: u64) -> Result<Option<AttemptDir>> {
        let Some(attempts) = self.task_dir(id)?.open_existing(ATTEMPTS)? else {
            return Ok(None);
        };
        let dir = attempts.open_existing(fence.to_string())?;
        dir.map(|dir| Ok(AttemptDir { dir, tmp: self.layout.tmp()? })).transpose()
    }

    /// The claim numbers under which a task was run, in order.
    pub fn attempt_numbers(&self, id: &TaskId) -> Result<Vec<u64>> {
        let Some(attempts) = self.task_dir(id)?.open_existing(ATTEMPTS)? else {
            return Ok(Vec::new());
        };
        let mut numbers: Vec<u64> = attempts.names()?.iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The claimed tasks of a lane that `belongs` accepts, live leases and ended ones.
    pub fn held_tasks(&self, lane: &str, belongs: &dyn Fn(&Task) -> bool) -> Result<Vec<Task>> {
        let index = Index::open(&self.layout)?;
        if index.usable()?.is_none() {
            index.ensure(&self.lock_store()?)?;
        }
        let mut held = Vec::new();
        if let Some(sets) = index.lane_if_any(lane)? {
            sets.held.visit(|entry| {
                let task = TaskId::parse(&entry.id).ok().and_then(|id| self.scan_one(&id).ok().flatten());
                held.extend(task.filter(|task| matches!(task.status, Status::Claimed(_)) && belongs(task)));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(held)
    }

    /// Notes that the end of a run is written down and about to be told.
    pub fn add_to_outbox(&self, id: &TaskId, fence: u64) -> Result<()> {
        let outbox = self.layout.root.open_or_make(OUTBOX)?;
        atomic::replace_durably(&self.layout.tmp()?, &outbox, &outbox_name(id, fence), b"")
    }

    /// Notes that the end of a run is told.
    pub fn remove_from_outbox(&self, id: &TaskId, fence: u64) -> Result<()> {
        match self.layout.root.open_existing(OUTBOX)? {
            Some(outbox) => atomic::remove(&outbox, &outbox_name(id, fence)),
            None => Ok(()),
        }
    }

    /// The runs whose end is not told yet.
    pub fn outbox(&self) -> Result<Vec<(TaskId, u64)>> {
        let Some(outbox) = self.layout.root.open_existing(OUTBOX)? else {
            return Ok(Vec::new());
        };
        let mut entries: Vec<(TaskId, u64)> = outbox.names()?.iter().filter_map(|name| entry(name)).collect();
        entries.sort_by(|a, b| (a.0.as_str(), a.1).cmp(&(b.0.as_str(), b.1)));
        Ok(entries)
    }
}

/// The fence first: an id may hold dots, a number does not.
fn outbox_name(id: &TaskId, fence: u64) -> String {
    format!("{fence}.{id}")
}

fn entry(name: &str) -> Option<(TaskId, u64)> {
    let (fence, id) = name.split_once('.')?;
    Some((TaskId::parse(id).ok()?, fence.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_wherever_it_stands() {
        let mut text = vec![b'x'; 600 * 1024];
        // At both ends, on the borders of blocks, and one after the other.
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
