//! The specification of a task: the fields that a submit sets, and their representation in task.json.
//!
//! This is the only place that lists them. A [`NewTask`] passes them to the store, a [`Task`](super::Task)
//! contains them, and a task that retries or continues another copies them as a whole.

pub(super) mod reader;

use serde_json::Value;

use super::answer_schema::AnswerSchema;
use super::command_list::command_list;
use super::dependency::{Dependency, DependencyRef};
use super::duration::StoredDuration;
use super::exclusive_key::ExclusiveKey;
use super::group::GroupName;
use super::idempotency_key::IdempotencyKey;
use super::json::Object;
use super::json::raw::{Raw, RawString};
use super::lane::LaneName;
use super::limits::{self, MAX_KEY, MAX_LABEL, MAX_SHORT_TEXT};
use super::sha256::Sha256;
use super::time::Time;
use crate::error::Result;
use reader::{Members, key};

/// The longest prompt, in bytes, that is copied to task.json when the prompt is the whole request.
pub(crate) const MAX_COPIED_PROMPT: usize = 16 * 1024;

/// A supporting file of a request, pinned by its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportingPath {
    /// Absolute path.
    pub path: String,
    /// The hash of its content at the time of the submit.
    pub sha256: Sha256,
}

/// The specification of a task. Everything else in a [`Task`](super::Task) describes its progress.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSpec {
    /// The id of the workspace it belongs to.
    pub workspace_id: String,
    /// The submitter's own name for the work.
    pub correlation_id: String,
    /// The name of the submitter.
    pub source_agent: String,
    /// The lane.
    pub lane: LaneName,
    /// Absolute path of the workspace.
    pub workspace_root: String,
    /// The absolute path of the directory to work in, if it is not the workspace.
    pub worktree_path: Option<String>,
    /// The branch to work on.
    pub expected_branch: Option<String>,
    /// Supporting files of the request.
    pub supporting_paths: Vec<SupportingPath>,
    /// Text for the worker.
    pub prompt: String,
    /// Free-form metadata; routing uses it.
    pub metadata: Object,
    /// Higher goes first: one step counts as one hour of waiting.
    pub priority: i32,
    /// The number of attempts allowed; `None` for no limit.
    pub max_attempts: Option<u32>,
    /// The submitter's idempotency key.
    pub key: Option<IdempotencyKey>,
    /// A title for people.
    pub name: Option<String>,
    /// Free labels for people and boards.
    pub labels: Vec<String>,
    /// The time limit of one run.
    pub timeout: Option<StoredDuration>,
    /// The id of the failed task that this one retries.
    pub retry_of: Option<String>,
    /// The tasks that must end before this one may be claimed.
    pub after: Vec<Dependency>,
    /// What it must have for itself while it is claimed.
    pub exclusive: Vec<ExclusiveKey>,
    /// The group that it belongs to.
    pub group: Option<GroupName>,
    /// The time by which it must be started, or else it fails.
    pub deadline: Option<Time>,
    /// Commands that must succeed after its agent, before the answer counts.
    pub verify: Vec<Vec<String>>,
    /// What an answer that reports success must be valid against.
    pub schema: Option<AnswerSchema>,
}

/// The source of the request of a new task.
#[derive(Clone, Debug, PartialEq)]
pub enum NewRequest {
    /// An existing file, with its SHA-256.
    File {
        /// Absolute path.
        path: String,
        /// The hash of its content.
        sha256: Sha256,
    },
    /// Text that the store saves next to the task.
    Text(String),
}

impl NewRequest {
    /// Makes a request that is only a prompt. Returns it with the prompt for task.json, where a note takes the place
    /// of a long text.
    pub(crate) fn prompt(text: String) -> (Self, String) {
        let prompt = if text.len() <= MAX_COPIED_PROMPT {
            text.clone()
        } else {
            format!("The request file holds the prompt ({} bytes).", text.len())
        };
        (Self::Text(text), prompt)
    }
}

/// A task that is not in the store yet.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// The specification.
    pub spec: TaskSpec,
    /// The request.
    pub request: NewRequest,
    /// The absolute path where `wait` writes the answer; `None` keeps the answer in the store.
    pub response_path: Option<String>,
    /// The first time at which it can be claimed; `None` for immediately.
    pub not_before: Option<Time>,
    /// Its dependencies, which the store adds to those of the specification.
    pub after: Vec<DependencyRef>,
}

