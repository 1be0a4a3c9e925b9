//! SHA-256 hashes of the files named in one request.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::model::Sha256;
use crate::sha256::sha256_file_with;

/// Computes the SHA-256 of each file once, however often the file is named. Clones share their cache.
#[derive(Clone, Debug, Default)]
pub struct FileHashes(Arc<Mutex<HashCache>>);

#[derive(Debug, Default)]
struct HashCache {
    known: HashMap<PathBuf, Sha256>,
    budget: Option<ReadBudget>,
    is_exceeded: bool,
}

#[derive(Debug)]
struct ReadBudget {
    left: u64,
    stop: Arc<AtomicBool>,
}

impl FileHashes {
    /// Limits the total size of the files to `max_bytes`, and stops reading once `stop` is set.
    pub fn bounded(max_bytes: u64, stop: Arc<AtomicBool>) -> Self {
        let budget = Some(ReadBudget { left: max_bytes, stop });
        Self(Arc::new(Mutex::new(HashCache { budget, ..HashCache::default() })))
    }

    /// Returns whether a hash was refused because the total size of the files is too large.
    pub fn is_exceeded(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_exceeded
    }

    /// Returns the SHA-256 of the regular file at `real`, a path without links.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, the total size exceeds the limit, or the reading was stopped.
    pub(super) fn of(&self, real: &Path) -> Result<Sha256> {
        let inner = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = inner.known.get(real) {
            return Ok(known.clone());
        }
        let (budget, is_exceeded) = (&mut inner.budget, &mut inner.is_exceeded);
        let count = |length: usize| {
            let Some(ReadBudget { left, stop, .. }) = budget else { return Ok(()) };
            if stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("given up"));
            }
            match left.checked_sub(length as u64) {
                Some(rest) => *left = rest,
                None => {
                    *is_exceeded = true;
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
            }
            Ok(())
        };
        let hash = sha256_file_with(real, count).map_err(|error| Error::io("read", real, error))?;
        inner.known.insert(real.to_path_buf(), hash.clone());
        Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256::sha256_bytes;

    #[test]
    fn files_count_once_and_up_to_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, size: usize| {
            let path = dir.path().join(name);
            std::fs::write(&path, vec![b'x'; size]).unwrap();
            path
        };
        let (large, small) = (file("large", 600_000), file("small", 500_000));
        let stop = Arc::new(AtomicBool::new(false));
        let hashes = FileHashes::bounded(1024 * 1024, Arc::clone(&stop));
        for _ in 0..5 {
            assert_eq!(hashes.of(&large).unwrap(), sha256_bytes(&vec![b'x'; 600_000]));
        }
        assert!(!hashes.is_exceeded());
        assert!(hashes.clone().of(&small).is_err() && hashes.is_exceeded());
        assert!(FileHashes::default().of(&small).is_ok(), "without a bound");

        let hashes = FileHashes::bounded(1024 * 1024, Arc::clone(&stop));
        stop.store(true, Ordering::Relaxed);
        assert!(hashes.of(&small).is_err() && !hashes.is_exceeded());
    }
}
