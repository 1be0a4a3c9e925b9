//! Checks a [`SubmitRequest`] and converts it to a [`NewTask`].

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::base_dir::BaseDir;
use super::config::Config;
use super::file_hashes::FileHashes;
use super::paths::{as_name, as_text, resolve, show};
use super::submit_paths::PathRules;
use super::submit_request::SubmitRequest;
use super::text_file::TextFile;
use super::yaml::{MappingReader, first_duplicate};
use crate::error::{Error, ErrorKind, Result, brief_list, printable};
use crate::model::command_list::command_list;
use crate::model::json::BYTE_ORDER_MARK;
use crate::model::{
    AnswerSchema, DependencyCondition, DependencyRef, DependencyTarget, ExclusiveKey, GroupName,
    IdempotencyKey, LaneName, NewRequest, NewTask, SupportingPath, TaskSpec, Time, json,
};
use crate::model::{duration, limits};
use crate::store::is_address;

const SCHEMA_FILE: TextFile = TextFile {
    name: "schema",
    limit: 256 * 1024,
    refusal: ErrorKind::Invalid,
    hint_if_missing: "check the path given to --schema",
    unique_keys: true,
};

/// The context in which a submit is checked.
pub struct SubmitContext<'a> {
    /// The workspace.
    pub config: &'a Config,
    /// The directory against which relative paths of the request are resolved.
    pub base: &'a BaseDir,
    /// The current time.
    pub now: Time,
    /// Whether the request comes from a network client, which might not be able to read the files that it names:
    /// files with credentials are refused then.
    pub for_client: bool,
    /// Whether the store is on another machine, on which the worktree is: its server checks that.
    pub is_elsewhere: bool,
    /// The hashes of the named files.
    pub hashes: FileHashes,
}

impl<'a> SubmitContext<'a> {
    /// Makes the context of a local user, who can read the files of the workspace anyway.
    pub fn new(config: &'a Config, base: &'a BaseDir, now: Time) -> Self {
        let is_elsewhere = is_address(&config.store_root);
        Self { config, base, now, for_client: false, is_elsewhere, hashes: FileHashes::default() }
    }
}

/// A request that passed every check.
#[derive(Clone, Debug)]
pub struct CheckedSubmit {
    /// The task for the store to create.
    pub task: NewTask,
    /// Warnings for the user, one line each.
    pub warnings: Vec<String>,
}

/// Checks a request against the rules of the workspace and hashes its files.
///
/// # Errors
/// `Invalid` when a value of the request is not valid, `Config` for the task file, `Io` when a file cannot be read.
pub fn check_submit(context: &SubmitContext<'_>, request: SubmitRequest) -> Result<CheckedSubmit> {
    let mut file = (SubmitRequest::default(), Vec::new());
    let mut stem = None;
    if let Some(path) = &request.task_file {
        let path = context.base.absolute(path)?;
        stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        file = SubmitRequest::from_file(&resolve(&path)?)?;
    }
    check(context, request, file, stem.as_deref())
}

/// Checks one line of a batch: a JSON object with the keys of a task file, and `task_id` and `source_agent`.
/// `common` has the values of the flags, which take precedence over every line.
///
/// # Errors
/// As [`check_submit`]; the message names the line.
pub(crate) fn check_line(
    context: &SubmitContext<'_>,
    (number, line): (u64, &[u8]),
    common: SubmitRequest,
) -> Result<CheckedSubmit> {
    let source = format!("line {number}");
    let object = json::parse_line(line).map_err(|why| Error::invalid(format!("{source}: {why}")))?;
    if let Some(repeated) = std::str::from_utf8(line).ok().and_then(first_duplicate) {
        let message = format!("{source}: {}: this key is given twice", printable(&repeated.key));
        return Err(Error::invalid(message).with_hint("keep one of them"));
    }
    let line = SubmitRequest::from_line(MappingReader::of_request(source.clone(), object), context.base)?;
    let mut checked = check(context, common, line, None).map_err(|error| {
        let named = Error::new(error.kind(), format!("{source}: {}", error.message()));
        match error.hint() {
            Some(hint) => named.with_hint(hint),
            None => named,
        }
    })?;
    for warning in &mut checked.warnings {
        if !warning.starts_with(&source) {
            *warning = format!("{source}: {warning}");
        }
    }
    Ok(checked)
}

/// Checks as [`check_known`] does. A refusal repeats what was ignored, which may be why something is missing.
fn check(
    context: &SubmitContext<'_>,
    request: SubmitRequest,
    file: (SubmitRequest, Vec<String>),
    stem: Option<&str>,
) -> Result<CheckedSubmit> {
    let ignored = file.1.join("; ");
    check_known(context, request, file, stem).map_err(|error| {
        let hint = error.hint().map(str::to_string);
        match (ignored.is_empty(), hint) {
            (true, _) => error,
            (false, Some(hint)) => error.with_hint(format!("{hint}; {ignored}")),
            (false, None) => error.with_hint(ignored),
        }
    })
}

