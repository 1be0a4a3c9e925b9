//! What belongs to tasks and is too large for the queue: requests, answers as files, and what runs have left.
//!
//! Everything here can be read on every machine that reaches the store. The machine of a run writes into its [spool],
//! and what is written there is read here.
//!
//! [spool]: super::spool

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::FileStore;
use super::attempt_files::AttemptDir;
use super::layout::RESPONSE_FILE;
use crate::error::Result;
use crate::model::TaskId;
#[cfg(feature = "remote")]
use crate::model::{RequestCheck, Task};

/// The part of a store that keeps what is too large for the queue.
#[derive(Clone, Copy, Debug)]
pub struct Blobs<'a>(pub(super) BlobPlace<'a>);

/// What a store on another machine has of blobs.
#[cfg(feature = "remote")]
pub(super) trait RemoteBlobs: std::fmt::Debug {
    /// Returns the path of a copy of the response of a task.
    fn response_copy(&self, id: &TaskId) -> PathBuf;

    /// Returns the state of a task's request file, as the server sees it.
    fn request_check(&self, task: &Task) -> RequestCheck;

    /// Opens a copy of the request of a task.
    fn stored_request(&self, task: &Task) -> Result<Option<File>>;

    /// Returns the text of the request of a task.
    fn request_text(&self, task: &Task) -> Result<String>;
}

/// What keeps the blobs.
#[derive(Clone, Copy, Debug)]
pub(super) enum BlobPlace<'a> {
    /// The files of the store.
    Files(&'a FileStore),
    /// The server of a store on another machine.
    #[cfg(feature = "remote")]
    Server(&'a dyn RemoteBlobs),
}

impl FileStore {
    pub(crate) fn blobs(&self) -> Blobs<'_> {
        Blobs(BlobPlace::Files(self))
    }
}

impl<'a> Blobs<'a> {
    /// Makes the blobs of a store on another machine.
    #[cfg(feature = "remote")]
    pub(super) fn remote(store: &'a dyn RemoteBlobs) -> Self {
        Self(BlobPlace::Server(store))
    }

    /// Returns the path of a file with the response of a task.
    pub(crate) fn response_path(&self, id: &TaskId) -> PathBuf {
        match self.0 {
            BlobPlace::Files(files) => files.layout.tasks.path().join(id.as_str()).join(RESPONSE_FILE),
            #[cfg(feature = "remote")]
            BlobPlace::Server(server) => server.response_copy(id),
        }
    }

    /// Returns the claim numbers of the runs of a task of which something is kept, in ascending order.
    ///
    /// # Errors
    /// `NotFound` for an unknown task; `Corrupt`, `Io`.
    pub(crate) fn attempt_numbers(&self, id: &TaskId) -> Result<Vec<u64>> {
        match self.0 {
            BlobPlace::Files(files) => files.spool().attempt_numbers(id),
            // What runs have left is on the machine of the store.
            #[cfg(feature = "remote")]
            BlobPlace::Server(_) => Ok(Vec::new()),
        }
    }

    /// Returns what is kept of the run with claim number `fence`, if anything is.
    ///
    /// # Errors
    /// `NotFound` for an unknown task; `Corrupt`, `Io`.
    pub(crate) fn attempt(&self, id: &TaskId, fence: u64) -> Result<Option<AttemptFiles>> {
        match self.0 {
            BlobPlace::Files(files) => Ok(files.spool().existing_attempt(id, fence)?.map(AttemptFiles)),
            #[cfg(feature = "remote")]
            BlobPlace::Server(_) => Ok(None),
        }
    }
}

/// The files of one run, to be read.
#[derive(Debug)]
pub(crate) struct AttemptFiles(AttemptDir);

impl AttemptFiles {
    /// Opens a file that may still grow, if it exists.
    ///
    /// # Errors
    /// `Corrupt` when it is not a regular file; `Io`.
    pub(crate) fn log(&self, name: &str) -> Result<Option<RunLogFile>> {
        Ok(self.0.open(name)?.map(RunLogFile))
    }

    /// Returns the content of a file, if it exists.
    ///
    /// # Errors
    /// `Corrupt` when it has more than `limit` bytes or is not a regular file; `Io`.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.0.read(name, limit)
    }
}

/// A file of a run that may still grow.
#[derive(Debug)]
pub(crate) struct RunLogFile(File);

impl RunLogFile {
    /// Returns its present length in bytes.
    ///
    /// # Errors
    /// When it cannot be found out.
    pub(crate) fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    /// Reads at an offset, until the buffer is full or the file ends. Returns how many bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut length = 0;
        while length < bytes.len() {
            match self.0.read_at(&mut bytes[length..], offset + length as u64) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(length)
    }

    /// Takes a file for one of a run.
    #[cfg(test)]
    pub(crate) fn of(file: File) -> Self {
        Self(file)
    }
}
