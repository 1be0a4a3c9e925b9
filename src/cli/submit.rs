//! `lanes submit` and `lanes call`: hand work to a lane.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::args::{WaitArgs, integer, span};
use super::body;
use super::context::Context;
use super::env;
use super::exit::CommandExit;
use super::submit_batch::submit_batch;
use super::wait::print_body;
use super::waiting::wait_for_answers;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::task::object;
use crate::model::{ResponseStatus, Time};
use crate::store::{Store, Submitted};
use crate::workspace::{Fingerprints, MAX_PROMPT_ONLY, SubmitWish, check_submit, deliver, parse_pairs};

/// What the task is.
#[derive(Args, Debug)]
pub struct TaskArgs {
    /// A YAML or JSON file with defaults for the flags below
    #[arg(long, value_name = "FILE")]
    task: Option<PathBuf>,
    /// The lane
    #[arg(long)]
    lane: Option<String>,
    /// The file to work on; without it the prompt is the whole request
    #[arg(long, value_name = "PATH")]
    request_from: Option<PathBuf>,
    /// Where `wait` writes the answer; without it the store keeps it
    #[arg(long, value_name = "PATH")]
    response_to: Option<PathBuf>,
    /// Words for the worker; `-` reads them from standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Read the prompt from this file; `-` is standard input
    #[arg(long, value_name = "PATH")]
    prompt_file: Option<PathBuf>,
    /// A further file that belongs to the request; repeatable
    #[arg(long = "supporting", value_name = "PATH")]
    supporting: Vec<PathBuf>,
    /// Where to work
    #[arg(long, value_name = "PATH")]
    worktree_path: Option<PathBuf>,
    /// The branch to work on
    #[arg(long)]
    branch: Option<String>,
    /// Free-form; routing reads required_vendor, model_class and effort; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    /// Who submits [default: orchestrator]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    source_agent: String,
    /// Your own name for the work, part of the id [default: the task file's name, else the lane]
    #[arg(long, value_name = "NAME")]
    task_id: Option<String>,
    /// The same key and content submit once, however often this is called
    #[arg(long)]
    key: Option<String>,
    /// Higher goes first; one step is worth an hour of waiting
    #[arg(long, value_name = "N", value_parser = integer, allow_negative_numbers = true)]
    priority: Option<i64>,
    /// Not to be claimed for this long: seconds, or 15m, 2h, 1d
    #[arg(long, value_name = "SPAN", value_parser = span, allow_negative_numbers = true)]
    delay: Option<f64>,
    /// Not to be claimed before this moment, such as 2026-12-24T18:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    not_before: Option<String>,
    /// Runs allowed; then the task is dead instead of being offered again
    #[arg(long, value_name = "N", value_parser = integer, allow_negative_numbers = true)]
    max_attempts: Option<i64>,
    /// A title for people
    #[arg(long)]
    name: Option<String>,
    /// A word for people; repeatable
    #[arg(long, value_name = "WORD")]
    label: Vec<String>,
}

impl TaskArgs {
    /// Submits the task; `run_limit` is how long one run of it may take.
    fn submit(&self, context: &Context, run_limit: Option<f64>) -> Result<(Store, Submitted)> {
        let (config, store) = context.workspace()?;
        let wish = self.wish(run_limit)?;
        let checked = check_submit(&config, &context.base, store.now().wall, wish)?;
        for warning in &checked.warnings {
            context.out.warn(warning);
        }
        let submitted = store.submit(checked.task)?;
        if submitted.existing {
            context.out.note(&format!("lanes: {} was submitted before with this key", submitted.task.id));
        }
        Ok((store, submitted))
    }

    pub(super) fn wish(&self, run_limit: Option<f64>) -> Result<SubmitWish> {
        let dash = Path::new("-");
        let (prompt, prompt_file) = match (&self.prompt, &self.prompt_file) {
            (_, Some(file)) if file == dash => (Some(body::from_stdin(MAX_PROMPT_ONLY)?), None),
            (Some(text), None) if text == "-" => (Some(body::from_stdin(MAX_PROMPT_ONLY)?), None),
            (prompt, file) => (prompt.clone(), file.clone()),
        };
        let mut metadata = parse_pairs("--metadata", &self.metadata)?;
        if let Some(depth) = env::depth() {
            // An agent submits: dispatchers count how deep such chains become.
            metadata.push(("dispatch_depth".to_string(), depth.to_string()));
        }
        Ok(SubmitWish {
            task_file: self.task.clone(),
            lane: self.lane.clone(),
            request_from: self.request_from.clone(),
            response_to: self.response_to.clone(),
            prompt,
            prompt_file,
            worktree_path: self.worktree_path.clone(),
            branch: self.branch.clone(),
            metadata,
            source_agent: self.source_agent.clone(),
            correlation_id: self.task_id.clone(),
            supporting: self.supporting.clone(),
            priority: self.priority,
            not_before: self.not_before.as_deref().map(not_before).transpose()?,
            delay_seconds: self.delay,
            max_attempts: self.max_attempts,
            key: self.key.clone(),
            name: self.name.clone(),
            labels: self.label.clone(),
            timeout_seconds: run_limit,
            for_client: false,
            fingerprints: Fingerprints::default(),
        })
    }
}

fn not_before(text: &str) -> Result<Time> {
    Time::parse(text).map_err(|_| {
        Error::invalid(format!("--not-before is no RFC 3339 time: {}", printable(text)))
            .with_hint("write it as 2026-12-24T18:00:00Z, or with an offset such as +01:00 in place of Z")
    })
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
    /// How long one run may take: seconds, or 15m, 2h, 1d
    #[arg(long, value_name = "SPAN", value_parser = span, allow_negative_numbers = true)]
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
            return submit_batch(context, file, &self.task.wish(self.timeout)?);
        }
        let (_, submitted) = self.task.submit(context, self.timeout)?;
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
    /// How long one run may take: seconds, or 15m, 2h, 1d
    #[arg(long, value_name = "SPAN", value_parser = span, allow_negative_numbers = true)]
    run_timeout: Option<f64>,
    #[command(flatten)]
    wait: WaitArgs,
}

impl CallCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<CommandExit> {
        let timing = self.wait.timing()?;
        let (store, submitted) = self.task.submit(context, self.run_timeout)?;
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
