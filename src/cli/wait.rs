//! `lanes wait`: waits until tasks are answered, or until a lane has a task to claim.

use clap::{ArgGroup, Args};
use serde_json::Value;

use super::args::{LaneQueryArgs, WaitArgs, number};
use super::context::{CommandContext, resolve_all};
use super::exit::CommandExit;
use super::given_messages::wait_until_read;
use super::next;
use super::text_format::seconds;
use super::waiting::{AnsweredTask, WaitGoal, WaitedAnswers, wait_for_answers};
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{Question, ResponseStatus, TaskId};
use crate::store::Store;
use crate::workspace::deliver;

/// Wait until tasks are answered, and deliver their answers.
///
/// Each answer is written to the response path of its task.
///
/// Prints the answer of a single task that was submitted without --response-to, and otherwise the id of each answered
/// task, one per line. With --body it prints the answers; each of several comes after a line `==> ID STATUS <==`.
///
/// Exits with code 0 when the tasks have ended, also when one failed, unless --exit-status is given, and with code 2 when
/// no answer comes before the timeout.
///
/// With --lane instead of ids: waits until a task of the lane can be claimed, and prints its id, without claiming it.
/// Exits with code 0, also when none comes before the timeout.
#[derive(Args, Debug)]
#[command(
    override_usage = "lanes wait [OPTIONS] <ID>...\n       lanes wait [OPTIONS] --group <GROUP>\n       lanes wait [OPTIONS] --lane <LANE>..."
)]
#[command(
    after_help = "Examples:\n  lanes wait d64cf2 --timeout 1h\n  lanes wait --any d64cf2 57ebd2 --body\n  lanes wait --group night --body"
)]
#[command(group(ArgGroup::new("what").args(["ids", "group", "lane"]).required(true)))]
#[command(mut_arg("filter", |filter| filter.conflicts_with_all(["ids", "group"])))]
#[command(mut_arg("lane", |lane| lane.help("Wait until a task of this lane can be claimed; repeatable")))]
pub(super) struct WaitCommand {
    /// The tasks: ids, or unique beginnings or ends of ids
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All tasks that are in this group now, and in place of each that was retried the one that retries it; prints the
    /// id and the state of each
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Return as soon as one of the tasks is answered
    #[arg(long, conflicts_with_all = ["all", "lane"])]
    any: bool,
    /// Return when all of the tasks are answered (the default)
    #[arg(long, conflicts_with = "lane")]
    all: bool,
    /// Exit with code 3 if a task failed
    #[arg(long, conflicts_with = "lane")]
    exit_status: bool,
    /// Also return, with code 5, when a task has an open question, and print the question
    #[arg(long, conflicts_with = "lane")]
    or_question: bool,
    /// Wait until message N to the task is read, instead of until the task is answered
    #[arg(long, value_name = "N", value_parser = number::<u32>, allow_negative_numbers = true,
        conflicts_with_all = ["group", "lane", "any", "all", "exit_status", "or_question", "body"])]
    read: Option<u32>,
    /// Print answers instead of ids
    #[arg(long, conflicts_with_all = ["json", "lane"])]
    body: bool,
    #[command(flatten)]
    want: LaneQueryArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

