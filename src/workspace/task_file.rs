//! Task files: the fields of a submit, written down once in YAML or JSON.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fields::Fields;
use super::paths::show;
use super::text_file::TextFile;
use crate::error::{ErrorKind, Result};
use crate::model::Time;
use crate::model::json::Object;

const TASK_FILE: TextFile = TextFile {
    name: "task file",
    limit: 1024 * 1024,
    refusal: ErrorKind::Config,
    hint_if_missing: "check the path given to --task",
};

/// What a task file says, types checked, nothing resolved yet.
#[derive(Debug, Default)]
pub(super) struct TaskFile {
    pub lane: Option<String>,
    pub metadata: Object,
    pub prompt: Option<String>,
    pub prompt_file: Option<PathBuf>,
    pub request_from: Option<PathBuf>,
    pub response_to: Option<PathBuf>,
    pub supporting: Vec<PathBuf>,
    pub worktree_path: Option<PathBuf>,
    pub branch: Option<String>,
    pub priority: Option<i64>,
    pub not_before: Option<Time>,
    pub delay_seconds: Option<f64>,
    pub max_attempts: Option<i64>,
    pub key: Option<String>,
    pub name: Option<String>,
    pub labels: Vec<String>,
    pub timeout_seconds: Option<f64>,
    /// Lines worth telling the user.
    pub warnings: Vec<String>,
}

impl TaskFile {
    /// Reads a task file; `path` is absolute.
    ///
    /// # Errors
    /// `Config` or `Io`, naming the file and the key, or line and column.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let mut fields = Fields::new(format!("task file {}", show(path)), TASK_FILE.read_document(path)?);
        let mut file = Self {
            lane: fields.text("lane")?,
            metadata: fields.mapping("metadata")?,
            prompt: fields.text("prompt")?,
            prompt_file: fields.text("prompt_file")?.map(PathBuf::from),
            request_from: fields.text("request_from")?.map(PathBuf::from),
            response_to: fields.text("response_to")?.map(PathBuf::from),
            supporting: supporting(&mut fields)?,
            worktree_path: fields.text_or_blank("worktree_path")?.map(PathBuf::from),
            branch: fields.text_or_blank("branch")?,
            priority: fields.integer("priority")?,
            not_before: not_before(&mut fields)?,
            delay_seconds: fields.span("delay")?,
            max_attempts: fields.integer("max_attempts")?,
            key: fields.text("key")?,
            name: fields.text_or_blank("name")?,
            labels: fields.texts("labels")?,
            timeout_seconds: fields.span("timeout")?,
            warnings: Vec::new(),
        };
        file.warnings.extend(fields.unknown_keys());
        if file.prompt.is_some() && file.prompt_file.take().is_some() {
            file.warnings.push(format!(
                "task file {} has both 'prompt' and 'prompt_file'; 'prompt' is used",
                show(path)
            ));
        }
        Ok(file)
    }
}

/// `supporting_paths`: each a text, or a mapping with the key `path`.
fn supporting(fields: &mut Fields) -> Result<Vec<PathBuf>> {
    let key = "supporting_paths";
    let mut paths = Vec::new();
    for item in fields.list(key)? {
        let path = match item {
            Value::Object(mut details) => details.remove("path").unwrap_or_default(),
            other => other,
        };
        match path {
            Value::String(path) => paths.push(PathBuf::from(path)),
            _ => return Err(fields.wrong(key, "a list of paths")),
        }
    }
    Ok(paths)
}

fn not_before(fields: &mut Fields) -> Result<Option<Time>> {
    let key = "not_before";
    match fields.text(key)? {
        None => Ok(None),
        Some(text) => match Time::parse(&text) {
            Ok(time) => Ok(Some(time)),
            Err(_) => Err(fields.wrong(key, "a time such as 2026-01-31T09:00:00Z")),
        },
    }
}
