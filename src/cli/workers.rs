//! `lanes workers`: lists the running workers and their runs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use clap::Args;
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::table::Table;
use super::text_format::{relative, shorten};
use crate::error::{Result, printable};
use crate::model::cooldown::indefinite_end;
use crate::model::json::Object;
use crate::model::spending::LaneOverBudget;
use crate::model::task::object;
use crate::model::{CooldownCause, Cooldowns, Now, TaskText, duration};
use crate::store::{Store, WorkerInfo};
use crate::workspace::{TaskConcern, TaskConcerns, attention, dispatcher_objects};

/// The lanes that start no run because of a budget, by name.
pub(super) type LanesOverBudget = BTreeMap<String, LaneOverBudget>;

/// Show the running workers.
///
/// These are dispatchers, bridges, and `claim --wait` commands that wait.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes workers")]
pub(super) struct WorkersCommand {}

impl WorkersCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let workers = store.live_workers()?;
        let now = store.now();
        let cooldowns = active_cooldowns(context, &store);
        let over_budget = lanes_over_budget(context, &store);
        if context.out.json {
            let mut reply = overview(context, &store, &workers, &concerns(&store)?)?;
            reply.extend(object([
                ("count", workers.len().into()),
                ("workers", worker_objects(&workers).into()),
                ("parked", cooldowns_object(&cooldowns)),
                ("over_budget", over_budget_object(&over_budget)),
            ]));
            context.out.object(&reply)?;
        } else if workers.is_empty() {
            context.out.note("lanes: no workers running");
            print_cooldowns(context, &cooldowns, &now)?;
            print_over_budget(context, &over_budget, &now)?;
        } else {
            print_workers(context, &workers, &now)?;
            print_cooldowns(context, &cooldowns, &now)?;
            print_over_budget(context, &over_budget, &now)?;
        }
        Ok(CommandExit::Done)
    }
}

/// Returns what `status` and `workers` tell about the whole queue: `dispatchers`, `attention`, `now`, `feed`.
pub(super) fn overview(
    context: &mut CommandContext,
    store: &Store,
    workers: &[WorkerInfo],
    concerns: &TaskConcerns,
) -> Result<Object> {
    let needed = attention(store, concerns).unwrap_or_else(|error| {
        context.out.warn(&error.to_string());
        Vec::new()
    });
    Ok(object([
        ("status", "ok".into()),
        ("dispatchers", dispatcher_objects(store, workers).into()),
        ("attention", needed.iter().map(|item| Value::Object(item.to_object())).collect()),
        ("now", store.now().wall.to_string().into()),
        ("feed", store.feed_end()?.into()),
    ]))
}

/// Returns what the tasks of a store need a person for.
fn concerns(store: &Store) -> Result<TaskConcerns> {
    let (now, shown, mut concerns) = (store.now(), store.shown_states(), TaskConcerns::default());
    let concern = |task: &TaskText<'_>| TaskConcern::of(task, &shown.status_of(task), &now);
    store.scan_names(&store.task_names()?, concern, &mut |_, seen| {
        // `list` shows the tasks that cannot be read.
        seen.ok().flatten().into_iter().for_each(|concern| concerns.add(concern));
        ControlFlow::Continue(())
    });
    Ok(concerns)
}

/// Returns the workers as JSON objects.
pub(super) fn worker_objects(workers: &[WorkerInfo]) -> Vec<Value> {
    workers.iter().map(|worker| Value::Object(worker.to_object())).collect()
}

/// Prints a table of the workers, a table of their runs, and the lanes that are not served.
pub(super) fn print_workers(context: &mut CommandContext, workers: &[WorkerInfo], now: &Now) -> Result<()> {
    let mut table = Table::new(&["WORKER", "KIND", "PID", "LANES", "SINCE", "TAKES"]);
    for worker in workers {
        table.row(vec![
            worker.owner.to_string(),
            kind(worker),
            worker.pid.to_string(),
            worker.lanes.join(","),
            relative(worker.since, now),
            takes(worker),
        ]);
    }
    table.print(&mut context.out)?;
    print_runs(context, workers, now)?;
    print_unready(context, workers)?;
    print_failing_boards(context, workers)
}

/// Describes what a worker takes.
fn takes(worker: &WorkerInfo) -> String {
    match worker.bridge() {
        Some(bridge) => format!("cards of {} ({})", bridge.queues.join(", "), bridge.adapter),
        None if worker.filter.is_empty() => "everything".to_string(),
        None => worker.filter.clone(),
    }
}

/// Prints the boards that cannot be reached, and why.
fn print_failing_boards(context: &mut CommandContext, workers: &[WorkerInfo]) -> Result<()> {
    for bridge in workers.iter().filter_map(WorkerInfo::bridge) {
        if let Some((since, error)) = bridge.failure {
            let error = shorten(&error, 200);
            let line = format!("board {} has been unreachable since {since}: {error}", bridge.name);
            context.out.line(&printable(&context.out.sentence(&line)))?;
        }
    }
    Ok(())
}