impl WaitCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        if !self.want.lane.is_empty() {
            return next::wait_on_lanes(context, &self.want, &self.wait, "wait --lane");
        }
        let timing = self.wait.timing()?;
        let store = context.store()?;
        if let Some(number) = self.read {
            return self.wait_for_reader(context, &store, number);
        }
        let ids = match &self.group {
            Some(group) => context.counted_members(&store, group)?,
            None => resolve_all(&store, &self.ids)?,
        };
        let goal =
            WaitGoal { any: self.any, or_question: self.or_question, follows_retries: self.group.is_some() };
        let WaitedAnswers { answered, pending, asking } =
            wait_for_answers(context, &store, &ids, goal, "wait", timing)?;
        let complete = pending.is_empty() || (self.any && !answered.is_empty());
        // An answer that cannot be delivered does not keep the others from being delivered and printed.
        let deliveries: Vec<Delivery> =
            answered.iter().map(|answer| Delivery::of(context, &store, answer)).collect();
        if asking.is_none() || !context.out.json {
            self.render(context, &store, &deliveries, &pending, complete)?;
        }
        let mut failures = deliveries.into_iter().filter_map(|delivery| delivery.failure);
        if let Some(failure) = failures.next() {
            for other in failures {
                context.out.warn(&other.to_string());
            }
            return Err(failure);
        }
        if let Some((id, question)) = asking {
            return print_question(context, &id, &question);
        }
        if !complete {
            let names: Vec<&str> = pending.iter().map(TaskId::as_str).collect();
            let hint = match names[..] {
                [name] => format!("the task continues; wait again, or run `lanes why {name}`"),
                _ => "the tasks continue; wait again, or run `lanes why` for one of them".to_string(),
            };
            if let [name] = names[..] {
                context.out.task_of_failure = Some(name.to_string());
            }
            return Ok(CommandExit::TimedOut {
                message: format!("no answer within {} from {}", seconds(self.wait.timeout), some_of(&names)),
                hint,
            });
        }
        let failed = answered.iter().any(|answer| answer.response.status == ResponseStatus::Failed);
        Ok(if failed && self.exit_status { CommandExit::TaskFailed } else { CommandExit::Done })
    }

    /// Waits until a message is read, and prints by whom and when.
    fn wait_for_reader(
        &self,
        context: &mut CommandContext,
        store: &Store,
        number: u32,
    ) -> Result<CommandExit> {
        let [name] = &self.ids[..] else {
            return Err(Error::invalid("--read is about one task").with_hint("give one id"));
        };
        let id = store.resolve(name)?;
        let Some(message) = wait_until_read(context, store, &id, number, self.wait.timing()?)? else {
            context.out.task_of_failure = Some(id.to_string());
            return Ok(CommandExit::TimedOut {
                message: format!(
                    "nobody has read message {number} of {id} within {}",
                    seconds(self.wait.timeout)
                ),
                hint: format!("wait again, or run `lanes why {id}`"),
            });
        };
        if context.out.json {
            context.out.object(&object([
                ("status", "read".into()),
                ("task_id", id.as_str().into()),
                ("message", Value::Object(message.to_object())),
            ]))?;
        } else if let Some(receipt) = &message.receipt {
            context.out.pair("task_id", id.as_str())?;
            context.out.pair("message", &number.to_string())?;
            context.out.pair("read_by", receipt.by.as_str())?;
            context.out.pair("read_at", &receipt.at.to_string())?;
        }
        Ok(CommandExit::Done)
    }

    fn render(
        &self,
        context: &mut CommandContext,
        store: &Store,
        deliveries: &[Delivery<'_>],
        pending: &[TaskId],
        complete: bool,
    ) -> Result<()> {
        let single = self.ids.len() == 1 && self.group.is_none();
        if context.out.json {
            let mut results =
                deliveries.iter().filter(|delivery| delivery.is_known()).map(Delivery::to_object);
            if single {
                return results.next().map_or(Ok(()), |result| context.out.object(&result));
            }
            let results: Vec<Value> = results.map(Value::Object).collect();
            let pending: Vec<&str> = pending.iter().map(TaskId::as_str).collect();
            let status = if complete { "answered" } else { "timed_out" };
            return context.out.object(&object([
                ("status", status.into()),
                ("results", results.into()),
                ("pending", pending.into()),
            ]));
        }
        for Delivery { answer, failure } in deliveries.iter().filter(|delivery| delivery.is_known()) {
            // An answer that was not written to a response path is printed here; there is no other place for it.
            let is_only_here = failure.is_some() || store.is_response_kept_in_store(&answer.task);
            let name = format!("{} {}", answer.task.id, answer.response.status.as_str());
            if self.body && !single {
                context.out.line(&format!("==> {name} <=="))?;
                print_body(context, &answer.response.body)?;
            } else if self.group.is_some() {
                context.out.line(&name)?;
            } else if self.body || (single && is_only_here) {
                print_body(context, &answer.response.body)?;
            } else if failure.is_none() {
                context.out.line(answer.task.id.as_str())?;
            }
            if answer.response.status == ResponseStatus::Failed {
                context.out.note(&format!("lanes wait: {} failed", answer.task.id));
            }
        }
        Ok(())
    }
}

/// An answer, and why it was not written to its response path if it was not.
struct Delivery<'a> {
    answer: &'a AnsweredTask,
    failure: Option<Error>,
}

impl<'a> Delivery<'a> {
    /// Writes an answer to its response path.
    fn of(context: &CommandContext, store: &Store, answer: &'a AnsweredTask) -> Self {
        let failure = deliver(store, &answer.task, &answer.response, || context.config()).err();
        Self { answer, failure }
    }

    /// Returns whether the answer is durable and may be printed. It is, even if its response path was refused, but
    /// not after an I/O error.
    fn is_known(&self) -> bool {
        self.failure.as_ref().is_none_or(|failure| failure.kind() == ErrorKind::Refused)
    }

    fn to_object(&self) -> Object {
        let response = &self.answer.response;
        let mut result = object([
            ("status", response.status.as_str().into()),
            ("task_id", self.answer.task.id.as_str().into()),
            ("response_path", self.answer.task.response_path.as_str().into()),
            ("response", Value::Object(response.to_object())),
        ]);
        if let Some(failure) = &self.failure {
            result.insert("undelivered".to_string(), failure.message().into());
        }
        result
    }
}

/// Prints an open question that ends a wait.
pub(super) fn print_question(
    context: &mut CommandContext,
    id: &TaskId,
    question: &Question,
) -> Result<CommandExit> {
    if context.out.json {
        context.out.object(&object([
            ("status", "input_required".into()),
            ("task_id", id.as_str().into()),
            ("question", Value::Object(question.to_object())),
        ]))?;
    } else {
        print_body(context, &question.text)?;
        for choice in &question.choices {
            context.out.line(&format!("- {}", printable(choice)))?;
        }
        context
            .out
            .note(&format!("lanes: question {} of {id}; `lanes answer {id}` answers it", question.number));
    }
    Ok(CommandExit::QuestionOpen)
}

/// Prints the text of an answer, and adds a newline at its end if it has none.
pub(super) fn print_body(context: &mut CommandContext, body: &str) -> Result<()> {
    context.out.foreign(body.as_bytes())?;
    if !body.is_empty() && !body.ends_with('\n') {
        context.out.raw(b"\n")?;
    }
    Ok(())
}

/// Lists names, of many the first ones.
fn some_of(names: &[&str]) -> String {
    const MAX_NAMES: usize = 10;
    match names.len().checked_sub(MAX_NAMES) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..MAX_NAMES].join(", ")),
    }
}
