//! The request of a submit: from flags, a task file, a line of a batch, or the body of an HTTP request.
//!
//! [`SUBMIT_FIELDS`] lists the fields once. The flags and their help, the keys of task files and the fields of
//! `POST /tasks` come from that list.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::base_dir::BaseDir;
use super::paths::{as_text, show};
use super::text_file::TextFile;
use super::yaml::MappingReader;
use crate::error::{ErrorKind, Result};
use crate::model::command_list::{COMMAND_LIST, command_list};
use crate::model::json::Object;
use crate::model::limits::{
    MAX_ATTEMPTS, MAX_DELAY, MAX_KEY, MAX_PRIORITY, MAX_PROMPT_ONLY, MAX_SHORT_TEXT, MAX_TIMEOUT,
};
use crate::model::{
    DependencyCondition, DependencyRef, DependencyTarget, GroupName, IdempotencyKey, MAX_LANE, Time,
};

const TASK_FILE: TextFile = TextFile {
    name: "task file",
    limit: 1024 * 1024,
    refusal: ErrorKind::Config,
    hint_if_missing: "check the path given to --task",
    unique_keys: true,
};

/// A task to submit, before its paths are resolved and its values checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubmitRequest {
    /// A task file with defaults for the rest, relative to the current directory.
    pub task_file: Option<PathBuf>,
    /// The lane.
    pub lane: Option<String>,
    /// The file to work on, relative to the current directory; without it the prompt is the request.
    pub request_from: Option<PathBuf>,
    /// The path for the answer, relative to the current directory; need not exist.
    pub response_to: Option<PathBuf>,
    /// Text for the worker.
    pub prompt: Option<String>,
    /// A file with text for the worker, relative to the current directory or to the task file that names it.
    /// A flag takes precedence over `prompt`. Never `-`: the command line reads standard input into `prompt`.
    pub prompt_file: Option<PathBuf>,
    /// Supporting files of the request, relative to the workspace root.
    pub supporting_paths: Vec<PathBuf>,
    /// The directory to work in, relative to the current directory.
    pub worktree_path: Option<PathBuf>,
    /// The branch to work on.
    pub branch: Option<String>,
    /// Free-form metadata; merged into the metadata of the task file, key by key.
    pub metadata: Object,
    /// The name of the submitter; `orchestrator` by default.
    pub source_agent: Option<String>,
    /// The submitter's name for the work; by default the task file's name without extension, otherwise the lane.
    pub correlation_id: Option<String>,
    /// The idempotency key.
    pub key: Option<String>,
    /// Higher goes first.
    pub priority: Option<i64>,
    /// The delay before the first claim, in seconds as given; excludes `not_before`.
    pub delay_seconds: Option<f64>,
    /// The first time at which the task can be claimed.
    pub not_before: Option<Time>,
    /// The number of attempts allowed.
    pub max_attempts: Option<i64>,
    /// A title for people.
    pub name: Option<String>,
    /// Free labels for people.
    pub labels: Vec<String>,
    /// The time limit of one run, in seconds as given.
    pub timeout_seconds: Option<f64>,
    /// The tasks that must complete before it may be claimed.
    pub after: Vec<DependencyRef>,
    /// The tasks that must end before it may be claimed.
    pub after_ended: Vec<DependencyRef>,
    /// Groups whose tasks must complete before it may be claimed.
    pub after_group: Vec<String>,
    /// What it must have for itself while it is claimed.
    pub exclusive: Vec<String>,
    /// The group that it belongs to.
    pub group: Option<String>,
    /// The time by which it must be started, or how long from now.
    pub deadline: Option<String>,
    /// Commands that must succeed after its agent, before the answer counts; each is run as it is.
    pub verify: Vec<Vec<String>>,
    /// What a successful answer must be valid against: an object, or the path of a file with one.
    pub schema: Option<Value>,
}

/// The accessor of a field of a [`SubmitRequest`].
pub(super) type FieldAccessor<T> = fn(&mut SubmitRequest) -> &mut T;

