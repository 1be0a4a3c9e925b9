//! From a wish for a task to a checked [`NewTask`].

use std::ffi::OsStr;
use std::path::PathBuf;

use serde_json::Value;

use super::base_dir::Base;
use super::config::Config;
use super::fingerprints::Fingerprints;
use super::paths::{as_name, as_text, resolve};
use super::submit_paths::Places;
use super::task_file::TaskFile;
use super::yaml::{Fields, first_duplicate};
use crate::error::{Error, Result, printable};
use crate::model::json::BYTE_ORDER_MARK;
use crate::model::limits::{self, MAX_PROMPT, MAX_PROMPT_ONLY};
use crate::model::transition::check_delay;
use crate::model::{NewRequest, NewTask, SupportingPath, TaskSpec, Time, check_lane, json};

/// The longest prompt, in bytes, that task.json repeats when the prompt is the whole request.
const MAX_REPEATED: usize = 16 * 1024;

/// What somebody wants to submit: flags, and the task file they may refer to. A flag wins over the
/// same field of the file.
#[derive(Clone, Debug, Default)]
pub struct SubmitWish {
    /// A YAML or JSON file with defaults for the rest, relative to the current directory.
    pub task_file: Option<PathBuf>,
    /// The lane.
    pub lane: Option<String>,
    /// The file to work on, relative to the current directory; without it the prompt is the request.
    pub request_from: Option<PathBuf>,
    /// Where the answer goes, relative to the current directory; need not exist.
    pub response_to: Option<PathBuf>,
    /// Words for the worker.
    pub prompt: Option<String>,
    /// A file with words for the worker, relative to the current directory; wins over `prompt`.
    /// Never `-`: whoever reads standard input gives it as `prompt`.
    pub prompt_file: Option<PathBuf>,
    /// Where to work, relative to the current directory.
    pub worktree_path: Option<PathBuf>,
    /// The branch to work on.
    pub branch: Option<String>,
    /// Added to the file's metadata; the same key wins over it.
    pub metadata: Vec<(String, String)>,
    /// Who submits; `orchestrator` when empty.
    pub source_agent: String,
    /// The submitter's name for the work; default: the task file's name without extension, else
    /// the lane.
    pub correlation_id: Option<String>,
    /// Further files of the request, relative to the workspace root.
    pub supporting: Vec<PathBuf>,
    /// Higher goes first.
    pub priority: Option<i64>,
    /// Not to be claimed before this moment.
    pub not_before: Option<Time>,
    /// Not to be claimed for this long, in seconds; not together with `not_before`.
    pub delay_seconds: Option<f64>,
    /// Runs allowed.
    pub max_attempts: Option<i64>,
    /// Idempotency key.
    pub key: Option<String>,
    /// A title for people.
    pub name: Option<String>,
    /// Free words for people.
    pub labels: Vec<String>,
    /// How long one run may take, in seconds.
    pub timeout_seconds: Option<f64>,
    /// Whether a client wishes this over the network, who may not be able to read the files that it names:
    /// those that hold credentials are refused then.
    pub for_client: bool,
    /// The fingerprints of the files that it names.
    pub fingerprints: Fingerprints,
}

/// A wish that passed every check.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What the store is to make.
    pub task: NewTask,
    /// Lines worth telling the user.
    pub warnings: Vec<String>,
}

/// Checks a wish against the rules of the workspace and fingerprints its files.
///
/// `cwd` is what relative paths of the wish count from.
///
/// # Errors
/// `Invalid` for what the caller can mend in the wish, `Config` for the task file, `Io`.
pub fn check_submit(config: &Config, cwd: &Base, now: Time, wish: SubmitWish) -> Result<Checked> {
    let mut file = TaskFile::default();
    let mut stem = None;
    if let Some(path) = &wish.task_file {
        let path = cwd.absolute(path)?;
        stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        file = TaskFile::load(&resolve(&path)?)?;
    }
    check(config, cwd, now, wish, file, stem.as_deref())
}