impl NewTask {
    /// Makes a task in `lane` whose whole request is `text`. Everything else has its default, which is
    /// empty for the workspace.
    pub fn prompt(lane: impl Into<LaneName>, text: impl Into<String>) -> Self {
        let lane = lane.into();
        let (request, prompt) = NewRequest::prompt(text.into());
        let spec = TaskSpec { correlation_id: lane.to_string(), prompt, ..TaskSpec::new(lane) };
        Self { spec, request, response_path: None, not_before: None, after: Vec::new() }
    }

    /// Makes a task with the specification of an earlier one, and `request` as its request. It can be claimed
    /// immediately and has no idempotency key, no dependencies and no deadline; the store keeps its answer.
    pub fn with_spec_of(earlier: &TaskSpec, request: NewRequest) -> Self {
        let spec =
            TaskSpec { key: None, retry_of: None, after: Vec::new(), deadline: None, ..earlier.clone() };
        Self { spec, request, response_path: None, not_before: None, after: Vec::new() }
    }

    /// Checks the sizes of its prompt and names, and the number of its labels. It only compares lengths.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the first that is too long.
    pub(crate) fn check_sizes(&self) -> Result<()> {
        let spec = &self.spec;
        limits::check_at_most("the correlation id", &spec.correlation_id, MAX_SHORT_TEXT)?;
        limits::check_at_most("the source agent", &spec.source_agent, MAX_SHORT_TEXT)?;
        limits::check_at_most(
            "the branch",
            spec.expected_branch.as_deref().unwrap_or_default(),
            MAX_SHORT_TEXT,
        )?;
        if let NewRequest::Text(text) = &self.request {
            limits::check_prompt(text, false)?;
        }
        limits::check_prompt(&spec.prompt, true)?;
        limits::check_at_most("name", spec.name.as_deref().unwrap_or_default(), MAX_KEY)?;
        spec.labels.iter().try_for_each(|label| limits::check_at_most("label", label, MAX_LABEL))?;
        limits::check_label_count(&spec.labels)
    }
}

/// The type that a field has in task.json.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldType {
    /// A string.
    Text,
    /// A string or null.
    OptionalText,
    /// A whole number.
    Integer,
    /// A whole number or null.
    OptionalInteger,
    /// A number or null.
    OptionalNumber,
    /// A list of strings.
    Texts,
    /// A list of files, each with `path` and `sha256`.
    Files,
    /// An object.
    Object,
    /// A list of dependencies, each with `task` and `on`.
    Dependencies,
    /// A list of command lines, each a list of strings.
    Commands,
    /// An object or null.
    OptionalObject,
}

/// The fields of a [`TaskSpec`] in task.json, sorted by their keys.
pub(crate) const SPEC_FIELDS: [(&str, FieldType); 23] = [
    ("after", FieldType::Dependencies),
    ("correlation_id", FieldType::Text),
    ("deadline", FieldType::OptionalText),
    ("exclusive", FieldType::Texts),
    ("expected_branch", FieldType::OptionalText),
    ("group", FieldType::OptionalText),
    ("idempotency_key", FieldType::OptionalText),
    ("labels", FieldType::Texts),
    ("lane", FieldType::Text),
    ("max_attempts", FieldType::OptionalInteger),
    ("metadata", FieldType::Object),
    ("name", FieldType::OptionalText),
    ("priority", FieldType::Integer),
    ("prompt", FieldType::Text),
    ("retry_of", FieldType::OptionalText),
    ("schema", FieldType::OptionalObject),
    ("source_agent", FieldType::Text),
    ("supporting_paths", FieldType::Files),
    ("timeout_seconds", FieldType::OptionalNumber),
    ("verify", FieldType::Commands),
    ("workspace_id", FieldType::Text),
    ("workspace_root", FieldType::Text),
    ("worktree_path", FieldType::OptionalText),
];

