//! `lanes tell`: sends a message to the worker of a task.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use serde_json::Value;

use super::body;
use super::context::{CommandContext, resolve_all};
use super::each_task::for_each_task;
use super::env;
use super::exit::CommandExit;
use super::output::Output;
use crate::error::{Error, Result};
use crate::model::message::{MAX_TASK_MESSAGE, MessageDelivery};
use crate::model::task::object;
use crate::model::{Command, TaskId};
use crate::store::Store;
use crate::workspace::message_delivery;

/// Send a message to the worker of a task.
///
/// The worker that holds the task gets it with its next `renew`, `event` or `ask`, an agent of a dispatcher after its next
/// tool call or answer, and a later claim gets all messages of the task. `lanes wait ID --read N` waits until message N is read.
#[derive(Args, Debug)]
#[command(
    override_usage = "lanes tell [OPTIONS] <ID> <TEXT>\n       lanes tell [OPTIONS] --group <GROUP> <TEXT>"
)]
#[command(after_help = "Examples:\n  lanes tell d64cf2 -m 'Use the branch release-2.'\n  \
                  lanes tell --group night 'Finish within the hour.'\n  lanes tell d64cf2 --file findings.md")]
#[command(group(ArgGroup::new("what").args(["id", "group"]).required(true).multiple(true)))]
pub(super) struct TellCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// The message; `-` reads it from standard input
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// Send it to all open tasks of this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// The message, instead of TEXT
    #[arg(long, short, value_name = "TEXT", conflicts_with_all = ["file", "text"], allow_hyphen_values = true)]
    message: Option<String>,
    /// Read the text from this file; `-` is standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Name of the person who does it [default: $USER]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl TellCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        // With a group, there is no id, and the text comes first.
        let (id, words) = match (&self.group, &self.id, &self.text) {
            (None, id, text) => (id.as_ref(), text.as_ref()),
            (Some(_), word, None) => (None, word.as_ref()),
            (Some(_), _, Some(_)) => {
                return Err(Error::invalid("--group sends the message to all tasks of a group")
                    .with_hint("give no id with it"));
            }
        };
        let store = context.store()?;
        let ids = match (&self.group, id) {
            (Some(group), _) => context.group_members(&store, group, &|task| !task.is_terminal())?,
            (None, Some(id)) => resolve_all(&store, std::slice::from_ref(id))?,
            (None, None) => Vec::new(),
        };
        if ids.is_empty() {
            context.out.note("lanes: no open tasks to send it to");
        }
        let text = self.read_text(&context.out, words)?;
        let by = self.by.clone().unwrap_or_else(env::user);
        let several = self.group.is_some();
        for_each_task(context, &ids, several, |context, id| tell(context, &store, id, &text, &by, several))
    }

    fn read_text(&self, out: &Output, words: Option<&String>) -> Result<String> {
        if let Some(message) = &self.message {
            return match words {
                Some(_) => {
                    Err(Error::invalid("both TEXT and --message were given").with_hint("give one of them"))
                }
                None => Ok(message.clone()),
            };
        }
        let text = match (words, &self.file) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("both TEXT and --file were given").with_hint("give one of them"));
            }
            (Some(words), None) if words != "-" => return Ok(words.clone()),
            (Some(_), None) => body::from_stdin(out, MAX_TASK_MESSAGE)?,
            (None, Some(file)) => body::from_file(out, file, MAX_TASK_MESSAGE)?,
            (None, None) => {
                return Err(Error::invalid("no message was given")
                    .with_hint("give TEXT, -m TEXT, --file PATH, or - for standard input"));
            }
        };
        // A file or a pipe ends with a line break that is not part of the message.
        Ok(text.trim_end_matches(['\n', '\r']).to_string())
    }
}

/// Tells one task, and returns the lines and the object to print.
fn tell(
    context: &CommandContext,
    store: &Store,
    id: &TaskId,
    text: &str,
    by: &str,
    several: bool,
) -> Result<(String, crate::model::json::Object)> {
    let (task, _) = store.apply(id, &Command::Tell { text: text.to_string(), by: by.to_string() })?;
    let delivery = message_delivery(store, &task);
    let message = task.messages.last();
    let number = message.map_or(0, |message| message.number);
    if !several {
        let holder = task.status.claim().map_or("a worker", |claim| claim.owner.as_str());
        let how = match delivery {
            MessageDelivery::Claim => "it is read with the next claim".to_string(),
            MessageDelivery::Holder => format!("{holder} reads it with its next renewal, event or question"),
            MessageDelivery::Run => {
                format!("the agent of {holder} reads it after its next tool call, or once it has answered")
            }
            MessageDelivery::Prompt => format!("the agent of {holder} reads it with its next prompt"),
        };
        context.out.note(&format!("lanes tell: {how}; `lanes wait {id} --read {number}` waits for that"));
    }
    let separator = if several { " " } else { "\n" };
    let line = [
        format!("task_id={id}"),
        format!("message={number}"),
        format!("delivery={}", delivery.as_str()),
        "read=no".to_string(),
    ]
    .join(separator);
    let reply = object([
        ("status", "told".into()),
        ("task_id", id.as_str().into()),
        ("message", message.map(|message| Value::Object(message.to_object())).into()),
        ("delivery", delivery.as_str().into()),
        ("state", store.shown(task).status.as_str().into()),
    ]);
    Ok((line, reply))
}
