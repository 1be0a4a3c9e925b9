//! Runs a client's own command that changes its settings.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result, brief, printable, shell_word};
use crate::workspace::output_within;

/// How long a client's program may take to change its settings.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns the program that a shell would start.
pub(super) fn find(name: &str, search_path: Option<&OsStr>) -> Option<PathBuf> {
    // The client would resolve a relative directory differently.
    let directories = std::env::split_paths(search_path?).filter(|directory| directory.is_absolute());
    directories.map(|directory| directory.join(name)).find(|candidate| {
        let is_program = |file: std::fs::Metadata| file.is_file() && file.permissions().mode() & 0o111 != 0;
        std::fs::metadata(candidate).is_ok_and(is_program)
    })
}

/// Runs a program in `directory`; it must end within a minute.
///
/// # Errors
/// `Io` when it cannot be started or does not end, `Refused` with the first line that it printed when it fails.
pub(super) fn run(program: &Path, arguments: &[String], directory: &Path) -> Result<()> {
    let output = output_within(Command::new(program).args(arguments).current_dir(directory), b"", LIMIT)?;
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stderr, output.stdout].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let first = printed.iter().flat_map(|text| text.lines()).map(str::trim).find(|line| !line.is_empty());
    let reason = first.map(|line| format!(": {}", shorten(line))).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let command: Vec<&str> = arguments.iter().take(2).map(String::as_str).collect();
    Err(Error::refused(format!("`{} {}` fails ({}){reason}", brief(&name), command.join(" "), output.status)))
}

/// Returns a command line that can be pasted into a shell.
pub(super) fn shell_line(name: &str, arguments: &[String]) -> String {
    std::iter::once(name)
        .chain(arguments.iter().map(String::as_str))
        .map(shell_word)
        .collect::<Vec<_>>()
        .join(" ")
}

fn shorten(line: &str) -> String {
    const MAX_CHARS: usize = 200;
    printable(&line.chars().take(MAX_CHARS).collect::<String>())
}