/// The [`TaskSpec`] fields of a task.json, each checked for its type.
pub struct SpecText<'a> {
    /// See [`TaskSpec::workspace_id`].
    pub workspace_id: RawString<'a>,
    /// See [`TaskSpec::correlation_id`].
    pub correlation_id: RawString<'a>,
    /// See [`TaskSpec::lane`].
    pub lane: RawString<'a>,
    /// See [`TaskSpec::prompt`].
    pub prompt: RawString<'a>,
    /// See [`TaskSpec::key`].
    pub key: Option<RawString<'a>>,
    /// See [`TaskSpec::name`].
    pub name: Option<RawString<'a>>,
    /// See [`TaskSpec::priority`].
    pub priority: i32,
    /// See [`TaskSpec::group`].
    pub group: Option<RawString<'a>>,
    /// See [`TaskSpec::max_attempts`].
    pub max_attempts: Option<u32>,
    /// See [`TaskSpec::deadline`].
    pub deadline: Option<Time>,
    source_agent: RawString<'a>,
    workspace_root: RawString<'a>,
    worktree_path: Option<RawString<'a>>,
    expected_branch: Option<RawString<'a>>,
    supporting_paths: Option<Raw<'a>>,
    metadata: Option<Raw<'a>>,
    labels: Option<Raw<'a>>,
    timeout: Option<StoredDuration>,
    retry_of: Option<RawString<'a>>,
    after: Option<Raw<'a>>,
    exclusive: Option<Raw<'a>>,
    verify: Option<Raw<'a>>,
    schema: Option<Raw<'a>>,
}

impl<'a> SpecText<'a> {
    /// Returns the directory that the task is about: its worktree if it names one, else its workspace.
    #[cfg(feature = "cli")]
    pub(crate) fn directory(&self) -> String {
        self.worktree_path.as_ref().unwrap_or(&self.workspace_root).decode().into_owned()
    }

    /// Takes the fields of the specification out of those of a task.
    pub(super) fn take(fields: &mut Members<'a>) -> Self {
        let old_correlation = fields.optional_text(key!("checkpoint_id"));
        let correlation_id =
            fields.optional_text(key!("correlation_id")).or(old_correlation).unwrap_or_else(|| {
                fields.fail(key!("correlation_id"), "text");
                RawString::default()
            });
        Self {
            correlation_id,
            supporting_paths: fields.list(key!("supporting_paths")),
            labels: fields.list(key!("labels")),
            workspace_id: fields.text(key!("workspace_id")),
            source_agent: fields.optional_text(key!("source_agent")).unwrap_or_default(),
            lane: fields.text(key!("lane")),
            workspace_root: fields.text(key!("workspace_root")),
            worktree_path: fields.optional_text(key!("worktree_path")),
            expected_branch: fields.optional_text(key!("expected_branch")),
            prompt: fields.optional_text(key!("prompt")).unwrap_or_default(),
            metadata: fields.map(key!("metadata")),
            priority: fields.number(key!("priority"), Raw::integer).unwrap_or(0),
            max_attempts: fields.number(key!("max_attempts"), Raw::integer),
            key: fields.optional_text(key!("idempotency_key")),
            name: fields.optional_text(key!("name")),
            timeout: fields.duration(key!("timeout_seconds")),
            retry_of: fields.optional_text(key!("retry_of")),
            after: fields.dependencies(key!("after")),
            exclusive: fields.texts(key!("exclusive")),
            group: fields.optional_text(key!("group")),
            deadline: fields.optional_time(key!("deadline")),
            verify: fields.commands(key!("verify")),
            schema: fields.map(key!("schema")),
        }
    }

    /// Returns the dependencies.
    pub fn dependencies(&self) -> Vec<Dependency> {
        let mut after = Vec::new();
        self.after.map(|raw| raw.items(|item| after.extend(Dependency::from_raw(item))));
        after
    }

    /// Returns the exclusive keys.
    pub fn exclusive_keys(&self) -> Vec<ExclusiveKey> {
        let mut keys = Vec::new();
        self.exclusive
            .map(|raw| raw.items(|key| keys.extend(optional(key.text()).map(ExclusiveKey::stored))));
        keys
    }

    /// Returns whether the task has exclusive keys.
    pub(crate) fn has_keys(&self) -> bool {
        self.exclusive.is_some() && !self.exclusive_keys().is_empty()
    }

    /// Returns whether the task waits for something before it can be claimed: for other tasks, or for a key.
    pub(super) fn has_gate(&self) -> bool {
        !self.dependencies().is_empty() || self.has_keys()
    }

    /// Returns the name of the lane.
    pub fn lane_name(&self) -> LaneName {
        LaneName::stored(self.lane.decode())
    }

