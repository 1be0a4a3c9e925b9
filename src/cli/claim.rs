//! `lanes claim`: claims a task under a lease.

use std::time::{Duration, Instant};

use clap::{ArgGroup, Args};
use serde_json::Value;

use super::args::{DEFAULT_LEASE_SPAN, DEFAULT_WAIT, LaneQueryArgs, WaitArgs, deadline, seconds};
use super::context::CommandContext;
use super::exit::CommandExit;
use super::given_messages::{hand_out, put_messages};
use super::idle::print_idle;
use super::show::{print_block, print_schema};
use super::task_fields::TaskFieldsArg;
use super::waiting::wait_for_task;
use crate::error::Result;
use crate::model::task::object;
use crate::model::{Command, Owner, Task, TaskId, json, limits};
use crate::store::{Store, WorkerInfo, WorkerKind};
use crate::workspace::dependency_objects;

/// Claim a task under a lease: a named one, or the next of a lane.
///
/// The next task, by priority and age, is found and claimed in one step; two workers that ask at the
/// same time get different tasks. Exits with code 4 when there is nothing to claim.
///
/// Renew the lease at a third of its length while you work. If a renewal is refused, the task is no
/// longer yours: stop, and report nothing. What comes next is printed on standard error.
#[derive(Args, Debug)]
#[command(override_usage = "lanes claim [OPTIONS] <ID>\n       lanes claim [OPTIONS] --lane <LANE>...")]
#[command(
    after_help = "Examples:\n  lanes claim --lane review --wait --owner ada\n  lanes claim --lane work --with-prompt\n  lanes claim d64cf2"
)]
#[command(group(ArgGroup::new("what").args(["id", "lane"]).required(true)))]
pub(super) struct ClaimCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID", conflicts_with_all = ["filter", "wait"])]
    id: Option<String>,
    #[command(flatten)]
    want: LaneQueryArgs,
    /// Wait until there is something to claim
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this long: seconds, or 15m, 2h, 1d [default: 6h]
    #[arg(long, value_name = "SPAN", value_parser = seconds, requires = "wait", allow_negative_numbers = true)]
    timeout: Option<f64>,
    /// Print a heartbeat to standard error at this interval; 0 disables it
    #[arg(long, value_name = "SPAN", value_parser = seconds, default_value = "0", allow_negative_numbers = true)]
    heartbeat_seconds: f64,
    /// Name under which tasks are claimed
    #[arg(long, value_name = "NAME", default_value = "worker")]
    owner: String,
    /// Length of the lease: seconds, or 15m, 2h; more than 0, at most 30d
    #[arg(long, value_name = "SPAN", value_parser = seconds, default_value = DEFAULT_LEASE_SPAN, allow_negative_numbers = true)]
    lease_seconds: f64,
    /// Print the prompt, too: last, after an empty line, with each line indented
    #[arg(long)]
    with_prompt: bool,
    #[command(flatten)]
    fields: TaskFieldsArg,
}

