//! Tasks from and to JSON.
//!
//! By hand instead of derived: unknown keys and exact numbers must survive, missing keys of older
//! files need defaults, and a wrong type must be named.

use serde_json::Value;

use super::event::Event;
use super::id::{ClaimToken, TaskId};
use super::json::Object;
use super::response::Response;
use super::task::{Claim, FailureClass, Journal, LeaseClock, Status, SupportingPath, Task};
use super::time::Time;

/// The key under which our bookkeeping lives in task.json.
const JOURNAL_KEY: &str = "_lanes";

/// Takes typed values out of an object and remembers the first that was wrong.
struct Fields {
    object: Object,
    wrong: Option<String>,
}

impl Fields {
    fn fail(&mut self, key: &str, expected: &str) {
        if self.wrong.is_none() {
            self.wrong = Some(format!("'{key}' must be {expected}"));
        }
    }

    fn optional_text(&mut self, key: &str) -> Option<String> {
        match self.object.remove(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => {
                self.fail(key, "text");
                None
            }
        }
    }

    fn text(&mut self, key: &str) -> String {
        self.optional_text(key).unwrap_or_else(|| {
            self.fail(key, "text");
            String::new()
        })
    }

    fn optional_time(&mut self, key: &str) -> Option<Time> {
        let text = self.optional_text(key)?;
        let time = Time::parse(&text).ok();
        if time.is_none() {
            self.fail(key, "a time like 2026-11-21T07:00:00.000000Z");
        }
        time
    }

    fn time(&mut self, key: &str) -> Time {
        self.optional_time(key).unwrap_or_else(|| {
            self.fail(key, "a time like 2026-11-21T07:00:00.000000Z");
            Time::from_micros(0)
        })
    }

    fn number<T>(&mut self, key: &str, convert: impl Fn(&Value) -> Option<T>) -> Option<T> {
        match self.object.remove(key) {
            None | Some(Value::Null) => None,
            Some(value) => {
                let number = convert(&value);
                if number.is_none() {
                    self.fail(key, "a number in range");
                }
                number
            }
        }
    }

    fn map(&mut self, key: &str) -> Object {
        match self.object.remove(key) {
            None | Some(Value::Null) => Object::new(),
            Some(Value::Object(map)) => map,
            Some(_) => {
                self.fail(key, "an object");
                Object::new()
            }
        }
    }

    fn list(&mut self, key: &str) -> Vec<Value> {
        match self.object.remove(key) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.fail(key, "a list");
                Vec::new()
            }
        }
    }
}

impl Task {
    /// Reads a task; the error names the first key that is missing or has the wrong type.
    pub fn from_object(object: Object) -> Result<Self, String> {
        let mut fields = Fields { object, wrong: None };
        let legacy_correlation = fields.optional_text("checkpoint_id");
        let correlation_id =
            fields.optional_text("correlation_id").or(legacy_correlation).unwrap_or_else(|| {
                fields.fail("correlation_id", "text");
                String::new()
            });
        let id_text = fields.text("id");
        let Ok(id) = TaskId::parse(&id_text) else {
            return Err(fields.wrong.unwrap_or_else(|| "'id' is not a valid task id".to_string()));
        };
        let listed = fields.list("supporting_paths");
        let supporting_paths: Vec<SupportingPath> = listed.iter().filter_map(supporting_path).collect();
        if supporting_paths.iter().map(supporting_object).ne(listed.iter().cloned()) {
            // Others say more of these files than we understand: it stays among the unknown keys.
            fields.object.insert("supporting_paths".to_string(), listed.into());
        }
        let labels = fields
            .list("labels")
            .into_iter()
            .filter_map(|label| label.as_str().map(str::to_string))
            .collect();
        let status = status(&mut fields);
        let task = Self {
            id,
            workspace_id: fields.text("workspace_id"),
            correlation_id,
            source_agent: fields.optional_text("source_agent").unwrap_or_default(),
            lane: fields.text("lane"),
            workspace_root: fields.text("workspace_root"),
            worktree_path: fields.optional_text("worktree_path"),
            expected_branch: fields.optional_text("expected_branch"),
            request_path: fields.text("request_path"),
            request_sha256: fields.text("request_sha256"),
            supporting_paths,
            response_path: fields.text("response_path"),
            prompt: fields.optional_text("prompt").unwrap_or_default(),
            metadata: fields.map("metadata"),
            status,
            created_at: fields.time("created_at"),
            updated_at: fields.time("updated_at"),
            priority: fields
                .number("priority", |value| value.as_i64().and_then(|n| i32::try_from(n).ok()))
                .unwrap_or(0),
            attempt: fields
                .number("attempt", |value| value.as_u64().and_then(|n| u32::try_from(n).ok()))
                .unwrap_or(0),
            max_attempts: fields
                .number("max_attempts", |value| value.as_u64().and_then(|n| u32::try_from(n).ok())),
            fence: fields.number("fence", Value::as_u64).unwrap_or(0),
            key: fields.optional_text("idempotency_key"),
            name: fields.optional_text("name"),
            labels,
            timeout_seconds: fields.number("timeout_seconds", Value::as_f64),
            retry_of: fields.optional_text("retry_of"),
            retried_as: fields.optional_text("retried_as"),
            journal: journal(fields.map(JOURNAL_KEY)),
            extra: Object::new(),
        };
        match fields.wrong {
            Some(wrong) => Err(wrong),
            None => Ok(Self { extra: fields.object, ..task }),
        }
    }

