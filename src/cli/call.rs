//! `lanes call`: submits a task and prints its answer.

use clap::Args;
use serde_json::Value;

use super::args::{WaitArgs, seconds};
use super::context::CommandContext;
use super::exit::CommandExit;
use super::submit::submit;
use super::task_args::{TaskArgs, run_timeout_help};
use super::text_format;
use super::wait::{print_body, print_question};
use super::waiting::{WaitGoal, wait_for_answers};
use crate::error::{ErrorKind, Result};
use crate::model::ResponseStatus;
use crate::model::task::object;
use crate::workspace::deliver;

/// Submit a task, wait for its answer and print it.
///
/// Exits with code 3 when the task failed and with 2 on timeout; the task then continues, and
/// `lanes wait` can fetch its answer later.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lanes call review 'Is the lock fair?'\n  git diff | lanes call --lane review --prompt-file -"
)]
pub(super) struct CallCommand {
    #[command(flatten)]
    task: TaskArgs,
    #[arg(
        long, value_name = "SPAN", value_parser = seconds, allow_negative_numbers = true, help = run_timeout_help()
    )]
    run_timeout: Option<f64>,
    /// Also return, with code 5, when a task has an open question, and print the question
    #[arg(long)]
    or_question: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

impl CallCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let timing = self.wait.timing()?;
        let (store, submitted) = submit(&self.task, context, self.run_timeout)?;
        let id = submitted.task.id.clone();
        // Whatever happens now, the caller can find the task again.
        context.out.task_of_failure = Some(id.to_string());
        let ids = std::slice::from_ref(&id);
        let goal = WaitGoal { any: false, or_question: self.or_question, follows_retries: false };
        let mut end = wait_for_answers(context, &store, ids, goal, "call", timing)?;
        if let Some((id, question)) = end.asking {
            return print_question(context, &id, &question);
        }
        let Some(answer) = end.answered.pop() else {
            return Ok(CommandExit::TimedOut {
                message: format!("no answer to {id} within {}", text_format::seconds(self.wait.timeout)),
                hint: format!("the task continues; fetch its answer with `lanes wait {id}`"),
            });
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
