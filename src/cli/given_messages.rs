//! Messages to the workers of tasks: printed for the holder of a claim, and the wait until one is read.

use super::args::WaitTiming;
use super::context::CommandContext;
use super::output::WaitLine;
use super::text_format::{SHORTEST_ID, end_of_id, format_duration};
use crate::error::{Error, Result, printable};
use crate::model::json::Object;
use crate::model::message::messages_value;
use crate::model::{ClaimToken, Task, TaskId, TaskMessage};
use crate::store::Store;
use crate::workspace::mark_messages_read;

/// Adds messages to the JSON reply of a command of a worker, if there are any.
pub(super) fn put_messages(reply: &mut Object, messages: &[TaskMessage]) {
    if !messages.is_empty() {
        reply.insert("messages".into(), messages_value(messages));
    }
}

/// Returns the messages of a task that no worker has been given yet.
pub(super) fn unread(task: &Task) -> Vec<TaskMessage> {
    task.unread_messages().cloned().collect()
}

/// Completes a command of the holder of a claim that has printed its reply: prints `messages` on standard error, unless
/// the reply was JSON and had them, and records that the holder has all that are in `task`. They are only recorded
/// once they were written, so that a worker that is killed before gets them again.
///
/// # Errors
/// `Io` when standard output cannot be written.
pub(super) fn hand_out(
    context: &mut CommandContext,
    store: &Store,
    task: &Task,
    token: &ClaimToken,
    messages: &[TaskMessage],
) -> Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    context.out.flush()?;
    if context.out.json || print_messages(context, task, messages) {
        mark_messages_read(store, task, token);
    }
    Ok(())
}

/// Prints messages on standard error. Returns whether they were written.
pub(super) fn print_messages(context: &CommandContext, task: &Task, messages: &[TaskMessage]) -> bool {
    messages.iter().all(|message| {
        let (number, by) = (message.number, printable(&message.sent_by));
        let at = context.out.time(message.sent_at);
        let head = format!("lanes: message {number} to {} from {by} ({at}):", task.id);
        let lines = message.text.trim_end().lines().map(|line| format!("\n  {}", printable(line)));
        context.out.message(&format!("{head}{}", lines.collect::<String>()))
    })
}

/// Waits until a message is read, and returns it then; `None` at the timeout.
///
/// # Errors
/// `Refused` when the task has no such message, or has ended before it was read.
pub(super) fn wait_until_read(
    context: &CommandContext,
    store: &Store,
    id: &TaskId,
    number: u32,
    mut timing: WaitTiming,
) -> Result<Option<TaskMessage>> {
    let mut watch = store.watch_tasks_until_exit(std::slice::from_ref(id));
    let line = WaitLine::new(&context.out);
    loop {
        let task = store.read_settled(id)?;
        let message = task.messages.iter().find(|message| message.number == number);
        let Some(message) = message else {
            return Err(Error::refused(format!("{id} has no message {number}"))
                .with_hint(format!("`lanes show {id}` lists its messages")));
        };
        if message.receipt.is_some() {
            return Ok(Some(message.clone()));
        }
        if task.status.is_terminal() {
            let state = task.status.as_str();
            return Err(Error::refused(format!("{id} is {state}, and nobody has read message {number}")));
        }
        let over = timing.is_over();
        let shown = store.shown(task);
        let state = shown.status.as_str();
        if !line.is_shown() && (timing.heartbeat_due() || (over && timing.has_heartbeat())) {
            context.out.note(&format!("lanes: {id} is {state}; message {number} is not read yet"));
        }
        if over {
            return Ok(None);
        }
        line.sleep(&mut watch, timing.sleep_until(None), |lasted| {
            let (end, lasted) = (end_of_id(id.as_str(), SHORTEST_ID), format_duration(lasted.as_secs_f64()));
            format!("waiting until message {number} to {end} is read · {lasted} · {end} is {state}")
        });
    }
}
