//! `lanes events`: shows or follows the events of a task or of the queue.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::args::number;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::output::{Output, WaitLine};
use super::table::print_row;
use super::text_format::{SHORTEST_ID, columns, end_of_id, format_duration, shorten};
use super::waiting::FollowedTaskLine;
use crate::error::{Result, printable};
use crate::model::task::object;
use crate::model::{Event, GroupName, TaskId};
use crate::store::{FeedEntry, Store};

/// How many entries are read at a time.
const ENTRIES_PER_READ: usize = 1000;

/// The least width of the column of event types, which most of the queue's own types fit.
const LEAST_KIND: usize = 12;

/// The widest column of lanes or event types.
const WIDEST_NAME: usize = 24;

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
    /// Follow what is new; of a task, until it has ended
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
        let width = kind_width(&context.out, &events, 0);
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
        let mut widths = EntryWidths::default();
        let mut line = WaitLine::new(&context.out);
        loop {
            let entries = store.feed_since(since, ENTRIES_PER_READ)?;
            since = entries.last().map_or(since, |entry| entry.seq);
            let is_wanted =
                |entry: &&FeedEntry| group.as_mut().is_none_or(|group| group.has(store, &entry.task_id));
            let wanted: Vec<&FeedEntry> = entries.iter().filter(is_wanted).take(left).collect();
            wanted.iter().for_each(|entry| widths.widen(entry, &context.out));
            wanted.iter().try_for_each(|entry| print_entry(context, entry, &widths))?;
            left -= wanted.len();
            if left == 0 {
                return Ok(());
            }
            if entries.len() == ENTRIES_PER_READ {
                continue;
            }
            let Some(watch) = &mut watch else { return Ok(()) };
            context.out.flush()?;
            if !wanted.is_empty() {
                line.begin_again();
            }
            line.sleep(watch, Instant::now() + Duration::from_secs(3600), |lasted| {
                format!("waiting for events · {}", format_duration(lasted.as_secs_f64()))
            });
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
    let (mut printed, mut width) = (0, LEAST_KIND);
    let mut line = FollowedTaskLine::new(&context.out);
    loop {
        // The task is read before its history, so that the events of its last change are printed before the loop
        // ends.
        let task = store.task(id)?;
        let ended = task.status.is_terminal();
        let events = store.events(id)?;
        // What was printed cannot be moved, so the column only grows.
        width = kind_width(&context.out, &events, width);
        for event in events.iter().take(limit).skip(printed) {
            if context.out.json {
                context.out.object_line(&event.to_object())?;
            } else {
                print_event(context, event, width)?;
            }
            printed += 1;
            line.begin_again();
        }
        if ended || printed == limit {
            return Ok(());
        }
        context.out.flush()?;
        line.sleep(store, &task, &mut watch, Instant::now() + Duration::from_secs(3600));
    }
}

/// Returns the width of the column of the types of these events, `least` or more.
pub(super) fn kind_width(out: &Output, events: &[Event], least: usize) -> usize {
    let widths = events.iter().map(|event| columns(&printable(&event.kind)));
    widths.max().unwrap_or(0).min(widest_name(out)).max(least).max(LEAST_KIND)
}

/// Returns the widest column of names: on a terminal, most of the row is for the text.
fn widest_name(out: &Output) -> usize {
    out.row_width().map_or(WIDEST_NAME, |room| (room / 8).clamp(6, WIDEST_NAME))
}

/// Returns a name in a column of this width. One that is longer is cut on a terminal, and otherwise pushes the rest of its
/// row to the right.
pub(super) fn name_cell(out: &Output, name: &str, width: usize) -> String {
    let name = printable(name);
    let name = if out.row_width().is_some() { shorten(&name, width) } else { name };
    let gap = width.saturating_sub(columns(&name));
    name + &" ".repeat(gap)
}

fn print_event(context: &mut CommandContext, event: &Event, width: usize) -> Result<()> {
    let (kind, message) = (name_cell(&context.out, &event.kind, width), printable(&event.message));
    let at = context.out.time(event.created_at);
    print_row(&mut context.out, &format!("{at}  {kind} {message}"))
}

/// The widths of the columns of the feed. They only grow, since what was printed cannot be moved.
#[derive(Default)]
struct EntryWidths {
    seq: usize,
    id: usize,
    lane: usize,
    kind: usize,
}

impl EntryWidths {
    fn widen(&mut self, entry: &FeedEntry, out: &Output) {
        let lane = columns(&printable(entry.lane.as_str())).min(widest_name(out));
        self.seq = self.seq.max(entry.seq.to_string().len());
        self.id = self.id.max(shown_id(out, &entry.task_id).len());
        self.lane = self.lane.max(lane);
        self.kind = kind_width(out, std::slice::from_ref(&entry.event), self.kind);
    }
}

/// Returns an id as a row of the feed shows it.
fn shown_id<'a>(out: &Output, id: &'a TaskId) -> &'a str {
    match out.row_width() {
        Some(_) => end_of_id(id.as_str(), SHORTEST_ID),
        None => id.as_str(),
    }
}

fn print_entry(context: &mut CommandContext, entry: &FeedEntry, widths: &EntryWidths) -> Result<()> {
    if context.out.json {
        return context.out.object_line(&entry.to_object());
    }
    let event = &entry.event;
    let at = context.out.time(event.created_at);
    let cell = |name: &str, width: usize| name_cell(&context.out, name, width);
    let row = format!(
        "{}  {at}  {}  {}  {} {}",
        cell(&entry.seq.to_string(), widths.seq),
        cell(shown_id(&context.out, &entry.task_id), widths.id),
        cell(entry.lane.as_str(), widths.lane),
        cell(&event.kind, widths.kind),
        printable(&event.message)
    );
    print_row(&mut context.out, &row)
}
