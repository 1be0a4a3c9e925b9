//! A git worktree for each task, so that agents that work at the same time do not disturb each other.
//!
//! What belongs to which task is recorded in the configuration of the repository (`branch.NAME.lanestask` and
//! `branch.NAME.lanesbase`), which git removes together with the branch.

pub(crate) mod changes;
pub(crate) mod git;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::changes::WorktreeChanges;
use self::git::GitDirectory;
use super::config::worktree_settings::{KeepWorktree, WorktreeSettings};
use crate::error::{Error, Result, printable};
use crate::model::id::slug;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{LaneName, TaskId};
use crate::sha256::sha256_bytes;
use crate::store::CompanionLock;
use crate::workspace::absolute;

/// How long one worktree may take to be made while another one waits.
const LOCK_TIMEOUT: Duration = Duration::from_secs(120);

/// The file, in the common directory of the repository, whose lock lets one worktree at a time be made or removed.
const LOCK_FILE: &str = "lanes-worktrees.lock";

/// The worktree of a task.
#[derive(Clone, Debug)]
pub(crate) struct TaskWorktree {
    /// The repository that it belongs to: its first worktree.
    pub repository: GitDirectory,
    /// Its directory.
    pub path: PathBuf,
    /// Its branch.
    pub branch: String,
    /// The task that it was made for.
    pub task: String,
    /// The commit that it started from.
    pub base: String,
}

/// Which worktree a task gets.
pub(crate) struct WorktreeRequest<'a> {
    /// The settings of the route.
    pub settings: &'a WorktreeSettings,
    /// The directory that the agent would work in without a worktree.
    pub directory: &'a Path,
    /// The task.
    pub task: &'a TaskId,
    /// Its lane.
    pub lane: &'a LaneName,
    /// The number of the claim.
    pub fence: u64,
    /// The commit that a new worktree starts from, if the repository has it, instead of the base of the settings.
    pub start: Option<String>,
}

/// The worktree that a task would get.
#[derive(Clone, Debug)]
pub(crate) struct PlannedWorktree {
    /// Its directory.
    pub path: PathBuf,
    /// Its branch.
    pub branch: String,
    /// The directory in it that the agent would work in.
    pub cwd: PathBuf,
    /// Whether an earlier attempt has made it.
    pub exists: bool,
}

impl PlannedWorktree {
    /// Returns the plan as JSON.
    pub(crate) fn to_object(&self) -> Object {
        object([
            ("path", self.path.to_string_lossy().into_owned().into()),
            ("branch", self.branch.clone().into()),
            ("exists", self.exists.into()),
        ])
    }
}

impl WorktreeRequest<'_> {
    /// Returns the worktree that the task would get now, and makes nothing.
    ///
    /// # Errors
    /// What is wrong with the repository or the settings.
    pub(crate) fn plan(&self) -> Result<PlannedWorktree> {
        let (repository, inside) = self.repository()?;
        self.start_commit(&repository)?;
        let (branch, directory, name) = self.names(&repository)?;
        let there = listed(&repository)?.into_iter().find(|listed| listed.branch == branch);
        let is_ours = recorded(&repository, &branch, "lanestask")?.as_deref() == Some(self.task.as_str());
        let there = there.filter(|_| is_ours);
        let exists = there.is_some();
        let new = directory.canonicalize().unwrap_or(directory).join(name);
        let path = there.map_or(new, |listed| listed.path);
        // Joining nothing would add a slash.
        let cwd = if inside.as_os_str().is_empty() { path.clone() } else { path.join(inside) };
        Ok(PlannedWorktree { path, branch, cwd, exists })
    }

    /// Returns the repository of the directory, and where in it the directory is.
    fn repository(&self) -> Result<(GitDirectory, PathBuf)> {
        let repository = GitDirectory::containing(self.directory)?.ok_or_else(|| {
            Error::refused(format!(
                "{} is not in a git repository, which `worktree` needs",
                printable(&self.directory.to_string_lossy())
            ))
        })?;
        let real = self.directory.canonicalize().map_err(|error| Error::io("open", self.directory, error))?;
        let inside = real.strip_prefix(repository.top()).unwrap_or(Path::new("")).to_path_buf();
        Ok((repository, inside))
    }

    /// Finds the worktree of the task, or makes it. Returns it with the directory in it that the agent works in.
    ///
    /// # Errors
    /// What is wrong with the repository or the settings.
    pub(crate) fn open(&self) -> Result<(TaskWorktree, PathBuf)> {
        let shown = printable(&self.directory.to_string_lossy());
        let (repository, inside) = self.repository()?;
        let _lock = lock(&repository)?;
        let base = self.start_commit(&repository)?;
        let (branch, directory, name) = self.names(&repository)?;
        std::fs::create_dir_all(&directory)
            .map_err(|error| Error::io("create the directory", &directory, error))?;
        let directory = directory.canonicalize().map_err(|error| Error::io("open", &directory, error))?;
        let path = directory.join(name);
        let worktree = TaskWorktree {
            base: recorded(&repository, &branch, "lanesbase")?.unwrap_or_else(|| base.clone()),
            repository,
            path,
            branch,
            task: self.task.to_string(),
        };
        let worktree = worktree.continue_or_make(&base)?;
        // Joining nothing would add a slash.
        let cwd = match inside.as_os_str().is_empty() {
            true => worktree.path.clone(),
            false => worktree.path.join(inside),
        };
        if !cwd.is_dir() {
            return Err(Error::refused(format!(
                "{shown} does not exist in the commit {}",
                &worktree.base[..12.min(worktree.base.len())]
            )));
        }
        Ok((worktree, cwd))
    }

    /// Returns the commit that a new worktree starts from.
    fn start_commit(&self, repository: &GitDirectory) -> Result<String> {
        if let Some(start) = &self.start {
            let commit = format!("{start}^{{commit}}");
            let found = repository.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit])?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
        self.base_commit(repository)
    }

    fn base_commit(&self, repository: &GitDirectory) -> Result<String> {
        let top = printable(&repository.top().to_string_lossy());
        if repository.ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])?.is_none()
            && self.settings.base.is_none()
        {
            return Err(Error::refused(format!("{top} has no commits: make the first one")));
        }
        let base = self.settings.base.as_deref().unwrap_or("HEAD");
        let commit = format!("{base}^{{commit}}");
        repository.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit])?.ok_or_else(|| {
            Error::refused(format!(
                "{top} has no commit {:?}, the base of its worktrees: correct `worktree.base`",
                printable(base)
            ))
        })
    }

    /// Returns the branch of the worktree, the directory in which it is, and its name there.
    fn names(&self, repository: &GitDirectory) -> Result<(String, PathBuf, String)> {
        let short = short_id(self.task.as_str());
        let number =
            if self.settings.fresh && self.fence > 1 { format!("-{}", self.fence) } else { String::new() };
        let fill = |text: &str| {
            text.replace("{short_id}", short)
                .replace("{task_id}", self.task.as_str())
                .replace("{lane}", &slug(self.lane.as_str()))
        };
        let branch = fill(&self.settings.branch) + &number;
        if repository.ask(&["check-ref-format", "--branch", &branch])?.is_none() {
            return Err(Error::refused(format!(
                "{:?} cannot be the name of a branch: correct `worktree.branch`",
                printable(&branch)
            )));
        }
        let directory = absolute(repository.top(), Path::new(&fill(&self.settings.dir)))?;
        Ok((branch, directory, format!("{short}{number}")))
    }
}