/// The type of a field, with its accessor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SubmitValue {
    /// Text, with its largest length in bytes.
    Text(usize, FieldAccessor<Option<String>>),
    /// A path.
    Path(FieldAccessor<Option<PathBuf>>),
    /// A list of paths.
    Paths(FieldAccessor<Vec<PathBuf>>),
    /// A list of texts.
    Texts(FieldAccessor<Vec<String>>),
    /// An integer, with its range.
    Integer(i64, i64, FieldAccessor<Option<i64>>),
    /// A number of seconds that is still to be checked, with the largest duration.
    Seconds(Duration, FieldAccessor<Option<f64>>),
    /// A time.
    Time(FieldAccessor<Option<Time>>),
    /// A mapping.
    Map(FieldAccessor<Object>),
    /// A list of dependencies, with the condition of those that name none.
    Dependencies(DependencyCondition, FieldAccessor<Vec<DependencyRef>>),
    /// A list of command lines; a text is one for a shell.
    Commands(FieldAccessor<Vec<Vec<String>>>),
    /// A JSON Schema: an object, or the path of a file with one.
    Schema(FieldAccessor<Option<Value>>),
}

/// The meaning of an empty text or path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenEmpty {
    /// The field is not given.
    Absent,
    /// The value of the task file counts. Without one, the empty value is refused, since omitting the field can
    /// mean something else.
    UseTaskFile,
    /// It is a value, except in a task file, where it means that the field is not given.
    ValueExceptInTaskFile,
    /// It is a value.
    Value,
}

/// One field of a submit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubmitField {
    /// Its key in task files and lines of a batch.
    pub key: &'static str,
    /// Whether a task file may contain it; a line of a batch always may.
    pub in_task_file: bool,
    /// Its flag, without the dashes.
    pub flag: &'static str,
    /// The placeholder for the value of the flag in the help.
    pub value_name: &'static str,
    /// Its name in the body of `POST /tasks`; `None` where that has no such field.
    pub body: Option<&'static str>,
    /// Its type.
    pub value: SubmitValue,
    /// The meaning of an empty value.
    pub when_empty: WhenEmpty,
    /// Its description, without a full stop.
    pub help: &'static str,
    /// Additional text for the help of the flag.
    pub flag_help: &'static str,
}

impl SubmitField {
    /// Makes a field with the same name everywhere.
    const fn new(
        key: &'static str,
        value_name: &'static str,
        value: SubmitValue,
        when_empty: WhenEmpty,
        help: &'static str,
    ) -> Self {
        let (flag, body) = (key, Some(key));
        Self { key, in_task_file: true, flag, value_name, body, value, when_empty, help, flag_help: "" }
    }

    const fn flag(self, flag: &'static str) -> Self {
        Self { flag, ..self }
    }

    const fn body(self, body: Option<&'static str>) -> Self {
        Self { body, ..self }
    }

    const fn flag_help(self, flag_help: &'static str) -> Self {
        Self { flag_help, ..self }
    }

    const fn not_in_task_files(self) -> Self {
        Self { in_task_file: false, ..self }
    }
}

