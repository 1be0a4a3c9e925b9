//! Reading the text files that a user names: bounded, UTF-8, regular files only.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::document;
use super::paths::show;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::json::Object;

/// What a text file is for.
pub(super) struct TextFile {
    /// How messages call it.
    pub name: &'static str,
    /// The largest size accepted, in bytes.
    pub limit: usize,
    /// The kind of a refusal.
    pub refusal: ErrorKind,
    /// What to do when there is none.
    pub hint_if_missing: &'static str,
}

impl TextFile {
    /// Reads a whole file.
    ///
    /// # Errors
    /// One line that names the file, with a hint.
    pub(super) fn read(&self, path: &Path) -> Result<String> {
        let name = self.name;
        let refuse = |reason: &str, hint: &str| {
            Err(Error::new(self.refusal, format!("{name} {} {reason}", show(path))).with_hint(hint))
        };
        let file = match open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return refuse("does not exist", self.hint_if_missing);
            }
            Err(error) => {
                return Err(Error::io(&format!("open {name}"), path, error)
                    .with_hint("check its name and permissions"));
            }
        };
        let file_type =
            file.metadata().map_err(|error| Error::io(&format!("look at {name}"), path, error))?.file_type();
        if file_type.is_dir() {
            return refuse("is a directory", "name a file in it");
        }
        if !file_type.is_file() {
            return refuse("is not a regular file", "write the text to a file");
        }
        let mut bytes = Vec::new();
        // One byte more than allowed tells a full file from one that is too long.
        file.take(self.limit as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io(&format!("read {name}"), path, error))?;
        if bytes.len() > self.limit {
            let most = format!("at most {} KiB are read", self.limit / 1024);
            return refuse("is too large", &most);
        }
        String::from_utf8(bytes).or_else(|error| {
            let at = error.utf8_error().valid_up_to();
            refuse(&format!("is not UTF-8 text (at byte {at})"), "save it with the encoding UTF-8")
        })
    }

    /// Reads a YAML or JSON file into an object.
    ///
    /// # Errors
    /// As [`TextFile::read`]; for bad syntax with line and column.
    pub(super) fn read_document(&self, path: &Path) -> Result<Object> {
        document::parse(&self.read(path)?).map_err(|reason| {
            let message = format!("cannot parse {} {}: {}", self.name, show(path), printable(&reason));
            Error::new(self.refusal, message)
        })
    }
}

/// Opens for reading without being held up by a named pipe.
fn open(path: &Path) -> io::Result<File> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    OpenOptions::new().read(true).custom_flags(nonblock).open(path)
}
