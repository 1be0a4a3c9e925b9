//! Secrets that clients present: read from a file as ssh reads keys, and stored and compared as hashes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result, printable};

/// The minimum length of a token, in bytes.
const MIN_TOKEN: usize = 16;
/// The largest token file, in bytes.
const MAX_FILE: u64 = 4096;

/// The SHA-256 hash of a secret; the secret itself is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes a secret.
    pub(crate) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Returns another secret, in hexadecimal digits, that always follows from this one and does not reveal it.
    pub(super) fn derive(self, purpose: &str) -> String {
        let hash = Sha256::new().chain_update(purpose).chain_update(self.0).finalize();
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns whether `shown` is the secret. The time that this takes reveals nothing: hashes have one length, and
    /// all of their bytes are always compared.
    pub(crate) fn matches(self, shown: &str) -> bool {
        let shown = Self::of(shown);
        shown.0.iter().zip(self.0).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

/// Reads the token in a file that nobody else can read or write, and returns its hash.
///
/// Links are followed: directories of secrets often consist of them.
///
/// # Errors
/// `Config` when the file does not contain a valid token, or is not private; `Io`.
pub(super) fn read(path: &Path) -> Result<SecretHash> {
    read_token(path).map(|token| SecretHash::of(&token))
}

/// Reads the token in a file as [`read`] does, and returns it itself, for a client that sends it.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_token(path: &Path) -> Result<String> {
    let shown = printable(&path.to_string_lossy());
    // NONBLOCK: opening a FIFO must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| Error::io("read the token file", path, errno))?;
    let stat = rustix::fs::fstat(&file).map_err(|errno| Error::io("read the token file", path, errno))?;
    check_owner(stat.st_mode, stat.st_uid, rustix::process::geteuid().as_raw(), &shown)?;
    let mut text = String::new();
    File::from(file)
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|error| Error::io("read the token file", path, error))?;
    let token = text.trim();
    let is_token = token.len() >= MIN_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic());
    if text.len() as u64 > MAX_FILE || !is_token {
        return Err(Error::config(format!(
            "{shown} does not contain a token: at least {MIN_TOKEN} visible ASCII characters are needed, in one line"
        ))
        .with_hint("`head -c 32 /dev/urandom | base64` makes a good one"));
    }
    Ok(token.to_string())
}

/// Refuses a file that others can read or replace. A file of root may be readable for its group, which is how
/// secrets are passed to a service.
fn check_owner(mode: u32, owner: u32, user: u32, shown: &str) -> Result<()> {
    if rustix::fs::FileType::from_raw_mode(mode) != rustix::fs::FileType::RegularFile {
        return Err(Error::config(format!("the token file {shown} is not a regular file"))
            .with_hint("write the token into a file of mode 0600"));
    }
    if owner != user && owner != 0 {
        return Err(Error::config(format!("the token file {shown} belongs to another user"))
            .with_hint("name a file of your own"));
    }
    let allowed = if owner == user { 0o600 } else { 0o640 };
    if mode & 0o077 & !allowed != 0 {
        return Err(Error::config(format!(
            "the token file {shown} can be read or written by others (mode {:04o})",
            mode & 0o7777
        ))
        .with_hint("put a new token into it and `chmod 600` it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const FILE: u32 = 0o100_000;

    #[test]
    fn a_secret_is_known_whole() {
        let secret = SecretHash::of("0123456789abcdef");
        assert!(secret.matches("0123456789abcdef"));
        for bad in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef "] {
            assert!(!secret.matches(bad), "{bad}");
        }
    }

    #[test]
    fn a_token_file_is_its_owners_alone() {
        let is_fine = |mode, owner, user| check_owner(mode, owner, user, "t").is_ok();
        for (mode, owner, user) in [(0o600, 7, 7), (0o400, 7, 7), (0o700, 0, 0), (0o640, 0, 7), (0o440, 0, 7)]
        {
            assert!(is_fine(FILE | mode, owner, user), "{mode:o} of {owner} for {user}");
        }
        for (mode, owner, user) in [
            (0o640, 7, 7),
            (0o604, 7, 7),
            (0o644, 0, 7),
            (0o660, 0, 7),
            (0o600, 8, 7),
            (0o600, 8, 0),
            (0o620, 0, 0),
        ] {
            assert!(!is_fine(FILE | mode, owner, user), "{mode:o} of {owner} for {user}");
        }
        for kind in [0o010_000, 0o020_000, 0o040_000, 0o140_000] {
            assert!(!is_fine(kind | 0o600, 7, 7), "{kind:o}");
        }
    }

    #[test]
    fn a_file_holds_one_token_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let read_text = |text: &str| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            read(&path)
        };
        assert!(read_text(" 0123456789abcdef\n").unwrap().matches("0123456789abcdef"));
        for bad in ["", "short", "two words of it here", "0123456789abcdef\u{e9}", &"x".repeat(5000)] {
            let error = read_text(bad).unwrap_err().to_string();
            assert!(error.contains("does not contain a token"), "{error}");
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        std::fs::write(&path, "0123456789abcdef").unwrap();
        assert!(read(&link).is_ok());
    }
}
