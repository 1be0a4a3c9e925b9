//! What an agent has changed in its worktree.

use serde_json::Value;

use super::git::GitDirectory;
use crate::error::{Error, Result};
use crate::model::json::Object;
use crate::model::task::object;

/// The largest patch that is kept, in bytes.
pub(crate) const MAX_PATCH_BYTES: usize = 1024 * 1024;

/// The most uncommitted files that are listed.
const MAX_LISTED: usize = 100;

/// The changes of a worktree since its base, committed or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorktreeChanges {
    /// The commit that it started from.
    pub base_commit: String,
    /// The commit that it is at.
    pub head_commit: String,
    /// The number of changed files.
    pub files: u64,
    /// The number of inserted lines.
    pub insertions: u64,
    /// The number of deleted lines.
    pub deletions: u64,
    /// The files with changes that are in no commit.
    pub uncommitted: Vec<String>,
    /// The changes as a patch.
    pub patch: Vec<u8>,
    /// A summary of them, one line for each file.
    pub stat: Vec<u8>,
}

impl WorktreeChanges {
    /// Reads the changes of a worktree since the commit `base`. New files that git does not ignore take part.
    ///
    /// # Errors
    /// When git fails.
    pub(super) fn read(worktree: &GitDirectory, base: &str) -> Result<Self> {
        let head_commit = worktree.read(&["rev-parse", "HEAD"])?;
        let status =
            worktree.run(&["status", "--porcelain", "-z", "--no-renames", "--untracked-files=all"])?;
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        let uncommitted = status.split('\0').filter_map(|entry| Some(entry.get(3..)?.to_string())).collect();
        // An index of our own: the agent's stays as it is.
        let index = tempfile(worktree)?;
        let read = |args: &[&str]| worktree.read_with_index(index.path.as_os_str(), args);
        read(&["read-tree", "HEAD"])?;
        read(&["add", "--all"])?;
        let diff = |form: &str| read(&["diff", "--cached", "--no-ext-diff", "--no-color", form, base]);
        let (patch, stat, counts) = (diff("--binary")?, diff("--stat=120")?, diff("--numstat")?);
        let mut changes =
            Self { base_commit: base.to_string(), head_commit, uncommitted, patch, stat, ..Self::default() };
        for line in String::from_utf8_lossy(&counts).lines() {
            let mut words = line.split('\t');
            // `-` for a binary file.
            let mut count = || words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            let (insertions, deletions) = (count(), count());
            changes.files += 1;
            changes.insertions += insertions;
            changes.deletions += deletions;
        }
        Ok(changes)
    }

    /// Returns whether there are commits after the base.
    pub(crate) fn has_commits(&self) -> bool {
        self.head_commit != self.base_commit
    }

    /// Returns them as JSON, without the patch.
    pub(crate) fn to_object(&self) -> Object {
        let listed: Vec<Value> = self.uncommitted.iter().take(MAX_LISTED).cloned().map(Value::from).collect();
        object([
            ("base_commit", self.base_commit.clone().into()),
            ("head_commit", self.head_commit.clone().into()),
            ("files_changed", self.files.into()),
            ("insertions", self.insertions.into()),
            ("deletions", self.deletions.into()),
            ("uncommitted_files", listed.into()),
        ])
    }
}

/// A file that is removed on drop.
struct TemporaryIndex {
    path: std::path::PathBuf,
}

impl Drop for TemporaryIndex {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Returns a name for an index in the git directory of a worktree.
fn tempfile(worktree: &GitDirectory) -> Result<TemporaryIndex> {
    let directory = worktree.read(&["rev-parse", "--absolute-git-dir"])?;
    if directory.is_empty() {
        return Err(Error::refused("git does not report its directory"));
    }
    let name = format!("lanes-index-{}-{:?}", std::process::id(), std::thread::current().id());
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    Ok(TemporaryIndex { path: std::path::Path::new(&directory).join(name) })
}
