//! `lanes redrive`: submits dead tasks again.

use clap::{ArgGroup, Args};

use super::context::{CommandContext, resolve_all};
use super::each_task::for_each_task;
use super::exit::CommandExit;
use super::list::failed_tasks_note;
use super::retry::{retry, retry_with_dependents};
use super::task_fields::TaskFieldsArg;
use crate::error::Result;
use crate::model::transition::check_redrive;

/// Submit dead tasks again: the named ones, or all in a lane.
#[derive(Args, Debug)]
#[command(override_usage = "lanes redrive [OPTIONS] <ID>...\n       lanes redrive [OPTIONS] --lane <LANE>")]
#[command(after_help = "Examples:\n  lanes redrive --lane review\n  lanes redrive d64cf2 --with-dependents")]
#[command(group(ArgGroup::new("what").args(["ids", "lane"]).required(true)))]
pub(super) struct RedriveCommand {
    /// Ids of the tasks; their beginnings or ends suffice if unique
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All dead tasks of this lane that have not been retried
    #[arg(long, short)]
    lane: Option<String>,
    /// Also the tasks that failed because of them, and so on: the new tasks depend on each other as the old ones do
    #[arg(long)]
    with_dependents: bool,
    #[command(flatten)]
    fields: TaskFieldsArg,
}

impl RedriveCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        self.fields.apply(context)?;
        let store = context.store()?;
        let ids = match &self.lane {
            Some(lane) => store.dead_tasks(lane, &mut |error| context.out.warn(&error.to_string()))?,
            None => resolve_all(&store, &self.ids)?,
        };
        for id in &ids {
            check_redrive(&store.read_settled(id)?)?;
        }
        if ids.is_empty() {
            let failed = failed_tasks_note(context, &store, self.lane.as_deref());
            let failed = failed.map_or_else(String::new, |note| format!("; {note}"));
            context.out.note(&format!("lanes: no dead tasks to redrive{failed}"));
            context.note_misspelt_lane(&store, self.lane.as_deref());
        }
        if self.with_dependents {
            return retry_with_dependents(context, &store, &ids);
        }
        let several = self.lane.is_some() || ids.len() > 1;
        for_each_task(context, &ids, several, |context, id| retry(context, &store, id))
    }
}
