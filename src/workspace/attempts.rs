//! The attempts at a task, put together from its history, the usage log and the files of its runs.

use serde_json::Value;

use crate::error::Result;
use crate::model::json::{self, Object};
use crate::model::{Event, Status, Task, Time};
use crate::store::Store;

/// The file of a run with what it changed in its worktree.
pub(crate) const PATCH_FILE: &str = "diff.patch";

/// One attempt: a claim, and what became of it.
#[derive(Clone, Debug, Default, PartialEq)]
struct AttemptSummary {
    /// The number of the claim, which also names the files of its run.
    number: u64,
    owner: Option<String>,
    run: Option<String>,
    vendor: Option<String>,
    model: Option<String>,
    session_id: Option<String>,
    started_at: Option<Time>,
    ended_at: Option<Time>,
    outcome: Option<String>,
    failure_class: Option<String>,
    message: Option<String>,
    cost_usd: Option<f64>,
}

/// Returns the attempts at a task as JSON objects, oldest first; what is unknown is null. `events` is its whole history.
///
/// # Errors
/// Any error of the store.
pub(crate) fn attempt_objects(store: &Store, task: &Task, events: &[Event]) -> Result<Vec<Value>> {
    let attempts = fold(task, events);
    if attempts.is_empty() {
        return Ok(Vec::new());
    }
    let log = store.usage_log_text()?;
    let records: Vec<Object> = log
        .lines()
        .filter(|line| line.contains(task.id.as_str()))
        .filter_map(|line| json::parse_object(line.as_bytes()).ok())
        .filter(|record| record.get("task_id").and_then(Value::as_str) == Some(task.id.as_str()))
        .collect();
    let mut objects = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        let of_run = |record: &&Object| {
            attempt.run.is_some() && record.get("run").and_then(Value::as_str) == attempt.run.as_deref()
        };
        let record = records.iter().find(of_run);
        let dir = store.blobs().attempt(&task.id, attempt.number)?;
        let has_diff = dir.is_some_and(|dir| dir.log(PATCH_FILE).is_ok_and(|file| file.is_some()));
        objects.push(Value::Object(attempt.to_object(record, has_diff)));
    }
    Ok(objects)
}

impl AttemptSummary {
    fn end(&mut self, event: &Event, outcome: &str) {
        if self.ended_at.is_none() {
            self.ended_at = Some(event.created_at);
            self.outcome = Some(outcome.to_string());
        }
    }