fn check_known(
    context: &SubmitContext<'_>,
    mut request: SubmitRequest,
    (file, mut warnings): (SubmitRequest, Vec<String>),
    stem: Option<&str>,
) -> Result<CheckedSubmit> {
    let SubmitContext { config, base: cwd, now, for_client, is_elsewhere, hashes } = context;
    let rules = PathRules::new(config, cwd)?.with(hashes.clone());
    let rules = if *for_client { rules.for_client() } else { rules };
    if let Some(path) = request.prompt_file.as_mut().filter(|path| !path.as_os_str().is_empty()) {
        *path = cwd.absolute(path)?;
        if request.prompt.is_some() {
            warnings.push("both --prompt and --prompt-file are given: the file is used".to_string());
        }
    }
    let asked = request.or(file);
    let source_agent = not_blank(asked.source_agent.as_deref()).unwrap_or("orchestrator").to_string();
    let correlation_id = not_blank(asked.correlation_id.as_deref()).or(not_blank(stem)).map(str::to_string);

    let lane = match asked.lane {
        Some(lane) => LaneName::new(lane)?,
        None => default_lane(config, *for_client)?,
    };
    let correlation_id = correlation_id.unwrap_or_else(|| lane.to_string());
    let expected_branch = asked.branch.or_else(|| config.expected_branch.clone());
    limits::check_short_text("the correlation id", &correlation_id)?;
    limits::check_short_text("the source agent", &source_agent)?;
    limits::check_argument("the branch", expected_branch.as_deref().unwrap_or_default())?;
    limits::check_keys("metadata", &asked.metadata)?;
    limits::check_metadata(&asked.metadata)?;

    let prompt_file = asked.prompt_file.clone();
    let prompt = prompt(&rules, asked.prompt, asked.prompt_file, asked.request_from.is_some())?;
    let response_path = asked
        .response_to
        .map(|path| rules.response(&path, "response_to").and_then(|real| as_text(&real, "response_to")))
        .transpose()?;
    let (request, prompt) = match asked.request_from {
        Some(path) => {
            let pinned = rules.pinned(cwd, &path, "request_from")?;
            if response_path.as_ref() == Some(&pinned.path) {
                warnings.push(
                    "request_from and response_to are the same file: the answer will replace it".to_string(),
                );
            }
            let request = NewRequest::File { path: pinned.path, sha256: pinned.sha256 };
            (request, prompt)
        }
        None => prompt_only(prompt, prompt_file.as_deref())?,
    };
    let root = BaseDir::at(rules.root.clone());
    let supporting_paths = asked
        .supporting_paths
        .iter()
        .enumerate()
        .map(|(n, path)| rules.pinned(&root, path, &format!("supporting_paths[{n}]")))
        .collect::<Result<Vec<SupportingPath>>>()?;
    let worktree_path = match asked.worktree_path {
        // A path of that machine; a worktree of this one is of no use there.
        given if *is_elsewhere => given,
        Some(path) => {
            let real = rules.worktree(cwd, &path)?;
            if !real.exists() {
                warnings.push(format!(
                    "worktree_path does not exist: {}; a run fails unless it does by then",
                    show(&real)
                ));
            }
            Some(real)
        }
        None => config.worktree_path.clone(),
    };

    let spec = TaskSpec {
        workspace_id: config.workspace_id.clone(),
        correlation_id,
        source_agent,
        lane,
        workspace_root: as_text(&rules.root, "workspace_root")?,
        worktree_path: worktree_path.map(|path| as_name(&path, "worktree_path")).transpose()?,
        expected_branch,
        supporting_paths,
        prompt,
        metadata: asked.metadata,
        priority: limits::check_priority(asked.priority.unwrap_or(0))?,
        max_attempts: asked.max_attempts.map(limits::check_max_attempts).transpose()?,
        key: asked.key.map(IdempotencyKey::new).transpose()?,
        name: asked.name.map(limits::check_name).transpose()?,
        labels: limits::check_labels(asked.labels)?,
        timeout: asked.timeout_seconds.map(limits::timeout_from_seconds).transpose()?.map(Into::into),
        retry_of: None,
        after: Vec::new(),
        exclusive: ExclusiveKey::check_all(asked.exclusive)?,
        group: asked.group.map(GroupName::new).transpose()?,
        deadline: asked.deadline.map(|text| deadline(*now, &text)).transpose()?,
        verify: check_commands(asked.verify)?,
        schema: asked.schema.map(|schema| read_schema(cwd, schema)).transpose()?,
    };
    let after = dependencies([asked.after, asked.after_ended].concat(), asked.after_group)?;
    let not_before = start(*now, asked.not_before, asked.delay_seconds)?;
    if let Some(deadline) = spec.deadline
        && not_before.unwrap_or(*now).max(*now) >= deadline
    {
        warnings.push(format!(
            "no worker can start this task before its deadline, {deadline}, and so it will fail"
        ));
    }
    let task = NewTask { spec, request, response_path, not_before, after };
    Ok(CheckedSubmit { task, warnings })
}