    /// The task as readers see it: every field, none of our bookkeeping.
    pub fn to_public_object(&self) -> Object {
        let supporting: Vec<Value> = self.supporting_paths.iter().map(supporting_object).collect();
        let mut object = Object::from_iter([("supporting_paths".to_string(), supporting.into())]);
        object.extend(self.extra.clone());
        let mut put = |key: &str, value: Value| {
            object.insert(key.to_string(), value);
        };
        put("id", self.id.as_str().into());
        put("workspace_id", self.workspace_id.clone().into());
        put("correlation_id", self.correlation_id.clone().into());
        put("source_agent", self.source_agent.clone().into());
        put("lane", self.lane.clone().into());
        put("workspace_root", self.workspace_root.clone().into());
        put("worktree_path", self.worktree_path.clone().into());
        put("expected_branch", self.expected_branch.clone().into());
        put("request_path", self.request_path.clone().into());
        put("request_sha256", self.request_sha256.clone().into());
        put("response_path", self.response_path.clone().into());
        put("prompt", self.prompt.clone().into());
        put("metadata", Value::Object(self.metadata.clone()));
        put("created_at", self.created_at.to_string().into());
        put("updated_at", self.updated_at.to_string().into());
        put("priority", self.priority.into());
        put("attempt", self.attempt.into());
        put("max_attempts", self.max_attempts.into());
        put("fence", self.fence.into());
        put("idempotency_key", self.key.clone().into());
        put("name", self.name.clone().into());
        put("labels", self.labels.clone().into());
        put("timeout_seconds", self.timeout_seconds.into());
        put("retry_of", self.retry_of.clone().into());
        put("retried_as", self.retried_as.clone().into());
        put_status(&mut put, &self.status);
        object
    }

    /// The task as it is written to task.json.
    pub fn to_object(&self) -> Object {
        let mut object = self.to_public_object();
        object.insert(JOURNAL_KEY.to_string(), Value::Object(journal_object(&self.journal)));
        object
    }
}

fn supporting_path(value: &Value) -> Option<SupportingPath> {
    Some(SupportingPath {
        path: value.get("path")?.as_str()?.to_string(),
        sha256: value.get("sha256").and_then(Value::as_str).unwrap_or_default().to_string(),
    })
}

fn supporting_object(file: &SupportingPath) -> Value {
    serde_json::json!({"path": file.path, "sha256": file.sha256})
}

fn status(fields: &mut Fields) -> Status {
    let state = fields.text("state");
    if !["queued", "scheduled", "claimed", "completed", "failed"].contains(&state.as_str()) {
        // What belongs to a state of a newer version stays among the unknown keys, as it is.
        return Status::Parked(state);
    }
    let owner = fields.optional_text("claim_owner");
    let token = fields.optional_text("claim_token");
    let claimed_at = fields.optional_time("claimed_at");
    let lease_expires_at = fields.optional_time("lease_expires_at");
    let lease_seconds = fields.number("lease_seconds", Value::as_f64);
    let completed_at = fields.optional_time("completed_at");
    let failed_at = fields.optional_time("failed_at");
    let reason = fields.optional_text("failure_reason");
    let class = fields.optional_text("failure_class");
    let not_before = fields.optional_time("not_before");
    let updated_at =
        fields.object.get("updated_at").and_then(Value::as_str).and_then(|text| Time::parse(text).ok());
    let claim = match (token, claimed_at, lease_expires_at) {
        (Some(token), Some(claimed_at), Some(lease_expires_at)) => Some(Claim {
            owner: owner.unwrap_or_default(),
            token: ClaimToken::from_text(token),
            claimed_at,
            lease_expires_at,
            lease_seconds,
        }),
        _ => None,
    };
    let ended = |at: Option<Time>| at.or(updated_at).unwrap_or(Time::from_micros(0));
    match state.as_str() {
        "queued" => Status::Queued,
        "scheduled" => match not_before {
            Some(until) => Status::Scheduled { until },
            None => Status::Queued,
        },
        "claimed" => match claim {
            Some(claim) => Status::Claimed(claim),
            None => {
                fields.fail("claim_token", "text in a claimed task, beside claimed_at and lease_expires_at");
                Status::Queued
            }
        },
        "completed" => Status::Completed { at: ended(completed_at), claim },
        "failed" => Status::Failed {
            at: ended(failed_at),
            claim,
            reason: reason.unwrap_or_default(),
            class: class.map_or(FailureClass::Error, |word| FailureClass::parse(&word)),
        },
        _ => Status::Parked(state),
    }
}

