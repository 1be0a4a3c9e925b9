//! `lanes gc`: removes tasks that ended long ago.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use serde_json::Value;

use super::args::seconds;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::inside_run;
use super::text_format::count;
use crate::error::{Error, Result, printable};
use crate::model::task::object;
use crate::store::{GcAge, GcPlan};

/// Delete old finished tasks.
///
/// Only completed and failed tasks are deleted, by the time they ended. A task is kept while an open one
/// retries it or continues it (`parent_task_id`). Idempotency keys are deleted with their tasks, and the queue's
/// feed drops changes of that age.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").args(["older_than", "all_ended"]).required(true))]
#[command(after_help = "Examples:\n  lanes gc --older-than 7d --archive ~/lanes-archive")]
pub(super) struct GcCommand {
    /// Tasks that ended at least this long ago: seconds, or 12h, 7d
    #[arg(long, value_name = "SPAN", value_parser = seconds, allow_negative_numbers = true)]
    older_than: Option<f64>,
    /// All tasks that have ended, however recently
    #[arg(long)]
    all_ended: bool,
    /// Only tasks of this lane
    #[arg(long, short, value_name = "LANE")]
    lane: Option<String>,
    /// Show what would be done, without doing it
    #[arg(long)]
    dry_run: bool,
    /// Before deletion, write the tasks to a new file in this directory, for `lanes import`
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

impl GcCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        if !self.dry_run {
            inside_run::refuse(context, "gc")?;
        }
        if let Some(archive) = self.archive.as_ref().filter(|path| path.exists() && !path.is_dir()) {
            let shown = printable(&archive.to_string_lossy());
            return Err(Error::invalid_here(format!("--archive {shown} is a file, not a directory"))
                .with_hint("name a directory; every archive is a new file in it"));
        }
        let store = context.store()?;
        let age = match self.older_than {
            Some(seconds) => GcAge::OlderThan(age(seconds)?),
            // clap requires one of the two flags.
            None => GcAge::AllEnded,
        };
        let report = store.gc(&GcPlan {
            age,
            lane: self.lane.clone(),
            dry_run: self.dry_run,
            archive: self.archive.clone(),
        })?;
        for note in &report.notes {
            context.out.warn(note);
        }
        let archive = report.archive.as_ref().map(|path| path.to_string_lossy().into_owned());
        if context.out.json {
            let removed: Vec<Value> = report.removed.iter().map(|id| id.as_str().into()).collect();
            let mut answer = object([
                ("status", if self.dry_run { "dry_run" } else { "ok" }.into()),
                ("count", removed.len().into()),
                ("removed", removed.into()),
                ("kept", report.kept.into()),
                ("feed_dropped", report.feed_dropped.into()),
            ]);
            answer.insert("archive".into(), archive.into());
            context.out.object(&answer)?;
            return Ok(CommandExit::Done);
        }
        if self.dry_run {
            for id in &report.removed {
                context.out.line(id.as_str())?;
            }
        }
        let done = if self.dry_run { "would be removed" } else { "removed" };
        let kept = match report.kept {
            0 => String::new(),
            kept => format!(", {kept} kept because something still refers to them or is using them"),
        };
        context.out.note(&format!("lanes: {} {done}{kept}", count(report.removed.len() as u64, "task")));
        if let Some(archive) = archive {
            context.out.line(&printable(&archive))?;
        }
        Ok(CommandExit::Done)
    }
}

/// Converts an age in seconds. One that is too large for a [`Duration`] is older than every task.
fn age(seconds: f64) -> Result<Duration> {
    if seconds.is_finite() && seconds >= 0.0 {
        Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    } else {
        Err(Error::invalid(format!("{seconds} seconds is not a valid age")))
    }
}
