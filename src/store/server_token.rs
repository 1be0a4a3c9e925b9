//! The default token of `lanes serve`, which clients must send.
//!
//! It stays the same across restarts of the server, so that clients may keep it; a removed one is replaced by
//! a new one.

use std::fmt::Write as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType};
use rustix::rand::GetRandomFlags;

use super::layout::SERVER_TOKEN;
use super::spool::Spool;
use super::{FileStore, atomic};
use crate::error::{Error, Result};

/// The size of a secret before it is written in hexadecimal, in bytes.
const SECRET_BYTES: usize = 32;

impl Spool<'_> {
    /// Returns the file with the server's token, which only its owner can read; makes it if there is none.
    ///
    /// # Errors
    /// `NewerFormat`, `Io`, `Locked`.
    pub(crate) fn server_token_file(&self) -> Result<PathBuf> {
        let path = self.0.layout.root.path().join(SERVER_TOKEN);
        if self.0.has_server_token() {
            return Ok(path);
        }
        self.0.check_writable()?;
        let tmp = self.0.layout.tmp()?;
        // Once in the life of a store; of two servers that start at once, the second uses the token of the
        // first.
        let _lock = self.0.lock_store()?;
        if !self.0.has_server_token() {
            let line = format!("{}\n", new_secret()?);
            atomic::replace_durably(&tmp, &self.0.layout.root, SERVER_TOKEN, line.as_bytes())?;
        }
        Ok(path)
    }
}

impl FileStore {
    /// Returns whether anything has the name of the token; its reader checks whether it is one.
    fn has_server_token(&self) -> bool {
        rustix::fs::statat(&self.layout.root, SERVER_TOKEN, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Returns whether other users can read the token.
    pub(super) fn is_server_token_open(&self) -> bool {
        rustix::fs::statat(&self.layout.root, SERVER_TOKEN, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o077 != 0
        })
    }
}

/// Returns 64 random hexadecimal digits. Unlike an id, a secret comes from the system's generator or not at
/// all.
///
/// # Errors
/// `Io` when the system has no random bytes.
pub(crate) fn new_secret() -> Result<String> {
    let mut bytes = [0_u8; SECRET_BYTES];
    let read = rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|errno| Error::io("ask for", "random bytes", errno))?;
    if read != bytes.len() {
        return Err(Error::io("ask for", "random bytes", std::io::ErrorKind::UnexpectedEof));
    }
    let mut secret = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(secret, "{byte:02x}");
    }
    Ok(secret)
}
