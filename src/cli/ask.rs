//! `lanes ask`: asks a question about a claimed task.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args};

use super::args::{DEFAULT_WAIT, deadline, seconds, span};
use super::body;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::given_messages::{hand_out, print_messages, put_messages, unread};
use super::output::{Output, WaitLine};
use super::text_format::{SHORTEST_ID, end_of_id, format_duration};
use super::wait::print_body;
use crate::error::{Error, Result};
use crate::model::question::{MAX_QUESTION, NewQuestion, Question};
use crate::model::task::object;
use crate::model::{ClaimState, ClaimToken, Command, Refusal, Status, Task, TaskId, TaskMessage};
use crate::store::Store;

/// Ask a question about a task that you hold.
///
/// The task then waits for the answer in the state input_required: your claim ends, the attempt does not
/// count, and the next claim after the answer has question and answer with it. With --wait you
/// keep the claim, which is renewed, and the answer is printed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes ask d64cf2 --claim-token $token --question 'Which database?'\n  \
                  lanes ask d64cf2 --claim-token $token --question 'Delete it?' --choice yes --choice no \
                  --default no --expires 2h --wait")]
#[command(group(ArgGroup::new("what").args(["question", "file"]).required(true)))]
pub(super) struct AskCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
    /// Token printed by `claim`
    #[arg(long, value_name = "TOKEN")]
    claim_token: String,
    /// The question
    #[arg(long, short = 'm', visible_alias = "message", value_name = "TEXT", allow_hyphen_values = true)]
    question: Option<String>,
    /// Read the text from this file; `-` is standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// An answer that you suggest; repeatable
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    choice: Vec<String>,
    /// The answer that counts if nobody gives another one within --expires
    #[arg(long, value_name = "TEXT", requires = "expires", allow_hyphen_values = true)]
    default: Option<String>,
    /// When the default applies: after this long, such as 15m or 2h
    #[arg(long, value_name = "SPAN", value_parser = span, requires = "default", allow_negative_numbers = true)]
    expires: Option<Duration>,
    /// Keep the claim, wait for the answer and print it
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this long: seconds, or 15m, 2h, 1d [default: 6h]
    #[arg(long, value_name = "SPAN", value_parser = seconds, requires = "wait", allow_negative_numbers = true)]
    timeout: Option<f64>,
}

impl AskCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let until = deadline(self.timeout.unwrap_or(DEFAULT_WAIT))?;
        let store = context.store()?;
        let id = store.resolve(&self.id)?;
        let token = ClaimToken::from_text(&self.claim_token);
        let question = NewQuestion {
            text: self.read_question(&context.out)?,
            choices: self.choice.clone(),
            default: self.default.clone().zip(self.expires),
            keeps_claim: self.wait,
            tool: None,
        };
        let (task, _) = store.apply(&id, &Command::Ask { token: token.clone(), question })?;
        let number = task.questions.last().map_or(0, |question| question.number);
        if !self.wait {
            return show(context, &task, number);
        }
        context
            .out
            .note(&format!("lanes ask: question {number} of {id} is open; `lanes answer {id}` answers it"));
        match wait_for_answer(context, &store, (&id, number), &token, until)? {
            Some((task, question)) => {
                let messages = unread(&task);
                print_answer(context, &id, &question, &messages)?;
                hand_out(context, &store, &task, &token, &messages)?;
                Ok(CommandExit::Done)
            }
            None => {
                context.out.task_of_failure = Some(id.to_string());
                Ok(CommandExit::TimedOut {
                    message: format!("no answer to question {number} of {id} in time"),
                    hint: "the question stays open, and the claim is still yours".to_string(),
                })
            }
        }
    }

    fn read_question(&self, out: &Output) -> Result<String> {
        match (&self.question, &self.file) {
            (Some(text), _) => Ok(text.clone()),
            (None, Some(file)) => body::from_file(out, file, MAX_QUESTION),
            (None, None) => Err(Error::invalid("no question was given").with_hint("give --question")),
        }
    }
}

