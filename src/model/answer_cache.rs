//! Which answers are given again to an equal request, and for how long.

use std::time::Duration;

use serde_json::Value;

use super::id::TaskId;
use super::json::Object;
use super::time::Time;

#[cfg(feature = "mcp")]
use super::{
    json,
    response::Response,
    sha256::Sha256,
    spec::TaskSpec,
    task::{Status, Task, object},
};

/// How long an answer is given again, from the end of its task.
pub(crate) const CACHE_LIFETIME: Duration = Duration::from_secs(300);
/// The most answers that are kept.
#[cfg(feature = "mcp")]
pub(crate) const MAX_CACHED_ANSWERS: usize = 1_000;

/// The key of a task's metadata with the session that delegated it.
#[cfg(feature = "mcp")]
pub(crate) const SESSION_KEY: &str = "mcp_session";

/// What the answers of an agent depend on besides the request.
#[cfg(feature = "mcp")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AgentSettings {
    /// The digest of its settings and of the version of its program.
    pub digest: Sha256,
    /// The vendor that serves it.
    pub vendor: String,
    /// The most that a run may cost.
    pub max_budget_usd: Option<f64>,
}

/// A task whose answer is given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CachedAnswer {
    /// The task.
    pub task_id: TaskId,
    /// Until when.
    pub expires_at: Time,
}

impl CachedAnswer {
    /// Reads an entry of the cache; `None` for anything else.
    pub(crate) fn from_object(object: &Object) -> Option<Self> {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        Some(Self {
            task_id: TaskId::parse(text("task_id")?).ok()?,
            expires_at: Time::parse(text("expires_at")?).ok()?,
        })
    }

    /// Returns the entry as it is stored.
    #[cfg(feature = "mcp")]
    pub(crate) fn to_object(&self) -> Object {
        object([
            ("task_id", self.task_id.as_str().into()),
            ("expires_at", self.expires_at.to_string().into()),
        ])
    }

    /// Returns whether the answer is given at this time. One from the future is not: the clock was set back, and
    /// nobody knows how old the answer is.
    pub(crate) fn is_valid(&self, now: Time) -> bool {
        now < self.expires_at && self.expires_at <= now + CACHE_LIFETIME
    }
}

/// Returns the text that two requests have in common if the answer to one is an answer to the other. `None` for a
/// request that continues a conversation, whose answer depends on what was said before.
#[cfg(feature = "mcp")]
pub(crate) fn identity(spec: &TaskSpec, request: &Sha256, settings: &AgentSettings) -> Option<String> {
    if spec.metadata.contains_key("session_id") || !spec.supporting_paths.is_empty() {
        return None;
    }
    let mut metadata = spec.metadata.clone();
    metadata.retain(|key, _| key != SESSION_KEY);
    Some(json::to_line(&object([
        ("lane", (&spec.lane).into()),
        ("request", request.as_str().into()),
        ("metadata", metadata.into()),
        ("workspace_id", spec.workspace_id.as_str().into()),
        ("workspace_root", spec.workspace_root.as_str().into()),
        ("worktree_path", spec.worktree_path.clone().into()),
        ("branch", spec.expected_branch.clone().into()),
        ("settings", settings.digest.as_str().into()),
        ("schema", spec.schema.as_ref().map(|schema| Value::Object(schema.as_object().clone())).into()),
    ])))
}

/// Returns the entry for a task that has ended with `response`, if its answer may be given again: it is the complete
/// answer of an agent with these settings, which was denied no tool and stayed within its budget.
#[cfg(feature = "mcp")]
pub(crate) fn cacheable(task: &Task, response: &Response, settings: &AgentSettings) -> Option<CachedAnswer> {
    let Status::Completed { at, .. } = &task.status else { return None };
    let of_run = |key: &str| response.metadata.get(key).filter(|value| !value.is_null());
    // A person may have answered, or a dispatcher with another vendor on its command line.
    let is_of_agent = of_run("vendor").and_then(Value::as_str) == Some(&settings.vendor);
    let is_whole = of_run("outcome").is_none_or(|outcome| outcome == "done")
        && ["parse_error", "background_cut_short"].into_iter().all(|key| of_run(key).is_none());
    let was_denied = of_run("denied_tools").is_some_and(|tools| tools != &Value::Array(Vec::new()));
    let cost = of_run("cost_usd").and_then(Value::as_f64).unwrap_or(0.0);
    let is_within_budget = settings.max_budget_usd.is_none_or(|budget| cost <= budget);
    (is_of_agent && is_whole && !was_denied && is_within_budget)
        .then(|| CachedAnswer { task_id: task.id.clone(), expires_at: *at + CACHE_LIFETIME })
}

