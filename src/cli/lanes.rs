//! `lanes lanes`: lists the lanes that are configured and those that have tasks.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use clap::Args;
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::table::Table;
use crate::dispatch::config::DispatchConfig;
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::load::load;
use crate::dispatch::config::route::Runner;
use crate::error::Result;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{LaneName, Status, TaskText};
use crate::store::Store;
use crate::workspace::{Config, configured_lanes};

/// List the lanes that are configured or have tasks.
///
/// VENDOR is the agent's program that the configuration chooses for the lane, READY the number of tasks that can be
/// claimed, RUNNING of those that a worker holds, WORKERS of dispatchers and commands that serve the lane now.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes lanes\n  lanes lanes --json")]
pub(super) struct LanesCommand {}

/// What is known of a lane.
#[derive(Default)]
struct ListedLane {
    is_configured: bool,
    description: String,
    runner: Option<Runner>,
    pause: Option<ListedPause>,
    ready: u64,
    running: u64,
    workers: u64,
}

/// Since when a lane is paused, and why.
struct ListedPause {
    since: String,
    reason: Option<String>,
}

impl LanesCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let (config, store) = context.workspace_to_read()?;
        let lanes = rows(context, &config, &store)?;
        if context.out.json {
            let lanes: Vec<Value> =
                lanes.iter().map(|(name, lane)| Value::Object(lane.to_object(name))).collect();
            let reply = [("status", "ok".into()), ("count", lanes.len().into()), ("lanes", lanes.into())];
            context.out.object(&object(reply))?;
            return Ok(CommandExit::Done);
        }
        if lanes.is_empty() {
            context.out.note("lanes: no lane is configured or has a task");
            return Ok(CommandExit::Done);
        }
        let mut table = Table::new(&["LANE", "VENDOR", "READY", "RUNNING", "WORKERS", "NOTE"]);
        for (name, lane) in &lanes {
            table.row(vec![
                name.to_string(),
                lane.runner.as_ref().map_or("-", Runner::name).to_string(),
                lane.ready.to_string(),
                lane.running.to_string(),
                lane.workers.to_string(),
                context.out.sentence(&lane.note()),
            ]);
        }
        table.print(&mut context.out)?;
        Ok(CommandExit::Done)
    }
}

/// Returns the lanes that are configured, have tasks or are served. What cannot be read is a warning, and the rest is still useful.
fn rows(context: &CommandContext, config: &Config, store: &Store) -> Result<BTreeMap<LaneName, ListedLane>> {
    let mut lanes: BTreeMap<LaneName, ListedLane> = BTreeMap::new();
    for lane in configured_lanes(config, store) {
        let description = config.lanes.get(&lane).cloned().unwrap_or_default();
        lanes.insert(lane, ListedLane { is_configured: true, description, ..ListedLane::default() });
    }
    for lane in store.lanes_with_tasks()? {
        lanes.entry(lane).or_default();
    }
    let now = store.now();
    let shown = store.shown_states();
    // Without a current index, every task is read.
    let names = store.open_task_ids(None).ok().flatten().map_or_else(|| store.task_names(), Ok)?;
    let place = |task: &TaskText<'_>| {
        let task = task.to_task();
        let is_running = matches!(task.status, Status::Claimed(_)) && task.lease_is_live(&now);
        let is_ready = shown.can_be_claimed(&task);
        (task.spec.lane, is_ready, is_running)
    };
    store.scan_names(&names, place, &mut |_, seen| {
        match seen {
            Ok((lane, is_ready, is_running)) => {
                let lane = lanes.entry(lane).or_default();
                lane.ready += u64::from(is_ready);
                lane.running += u64::from(is_running);
            }
            Err(error) => context.out.warn(&error.to_string()),
        }
        ControlFlow::Continue(())
    });
    for worker in store.live_workers()? {
        for lane in worker.lanes {
            lanes.entry(lane).or_default().workers += 1;
        }
    }
    for (lane, pause) in store.paused()? {
        let row = ListedPause { since: pause.since.to_string(), reason: pause.reason };
        lanes.entry(lane).or_default().pause = Some(row);
    }
    match load(config, store, &ConsentPolicy::AllowAll) {
        Ok(dispatch) => {
            for (name, lane) in &mut lanes {
                lane.runner = runner(&dispatch, name);
            }
        }
        Err(error) => context.out.warn(&error.to_string()),
    }
    Ok(lanes)
}

/// Returns what the configuration chooses to serve a lane.
fn runner(dispatch: &DispatchConfig, lane: &LaneName) -> Option<Runner> {
    dispatch.route(lane).runner
}

impl ListedLane {
    fn note(&self) -> String {
        let mut notes = Vec::new();
        if let Some(pause) = &self.pause {
            let reason = pause.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
            notes.push(format!("paused since {}{reason}", pause.since));
        }
        if !self.is_configured {
            notes.push("not configured".to_string());
        }
        if !self.description.is_empty() {
            notes.push(self.description.clone());
        }
        notes.join("; ")
    }

    fn to_object(&self, name: &LaneName) -> Object {
        let (vendor, command) = match &self.runner {
            Some(Runner::Vendor(name)) => (Some(name.clone()), None),
            Some(Runner::Command { program, .. }) => (None, Some(program.clone())),
            None => (None, None),
        };
        let mut lane = object([
            ("lane", name.into()),
            ("configured", self.is_configured.into()),
            ("description", self.description.clone().into()),
            ("paused", self.pause.is_some().into()),
            ("ready", self.ready.into()),
            ("running", self.running.into()),
            ("workers", self.workers.into()),
        ]);
        lane.insert("vendor".into(), vendor.into());
        lane.insert("command".into(), command.into());
        let pause = self.pause.as_ref();
        lane.insert("paused_since".into(), pause.map(|pause| pause.since.clone()).into());
        lane.insert("pause_reason".into(), pause.and_then(|pause| pause.reason.clone()).into());
        lane
    }
}
