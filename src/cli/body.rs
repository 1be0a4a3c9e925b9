//! Reading answers and prompts from files and standard input.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::output::Output;
use crate::error::{Error, Result, printable};

/// Reads all of standard input as text, at most `limit` bytes.
pub(super) fn from_stdin(out: &Output, limit: usize) -> Result<String> {
    out.reads_stdin();
    bounded(std::io::stdin().lock(), limit, "standard input")
}

/// Reads a file as text, at most `limit` bytes; `-` is standard input.
pub(super) fn from_file(out: &Output, path: &Path, limit: usize) -> Result<String> {
    if path == Path::new("-") {
        return from_stdin(out, limit);
    }
    bounded(open(path)?, limit, &path.to_string_lossy())
}

/// Opens a file for reading, and refuses a directory, which would otherwise fail at the first read.
pub(super) fn open(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        let shown = printable(&path.to_string_lossy());
        return Err(Error::invalid_here(format!("{shown} is a directory, not a file")));
    }
    Ok(file)
}

fn bounded(source: impl Read, limit: usize, name: &str) -> Result<String> {
    let mut bytes = Vec::new();
    source.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|error| Error::io("read", name, error))?;
    let name = printable(name);
    if bytes.len() > limit {
        return Err(Error::invalid_here(format!("{name} is larger than {limit} bytes"))
            .with_hint("keep the large part in a file and name that file"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::invalid_here(format!(
            "{name} is not UTF-8 text: the byte at offset {at} does not belong to a character"
        ))
        .with_hint("convert it with iconv, or encode it with base64")
    })
}
