//! What the tool `permission_prompt` needs to know of the run that it asks for.

use std::time::Duration;

use crate::error::{Result, printable};
use crate::model::json::Object;
use crate::model::question::NewQuestion;
use crate::model::{ClaimToken, TaskId};

/// The answers that the question suggests.
pub(super) const ALLOW: &str = "allow";
pub(super) const DENY: &str = "deny";

/// The longest part of the arguments of a call that a question shows, in characters.
const MAX_ARGUMENTS: usize = 4000;
/// The longest part of the name of a tool that it shows, in characters.
const MAX_NAME: usize = 200;

/// The run whose agent asks a person for permissions.
#[derive(Clone, Debug)]
pub(crate) struct PermissionAsker {
    /// Its task.
    pub task_id: TaskId,
    /// The token of its claim.
    pub token: ClaimToken,
    /// How long a question is open; then the call is denied.
    pub expires: Duration,
}

impl PermissionAsker {
    /// Makes the asker of the run that a task's id and a token from the environment describe.
    ///
    /// # Errors
    /// `Invalid` when the id is none.
    pub(crate) fn new(task_id: &str, token: &str, expires: Duration) -> Result<Self> {
        Ok(Self { task_id: TaskId::parse(task_id)?, token: ClaimToken::from_text(token), expires })
    }

    /// Returns the question whether a tool may be called with these arguments.
    pub(super) fn question(&self, tool: &str, input: &Object) -> NewQuestion {
        NewQuestion {
            text: question_text(tool, input),
            choices: vec![ALLOW.to_string(), DENY.to_string()],
            default: Some((DENY.to_string(), self.expires)),
            keeps_claim: true,
            tool: Some(shortened(tool, MAX_NAME)),
        }
    }
}

/// Returns the question for people: one line for each argument, without anything that could be taken for another line.
fn question_text(tool: &str, input: &Object) -> String {
    let mut text = format!("May the agent call {}?", shortened(tool, MAX_NAME));
    let mut left = MAX_ARGUMENTS;
    for (name, value) in input {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        let line = shortened(&format!("{name}: {value}"), left);
        left = left.saturating_sub(line.chars().count());
        text.push_str("\n  ");
        text.push_str(&line);
        if left == 0 {
            text.push_str("\n  … (longer than what is shown here)");
            break;
        }
    }
    text
}

/// Returns the beginning of a text in one line; what cannot be seen is escaped.
fn shortened(text: &str, max_chars: usize) -> String {
    let shown: String = printable(text).chars().take(max_chars + 1).collect();
    match shown.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(input: &serde_json::Value) -> String {
        question_text("Bash", input.as_object().unwrap())
    }

    #[test]
    fn a_question_shows_the_arguments_bounded_and_in_lines_of_their_own() {
        assert_eq!(
            text(&json!({"command": "rm -r build\n  description: harmless\u{202e}", "timeout": 5})),
            "May the agent call Bash?\n  command: rm -r build\\n  description: harmless\\u{202e}\n  timeout: 5"
        );
        assert_eq!(text(&json!({})), "May the agent call Bash?");
        let long = text(&json!({"command": "x".repeat(100_000), "description": "y"}));
        assert!(long.len() < 5000 && long.ends_with("…\n  … (longer than what is shown here)"), "{long}");
    }
}
