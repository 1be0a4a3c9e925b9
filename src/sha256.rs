//! SHA-256 hashes, which pin the content of request and supporting files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sha2::{Digest, Sha256 as Hasher};

use crate::model::Sha256;

/// The size of the buffer for reading files, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Returns the SHA-256 of a regular file's content.
///
/// Symbolic links are followed. Uses constant memory, and does not block on a named pipe.
///
/// # Errors
/// `InvalidInput` when it is not a regular file; otherwise the error of the operating system.
pub fn sha256_file(path: &Path) -> io::Result<Sha256> {
    sha256_file_with(path, |_| Ok(()))
}

/// Hashes a file as [`sha256_file`] does. `each` is called with the length of every piece in bytes, and may
/// end the reading with an error.
///
/// # Errors
/// As [`sha256_file`], and the error of `each`.
pub(crate) fn sha256_file_with(path: &Path, each: impl FnMut(usize) -> io::Result<()>) -> io::Result<Sha256> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    read(OpenOptions::new().read(true).custom_flags(nonblock).open(path)?, each)
}

/// Hashes an open file as [`sha256_file`] does.
///
/// # Errors
/// As [`sha256_file`].
pub(crate) fn sha256_open(file: File) -> io::Result<Sha256> {
    read(file, |_| Ok(()))
}

fn read(mut file: File, mut each: impl FnMut(usize) -> io::Result<()>) -> io::Result<Sha256> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut hasher = Hasher::new();
    let mut chunk = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(Sha256::computed(hasher.finalize().into())),
            Ok(length) => {
                each(length)?;
                hasher.update(&chunk[..length]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns the SHA-256 of `bytes`.
pub fn sha256_bytes(bytes: &[u8]) -> Sha256 {
    Sha256::computed(Hasher::new_with_prefix(bytes).finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn files_and_bytes_agree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for content in [Vec::new(), b"abc".to_vec(), vec![7; 3 * BUFFER_BYTES + 1]] {
            std::fs::write(&path, &content).unwrap();
            assert_eq!(sha256_file(&path).unwrap(), sha256_bytes(&content));
        }
        assert_eq!(sha256_bytes(b""), EMPTY);
    }

    #[test]
    fn only_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        for path in [dir.path(), &pipe] {
            let error = sha256_file(path).unwrap_err();
            assert!(
                matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory),
                "{error}"
            );
        }
        assert_eq!(sha256_file(&dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
