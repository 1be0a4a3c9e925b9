//! `lanes submit`: submits a task to a lane.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::args::seconds;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::inside_run;
use super::submit_batch::submit_batch;
use super::task_args::{TaskArgs, run_timeout_help};
use crate::error::Result;
use crate::model::task::object;
use crate::store::{Store, SubmittedTask};
use crate::workspace::{SubmitContext, check_submit};

/// Submits the task that the flags describe; `run_timeout`, in seconds, is how long one run of it may take.
pub(super) fn submit(
    args: &TaskArgs,
    context: &CommandContext,
    run_timeout: Option<f64>,
) -> Result<(Store, SubmittedTask)> {
    let (config, store) = context.workspace()?;
    let request = args.request(run_timeout)?;
    let checked = check_submit(&SubmitContext::new(&config, &context.base, store.now().wall), request)?;
    inside_run::refuse_commands(context, &checked.task)?;
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
pub(super) struct SubmitCommand {
    #[command(flatten)]
    task: TaskArgs,
    #[arg(
        long, value_name = "SPAN", value_parser = seconds, allow_negative_numbers = true, help = run_timeout_help()
    )]
    timeout: Option<f64>,
    /// Submit many tasks: FILE (or `-`) holds one JSON object per line, with the keys of a
    /// task file and `task_id` and `source_agent`; flags apply to every line
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["task", "prompt", "prompt_file", "request_from", "response_to", "key"]
    )]
    batch: Option<PathBuf>,
}

impl SubmitCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
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