impl TaskWorktree {
    /// Continues in the worktree of an earlier attempt, or makes one from `base`.
    fn continue_or_make(mut self, base: &str) -> Result<Self> {
        let git = &self.repository;
        // Directories that were removed by hand.
        git.read(&["worktree", "prune"])?;
        let reference = format!("refs/heads/{}", self.branch);
        let path = self.path.to_string_lossy().into_owned();
        let is_there = git.ask(&["rev-parse", "--verify", "--quiet", &reference])?.is_some();
        let is_ours = recorded(git, &self.branch, "lanestask")?.as_deref() == Some(self.task.as_str());
        if is_there && !is_ours {
            return Err(Error::refused(format!(
                "the branch {} exists already in {} and was not made for this task: delete it, or change `worktree.branch`",
                printable(&self.branch),
                printable(&git.top().to_string_lossy())
            )));
        }
        if is_there {
            if let Some(listed) = listed(git)?.into_iter().find(|listed| listed.branch == self.branch) {
                self.path = listed.path;
                return Ok(self);
            }
            // Its setup is gone with the directory.
            git.ask(&["config", "--unset", &key(&self.branch, "lanessetup")])?;
            git.read(&["worktree", "add", "--quiet", &path, &self.branch])?;
            return Ok(self);
        }
        if self.path.exists() {
            return Err(Error::refused(format!(
                "{} already exists and is not a worktree: move it away",
                printable(&path)
            )));
        }
        // Recorded first: a branch without a record would not be ours after a crash.
        self.base = base.to_string();
        git.read(&["config", &key(&self.branch, "lanestask"), &self.task])?;
        git.read(&["config", &key(&self.branch, "lanesbase"), base])?;
        git.read(&["worktree", "add", "--quiet", "--no-track", "-b", &self.branch, &path, base])?;
        Ok(self)
    }

