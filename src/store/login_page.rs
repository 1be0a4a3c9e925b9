//! The page that logs the browser of this user in at `lanes serve`.
//!
//! It contains a secret. A program gets the path of the page as its argument instead of the secret, because every user
//! of a machine can see the arguments of every program.

use std::path::PathBuf;

use super::atomic::{self, StagedEntry};
use super::dir::Dir;
use super::spool::Spool;
use crate::error::Result;

/// The name of the page in its directory; browsers go by the end.
const PAGE: &str = "open.html";

/// A page that only this user can read. Removed when this is dropped; `lanes fsck --repair` removes that of a process
/// that was killed.
#[derive(Debug)]
pub(crate) struct LoginPage {
    tmp: Dir,
    directory: String,
}

impl LoginPage {
    /// Returns the path of the page.
    pub(crate) fn path(&self) -> PathBuf {
        self.tmp.path().join(&self.directory).join(PAGE)
    }
}

impl Drop for LoginPage {
    fn drop(&mut self) {
        let _ = atomic::remove_tree(&self.tmp, &self.directory);
    }
}

impl Spool<'_> {
    /// Writes a page that only this user can read.
    ///
    /// # Errors
    /// `NewerFormat`, `Io`.
    pub(crate) fn login_page(&self, html: &str) -> Result<LoginPage> {
        self.0.check_writable()?;
        let tmp = self.0.layout.tmp()?;
        let directory = StagedEntry::directory(&tmp, &[(PAGE, html.as_bytes(), false)])?.keep();
        Ok(LoginPage { tmp, directory })
    }
}
