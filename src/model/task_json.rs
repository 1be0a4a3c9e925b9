//! Converts tasks to JSON; `task_text.rs` parses them.

use serde_json::Value;

use super::duration::StoredDuration;
use super::json::Object;
use super::message::messages_value;
use super::question::questions_value;
use super::spec::reader::BOOKKEEPING_KEY;
use super::task::{Bookkeeping, Status, Task};

impl Task {
    /// Returns the task for output: every field except the bookkeeping, and without the token of its claim. Who has the
    /// token may answer the task.
    pub fn to_public_object(&self) -> Object {
        let mut object = self.to_holder_object();
        object.insert("claim_token".into(), Value::Null);
        object
    }

    /// Returns the task for the holder of its claim, with the token.
    pub fn to_holder_object(&self) -> Object {
        let mut object = self.extra.clone();
        self.spec.write(&mut object);
        let mut put = |key: &str, value: Value| {
            object.insert(key.to_string(), value);
        };
        put("id", self.id.as_str().into());
        put("request_path", self.request_path.clone().into());
        put("request_sha256", self.request_sha256.clone().into());
        put("response_path", self.response_path.clone().into());
        put("created_at", self.created_at.to_string().into());
        put("updated_at", self.updated_at.to_string().into());
        put("attempt", self.attempt.into());
        put("fence", self.fence.into());
        put("retried_as", self.retried_as.clone().into());
        if !self.questions.is_empty() {
            put("questions", questions_value(&self.questions));
        }
        if !self.messages.is_empty() {
            put("messages", messages_value(&self.messages));
        }
        put_status(&mut put, &self.status);
        object
    }

    /// Returns the task as it is written to task.json.
    pub fn to_object(&self) -> Object {
        let mut object = self.to_holder_object();
        if self.spec.after.is_empty() {
            object.remove("after");
        }
        if self.spec.deadline.is_none() {
            object.remove("deadline");
        }
        if self.spec.schema.is_none() {
            object.remove("schema");
        }
        if self.spec.verify.is_empty() {
            object.remove("verify");
        }
        if self.spec.group.is_none() {
            object.remove("group");
        }
        if self.spec.exclusive.is_empty() {
            object.remove("exclusive");
        }
        object.insert(BOOKKEEPING_KEY.to_string(), Value::Object(bookkeeping_object(&self.bookkeeping)));
        object
    }
}

fn put_status(put: &mut impl FnMut(&str, Value), status: &Status) {
    put("state", status.as_str().into());
    if matches!(status, Status::Unknown(_)) {
        return;
    }
    let claim = status.claim();
    put("claim_owner", claim.map(|claim| claim.owner.clone()).into());
    put("claim_token", claim.map(|claim| claim.token.as_str().to_string()).into());
    put("claimed_at", claim.map(|claim| claim.claimed_at.to_string()).into());
    put("lease_expires_at", claim.map(|claim| claim.lease_expires_at.to_string()).into());
    put("lease_seconds", claim.and_then(|claim| claim.lease).map(StoredDuration::as_secs_f64).into());
    let (mut completed_at, mut failed_at, mut reason, mut class, mut not_before) =
        (None, None, None, None, None);
    match status {
        Status::Completed { at, .. } => completed_at = Some(at.to_string()),
        Status::Failed { at, reason: why, class: word, .. } => {
            failed_at = Some(at.to_string());
            reason = Some(why.clone());
            class = Some(word.as_str().to_string());
        }
        Status::Scheduled { until } => not_before = Some(until.to_string()),
        Status::Blocked { until } => not_before = until.map(|until| until.to_string()),
        Status::Queued | Status::Claimed(_) | Status::InputRequired | Status::Unknown(_) => {}
    }
    put("completed_at", completed_at.into());
    put("failed_at", failed_at.into());
    put("failure_reason", reason.into());
    put("failure_class", class.into());
    put("not_before", not_before.into());
}