impl ClaimCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        self.fields.apply(context)?;
        let lease = limits::lease_from_seconds(self.lease_seconds)?;
        let owner = Owner::new(&*self.owner)?;
        let store = if self.wait { context.store_or_new()? } else { context.store()? };
        let claimed = match &self.id {
            Some(id) => Some(store.claim(&store.resolve(id)?, &owner, lease)?),
            None => self.claim_next(context, &store, &owner, lease)?,
        };
        match claimed {
            Some(task) => {
                if let Err(error) = self.show(context, &store, &task).and_then(|()| context.out.flush()) {
                    // Without the token, which was not printed, nobody can answer the task.
                    release_unprinted(&store, &task);
                    return Err(error);
                }
                print_next_step(context, &task.id, lease);
                if let Some(claim) = task.status.claim() {
                    hand_out(context, &store, &task, &claim.token, &task.messages)?;
                }
                Ok(CommandExit::Done)
            }
            None => {
                let waited = if self.wait { self.timeout.unwrap_or(DEFAULT_WAIT) } else { 0.0 };
                print_idle(context, &store, &self.want.query()?, waited)?;
                Ok(CommandExit::NothingAvailable)
            }
        }
    }

    fn claim_next(
        &self,
        context: &CommandContext,
        store: &Store,
        owner: &Owner,
        lease: Duration,
    ) -> Result<Option<Task>> {
        let want = self.want.query()?;
        let attempt = || store.claim_next(&want, owner, lease);
        if !self.wait {
            return attempt();
        }
        // Before this process is registered as a worker of the lane.
        context.note_misspelt_lanes(store, &want.lanes);
        let timeout = self.timeout.unwrap_or(DEFAULT_WAIT);
        let timing = WaitArgs { timeout, heartbeat_seconds: self.heartbeat_seconds }.timing()?;
        // Only a claim that has to wait registers as a worker.
        if deadline(timeout)? > Instant::now()
            && let Some(task) = attempt()?
        {
            return Ok(Some(task));
        }
        let _registration = store.register(&WorkerInfo {
            kind: WorkerKind::ClaimWait,
            owner: owner.clone(),
            pid: std::process::id(),
            lanes: want.lanes.clone(),
            filter: want.filter.describe(),
            since: store.now().wall,
            data: json::Object::new(),
        })?;
        wait_for_task(context, store, &want.lanes, "claim --wait", timing, attempt)
    }

    fn show(&self, context: &mut CommandContext, store: &Store, task: &Task) -> Result<()> {
        let claim = task.status.claim();
        let token = claim.map_or("", |claim| claim.token.as_str());
        if context.out.json {
            let mut reply = object([
                ("status", "claimed".into()),
                ("task_id", task.id.as_str().into()),
                ("claim_token", token.into()),
                ("task", Value::Object(task.to_holder_object())),
            ]);
            if !task.spec.after.is_empty() {
                reply.insert("dependencies".into(), dependency_objects(store, task)?.into());
            }
            if self.with_prompt {
                reply.insert("prompt".into(), task.spec.prompt.as_str().into());
            }
            put_messages(&mut reply, &task.messages);
            return context.out.object(&reply);
        }
        let expires = claim.map(|claim| claim.lease_expires_at.to_string()).unwrap_or_default();
        let out = &mut context.out;
        out.pair("task_id", task.id.as_str())?;
        out.pair("claim_token", token)?;
        out.pair("lane", task.spec.lane.as_str())?;
        out.pair("attempt", &task.attempt.to_string())?;
        out.pair("fence", &task.fence.to_string())?;
        out.pair("lease_expires_at", &expires)?;
        if !task.questions.is_empty() {
            out.pair("questions", &task.questions.len().to_string())?;
        }
        if !task.messages.is_empty() {
            out.pair("messages", &task.messages.len().to_string())?;
        }
        out.pair("request_path", &task.request_path)?;
        // Indented, no line of a prompt can be taken for one of the lines above.
        if self.with_prompt && !task.spec.prompt.is_empty() {
            out.line("\nprompt")?;
            print_block(context, &task.spec.prompt)?;
        }
        if self.with_prompt {
            print_schema(context, task)?;
        }
        Ok(())
    }
}

/// Says on standard error how the holder of a claim goes on.
fn print_next_step(context: &CommandContext, id: &TaskId, lease: Duration) {
    let interval = match (lease / 3).as_secs() {
        seconds @ ..120 => format!("{}s", seconds.max(1)),
        seconds => format!("{}m", seconds / 60),
    };
    context.out.note(&format!(
        "lanes: next: `lanes respond {id} --claim-token TOKEN`; until then `renew` it every {interval}, or `release` it"
    ));
}

fn release_unprinted(store: &Store, task: &Task) {
    if let Some(claim) = task.status.claim() {
        let release = Command::Release {
            token: claim.token.clone(),
            reason: Some("the claim could not be printed".to_string()),
            delay: None,
            spent: None,
        };
        // The lease ends by itself if even this fails.
        let _ = store.apply(&task.id, &release);
    }
}
