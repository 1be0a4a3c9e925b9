//! `lanes status`: shows one task, all tasks, or a summary of the queue.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde_json::{Value, json};

use super::bridge_counts::BridgeCounts;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::list::{PIPED_TEXT, Selection, print_rows, print_views, row};
use super::show::print_task;
use super::table::Table;
use super::task_fields::TaskFieldsArg;
use super::text_format::relative;
use super::view::task_view;
use super::waiting::LEFT;
use super::workers::{
    active_cooldowns, cooldowns_object, lanes_over_budget, over_budget_object, overview, print_cooldowns,
    print_over_budget, print_workers, worker_objects,
};
use crate::error::{Result, printable};
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{Now, Status, TaskText, Time};
use crate::store::{ShownStates, Store};
use crate::workspace::{DeadDispatchers, TaskConcern, TaskConcerns, attention};

/// How many tasks that need a person are named.
const MAX_NEEDED: usize = 10;

/// Show one task, all tasks (--all), or a summary of the queue.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lanes status\n  lanes status d64cf2\n  lanes status --all --state queued,claimed"
)]
pub(super) struct StatusCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID", conflicts_with_all = ["all", "rack"])]
    id: Option<String>,
    /// Every task, with a summary
    #[arg(long)]
    all: bool,
    #[arg(long, hide = true)]
    rack: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    fields: TaskFieldsArg,
}

