//! What a task asks for, as text.

use std::fs::File;
use std::io::Read;

use serde_json::Value;

use crate::error::{Error, Result, printable};
use crate::model::Task;
use crate::model::message::messages_text;
use crate::model::question::answered_text;
use crate::store::Store;

/// The maximum number of bytes that are read of a request in the store.
const MAX_REQUEST: u64 = 9 * 1024 * 1024;
/// The keys of the metadata that belong to the request.
const BACKGROUND: [&str; 3] = ["goal", "caller", "context"];

/// Returns the request of a task: its background, the names of its files, and its text.
///
/// # Errors
/// `Io` when the request that the store keeps cannot be read.
pub(super) fn request_text(store: &Store, task: &Task) -> Result<String> {
    let mut parts = Vec::new();
    for key in BACKGROUND {
        if let Some(text) = task.spec.metadata.get(key).and_then(Value::as_str) {
            parts.push(format!("{key}: {text}"));
        }
    }
    let mut names = Vec::new();
    let prompt = match store.blobs().stored_request(task)? {
        Some(file) => read(file, &task.request_path)?,
        None => {
            names.push(("request file", task.request_path.as_str()));
            task.spec.prompt.clone()
        }
    };
    names.extend(task.spec.supporting_paths.iter().map(|file| ("supporting file", file.path.as_str())));
    names.extend(task.spec.worktree_path.as_deref().map(|path| ("work in", path)));
    names.extend(task.spec.expected_branch.as_deref().map(|branch| ("branch", branch)));
    parts.extend(names.into_iter().map(|(what, name)| format!("{what}: {}", printable(name))));
    if !prompt.is_empty() {
        if !parts.is_empty() {
            parts.push(String::new());
        }
        parts.push(prompt);
    }
    let answered = answered_text(&task.questions);
    if !answered.is_empty() {
        parts.push(format!("\nAnswers to earlier questions:\n\n{answered}"));
    }
    let messages = messages_text(&task.messages);
    if !messages.is_empty() {
        parts.push(format!("\n{messages}"));
    }
    Ok(parts.join("\n"))
}

fn read(file: File, path: &str) -> Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_REQUEST).read_to_end(&mut bytes).map_err(|error| Error::io("read", path, error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