/// Describes the kind of a worker, and what keeps it from claiming.
fn kind(worker: &WorkerInfo) -> String {
    let on_demand = if worker.is_on_demand() { " on demand" } else { "" };
    let state = if worker.is_stopped() {
        ", stopped"
    } else if worker.is_draining() {
        ", draining"
    } else {
        ""
    };
    format!("{}{on_demand}{state}", worker.kind.as_str())
}

/// Prints the lanes that dispatchers do not serve, and what each is missing.
fn print_unready(context: &mut CommandContext, workers: &[WorkerInfo]) -> Result<()> {
    for worker in workers {
        for (lane, missing) in worker.unready_lanes() {
            let missing = shorten(&missing, 200);
            let line = format!("lane {lane} is not served by {}: {missing}", worker.owner);
            context.out.line(&printable(&context.out.sentence(&line)))?;
        }
    }
    Ok(())
}

/// Prints the running agents, if there are any.
fn print_runs(context: &mut CommandContext, workers: &[WorkerInfo], now: &Now) -> Result<()> {
    let mut table =
        Table::new(&["TASK", "LANE", "VENDOR", "AGENT", "SINCE", "DEADLINE", "SILENCE", "PROGRESS"]);
    let room = context.out.text_room(60);
    for (task_id, run) in workers.iter().flat_map(WorkerInfo::runs) {
        table.row(vec![
            task_id.to_string(),
            run.lane.to_string(),
            run.vendor,
            run.pid.map_or("starts".to_string(), |pid| pid.to_string()),
            relative(run.started_at, now),
            run.deadline.map_or("never".to_string(), |deadline| relative(deadline, now)),
            run.silence_timeout.map_or("any".to_string(), duration::format_coarse),
            shorten(&run.progress.unwrap_or_default(), room),
        ]);
    }
    if table.is_empty() {
        return Ok(());
    }
    context.out.line("")?;
    table.print(&mut context.out)
}

/// Returns the cooldowns that are in effect. If they cannot be read, prints a warning and returns none: the rest
/// of the listing is useful without them.
pub(super) fn active_cooldowns(context: &mut CommandContext, store: &Store) -> Cooldowns {
    store.active_cooldowns().unwrap_or_else(|error| {
        context.out.warn(&error.to_string());
        Cooldowns::new()
    })
}

/// Returns the lanes that start no run because of a budget. If they cannot be read, prints a warning and returns none.
pub(super) fn lanes_over_budget(context: &mut CommandContext, store: &Store) -> LanesOverBudget {
    let now = store.now().wall;
    let recorded = store.recorded_spending().map(|record| record.over).unwrap_or_else(|error| {
        context.out.warn(&error.to_string());
        LanesOverBudget::new()
    });
    recorded.into_iter().filter(|(_, over)| over.until > now).collect()
}

/// Returns lanes that start no run because of a budget as a JSON object.
pub(super) fn over_budget_object(over_budget: &LanesOverBudget) -> Value {
    over_budget.iter().map(|(lane, over)| (lane.clone(), Value::Object(over.to_object()))).collect()
}

/// Prints a line for each lane that starts no run because of a budget.
pub(super) fn print_over_budget(
    context: &mut CommandContext,
    over_budget: &LanesOverBudget,
    now: &Now,
) -> Result<()> {
    over_budget.iter().try_for_each(|(lane, over)| {
        let then =
            if over.is_spent { format!("; continues {}", relative(over.until, now)) } else { String::new() };
        let line = format!("lane {lane} waits for a budget{then}: {}", over.message);
        context.out.line(&printable(&context.out.sentence(&line)))
    })
}

/// Returns cooldowns as a JSON object, by their keys.
pub(super) fn cooldowns_object(cooldowns: &Cooldowns) -> Value {
    let entries =
        cooldowns.iter().map(|(key, cooldown)| (key.to_string(), Value::Object(cooldown.to_object())));
    Value::Object(entries.collect())
}

/// Prints a line for each cooldown.
pub(super) fn print_cooldowns(context: &mut CommandContext, cooldowns: &Cooldowns, now: &Now) -> Result<()> {
    for cooldown in cooldowns.values() {
        let (name, until) = (cooldown.name(), relative(cooldown.until, now));
        let what = match cooldown.cause {
            CooldownCause::Account => format!("{name} is unready: log in; one task tries again {until}"),
            CooldownCause::Person if cooldown.until == indefinite_end() => {
                format!("{name} is not used until it is resumed")
            }
            _ => format!("{name} is paused; used again {until}"),
        };
        let reason = shorten(&cooldown.reason, 200);
        let line = if reason.is_empty() { what } else { format!("{what}: {reason}") };
        context.out.line(&printable(&context.out.sentence(&line)))?;
    }
    Ok(())
}