    /// Returns the metadata as JSON text.
    #[cfg(feature = "cli")]
    pub(crate) fn metadata_text(&self) -> Option<&'a str> {
        self.metadata.map(Raw::as_str)
    }

    /// Returns the labels.
    #[cfg(feature = "cli")]
    pub(crate) fn label_texts(&self) -> Vec<String> {
        let mut labels = Vec::new();
        self.labels.map(|raw| raw.items(|label| labels.extend(optional(label.text()))));
        labels
    }

    /// Returns the idempotency key.
    pub fn idempotency_key(&self) -> Option<IdempotencyKey> {
        self.key.map(|key| IdempotencyKey::stored(key.decode()))
    }

    /// Returns the specification. Additional data of other programs about supporting files goes into `extra`.
    pub(super) fn to_spec(&self, extra: &mut Object) -> TaskSpec {
        let mut supporting_paths = Vec::new();
        if let Some(listed) = self.supporting_paths.filter(|raw| raw.as_str() != "[]")
            && let Value::Array(listed) = listed.value()
        {
            supporting_paths = listed.iter().filter_map(supporting_path).collect();
            if supporting_paths.iter().map(supporting_object).ne(listed.iter().cloned()) {
                extra.insert("supporting_paths".to_string(), listed.into());
            }
        }
        let mut labels = Vec::new();
        self.labels.map(|raw| raw.items(|label| labels.extend(optional(label.text()))));
        TaskSpec {
            workspace_id: self.workspace_id.decode().into_owned(),
            correlation_id: self.correlation_id.decode().into_owned(),
            source_agent: self.source_agent.decode().into_owned(),
            lane: self.lane_name(),
            workspace_root: self.workspace_root.decode().into_owned(),
            worktree_path: optional(self.worktree_path),
            expected_branch: optional(self.expected_branch),
            supporting_paths,
            prompt: self.prompt.decode().into_owned(),
            metadata: self.metadata.and_then(Raw::object).unwrap_or_default(),
            priority: self.priority,
            max_attempts: self.max_attempts,
            key: self.idempotency_key(),
            name: optional(self.name),
            labels,
            timeout: self.timeout,
            retry_of: optional(self.retry_of),
            after: self.dependencies(),
            exclusive: self.exclusive_keys(),
            group: self.group.map(|name| GroupName::stored(name.decode())),
            deadline: self.deadline,
            verify: self.verify.and_then(commands).unwrap_or_default(),
            schema: self.schema.and_then(Raw::object).map(AnswerSchema::stored),
        }
    }
}

impl TaskSpec {
    /// Makes a specification with nothing but a lane.
    pub fn new(lane: impl Into<LaneName>) -> Self {
        Self {
            workspace_id: String::new(),
            correlation_id: String::new(),
            source_agent: String::new(),
            lane: lane.into(),
            workspace_root: String::new(),
            worktree_path: None,
            expected_branch: None,
            supporting_paths: Vec::new(),
            prompt: String::new(),
            metadata: Object::new(),
            priority: 0,
            max_attempts: None,
            key: None,
            name: None,
            labels: Vec::new(),
            timeout: None,
            retry_of: None,
            after: Vec::new(),
            exclusive: Vec::new(),
            group: None,
            deadline: None,
            verify: Vec::new(),
            schema: None,
        }
    }

    /// Writes the fields into an object, with the additional data about supporting files from `extra`.
    pub(super) fn write(&self, object: &mut Object) {
        if !object.contains_key("supporting_paths") {
            let files: Vec<Value> = self.supporting_paths.iter().map(supporting_object).collect();
            object.insert("supporting_paths".to_string(), files.into());
        }
        let mut put = |key: &str, value: Value| {
            object.insert(key.to_string(), value);
        };
        put("workspace_id", self.workspace_id.clone().into());
        put("correlation_id", self.correlation_id.clone().into());
        put("source_agent", self.source_agent.clone().into());
        put("lane", (&self.lane).into());
        put("workspace_root", self.workspace_root.clone().into());
        put("worktree_path", self.worktree_path.clone().into());
        put("expected_branch", self.expected_branch.clone().into());
        put("prompt", self.prompt.clone().into());
        put("metadata", Value::Object(self.metadata.clone()));
        put("priority", self.priority.into());
        put("max_attempts", self.max_attempts.into());
        put("idempotency_key", self.key.clone().into());
        put("name", self.name.clone().into());
        put("labels", self.labels.clone().into());
        put("timeout_seconds", self.timeout.map(StoredDuration::as_secs_f64).into());
        put("retry_of", self.retry_of.clone().into());
        put("deadline", self.deadline.map(|deadline| deadline.to_string()).into());
        put("group", self.group.clone().into());
        put("schema", self.schema.as_ref().map(|schema| schema.as_object().clone()).into());
        put("verify", self.verify.clone().into());
        put("exclusive", self.exclusive.clone().into());
        put("after", self.after.iter().map(Dependency::to_value).collect());
    }
}

