//! The file of agent-dispatch that `agents_from` names.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Config;
use super::paths::{resolve, show};
use super::text_file::TextFile;
use crate::error::{Error, ErrorKind, Result};

const AGENTS_FILE: TextFile = TextFile {
    name: "agents file",
    limit: 1024 * 1024,
    refusal: ErrorKind::Config,
    hint_if_missing: "correct `agents_from` in handoff.yaml, or remove it",
    unique_keys: true,
};

/// Reads a file of agents; returns its real path and its text.
///
/// # Errors
/// `Config` or `Io`, naming the file: it does not exist, is not a UTF-8 text of at most 1 MiB, or another user than the
/// owner of the configuration could change it, since it chooses what runs.
pub(crate) fn read_agents_file(config: &Config, path: &Path) -> Result<(PathBuf, String)> {
    let real = resolve(path)?;
    let mut owners = vec![rustix::process::geteuid().as_raw(), 0];
    owners.extend(config.path().and_then(|path| path.metadata().ok()).map(|metadata| metadata.uid()));
    let text = AGENTS_FILE.read_if(&real, |metadata| {
        if owners.contains(&metadata.uid()) && metadata.mode() & 0o002 == 0 {
            return Ok(());
        }
        Err(Error::config(format!("agents file {} can be changed by another user", show(&real)))
            .with_hint("inspect it, then take ownership of it with mode 0600"))
    })?;
    Ok((real, text))
}
