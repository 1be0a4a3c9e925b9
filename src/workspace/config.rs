//! `handoff.yaml`: which workspace this is, and where its queue is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::document;
use super::fields::Fields;
use super::paths::{absolute, resolve, show};
use super::text_file::TextFile;
use crate::error::{Error, ErrorKind, Result, printable};

const CONFIG_FILE: TextFile = TextFile {
    name: "config file",
    limit: 1024 * 1024,
    refusal: ErrorKind::Config,
    hint_if_missing: "`lanes init` writes a new workspace",
};

/// What the commands need to know of a workspace. All paths are absolute and resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from; `None` when only a store was named.
    pub path: Option<PathBuf>,
    /// The name that stands in every task.
    pub workspace_id: String,
    /// Request, response and supporting files must lie inside this directory.
    pub workspace_root: PathBuf,
    /// The state directory; it need not exist yet.
    pub store_root: PathBuf,
    /// Where workers work, unless a task says otherwise.
    pub worktree_path: Option<PathBuf>,
    /// The branch workers work on, unless a task says otherwise.
    pub expected_branch: Option<String>,
    /// The lanes that are described: name → description, which may be empty.
    pub lanes: BTreeMap<String, String>,
    /// The `dispatch` section as it was written, for the dispatcher to read.
    pub dispatch: Option<serde_yaml::Value>,
    /// Lines worth telling the user, such as unknown keys.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads a `handoff.yaml`, which may also be JSON.
    ///
    /// Paths in the file are relative to its directory; `store_override` and `path` itself are
    /// relative to the current directory.
    ///
    /// # Errors
    /// `Config` or `Io`, naming the file and the key, or line and column.
    pub fn load(path: &Path, store_override: Option<&Path>) -> Result<Self> {
        let here = current_dir()?;
        let path = resolve(&absolute(&here, path)?)?;
        let object = CONFIG_FILE.read_document(&path)?;
        // A file that could be read has a directory.
        let base = path.parent().unwrap_or(Path::new("/"));
        let mut fields = Fields::new(format!("config file {}", show(&path)), object);
        if fields.has("checkpoints") {
            return Err(Error::config(format!(
                "checkpoints in handoff.yaml are no longer supported: {}",
                show(&path)
            ))
            .with_hint("describe each task in a file of its own and submit it with `submit --task FILE`"));
        }
        let Some(workspace_id) = fields.text_or_blank("workspace_id")? else {
            return Err(fields.wrong("workspace_id", "a text that is not empty"));
        };
        let mut directory = |key: &str, default: Option<&str>| -> Result<Option<PathBuf>> {
            let text = fields.text_or_blank(key)?;
            match text.as_deref().or(default) {
                None => Ok(None),
                Some(text) => resolve(&absolute(base, Path::new(text))?).map(Some),
            }
        };
        let workspace_root = directory("workspace_root", Some(".."))?;
        let queue_root = directory("queue_root", Some("state"))?;
        let worktree_path = directory("worktree_path", None)?;
        let store_root = match store_override {
            Some(store) => Some(resolve(&absolute(&here, store)?)?),
            None => queue_root,
        };
        let expected_branch = fields.text_or_blank("expected_branch")?;
        let lanes = lanes(&mut fields)?;
        let dispatch = fields.value("dispatch").map(document::to_yaml);
        Ok(Self {
            workspace_id: workspace_id.trim().to_string(),
            // Both have defaults.
            workspace_root: workspace_root.unwrap_or_default(),
            store_root: store_root.unwrap_or_default(),
            worktree_path,
            expected_branch,
            lanes,
            dispatch,
            warnings: fields.unknown_keys().into_iter().collect(),
            path: Some(path),
        })
    }

    /// A workspace of which only the store is known: its root is `cwd`, its id the name of `cwd`.
    /// `store` is relative to `cwd`.
    pub fn store_only(store: &Path, cwd: &Path) -> Result<Self> {
        let workspace_root = resolve(cwd)?;
        let name = workspace_root.file_name().unwrap_or_default().to_string_lossy();
        let name = printable(name.trim());
        Ok(Self {
            path: None,
            workspace_id: if name.is_empty() { "workspace".to_string() } else { name },
            store_root: resolve(&absolute(cwd, store)?)?,
            workspace_root,
            worktree_path: None,
            expected_branch: None,
            lanes: BTreeMap::new(),
            dispatch: None,
            warnings: Vec::new(),
        })
    }
}

/// The current directory of this process.
pub(super) fn current_dir() -> Result<PathBuf> {
    std::env::current_dir().map_err(|error| Error::io("find", "the current directory", error))
}

fn lanes(fields: &mut Fields) -> Result<BTreeMap<String, String>> {
    let expected = "a mapping of names to texts or to {description: text}";
    let mut lanes = BTreeMap::new();
    for (name, value) in fields.mapping("lanes")? {
        let value = match value {
            Value::Object(mut details) => details.remove("description").unwrap_or_default(),
            other => other,
        };
        let description = match &value {
            Value::Null => Some(String::new()),
            other => document::scalar_text(other),
        };
        match description {
            Some(description) => lanes.insert(name, description),
            None => return Err(fields.wrong("lanes", expected)),
        };
    }
    Ok(lanes)
}
