//! `lanes next` and `lanes watch`: show the next task of a lane without claiming it.

use clap::Args;
use serde_json::Value;

use super::args::{WaitArgs, WantArgs};
use super::context::Context;
use super::exit::CommandExit;
use super::waiting::wait_for_task;
use crate::error::{Result, shell_word};
use crate::model::task::object;
use crate::store::{LaneQuery, Store};

/// Wait until a task of a lane can be claimed and show it, without claiming it.
///
/// To take a task use `claim --lane`, which looks and claims in one step.
#[derive(Args, Debug)]
#[command(mut_arg("lane", |lane| lane.required(true)))]
#[command(after_help = "Examples:\n  lanes next --lane review --timeout 0\n  lanes watch --lane review")]
pub struct NextCommand {
    #[command(flatten)]
    want: WantArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

impl NextCommand {
    pub(super) fn run(&self, context: &mut Context, verb: &str) -> Result<CommandExit> {
        wait_on_lanes(context, &self.want, &self.wait, verb)
    }
}

pub(super) fn wait_on_lanes(
    context: &mut Context,
    want: &WantArgs,
    wait: &WaitArgs,
    verb: &str,
) -> Result<CommandExit> {
    let want = want.want()?;
    let timing = wait.timing()?;
    let store = if wait.timeout > 0.0 { context.store_or_new()? } else { context.store()? };
    let task = wait_for_task(context, &store, &want.lanes, verb, timing, || store.peek_next(&want))?;
    match task {
        Some(task) if context.out.json => context.out.object(&object([
            ("status", "task_available".into()),
            ("lane", task.spec.lane.clone().into()),
            ("task", Value::Object(task.to_public_object())),
        ]))?,
        Some(task) => context.out.line(task.id.as_str())?,
        None => tell_idle(context, &store, &want, wait.timeout)?,
    }
    Ok(CommandExit::Done)
}

/// Says that nothing came.
pub(super) fn tell_idle(context: &mut Context, store: &Store, want: &LaneQuery, timeout: f64) -> Result<()> {
    let lanes = want.lanes.join(", ");
    let flags: Vec<String> = want.lanes.iter().map(|lane| format!("--lane {}", shell_word(lane))).collect();
    let mut used = false;
    for lane in &want.lanes {
        used |= store.lane_has_tasks(lane)?;
    }
    let reason = if used { "no_queued_task" } else { "no_task_submitted" };
    let paused = store.paused()?;
    let stopped: Vec<&str> =
        want.lanes.iter().filter(|lane| paused.contains_key(*lane)).map(String::as_str).collect();
    let message = if !stopped.is_empty() && stopped.len() == want.lanes.len() {
        let words: Vec<String> = stopped.iter().map(|lane| shell_word(lane)).collect();
        format!("lane {lanes} is paused; `lanes resume {}` opens it", words.join("`, `lanes resume "))
    } else if used {
        format!("lane {lanes} has nothing to claim")
    } else {
        format!("nothing was ever submitted to lane {lanes}")
    };
    if context.out.json {
        context.out.object(&object([
            ("status", "idle".into()),
            ("lane", want.lanes.first().cloned().unwrap_or_default().into()),
            ("lanes", want.lanes.clone().into()),
            ("reason", reason.into()),
            ("paused", stopped.into()),
            ("timeout_seconds", timeout.into()),
            ("message", message.into()),
            (
                "next_action",
                format!(
                    "monitor: wait again; worker: `lanes claim {} --wait`; submitter: submit",
                    flags.join(" ")
                )
                .into(),
            ),
        ]))
    } else {
        context.out.note(&format!("lanes: {message}; waited {timeout} seconds"));
        Ok(())
    }
}
