//! `lanes worktrees`: lists and removes the worktrees of tasks.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::inside_run;
use super::table::Table;
use super::text_format::count;
use crate::dispatch::worktree::changes::WorktreeChanges;
use crate::dispatch::worktree::git::GitDirectory;
use crate::dispatch::worktree::{TaskWorktree, short_id};
use crate::error::{Error, Result, printable};
use crate::model::task::object;
use crate::model::{Status, Task, TaskId, TaskText};
use crate::store::Store;

/// List the worktrees that dispatchers have made for tasks.
///
/// They are looked for in the repositories of the workspace, of the current directory and of the directories that tasks name.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  lanes worktrees\n  lanes worktrees --stale\n  lanes worktrees remove d64cf2"
)]
pub(super) struct WorktreesCommand {
    /// List only those whose task has ended or is gone
    #[arg(long)]
    stale: bool,
    #[command(subcommand)]
    action: Option<WorktreesAction>,
}

/// The action instead of listing.
#[derive(Subcommand, Debug)]
enum WorktreesAction {
    #[command(name = "remove")]
    Remove(WorktreesRemoveCommand),
}

/// Remove the worktrees of tasks.
///
/// One with uncommitted changes, or with commits that are not merged, is refused. A branch with commits is kept in any
/// case.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lanes worktrees remove d64cf2\n  lanes worktrees remove d64cf2 a1b2c3 --force"
)]
struct WorktreesRemoveCommand {
    /// Ids of the tasks, or branches
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Remove a worktree even if work in it is not merged or would be lost
    #[arg(long)]
    force: bool,
}

/// A worktree, and the task that it was made for if that exists.
struct ListedTask {
    worktree: TaskWorktree,
    task: Option<Task>,
    changes: Result<WorktreeChanges>,
}

impl WorktreesCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        match &self.action {
            Some(WorktreesAction::Remove(command)) => command.run(context),
            None => self.list(context),
        }
    }

    fn list(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let mut all = find_worktrees(context, &store)?;
        all.retain(|listed| !self.stale || listed.is_stale());
        if context.out.json {
            let worktrees: Vec<Value> = all.iter().map(ListedTask::to_json).collect();
            context.out.object(&object([
                ("status", "ok".into()),
                ("count", worktrees.len().into()),
                ("worktrees", worktrees.into()),
            ]))?;
            return Ok(CommandExit::Done);
        }
        if all.is_empty() {
            context.out.note(if self.stale { "lanes: no stale worktrees" } else { "lanes: no worktrees" });
            return Ok(CommandExit::Done);
        }
        let mut table = Table::new(&["TASK", "STATE", "BRANCH", "CHANGES", "PATH"]);
        let is_short = context.out.row_width().is_some();
        for listed in &all {
            let task = &listed.worktree.task;
            table.row(vec![
                if is_short { short_id(task) } else { task.as_str() }.to_string(),
                listed.state(),
                printable(&listed.worktree.branch),
                listed.describe_changes(),
                printable(&listed.worktree.path.to_string_lossy()),
            ]);
        }
        table.print(&mut context.out)?;
        Ok(CommandExit::Done)
    }
}

impl WorktreesRemoveCommand {
    fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        inside_run::refuse(context, "worktrees remove")?;
        let store = context.store()?;
        let all = find_worktrees(context, &store)?;
        let chosen = self.ids.iter().map(|id| choose(&all, id)).collect::<Result<Vec<_>>>()?;
        // All are checked before the first one is removed.
        chosen.iter().try_for_each(|listed| listed.check_removable(self.force))?;
        let mut removed: Vec<Value> = Vec::new();
        for listed in chosen {
            listed.worktree.remove(self.force)?;
            removed.push(listed.to_json());
            if !context.out.json {
                context.out.line(&printable(&listed.worktree.path.to_string_lossy()))?;
            }
        }
        if context.out.json {
            context.out.object(&object([("status", "ok".into()), ("removed", removed.into())]))?;
        }
        Ok(CommandExit::Done)
    }
}

impl ListedTask {
    fn is_stale(&self) -> bool {
        self.task.as_ref().is_none_or(|task| task.status.is_terminal())
    }

    fn state(&self) -> String {
        self.task.as_ref().map_or("gone".to_string(), |task| task.status.as_str().to_string())
    }

    fn describe_changes(&self) -> String {
        match &self.changes {
            Ok(changes) if changes.files == 0 => "none".to_string(),
            Ok(changes) => {
                let open = match changes.uncommitted.len() {
                    0 => String::new(),
                    uncommitted => format!(", {uncommitted} uncommitted"),
                };
                let files = count(changes.files, "file");
                format!("{files} +{} -{}{open}", changes.insertions, changes.deletions)
            }
            Err(error) => printable(error.message()),
        }
    }