/// The fields of a submit, in the order of the help.
pub(crate) const SUBMIT_FIELDS: [SubmitField; 27] = {
    use SubmitValue::{
        Commands, Dependencies, Integer, Map, Path, Paths, Schema, Seconds, Text, Texts, Time,
    };
    use WhenEmpty::{Absent, UseTaskFile, Value, ValueExceptInTaskFile};
    const fn field(
        key: &'static str,
        value_name: &'static str,
        value: SubmitValue,
        when_empty: WhenEmpty,
        help: &'static str,
    ) -> SubmitField {
        SubmitField::new(key, value_name, value, when_empty, help)
    }
    [
        field("lane", "LANE", Text(MAX_LANE, |task| &mut task.lane), UseTaskFile, "Lane to submit to"),
        field(
            "request_from",
            "PATH",
            Path(|task| &mut task.request_from),
            UseTaskFile,
            "File to work on; without it the prompt is the whole request",
        )
        .flag("request-from"),
        field(
            "response_to",
            "PATH",
            Path(|task| &mut task.response_to),
            UseTaskFile,
            "Where `wait` writes the answer; without it the store keeps it",
        )
        .flag("response-to"),
        field("prompt", "TEXT", Text(MAX_PROMPT_ONLY, |task| &mut task.prompt), Value, "Text for the worker")
            .flag_help("; `-` reads it from standard input"),
        field(
            "prompt_file",
            "PATH",
            Path(|task| &mut task.prompt_file),
            Absent,
            "Read the prompt from this file; `-` is standard input",
        )
        .flag("prompt-file")
        .body(None),
        field(
            "supporting_paths",
            "PATH",
            Paths(|task| &mut task.supporting_paths),
            Absent,
            "Further file that belongs to the request",
        )
        .flag("supporting"),
        field("worktree_path", "PATH", Path(|task| &mut task.worktree_path), Absent, "Directory to work in")
            .flag("worktree-path"),
        field("branch", "BRANCH", Text(MAX_SHORT_TEXT, |task| &mut task.branch), Absent, "Branch to work on")
            .body(Some("expected_branch")),
        field(
            "metadata",
            "KEY=VALUE",
            Map(|task| &mut task.metadata),
            Absent,
            "Free-form; routing reads required_vendor, model_class and effort",
        ),
        field(
            "source_agent",
            "NAME",
            Text(MAX_SHORT_TEXT, |task| &mut task.source_agent),
            Absent,
            "Name of the submitter",
        )
        .flag("source-agent")
        .flag_help(" [default: orchestrator]")
        .not_in_task_files(),
        field(
            "task_id",
            "NAME",
            Text(MAX_SHORT_TEXT, |task| &mut task.correlation_id),
            ValueExceptInTaskFile,
            "Submitter's own name for the work, part of the id",
        )
        .flag("task-id")
        .body(Some("correlation_id"))
        .flag_help(" [default: the task file's name, else the lane]")
        .not_in_task_files(),
        field(
            "key",
            "KEY",
            Text(MAX_KEY, |task| &mut task.key),
            Value,
            "Idempotency key: repeating the same key and content returns the first task",
        ),
        field(
            "priority",
            "N",
            Integer(-(MAX_PRIORITY as i64), MAX_PRIORITY as i64, |task| &mut task.priority),
            Absent,
            "Higher goes first; one step is worth an hour of waiting",
        ),
        field(
            "delay",
            "SPAN",
            Seconds(MAX_DELAY, |task| &mut task.delay_seconds),
            Absent,
            "Delay before the task can be claimed",
        )
        .body(Some("delay_seconds"))
        .flag_help(": seconds, or 15m, 2h, 1d"),
        field(
            "not_before",
            "TIME",
            Time(|task| &mut task.not_before),
            Absent,
            "Earliest time at which the task can be claimed, such as 2026-12-24T18:00:00Z",
        )
        .flag("not-before"),
        field(
            "max_attempts",
            "N",
            Integer(1, MAX_ATTEMPTS as i64, |task| &mut task.max_attempts),
            Absent,
            "Maximum attempts before the task is dead-lettered",
        )
        .flag("max-attempts"),
        field(
            "name",
            "NAME",
            Text(MAX_KEY, |task| &mut task.name),
            ValueExceptInTaskFile,
            "Title shown in listings",
        ),
        field("labels", "WORD", Texts(|task| &mut task.labels), Absent, "Label shown in listings")
            .flag("label"),
        field(
            "timeout",
            "SPAN",
            Seconds(MAX_TIMEOUT, |task| &mut task.timeout_seconds),
            Absent,
            "How long one run may take",
        )
        .flag("run-timeout")
        .body(Some("timeout_seconds"))
        .flag_help(": seconds, or 15m, 2h, 1d"),
        field(
            "after",
            "ID",
            Dependencies(DependencyCondition::Completed, |task| &mut task.after),
            Absent,
            "Task that must complete before this one can be claimed",
        )
        .flag_help("; several with commas"),
        field(
            "after_ended",
            "ID",
            Dependencies(DependencyCondition::Ended, |task| &mut task.after_ended),
            Absent,
            "Task that must end before this one can be claimed, whatever its outcome",
        )
        .flag("after-ended")
        .flag_help("; several with commas"),
        field(
            "after_group",
            "GROUP",
            Texts(|task| &mut task.after_group),
            Absent,
            "Group whose present tasks must complete before this one can be claimed",
        )
        .flag("after-group"),
        field(
            "exclusive",
            "KEY",
            Texts(|task| &mut task.exclusive),
            Absent,
            "Exclusive key: only one task that has it can be claimed at a time",
        ),
        field(
            "group",
            "GROUP",
            Text(MAX_KEY, |task| &mut task.group),
            ValueExceptInTaskFile,
            "Group that the task belongs to",
        ),
        field(
            "deadline",
            "SPAN|TIME",
            Text(MAX_SHORT_TEXT, |task| &mut task.deadline),
            Absent,
            "Fail the task unless it is started within this time, or by this time",
        ),
        field(
            "verify",
            "COMMAND",
            Commands(|task| &mut task.verify),
            Absent,
            "Shell command that must succeed after the agent, before its answer counts",
        ),
        field(
            "schema",
            "FILE",
            Schema(|task| &mut task.schema),
            Absent,
            "JSON Schema that an answer must be valid against",
        ),
    ]
};

