//! The usage log: one line for each run of an agent, with its usage.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use super::layout::{OLD_USAGE, USAGE};
use super::{FileStore, atomic, bounded_file};
use crate::error::{Error, Result};

/// The size at which the log becomes the old one and a new one is begun, in bytes: some hundred thousand runs.
const ROTATE_AT: u64 = 64 * 1024 * 1024;
/// The largest log that is read, in bytes. Other writers may not rotate it.
const MAX_USAGE: u64 = 1024 * 1024 * 1024;

impl FileStore {
    pub(crate) fn append_usage(&self, line: &str) -> Result<()> {
        let root = &self.layout.root;
        let is_long = |file: &File| file.metadata().is_ok_and(|meta| meta.len() >= ROTATE_AT);
        let mut file = atomic::open_for_append(root, USAGE)?;
        if is_long(&file) {
            let _lock = self.lock_store()?;
            // Again under the lock: only the first process that sees it moves it.
            if is_long(&atomic::open_for_append(root, USAGE)?) {
                atomic::rename_derived(root, USAGE, root, OLD_USAGE)?;
            }
            file = atomic::open_for_append(root, USAGE)?;
        }
        let fail = |verb, error| Error::io(verb, root.path().join(USAGE), error);
        let mut text = String::new();
        // A process killed while writing leaves half a line, which must not swallow this one.
        if is_torn(&file).map_err(|error| fail("read", error))? {
            text.push('\n');
        }
        text.push_str(line);
        // One write: lines of several processes never mix.
        file.write_all(text.as_bytes()).map_err(|error| fail("write", error))
    }

    pub(crate) fn usage_log_text(&self) -> Result<String> {
        let read = |name| -> Result<String> {
            let content = bounded_file::read(&self.layout.root, name, MAX_USAGE)?;
            Ok(content
                .map_or_else(String::new, |content| String::from_utf8_lossy(&content.bytes).into_owned()))
        };
        // In this order: a log that is rotated meanwhile is read twice, which does no harm.
        let new = read(USAGE)?;
        // The last line of the old log may be torn; it must not swallow the first of the new one.
        Ok(read(OLD_USAGE)? + "\n" + &new)
    }
}

/// Returns whether the last line of a file has no line end.
fn is_torn(file: &File) -> std::io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    Ok(file.read_at(&mut byte, last)? == 1 && byte != *b"\n")
}
