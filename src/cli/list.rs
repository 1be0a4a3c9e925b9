//! `lanes list`: lists the tasks of the queue.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::args::number;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::output::{ProgressLine, json_text, select_fields};
use super::table::{Row, Table};
use super::task_fields::TaskFieldsArg;
use super::text_format::{has_time, relative, shorten};
use super::view::task_view;
use crate::error::{Result, shell_word};
use crate::model::json::Object;
use crate::model::json::raw::RawString;
use crate::model::task::object;
use crate::model::{FailureClass, GroupName, Now, Question, Status, TaskId, TaskText, Time};
use crate::store::{ShownStates, Store};

/// A state as `--state` selects it: a state of the protocol, or one of the reasons for which a task has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum StateArg {
    Queued,
    Scheduled,
    Blocked,
    Claimed,
    #[value(name = "input_required", alias = "input-required")]
    InputRequired,
    #[value(alias = "done")]
    Completed,
    Failed,
    Cancelled,
    Dead,
}

impl StateArg {
    fn is_open(self) -> bool {
        !matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Dead)
    }

    /// Returns whether a task that is shown in this state is selected.
    fn selects(self, status: &Status) -> bool {
        match (self, status) {
            (Self::Queued, Status::Queued)
            | (Self::Scheduled, Status::Scheduled { .. })
            | (Self::Blocked, Status::Blocked { .. })
            | (Self::Claimed, Status::Claimed(_))
            | (Self::InputRequired, Status::InputRequired)
            | (Self::Completed, Status::Completed { .. })
            | (Self::Failed, Status::Failed { .. }) => true,
            (Self::Cancelled, Status::Failed { class, .. }) => *class == FailureClass::Cancelled,
            (Self::Dead, Status::Failed { class, .. }) => *class == FailureClass::Dead,
            _ => false,
        }
    }
}

/// The flags that select tasks to show.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Selection {
    /// Only tasks of this lane
    #[arg(long, short, value_name = "LANE")]
    lane: Option<String>,
    /// Only tasks of this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Leave out completed and failed tasks
    #[arg(long)]
    active_only: bool,
    /// Only tasks in these states; cancelled and dead tasks are also failed
    #[arg(long, value_enum, value_name = "STATE[,STATE...]", value_delimiter = ',')]
    state: Vec<StateArg>,
    /// Only the newest N tasks
    #[arg(long, value_name = "N", value_parser = number::<usize>, allow_negative_numbers = true)]
    limit: Option<usize>,
}

/// How much later a task's creation time may be than the time in its id, in seconds.
const ID_SLACK: f64 = 3600.0;

/// A selected task: its creation time, its id, and what `extract` returned for it.
pub(super) type SelectedTask<T> = (Time, TaskId, T);

impl Selection {
    /// Returns whether it excludes any task.
    pub(super) fn is_narrow(&self) -> bool {
        self.lane.is_some()
            || self.group.is_some()
            || self.active_only
            || !self.state.is_empty()
            || self.limit.is_some()
    }

    /// Says, where nothing is selected, that the lane is probably misspelt.
    pub(super) fn note_misspelt_lane(&self, context: &CommandContext, store: &Store) {
        context.note_misspelt_lane(store, self.lane.as_deref());
    }

    /// Applies `extract` to the selected tasks, and returns the results, oldest task first. Prints a warning for each
    /// task that cannot be read.
    pub(super) fn collect<T: Send>(
        &self,
        context: &CommandContext,
        store: &Store,
        extract: impl Fn(&TaskText<'_>) -> T + Sync,
    ) -> Result<Vec<SelectedTask<T>>> {
        let shown = store.shown_states();
        let extract = |task: &TaskText<'_>| {
            self.wants(task, &shown).then(|| (task.created_at, task.id.clone(), extract(task)))
        };
        let names = self.names(store)?;
        let mut found = match self.limit {
            Some(limit) => newest(context, store, names, limit, extract)?,
            None => context.read_tasks(store, &names, extract)?,
        };
        // The protocol's order is that of creation times. Ids contain the same times, unless another
        // implementation's clock differs.
        found.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Ok(found)
    }

    fn wants(&self, task: &TaskText<'_>, shown: &ShownStates<'_>) -> bool {
        self.lane.as_ref().is_none_or(|lane| task.spec.lane.is(lane))
            && self.group.as_ref().is_none_or(|group| task.spec.group.is_some_and(|name| name.is(group)))
            && !(self.active_only && (task.is_terminal() || shown.status_of(task).is_terminal()))
            && (self.state.is_empty() || {
                let status = shown.status_of(task);
                self.state.iter().any(|state| state.selects(&status))
            })
    }

    /// Returns the names of the tasks to read, sorted. If only open tasks are selected, they come from the index.
    fn names(&self, store: &Store) -> Result<Vec<String>> {
        if !self.state.is_empty()
            && self.state.iter().all(|state| state.is_open())
            && let Some(names) = store.open_task_ids(self.lane.as_deref())?
        {
            return Ok(names);
        }
        match &self.group {
            Some(group) => store.task_names_of_group(&GroupName::stored(group)),
            None => store.task_names(),
        }
    }
}

