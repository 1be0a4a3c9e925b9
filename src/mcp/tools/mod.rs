//! What each tool does, one file for each.

mod agents;
mod answer;
mod cancel;
mod claim_next;
pub(super) mod delegate;
pub(super) mod dialogue;
mod edit_agent;
mod jobs;
mod permission_prompt;
mod report;
mod respond;
mod result;
pub(super) mod upkeep;
mod wait;

use super::arguments::Arguments;
use super::call::{ToolCall, ToolReply, ToolResult};
use super::failure::ToolFailure;
use super::report_text::{TaskReport, text_of_all};
use crate::model::TaskId;
use crate::store::Store;

/// Calls a tool of the catalog, with arguments that its schema accepts.
///
/// # Errors
/// Why the tool refuses or fails.
pub(super) async fn run(call: ToolCall, name: &str, arguments: Arguments) -> ToolResult {
    match name {
        "delegate" => delegate::run(call, arguments).await,
        "dialogue" => dialogue::run(call, arguments).await,
        "wait" => wait::run(call, arguments).await,
        "result" => result::run(call, arguments).await,
        "jobs" => jobs::run(call, arguments).await,
        "answer" => answer::run(call, arguments).await,
        "cancel" => cancel::run(call, arguments).await,
        "claim_next" => claim_next::run(call, arguments).await,
        "report" => report::run(call, arguments).await,
        "respond" => respond::run(call, arguments).await,
        "agents" => agents::run(call, arguments).await,
        "edit_agent" => edit_agent::run(call, arguments).await,
        "permission_prompt" => permission_prompt::run(call, arguments).await,
        "upkeep" => upkeep::run(call, arguments).await,
        _ => Err(ToolFailure::invalid("the tool is not implemented", "call another one")),
    }
}

/// The maximum number of tasks that one call delegates or names.
pub(super) const MAX_TASKS: usize = 100;

/// Resolves ids, or unique beginnings or ends of ids, to tasks.
fn resolve_all(store: &Store, ids: &[String]) -> Result<Vec<TaskId>, ToolFailure> {
    if ids.len() > MAX_TASKS {
        let what = format!("'ids' has {} ids", ids.len());
        return Err(ToolFailure::invalid(what, format!("give at most {MAX_TASKS} at once")));
    }
    ids.iter().map(|id| Ok(store.resolve(id)?)).collect()
}

/// Returns the reply about tasks, and about those that could not be submitted. A single one whose answer was asked for
/// as JSON is reported as JSON.
fn reply_about(
    call: &ToolCall,
    (failures, warnings): (&[ToolFailure], &[String]),
    reports: &[TaskReport],
    max_chars: usize,
) -> ToolReply {
    let max_chars = max_chars.min(call.limits.result_chars);
    let is_failure = !reports.is_empty() && reports.iter().all(|report| report.failure.is_some());
    if let ([], [report]) = (failures, reports)
        && report.wants_json
        && report.state.is_over()
    {
        let object = report.to_object(max_chars);
        let text = crate::model::json::to_line(&object);
        // JSON cannot be cut; `result` returns what is too large in pieces.
        if text.chars().count() <= call.limits.result_chars {
            return ToolReply { text, structured: Some(object.into()), is_failure, handed_off: None };
        }
    }
    let warnings = warnings.iter().map(|warning| format!("Warning: {warning}"));
    let mut blocks: Vec<String> = failures.iter().map(ToolFailure::text).chain(warnings).collect();
    let room = blocks.iter().map(|block| block.chars().count()).sum();
    blocks.push(text_of_all(reports, max_chars, call.limits.result_chars.saturating_sub(room)));
    ToolReply {
        text: blocks.join("\n\n"),
        structured: None,
        is_failure,
        handed_off: call.handed_off.clone().filter(|_| failures.is_empty()),
    }
}