/// What a list of dependencies consists of, for messages.
pub(crate) const DEPENDENCIES: &str = "a list of ids, or of mappings with one of 'task', 'group', 'key' and 'line', and 'on' (completed or ended)";

/// Reads a list of dependencies: ids, or mappings with one of `task`, `group`, `key` and `line`, and `on`; `None` if an item is something else.
pub(crate) fn dependency_refs(items: &[Value], on: DependencyCondition) -> Option<Vec<DependencyRef>> {
    let read = |item: &Value| match item {
        Value::String(id) => Some(DependencyRef { target: DependencyTarget::Task(id.clone()), on }),
        Value::Object(object) => {
            if object.keys().any(|key| !["task", "group", "key", "line", "on"].contains(&key.as_str())) {
                return None;
            }
            let on = match object.get("on") {
                Some(word) => DependencyCondition::parse(word.as_str()?)?,
                None => on,
            };
            let text = |value: &Value| value.as_str().map(str::to_string);
            let (what, value) = object.iter().find(|(key, _)| *key != "on")?;
            if object.keys().filter(|key| *key != "on").count() != 1 {
                return None;
            }
            let target = match what.as_str() {
                "task" => DependencyTarget::Task(text(value)?),
                "group" => DependencyTarget::Group(GroupName::new(text(value)?).ok()?),
                "key" => DependencyTarget::Key(IdempotencyKey::new(text(value)?).ok()?),
                _ => DependencyTarget::Line(value.as_u64()?),
            };
            Some(DependencyRef { target, on })
        }
        _ => None,
    };
    items.iter().map(read).collect()
}

impl SubmitRequest {
    /// Reads a task file; `path` is absolute and resolved. Returns warnings for the user too.
    ///
    /// # Errors
    /// `Config` or `Io`, naming the file and the key, or line and column.
    pub(super) fn from_file(path: &Path) -> Result<(Self, Vec<String>)> {
        let fields =
            MappingReader::of_file(format!("task file {}", show(path)), TASK_FILE.read_document(path)?);
        // A file that could be read has a parent directory.
        Self::read(fields, &BaseDir::at(path.parent().unwrap_or(Path::new("/"))), |field| field.in_task_file)
    }

    /// Reads a line of a batch or a schedule, whose prompt file is relative to `base`. Returns warnings for the user too.
    ///
    /// # Errors
    /// Of the kind of the reader, naming the key.
    pub(super) fn from_line(fields: MappingReader, base: &BaseDir) -> Result<(Self, Vec<String>)> {
        Self::read(fields, base, |_| true)
    }

    fn read(
        mut fields: MappingReader,
        base: &BaseDir,
        is_known: impl Fn(&SubmitField) -> bool,
    ) -> Result<(Self, Vec<String>)> {
        let mut task = Self::default();
        for field in SUBMIT_FIELDS.iter().filter(|field| is_known(field)) {
            field.read(&mut task, &mut fields)?;
        }
        if let Some(path) = &mut task.prompt_file {
            *path = base.absolute(path)?;
        }
        if let Some(Value::String(path)) = &mut task.schema {
            *path = as_text(&base.absolute(Path::new(path))?, "schema")?;
        }
        let mut warnings: Vec<String> = fields.unknown_keys().into_iter().collect();
        if task.prompt.is_some() && task.prompt_file.take().is_some() {
            let source = fields.source();
            warnings.push(format!("{source} has both 'prompt' and 'prompt_file'; 'prompt' is used"));
        }
        Ok((task, warnings))
    }

    /// Fills absent fields from `file`.
    pub(super) fn or(mut self, mut file: Self) -> Self {
        self.prompt_file.take_if(|path| path.as_os_str().is_empty());
        if self.prompt_file.is_some() {
            (self.prompt, file.prompt) = (None, None);
        }
        // The two exclude each other, so a flag for one also replaces the other one of the file.
        if self.not_before.is_some() || self.delay_seconds.is_some() {
            (file.not_before, file.delay_seconds) = (None, None);
        }
        for field in &SUBMIT_FIELDS {
            field.fill(&mut self, &mut file);
        }
        self
    }
}

