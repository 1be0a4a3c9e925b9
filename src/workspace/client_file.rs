//! Reads a text file that a client names.

use std::path::Path;

use super::base_dir::BaseDir;
use super::config::Config;
use super::submit_paths::PathRules;
use crate::error::{Error, Result};

/// Reads a text file that a client names, at most `max_bytes`: one in the workspace, and none with credentials.
/// `name` is its name in messages; the path is relative to `base`.
///
/// # Errors
/// `Invalid` when the file may not be named, is missing or is not text; `Config` when a configuration that was found
/// in a repository names a workspace outside of it; `Io` when the file cannot be read.
pub(crate) fn read_text_for_client(
    config: &Config,
    base: &BaseDir,
    path: &Path,
    name: &'static str,
    max_bytes: usize,
) -> Result<String> {
    if !config.may_reach(&config.workspace_root) {
        return Err(Error::config("workspace_root leads out of the repository")
            .with_hint("review the configuration, then name it with --config"));
    }
    PathRules::new(config, base)?.for_client().text(path, name, max_bytes, "check the path")
}
