//! Writes an answer to the response path of its task, if the workspace allows it.

use std::path::{Path, PathBuf};

use super::base_dir::BaseDir;
use super::config::Config;
use super::paths::show;
use super::submit_paths::PathRules;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::{Response, Task};
use crate::store::{Store, replace_user_file};

/// The hint for an answer that was not written to a file.
const KEPT_IN_STORE: &str = "the answer was not written there and stays in the store";

/// Writes the body of `response` to the task's response path atomically, and returns the path. The permissions of
/// a replaced file are kept.
///
/// The path must obey the rules of a submit in the workspace that `config` reads: the workspace given in task.json
/// is not trusted, since a store or an export may come from anywhere. `config` is not called when the store keeps
/// the answer itself.
///
/// # Errors
/// `Refused` when the path leads outside the workspace or to a file that no answer may replace, or when there is no
/// configuration of the workspace; the answer is durable nevertheless. `Io` when it cannot be written. In each case
/// the answer stays in the store.
pub(crate) fn deliver(
    store: &Store,
    task: &Task,
    response: &Response,
    config: impl FnOnce() -> Result<Config>,
) -> Result<PathBuf> {
    let response_path = PathBuf::from(&task.response_path);
    if store.is_response_kept_in_store(task) {
        store.copy_response(task, response)?;
        return Ok(response_path);
    }
    let base = BaseDir::at("/");
    let target = config().and_then(|config| {
        let target = PathRules::new(&config, &base)?.delivery(&response_path, "response_path")?;
        if config.may_reach(&target) {
            return Ok(target);
        }
        Err(Error::invalid_here(format!(
            "response_path leads out of the repository: {}; name its configuration with --config to allow that",
            show(&target)
        )))
    });
    match target {
        Ok(target) => {
            // The answer must be durable before anybody can see it.
            store.sync_response(task)?;
            write(&target, &response.body)?;
        }
        Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Config) => {
            // The answer must be durable before the error reports that the store keeps it.
            store.sync_response(task)?;
            return Err(Error::refused(error.message()).with_hint(KEPT_IN_STORE));
        }
        Err(error) => return Err(error),
    }
    Ok(response_path)
}

/// Writes an answer atomically to `target`, which is absolute and without links, with the permissions of the file that it
/// replaces. Missing directories are made.
///
/// # Errors
/// `Refused` when the path has changed its target; `Io` when it cannot be written.
fn write(target: &Path, body: &str) -> Result<()> {
    let parent = target.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).map_err(|error| Error::io("create", parent, error))?;
    let real = parent.canonicalize().map_err(|error| Error::io("open", parent, error))?;
    if real != parent {
        let shown = printable(&target.to_string_lossy());
        return Err(Error::refused(format!("response_path now leads to a different place: {shown}")));
    }
    replace_user_file(target, body.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_does_not_follow_a_directory_that_became_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let target = top.join("new/deep/answer.md");
        write(&target, "one").unwrap();
        write(&target, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "two");
        std::fs::remove_dir_all(top.join("new")).unwrap();
        std::fs::create_dir_all(top.join("moved/deep")).unwrap();
        std::os::unix::fs::symlink(top.join("moved"), top.join("new")).unwrap();
        let refused = write(&target, "three").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Refused);
        assert!(!top.join("moved/deep/answer.md").exists());
    }
}
