//! Fingerprints of the files named in one request.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest::sha256_file_with;
use crate::error::{Error, Result};
use crate::model::Sha256;

/// Computes the fingerprint of each file once, however often the file is named. Clones share their cache.
#[derive(Clone, Debug, Default)]
pub struct Fingerprints(Arc<Mutex<FingerprintCache>>);

#[derive(Debug, Default)]
struct FingerprintCache {
    known: HashMap<PathBuf, Sha256>,
    budget: Option<ReadBudget>,
    is_exceeded: bool,
}

#[derive(Debug)]
struct ReadBudget {
    left: u64,
    stop: Arc<AtomicBool>,
}

impl Fingerprints {
    /// Limits the total size of the files to `max_bytes`, and stops reading once `stop` is set.
    pub fn bounded(max_bytes: u64, stop: Arc<AtomicBool>) -> Self {
        let budget = Some(ReadBudget { left: max_bytes, stop });
        Self(Arc::new(Mutex::new(FingerprintCache { budget, ..FingerprintCache::default() })))
    }

    /// Returns whether a fingerprint was refused because the total size of the files is too large.
    pub fn is_exceeded(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_exceeded
    }

    /// Returns the fingerprint of the regular file at `real`, a path without links.
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
        let digest = sha256_file_with(real, count).map_err(|error| Error::io("read", real, error))?;
        inner.known.insert(real.to_path_buf(), digest.clone());
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256_bytes;

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
        let fingerprints = Fingerprints::bounded(1024 * 1024, Arc::clone(&stop));
        for _ in 0..5 {
            assert_eq!(fingerprints.of(&large).unwrap(), sha256_bytes(&vec![b'x'; 600_000]));
        }
        assert!(!fingerprints.is_exceeded());
        assert!(fingerprints.clone().of(&small).is_err() && fingerprints.is_exceeded());
        assert!(Fingerprints::default().of(&small).is_ok(), "without a bound");

        let fingerprints = Fingerprints::bounded(1024 * 1024, Arc::clone(&stop));
        stop.store(true, Ordering::Relaxed);
        assert!(fingerprints.of(&small).is_err() && !fingerprints.is_exceeded());
    }
}