    fn to_object(&self, record: Option<&Object>, has_diff: bool) -> Object {
        let recorded = |key: &str| record.and_then(|record| record.get(key)).cloned().unwrap_or_default();
        let either = |own: Value, key: &str| if own.is_null() { recorded(key) } else { own };
        let time = |time: Option<Time>| time.map_or(Value::Null, |time| time.to_string().into());
        let pairs: [(&str, Value); 15] = [
            ("n", self.number.into()),
            ("owner", self.owner.clone().into()),
            ("vendor", either(self.vendor.clone().into(), "vendor")),
            // The log names the model that did the work, the history the one that was asked for.
            (
                "model",
                if recorded("model").is_null() { self.model.clone().into() } else { recorded("model") },
            ),
            ("started_at", time(self.started_at)),
            ("ended_at", time(self.ended_at)),
            ("outcome", self.outcome.clone().into()),
            ("failure_class", self.failure_class.clone().into()),
            ("message", self.message.clone().into()),
            ("cost_usd", either(self.cost_usd.into(), "cost_usd")),
            ("tokens", recorded("tokens")),
            ("session_id", either(self.session_id.clone().into(), "session_id")),
            // No file of a run has it.
            ("exit_code", Value::Null),
            ("verified", recorded("verified")),
            ("has_diff", has_diff.into()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
    }
}

fn fold(task: &Task, events: &[Event]) -> Vec<AttemptSummary> {
    let mut attempts: Vec<AttemptSummary> = Vec::new();
    for event in events {
        let text = |key: &str| event.data.get(key).and_then(Value::as_str).map(str::to_string);
        if event.kind == "claimed" {
            if let Some(last) = attempts.last_mut() {
                // Nobody gave it back: its lease ended.
                last.end(event, "lost");
            }
            let number = event.data.get("fence").and_then(Value::as_u64);
            attempts.push(AttemptSummary {
                number: number.unwrap_or(attempts.len() as u64 + 1),
                owner: text("owner"),
                started_at: Some(event.created_at),
                ..AttemptSummary::default()
            });
            continue;
        }
        let Some(last) = attempts.last_mut() else { continue };
        match event.kind.as_str() {
            "headless_started" => {
                last.vendor = text("vendor");
                last.model = text("model");
                last.session_id = text("session_id");
                last.run = text("run");
            }
            "headless_completed" | "headless_failed" => {
                last.cost_usd = event.data.get("cost_usd").and_then(Value::as_f64).or(last.cost_usd);
                last.message = Some(event.message.clone()).filter(|text| !text.is_empty());
            }
            "released" => {
                let class = text("spent");
                last.end(event, if class.is_some() { "failed" } else { "released" });
                last.failure_class = class;
                last.message = text("reason").or(last.message.take());
            }
            "response" => {
                let status = text("status").unwrap_or_else(|| "completed".to_string());
                last.end(event, &status);
            }
            "asked" if !event.data.contains_key("kept_claim") => last.end(event, "asked"),
            "cancelled" => last.end(event, "cancelled"),
            "dead" => last.end(event, "lost"),
            _ => {}
        }
    }
    if let Some(last) = attempts.last_mut()
        && let Status::Failed { class, reason, .. } = &task.status
        && last.outcome.as_deref() == Some("failed")
        && last.failure_class.is_none()
    {
        last.failure_class = Some(class.as_str().to_string());
        last.message.get_or_insert_with(|| reason.clone());
    }
    attempts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: i64, kind: &str, data: &str) -> Event {
        Event {
            n: None,
            created_at: Time::from_micros(second * 1_000_000),
            kind: kind.to_string(),
            message: format!("about {kind}"),
            data: json::parse_object(data.as_bytes()).unwrap(),
        }
    }

    fn task(state: &str) -> Task {
        let text = format!(
            r#"{{"id": "a", "correlation_id": "c", "workspace_id": "w", "workspace_root": "/", "lane": "l",
                "request_path": "", "request_sha256": "", "response_path": "", "created_at": "2026-11-21T07:00:00Z",
                "updated_at": "2026-11-21T07:00:00Z", {state}}}"#
        );
        Task::from_object(json::parse_object(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn each_claim_is_an_attempt_with_its_end() {
        let events = [
            event(0, "created", "{}"),
            event(1, "claimed", r#"{"owner": "d", "fence": 1}"#),
            event(2, "headless_started", r#"{"vendor": "claude", "run": "r1", "session_id": "s"}"#),
            event(3, "headless_failed", r#"{"seconds": 1, "cost_usd": 0.5}"#),
            event(4, "released", r#"{"owner": "d", "reason": "it broke", "spent": "error"}"#),
            event(5, "claimed", r#"{"owner": "ann", "fence": 2}"#),
            event(6, "claimed", r#"{"owner": "d", "fence": 3}"#),
            event(7, "asked", r#"{"n": 1}"#),
            event(8, "answered", r#"{"n": 1}"#),
            event(9, "claimed", r#"{"owner": "d", "fence": 4}"#),
            event(10, "response", r#"{"status": "failed"}"#),
        ];
        let failed = task(r#""state": "failed", "failure_class": "timeout", "failure_reason": "slow""#);
        let attempts = fold(&failed, &events);
        let brief: Vec<_> = attempts
            .iter()
            .map(|attempt| {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                (attempt.number, text(&attempt.outcome), text(&attempt.failure_class), text(&attempt.message))
            })
            .collect();
        let expected = [
            (1, "failed", "error", "it broke"),
            (2, "lost", "", ""),
            (3, "asked", "", ""),
            (4, "failed", "timeout", "slow"),
        ];
        let expected = expected.map(|(n, outcome, class, message)| {
            (n, outcome.to_string(), class.to_string(), message.to_string())
        });
        assert_eq!(brief, expected);
        assert_eq!((attempts[0].cost_usd, attempts[0].run.as_deref()), (Some(0.5), Some("r1")));
        assert_eq!(attempts[1].ended_at, Some(Time::from_micros(6_000_000)));
        let running = fold(&task(r#""state": "queued""#), &events[..6]);
        assert_eq!((running[1].ended_at, &running[1].outcome), (None, &None));
        assert!(fold(&failed, &events[..1]).is_empty());
    }

    #[test]
    fn the_usage_log_completes_what_the_history_lacks() {
        let record = json::parse_object(br#"{"model": "opus", "cost_usd": 1.5, "verified": true}"#).unwrap();
        let attempt = AttemptSummary { cost_usd: Some(0.5), ..AttemptSummary::default() };
        let object = attempt.to_object(Some(&record), false);
        assert_eq!((&object["model"], &object["cost_usd"]), (&"opus".into(), &0.5.into()));
        assert_eq!((&object["verified"], &object["tokens"]), (&true.into(), &Value::Null));
    }
}