/// Returns the newest `limit` tasks for which `extract` returns a value. Most ids begin with their creation time, so
/// that older tasks need not be read; tasks with other ids are always read.
fn newest<T: Send>(
    context: &CommandContext,
    store: &Store,
    names: Vec<String>,
    limit: usize,
    extract: impl Fn(&TaskText<'_>) -> Option<SelectedTask<T>> + Sync,
) -> Result<Vec<SelectedTask<T>>> {
    let (mut names, timeless): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| has_time(name));
    let mut found: BTreeMap<(Time, TaskId), T> = BTreeMap::new();
    let mut keep = |(at, id, seen): SelectedTask<T>| {
        found.insert((at, id), seen);
        if found.len() > limit {
            found.pop_first();
        }
        let oldest = found.first_key_value().filter(|_| found.len() == limit);
        oldest.map(|((at, _), _)| at.plus_seconds(-ID_SLACK).compact())
    };
    for selected in context.read_tasks(store, &timeless, &extract)? {
        keep(selected);
    }
    names.reverse();
    let mut bound: Option<String> = (limit == 0).then(|| "9".to_string());
    let (mut progress, mut done) = (ProgressLine::new(&context.out, "lanes"), 0);
    let mut result = Ok(());
    store.scan_names(&names, extract, &mut |name, seen| {
        done += 1;
        progress.update_count(done, names.len() as u64);
        if bound.as_deref().is_some_and(|bound| name < bound) {
            return ControlFlow::Break(());
        }
        match seen {
            Ok(Some(selected)) => bound = keep(selected),
            Ok(None) => {}
            Err(error) if error.is_of_whole_store() => {
                result = Err(error);
                return ControlFlow::Break(());
            }
            Err(error) => context.out.warn(&error.to_string()),
        }
        ControlFlow::Continue(())
    });
    result.map(|()| found.into_iter().map(|((at, id), seen)| (at, id, seen)).collect())
}

/// Says how many tasks have failed, for commands that are about the dead ones only; `None` if none has that nobody has
/// retried or cancelled.
pub(super) fn failed_tasks_note(
    context: &CommandContext,
    store: &Store,
    lane: Option<&str>,
) -> Option<String> {
    let has_failed = |task: &TaskText<'_>| {
        let is_wanted = lane.is_none_or(|lane| task.spec.lane.is(lane));
        let is_open = task.retried_as.is_none() && !task.is_cancelled();
        (is_wanted && is_open && task.state() == "failed").then_some(())
    };
    let count = context.read_tasks(store, &store.task_names().ok()?, has_failed).ok()?.len();
    let of_lane = lane.map_or_else(String::new, |lane| format!(" --lane {}", shell_word(lane)));
    let (tasks, them) = if count == 1 { ("task has", "it") } else { ("tasks have", "them") };
    let list = format!("`lanes list{of_lane} --state failed` shows {them}");
    (count > 0).then(|| format!("{count} {tasks} failed: {list}, `lanes retry ID` submits one again"))
}

/// Show the tasks of the queue, oldest first.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes list --lane review --active-only")]
pub(super) struct ListCommand {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    fields: TaskFieldsArg,
    /// Make rows fit a terminal of N columns, for `top`, which reads them from a pipe
    #[arg(long, hide = true, value_name = "N", value_parser = number::<usize>)]
    columns: Option<usize>,
}

impl ListCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        self.fields.apply(context)?;
        if let Some(columns) = self.columns {
            context.out.fit(columns);
        }
        let store = context.store()?;
        if context.out.json {
            let selected = self.selection.collect(context, &store, |_| ())?;
            let head = object([("status", "ok".into()), ("count", selected.len().into())]);
            print_views(context, &store, head, selected)?;
        } else {
            let (now, shown) = (store.now(), store.shown_states());
            let room = context.out.text_room(PIPED_TEXT);
            let rows = self.selection.collect(context, &store, |task| row(task, &now, &shown, room))?;
            if rows.is_empty() {
                let narrow = self.selection.is_narrow();
                context.out.note(if narrow {
                    "lanes: no matching tasks"
                } else {
                    "lanes: the queue is empty"
                });
                self.selection.note_misspelt_lane(context, &store);
            }
            print_rows(context, rows)?;
        }
        Ok(CommandExit::Done)
    }
}