/// Checks one line of a batch: a JSON object with the keys of a task file, and `task_id` and
/// `source_agent`. `common` is what the flags say for all lines and wins over the line.
///
/// # Errors
/// As [`check_submit`]; the message names the line.
pub fn check_line(
    config: &Config,
    cwd: &Base,
    now: Time,
    (number, line): (u64, &[u8]),
    common: SubmitWish,
) -> Result<Checked> {
    let source = format!("line {number}");
    let object = json::parse_line(line).map_err(|why| Error::invalid(format!("{source}: {why}")))?;
    if let Some(repeated) = std::str::from_utf8(line).ok().and_then(first_duplicate) {
        let message = format!("{source}: {}: this key is given twice", printable(&repeated.key));
        return Err(Error::invalid(message).with_hint("keep one of them"));
    }
    let mut fields = Fields::new(source.clone(), object);
    let (task_id, source_agent) = (fields.text_or_blank("task_id")?, fields.text_or_blank("source_agent")?);
    let mut wish = common;
    // Lines may come hours apart, and their files change meanwhile.
    wish.fingerprints = Fingerprints::default();
    wish.correlation_id = wish.correlation_id.or(task_id);
    if wish.source_agent.is_empty() {
        wish.source_agent = source_agent.unwrap_or_default();
    }
    let file = TaskFile::read(fields, cwd)?;
    let mut checked = check(config, cwd, now, wish, file, None).map_err(|error| {
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

fn check(
    config: &Config,
    cwd: &Base,
    now: Time,
    wish: SubmitWish,
    file: TaskFile,
    stem: Option<&str>,
) -> Result<Checked> {
    let places = Places::new(config, cwd, wish.for_client)?.with(wish.fingerprints.clone());
    let source_agent = said(Some(&wish.source_agent)).unwrap_or("orchestrator").to_string();
    let correlation_id = said(wish.correlation_id.as_deref()).or(said(stem)).map(str::to_string);
    let asked = overlay(file, wish, cwd)?;
    let mut warnings = asked.warnings;

    let lane = asked.lane.ok_or_else(|| {
        Error::invalid("a submit needs a lane").with_hint("give --lane NAME, or `lane:` in the task file")
    })?;
    check_lane(&lane)?;
    let correlation_id = correlation_id.unwrap_or_else(|| lane.clone());
    let expected_branch = asked.branch.or_else(|| config.expected_branch.clone());
    limits::word("the correlation id", &correlation_id)?;
    limits::word("the source agent", &source_agent)?;
    limits::argument("the branch", expected_branch.as_deref().unwrap_or_default())?;
    limits::metadata(&asked.metadata)?;

    let prompt = prompt(&places, asked.prompt, asked.prompt_file, asked.request_from.is_some())?;
    let response_path = asked
        .response_to
        .map(|path| places.response(&path, "response_to").and_then(|real| as_text(&real, "response_to")))
        .transpose()?;
    let (request, prompt) = match asked.request_from {
        Some(path) => {
            let pinned = places.pinned(cwd, &path, "request_from")?;
            if response_path.as_ref() == Some(&pinned.path) {
                warnings.push(
                    "request_from and response_to are one file: the answer will replace it".to_string(),
                );
            }
            let request = NewRequest::File { path: pinned.path, sha256: pinned.sha256 };
            (request, prompt)
        }
        None => prompt_only(prompt)?,
    };
    let root = Base::at(places.root.clone());
    let supporting_paths = asked
        .supporting
        .iter()
        .enumerate()
        .map(|(n, path)| places.pinned(&root, path, &format!("supporting_paths[{n}]")))
        .collect::<Result<Vec<SupportingPath>>>()?;
    let worktree_path = match asked.worktree_path {
        Some(path) => Some(places.worktree(cwd, &path)?),
        None => config.worktree_path.clone(),
    };

    let spec = TaskSpec {
        workspace_id: config.workspace_id.clone(),
        correlation_id,
        source_agent,
        lane,
        workspace_root: as_text(&places.root, "workspace_root")?,
        worktree_path: worktree_path.map(|path| as_name(&path, "worktree_path")).transpose()?,
        expected_branch,
        supporting_paths,
        prompt,
        metadata: asked.metadata,
        priority: limits::priority(asked.priority.unwrap_or(0))?,
        max_attempts: asked.max_attempts.map(limits::max_attempts).transpose()?,
        key: asked.key.map(limits::key).transpose()?,
        name: asked.name.map(limits::name).transpose()?,
        labels: limits::labels(asked.labels)?,
        timeout_seconds: asked.timeout_seconds.map(limits::timeout).transpose()?,
        retry_of: None,
    };
    let not_before = start(now, asked.not_before, asked.delay_seconds)?;
    let task = NewTask { spec, request, response_path, not_before };
    Ok(Checked { task, warnings })
}

/// `text` unless it is blank.
fn said(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}

/// The fields of the task file with those of the flags laid over them.
fn overlay(file: TaskFile, wish: SubmitWish, cwd: &Base) -> Result<TaskFile> {
    let mut asked = file;
    if let Some(path) = wish.prompt_file.filter(is_not_empty) {
        if wish.prompt.is_some() {
            let warning = "both --prompt and --prompt-file are given: the file is used";
            asked.warnings.push(warning.to_string());
        }
        asked.prompt_file = Some(cwd.absolute(&path)?);
        asked.prompt = None;
    } else if wish.prompt.is_some() {
        asked.prompt = wish.prompt;
    }
    // The two exclude each other, so that a flag for one also replaces the file's other.
    if wish.not_before.is_some() || wish.delay_seconds.is_some() {
        asked.not_before = wish.not_before;
        asked.delay_seconds = wish.delay_seconds;
    }
    if !wish.supporting.is_empty() {
        asked.supporting = wish.supporting;
    }
    if !wish.labels.is_empty() {
        asked.labels = wish.labels;
    }
    let pairs = wish.metadata.into_iter();
    asked.metadata.extend(pairs.map(|(key, value)| (key, Value::from(value))));
    Ok(TaskFile {
        lane: given(wish.lane, asked.lane),
        request_from: given(wish.request_from, asked.request_from),
        response_to: given(wish.response_to, asked.response_to),
        worktree_path: wish.worktree_path.filter(is_not_empty).or(asked.worktree_path),
        branch: wish.branch.filter(is_not_empty).or(asked.branch),
        priority: wish.priority.or(asked.priority),
        max_attempts: wish.max_attempts.or(asked.max_attempts),
        key: wish.key.or(asked.key),
        name: wish.name.or(asked.name),
        timeout_seconds: wish.timeout_seconds.or(asked.timeout_seconds),
        ..asked
    })
}

/// A flag that is empty, as from an unset shell variable, does not hide what the file says; alone
/// it stays, to be refused, since leaving it out can mean something else.
fn given<T: AsRef<OsStr>>(flag: Option<T>, file: Option<T>) -> Option<T> {
    match (flag, file) {
        (Some(flag), Some(file)) => Some(if is_not_empty(&flag) { flag } else { file }),
        (flag, file) => flag.or(file),
    }
}

fn is_not_empty<T: AsRef<OsStr>>(text: &T) -> bool {
    !text.as_ref().is_empty()
}

/// The words for the worker: the text, else the file's content; empty when there is neither.
fn prompt(
    places: &Places<'_>,
    text: Option<String>,
    file: Option<PathBuf>,
    has_request: bool,
) -> Result<String> {
    let most = if has_request { MAX_PROMPT } else { MAX_PROMPT_ONLY };
    let prompt = match (text, file) {
        (Some(text), _) => text,
        (None, Some(file)) => places.prompt(&file, most)?,
        (None, None) => String::new(),
    };
    // An editor's mark of the encoding, not a word for the worker.
    let prompt = prompt.strip_prefix(BYTE_ORDER_MARK).map(str::to_string).unwrap_or(prompt);
    if prompt.len() > most {
        let message = format!("the prompt is {} bytes long; at most {most} are taken", prompt.len());
        return Err(Error::invalid(message).with_hint("write it to a file and name that with --request-from"));
    }
    Ok(prompt)
}

/// A request that is only text: the text, and what task.json says of it.
fn prompt_only(text: String) -> Result<(NewRequest, String)> {
    if text.trim().is_empty() {
        return Err(Error::invalid("there is nothing to do: no request file and no prompt").with_hint(
            "give --request-from FILE, --prompt TEXT, or --prompt-file FILE (- for standard input)",
        ));
    }
    let prompt = if text.len() <= MAX_REPEATED {
        text.clone()
    } else {
        format!("The request file holds the prompt ({} bytes).", text.len())
    };
    Ok((NewRequest::Text(text), prompt))
}

/// The first moment of availability, `None` for at once.
fn start(now: Time, not_before: Option<Time>, delay_seconds: Option<f64>) -> Result<Option<Time>> {
    match (not_before, delay_seconds) {
        (Some(_), Some(_)) => {
            Err(Error::invalid("delay and not_before exclude each other").with_hint("give only one of them"))
        }
        (time, None) => Ok(time),
        (None, Some(seconds)) => {
            let seconds = check_delay(seconds)?;
            Ok((seconds > 0.0).then(|| now.plus_seconds(seconds)))
        }
    }
}

#[cfg(test)]
mod tests;