impl SubmitField {
    /// Reads the field from a task file or a line of a batch.
    fn read(&self, task: &mut SubmitRequest, fields: &mut MappingReader) -> Result<()> {
        let text = |fields: &mut MappingReader| match self.when_empty {
            WhenEmpty::Value => fields.text(self.key),
            WhenEmpty::Absent | WhenEmpty::UseTaskFile | WhenEmpty::ValueExceptInTaskFile => {
                fields.text_or_blank(self.key)
            }
        };
        match self.value {
            SubmitValue::Text(_, slot) => *slot(task) = text(fields)?,
            SubmitValue::Path(slot) => *slot(task) = text(fields)?.map(PathBuf::from),
            SubmitValue::Paths(slot) => {
                // Each item is a text, or a mapping with the key `path`.
                let paths = fields.texts_or(self.key, "path")?;
                let paths = paths.filter(|paths| !paths.iter().any(String::is_empty));
                let paths = paths.ok_or_else(|| fields.invalid_value(self.key, "a list of paths"))?;
                *slot(task) = paths.into_iter().map(PathBuf::from).collect();
            }
            SubmitValue::Texts(slot) => *slot(task) = fields.texts(self.key)?,
            SubmitValue::Integer(_, _, slot) => *slot(task) = fields.integer(self.key)?,
            SubmitValue::Seconds(_, slot) => *slot(task) = fields.seconds(self.key)?,
            SubmitValue::Time(slot) => {
                let time = fields.text(self.key)?.map(|text| Time::parse(&text)).transpose();
                let time =
                    time.map_err(|_| fields.invalid_value(self.key, "a time such as 2026-01-31T09:00:00Z"))?;
                *slot(task) = time;
            }
            SubmitValue::Map(slot) => *slot(task) = fields.mapping(self.key)?,
            SubmitValue::Dependencies(on, slot) => {
                let items = fields.list(self.key)?;
                let read = dependency_refs(&items, on);
                *slot(task) = read.ok_or_else(|| fields.invalid_value(self.key, DEPENDENCIES))?;
            }
            SubmitValue::Schema(slot) => {
                let value = fields.value(self.key);
                if value.as_ref().is_some_and(|value| !value.is_object() && !value.is_string()) {
                    return Err(
                        fields.invalid_value(self.key, "a JSON Schema, or the path of a file with one")
                    );
                }
                *slot(task) = value;
            }
            SubmitValue::Commands(slot) => {
                let read = command_list(&fields.list(self.key)?);
                *slot(task) = read.ok_or_else(|| fields.invalid_value(self.key, COMMAND_LIST))?;
            }
        }
        Ok(())
    }

    /// Moves the field from `file` to `task` unless `task` has it.
    fn fill(&self, task: &mut SubmitRequest, file: &mut SubmitRequest) {
        match self.value {
            SubmitValue::Text(_, slot) => self.fill_text(slot(task), slot(file)),
            SubmitValue::Path(slot) => self.fill_text(slot(task), slot(file)),
            SubmitValue::Paths(slot) => fill_list(slot(task), slot(file)),
            SubmitValue::Texts(slot) => fill_list(slot(task), slot(file)),
            SubmitValue::Integer(_, _, slot) => fill(slot(task), slot(file)),
            SubmitValue::Seconds(_, slot) => fill(slot(task), slot(file)),
            SubmitValue::Time(slot) => fill(slot(task), slot(file)),
            SubmitValue::Dependencies(_, slot) => fill_list(slot(task), slot(file)),
            SubmitValue::Commands(slot) => fill_list(slot(task), slot(file)),
            SubmitValue::Schema(slot) => fill(slot(task), slot(file)),
            SubmitValue::Map(slot) => {
                let own = std::mem::replace(slot(task), std::mem::take(slot(file)));
                slot(task).extend(own);
            }
        }
    }

    fn fill_text<T: AsRef<OsStr>>(&self, own: &mut Option<T>, file: &mut Option<T>) {
        let hides_nothing = match self.when_empty {
            WhenEmpty::Absent => true,
            WhenEmpty::UseTaskFile => file.is_some(),
            WhenEmpty::ValueExceptInTaskFile | WhenEmpty::Value => false,
        };
        own.take_if(|text| hides_nothing && text.as_ref().is_empty());
        fill(own, file);
    }
}