impl StatusCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        self.fields.apply(context)?;
        let store = context.store()?;
        if self.rack {
            context.out.warn("[deprecated] --rack is the old name of --all; use --all");
        }
        match &self.id {
            Some(id) => show_task(context, &store, id)?,
            None if self.all || self.rack => self.list_tasks(context, &store)?,
            None => self.summarize_queue(context, &store)?,
        }
        Ok(CommandExit::Done)
    }

    fn list_tasks(&self, context: &mut CommandContext, store: &Store) -> Result<()> {
        let (now, shown, dead) = (store.now(), store.shown_states(), DeadDispatchers::of(store)?);
        if context.out.json {
            let facts = |task: &TaskText<'_>| TaskFacts::of((store, &shown, &dead), task, &now, true);
            let selected = self.selection.collect(context, store, facts)?;
            let summary = LaneSummary::of(selected.iter().map(|(_, _, task_facts)| task_facts));
            let head = object([
                ("status", "ok".into()),
                ("count", selected.len().into()),
                ("summary", Value::Object(summary.to_object())),
                ("next_action", summary.next_action().into()),
            ]);
            return print_views(context, store, head, selected);
        }
        let room = context.out.text_room(PIPED_TEXT);
        let extract = |task: &TaskText<'_>| {
            (TaskFacts::of((store, &shown, &dead), task, &now, false), row(task, &now, &shown, room))
        };
        let (mut facts, mut rows) = (Vec::new(), Vec::new());
        for (at, id, (task_facts, row)) in self.selection.collect(context, store, extract)? {
            facts.push(task_facts);
            rows.push((at, id, row));
        }
        print_rows(context, rows)?;
        context.out.line(&LaneSummary::of(&facts).describe())
    }

    fn summarize_queue(&self, context: &mut CommandContext, store: &Store) -> Result<()> {
        let (now, shown, dead) = (store.now(), store.shown_states(), DeadDispatchers::of(store)?);
        let json = context.out.json;
        let extract = |task: &TaskText<'_>| {
            let facts = TaskFacts::of((store, &shown, &dead), task, &now, json);
            (task.spec.lane.decode().into_owned(), facts, TaskConcern::of(task, &shown.status_of(task), &now))
        };
        let (mut facts, mut concerns) = (Vec::new(), TaskConcerns::default());
        for (created_at, id, (lane, task_facts, concern)) in
            self.selection.collect(context, store, extract)?
        {
            facts.push((created_at, id, (lane, task_facts)));
            concern.into_iter().for_each(|concern| concerns.add(concern));
        }
        let workers = store.live_workers()?;
        // The overview is useful even if the pauses cannot be read.
        let paused = store.paused().unwrap_or_else(|error| {
            context.out.warn(&error.to_string());
            Default::default()
        });
        let cooldowns = active_cooldowns(context, store);
        let over_budget = lanes_over_budget(context, store);
        let bridges = BridgeCounts::of(context.config().ok().as_ref(), &workers);
        let mut lanes: BTreeMap<&str, Lane> = BTreeMap::new();
        for (created_at, _, (lane, task_facts)) in &facts {
            lanes.entry(lane).or_default().add(task_facts, *created_at);
        }
        for worker in &workers {
            for lane in &worker.lanes {
                lanes.entry(lane.as_str()).or_default().workers += 1;
            }
        }
        for lane in paused.keys() {
            lanes.entry(lane.as_str()).or_default().paused = true;
        }
        if context.out.json {
            let lanes: Object = lanes
                .iter()
                .map(|(name, lane)| (name.to_string(), Value::Object(lane.to_object())))
                .collect();
            let mut reply = overview(context, store, &workers, &concerns)?;
            reply.extend(object([
                ("lanes", Value::Object(lanes)),
                ("workers", worker_objects(&workers).into()),
                ("parked", cooldowns_object(&cooldowns)),
                ("over_budget", over_budget_object(&over_budget)),
                ("bridges", Value::Object(bridges.to_object())),
                (
                    "summary",
                    Value::Object(
                        LaneSummary::of(facts.iter().map(|(_, _, (_, task_facts))| task_facts)).to_object(),
                    ),
                ),
            ]));
            return context.out.object(&reply);
        }
        if lanes.is_empty() {
            if self.selection.is_narrow() {
                context.out.note("lanes: no matching tasks");
                self.selection.note_misspelt_lane(context, store);
                return Ok(());
            }
            context.out.line("nothing was ever submitted here; `lanes submit` adds the first task")?;
            return print_bridges(context, bridges);
        }
        let mut table = Table::new(&[
            "LANE",
            "QUEUED",
            "SCHEDULED",
            "CLAIMED",
            "COMPLETED",
            "FAILED",
            "CANCELLED",
            "WORKERS",
            "OLDEST",
            "NOTE",
        ]);
        for (name, lane) in &lanes {
            table.row(lane.row(name, &now));
        }
        table.print(&mut context.out)?;
        if !workers.is_empty() {
            context.out.line("")?;
            print_workers(context, &workers, &now)?;
        }
        print_bridges(context, bridges)?;
        print_cooldowns(context, &cooldowns, &now)?;
        print_over_budget(context, &over_budget, &now)?;
        print_concerns(context, store, &concerns)
    }
}

/// Prints what the tasks need a person for. The rest of what does stands above it.
fn print_concerns(context: &mut CommandContext, store: &Store, concerns: &TaskConcerns) -> Result<()> {
    let items = attention(store, concerns)?;
    let of_tasks: Vec<_> = items.iter().filter(|item| item.task_id.is_some()).collect();
    for item in of_tasks.iter().take(MAX_NEEDED) {
        context.out.line(&printable(&format!("needs you: {}", item.text)))?;
    }
    match of_tasks.len().saturating_sub(MAX_NEEDED) {
        0 => Ok(()),
        more => context.out.line(&format!("needs you: {more} more; `lanes inbox` lists all")),
    }
}

fn print_bridges(context: &mut CommandContext, bridges: BridgeCounts) -> Result<()> {
    bridges.line().map_or(Ok(()), |line| context.out.line(&line))
}

fn show_task(context: &mut CommandContext, store: &Store, word: &str) -> Result<()> {
    let task = store.shown(store.task(&store.resolve(word)?)?);
    if context.out.json {
        let view = task_view(store, &task, &store.now(), context.last_event(store, &task));
        return context.out.object(&object([("status", "ok".into()), ("task", Value::Object(view))]));
    }
    print_task(context, store, &task, false)
}

