//! `lanes messages`: gives the holder of a task the messages that nobody has read.

use clap::Args;
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::given_messages::unread;
use super::wait::print_body;
use crate::dispatch::prompt::messages_note;
use crate::error::{Result, printable};
use crate::model::message::messages_value;
use crate::model::task::object;
use crate::model::{ClaimState, ClaimToken, Command, Task, TaskMessage};
use crate::workspace::mark_messages_read;

/// Print the unread messages to a task that you hold.
///
/// They then count as read. `renew`, `event` and `ask` print them too; this command changes nothing else.
/// Prints nothing when there is none.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes messages d64cf2 --claim-token $token")]
pub(super) struct MessagesCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
    /// Token printed by `claim`
    #[arg(long, value_name = "TOKEN")]
    claim_token: String,
    /// Print what a hook of claude has to print so that its model reads them
    #[arg(long, conflicts_with = "json")]
    hook: bool,
}

impl MessagesCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let task = store.task(&store.resolve(&self.id)?)?;
        let token = ClaimToken::from_text(&self.claim_token);
        if task.claim_state(&token) != ClaimState::Held {
            // It is refused, with the reason.
            store.apply(&task.id, &Command::ReadMessages { token: token.clone(), through: 0 })?;
        }
        let messages = unread(&task);
        self.print(context, &task, &messages)?;
        context.out.flush()?;
        mark_messages_read(&store, &task, &token);
        Ok(CommandExit::Done)
    }

    fn print(&self, context: &mut CommandContext, task: &Task, messages: &[TaskMessage]) -> Result<()> {
        if context.out.json {
            return context.out.object(&object([
                ("status", "ok".into()),
                ("task_id", task.id.as_str().into()),
                ("messages", messages_value(messages)),
            ]));
        }
        if self.hook {
            if messages.is_empty() {
                return Ok(());
            }
            let output = object([
                ("hookEventName", "PostToolUse".into()),
                ("additionalContext", messages_note(task.id.as_str(), messages).into()),
            ]);
            return context.out.object_line(&object([("hookSpecificOutput", Value::Object(output))]));
        }
        for message in messages {
            let (number, by) = (message.number, printable(&message.sent_by));
            let at = context.out.time(message.sent_at);
            context.out.line(&format!("message {number} from {by} ({at}):"))?;
            print_body(context, &message.text)?;
        }
        Ok(())
    }
}
