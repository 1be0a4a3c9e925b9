//! `lanes event`: adds an event to a task's history.

use clap::Args;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::given_messages::{hand_out, put_messages, unread};
use crate::error::Result;
use crate::model::task::object;
use crate::model::{ClaimToken, Command};
use crate::workspace::parse_pairs;

/// Add an event to a task's history, such as progress.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lanes event d64cf2 --type progress --message 'half way' --data percent=50"
)]
pub(super) struct EventCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
    /// Event type: one word that the queue does not reserve
    #[arg(long = "type", value_name = "WORD", default_value = "note")]
    kind: String,
    /// What happened
    #[arg(long, short, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    message: String,
    /// Details for programs; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    data: Vec<String>,
    /// Token printed by `claim`
    #[arg(long, value_name = "TOKEN")]
    claim_token: Option<String>,
}

impl EventCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let data = parse_pairs("--data", &self.data)?;
        let store = context.store()?;
        let id = store.resolve(&self.id)?;
        let token = self.claim_token.as_ref().map(ClaimToken::from_text);
        let note = Command::Note {
            kind: self.kind.clone(),
            message: self.message.clone(),
            data: data.into_iter().map(|(key, value)| (key, value.into())).collect(),
            token: token.clone(),
        };
        let (task, _) = store.apply(&id, &note)?;
        let messages = if token.is_some() { unread(&task) } else { Vec::new() };
        if context.out.json {
            // The protocol defines exactly these two keys for those who do not hold the task.
            let mut reply = object([("status", "ok".into()), ("task_id", id.as_str().into())]);
            put_messages(&mut reply, &messages);
            context.out.object(&reply)?;
        } else {
            context.out.line(id.as_str())?;
        }
        if let Some(token) = token {
            hand_out(context, &store, &task, &token, &messages)?;
        }
        Ok(CommandExit::Done)
    }
}
