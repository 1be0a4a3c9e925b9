//! Reads the keys of a task's metadata that concern its run.

use serde_json::Value;

use super::output::one_line;
use crate::model::Task;

/// The key with the number of tasks that have followed one another before a task.
pub(super) const FOLLOW_UP_DEPTH: &str = "follow_up_depth";

/// Returns the text at `key` in the task's metadata, trimmed; `None` if it is missing, empty or not text.
pub(super) fn metadata_text<'a>(task: &'a Task, key: &str) -> Option<&'a str> {
    task.spec.metadata.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}

/// Returns the session id of the conversation that the task resumes.
///
/// # Errors
/// A message for people if the id is not text.
pub(super) fn session_id(task: &Task) -> Result<Option<&str>, String> {
    match task.spec.metadata.get("session_id") {
        None | Some(Value::Null | Value::String(_)) => Ok(metadata_text(task, "session_id")),
        Some(other) => {
            let shown = one_line(&other.to_string(), 80);
            Err(format!(
                "session_id in the task's metadata must be text, the id of a conversation, not {shown}"
            ))
        }
    }
}

/// Returns the session of the chat that has delegated the task. Servers give at most 200 characters.
pub(super) fn mcp_session(task: &Task) -> Option<String> {
    const LONGEST: usize = 800;
    metadata_text(task, "mcp_session").filter(|session| session.len() <= LONGEST).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::testing;

    #[test]
    fn a_conversation_and_a_session_are_text() {
        let mut task = testing::task();
        assert_eq!(session_id(&task), Ok(None));
        for (given, expected) in [("chat".to_string(), Some("chat")), ("x".repeat(801), None)] {
            task.spec.metadata.insert("mcp_session".to_string(), given.into());
            assert_eq!(mcp_session(&task).as_deref(), expected);
        }
        task.spec.metadata.insert("session_id".to_string(), "s1".into());
        assert_eq!(session_id(&task), Ok(Some("s1")));
        task.spec.metadata.insert("session_id".to_string(), Value::Null);
        assert_eq!(session_id(&task), Ok(None));
        task.spec.metadata.insert("session_id".to_string(), 17.into());
        assert!(session_id(&task).expect_err("no text").ends_with("not 17"));
    }
}
