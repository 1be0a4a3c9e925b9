//! Allows one run at a time for each conversation with an agent.
//!
//! The agents' programs do not ensure that themselves: two runs that continue one conversation mix their
//! histories. So a run holds a lock on a file in `conversations/`, named after a hash of the conversation's
//! id, which may contain any characters.

use std::path::PathBuf;

use super::layout::CONVERSATIONS;
use super::lock::{self, FileLock};
use super::spool::Spool;
use crate::error::Result;

impl Spool<'_> {
    /// Returns the path of the file that a run of this conversation locks.
    ///
    /// # Errors
    /// `Io` when its directory cannot be made.
    pub(crate) fn conversation_lock_path(&self, session: &str) -> Result<PathBuf> {
        let dir = self.0.layout.root.open_or_make(CONVERSATIONS)?;
        let hash = crate::sha256::sha256_bytes(session.as_bytes());
        Ok(dir.path().join(&hash.as_str()[..32]))
    }

    /// Removes the lock files of runs that were killed before they could remove them.
    ///
    /// # Errors
    /// `Io` when the directory cannot be read.
    pub(crate) fn remove_stale_conversation_locks(&self) -> Result<()> {
        let Some(dir) = self.0.layout.root.open_existing(CONVERSATIONS)? else {
            return Ok(());
        };
        for name in dir.names()? {
            if !lock::is_held(&dir, &name)? {
                // Dropped at once, which removes the file.
                FileLock::try_acquire_in(self.0.layout.root.open_or_make(CONVERSATIONS)?, &name)?;
            }
        }
        Ok(())
    }
}
