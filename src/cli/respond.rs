//! `lanes respond`: answers a task.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::args::number;
use super::body;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::output::Output;
use crate::error::{Error, Result};
use crate::model::response::MAX_BODY;
use crate::model::task::object;
use crate::model::{Answer, AnswerOutcome, ClaimToken, Command, FailureClass, Task, Verdict};
use crate::store::Store;
use crate::workspace::{check_is_not_verified_later, parse_pairs};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StatusArg {
    Completed,
    Failed,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VerdictArg {
    Accept,
    AcceptWithFollowUps,
    NeedsRevision,
}

/// Answer a task.
///
/// The answer is read from --file, --body or standard input. Repeating an answer with the same token
/// and content succeeds and changes nothing; another answer to an answered task is refused.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes respond d64cf2 --claim-token $token --file answer.md")]
pub(super) struct RespondCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
    /// Read the text from this file; `-` is standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// The answer itself; `--body ''` is an empty answer
    #[arg(
        long,
        short = 'm',
        visible_alias = "message",
        value_name = "TEXT",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    body: Option<String>,
    /// Name of the worker that answers
    #[arg(long, default_value = "worker")]
    reviewer: String,
    /// Token printed by `claim`
    #[arg(long, value_name = "TOKEN")]
    claim_token: Option<String>,
    /// How the task ended
    #[arg(long, value_enum, default_value_t = StatusArg::Completed)]
    status: StatusArg,
    /// More work is needed
    #[arg(long)]
    follow_up_required: bool,
    /// Verdict of a review
    #[arg(long, value_enum)]
    verdict: Option<VerdictArg>,
    /// Number of blocking findings; above 0, the verdict must be needs-revision
    #[arg(long, value_name = "N", value_parser = number::<u64>, allow_negative_numbers = true)]
    blocking_count: Option<u64>,
    /// Number of non-blocking findings
    #[arg(long, value_name = "N", value_parser = number::<u64>, allow_negative_numbers = true)]
    nonblocking_count: Option<u64>,
    /// Refuse the answer unless the task's request has this SHA-256
    #[arg(long, value_name = "SHA256")]
    expect_sha256: Option<String>,
    /// Free-form metadata of the answer; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
}

impl RespondCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let metadata = parse_pairs("--metadata", &self.metadata)?;
        let store = context.store()?;
        let id = store.resolve(&self.id)?;
        let answer = Answer {
            token: self.claim_token.as_ref().map(ClaimToken::from_text),
            outcome: match self.status {
                StatusArg::Completed => AnswerOutcome::Completed,
                StatusArg::Failed => AnswerOutcome::Failed(FailureClass::Error),
            },
            verdict: self.verdict.map(|verdict| match verdict {
                VerdictArg::Accept => Verdict::Accept,
                VerdictArg::AcceptWithFollowUps => Verdict::AcceptWithFollowUps,
                VerdictArg::NeedsRevision => Verdict::NeedsRevision,
            }),
            blocking_count: self.blocking_count,
            nonblocking_count: self.nonblocking_count,
            follow_up_required: self.follow_up_required,
            expect_sha256: self.expect_sha256.clone(),
            metadata: metadata.into_iter().map(|(key, value)| (key, value.into())).collect(),
            ..Answer::completed(&self.reviewer, self.read_body(&context.out)?)
        };
        check_is_not_verified_later(&store, &id, &answer)?;
        let (task, _) = store.apply(&id, &Command::Respond(answer))?;
        show(context, &store, &task)?;
        Ok(CommandExit::Done)
    }

    fn read_body(&self, out: &Output) -> Result<String> {
        let (body, source) = match (&self.file, &self.body) {
            (None, Some(body)) => return Ok(body.clone()),
            (Some(file), _) => {
                (body::from_file(out, file, MAX_BODY)?, crate::error::printable(&file.to_string_lossy()))
            }
            (None, None) => (body::from_stdin(out, MAX_BODY)?, "-".to_string()),
        };
        if body.trim().is_empty() {
            let source = if source == "-" { "standard input" } else { source.as_str() };
            let what = if body.is_empty() { "nothing" } else { "nothing but white space" };
            return Err(Error::invalid_here(format!("the answer is empty: {what} came from {source}"))
                .with_hint("if that is intended, give --body ''"));
        }
        Ok(body)
    }
}

fn show(context: &mut CommandContext, store: &Store, task: &Task) -> Result<()> {
    let response = store
        .response(task)?
        .ok_or_else(|| Error::corrupt(format!("the answer to {} cannot be found", task.id)))?;
    // The answer is stored already, even if printing fails.
    let depth = store.queue_depth(&task.spec.lane).map_err(|error| context.out.warn(&error.to_string())).ok();
    let next_action = format!("submitter: `lanes wait {}`; worker: claim the next task or stop", task.id);
    if context.out.json {
        let mut reply = object([
            ("status", response.status.as_str().into()),
            ("task_id", task.id.as_str().into()),
            ("correlation_id", task.spec.correlation_id.clone().into()),
            ("lane", task.spec.lane.clone().into()),
            ("response_path", task.response_path.clone().into()),
            ("next_action", next_action.into()),
            ("response", Value::Object(response.to_object())),
        ]);
        reply.insert("queue_depth".into(), depth.into());
        reply.insert("verdict".into(), response.verdict.into());
        reply.insert("blocking_count".into(), response.blocking_count.into());
        reply.insert("nonblocking_count".into(), response.nonblocking_count.into());
        return context.out.object(&reply);
    }
    let out = &mut context.out;
    out.pair("status", response.status.as_str())?;
    out.pair("task_id", task.id.as_str())?;
    if let Some(verdict) = &response.verdict {
        out.pair("verdict", verdict)?;
    }
    out.pair("response_path", &task.response_path)?;
    match depth {
        Some(depth) => out.pair("queue_depth", &depth.to_string()),
        None => Ok(()),
    }
}
