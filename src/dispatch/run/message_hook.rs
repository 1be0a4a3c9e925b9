//! The hook that brings messages into the run of an agent, where its program has hooks.

use crate::dispatch::config::served_lane::ServedLane;
use crate::model::message::MessageTime;

/// The command of the hook that brings messages to an agent after a tool call. It must not fail: a program that is called
/// so would show that to the model. The token is not part of it, since everybody sees the arguments of a program.
const HOOK_COMMAND: &str =
    r#"lanes messages "$LANES_TASK_ID" --claim-token "$LANES_CLAIM_TOKEN" --hook 2>/dev/null || true"#;
/// How long the hook may take, in seconds.
const HOOK_TIMEOUT: u32 = 10;

/// Returns the settings with that hook, in the form of claude.
pub(super) fn message_hook() -> String {
    let hook = serde_json::json!({"type": "command", "command": HOOK_COMMAND, "timeout": HOOK_TIMEOUT});
    serde_json::json!({"hooks": {"PostToolUse": [{"hooks": [hook]}]}}).to_string()
}

/// Returns when the agents of a lane get a message that comes while they work, if at all.
pub(crate) fn message_time(served: &ServedLane) -> Option<MessageTime> {
    let vendor = &served.vendor;
    match &vendor.resume_args {
        _ if vendor.takes_messages_in_run() => Some(MessageTime::ToolCall),
        Some(_) => Some(MessageTime::Answer),
        None => None,
    }
}