/// Checks the dependencies that a submit names, and adds the groups.
fn dependencies(mut after: Vec<DependencyRef>, groups: Vec<String>) -> Result<Vec<DependencyRef>> {
    if after.iter().any(|dependency| dependency.target == DependencyTarget::Task(String::new())) {
        return Err(Error::invalid("a dependency without an id")
            .with_hint("give the id of a task, or the end of one"));
    }
    for group in groups {
        let target = DependencyTarget::Group(GroupName::new(group)?);
        after.push(DependencyRef { target, on: DependencyCondition::Completed });
    }
    Ok(after)
}

/// Returns the lane of a local user who names none: the only one that handoff.yaml describes.
fn default_lane(config: &Config, for_client: bool) -> Result<LaneName> {
    let mut lanes = config.lanes.keys().map(LaneName::as_str);
    match (lanes.next(), lanes.next()) {
        (Some(only), None) if !for_client => LaneName::new(only),
        (Some(_), Some(_)) => Err(Error::invalid("a submit needs a lane").with_hint(format!(
            "give --lane NAME, or `lane:` in the task file; this queue has {}",
            brief_list(config.lanes.keys().map(LaneName::as_str))
        ))),
        _ => Err(Error::invalid("a submit needs a lane")
            .with_hint("give --lane NAME, or `lane:` in the task file")),
    }
}

/// Returns `text` unless it is blank.
fn not_blank(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}

/// Returns the prompt: the text, otherwise the content of the file; empty if there is neither.
fn prompt(
    rules: &PathRules<'_>,
    text: Option<String>,
    file: Option<PathBuf>,
    has_request: bool,
) -> Result<String> {
    let prompt = match (text, file) {
        (Some(text), _) => text,
        (None, Some(file)) => rules.prompt(&file, limits::max_prompt(has_request))?,
        (None, None) => String::new(),
    };
    // A byte order mark of an editor does not belong to the prompt.
    let prompt = prompt.strip_prefix(BYTE_ORDER_MARK).map(str::to_string).unwrap_or(prompt);
    limits::check_prompt(&prompt, has_request).map(|()| prompt)
}

/// Makes a request that is only a prompt, perhaps that of `file`. Returns it with the prompt for task.json.
///
/// # Errors
/// `Invalid` when it is blank.
fn prompt_only(text: String, file: Option<&Path>) -> Result<(NewRequest, String)> {
    if text.trim().is_empty() {
        return Err(match file {
            Some(file) => Error::invalid_here(format!("there is nothing to do: {} is empty", show(file))),
            None => Error::invalid("there is nothing to do: no request file and no prompt").with_hint(
                "give --request-from FILE, --prompt TEXT, or --prompt-file FILE (- for standard input)",
            ),
        });
    }
    Ok(NewRequest::prompt(text))
}

/// Returns the time by which a task must be started, from a duration or a time.
fn deadline(now: Time, text: &str) -> Result<Time> {
    if let Ok(time) = Time::parse(text) {
        return Ok(time);
    }
    let span = duration::parse(text).ok_or_else(|| {
        Error::invalid(format!("the deadline is neither a duration nor a time: {}", printable(text)))
            .with_hint("write it as 90, 15m, 2h or 1d, or as 2026-12-24T18:00:00Z")
    })?;
    Ok(now + limits::check_delay(span)?)
}

/// Returns the schema that a submit gives, or whose file it names.
fn read_schema(cwd: &BaseDir, given: Value) -> Result<AnswerSchema> {
    let schema = match given {
        Value::Object(schema) => schema,
        Value::String(path) => SCHEMA_FILE.read_document(&cwd.absolute(Path::new(&path))?)?.object,
        _ => return Err(Error::invalid("a schema is a JSON object, or the path of a file with one")),
    };
    AnswerSchema::new(schema)
}

/// Checks commands of a submit: a flag may give any text.
fn check_commands(commands: Vec<Vec<String>>) -> Result<Vec<Vec<String>>> {
    let items: Vec<Value> = commands.iter().cloned().map(Value::from).collect();
    command_list(&items).ok_or_else(|| {
        Error::invalid("a command of verify is empty, has a null character, or they are too long together")
            .with_hint("give at most 50 commands with 64 KiB together; put longer ones into a script")
    })
}

/// Returns the first time at which the task can be claimed, `None` for immediately.
fn start(now: Time, not_before: Option<Time>, delay_seconds: Option<f64>) -> Result<Option<Time>> {
    match (not_before, delay_seconds) {
        (Some(_), Some(_)) => {
            Err(Error::invalid("delay and not_before exclude each other").with_hint("give only one of them"))
        }
        (time, None) => Ok(time),
        (None, Some(seconds)) => {
            let delay = limits::delay_from_seconds(seconds)?;
            Ok((!delay.is_zero()).then(|| now + delay))
        }
    }
}

#[cfg(test)]
mod tests;