/// The facts about a task that the counts need.
struct TaskFacts {
    state: Cow<'static, str>,
    /// Whether it has failed because it was cancelled.
    is_cancelled: bool,
    /// Whether a worker can claim it now.
    is_ready: bool,
    /// Whether it is claimed under a lease that has ended.
    is_stale: bool,
    /// Whether it is claimed by a dispatcher that has died, under a lease that has not ended.
    is_left: bool,
    /// Whether it is completed and its answer is missing.
    is_missing: bool,
}

impl TaskFacts {
    fn of(
        (store, shown, dead): (&Store, &ShownStates<'_>, &DeadDispatchers),
        task: &TaskText<'_>,
        now: &Now,
        with_answer: bool,
    ) -> Self {
        let (mut is_stale, mut is_left, mut is_missing) = (false, false, false);
        let is_ready = !task.is_terminal() && shown.can_be_claimed(&task.to_task());
        let state = match &*task.state() {
            "completed" => {
                is_missing = with_answer && !store.response_exists(&task.to_task());
                "completed".into()
            }
            "failed" => "failed".into(),
            _ => match shown.status_of(task) {
                Status::Claimed(claim) => {
                    is_stale = !task.to_task().lease_is_live(now);
                    is_left = !is_stale && dead.had(&claim);
                    "claimed".into()
                }
                Status::Queued => "queued".into(),
                Status::Scheduled { .. } => "scheduled".into(),
                Status::Blocked { .. } => "blocked".into(),
                Status::InputRequired => "input_required".into(),
                status => status.as_str().to_string().into(),
            },
        };
        Self { state, is_cancelled: task.is_cancelled(), is_ready, is_stale, is_left, is_missing }
    }
}

/// The summary of one lane.
#[derive(Default)]
struct Lane {
    queued: u64,
    scheduled: u64,
    blocked: u64,
    claimed: u64,
    asking: u64,
    /// How many can be claimed now, whatever their states.
    ready: u64,
    stale: u64,
    left: u64,
    completed: u64,
    failed: u64,
    /// How many of the failed ones were cancelled.
    cancelled: u64,
    workers: u64,
    paused: bool,
    oldest: Option<Time>,
}

impl Lane {
    fn add(&mut self, task: &TaskFacts, created_at: Time) {
        if task.is_ready {
            self.ready += 1;
            self.oldest = Some(self.oldest.map_or(created_at, |oldest| oldest.min(created_at)));
        }
        match &*task.state {
            "queued" => self.queued += 1,
            "scheduled" => self.scheduled += 1,
            "blocked" => self.blocked += 1,
            "input_required" => self.asking += 1,
            "claimed" => {
                self.claimed += 1;
                self.stale += u64::from(task.is_stale);
                self.left += u64::from(task.is_left);
            }
            "completed" => self.completed += 1,
            "failed" => {
                self.failed += 1;
                self.cancelled += u64::from(task.is_cancelled);
            }
            _ => {}
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.paused {
            notes.push("paused".to_string());
        }
        if self.blocked > 0 {
            notes.push(format!("{} blocked", self.blocked));
        }
        if self.stale > 0 {
            notes.push(format!("{} with an ended lease", self.stale));
        }
        if self.left > 0 {
            notes.push(format!("{} {LEFT}", self.left));
        }
        if self.asking > 0 {
            notes.push(format!("{} waiting for input", self.asking));
        }
        if self.ready > 0 && self.workers == 0 && self.claimed == self.stale + self.left {
            notes.push("no live worker".to_string());
        }
        notes
    }

    fn row(&self, name: &str, now: &Now) -> Vec<String> {
        let failed = self.failed - self.cancelled;
        let ended = [self.completed, failed, self.cancelled];
        let counts = [&[self.queued, self.scheduled, self.claimed][..], &ended, &[self.workers]].concat();
        let counts = counts.iter().map(ToString::to_string);
        let mut row = vec![name.to_string()];
        row.extend(counts);
        row.push(self.oldest.map_or(String::new(), |oldest| relative(oldest, now)));
        row.push(self.notes().join(", "));
        row
    }

    fn to_object(&self) -> Object {
        let oldest = self.oldest.map(|oldest| oldest.to_string());
        match json!({
            "queued": self.queued, "scheduled": self.scheduled, "blocked": self.blocked, "claimed": self.claimed,
            "input_required": self.asking, "stale_claims": self.stale, "completed": self.completed,
            "failed": self.failed, "cancelled": self.cancelled,
            "workers": self.workers, "paused": self.paused, "oldest_queued_at": oldest,
        }) {
            Value::Object(object) => object,
            _ => Object::new(),
        }
    }
}

/// Returns whether the summary for people names a state that has `count` tasks.
fn is_shown(state: &str, count: u64) -> bool {
    count > 0 || !["blocked", "cancelled", "input_required"].contains(&state)
}

/// The counts of the protocol's summary.
struct LaneSummary {
    states: BTreeMap<&'static str, u64>,
    /// How many of the failed tasks were cancelled.
    cancelled: u64,
    stale: u64,
    missing: u64,
    others: BTreeSet<String>,
}

impl LaneSummary {
    fn of<'a>(tasks: impl IntoIterator<Item = &'a TaskFacts>) -> Self {
        let mut states: BTreeMap<&'static str, u64> =
            Status::NAMES.into_iter().map(|state| (state, 0)).collect();
        let (mut cancelled, mut stale, mut missing, mut others) = (0, 0, 0, BTreeSet::new());
        for task in tasks {
            match states.get_mut(&*task.state) {
                Some(count) => *count += 1,
                None => drop(others.insert(task.state.to_string())),
            }
            cancelled += u64::from(task.is_cancelled);
            stale += u64::from(task.is_stale);
            missing += u64::from(task.is_missing);
        }
        Self { states, cancelled, stale, missing, others }
    }