/// Returns a list of command lines, if it is one.
fn commands(raw: Raw<'_>) -> Option<Vec<Vec<String>>> {
    command_list(raw.value().as_array()?)
}

fn optional(text: Option<RawString<'_>>) -> Option<String> {
    text.map(|text| text.decode().into_owned())
}

fn supporting_path(value: &Value) -> Option<SupportingPath> {
    Some(SupportingPath {
        path: value.get("path")?.as_str()?.to_string(),
        sha256: Sha256::stored(value.get("sha256").and_then(Value::as_str).unwrap_or_default()),
    })
}

fn supporting_object(file: &SupportingPath) -> Value {
    serde_json::json!({"path": file.path, "sha256": file.sha256.as_str()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_written_and_listed_with_its_type() {
        let mut object = Object::new();
        TaskSpec::new(LaneName::stored("l")).write(&mut object);
        let written: Vec<&str> = object.keys().map(String::as_str).collect();
        assert_eq!(written, SPEC_FIELDS.map(|(key, _)| key), "the keys of SPEC_FIELDS, sorted");
        for (key, kind) in SPEC_FIELDS {
            let fits = matches!(
                (&object[key], kind),
                (Value::String(_), FieldType::Text)
                    | (Value::Number(_), FieldType::Integer)
                    | (
                        Value::Array(_),
                        FieldType::Texts | FieldType::Files | FieldType::Dependencies | FieldType::Commands
                    )
                    | (Value::Object(_), FieldType::Object)
                    | (
                        Value::Null,
                        FieldType::OptionalText
                            | FieldType::OptionalInteger
                            | FieldType::OptionalNumber
                            | FieldType::OptionalObject
                    )
            );
            assert!(fits, "{key}: {} is not {kind:?}", object[key]);
        }
    }

    #[test]
    fn every_field_is_read_as_it_is_written() {
        let spec = TaskSpec {
            workspace_id: "w".to_string(),
            correlation_id: "c".to_string(),
            source_agent: "s".to_string(),
            lane: LaneName::stored("l"),
            workspace_root: "/w".to_string(),
            worktree_path: Some("/t".to_string()),
            expected_branch: Some("b".to_string()),
            supporting_paths: vec![SupportingPath { path: "/w/f".to_string(), sha256: Sha256::stored("ab") }],
            prompt: "p".to_string(),
            metadata: Object::from_iter([("k".to_string(), 1.into())]),
            priority: 2,
            max_attempts: Some(3),
            key: Some(IdempotencyKey::stored("k")),
            name: Some("n".to_string()),
            labels: vec!["a".to_string()],
            timeout: Some(StoredDuration::stored(4.5)),
            retry_of: Some("r".to_string()),
            after: vec![Dependency {
                task: crate::model::TaskId::parse("t-0").unwrap(),
                on: crate::model::DependencyCondition::Ended,
            }],
            exclusive: vec![ExclusiveKey::stored("k"), ExclusiveKey::stored("l")],
            group: Some(GroupName::stored("g")),
            deadline: Some(Time::from_micros(7)),
            verify: vec![vec!["make".to_string(), "test".to_string()]],
            schema: Some(AnswerSchema::stored(Object::from_iter([("type".to_string(), "array".into())]))),
        };
        let text = r#"{"id": "t-1", "workspace_id": "", "correlation_id": "", "lane": "", "workspace_root": "",
            "request_path": "", "request_sha256": "", "response_path": "", "state": "queued",
            "created_at": "2026-11-21T06:50:00Z", "updated_at": "2026-11-21T06:50:00Z"}"#;
        let mut object = crate::model::json::parse_object(text.as_bytes()).unwrap();
        spec.write(&mut object);
        assert_eq!(crate::model::Task::from_object(object).unwrap().spec, spec);
    }
}