/// Prints the object `head` with the JSON views of `tasks` in it. Each task is read when it is printed, so that
/// memory does not grow with their number.
pub(super) fn print_views<T>(
    context: &mut CommandContext,
    store: &Store,
    mut head: Object,
    tasks: Vec<SelectedTask<T>>,
) -> Result<()> {
    let compact = context.out.is_compact();
    let list = if compact { "\"tasks\":[" } else { "\"tasks\": [" };
    head.insert("tasks".into(), Value::Array(Vec::new()));
    let text = json_text(&head, compact);
    let (before, after) = text.split_once(&format!("{list}]")).unwrap_or((&text, ""));
    context.out.json_text(before)?;
    context.out.json_text(list)?;
    let names: Vec<String> = tasks.into_iter().map(|(_, id, _)| id.to_string()).collect();
    let (now, shown) = (store.now(), store.shown_states());
    let fields = context.out.task_fields.clone();
    let view = |task: &TaskText<'_>| {
        let task = shown.shown(store.with_current_paths(task.to_task()));
        let last_event = store.last_event(&task);
        let (last_event, warning) = match last_event {
            Ok(event) => (event, None),
            Err(error) if error.is_of_whole_store() => return Err(error),
            Err(error) => (None, Some(error.to_string())),
        };
        let view = task_view(store, &task, &now, last_event);
        let view = fields.as_ref().map(|fields| select_fields(&view, fields)).unwrap_or(view);
        Ok((json_text(&view, compact).trim_end().replace('\n', "\n    "), warning))
    };
    let (first, next) = if compact { ("", ",") } else { ("\n    ", ",\n    ") };
    let (mut result, mut separator) = (Ok(()), first);
    let out = &mut context.out;
    store.scan_names(&names, view, &mut |_, seen| {
        match seen.flatten() {
            Ok((text, warning)) => {
                warning.iter().for_each(|warning| out.warn(warning));
                result = out.json_text(separator).and_then(|()| out.json_text(&text));
                separator = next;
            }
            // A list that is cut off here is no JSON, and so not taken for the whole.
            Err(error) if error.is_of_whole_store() => result = Err(error),
            Err(error) => out.warn(&error.to_string()),
        }
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    result?;
    out.json_text(if separator == next && !compact { "\n  ]" } else { "]" })?;
    out.json_text(after)
}

/// How many columns of a prompt or a reason a file or a pipe gets.
pub(super) const PIPED_TEXT: usize = 50;

/// Returns a task as a row for [`print_rows`], with `room` columns for its title, and for what else is said about it.
pub(super) fn row(task: &TaskText<'_>, now: &Now, shown: &ShownStates<'_>, room: usize) -> Row {
    let title = task.spec.name.map(RawString::decode).unwrap_or_else(|| match task.spec.prompt.is_empty() {
        true => task.spec.correlation_id.decode(),
        false => task.spec.prompt.decode(),
    });
    let (state, note) = match task.state() {
        completed if completed == "completed" => (completed, None),
        _ => {
            let status = shown.status_of(task);
            let state = state_label(&status, now, || task.to_task().lease_is_live(now)).into();
            let note = match status {
                Status::Claimed(claim) => Some(format!("held by {}", claim.owner)),
                Status::Failed { reason, .. } => Some(shorten(&reason, room)),
                Status::InputRequired => asked(&task.questions(), now, room),
                _ => None,
            };
            (state, note.filter(|note| !note.is_empty()))
        }
    };
    let what = match note {
        Some(note) => format!("{} · {note}", shorten(title.trim_start(), title_room(room))),
        None => shorten(title.trim_start(), room),
    };
    let age = relative(task.created_at, now);
    Row::new(&[task.id.as_str(), &task.spec.lane.decode(), &state, &age, &what])
}

/// Returns how many columns of a row that has room for `room` the title of a task gets that has a note behind it. The
/// other columns of a terminal take about 40, and the table cuts the note off where the terminal ends.
fn title_room(room: usize) -> usize {
    if room <= PIPED_TEXT { room } else { (room.saturating_sub(40) / 2).max(20) }
}

/// Returns the first open question of a task, shortened.
fn asked(questions: &[Question], now: &Now, room: usize) -> Option<String> {
    let open = questions.iter().find(|question| question.is_open(now.wall));
    open.map(|question| format!("asks: {}", shorten(&question.text, room)))
}

/// Prints tasks as a table.
pub(super) fn print_rows(context: &mut CommandContext, rows: Vec<SelectedTask<Row>>) -> Result<()> {
    let mut table = Table::new(&["ID", "LANE", "STATE", "AGE", "WHAT"]);
    for (_, _, row) in rows {
        table.add(row);
    }
    if table.is_empty() { Ok(()) } else { table.print(&mut context.out) }
}

/// Returns a task's state for people, with details such as `(due)`.
pub(super) fn state_label(status: &Status, now: &Now, is_live: impl FnOnce() -> bool) -> String {
    match status {
        Status::Scheduled { until } if *until <= now.wall => "scheduled (due)".to_string(),
        Status::Scheduled { until } => format!("scheduled {}", relative(*until, now)),
        Status::Claimed(_) if !is_live() => "claimed (lease over)".to_string(),
        Status::Failed { class, .. } if class.as_str() != "error" => format!("failed ({})", class.as_str()),
        status => status.as_str().to_string(),
    }
}
