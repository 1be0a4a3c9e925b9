//! `answer`: answers a question that the worker of a task has asked, or tells it something.

use crate::error::Error;
use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolReply, ToolResult};
use crate::mcp::failure::ToolFailure;
use crate::model::Command;
use crate::model::message::MessageDelivery;
use crate::model::question::is_about_tool;
use crate::workspace::message_delivery;

pub(super) async fn run(call: ToolCall, arguments: Arguments) -> ToolResult {
    let name = arguments.needed_text("id")?.to_string();
    let number = match arguments.count("question")?.map(u32::try_from) {
        Some(Err(_)) => return Err(ToolFailure::invalid("'question' is too large", "give its number")),
        Some(Ok(number)) => Some(number),
        None => None,
    };
    if arguments.flag("tell") {
        return tell(call, name, arguments.needed_text("text")?.to_string()).await;
    }
    let answer = Command::AnswerQuestion {
        number,
        text: arguments.needed_text("text")?.to_string(),
        is_choice: false,
        by: call.worker.to_string(),
    };
    let is_agent = call.chain.is_some();
    call.with_queue(move |queue| {
        let id = queue.store.resolve(&name)?;
        if is_agent && is_about_tool(&queue.store.task(&id)?.questions, number) {
            return Err(ToolFailure::from(Error::refused(
                "whether an agent may call a tool is for a person to say",
            )));
        }
        let (task, _) = queue.store.apply(&id, &answer)?;
        let status = queue.store.shown(task).status;
        Ok(ToolReply::text(format!("answered a question of {id}, which is {} now", status.as_str())))
    })
    .await
}

/// Sends a message to the worker of a task.
async fn tell(call: ToolCall, name: String, text: String) -> ToolResult {
    let tell = Command::Tell { text, by: String::from(&call.worker) };
    call.with_queue(move |queue| {
        let id = queue.store.resolve(&name)?;
        let (task, _) = queue.store.apply(&id, &tell)?;
        let number = task.messages.last().map_or(0, |message| message.number);
        let how = match message_delivery(&queue.store, &task) {
            MessageDelivery::Claim => "a worker gets it with the next claim",
            MessageDelivery::Holder => "its worker gets it with its next report",
            MessageDelivery::Run => "its agent gets it after its next tool call, or once it has answered",
            MessageDelivery::Prompt => "its agent gets it with its next prompt",
        };
        Ok(ToolReply::text(format!("sent message {number} to {id}; {how}")))
    })
    .await
}
