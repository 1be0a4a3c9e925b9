//! Reads the text files that a user names: bounded, UTF-8, regular files only.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::paths::show;
use super::yaml::{self, Document};
use crate::error::{Error, ErrorKind, Result, printable};

/// The rules for one kind of text file.
pub(super) struct TextFile {
    /// Its name in messages.
    pub name: &'static str,
    /// The largest size accepted, in bytes.
    pub limit: usize,
    /// The kind of the error for a file that is not acceptable.
    pub refusal: ErrorKind,
    /// The hint if the file does not exist.
    pub hint_if_missing: &'static str,
    /// Whether a duplicate key is refused; otherwise the last one counts.
    pub unique_keys: bool,
}

impl TextFile {
    /// Reads a whole file.
    ///
    /// # Errors
    /// The configured kind when the file is not a UTF-8 text of the allowed size, otherwise `Io`; the message names
    /// the file.
    pub(super) fn read(&self, path: &Path) -> Result<String> {
        self.read_if(path, |_| Ok(()))
    }

    /// Reads a whole file if `admit` accepts the file that was opened.
    ///
    /// # Errors
    /// As [`TextFile::read`]; the error of `admit`.
    pub(super) fn read_if(&self, path: &Path, admit: impl FnOnce(&Metadata) -> Result<()>) -> Result<String> {
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
        let metadata = file.metadata().map_err(|error| Error::io(&format!("access {name}"), path, error))?;
        let file_type = metadata.file_type();
        if file_type.is_dir() {
            return refuse("is a directory", "name a file in it");
        }
        if !file_type.is_file() {
            return refuse("is not a regular file", "write the text to a file");
        }
        admit(&metadata)?;
        // Room for all of it, so that it takes few calls.
        let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(size.min(self.limit) + 1);
        // Reads one byte more than allowed, to detect a file that is too long.
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
    pub(super) fn read_document(&self, path: &Path) -> Result<Document> {
        let text = self.read(path)?;
        let mut document = yaml::parse(&text).map_err(|reason| {
            let message = format!("cannot parse {} {}: {}", self.name, show(path), printable(&reason));
            Error::new(self.refusal, message)
        })?;
        if self.unique_keys
            && document.may_repeat_a_key
            && let Some(repeated) = yaml::first_duplicate(&text)
        {
            let (line, key) = (repeated.line, printable(&repeated.key));
            let message = format!("{} {} line {line}: {key}: this key is given twice", self.name, show(path));
            return Err(Error::new(self.refusal, message).with_hint("keep one of them"));
        }
        document.text = text.into();
        Ok(document)
    }
}

/// Opens a file for reading without blocking on a named pipe.
fn open(path: &Path) -> io::Result<File> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    OpenOptions::new().read(true).custom_flags(nonblock).open(path)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const NOTE: TextFile = TextFile {
        name: "note",
        limit: 8,
        refusal: ErrorKind::Config,
        hint_if_missing: "write one",
        unique_keys: false,
    };

    #[test]
    fn files_up_to_the_limit_are_read_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for text in ["", "a\r\nb\r\n", "12345678"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(NOTE.read(&path).unwrap(), text);
        }
    }

    #[test]
    fn everything_else_is_refused_in_one_line_with_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("long"), "123456789").unwrap();
        std::fs::write(at("latin"), b"ab\xff").unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let cases: [(PathBuf, &str, &str); 6] = [
            (at("none"), "does not exist", "write one"),
            (at("no\nne"), "no\\nne does not exist", "write one"),
            (dir.path().into(), "is a directory", "name a file"),
            (at("pipe"), "is not a regular file", "to a file"),
            (at("long"), "is too large", "at most"),
            (at("latin"), "is not UTF-8 text (at byte 2)", "UTF-8"),
        ];
        for (path, expected, hint) in cases {
            let error = NOTE.read(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().starts_with("note /"), "{error}");
            assert!(error.message().contains(expected), "{error}");
            assert!(error.hint().unwrap().contains(hint), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        let error = NOTE.read(&at("long/x")).unwrap_err();
        assert!(error.message().starts_with("cannot open note /"), "{error}");
    }

    #[test]
    fn bad_syntax_names_file_and_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "a: [\n}").unwrap();
        let error = NOTE.read_document(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot parse note {}: ", path.display())), "{error}");
        assert!(error.contains("line 2 column 1"), "{error}");
    }
}
