//! One run at a time for each conversation with an agent.
//!
//! The programs themselves do not take care of it: two runs that continue one conversation mix their
//! histories. So a run holds a file of `conversations/` locked, named after a hash of the
//! conversation's id, which may be anything.

use std::path::PathBuf;

use super::Store;
use super::layout::CONVERSATIONS;
use super::lock::{self, FileLock};
use crate::error::Result;

impl Store {
    /// The file that a run of this conversation holds locked.
    ///
    /// # Errors
    /// `Io` when there is no place for it.
    pub fn conversation_lock_path(&self, session: &str) -> Result<PathBuf> {
        let dir = self.layout.root.open_or_make(CONVERSATIONS)?;
        let digest = crate::digest::sha256_bytes(session.as_bytes());
        Ok(dir.path().join(&digest[..32]))
    }

    /// Removes the files of runs that were killed before they could do so.
    ///
    /// # Errors
    /// `Io` when the directory cannot be read.
    pub fn remove_stale_conversation_locks(&self) -> Result<()> {
        let Some(dir) = self.layout.root.open_existing(CONVERSATIONS)? else {
            return Ok(());
        };
        for name in dir.names()? {
            if !lock::is_held(&dir, &name)? {
                // Dropped at once: that removes the file.
                FileLock::try_acquire_in(self.layout.root.open_or_make(CONVERSATIONS)?, &name)?;
            }
        }
        Ok(())
    }
}
