//! `lanes workers`: who is at work.

use clap::Args;
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::table::{Table, relative, short};
use crate::error::{Result, printable};
use crate::model::task::object;
use crate::model::{CooldownCause, Cooldowns, Now, Time, cooldown, duration};
use crate::store::{Store, WorkerInfo};

/// Show the running workers: dispatchers, and `claim --wait` commands that wait.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes workers")]
pub(super) struct WorkersCommand {}

impl WorkersCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let workers = store.live_workers()?;
        let now = store.now();
        let parked = active_cooldowns(context, &store);
        if context.out.json {
            context.out.object(&object([
                ("status", "ok".into()),
                ("count", workers.len().into()),
                ("workers", worker_objects(&workers).into()),
                ("parked", cooldowns_object(&parked)),
            ]))?;
        } else if workers.is_empty() {
            context.out.note("lanes: no workers running");
            print_cooldowns(context, &parked, &now)?;
        } else {
            print_workers(context, &workers, &now)?;
            print_cooldowns(context, &parked, &now)?;
        }
        Ok(CommandExit::Done)
    }
}

pub(super) fn worker_objects(workers: &[WorkerInfo]) -> Vec<Value> {
    workers.iter().map(|worker| Value::Object(worker.to_object())).collect()
}

pub(super) fn print_workers(context: &mut CommandContext, workers: &[WorkerInfo], now: &Now) -> Result<()> {
    let mut table = Table::new(&["WORKER", "KIND", "PID", "LANES", "SINCE", "TAKES"]);
    for worker in workers {
        table.row(vec![
            worker.owner.clone(),
            worker.kind.clone(),
            worker.pid.to_string(),
            worker.lanes.join(","),
            relative(worker.since, now),
            if worker.filter.is_empty() { "everything".to_string() } else { worker.filter.clone() },
        ]);
    }
    table.print(&mut context.out)?;
    print_runs(context, workers, now)?;
    print_unready(context, workers)
}

/// The lanes that dispatchers leave alone for the lack of something.
fn print_unready(context: &mut CommandContext, workers: &[WorkerInfo]) -> Result<()> {
    for worker in workers {
        for (lane, missing) in worker.data.get("unready").and_then(Value::as_object).into_iter().flatten() {
            let missing = short(missing.as_str().unwrap_or_default(), 200);
            let line = format!("lane {lane} is not served by {}: {missing}", worker.owner);
            context.out.line(&printable(&line))?;
        }
    }
    Ok(())
}

/// The agents at work, if there are any.
fn print_runs(context: &mut CommandContext, workers: &[WorkerInfo], now: &Now) -> Result<()> {
    let mut table =
        Table::new(&["TASK", "LANE", "VENDOR", "AGENT", "SINCE", "TIME UP", "SILENCE", "LAST WORDS"]);
    let runs = workers.iter().filter_map(|worker| worker.data.get("running")?.as_array());
    for run in runs.flatten() {
        let text = |key: &str| run.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
        let since = Time::parse(&text("started_at")).map_or(String::new(), |since| relative(since, now));
        let silence = run.get("silence_timeout_seconds").and_then(Value::as_f64);
        table.row(vec![
            text("task_id"),
            text("lane"),
            text("vendor"),
            run.get("pid").and_then(Value::as_u64).map_or("starts".to_string(), |pid| pid.to_string()),
            since,
            Time::parse(&text("deadline")).map_or("never".to_string(), |deadline| relative(deadline, now)),
            silence.and_then(duration::from_seconds).map_or("any".to_string(), duration::words),
            short(&text("progress"), 60),
        ]);
    }
    if table.is_empty() {
        return Ok(());
    }
    context.out.line("")?;
    table.print(&mut context.out)
}

/// The pauses of vendors that hold. A list is worth having without them: when they cannot be read, a warning
/// says so.
pub(super) fn active_cooldowns(context: &mut CommandContext, store: &Store) -> Cooldowns {
    store.active_cooldowns().unwrap_or_else(|error| {
        context.out.warn(&error.to_string());
        Cooldowns::new()
    })
}

pub(super) fn cooldowns_object(parked: &Cooldowns) -> Value {
    let entries = parked.iter().map(|(key, parked)| (key.clone(), Value::Object(parked.to_object())));
    Value::Object(entries.collect())
}

pub(super) fn print_cooldowns(context: &mut CommandContext, all: &Cooldowns, now: &Now) -> Result<()> {
    for parked in all.values() {
        let (name, until) = (parked.name(), relative(parked.until, now));
        let what = match parked.cause {
            CooldownCause::Account => format!("{name} is unready: log in; one task tries again {until}"),
            CooldownCause::Asked if parked.until == cooldown::indefinite_end() => {
                format!("{name} is not used until it is resumed")
            }
            _ => format!("{name} is not used, continues {until}"),
        };
        let reason = short(&parked.reason, 200);
        let line = if reason.is_empty() { what } else { format!("{what}: {reason}") };
        context.out.line(&printable(&line))?;
    }
    Ok(())
}
