//! The answer to a task.

use serde_json::Value;

use super::json::Object;
use super::time::Time;
use crate::error::{Error, Result};

/// The largest body accepted, in bytes (100 MiB).
pub const MAX_BODY: usize = 100 * 1024 * 1024;

/// How a worker says the task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseStatus {
    /// The task is done.
    Completed,
    /// The task could not be done.
    Failed,
}

impl ResponseStatus {
    /// The word on disk and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// The status named by `text`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Completed, Self::Failed].into_iter().find(|status| status.as_str() == text)
    }
}

/// A reviewer's judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do.
    Accept,
    /// Fine, with work left for later.
    AcceptWithFollowUps,
    /// Must be changed.
    NeedsRevision,
}

impl Verdict {
    /// The word on disk and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::AcceptWithFollowUps => "accept-with-follow-ups",
            Self::NeedsRevision => "needs-revision",
        }
    }

    /// The verdict named by `text`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Accept, Self::AcceptWithFollowUps, Self::NeedsRevision]
            .into_iter()
            .find(|verdict| verdict.as_str() == text)
    }
}

/// What is stored as `response.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The task this answers.
    pub task_id: String,
    /// Who answered.
    pub reviewer: String,
    /// How the task ended.
    pub status: ResponseStatus,
    /// The answer, byte for byte.
    pub body: String,
    /// The fingerprint of the request that was reviewed.
    pub reviewed_request_sha256: String,
    /// Whether the request file was no longer the submitted one.
    pub request_changed_before_response: bool,
    /// Whether the worker asks for more work.
    pub follow_up_required: bool,
    /// The judgement, for reviews. Kept as text: others may know more words.
    pub verdict: Option<String>,
    /// Findings that block, for reviews.
    pub blocking_count: Option<u64>,
    /// Findings that do not block, for reviews.
    pub nonblocking_count: Option<u64>,
    /// Free-form.
    pub metadata: Object,
    /// When it was accepted.
    pub created_at: Time,
    /// Keys of other implementations.
    pub extra: Object,
}

impl Response {
    /// The response as it is written.
    pub fn to_object(&self) -> Object {
        let mut object = self.extra.clone();
        let mut put = |key: &str, value: Value| {
            object.insert(key.to_string(), value);
        };
        put("task_id", self.task_id.clone().into());
        put("reviewer", self.reviewer.clone().into());
        put("status", self.status.as_str().into());
        put("body", self.body.clone().into());
        put("reviewed_request_sha256", self.reviewed_request_sha256.clone().into());
        put("request_changed_before_response", self.request_changed_before_response.into());
        put("follow_up_required", self.follow_up_required.into());
        put("verdict", self.verdict.clone().into());
        put("blocking_count", self.blocking_count.into());
        put("nonblocking_count", self.nonblocking_count.into());
        put("metadata", Value::Object(self.metadata.clone()));
        put("created_at", self.created_at.to_string().into());
        object
    }

    /// Reads a response; missing optional keys get their defaults.
    pub fn from_object(mut object: Object) -> Result<Self> {
        let wrong = |key: &str| Error::corrupt(format!("response: '{key}' is missing or has the wrong type"));
        let mut text = |key: &str| match object.remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let task_id = text("task_id").ok_or_else(|| wrong("task_id"))?;
        let body = text("body").ok_or_else(|| wrong("body"))?;
        let status =
            text("status").as_deref().and_then(ResponseStatus::parse).ok_or_else(|| wrong("status"))?;
        let reviewer = text("reviewer").unwrap_or_default();
        let reviewed_request_sha256 = text("reviewed_request_sha256").unwrap_or_default();
        let verdict = text("verdict");
        let created_at =
            text("created_at").and_then(|text| Time::parse(&text).ok()).ok_or_else(|| wrong("created_at"))?;
        let mut flag = |key: &str| object.remove(key).and_then(|value| value.as_bool()).unwrap_or(false);
        let request_changed_before_response = flag("request_changed_before_response");
        let follow_up_required = flag("follow_up_required");
        let mut count = |key: &str| object.remove(key).and_then(|value| value.as_u64());
        let blocking_count = count("blocking_count");
        let nonblocking_count = count("nonblocking_count");
        let metadata = match object.remove("metadata") {
            Some(Value::Object(metadata)) => metadata,
            _ => Object::new(),
        };
        Ok(Self {
            task_id,
            reviewer,
            status,
            body,
            reviewed_request_sha256,
            request_changed_before_response,
            follow_up_required,
            verdict,
            blocking_count,
            nonblocking_count,
            metadata,
            created_at,
            extra: object,
        })
    }
}
