//! `lanes events`: shows or follows the events of a task or of the queue.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::args::number;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::table::print_row;
use super::text_format::{SHORTEST_ID, end_of_id};
use crate::error::{Result, printable};
use crate::model::task::object;
use crate::model::{Event, GroupName, TaskId};
use crate::store::{FeedEntry, Store};

/// How many entries are read at a time.
const ENTRIES_PER_READ: usize = 1000;

/// Show the events of one task, or of the whole queue.
///
/// Every change of the queue has an increasing number. Remember the last one you saw and continue
/// from there with --since: nothing is missed, and nothing is shown twice. With --json and --follow, and
/// for the whole queue, each line is an object of its own.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes events d64cf2\n  lanes events --since 1041 --follow --json")]
pub(super) struct EventsCommand {
    /// The task; without it the whole queue
    #[arg(value_name = "ID", conflicts_with_all = ["since", "group"])]
    id: Option<String>,
    /// Only events of the tasks of this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only events after change number N
    #[arg(long, value_name = "N", value_parser = number::<u64>, default_value_t = 0, allow_negative_numbers = true)]
    since: u64,
    /// Follow new events; with a task, until it has ended
    #[arg(long, short)]
    follow: bool,
    /// At most N events
    #[arg(long, value_name = "N", value_parser = number::<usize>, allow_negative_numbers = true)]
    limit: Option<usize>,
}

impl EventsCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        // A command that follows changes must see those of a store that is created later.
        let waits = self.follow && self.id.is_none();
        let store = if waits { context.store_for_settings()? } else { context.store()? };
        match &self.id {
            Some(id) => self.show_task_events(context, &store, id)?,
            None => self.show_feed(context, &store)?,
        }
        Ok(CommandExit::Done)
    }

    fn show_task_events(&self, context: &mut CommandContext, store: &Store, id: &str) -> Result<()> {
        let id = store.resolve(id)?;
        if self.follow {
            return follow(context, store, &id, self.limit.unwrap_or(usize::MAX));
        }
        let mut events = store.events(&id)?;
        if let Some(limit) = self.limit {
            events.drain(..events.len().saturating_sub(limit));
        }
        if context.out.json {
            let events: Vec<Value> = events.iter().map(|event| Value::Object(event.to_object())).collect();
            return context.out.object(&object([
                ("status", "ok".into()),
                ("task_id", id.as_str().into()),
                ("events", events.into()),
            ]));
        }
        let width = kind_width(&events);
        events.iter().try_for_each(|event| print_event(context, event, width))
    }

    fn show_feed(&self, context: &mut CommandContext, store: &Store) -> Result<()> {
        let mut watch = self.follow.then(|| store.watch_feed());
        let mut since = self.since;
        if let Some(first) = store.feed_start()?
            && since > 0
            && first > since + 1
        {
            context.out.warn(&format!(
                "changes {} to {} are no longer kept; `lanes gc` dropped them",
                since + 1,
                first - 1
            ));
        }
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut group = self.group.as_deref().map(GroupFilter::new).transpose()?;
        loop {
            let entries = store.feed_since(since, ENTRIES_PER_READ)?;
            for entry in &entries {
                if left == 0 {
                    return Ok(());
                }
                since = entry.seq;
                if group.as_mut().is_none_or(|group| group.has(store, &entry.task_id)) {
                    print_entry(context, entry)?;
                    left -= 1;
                }
            }
            if left == 0 {
                return Ok(());
            }
            if entries.len() == ENTRIES_PER_READ {
                continue;
            }
            let Some(watch) = &mut watch else { return Ok(()) };
            context.out.flush()?;
            watch.wait(Instant::now() + Duration::from_secs(3600));
        }
    }
}

/// Selects the events of the tasks of a group.
struct GroupFilter {
    group: GroupName,
    /// Whether a task that was seen belongs to it: that does not change.
    known: HashMap<TaskId, bool>,
}

impl GroupFilter {
    fn new(group: &str) -> Result<Self> {
        Ok(Self { group: GroupName::new(group)?, known: HashMap::new() })
    }

    /// Returns whether a task belongs to the group; one that is gone does not.
    fn has(&mut self, store: &Store, id: &TaskId) -> bool {
        let is_member = || store.task(id).is_ok_and(|task| task.spec.group.as_ref() == Some(&self.group));
        match self.known.get(id) {
            Some(known) => *known,
            None => *self.known.entry(id.clone()).or_insert(is_member()),
        }
    }
}

/// Prints the history of a task as it grows, until the task has ended.
fn follow(context: &mut CommandContext, store: &Store, id: &TaskId, limit: usize) -> Result<()> {
    let mut watch = store.watch_tasks(std::slice::from_ref(id));
    let mut printed = 0;
    loop {
        // The task is read before its history, so that the events of its last change are printed before the loop
        // ends.
        let ended = store.task(id)?.status.is_terminal();
        let events = store.events(id)?;
        for event in events.iter().take(limit).skip(printed) {
            if context.out.json {
                context.out.object_line(&event.to_object())?;
            } else {
                print_event(context, event, kind_width(&events))?;
            }
            printed += 1;
        }
        if ended || printed == limit {
            return Ok(());
        }
        context.out.flush()?;
        watch.wait(Instant::now() + Duration::from_secs(3600));
    }
}

/// Returns the width of the column of event types: that of the queue's own types, or of a longer one.
pub(super) fn kind_width(events: &[Event]) -> usize {
    events.iter().map(|event| printable(&event.kind).chars().count()).max().unwrap_or(0).max(12)
}

fn print_event(context: &mut CommandContext, event: &Event, width: usize) -> Result<()> {
    let (kind, message) = (printable(&event.kind), printable(&event.message));
    let at = context.out.time(event.created_at);
    print_row(&mut context.out, &format!("{at}  {kind:<width$} {message}"))
}

fn print_entry(context: &mut CommandContext, entry: &FeedEntry) -> Result<()> {
    if context.out.json {
        return context.out.object_line(&entry.to_object());
    }
    let event = &entry.event;
    let at = context.out.time(event.created_at);
    let id = match context.out.row_width() {
        Some(_) => end_of_id(entry.task_id.as_str(), SHORTEST_ID),
        None => entry.task_id.as_str(),
    };
    print_row(
        &mut context.out,
        &format!(
            "{}  {}  {}  {}  {:<12} {}",
            entry.seq,
            at,
            id,
            printable(entry.lane.as_str()),
            printable(&event.kind),
            printable(&event.message)
        ),
    )
}