fn bookkeeping_object(bookkeeping: &Bookkeeping) -> Object {
    let mut object = Object::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            object.insert(key.to_string(), value);
        }
    };
    put("written_at", bookkeeping.written_at.map(|time| time.to_string()).into());
    put("last_event", bookkeeping.last_event.into());
    put("synced_event", bookkeeping.synced_event.into());
    let recent: Vec<Value> =
        bookkeeping.recent.iter().map(|event| Value::Object(event.to_object())).collect();
    put("recent", recent.into());
    put("response", bookkeeping.response.as_ref().map(|response| Value::Object(response.to_object())).into());
    let lease = bookkeeping.lease.as_ref().map(|lease| {
        serde_json::json!({"expires_at": lease.expires_at.to_string(), "boot": lease.boot, "until": lease.until})
    });
    put("lease", lease.into());
    put("content_sha256", bookkeeping.content_sha256.clone().into());
    put("name_is_durable", bookkeeping.name_is_durable.then_some(true).into());
    put("dependencies_met", bookkeeping.dependencies_met.then_some(true).into());
    object
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    const OLD: &str = r#"{"id": "20260101T000000000000Z-a-b", "workspace_id": "w", "checkpoint_id": "c",
        "source_agent": "o", "lane": "l", "workspace_root": "/w", "worktree_path": null,
        "expected_branch": null, "request_path": "/w/r", "request_sha256": "ab", "supporting_paths": [],
        "response_path": "/w/o", "prompt": "", "state": "claimed", "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z", "claim_owner": "x", "claim_token": "t",
        "lease_expires_at": "2026-01-01T02:00:00Z", "claimed_at": "2026-01-01T00:00:00Z",
        "completed_at": null, "failed_at": null, "failure_reason": null,
        "theirs": {"n": 12345678901234567890123, "x": NaN}}"#;

    #[test]
    fn an_old_task_is_read_and_its_unknown_keys_survive() {
        let task = Task::from_object(json::parse_object(OLD.as_bytes()).unwrap()).unwrap();
        assert_eq!(task.spec.correlation_id, "c");
        assert!(matches!(task.status, Status::Claimed(_)));
        let text = json::to_text(&task.to_object());
        assert!(text.contains("12345678901234567890123"), "{text}");
        assert!(text.contains("\"x\": NaN"), "{text}");
        assert!(!text.contains("checkpoint_id"), "{text}");
        let again = Task::from_object(json::parse_object(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(again, task);
    }

    #[test]
    fn a_state_of_a_newer_version_keeps_all_that_belongs_to_it() {
        let text = OLD.replace("\"claimed\"", "\"delegated\"").replace("\"t\"", "[\"t\", 1]");
        let task = Task::from_object(json::parse_object(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(task.status, Status::Unknown("delegated".to_string()));
        let (before, after) = (json::parse_object(text.as_bytes()).unwrap(), task.to_object());
        for key in ["state", "claim_owner", "claim_token", "lease_expires_at", "claimed_at", "theirs"] {
            assert_eq!(after.get(key), before.get(key), "{key}");
        }
    }

    #[test]
    fn what_others_say_of_supporting_files_survives() {
        let files = r#"[{"path": "/w/a", "sha256": "ab"}, {"path": "/w/b", "note": 7}, "/w/c"]"#;
        let text = OLD.replace("\"supporting_paths\": []", &format!("\"supporting_paths\": {files}"));
        let task = Task::from_object(json::parse_object(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(task.spec.supporting_paths.len(), 2);
        let after = task.to_object()["supporting_paths"].clone();
        assert_eq!(after, serde_json::from_str::<Value>(files).unwrap());
    }

    #[test]
    fn stored_numbers_of_seconds_are_written_as_they_were() {
        for (number, expected) in [
            ("0.1", "0.1"),
            ("1e-7", "1e-7"),
            ("1800.0", "1800.0"),
            ("1800", "1800.0"),
            ("0.12345678912345", "0.12345678912345"),
            ("1e15", "1000000000000000.0"),
            ("-5.0", "-5.0"),
            ("1e300", "1e+300"),
        ] {
            let seconds = format!("\"lease_seconds\": {number}, \"timeout_seconds\": {number}, \"theirs\"");
            let text = OLD.replace("\"theirs\"", &seconds);
            let task = Task::from_object(json::parse_object(text.as_bytes()).unwrap()).unwrap();
            let text = json::to_text(&task.to_object());
            for key in ["lease_seconds", "timeout_seconds"] {
                assert!(text.contains(&format!("\"{key}\": {expected}")), "{number}: {text}");
            }
        }
    }

    #[test]
    fn the_first_wrong_key_is_named() {
        let text = OLD.replace("\"lane\": \"l\"", "\"lane\": 7");
        let wrong = Task::from_object(json::parse_object(text.as_bytes()).unwrap()).unwrap_err();
        assert_eq!(wrong, "'lane' must be text");
        let text = OLD.replace("\"claim_token\": \"t\"", "\"claim_token\": null");
        assert!(Task::from_object(json::parse_object(text.as_bytes()).unwrap()).is_err());
    }
}
