//! The git program, as far as worktrees need it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::error::{Error, ErrorKind, Result, brief, printable};

/// Variables by which a surrounding git would lead this one to another repository.
const FOREIGN_VARIABLES: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
];

/// Settings that let a repository start no program of its own while worktrees are made and inspected.
const NO_PROGRAMS: [&str; 6] =
    ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "diff.external="];

/// A repository, or one of its worktrees.
#[derive(Clone, Debug)]
pub(crate) struct GitDirectory {
    top: PathBuf,
}

impl GitDirectory {
    /// Finds the worktree that contains `directory`; `None` if it is in no repository.
    ///
    /// # Errors
    /// When git cannot be started.
    pub(crate) fn containing(directory: &Path) -> Result<Option<Self>> {
        let here = Self { top: directory.to_path_buf() };
        let output = here.run(&["rev-parse", "--show-toplevel"])?;
        let top = text(&output.stdout);
        Ok((output.status.success() && !top.is_empty()).then(|| Self { top: PathBuf::from(top) }))
    }

    /// Stands for the worktree whose top is `top`.
    pub(crate) fn at(top: PathBuf) -> Self {
        Self { top }
    }

    /// Returns the top of the worktree.
    pub(crate) fn top(&self) -> &Path {
        &self.top
    }

    /// Runs git and returns its output without the line end.
    ///
    /// # Errors
    /// `Refused` with what git says when it fails.
    pub(crate) fn read(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args)?;
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let said = text(&output.stderr);
        let line = said.lines().find(|line| line.starts_with("fatal:")).or_else(|| said.lines().next());
        let said = line.map_or("it failed without a message", |line| line.trim_start_matches("fatal: "));
        Err(Error::refused(format!(
            "`git {}` in {}: {}",
            args.iter().map(|arg| printable(arg)).collect::<Vec<_>>().join(" "),
            printable(&self.top.to_string_lossy()),
            brief(said)
        )))
    }

    /// Runs git and returns its output without the line end; `None` when it fails.
    ///
    /// # Errors
    /// When git cannot be started.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<Option<String>> {
        let output = self.run(args)?;
        Ok(output.status.success().then(|| text(&output.stdout)))
    }

    /// Runs git and returns all of its output.
    ///
    /// # Errors
    /// When git cannot be started.
    pub(crate) fn run(&self, args: &[&str]) -> Result<Output> {
        self.command().args(args).output().map_err(|error| no_git(&self.top, error))
    }

    /// Runs git with another index than the worktree's.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_with_index(&self, index: &OsStr, args: &[&str]) -> Result<Vec<u8>> {
        let mut command = self.command();
        let output = command.env("GIT_INDEX_FILE", index).args(args).output();
        let output = output.map_err(|error| no_git(&self.top, error))?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(Error::refused(format!("git {}: {}", args[0], brief(&text(&output.stderr))))),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        for name in FOREIGN_VARIABLES {
            command.env_remove(name);
        }
        // A command in a script may hold the lock of the index; to look at it must not disturb it.
        command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0");
        command.stdin(Stdio::null()).args(NO_PROGRAMS).current_dir(&self.top);
        command
    }
}

fn no_git(directory: &Path, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::NotFound && directory.is_dir() {
        return Error::new(ErrorKind::Config, "the program `git` is not installed")
            .with_hint("install git, or remove `worktree` from the route");
    }
    Error::io("run git in", directory, error)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\n').to_string()
}