    fn to_object(&self) -> Object {
        let mut object: Object =
            self.states.iter().map(|(state, count)| (state.to_string(), (*count).into())).collect();
        object.insert("cancelled".into(), self.cancelled.into());
        object.insert("stale_claims".into(), self.stale.into());
        object.insert("missing_response".into(), self.missing.into());
        object
    }

    fn count(&self, state: &str) -> u64 {
        self.states.get(state).copied().unwrap_or(0)
    }

    fn describe(&self) -> String {
        // Here, cancelled tasks count once.
        let mut states = self.states.clone();
        states.entry("failed").and_modify(|count| *count -= self.cancelled);
        states.insert("cancelled", self.cancelled);
        let mut counts: Vec<String> = states
            .iter()
            .filter(|(state, count)| is_shown(state, **count))
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        counts.extend(self.others.iter().map(|state| format!("some {state}")));
        counts.join(", ")
    }

    fn next_action(&self) -> &'static str {
        if self.count("input_required") > 0 {
            "questions are open; `lanes list --state input_required` lists the tasks, `lanes answer ID` answers one"
        } else if self.count("queued") > 0 {
            "workers: `lanes claim --lane LANE` takes the next queued task"
        } else if self.stale > 0 {
            "some leases have ended; a worker that claims the lane takes these tasks over"
        } else if self.count("claimed") > 0 {
            "workers are busy; `lanes wait ID` waits for an answer"
        } else if self.count("failed") > 0 {
            "look at the failed tasks; `lanes retry ID` submits one again"
        } else if self.count("completed") > 0 {
            "all is answered; `lanes wait ID` writes an answer to its response path"
        } else {
            "the queue is empty; submit a task"
        }
    }
}
