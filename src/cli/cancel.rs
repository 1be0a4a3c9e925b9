//! `lanes cancel`: ends open tasks as failed.

use clap::{ArgGroup, Args};

use super::context::{CommandContext, resolve_all};
use super::each_task::for_each_task;
use super::env;
use super::exit::CommandExit;
use super::task_fields::TaskFieldsArg;
use super::view::change_reply;
use crate::error::Result;
use crate::model::Command;

/// End open tasks as failed.
///
/// Whoever waits for one gets that as its answer. The token of a claimed task becomes invalid at once, and the worker's
/// next renewal is refused.
#[derive(Args, Debug)]
#[command(override_usage = "lanes cancel [OPTIONS] <ID>...\n       lanes cancel [OPTIONS] --group <GROUP>")]
#[command(
    after_help = "Examples:\n  lanes cancel d64cf2 --reason 'no longer needed'\n  lanes cancel --group night"
)]
#[command(group(ArgGroup::new("what").args(["ids", "group"]).required(true)))]
pub(super) struct CancelCommand {
    /// Ids of the tasks; their beginnings or ends suffice if unique
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All open tasks of this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Reason, for others to read
    #[arg(long)]
    reason: Option<String>,
    /// Name of the person who does it [default: $USER]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    fields: TaskFieldsArg,
}

impl CancelCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        self.fields.apply(context)?;
        let store = context.store()?;
        let by = self.by.clone().unwrap_or_else(env::user);
        let ids = match &self.group {
            Some(group) => context.group_members(&store, group, &|task| !task.is_terminal())?,
            None => resolve_all(&store, &self.ids)?,
        };
        if ids.is_empty() {
            context.out.note("lanes: no open tasks to cancel");
        }
        for_each_task(context, &ids, self.group.is_some() || ids.len() > 1, |_, id| {
            let cancel = Command::Cancel { reason: self.reason.clone(), by: by.clone() };
            let (task, effect) = store.apply(id, &cancel)?;
            Ok((id.to_string(), change_reply("cancelled", &store, task, effect)))
        })
    }
}