#[cfg(all(test, feature = "mcp"))]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::LaneName;

    fn settings() -> AgentSettings {
        AgentSettings { digest: hash('a'), vendor: "claude".to_string(), max_budget_usd: Some(1.0) }
    }

    fn hash(digit: char) -> Sha256 {
        Sha256::stored(digit.to_string().repeat(64))
    }

    fn spec(metadata: Value) -> TaskSpec {
        let Value::Object(metadata) = metadata else { panic!("not an object") };
        TaskSpec { metadata, ..TaskSpec::new(LaneName::stored("agent/infra")) }
    }

    #[test]
    fn an_entry_is_valid_for_its_lifetime_and_not_before() {
        let end = Time::parse("2026-11-21T07:05:00Z").unwrap();
        let entry = CachedAnswer { task_id: TaskId::parse("t-1").unwrap(), expires_at: end };
        let second = Duration::from_secs(1);
        assert!(entry.is_valid(end - second) && entry.is_valid(end - CACHE_LIFETIME));
        assert!(!entry.is_valid(end) && !entry.is_valid(end + second));
        assert!(!entry.is_valid(end - CACHE_LIFETIME - second), "the clock was set back");
        assert_eq!(CachedAnswer::from_object(&entry.to_object()), Some(entry));
        assert_eq!(CachedAnswer::from_object(&object([("task_id", "../x".into())])), None);
    }

    #[test]
    fn requests_are_equal_whichever_session_makes_them() {
        let of = |metadata: Value| identity(&spec(metadata), &hash('b'), &settings());
        let plain = of(json!({"caller": "me"})).unwrap();
        assert_eq!(of(json!({"caller": "me", SESSION_KEY: "s"})), Some(plain.clone()));
        for other in [json!({}), json!({"caller": "you"}), json!({"caller": "me", "context": "x"})] {
            assert_ne!(of(other), Some(plain.clone()));
        }
        assert_eq!(of(json!({"session_id": "s"})), None, "what was said before counts");
        let spec = spec(json!({"caller": "me"}));
        let other_settings = AgentSettings { digest: hash('c'), ..settings() };
        assert_ne!(identity(&spec, &hash('b'), &other_settings), Some(plain.clone()));
        assert_ne!(identity(&spec, &hash('c'), &settings()), Some(plain));
    }

    #[test]
    fn only_whole_answers_of_the_agent_itself_may_be_given_again() {
        let text = br#"{"id": "t-1", "workspace_id": "w", "correlation_id": "c", "lane": "agent/infra",
            "workspace_root": "/w", "request_path": "/w/r", "request_sha256": "ab12", "response_path": "/w/o",
            "state": "queued", "created_at": "2026-11-21T06:50:00Z", "updated_at": "2026-11-21T06:50:00Z"}"#;
        let mut task = Task::from_object(json::parse_object(text).unwrap()).unwrap();
        let at = Time::parse("2026-11-21T07:00:00Z").unwrap();
        task.status = Status::Completed { at, claim: None };
        let check = |task: &Task, metadata: Value| {
            let text = json!({"task_id": "t-1", "body": "Yes.", "status": "completed", "created_at": "2026-11-21T07:00:00Z",
                "metadata": metadata})
            .to_string();
            cacheable(task, &Response::parse(text.as_bytes()).unwrap(), &settings())
        };
        let entry = check(&task, json!({"vendor": "claude", "outcome": "done", "cost_usd": 1.0}));
        assert_eq!(entry.map(|entry| entry.expires_at), Some(at + CACHE_LIFETIME));
        assert!(check(&task, json!({"vendor": "claude", "denied_tools": []})).is_some());
        for metadata in [
            json!({}),
            json!({"vendor": "codex"}),
            json!({"vendor": "claude", "outcome": "partial"}),
            json!({"vendor": "claude", "outcome": "blocked"}),
            json!({"vendor": "claude", "denied_tools": ["Bash(rm)"]}),
            json!({"vendor": "claude", "cost_usd": 1.01}),
            json!({"vendor": "claude", "parse_error": "no JSON"}),
            json!({"vendor": "claude", "background_cut_short": ["a shell"]}),
        ] {
            assert_eq!(check(&task, metadata.clone()), None, "{metadata}");
        }
    }
}