    /// Returns all worktrees of a repository that were made for tasks.
    ///
    /// # Errors
    /// When git fails.
    pub(crate) fn all(repository: &GitDirectory) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        let mut listed = listed(repository)?.into_iter();
        let Some(first) = listed.next() else { return Ok(all) };
        let repository = GitDirectory::at(first.path);
        for ListedWorktree { path, branch } in listed {
            let Some(task) = recorded(&repository, &branch, "lanestask")? else { continue };
            let base = recorded(&repository, &branch, "lanesbase")?.unwrap_or_default();
            all.push(Self { repository: repository.clone(), path, branch, task, base });
        }
        Ok(all)
    }

    /// Returns where it is, as JSON.
    pub(crate) fn to_object(&self) -> Object {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        object([
            ("path", text(&self.path).into()),
            ("repository", text(self.repository.top()).into()),
            ("branch", self.branch.clone().into()),
            ("base_commit", self.base.clone().into()),
        ])
    }

    /// Reads where the worktree of `task` is from what [`to_object`](Self::to_object) has returned.
    pub(crate) fn from_object(place: &Object, task: &str) -> Option<Self> {
        let text = |key: &str| place.get(key)?.as_str().map(str::to_string);
        Some(Self {
            repository: GitDirectory::at(PathBuf::from(text("repository")?)),
            path: PathBuf::from(text("path")?),
            branch: text("branch")?,
            task: task.to_string(),
            base: text("base_commit")?,
        })
    }

    /// Returns whether these commands have made it ready.
    pub(crate) fn is_set_up(&self, setup: &[Vec<String>]) -> bool {
        let done = recorded(&self.repository, &self.branch, "lanessetup").ok().flatten();
        done.as_deref() == Some(setup_mark(&self.path, setup).as_str())
    }

    /// Records that these commands have made it ready.
    ///
    /// # Errors
    /// When git fails.
    pub(crate) fn note_set_up(&self, setup: &[Vec<String>]) -> Result<()> {
        let key = key(&self.branch, "lanessetup");
        self.repository.read(&["config", &key, &setup_mark(&self.path, setup)]).map(drop)
    }

    /// Returns what has changed in it since its base.
    ///
    /// # Errors
    /// When git fails.
    pub(crate) fn changes(&self) -> Result<WorktreeChanges> {
        WorktreeChanges::read(&GitDirectory::at(self.path.clone()), &self.base)
    }

    /// Returns whether a finished attempt leaves it, by the settings of its route.
    pub(crate) fn is_kept(keep: KeepWorktree, changes: &WorktreeChanges, has_failed: bool) -> bool {
        // Work that is in no commit would be lost.
        if !changes.uncommitted.is_empty() {
            return true;
        }
        match keep {
            KeepWorktree::Always => true,
            KeepWorktree::Never => false,
            KeepWorktree::Failed => has_failed,
            KeepWorktree::Changed => changes.has_commits(),
        }
    }

    /// Removes it. Its branch stays if it has commits.
    ///
    /// # Errors
    /// When git refuses, as for files that are in no commit unless `force` is set.
    pub(crate) fn remove(&self, force: bool) -> Result<()> {
        let git = &self.repository;
        let _lock = lock(git)?;
        let path = self.path.to_string_lossy();
        match force {
            true => git.read(&["worktree", "remove", "--force", &path])?,
            false => git.read(&["worktree", "remove", &path])?,
        };
        let head = git.ask(&["rev-parse", "--verify", "--quiet", &format!("refs/heads/{}", self.branch)])?;
        if head.as_deref() == Some(self.base.as_str()) {
            git.read(&["branch", "--quiet", "-D", &self.branch])?;
        }
        Ok(())
    }

    /// Returns whether all of its commits are in the branch that the repository is on.
    ///
    /// # Errors
    /// When git cannot be started.
    pub(crate) fn is_merged(&self) -> Result<bool> {
        Ok(self.repository.ask(&["merge-base", "--is-ancestor", &self.branch, "HEAD"])?.is_some())
    }
}

/// A line of `git worktree list`.
struct ListedWorktree {
    path: PathBuf,
    branch: String,
}

/// Returns the worktrees of a repository that are on a branch, and the first one in any case.
fn listed(repository: &GitDirectory) -> Result<Vec<ListedWorktree>> {
    let text = repository.read(&["worktree", "list", "--porcelain", "-z"])?;
    let mut all = Vec::new();
    for entry in text.split("\0\0") {
        let field = |name: &str| entry.split('\0').find_map(|line| line.strip_prefix(name));
        let Some(path) = field("worktree ") else { continue };
        let branch = field("branch refs/heads/");
        if branch.is_some() || all.is_empty() {
            all.push(ListedWorktree {
                path: PathBuf::from(path),
                branch: branch.unwrap_or_default().to_string(),
            });
        }
    }
    Ok(all)
}

/// Identifies the commands of a setup, and the directory that they have made ready.
fn setup_mark(path: &Path, setup: &[Vec<String>]) -> String {
    let text = format!("{}\0{setup:?}", path.display());
    sha256_bytes(text.as_bytes()).as_str()[..16].to_string()
}

fn key(branch: &str, name: &str) -> String {
    format!("branch.{branch}.{name}")
}

fn recorded(repository: &GitDirectory, branch: &str, name: &str) -> Result<Option<String>> {
    repository.ask(&["config", "--get", &key(branch, name)])
}

/// Lets one process at a time make or remove worktrees of a repository: git itself would fail.
fn lock(repository: &GitDirectory) -> Result<CompanionLock> {
    let common = repository.read(&["rev-parse", "--path-format=absolute", "--git-common-dir"])?;
    CompanionLock::acquire_at(&Path::new(&common).join(LOCK_FILE), LOCK_TIMEOUT)
}

/// Returns the end of a task's id, which names it on the command line.
pub(crate) fn short_id(id: &str) -> &str {
    id.rsplit('-').next().unwrap_or(id)
}
