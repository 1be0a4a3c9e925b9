//! The dry run of a dispatcher: computes the next command line of each lane without running it.

use std::time::Duration;

use serde_json::Value;

use super::config::plan::Plan;
use super::config::served_lane::ServedLane;
use super::run::earlier_work::earlier_work;
use super::run::prepare::{CommandLine, PrepareError, command_line, own_timeout, working_directory};
use super::run::resume;
use super::worktree::{PlannedWorktree, WorktreeRequest};
use crate::Result;
use crate::model::Task;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{Cooldown, LaneName, cooldown};
use crate::store::{LaneQuery, Store};

/// The next run of a lane, as a dry run shows it.
#[derive(Clone, Debug)]
pub(crate) struct Preview {
    /// Name of the lane.
    pub lane: LaneName,
    /// Name of the vendor that serves the lane.
    pub vendor: String,
    /// Path of the vendor's program, or `None` if it is not installed.
    pub program: Option<String>,
    /// Current cooldown of the vendor.
    pub cooldown: Option<Cooldown>,
    /// Timeout of a run; the next task's own timeout, if it has one.
    pub timeout: Option<Duration>,
    /// Maximum time without output.
    pub silence_timeout: Option<Duration>,
    /// Id of the next task, if any.
    pub task_id: Option<String>,
    /// The worktree that the next task would get, if its route gives it one.
    pub worktree: Option<PlannedWorktree>,
    /// Command line for the next task, if there is one, or the reason for which a run would fail.
    pub command: std::result::Result<Option<Vec<String>>, String>,
}

impl Preview {
    /// Returns the preview as a JSON object.
    pub(crate) fn to_object(&self) -> Object {
        let argv = self.command.as_ref().ok().cloned().flatten();
        object([
            ("lane", (&self.lane).into()),
            ("vendor", self.vendor.clone().into()),
            ("program", self.program.clone().into()),
            ("parked_until", self.cooldown.as_ref().map(|cooldown| cooldown.until.to_string()).into()),
            ("timeout_seconds", self.timeout.map(|limit| limit.as_secs_f64()).into()),
            ("silence_timeout_seconds", self.silence_timeout.map(|limit| limit.as_secs_f64()).into()),
            ("task_id", self.task_id.clone().into()),
            ("worktree", self.worktree.as_ref().map(PlannedWorktree::to_object).into()),
            ("argv", argv.map_or(Value::Null, Value::from)),
            ("problem", self.command.as_ref().err().cloned().into()),
        ])
    }
}

/// Returns the command line with which the next claim of a task would start its agent.
fn next_command(
    store: &Store,
    plan: &Plan,
    served: &ServedLane,
    task: &Task,
) -> std::result::Result<(CommandLine, Option<PlannedWorktree>), PrepareError> {
    let worktree = planned_worktree(store, plan, served, task)?;
    let events = store.events(&task.id)?;
    let conversation = resume::conversation_to_resume(store, task, &events, served, task.fence + 1)?;
    let session = conversation.as_ref().map(|conversation| conversation.session.as_str());
    let cwd = worktree.as_ref().map(|worktree| worktree.cwd.as_path());
    Ok((command_line(store, plan, served, task, session, 0, cwd)?, worktree))
}

/// Returns the worktree that the next claim of a task would work in, if its route gives it one.
fn planned_worktree(
    store: &Store,
    plan: &Plan,
    served: &ServedLane,
    task: &Task,
) -> std::result::Result<Option<PlannedWorktree>, PrepareError> {
    let Some(settings) = &served.route.worktree else { return Ok(None) };
    let directory = working_directory(plan, &served.route, task)?;
    let request = WorktreeRequest {
        settings,
        directory: &directory,
        task: &task.id,
        lane: &task.spec.lane,
        fence: task.fence + 1,
        start: earlier_work(store, task).map(|work| work.head),
    };
    Ok(Some(request.plan()?))
}

/// Computes the next run of each lane, without claiming a task.
///
/// # Errors
/// When the store cannot be read.
pub(crate) fn preview(store: &Store, plan: &Plan) -> Result<Vec<Preview>> {
    let (cooldowns, now) = (store.cooldowns()?, store.now().wall);
    let mut previews = Vec::new();
    for served in &plan.served_lanes {
        let lanes = vec![served.route.lane.clone()];
        let task = store.peek_next(&LaneQuery { lanes, filter: served.filter.clone() })?;
        let mut worktree = None;
        let command = match &task {
            None => served.check_ready().map(|()| None).map_err(|error| error.to_string()),
            Some(task) => match next_command(store, plan, served, task) {
                Ok((line, planned)) => {
                    worktree = planned;
                    let program = line.program.to_string_lossy().into_owned();
                    Ok(Some(std::iter::once(program).chain(line.args).collect()))
                }
                Err(reason) => Err(reason.to_string()),
            },
        };
        let model = task.as_ref().and_then(|task| served.model_for(task).0);
        previews.push(Preview {
            lane: served.route.lane.clone(),
            vendor: served.vendor.name.clone(),
            cooldown: cooldown::cooldown_for(&cooldowns, &served.cooldown_key, model.as_deref(), now)
                .cloned(),
            program: served.program().map(|path| path.to_string_lossy().into_owned()),
            timeout: task.as_ref().and_then(own_timeout).or(served.route.timeout),
            silence_timeout: served.silence_timeout(),
            task_id: task.map(|task| task.id.to_string()),
            worktree,
            command,
        });
    }
    Ok(previews)
}
