//! Messages to the workers of a task: sent while it is open, marked as read under a claim.

use serde_json::Value;

use super::question::first_line;
use super::{Effect, TransitionContext, current_claim};
use crate::error::Result;
use crate::model::id::ClaimToken;
use crate::model::message::{MessageReceipt, TaskMessage, check_message};
use crate::model::refusal::{Refusal, TaskEnd};
use crate::model::task::{Status, Task, object};

/// Adds a message to an open task, whether it is claimed or not.
///
/// # Errors
/// `Refused` when the task has ended; `Invalid` for a message that breaks a limit.
pub(super) fn tell(task: &mut Task, context: &TransitionContext<'_>, text: &str, by: &str) -> Result<Effect> {
    if task.status.is_terminal() || matches!(task.status, Status::Unknown(_)) {
        return Err(Refusal::MessageTooLate { id: task.id.clone(), end: TaskEnd::of(&task.status) }.into());
    }
    check_message(&task.id, &task.messages, text, by)?;
    let now = context.now.wall;
    let number = task.messages.last().map_or(0, |message| message.number).saturating_add(1);
    let line = first_line(text);
    let data = object([("n", number.into()), ("by", by.into()), ("message", line.clone().into())]);
    task.record(now, "told", format!("message {number} from {by}: {line}"), data);
    task.messages.push(TaskMessage {
        number,
        text: text.to_string(),
        sent_by: by.to_string(),
        sent_at: now,
        receipt: None,
        extra: Default::default(),
    });
    Ok(Effect::Changed)
}

/// Records that the holder of the claim has been given the messages up to the number `through`. Those that were read
/// before stay as they are.
///
/// # Errors
/// `Refused` when `token` is not that of the current claim.
pub(super) fn read_messages(
    task: &mut Task,
    context: &TransitionContext<'_>,
    token: &ClaimToken,
    through: u32,
) -> Result<Effect> {
    let owner = current_claim(task, token, "read the messages to")?.owner.clone();
    let now = context.now.wall;
    let mut read = Vec::new();
    for message in &mut task.messages {
        if message.receipt.is_none() && message.number <= through {
            message.receipt = Some(MessageReceipt { by: owner.clone(), at: now });
            read.push(message.number);
        }
    }
    let (Some(first), Some(last)) = (read.first(), read.last()) else { return Ok(Effect::Unchanged) };
    let numbers =
        if first == last { format!("message {first}") } else { format!("messages {first} to {last}") };
    let text = format!("{numbers} read by {owner}");
    let data = object([("owner", owner.into()), ("n", Value::from(read))]);
    task.record(now, "read", text, data);
    Ok(Effect::Changed)
}
