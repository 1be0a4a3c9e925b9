//! From a wish for a task to a checked [`NewTask`].

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::Config;
use super::lane::check_lane;
use super::limits;
use super::paths::{absolute, as_text, file_type, require_inside, resolve, show};
use super::task_file::TaskFile;
use super::text_file::TextFile;
use crate::digest::sha256_file;
use crate::error::{Error, ErrorKind, Result};
use crate::model::task::NewRequest;
use crate::model::transition::check_delay;
use crate::model::{NewTask, SupportingPath, Time};

/// The largest prompt beside a request file, in bytes (1 MiB).
pub const MAX_PROMPT: usize = 1024 * 1024;
/// The largest prompt that is the whole request, in bytes (8 MiB).
pub const MAX_PROMPT_ONLY: usize = 8 * 1024 * 1024;
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
/// `cwd` is the absolute current directory of whoever wishes.
///
/// # Errors
/// `Invalid` for what the caller can mend in the wish, `Config` for the task file, `Io`.
pub fn check_submit(config: &Config, cwd: &Path, now: Time, wish: SubmitWish) -> Result<Checked> {
    let (file, stem) = match &wish.task_file {
        None => (TaskFile::default(), None),
        Some(path) => {
            let path = absolute(cwd, path)?;
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            (TaskFile::load(&path)?, stem)
        }
    };
    let mut warnings = file.warnings;
    let places = Places { cwd, root: resolve(&config.workspace_root)?, store: &config.store_root };

    let lane = wish.lane.or(file.lane).ok_or_else(|| {
        Error::invalid("a submit needs a lane").with_hint("give --lane NAME, or `lane:` in the task file")
    })?;
    check_lane(&lane)?;

    let request_from = wish.request_from.or(file.request_from);
    let most = if request_from.is_some() { MAX_PROMPT } else { MAX_PROMPT_ONLY };
    let prompt = if let Some(path) = wish.prompt_file {
        if wish.prompt.is_some() {
            warnings.push("both --prompt and --prompt-file were given; the file is used".to_string());
        }
        places.prompt(cwd, &path, most)?
    } else if let Some(text) = wish.prompt.or(file.prompt) {
        text
    } else if let Some(path) = file.prompt_file {
        // A task file was read, so that it has a path, which has a directory.
        let task_file = absolute(cwd, wish.task_file.as_deref().unwrap_or(Path::new(".")))?;
        places.prompt(task_file.parent().unwrap_or(cwd), &path, most)?
    } else {
        String::new()
    };
    if prompt.len() > most {
        return Err(Error::invalid(format!("the prompt is {} bytes long", prompt.len())).with_hint(format!(
            "at most {most} are taken; put the rest into a file and name it with --request-from"
        )));
    }

    let response_to = wish.response_to.or(file.response_to);
    let response_path = response_to.map(|path| places.response(&path)).transpose()?;
    let (request, prompt) = match request_from {
        Some(path) => {
            let pinned = places.pinned(cwd, &path, "request_from")?;
            if response_path.as_ref() == Some(&pinned.path) {
                warnings.push(
                    "request_from and response_to are one file; the answer will replace it".to_string(),
                );
            }
            let request = NewRequest::File { path: pinned.path, sha256: pinned.sha256 };
            (request, prompt)
        }
        None => prompt_only(prompt)?,
    };

    let supporting = if wish.supporting.is_empty() { file.supporting } else { wish.supporting };
    let supporting_paths = supporting
        .iter()
        .enumerate()
        .map(|(n, path)| places.pinned(&places.root, path, &format!("supporting_paths[{n}]")))
        .collect::<Result<Vec<SupportingPath>>>()?;

    let worktree_path = match wish.worktree_path.or(file.worktree_path) {
        Some(path) => Some(places.real(cwd, &path, "worktree_path")?),
        None => config.worktree_path.clone(),
    };
    let worktree_path = worktree_path.map(|path| as_text(&path, "worktree_path")).transpose()?;

    let mut metadata = file.metadata;
    metadata.extend(wish.metadata.into_iter().map(|(key, value)| (key, Value::from(value))));

    let correlation_id =
        wish.correlation_id.or(stem).filter(|id| !id.trim().is_empty()).unwrap_or_else(|| lane.clone());
    let source_agent =
        if wish.source_agent.trim().is_empty() { "orchestrator".to_string() } else { wish.source_agent };
    let expected_branch = wish
        .branch
        .filter(|branch| !branch.is_empty())
        .or(file.branch)
        .or_else(|| config.expected_branch.clone());
    limits::word("the correlation id", &correlation_id)?;
    limits::word("the source agent", &source_agent)?;
    limits::word("the branch", expected_branch.as_deref().unwrap_or_default())?;

    let not_before = if wish.not_before.is_some() || wish.delay_seconds.is_some() {
        start(now, wish.not_before, wish.delay_seconds)?
    } else {
        start(now, file.not_before, file.delay_seconds)?
    };
    let labels = if wish.labels.is_empty() { file.labels } else { wish.labels };
    let key = wish.key.or(file.key);
    key.as_deref().map(limits::key).transpose()?;
    let name = wish.name.or(file.name);
    name.as_deref().map(limits::name).transpose()?;

    let task = NewTask {
        workspace_id: config.workspace_id.clone(),
        correlation_id,
        source_agent,
        lane,
        workspace_root: as_text(&places.root, "workspace_root")?,
        worktree_path,
        expected_branch,
        request,
        supporting_paths,
        response_path,
        prompt,
        metadata,
        priority: limits::priority(wish.priority.or(file.priority).unwrap_or(0))?,
        not_before,
        max_attempts: wish.max_attempts.or(file.max_attempts).map(limits::max_attempts).transpose()?,
        key,
        name,
        labels: limits::labels(labels)?,
        timeout_seconds: wish.timeout_seconds.or(file.timeout_seconds).map(limits::timeout).transpose()?,
        retry_of: None,
    };
    Ok(Checked { task, warnings })
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

/// The path rules of one workspace.
struct Places<'a> {
    cwd: &'a Path,
    /// Resolved.
    root: PathBuf,
    store: &'a Path,
}

