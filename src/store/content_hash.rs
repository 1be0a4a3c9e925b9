//! The hash that two submits of the same content have in common.

use serde_json::Value;

use crate::model::{ExclusiveKey, NewRequest, NewTask, Sha256, json};
use crate::sha256::sha256_bytes;

/// Metadata that tells who asked: a chat that repeats a request with a key may be another session by then.
const NOT_CONTENT: [&str; 1] = ["mcp_session"];

/// Returns the hash that two submits of the same content have in common: of everything the worker sees, but
/// not of time and order, nor of who asked.
pub(super) fn content_hash(new: &NewTask) -> Sha256 {
    let (request_path, request) = match &new.request {
        NewRequest::File { path, sha256 } => (Some(path.as_str()), sha256.clone()),
        NewRequest::Text(text) => (None, sha256_bytes(text.as_bytes())),
    };
    let supporting =
        new.spec.supporting_paths.iter().map(|file| serde_json::json!([file.path, file.sha256.as_str()]));
    let mut metadata = new.spec.metadata.clone();
    NOT_CONTENT.iter().for_each(|key| drop(metadata.remove(*key)));
    // Parsed as the next reader of task.json parses it, which decides how a number is written.
    let metadata = json::parse_object(json::to_line(&metadata).as_bytes()).unwrap_or(metadata);
    // Not with `json!`, which cannot represent Python's NaN.
    let mut content = vec![
        new.spec.workspace_id.as_str().into(),
        new.spec.correlation_id.as_str().into(),
        new.spec.lane.as_str().into(),
        new.spec.workspace_root.as_str().into(),
        new.spec.worktree_path.as_deref().into(),
        new.spec.expected_branch.as_deref().into(),
        request_path.into(),
        request.into(),
        supporting.collect(),
        new.response_path.as_deref().into(),
        new.spec.prompt.as_str().into(),
        metadata.into(),
    ];
    // Only where there are any: a content hash never changes.
    if !new.spec.after.is_empty() {
        let after = new.spec.after.iter().map(|it| serde_json::json!([it.task.as_str(), it.on.as_str()]));
        content.push(after.collect());
    }
    if !new.spec.verify.is_empty() {
        content.push(serde_json::json!({"verify": new.spec.verify}));
    }
    if !new.spec.exclusive.is_empty() {
        let keys: Vec<&str> = new.spec.exclusive.iter().map(ExclusiveKey::as_str).collect();
        content.push(serde_json::json!({ "exclusive": keys }));
    }
    if let Some(schema) = &new.spec.schema {
        content.push(serde_json::json!({"schema": schema.as_object()}));
    }
    sha256_bytes(Value::Array(content).to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LaneName, TaskSpec};

    fn hash_of(metadata: json::Object) -> Sha256 {
        let spec = TaskSpec {
            workspace_id: "w".into(),
            correlation_id: "c".into(),
            source_agent: "test".into(),
            workspace_root: "/w".into(),
            expected_branch: Some("main".into()),
            prompt: "do it".into(),
            metadata,
            ..TaskSpec::new(LaneName::stored("l"))
        };
        content_hash(&NewTask { spec, ..NewTask::prompt(LaneName::stored("l"), "do it") })
    }

    #[test]
    fn a_content_hash_never_changes() {
        // Existing keys are compared with it.
        let text = br#"{"a": 1.10, "b": [1e5, -0, {"c": null}], "d": 123456789012345678901234567890, "e": "\ud800"}"#;
        let mut metadata = json::parse_object(text).unwrap();
        metadata.insert("f".into(), 1e16.into());
        assert_eq!(hash_of(metadata), "190cbfc3c596a4757aaa8bdaa2a1e00502bf54d7894f04d87ad87027e627291c");
    }

    #[test]
    fn the_session_that_asks_is_not_content() {
        let of = |text: &str| hash_of(json::parse_object(text.as_bytes()).unwrap());
        assert_eq!(of(r#"{"a": 1, "mcp_session": "one"}"#), of(r#"{"a": 1, "mcp_session": "two"}"#));
        assert_eq!(of(r#"{"a": 1, "mcp_session": "one"}"#), of(r#"{"a": 1}"#));
    }

    #[test]
    fn what_python_calls_numbers_has_a_hash() {
        let of = |text: &str| hash_of(json::parse_object(text.as_bytes()).unwrap());
        let [not, infinite] =
            ["NaN", "Infinity"].map(|word| of(&format!("{{\"a\": [{word}], \"b\": {word}}}")));
        assert_eq!(not, of("{\"b\": NaN, \"a\": [NaN]}"));
        assert_ne!(not, infinite);
    }
}