/// Prints the reply about a question that was asked.
fn show(context: &mut CommandContext, task: &Task, number: u32) -> Result<CommandExit> {
    // The claim is over, so the worker that gets the answer gets them too.
    let messages = unread(task);
    if context.out.json {
        let mut reply = object([
            ("status", "asked".into()),
            ("task_id", task.id.as_str().into()),
            ("question", number.into()),
            ("state", task.status.as_str().into()),
        ]);
        put_messages(&mut reply, &messages);
        context.out.object(&reply)?;
    } else {
        context.out.pair("task_id", task.id.as_str())?;
        context.out.pair("question", &number.to_string())?;
        context.out.pair("state", task.status.as_str())?;
        print_messages(context, task, &messages);
    }
    Ok(CommandExit::Done)
}

/// Waits until a question is answered, and renews the claim meanwhile. Returns the task and the question, or `None` at
/// the deadline.
///
/// # Errors
/// `Refused` when the claim is lost.
fn wait_for_answer(
    context: &CommandContext,
    store: &Store,
    (id, number): (&TaskId, u32),
    token: &ClaimToken,
    until: Instant,
) -> Result<Option<(Task, Question)>> {
    let mut watch = store.watch_tasks_until_exit(std::slice::from_ref(id));
    let line = WaitLine::new(&context.out);
    let mut renewed_at = Instant::now();
    loop {
        let mut task = store.read_settled(id)?;
        let Some(claim) = task.status.claim().filter(|_| task.claim_state(token) == ClaimState::Held) else {
            return Err(lost(task));
        };
        let lease = claim.lease.map_or(0.0, |lease| lease.as_secs_f64()).max(1.0);
        let renewal = renewed_at + Duration::from_secs_f64(lease / 3.0);
        let asked = task.questions.iter().position(|question| question.number == number);
        let Some(question) = asked.map(|place| task.questions.swap_remove(place)) else {
            return Err(Error::corrupt(format!("question {number} of {id} is gone")));
        };
        if question.answer.is_some() {
            return Ok(Some((task, question)));
        }
        let now = Instant::now();
        if now >= until {
            return Ok(None);
        }
        if now >= renewal {
            store.apply(id, &Command::Renew { token: token.clone(), lease: None })?;
            renewed_at = now;
            continue;
        }
        let expiry = question.default.as_ref().map(|default| {
            let left = default.expires_at.seconds_since(store.now().wall).clamp(0.0, 3600.0);
            now + Duration::from_secs_f64(left) + Duration::from_millis(1)
        });
        line.sleep(&mut watch, until.min(renewal).min(expiry.unwrap_or(until)), |lasted| {
            let (end, lasted) = (end_of_id(id.as_str(), SHORTEST_ID), format_duration(lasted.as_secs_f64()));
            format!("waiting for the answer to question {number} of {end} · {lasted}")
        });
    }
}

/// Returns the refusal for a worker whose claim has ended while it waited.
fn lost(task: Task) -> Error {
    match &task.status {
        Status::Claimed(claim) => {
            let (owner, since) = (claim.owner.clone(), claim.claimed_at);
            Refusal::NotHolder { id: task.id, verb: "wait for an answer about", owner, since }.into()
        }
        status => {
            let state = status.as_str().to_string();
            Refusal::NotClaimed { id: task.id, verb: "wait for an answer about", state }.into()
        }
    }
}

fn print_answer(
    context: &mut CommandContext,
    id: &TaskId,
    question: &Question,
    messages: &[TaskMessage],
) -> Result<()> {
    let Some(answer) = &question.answer else { return Ok(()) };
    if context.out.json {
        let mut reply = question.to_object();
        reply.insert("status".into(), "answered".into());
        reply.insert("task_id".into(), id.as_str().into());
        put_messages(&mut reply, messages);
        context.out.object(&reply)?;
    } else {
        print_body(context, &answer.text)?;
    }
    Ok(())
}
