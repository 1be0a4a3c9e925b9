//! Finds the directories of a git repository that a commit writes to.
//!
//! A sandbox that protects `.git` prevents commits. The directories that have to be writable are found by
//! reading git's own files; git itself is not run, because its configuration can name programs. An agent may
//! have written these files, so a pointer to another directory is followed only if that directory points
//! back.

use std::fs;
use std::path::{Path, PathBuf};

/// Maximum size in bytes of a git file that contains a path.
const MAX_POINTER_BYTES: u64 = 8192;

/// Returns the directories that a commit in `cwd`, a path without symbolic links, writes to: the common
/// directory of the repository, and that of a linked worktree or a submodule. Returns an empty list if `cwd`
/// is not in a repository, or the location of the repository cannot be verified.
pub(crate) fn git_dirs(cwd: &Path) -> Vec<PathBuf> {
    let found = cwd.ancestors().find_map(|top| {
        let dot_git = top.join(".git");
        Some((top, fs::symlink_metadata(&dot_git).ok()?.file_type(), dot_git))
    });
    match found {
        Some((_, kind, dot_git)) if kind.is_dir() => {
            if is_repository(&dot_git) {
                vec![dot_git]
            } else {
                Vec::new()
            }
        }
        Some((top, kind, dot_git)) if kind.is_file() => linked(top, &dot_git).unwrap_or_default(),
        // A symbolic link may lead to any repository.
        _ => Vec::new(),
    }
}

/// Returns the directories that a `.git` file points to, if they point back.
fn linked(top: &Path, dot_git: &Path) -> Option<Vec<PathBuf>> {
    let own = pointer(dot_git, "gitdir: ").map(|path| top.join(path))?.canonicalize().ok()?;
    match pointer(&own.join("commondir"), "") {
        // A linked worktree: its directory contains the path of the `.git` file.
        Some(common) => {
            let back = pointer(&own.join("gitdir"), "")?;
            let common = own.join(common).canonicalize().ok()?;
            let agrees = own.join(back) == dot_git && own.parent() == Some(&common.join("worktrees"));
            (agrees && is_repository(&common)).then(|| vec![common, own])
        }
        // A submodule: its directory is in the enclosing repository.
        None => {
            let around = top.ancestors().skip(1).map(|dir| dir.join(".git/modules"));
            let is_held = around.into_iter().any(|modules| own.starts_with(modules));
            (is_held && is_repository(&own)).then(|| vec![own])
        }
    }
}

/// Returns whether `dir` is a repository by git's own criteria.
fn is_repository(dir: &Path) -> bool {
    dir.join("HEAD").is_file() && dir.join("objects").is_dir() && dir.join("refs").is_dir()
}

/// Reads the path after the prefix `start` from a small file.
fn pointer(file: &Path, start: &str) -> Option<PathBuf> {
    let metadata = fs::symlink_metadata(file).ok()?;
    let is_small = metadata.is_file() && metadata.len() <= MAX_POINTER_BYTES;
    let text = is_small.then(|| fs::read_to_string(file).ok()).flatten()?;
    let path = text.strip_prefix(start)?.trim_end_matches('\n');
    (!path.is_empty()).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(dir: &Path, args: &[&str]) {
        let mut git = Command::new("git");
        git.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", dir).current_dir(dir);
        git.env("GIT_CONFIG_NOSYSTEM", "1").args(["-c", "user.name=n", "-c", "user.email=e@x"]);
        git.args(["-c", "protocol.file.allow=always"]).args(args);
        let output = git.output().expect("git is there");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn repository(dir: &Path) {
        fs::create_dir_all(dir).expect("made");
        git(dir, &["init", "-q"]);
        git(dir, &["commit", "-q", "--allow-empty", "-m", "first"]);
    }

    #[test]
    fn a_clone_a_linked_worktree_and_a_submodule_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path().canonicalize().expect("it exists");
        assert_eq!(git_dirs(&top), [] as [PathBuf; 0]);
        let [main, tree, other] = ["main", "tree", "other"].map(|name| top.join(name));
        repository(&main);
        repository(&other);
        fs::create_dir(main.join("sub")).expect("made");
        assert_eq!(git_dirs(&main.join("sub")), [main.join(".git")]);
        git(&main, &["worktree", "add", "-q", "../tree"]);
        assert_eq!(git_dirs(&tree), [main.join(".git"), main.join(".git/worktrees/tree")]);
        git(&main, &["submodule", "add", "-q", "../other", "part"]);
        assert_eq!(git_dirs(&main.join("part")), [main.join(".git/modules/part")]);
    }

    #[test]
    fn what_an_agent_could_have_written_leads_nowhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path().canonicalize().expect("it exists");
        let [other, tree, work] = ["other", "tree", "work"].map(|name| top.join(name));
        repository(&other);
        git(&other, &["worktree", "add", "-q", "../tree"]);
        fs::create_dir(&work).expect("made");
        let point = |target: &str| {
            let _ = fs::remove_file(work.join(".git"));
            fs::write(work.join(".git"), format!("gitdir: {target}\n")).expect("written");
            git_dirs(&work)
        };
        for target in ["../other/.git", "../other/.git/worktrees/tree", "..", "gone", "", "/"] {
            assert_eq!(point(target), [] as [PathBuf; 0], "{target}");
        }
        fs::remove_file(work.join(".git")).expect("removed");
        std::os::unix::fs::symlink(other.join(".git"), work.join(".git")).expect("linked");
        assert_eq!(git_dirs(&work), [] as [PathBuf; 0]);
        assert_eq!(git_dirs(&tree).len(), 2);
    }
}
