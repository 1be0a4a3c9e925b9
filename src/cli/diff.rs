//! `lanes diff`: prints what the agent of a task has changed in its worktree.

use clap::Args;
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use crate::dispatch::run::context::files;
use crate::dispatch::run::worktree_record::last_worktree;
use crate::dispatch::worktree::TaskWorktree;
use crate::dispatch::worktree::changes::{MAX_PATCH_BYTES, WorktreeChanges};
use crate::error::{Error, Result, printable};
use crate::model::json::Object;
use crate::store::AttemptDir;

/// Show what the agent of a task has changed in its worktree.
///
/// Prints a patch against the commit that the worktree started from, including uncommitted changes. While the task is
/// being worked on, these are the changes so far.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes diff d64cf2\n  lanes diff d64cf2 --stat")]
pub(super) struct DiffCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
    /// Show the number of changed lines of each file instead
    #[arg(long)]
    stat: bool,
}

impl DiffCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let id = store.resolve(&self.id)?;
        let (attempt, place) = last_worktree(&store, &id)?.ok_or_else(|| {
            Error::not_found(format!("no run of {id} had a worktree"))
                .with_hint("set `worktree` in the route of its lane")
        })?;
        let is_recorded = place.contains_key("head_commit");
        let live = match is_recorded && !self.stat {
            true => None,
            false => TaskWorktree::from_object(&place, id.as_str()).filter(|worktree| worktree.path.is_dir()),
        };
        let changes = live.map(|worktree| worktree.changes()).transpose()?;
        if context.out.json {
            let mut reply = place.clone();
            reply.extend(changes.as_ref().map(WorktreeChanges::to_object).unwrap_or_default());
            reply.insert("status".to_string(), "ok".into());
            reply.insert("task_id".to_string(), id.as_str().into());
            reply.insert("patch".to_string(), patch_text(&attempt, changes.as_ref())?);
            context.out.object(&reply)?;
            return Ok(CommandExit::Done);
        }
        match changes {
            Some(changes) if self.stat => context.out.foreign(&changes.stat)?,
            Some(changes) => context.out.foreign(&changes.patch)?,
            None => self.print_recorded(context, &attempt, &place)?,
        }
        Ok(CommandExit::Done)
    }

    fn print_recorded(
        &self,
        context: &mut CommandContext,
        attempt: &AttemptDir,
        place: &Object,
    ) -> Result<()> {
        let read = |name| attempt.read(name, 2 * MAX_PATCH_BYTES as u64);
        if let (Some(patch), false) = (read(files::PATCH)?, self.stat) {
            return context.out.foreign(&patch);
        }
        if let Some(stat) = read(files::STAT)? {
            context.out.note("lanes: the patch is too large to be kept; this is what it changes");
            return context.out.foreign(&stat);
        }
        let text = |key: &str| place.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
        Err(Error::not_found("the worktree is removed".to_string()).with_hint(format!(
            "its commits: `git -C {} diff --stat {}..{}`",
            printable(&text("repository")),
            printable(&text("base_commit")),
            printable(&text("head_commit"))
        )))
    }
}

/// Returns the patch as JSON: a text, or null when it is too large.
fn patch_text(attempt: &AttemptDir, changes: Option<&WorktreeChanges>) -> Result<Value> {
    let patch = match changes {
        Some(changes) => Some(changes.patch.clone()).filter(|patch| patch.len() <= MAX_PATCH_BYTES),
        None => attempt.read(files::PATCH, 2 * MAX_PATCH_BYTES as u64)?,
    };
    Ok(patch.map(|patch| String::from_utf8_lossy(&patch).into_owned()).into())
}
