//! The response to a task.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::Object;
use super::json::raw::{Raw, RawString, read_object};
use super::sha256::Sha256;
use super::time::Time;

/// The largest accepted body, in bytes (100 MiB).
pub(crate) const MAX_BODY: usize = 100 * 1024 * 1024;

/// The outcome of a task as the worker reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseStatus {
    /// The task succeeded.
    Completed,
    /// The task failed.
    Failed,
}

impl ResponseStatus {
    /// Returns the name used in files and over HTTP.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// Parses the name of a status.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Completed, Self::Failed].into_iter().find(|status| status.as_str() == text)
    }
}

/// The verdict of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing needs to be done.
    Accept,
    /// Approved, with work left for later.
    AcceptWithFollowUps,
    /// The work must be changed.
    NeedsRevision,
}

impl Verdict {
    /// Returns the name used in files and over HTTP.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::AcceptWithFollowUps => "accept-with-follow-ups",
            Self::NeedsRevision => "needs-revision",
        }
    }

    /// Parses the name of a verdict.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Accept, Self::AcceptWithFollowUps, Self::NeedsRevision]
            .into_iter()
            .find(|verdict| verdict.as_str() == text)
    }
}

/// A response as stored in `response.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The task that is answered.
    pub task_id: String,
    /// The name of the worker that answered.
    pub reviewer: String,
    /// The outcome of the task.
    pub status: ResponseStatus,
    /// The answer, unchanged.
    pub body: String,
    /// The SHA-256 of the request that was reviewed.
    pub reviewed_request_sha256: Sha256,
    /// Whether the request file had changed since the submit.
    pub request_changed_before_response: bool,
    /// Whether the worker requests more work.
    pub follow_up_required: bool,
    /// The verdict of a review. Kept as text, since other implementations may have more verdicts.
    pub verdict: Option<String>,
    /// The number of blocking findings of a review.
    pub blocking_count: Option<u64>,
    /// The number of findings of a review that do not block.
    pub nonblocking_count: Option<u64>,
    /// Free-form metadata.
    pub metadata: Object,
    /// The time at which it was accepted.
    pub created_at: Time,
    /// Unknown keys, written by other implementations.
    pub extra: Object,
}

impl Response {
    /// Returns the response as it is written to files.
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

    /// Parses the content of a response file.
    ///
    /// # Errors
    /// The reason, if it is not a JSON object or a key is missing or has the wrong type.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        read_object(bytes, Self::from_raw)?.map_err(|key| format!("'{key}' is missing or has the wrong type"))
    }

    /// Parses a response; missing optional keys get their defaults.
    ///
    /// # Errors
    /// The key that is missing or has the wrong type.
    pub fn from_raw(raw: Raw<'_>) -> Result<Self, &'static str> {
        let parts = ResponseParts::of(raw)?;
        let owned = |text: Option<RawString<'_>>| text.map(|text| text.decode().into_owned());
        let extra = parts.others.into_iter();
        Ok(Self {
            task_id: owned(parts.task_id).unwrap_or_default(),
            body: owned(parts.body).unwrap_or_default(),
            status: parts.status,
            created_at: parts.created_at,
            reviewer: owned(parts.reviewer).unwrap_or_default(),
            reviewed_request_sha256: owned(parts.sha256).map(Sha256::stored).unwrap_or_default(),
            request_changed_before_response: parts.changed.unwrap_or(false),
            follow_up_required: parts.follow_up.unwrap_or(false),
            verdict: owned(parts.verdict),
            blocking_count: parts.blocking_count,
            nonblocking_count: parts.nonblocking_count,
            metadata: parts.metadata.and_then(Raw::object).unwrap_or_default(),
            extra: extra
                .map(|(key, raw)| (RawString::of_key(key).decode().into_owned(), raw.value()))
                .collect(),
        })
    }

    /// Returns whether a value is a response.
    pub fn is_valid(raw: Raw<'_>) -> bool {
        ResponseParts::of(raw).is_ok()
    }
}

/// The members of a response, before conversion.
struct ResponseParts<'a> {
    task_id: Option<RawString<'a>>,
    body: Option<RawString<'a>>,
    status: ResponseStatus,
    created_at: Time,
    reviewer: Option<RawString<'a>>,
    sha256: Option<RawString<'a>>,
    verdict: Option<RawString<'a>>,
    changed: Option<bool>,
    follow_up: Option<bool>,
    blocking_count: Option<u64>,
    nonblocking_count: Option<u64>,
    metadata: Option<Raw<'a>>,
    others: Vec<(&'a str, Raw<'a>)>,
}

impl<'a> ResponseParts<'a> {
    fn of(raw: Raw<'a>) -> Result<Self, &'static str> {
        let mut parts = Self {
            task_id: None,
            body: None,
            status: ResponseStatus::Failed,
            created_at: Time::from_micros(0),
            reviewer: None,
            sha256: None,
            verdict: None,
            changed: None,
            follow_up: None,
            blocking_count: None,
            nonblocking_count: None,
            metadata: None,
            others: Vec::new(),
        };
        let (mut status, mut created_at) = (None, None);
        raw.members(|key, raw| match key {
            "task_id" => parts.task_id = raw.text(),
            "body" => parts.body = raw.text(),
            "status" => status = raw.text(),
            "created_at" => created_at = raw.text(),
            "reviewer" => parts.reviewer = raw.text(),
            "reviewed_request_sha256" => parts.sha256 = raw.text(),
            "verdict" => parts.verdict = raw.text(),
            "request_changed_before_response" => parts.changed = raw.boolean(),
            "follow_up_required" => parts.follow_up = raw.boolean(),
            "blocking_count" => parts.blocking_count = raw.integer(),
            "nonblocking_count" => parts.nonblocking_count = raw.integer(),
            "metadata" => parts.metadata = Some(raw),
            key => parts.others.push((key, raw)),
        });
        parts.task_id.ok_or("task_id")?;
        parts.body.ok_or("body")?;
        parts.status = status.and_then(|word| ResponseStatus::parse(&word.decode())).ok_or("status")?;
        let time = created_at.and_then(|text: RawString<'_>| Time::parse(&text.decode()).ok());
        parts.created_at = time.ok_or("created_at")?;
        Ok(parts)
    }
}
