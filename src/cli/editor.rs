//! Has the person at the terminal change a text in their editor.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::output::Output;
use super::{body, env};
use crate::error::{Error, Result, printable};
use crate::signals::LentTerminal;

/// The editor where `VISUAL` and `EDITOR` name none.
const EDITOR: &str = "vi";

/// Refuses to open the default editor where nobody can use it: without a terminal it waits for ever.
///
/// # Errors
/// `Invalid`.
pub(super) fn check_terminal() -> Result<()> {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if is_terminal || env::editor().is_some() {
        return Ok(());
    }
    Err(Error::invalid("there is no terminal to edit on")
        .with_hint("set VISUAL or EDITOR to a program that changes the file, or change handoff.yaml itself"))
}

/// A text in a file that only its owner can read, while somebody changes it.
pub(super) struct EditedText {
    path: PathBuf,
}

impl EditedText {
    /// Writes `text` to a new file in the directory for such, with a line break at its end as editors have it. The name
    /// of the file ends with `extension`, so that the editor knows its language.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn new(text: &str, extension: &str) -> Result<Self> {
        let directory = env::temporary_directory();
        let mut number = 0;
        loop {
            let path = directory.join(format!("lanes-edit-{}-{number}.{extension}", std::process::id()));
            match create(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 1000 => {
                    number += 1
                }
                file => return Self::write(path, file, text),
            }
        }
    }

    /// Writes `text` to a new file at `path`, as [`Self::new`] does.
    ///
    /// # Errors
    /// `Io`, also when the file exists.
    pub(super) fn at(path: PathBuf, text: &str) -> Result<Self> {
        let file = create(&path);
        Self::write(path, file, text)
    }

    fn write(path: PathBuf, file: std::io::Result<File>, text: &str) -> Result<Self> {
        let mut file = file.map_err(|error| Error::io("create", &path, error))?;
        let line_end = if text.ends_with('\n') { "" } else { "\n" };
        let written = [text, line_end].iter().try_for_each(|part| file.write_all(part.as_bytes()));
        written.map_err(|error| Error::io("write", &path, error))?;
        Ok(Self { path })
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it in the editor, and waits until that ends. As git does, the name of the editor is a command of the shell.
    ///
    /// # Errors
    /// `Refused` when the editor cannot be started or fails; then the file is removed.
    pub(super) fn open(&self) -> Result<()> {
        let editor = env::editor().unwrap_or_else(|| EDITOR.into());
        let name = printable(&editor.to_string_lossy());
        // The shell must not die of a key that the editor knows how to handle.
        let mut script = OsString::from("trap : INT QUIT; ");
        script.push(editor);
        script.push(" \"$1\"");
        let status = {
            let _lent = LentTerminal::lend();
            Command::new("sh").arg("-c").arg(script).arg("lanes").arg(&self.path).status()
        };
        let failure = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => match status.code() {
                Some(code) => format!("the editor `{name}` ended with exit code {code}"),
                None => format!("the editor `{name}` was killed"),
            },
            Err(error) => format!("cannot start the editor `{name}`: {error}"),
        };
        self.remove();
        Err(Error::refused(format!("{failure}; nothing was changed"))
            .with_hint("set VISUAL or EDITOR to the editor that you want"))
    }

    /// Returns the text as it is now, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`body::from_file`].
    pub(super) fn read(&self, out: &Output, limit: usize) -> Result<String> {
        body::from_file(out, &self.path, limit)
    }

    /// Returns the value, or as [`Self::finish`] keeps and names the file if there is none.
    ///
    /// # Errors
    /// The error of `result`.
    pub(super) fn finish_unless<T>(&self, result: Result<T>) -> Result<T> {
        result.or_else(|error| self.finish(Err(error)))
    }

    /// Removes the file, or keeps and names it if the text could not be used.
    ///
    /// # Errors
    /// The error of `result`.
    pub(super) fn finish<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Ok(value) => {
                self.remove();
                Ok(value)
            }
            Err(error) => {
                let kept = format!("your text is in {}", printable(&self.path.to_string_lossy()));
                let hint = error.hint().map_or(kept.clone(), |hint| format!("{hint}; {kept}"));
                Err(error.with_hint(hint))
            }
        }
    }

    fn remove(&self) {
        // A file that stays is in a directory that is emptied.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