fn fill<T>(own: &mut Option<T>, file: &mut Option<T>) {
    if own.is_none() {
        *own = file.take();
    }
}

fn fill_list<T>(own: &mut Vec<T>, file: &mut Vec<T>) {
    if own.is_empty() {
        std::mem::swap(own, file);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn load(text: &str) -> Result<(SubmitRequest, Vec<String>)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.yaml");
        std::fs::write(&path, text).unwrap();
        SubmitRequest::from_file(&path)
    }

    #[test]
    fn every_key_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.yaml");
        let text = "lane: review\nmetadata: {model_class: opus, n: 1}\nprompt_file: p.md\nrequest_from: r.md\n\
            response_to: ../out.md\nsupporting_paths: [a, {path: b}, 7]\nworktree_path: wt\nbranch: 12\npriority: -3\n\
            not_before: 2026-01-31T09:00:00Z\nmax_attempts: 4\nkey: k\nname: N\nlabels: [x, 7]\ntimeout: 1h30m\n";
        std::fs::write(&path, text).unwrap();
        let (file, warnings) = SubmitRequest::from_file(&path).unwrap();
        assert_eq!(file.lane.as_deref(), Some("review"));
        assert_eq!(Value::Object(file.metadata), json!({"model_class": "opus", "n": 1}));
        assert_eq!(file.prompt_file, Some(dir.path().join("p.md")));
        assert_eq!(file.request_from, Some(PathBuf::from("r.md")));
        assert_eq!(file.response_to, Some(PathBuf::from("../out.md")));
        assert_eq!(file.supporting_paths, ["a", "b", "7"].map(PathBuf::from));
        assert_eq!(file.worktree_path, Some(PathBuf::from("wt")));
        assert_eq!(file.branch.as_deref(), Some("12"));
        assert_eq!(file.priority, Some(-3));
        assert_eq!(file.not_before.unwrap().to_string(), "2026-01-31T09:00:00.000000Z");
        assert_eq!(file.max_attempts, Some(4));
        assert_eq!((file.key.as_deref(), file.name.as_deref()), (Some("k"), Some("N")));
        assert_eq!(file.labels, ["x", "7"]);
        assert_eq!(file.timeout_seconds, Some(5400.0));
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn numbers_that_are_meant_as_text_stay_as_they_are_written() {
        for number in ["1.10", "6e2", "0x1F", "0b11", "-0", "5.", ".inf", "12345678901234567890123"] {
            let file = load(&format!(
                "base: &b {{branch: {number}}}\n<<: *b\nlane: {number}\nprompt: {number}\nrequest_from: {number}\n\
                 supporting_paths: [{number}, {{path: {number}}}]\nkey: {number}\nname: {number}\nlabels: [a, {number}]\n\
                 metadata: {{n: {number}, {number}: x}}\n"
            ));
            let (file, _) = file.unwrap();
            for text in [&file.lane, &file.branch, &file.prompt, &file.key, &file.name] {
                assert_eq!(text.as_deref(), Some(number));
            }
            assert_eq!(file.request_from, Some(number.into()));
            assert_eq!(file.supporting_paths, [PathBuf::from(number), number.into()]);
            assert_eq!(file.labels, ["a", number]);
            assert_eq!(file.metadata[number], "x");
        }
        // The JSON parser would write it as 6e+2.
        let (json, _) = load("{\"branch\": 1.10}").unwrap();
        assert_eq!(json.branch.as_deref(), Some("1.10"));
        assert!(
            load("{\"branch\": 6e2}")
                .unwrap_err()
                .to_string()
                .contains("'branch' must be text; put it in quotes")
        );
        // A number in metadata stays a number, in the notation of the file where JSON allows it.
        let metadata = load("metadata: {a: 1.10, b: 0x1F, c: 6e2, d: 7}\n").unwrap().0.metadata;
        assert_eq!(Value::Object(metadata).to_string(), "{\"a\":1.10,\"b\":31,\"c\":6e2,\"d\":7}");
    }

    #[test]
    fn empty_values_count_as_absent() {
        let (file, _) = load(
            "lane:\nmetadata: ~\nsupporting_paths:\nbranch: ''\nworktree_path: ' '\ndelay: ~\nrequest_from: ''\n",
        )
        .unwrap();
        assert!(file.lane.is_none() && file.branch.is_none() && file.worktree_path.is_none());
        assert!(file.request_from.is_none());
        assert!(file.metadata.is_empty() && file.supporting_paths.is_empty() && file.delay_seconds.is_none());
    }

    #[test]
    fn delays_take_numbers_and_words() {
        for (text, seconds) in [("90", 90.0), ("'90'", 90.0), ("15m", 900.0), ("0.5", 0.5), ("-5", -5.0)] {
            let (file, _) = load(&format!("delay: {text}")).unwrap();
            assert_eq!(file.delay_seconds, Some(seconds), "{text}");
        }
    }

    #[test]
    fn unknown_keys_are_a_warning_in_one_line() {
        let (_, warnings) = load("lane: a\n\"x\\ny\": 1\ndispatch: 2\n").unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("unknown keys"), "{:?}", warnings);
        assert!(warnings[0].ends_with(": dispatch, x\\ny"), "{:?}", warnings);
    }

    #[test]
    fn a_prompt_and_a_prompt_file_make_a_warning() {
        let (file, warnings) = load("prompt: hello\nprompt_file: p.md\n").unwrap();
        assert_eq!((file.prompt.as_deref(), file.prompt_file), (Some("hello"), None));
        assert!(warnings[0].contains("'prompt' is used"), "{:?}", warnings);
    }

    #[test]
    fn wrong_types_are_named() {
        for (text, expected) in [
            ("lane: [a]", "'lane' must be text"),
            ("lane: true", "'lane' must be text; put it in quotes"),
            ("prompt: {a: b}", "'prompt' must be text"),
            ("request_from: [a]", "'request_from' must be text"),
            ("metadata: [a]", "'metadata' must be a mapping"),
            ("metadata: text", "'metadata' must be a mapping"),
            ("supporting_paths: a", "'supporting_paths' must be a list"),
            ("supporting_paths: [[a]]", "'supporting_paths' must be a list of paths"),
            ("supporting_paths: [{file: a}]", "'supporting_paths' must be a list of paths"),
            ("supporting_paths: ['']", "'supporting_paths' must be a list of paths"),
            ("priority: high", "'priority' must be a whole number"),
            ("priority: 1.5", "'priority' must be a whole number"),
            ("priority: 123456789012345678901", "'priority' must be a whole number"),
            ("max_attempts: '3'", "'max_attempts' must be a whole number"),
            ("not_before: tomorrow", "'not_before' must be a time such as"),
            ("delay: soon", "'delay' must be a number of seconds"),
            ("delay: [1]", "'delay' must be a number of seconds"),
            ("timeout: {}", "'timeout' must be a number of seconds"),
            ("labels: a", "'labels' must be a list"),
            ("labels: [{}]", "'labels' must be a list of texts"),
            ("key: []", "'key' must be text"),
        ] {
            let error = load(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
            assert!(error.message().starts_with("task file /"), "{error}");
            assert!(error.message().contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn every_field_has_a_row() {
        let mut task = SubmitRequest { task_file: Some("t".into()), ..SubmitRequest::default() };
        for field in &SUBMIT_FIELDS {
            match field.value {
                SubmitValue::Text(_, slot) => *slot(&mut task) = Some("x".to_string()),
                SubmitValue::Path(slot) => *slot(&mut task) = Some("x".into()),
                SubmitValue::Paths(slot) => slot(&mut task).push("x".into()),
                SubmitValue::Texts(slot) => slot(&mut task).push("x".to_string()),
                SubmitValue::Integer(_, _, slot) => *slot(&mut task) = Some(1),
                SubmitValue::Seconds(_, slot) => *slot(&mut task) = Some(1.0),
                SubmitValue::Time(slot) => *slot(&mut task) = Some(Time::from_micros(0)),
                SubmitValue::Map(slot) => drop(slot(&mut task).insert("x".to_string(), 1.into())),
                SubmitValue::Dependencies(_, slot) => slot(&mut task).push(DependencyRef::completed("x")),
                SubmitValue::Schema(slot) => *slot(&mut task) = Some("x".into()),
                SubmitValue::Commands(slot) => slot(&mut task).push(vec!["x".to_string()]),
            }
        }
        let filled = format!("{task:?}");
        for empty in ["None", "[]", "{}"] {
            assert!(!filled.contains(empty), "a field has no row in SUBMIT_FIELDS: {filled}");
        }
    }
}
