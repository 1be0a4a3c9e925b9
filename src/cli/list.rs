//! `lanes list`: the tasks of the queue.

use clap::Args;
use serde_json::Value;

use super::args::number;
use super::context::Context;
use super::table::{Table, relative, short};
use super::view::task_view;
use crate::error::{EXIT_OK, Error, Result, printable};
use crate::model::task::object;
use crate::model::{Now, Status, Task};
use crate::store::Store;

/// Which tasks are shown.
#[derive(Args, Clone, Debug, Default)]
pub struct Selection {
    /// Only tasks of this lane
    #[arg(long)]
    lane: Option<String>,
    /// Without completed and failed tasks
    #[arg(long)]
    active_only: bool,
    /// Only tasks in these states
    #[arg(long, value_name = "STATE[,STATE...]", value_delimiter = ',')]
    state: Vec<String>,
    /// Only the newest N
    #[arg(long, value_name = "N", value_parser = number::<usize>, allow_negative_numbers = true)]
    limit: Option<usize>,
}

impl Selection {
    /// Whether it leaves tasks out.
    pub fn is_narrow(&self) -> bool {
        self.lane.is_some() || self.active_only || !self.state.is_empty() || self.limit.is_some()
    }

    /// The tasks, oldest first.
    pub fn tasks(&self, context: &Context, store: &Store) -> Result<Vec<Task>> {
        if let Some(wrong) = self.state.iter().find(|state| !Status::WORDS.contains(&state.as_str())) {
            return Err(Error::invalid(format!("there is no state '{}'", printable(wrong)))
                .with_hint(format!("the states are {}", Status::WORDS.join(", "))));
        }
        let mut tasks = context.collect(store, |task| {
            self.lane.as_ref().is_none_or(|lane| *lane == task.lane)
                && !(self.active_only && task.is_terminal())
                && (self.state.is_empty() || self.state.iter().any(|state| *state == task.state))
        })?;
        if let Some(limit) = self.limit {
            tasks.drain(..tasks.len().saturating_sub(limit));
        }
        Ok(tasks)
    }
}

/// Show the tasks of the queue, oldest first.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes list --lane review --active-only")]
pub struct ListCommand {
    #[command(flatten)]
    selection: Selection,
}

impl ListCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<u8> {
        let store = context.store()?;
        let tasks = self.selection.tasks(context, &store)?;
        if context.out.json {
            let views = views(context, &store, &tasks);
            context.out.object(&object([
                ("status", "ok".into()),
                ("count", views.len().into()),
                ("tasks", views.into()),
            ]))?;
        } else if tasks.is_empty() {
            let narrow = self.selection.is_narrow();
            context.out.note(if narrow { "lanes: no task fits" } else { "lanes: the queue has no task" });
        } else {
            print_tasks(context, &tasks, &store.now())?;
        }
        Ok(EXIT_OK)
    }
}

/// The JSON views of several tasks.
pub(super) fn views(context: &Context, store: &Store, tasks: &[Task]) -> Vec<Value> {
    tasks.iter().map(|task| Value::Object(task_view(context, store, task))).collect()
}

/// Tasks as a table for people.
pub(super) fn print_tasks(context: &mut Context, tasks: &[Task], now: &Now) -> Result<()> {
    let mut table = Table::new(&["ID", "LANE", "STATE", "AGE", "WHAT"]);
    for task in tasks {
        let what = task.name.clone().unwrap_or_else(|| match &task.status {
            Status::Claimed(claim) => format!("held by {}", claim.owner),
            Status::Failed { reason, .. } => short(reason, 50),
            _ if !task.prompt.is_empty() => short(&task.prompt, 50),
            _ => short(&task.correlation_id, 50),
        });
        table.row(vec![
            task.id.to_string(),
            task.lane.clone(),
            state_words(task, now),
            relative(task.created_at, now),
            what,
        ]);
    }
    if table.is_empty() { Ok(()) } else { table.print(&mut context.out) }
}

/// A task's state for people, with what qualifies it.
pub(super) fn state_words(task: &Task, now: &Now) -> String {
    match &task.status {
        Status::Scheduled { until } if *until <= now.wall => "scheduled (due)".to_string(),
        Status::Scheduled { until } => format!("scheduled {}", relative(*until, now)),
        Status::Claimed(_) if !task.lease_is_live(now) => "claimed (lease over)".to_string(),
        Status::Failed { class, .. } if class.as_str() != "error" => format!("failed ({})", class.as_str()),
        status => status.as_str().to_string(),
    }
}
