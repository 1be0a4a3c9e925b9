//! The tools of agent-dispatch, for clients that were made for them: its names, arguments and results,
//! translated to the tools of this server.

mod agents;
mod cache;
mod dialogue;
mod dispatch;
mod jobs;
mod records;

use serde_json::Value;

use super::arguments::Arguments;
use super::call::{ToolCall, ToolReply, ToolResult};
use super::failure::ToolFailure;
use crate::model::task::object;

/// Calls a tool by its old name, with arguments that its schema accepts.
///
/// # Errors
/// Why the tool refuses or fails.
pub(super) async fn run(mut call: ToolCall, name: &str, arguments: Arguments) -> ToolResult {
    // Its clients wait for results.
    call.takes_tasks = false;
    match name {
        "dispatch" | "dispatch_stream" => dispatch::one(call, &arguments).await,
        "dispatch_session" => dispatch::turn(call, &arguments).await,
        "dispatch_async" => dispatch::begin(call, &arguments).await,
        "dispatch_parallel" => dispatch::several(call, &arguments).await,
        "dispatch_dialogue" => dialogue::run(call, &arguments).await,
        "dispatch_status" => jobs::status(call, &arguments).await,
        "dispatch_wait" => jobs::wait(call, &arguments).await,
        "dispatch_jobs" => jobs::list(call, &arguments).await,
        "fetch_result" => jobs::fetch(call, &arguments).await,
        "dispatch_cancel" => jobs::cancel(call, &arguments).await,
        "dispatch_gc" => jobs::gc(call, &arguments).await,
        "cache_stats" => cache::figures(call).await,
        "cache_clear" => cache::clear(call).await,
        "list_agents" => agents::list(call).await,
        "inspect_agent" => agents::inspect(call, &arguments).await,
        "add_agent" => agents::add(call, &arguments).await,
        "update_agent" => agents::update(call, &arguments).await,
        "remove_agent" => agents::remove(call, &arguments).await,
        _ => Err(no_groups()),
    }
}

/// Returns a refusal in the form that its clients read.
pub(super) fn error_reply(failure: &ToolFailure) -> ToolReply {
    let error = match &failure.remedy {
        Some(remedy) => format!("{}. Do: {remedy}", failure.what),
        None => failure.what.clone(),
    };
    let object = object([("error", error.into()), ("error_type", failure.kind.into())]);
    ToolReply { is_failure: true, ..reply(object) }
}

fn reply(value: impl Into<Value>) -> ToolReply {
    ToolReply::text(value.into().to_string())
}

fn no_groups() -> ToolFailure {
    ToolFailure::invalid("there are no groups of agents", "name an agent, without a group")
}