impl Places<'_> {
    /// Where `path` leads, whether or not it exists.
    fn real(&self, base: &Path, path: &Path, label: &str) -> Result<PathBuf> {
        if path.as_os_str().is_empty() {
            return Err(Error::invalid(format!("{label} is empty")).with_hint("leave it out or name a file"));
        }
        resolve(&absolute(base, path)?)
    }

    /// Where `path` leads, which must be in the workspace.
    fn inside(&self, base: &Path, path: &Path, label: &str) -> Result<PathBuf> {
        let real = self.real(base, path, label)?;
        require_inside(&self.root, &real, label)?;
        Ok(real)
    }

    /// An existing file of the workspace with its fingerprint.
    fn pinned(&self, base: &Path, path: &Path, label: &str) -> Result<SupportingPath> {
        let real = self.inside(base, path, label)?;
        match file_type(&real)? {
            None => return Err(Error::invalid(format!("{label} does not exist: {}", show(&real)))),
            Some(kind) if !kind.is_file() => {
                return Err(Error::invalid(format!("{label} is not a regular file: {}", show(&real))));
            }
            Some(_) => {}
        }
        Ok(SupportingPath {
            path: as_text(&real, label)?,
            sha256: sha256_file(&real).map_err(|error| Error::io("read", &real, error))?,
        })
    }

    /// A file of the workspace that may be written, now or later.
    fn response(&self, path: &Path) -> Result<String> {
        let label = "response_to";
        let real = self.inside(self.cwd, path, label)?;
        if real.starts_with(self.store) {
            return Err(Error::invalid(format!("{label} is inside the state directory: {}", show(&real)))
                .with_hint("name a file outside it, or leave it out to keep the answer in the store"));
        }
        if file_type(&real)?.is_some_and(|kind| !kind.is_file()) {
            return Err(Error::invalid(format!("{label} is not a regular file: {}", show(&real)))
                .with_hint("name a file that may be written"));
        }
        as_text(&real, label)
    }

    /// The text of a prompt file of at most `most` bytes.
    fn prompt(&self, base: &Path, path: &Path, most: usize) -> Result<String> {
        let real = self.inside(base, path, "prompt_file")?;
        let prompt_file = TextFile {
            name: "prompt_file",
            limit: most,
            refusal: ErrorKind::Invalid,
            hint_if_missing: "a flag's path is relative to the current directory, a task file's to that file",
        };
        prompt_file.read(&real)
    }
}
