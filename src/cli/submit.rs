//! `lanes submit` and `lanes call`: hand work to a lane.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::args::{WaitArgs, span};
use super::context::Context;
use super::exit::CommandExit;
use super::submit_batch::submit_batch;
use super::task_args::{TaskArgs, run_timeout_help};
use super::wait::print_body;
use super::waiting::wait_for_answers;
use crate::error::{ErrorKind, Result};
use crate::model::ResponseStatus;
use crate::model::task::object;
use crate::store::{Store, Submitted};
use crate::workspace::{SubmitContext, check_submit, deliver};

/// Submits the task that the flags describe; `run_timeout`, in seconds, is how long one run of it may take.
fn submit(args: &TaskArgs, context: &Context, run_timeout: Option<f64>) -> Result<(Store, Submitted)> {
    let (config, store) = context.workspace()?;
    let request = args.request(run_timeout)?;
    let checked = check_submit(&SubmitContext::new(&config, &context.base, store.now().wall), request)?;
    for warning in &checked.warnings {
        context.out.warn(warning);
    }
    let submitted = store.submit(checked.task)?;
    if submitted.existing {
        context.out.note(&format!("lanes: {} was submitted before with this key", submitted.task.id));
    }
    Ok((store, submitted))
}

/// Submit a task and print its id.
///
/// A task is a request file with a place for the answer (--request-from, --response-to), or just a
/// prompt (--prompt, --prompt-file).
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lanes submit --lane review --prompt 'Is the lock fair?'\n  lanes submit --lane review --request-from plan.md --response-to plan.review.md --key plan-1"
)]
pub struct SubmitCommand {
    #[command(flatten)]
    task: TaskArgs,
    #[arg(
        long, value_name = "SPAN", value_parser = span, allow_negative_numbers = true, help = run_timeout_help()
    )]
    timeout: Option<f64>,
    /// Submit many tasks: FILE (or `-`) holds one JSON object a line, with the keys of a task file
    /// and `task_id` and `source_agent`; flags count for every line
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["task", "prompt", "prompt_file", "request_from", "response_to", "key"]
    )]
    batch: Option<PathBuf>,
}

impl SubmitCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<CommandExit> {
        if let Some(file) = &self.batch {
            return submit_batch(context, file, &self.task.request(self.timeout)?);
        }
        let (_, submitted) = submit(&self.task, context, self.timeout)?;
        if context.out.json {
            context.out.object(&object([
                ("task_id", submitted.task.id.as_str().into()),
                ("task", Value::Object(submitted.task.to_public_object())),
                ("existing", submitted.existing.into()),
            ]))?;
        } else {
            context.out.line(submitted.task.id.as_str())?;
        }
        Ok(CommandExit::Done)
    }
}

/// Submit a task, wait for its answer and print it.
///
/// Ends with code 3 when the task failed, with 2 when the time is over; then the task goes on and
/// `lanes wait` can fetch its answer later.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  git diff | lanes call --lane review --prompt-file -")]
pub struct CallCommand {
    #[command(flatten)]
    task: TaskArgs,
    #[arg(
        long, value_name = "SPAN", value_parser = span, allow_negative_numbers = true, help = run_timeout_help()
    )]
    run_timeout: Option<f64>,
    #[command(flatten)]
    wait: WaitArgs,
}

impl CallCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<CommandExit> {
        let timing = self.wait.timing()?;
        let (store, submitted) = submit(&self.task, context, self.run_timeout)?;
        let id = submitted.task.id.clone();
        let ids = std::slice::from_ref(&id);
        let (mut answered, _) = wait_for_answers(context, &store, ids, false, "call", timing)?;
        let Some(answer) = answered.pop() else {
            return Ok(CommandExit::TimedOut(format!(
                "no answer to {id} within {} seconds; the task goes on; fetch its answer with `lanes wait {id}`",
                self.wait.timeout
            )));
        };
        let delivered = deliver(&store, &answer.task, &answer.response, || context.config());
        if let Err(error) = &delivered
            && error.kind() != ErrorKind::Refused
        {
            return delivered.map(|_| CommandExit::Done);
        }
        let failed = answer.response.status == ResponseStatus::Failed;
        if context.out.json {
            context.out.object(&object([
                ("status", answer.response.status.as_str().into()),
                ("task_id", id.as_str().into()),
                ("existing", submitted.existing.into()),
                ("response_path", answer.task.response_path.as_str().into()),
                ("response", Value::Object(answer.response.to_object())),
            ]))?;
        } else {
            print_body(context, &answer.response.body)?;
            if failed {
                context.out.note(&format!("lanes call: {id} failed"));
            }
        }
        delivered?;
        Ok(if failed { CommandExit::TaskFailed } else { CommandExit::Done })
    }
}
