//! `lanes wait`: sleep until tasks are answered, or until a lane has one to claim.

use clap::{ArgGroup, Args};
use serde_json::Value;

use super::args::{WaitArgs, WantArgs};
use super::context::{Context, resolve_all};
use super::next;
use super::waiting::{Answered, wait_for_answers};
use crate::error::{EXIT_OK, EXIT_TASK_FAILED, Error, ErrorKind, Result};
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{ResponseStatus, TaskId};
use crate::store::Store;

/// Wait until tasks are answered and write their answers to their response paths.
///
/// With --lane instead of ids: wait until a task of the lane can be claimed, without claiming it.
/// Ends with code 2 when the time is over before an answer.
#[derive(Args, Debug)]
#[command(override_usage = "lanes wait [OPTIONS] <ID>...\n       lanes wait [OPTIONS] --lane <LANE>...")]
#[command(
    after_help = "Examples:\n  lanes wait d64cf2 --timeout 1h\n  lanes wait --any d64cf2 57ebd2 --body"
)]
#[command(group(ArgGroup::new("what").args(["ids", "lane"]).required(true)))]
pub struct WaitCommand {
    /// The tasks: ids, or beginnings or ends that only one id has
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Return as soon as one of the tasks is answered
    #[arg(long, conflicts_with = "all")]
    any: bool,
    /// Return when all of the tasks are answered (the default)
    #[arg(long)]
    all: bool,
    /// End with code 3 when a task failed
    #[arg(long)]
    exit_status: bool,
    /// Print the answer itself instead of the id
    #[arg(long, conflicts_with = "json")]
    body: bool,
    #[command(flatten)]
    want: WantArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

impl WaitCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<u8> {
        if !self.want.lane.is_empty() {
            return next::wait_on_lanes(context, &self.want, &self.wait, "wait --lane");
        }
        let timing = self.wait.timing()?;
        let store = context.store()?;
        let ids = resolve_all(&store, &self.ids)?;
        let (answered, pending) = wait_for_answers(context, &store, &ids, self.any, "wait", timing)?;
        let complete = pending.is_empty() || (self.any && !answered.is_empty());
        // An answer that cannot be delivered keeps no other from being delivered and told.
        let mut delivered = Vec::with_capacity(answered.len());
        let mut failure = None;
        for answer in &answered {
            match deliver(&store, answer) {
                Ok(result) => delivered.push((answer, result)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        self.render(context, &store, delivered, &pending, complete)?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !complete {
            let names: Vec<&str> = pending.iter().map(TaskId::as_str).collect();
            return Err(Error::new(
                ErrorKind::TimedOut,
                format!("no answer within {} seconds from {}", self.wait.timeout, names.join(", ")),
            )
            .with_hint(match names[..] {
                [name] => format!("the task goes on; wait again, or ask `lanes why {name}`"),
                _ => "the tasks go on; wait again, or ask `lanes why` for one of them".to_string(),
            }));
        }
        let failed = answered.iter().any(|answer| answer.response.status == ResponseStatus::Failed);
        Ok(if failed && self.exit_status { EXIT_TASK_FAILED } else { EXIT_OK })
    }

    fn render(
        &self,
        context: &mut Context,
        store: &Store,
        delivered: Vec<(&Answered, Object)>,
        pending: &[TaskId],
        complete: bool,
    ) -> Result<()> {
        let single = self.ids.len() == 1;
        if context.out.json {
            let mut results = delivered.into_iter().map(|(_, result)| Value::Object(result));
            if single {
                return match results.next() {
                    Some(Value::Object(result)) => context.out.object(&result),
                    _ => Ok(()),
                };
            }
            let results: Vec<Value> = results.collect();
            let pending: Vec<&str> = pending.iter().map(TaskId::as_str).collect();
            let status = if complete { "answered" } else { "timed_out" };
            return context.out.object(&object([
                ("status", status.into()),
                ("results", results.into()),
                ("pending", pending.into()),
            ]));
        }
        for (answer, _) in delivered {
            // An answer that was given no place of its own is shown here or nowhere.
            if self.body || (single && store.keeps_answer_of(&answer.task)) {
                print_body(context, &answer.response.body)?;
            } else {
                context.out.line(answer.task.id.as_str())?;
            }
            if answer.response.status == ResponseStatus::Failed {
                context.out.note(&format!("lanes wait: {} failed", answer.task.id));
            }
        }
        Ok(())
    }
}

/// Writes an answer to its response path and tells what was written where.
fn deliver(store: &Store, answer: &Answered) -> Result<Object> {
    let path = store.deliver(&answer.task, &answer.response)?;
    Ok(object([
        ("status", answer.response.status.as_str().into()),
        ("task_id", answer.task.id.as_str().into()),
        ("response_path", path.to_string_lossy().into()),
        ("response", Value::Object(answer.response.to_object())),
    ]))
}

/// Prints an answer's text, ended by a newline so that a prompt does not stick to it.
pub(super) fn print_body(context: &mut Context, body: &str) -> Result<()> {
    context.out.foreign(body.as_bytes())?;
    if !body.is_empty() && !body.ends_with('\n') {
        context.out.raw(b"\n")?;
    }
    Ok(())
}
