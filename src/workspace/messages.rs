//! Messages to the workers of tasks: how they get there, and that they have them.

use crate::model::message::{MessageDelivery, MessageTime};
use crate::model::{ClaimToken, Command, Task, TaskMessage};
use crate::store::Store;

/// Returns how messages to an open task that nobody has read reach a worker. If the running workers cannot be listed, no
/// dispatcher is assumed: the message was sent already.
pub(crate) fn message_delivery(store: &Store, task: &Task) -> MessageDelivery {
    let Some(claim) = task.status.claim().filter(|_| task.lease_is_live(&store.now())) else {
        return MessageDelivery::Claim;
    };
    let workers = store.live_workers().unwrap_or_default();
    let Some(dispatcher) = workers.iter().find(|worker| worker.claimed_with(&claim.token)) else {
        return MessageDelivery::Holder;
    };
    match dispatcher.runs().get(&task.id).and_then(|run| run.messages) {
        Some(MessageTime::ToolCall) => MessageDelivery::Run,
        Some(MessageTime::Answer) => MessageDelivery::Prompt,
        None => MessageDelivery::Claim,
    }
}

/// Records that the holder of a claim has been given all messages in `task`. To be called after they were: if it cannot
/// be recorded, as after the end of the claim, a worker gets them again.
pub(crate) fn mark_messages_read(store: &Store, task: &Task, token: &ClaimToken) {
    if let Some(last) = task.unread_messages().last() {
        let read = Command::ReadMessages { token: token.clone(), through: last.number };
        let _ = store.apply(&task.id, &read);
    }
}

/// Returns the messages in `task` that nobody has been given yet, for the holder of its claim, and records that it has
/// them.
pub(crate) fn take_messages(store: &Store, task: &Task, token: &ClaimToken) -> Vec<TaskMessage> {
    mark_messages_read(store, task, token);
    task.unread_messages().cloned().collect()
}
