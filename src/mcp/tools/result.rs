//! `result`: returns a part of a task, such as its answer or log, piece by piece.

use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolReply, ToolResult};
use crate::mcp::client::DEFAULT_CHARS;
use crate::mcp::failure::ToolFailure;
use crate::mcp::open_queue::OpenQueue;
use crate::mcp::report_text::TextPiece;
use crate::mcp::request_text::request_text;
use crate::mcp::summary::{answer_of, without_token};
use crate::model::{Event, Task, TaskId, json};

/// The maximum number of bytes that are read of a run's output. A dispatcher keeps less.
const MAX_LOG: u64 = 64 * 1024 * 1024;
/// The file with the output of a run.
const LOG_FILE: &str = "stdout.log";

pub(super) async fn run(call: ToolCall, arguments: Arguments) -> ToolResult {
    let name = arguments.needed_text("id")?.to_string();
    let part = arguments.text("part").unwrap_or("answer").to_string();
    let count = |name: &str, default: usize| -> Result<usize, ToolFailure> {
        Ok(arguments.count(name)?.map_or(default, |n| usize::try_from(n).unwrap_or(usize::MAX)))
    };
    let (offset, max_chars) = (count("offset", 0)?, count("max_chars", DEFAULT_CHARS)?);
    let max_chars = max_chars.min(call.limits.piece_chars);
    call.with_queue(move |queue| {
        let id = queue.store.resolve(&name)?;
        let task = queue.store.read_settled(&id)?;
        let text = without_token(whole_text(queue, &task, &part)?, &task);
        let whole = if part == "answer" { format!("id={id}") } else { format!("id={id} part={part}") };
        Ok(ToolReply::text(TextPiece::of(&text, offset, max_chars).with_cut_line(&whole)))
    })
    .await
}

/// Returns the whole of a part.
fn whole_text(queue: &OpenQueue, task: &Task, part: &str) -> Result<String, ToolFailure> {
    let store = &queue.store;
    match part {
        "json" => {
            let response = answer_of(store, task)?;
            match response.metadata.get("parsed_result").filter(|value| !value.is_null()) {
                Some(parsed) => Ok(parsed.to_string()),
                None => Err(nothing(&task.id, "its answer was not read as JSON", "read part \"answer\"")),
            }
        }
        "log" => {
            let run = store.blobs().attempt_numbers(&task.id)?.pop();
            let attempt = run.map(|run| store.blobs().attempt(&task.id, run)).transpose()?.flatten();
            match attempt.map(|attempt| attempt.read(LOG_FILE, MAX_LOG)).transpose()?.flatten() {
                Some(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
                None => Err(nothing(&task.id, "no run of it has left any output", "read part \"events\"")),
            }
        }
        "prompt" => Ok(request_text(store, task)?),
        "events" => Ok(store.events(&task.id)?.iter().map(event_line).collect::<Vec<_>>().join("\n")),
        _ => Ok(answer_of(store, task)?.body),
    }
}

fn nothing(id: &TaskId, what: &str, remedy: &str) -> ToolFailure {
    ToolFailure { kind: "not_found", what: format!("{id}: {what}"), remedy: Some(remedy.to_string()) }
}

fn event_line(event: &Event) -> String {
    let data = if event.data.is_empty() { String::new() } else { format!(" {}", json::to_line(&event.data)) };
    format!("{} {}: {}{data}", event.created_at, event.kind, event.message)
}
