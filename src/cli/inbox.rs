//! `lanes inbox`: lists what waits for a person.

use clap::Args;
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::list::failed_tasks_note;
use super::table::{Row, Table};
use super::text_format::{relative, shorten};
use crate::error::Result;
use crate::model::inbox::InboxItem;
use crate::model::task::object;

/// List what waits for a person.
///
/// These are open questions, and dead tasks that nobody has retried.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes inbox\n  lanes inbox --lane review --json")]
pub(super) struct InboxCommand {
    /// Only tasks of this lane
    #[arg(long, short, value_name = "LANE")]
    lane: Option<String>,
}

impl InboxCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let (now, shown) = (store.now(), store.shown_states());
        let items = context.read_tasks(&store, &store.task_names()?, |task| {
            let is_wanted = self.lane.as_ref().is_none_or(|lane| task.spec.lane.is(lane));
            is_wanted.then(|| InboxItem::of(task, &shown.status_of(task), now.wall))
        })?;
        let mut items: Vec<InboxItem> = items.into_iter().flatten().collect();
        items.sort_by(|a, b| (a.since, &a.task_id).cmp(&(b.since, &b.task_id)));
        if context.out.json {
            let objects: Vec<Value> = items.iter().map(|item| Value::Object(item.to_object())).collect();
            context.out.object(&object([
                ("status", "ok".into()),
                ("count", objects.len().into()),
                ("items", objects.into()),
            ]))?;
            return Ok(CommandExit::Done);
        }
        if items.is_empty() {
            let failed = failed_tasks_note(context, &store, self.lane.as_deref());
            let failed = failed.map_or_else(String::new, |note| format!("; {note}"));
            context.out.note(&format!("lanes: nothing waits for a person{failed}"));
            context.note_misspelt_lane(&store, self.lane.as_deref());
            return Ok(CommandExit::Done);
        }
        let mut table = Table::new(&["ID", "LANE", "KIND", "AGE", "WHAT"]);
        let room = context.out.text_room(60);
        for item in &items {
            let (age, what) = (relative(item.since, &now), shorten(item.text(), room));
            table.add(Row::new(&[item.task_id.as_str(), item.lane.as_str(), item.kind(), &age, &what]));
        }
        table.print(&mut context.out)?;
        context.out.note("`lanes answer ID` answers a question, `lanes retry ID` submits a dead task again");
        Ok(CommandExit::Done)
    }
}