fn put_status(put: &mut impl FnMut(&str, Value), status: &Status) {
    put("state", status.as_str().into());
    if matches!(status, Status::Parked(_)) {
        return;
    }
    let claim = status.claim();
    put("claim_owner", claim.map(|claim| claim.owner.clone()).into());
    put("claim_token", claim.map(|claim| claim.token.as_str().to_string()).into());
    put("claimed_at", claim.map(|claim| claim.claimed_at.to_string()).into());
    put("lease_expires_at", claim.map(|claim| claim.lease_expires_at.to_string()).into());
    put("lease_seconds", claim.and_then(|claim| claim.lease_seconds).into());
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
        Status::Queued | Status::Claimed(_) | Status::Parked(_) => {}
    }
    put("completed_at", completed_at.into());
    put("failed_at", failed_at.into());
    put("failure_reason", reason.into());
    put("failure_class", class.into());
    put("not_before", not_before.into());
}

/// Reads our bookkeeping leniently: whatever is missing or odd is as if it had never been there.
fn journal(mut object: Object) -> Journal {
    let time = |value: Option<&Value>| value.and_then(Value::as_str).and_then(|text| Time::parse(text).ok());
    let number = |value: Option<&Value>| value.and_then(Value::as_u64);
    let response = match object.remove("response") {
        Some(Value::Object(response)) => Response::from_object(response).ok(),
        _ => None,
    };
    let recent: Vec<Event> = object
        .get("recent")
        .and_then(Value::as_array)
        .map(|events| events.iter().filter_map(Value::as_object).filter_map(Event::from_object).collect())
        .unwrap_or_default();
    let lease = object.get("lease").and_then(Value::as_object).and_then(|lease| {
        Some(LeaseClock {
            expires_at: time(lease.get("expires_at"))?,
            boot: lease.get("boot")?.as_str()?.to_string(),
            until: lease.get("until")?.as_i64()?,
        })
    });
    let newest = recent.iter().filter_map(|event| event.n).max().unwrap_or(0);
    Journal {
        written_at: time(object.get("written_at")),
        last_event: number(object.get("last_event")).unwrap_or(0).max(newest),
        synced_event: number(object.get("synced_event")).unwrap_or(0),
        recent,
        response,
        lease,
        content_sha256: object.get("content_sha256").and_then(Value::as_str).map(str::to_string),
        name_is_durable: object.get("name_is_durable").and_then(Value::as_bool).unwrap_or(false),
    }
}

fn journal_object(journal: &Journal) -> Object {
    let mut object = Object::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            object.insert(key.to_string(), value);
        }
    };
    put("written_at", journal.written_at.map(|time| time.to_string()).into());
    put("last_event", journal.last_event.into());
    put("synced_event", journal.synced_event.into());
    let recent: Vec<Value> = journal.recent.iter().map(|event| Value::Object(event.to_object())).collect();
    put("recent", recent.into());
    put("response", journal.response.as_ref().map(|response| Value::Object(response.to_object())).into());
    let lease = journal.lease.as_ref().map(|lease| {
        serde_json::json!({"expires_at": lease.expires_at.to_string(), "boot": lease.boot, "until": lease.until})
    });
    put("lease", lease.into());
    put("content_sha256", journal.content_sha256.clone().into());
    put("name_is_durable", journal.name_is_durable.then_some(true).into());
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
        assert_eq!(task.correlation_id, "c");
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
        let text = OLD.replace("\"claimed\"", "\"input_required\"").replace("\"t\"", "[\"t\", 1]");
        let task = Task::from_object(json::parse_object(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(task.status, Status::Parked("input_required".to_string()));
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
        assert_eq!(task.supporting_paths.len(), 2);
        let after = task.to_object()["supporting_paths"].clone();
        assert_eq!(after, serde_json::from_str::<Value>(files).unwrap());
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
