//! Small JSON documents at the root of a store, each read and replaced as a whole.
//!
//! A change reads the document, changes it and renames the new one into place, all under the store lock, so
//! that no change of another process is lost. It survives a power cut once the call returns: such changes are
//! rare and a person waits for them, so here the sync may happen under the lock.

use std::path::PathBuf;

use super::bounded_file::{self, FileContent};
use super::{FileStore, atomic};
use crate::error::{Error, Result, printable};
use crate::model::json::{self, Object};

/// The content of a document, or what is wrong with it.
pub(super) type DecodeResult<T> = std::result::Result<T, String>;

/// A JSON document at the root of a store: its name, its limits, and what its JSON means.
pub(super) struct JsonFile<T> {
    /// Its file name at the root of the store.
    pub(super) name: &'static str,
    /// The largest file that is read, in bytes.
    pub(super) max_bytes: u64,
    /// Refuses a file that must not be used, regardless of its content.
    pub(super) admit: fn(&FileStore, &FileContent) -> Result<()>,
    /// Maps the object in the file to the content.
    pub(super) decode: fn(Object) -> DecodeResult<T>,
    /// Maps the content to the object in the file.
    pub(super) encode: fn(T) -> Object,
    /// Makes the error about a file that is not such a document, from its path and what is wrong with it.
    pub(super) unreadable: fn(&str, &str) -> Error,
}

/// Whether a document that was changed in memory is written, with the result of the change.
pub(super) enum DocumentChange<R> {
    /// It is written.
    Write(R),
    /// The file stays as it is.
    Keep(R),
}

/// Admits any regular file.
pub(super) fn admit_any(_store: &FileStore, _content: &FileContent) -> Result<()> {
    Ok(())
}

/// Makes the error that names the file and what is wrong with it.
pub(super) fn cannot_be_read(path: &str, why: &str) -> Error {
    Error::corrupt(format!("{path} cannot be read: {why}"))
}

impl<T: Default> JsonFile<T> {
    /// Returns the path of the file, whether or not it exists.
    pub(super) fn path(&self, store: &FileStore) -> PathBuf {
        store.layout.root.path().join(self.name)
    }

    /// Reads the bytes of the file; `None` when there is none.
    ///
    /// # Errors
    /// `Corrupt` when it is not a regular file, too large, or not admitted; `Io`.
    pub(super) fn bytes(&self, store: &FileStore) -> Result<Option<Vec<u8>>> {
        let Some(content) = bounded_file::read(&store.layout.root, self.name, self.max_bytes)? else {
            return Ok(None);
        };
        (self.admit)(store, &content)?;
        Ok(Some(content.bytes))
    }

    /// Reads the document; an absent file is an empty one.
    ///
    /// # Errors
    /// `Corrupt` when the file cannot be used or is not such a document; `Io`.
    pub(super) fn read(&self, store: &FileStore) -> Result<T> {
        let Some(bytes) = self.bytes(store)? else { return Ok(T::default()) };
        json::parse_object(&bytes)
            .and_then(self.decode)
            .map_err(|why| (self.unreadable)(&printable(&self.path(store).to_string_lossy()), &why))
    }

    /// Changes the document under the store lock and returns the result of `change`.
    ///
    /// # Errors
    /// The error of `change`, `Corrupt` for a document that cannot be read, `NewerFormat` for a store of a newer
    /// version, `Refused` for one that would be too large, `Locked`, `Io`; each with nothing written.
    pub(super) fn change<R>(
        &self,
        store: &FileStore,
        change: impl FnOnce(&mut T) -> Result<DocumentChange<R>>,
    ) -> Result<R> {
        store.check_writable()?;
        let tmp = store.layout.tmp()?;
        let _lock = store.lock_store()?;
        let mut content = self.read(store)?;
        match change(&mut content)? {
            DocumentChange::Keep(result) => Ok(result),
            DocumentChange::Write(result) => {
                let text = json::to_text(&(self.encode)(content));
                if text.len() as u64 > self.max_bytes {
                    // It could be written, and never read again.
                    let most = self.max_bytes;
                    return Err(Error::refused(format!("{} would be larger than {most} bytes", self.name)));
                }
                atomic::replace_durably(&tmp, &store.layout.root, self.name, text.as_bytes())?;
                Ok(result)
            }
        }
    }
}