    fn to_json(&self) -> Value {
        let mut all = self.worktree.to_object();
        all.insert("task_id".to_string(), self.worktree.task.clone().into());
        all.insert("state".to_string(), self.task.as_ref().map(|task| task.status.as_str()).into());
        all.insert("stale".to_string(), self.is_stale().into());
        if let Ok(changes) = &self.changes {
            all.extend(changes.to_object());
        }
        Value::Object(all)
    }

    fn check_removable(&self, force: bool) -> Result<()> {
        let path = printable(&self.worktree.path.to_string_lossy());
        if let Some(Task { status: Status::Claimed(_), id, .. }) = &self.task {
            return Err(Error::refused(format!("{path} is in use: the task {id} is being worked on"))
                .with_hint(format!("wait for it, or end it with `lanes cancel {id}`")));
        }
        if force {
            return Ok(());
        }
        let changes = match &self.changes {
            Ok(changes) => changes,
            Err(error) => {
                return Err(Error::refused(format!("{path}: {}", error.message()))
                    .with_hint("--force removes it anyway"));
            }
        };
        if !changes.uncommitted.is_empty() {
            let files = count(changes.uncommitted.len() as u64, "file");
            return Err(Error::refused(format!("{path} has uncommitted changes ({files})"))
                .with_hint("commit them there, or lose them with --force"));
        }
        if changes.has_commits() && !self.worktree.is_merged()? {
            let (repository, branch) =
                (self.worktree.repository.top().to_string_lossy(), &self.worktree.branch);
            return Err(Error::refused(format!("the commits of {} are not merged", printable(branch)))
                .with_hint(format!(
                    "merge them with `git -C {} merge {}`, or give --force: the branch stays",
                    printable(&repository),
                    printable(branch)
                )));
        }
        Ok(())
    }
}

/// Returns the directories whose repositories may have worktrees of tasks, without those that are gone.
fn task_directories(context: &CommandContext, store: &Store) -> Result<BTreeSet<PathBuf>> {
    let mut directories: BTreeSet<PathBuf> = context.base.absolute(Path::new(".")).into_iter().collect();
    if let Ok(config) = context.config() {
        directories.insert(config.workspace_root.clone());
        let routes = config.dispatch.as_ref().and_then(|dispatch| dispatch.get("routes")?.as_mapping());
        let named = routes.into_iter().flatten().filter_map(|(_, route)| route.get("cwd")?.as_str());
        directories.extend(named.map(|cwd| config.workspace_root.join(cwd)));
    }
    let directory = |task: &TaskText<'_>| task.spec.directory();
    store.scan_names(&store.task_names()?, directory, &mut |_, directory| {
        directories.extend(directory.ok().map(PathBuf::from));
        ControlFlow::Continue(())
    });
    directories.retain(|directory| directory.is_dir());
    Ok(directories)
}

fn find_worktrees(context: &CommandContext, store: &Store) -> Result<Vec<ListedTask>> {
    let mut all: Vec<ListedTask> = Vec::new();
    let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
    for directory in task_directories(context, store)? {
        let Some(repository) = GitDirectory::containing(&directory)? else { continue };
        if !seen.insert(repository.top().to_path_buf()) {
            continue;
        }
        for worktree in TaskWorktree::all(&repository)? {
            if all.iter().any(|listed| listed.worktree.path == worktree.path) {
                continue;
            }
            let task = TaskId::parse(&worktree.task)
                .ok()
                .and_then(|id| store.task(&id).ok())
                .map(|task| store.shown(task));
            all.push(ListedTask { changes: worktree.changes(), worktree, task });
        }
    }
    Ok(all)
}

/// Returns the worktree that a beginning or end of a task's id, or a branch, names.
fn choose<'w>(all: &'w [ListedTask], name: &str) -> Result<&'w ListedTask> {
    let names = |listed: &&ListedTask| {
        let worktree = &listed.worktree;
        worktree.branch == name || worktree.task.starts_with(name) || worktree.task.ends_with(name)
    };
    let mut found = all.iter().filter(names);
    match (found.next(), found.next()) {
        (Some(listed), None) => Ok(listed),
        (None, _) => Err(Error::not_found(format!("no worktree belongs to {}", printable(name)))
            .with_hint("`lanes worktrees` lists them")),
        (Some(one), Some(other)) => Err(Error::invalid_here(format!(
            "{} names several worktrees: {} and {}",
            printable(name),
            printable(&one.worktree.task),
            printable(&other.worktree.task)
        ))),
    }
}
