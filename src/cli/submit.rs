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
use super::task_fields::TaskFieldsArg;
use crate::error::{Error, Result};
use crate::model::LaneName;
use crate::model::task::object;
use crate::store::{Store, SubmittedTask};
use crate::workspace::{Config, SubmitContext, check_submit, is_new_lane, misspelt_lane};

/// Submits the task that the flags describe; `run_timeout`, in seconds, is how long one run of it may take.
pub(super) fn submit(
    args: &TaskArgs,
    context: &CommandContext,
    run_timeout: Option<f64>,
) -> Result<(Store, SubmittedTask)> {
    let (config, store) = context.workspace()?;
    if let Some(word) = args.only_word() {
        refuse_lane_for_text(&config, &store, word)?;
    }
    let request = args.request(&context.out, run_timeout)?;
    let checked = check_submit(&SubmitContext::new(&config, &context.base, store.now().wall), request)?;
    inside_run::refuse_commands(context, &checked.task)?;
    for warning in &checked.warnings {
        context.out.warn(warning);
    }
    if args.lane_is_word() {
        refuse_new_lane(&config, &store, &checked.task.spec.lane)?;
    }
    // Before the submit, after which the lane is not new any more.
    let misspelt = misspelt_lane(&config, &store, &checked.task.spec.lane);
    let submitted = store.submit(checked.task)?;
    if let Some(warning) = misspelt {
        context.out.note(&format!("lanes: {warning}"));
    }
    if submitted.existing {
        context.out.note(&format!("lanes: {} was submitted before with this key", submitted.task.id));
    }
    Ok((store, submitted))
}

/// Refuses the name of a known lane as a text: the text may be on standard input, where nobody would read it.
fn refuse_lane_for_text(config: &Config, store: &Store, word: &str) -> Result<()> {
    match LaneName::new(word) {
        Ok(lane) if !is_new_lane(config, store, &lane) => {
            Err(Error::invalid(format!("{lane} is a lane, and there is no text for it"))
                .with_hint("give the text after the lane, or `-` to read it from standard input"))
        }
        _ => Ok(()),
    }
}

/// Refuses a lane that no setting names and that never had a task: it may be the first word of a text.
fn refuse_new_lane(config: &Config, store: &Store, lane: &LaneName) -> Result<()> {
    if !is_new_lane(config, store, lane) {
        return Ok(());
    }
    if let Some(near) = misspelt_lane(config, store, lane) {
        return Err(Error::not_found(near));
    }
    Err(Error::not_found(format!("lane {lane} is new"))
        .with_hint("if that is intended, use --lane; quote a text of several words"))
}

/// Submit a task and print its id.
///
/// A task is a request file with a place for the answer (--request-from, --response-to), or just a
/// prompt (--prompt, --prompt-file).
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lanes submit review 'Is the lock fair?'\n  lanes add -l work 'Fix the flaky test'\n  lanes submit --lane review --request-from plan.md --response-to plan.review.md --key plan-1"
)]
pub(super) struct SubmitCommand {
    #[command(flatten)]
    task: TaskArgs,
    #[arg(
        long, visible_alias = "timeout", value_name = "SPAN", value_parser = seconds, allow_negative_numbers = true,
        help = run_timeout_help()
    )]
    run_timeout: Option<f64>,
    /// Submit many tasks: FILE (or `-`) holds one JSON object per line, with the keys of a
    /// task file and `task_id` and `source_agent`; flags apply to every line
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["task", "prompt", "prompt_file", "request_from", "response_to", "key", "word"]
    )]
    batch: Option<PathBuf>,
    #[command(flatten)]
    fields: TaskFieldsArg,
}

impl SubmitCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        self.fields.apply(context)?;
        if let Some(file) = &self.batch {
            let common = self.task.request(&context.out, self.run_timeout)?;
            return submit_batch(context, file, &common);
        }
        let (store, submitted) = submit(&self.task, context, self.run_timeout)?;
        if context.out.json {
            let task = store.shown(submitted.task.clone());
            context.out.object(&object([
                ("task_id", submitted.task.id.as_str().into()),
                ("task", Value::Object(task.to_public_object())),
                ("existing", submitted.existing.into()),
            ]))?;
        } else {
            context.out.line(submitted.task.id.as_str())?;
        }
        context.out.flush().map_err(|error| {
            // The task is there; submitting it again would have it done twice.
            let message = format!(
                "{} was submitted, but its id could not be printed: {}",
                submitted.task.id,
                error.message()
            );
            Error::new(error.kind(), message).with_hint("do not submit it again")
        })?;
        Ok(CommandExit::Done)
    }
}
