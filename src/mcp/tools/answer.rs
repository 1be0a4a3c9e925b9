//! `answer`: answers a question that the worker of a task has asked.

use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolReply, ToolResult};
use crate::mcp::failure::ToolFailure;
use crate::model::Command;

pub(super) async fn run(call: ToolCall, arguments: Arguments) -> ToolResult {
    let name = arguments.needed_text("id")?.to_string();
    let number = match arguments.count("question")?.map(u32::try_from) {
        Some(Err(_)) => return Err(ToolFailure::invalid("'question' is too large", "give its number")),
        Some(Ok(number)) => Some(number),
        None => None,
    };
    let answer = Command::AnswerQuestion {
        number,
        text: arguments.needed_text("text")?.to_string(),
        is_choice: false,
        by: call.worker.to_string(),
    };
    call.with_queue(move |queue| {
        let id = queue.store.resolve(&name)?;
        let (task, _) = queue.store.apply(&id, &answer)?;
        Ok(ToolReply::text(format!("answered a question of {id}, which is {} now", task.status.as_str())))
    })
    .await
}
