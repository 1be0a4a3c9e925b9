//! Collects the parts of a prompt from the task, its history, its route and the store.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::Value;

use super::{
    Artifact, LONGEST_REQUEST, PromptInput, ThreadAnswer, ThreadLink, fill_template, thread_history,
};
use crate::digest::sha256_bytes;
use crate::dispatch::config::plan::Surroundings;
use crate::dispatch::config::route::Route;
use crate::dispatch::output::one_line;
use crate::dispatch::run::retry;
use crate::model::{Event, Task, TaskId};
use crate::store::Store;
use crate::{Error, Result};

/// Maximum size of a prompt that the store holds, in bytes.
const LONGEST_PROMPT: u64 = 9 * 1024 * 1024;

/// Returns the text at `key` in the task's metadata, trimmed; `None` if it is missing, empty or not text.
pub fn metadata_text<'a>(task: &'a Task, key: &str) -> Option<&'a str> {
    task.spec.metadata.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}

/// Returns the id of the conversation that the task continues.
///
/// # Errors
/// A message for people if the id is not text.
pub fn session(task: &Task) -> std::result::Result<Option<&str>, String> {
    match task.spec.metadata.get("session_id") {
        None | Some(Value::Null | Value::String(_)) => Ok(metadata_text(task, "session_id")),
        Some(other) => {
            let shown = one_line(&other.to_string(), 80);
            Err(format!(
                "session_id in the task's metadata must be text, the id of a conversation, not {shown}"
            ))
        }
    }
}

/// Returns the nesting depth of the agent that submitted the task; 0 if no agent did.
pub fn depth(task: &Task) -> u32 {
    let depth = match task.spec.metadata.get("dispatch_depth") {
        Some(Value::Number(number)) => number.as_f64(),
        _ => metadata_text(task, "dispatch_depth").and_then(|depth| depth.parse().ok()),
    };
    // Saturates: a depth beyond every number is beyond every limit.
    depth.unwrap_or(0.0) as u32
}

/// Returns whether the answer must be JSON.
pub fn wants_json(task: &Task, route: &Route) -> bool {
    route.wants_json || metadata_text(task, "response_format") == Some("json")
}

/// Returns the effort that the task asks for, and a warning if the value is unknown.
pub fn effort(task: &Task, route: &Route) -> (Option<String>, Option<String>) {
    const KNOWN: [&str; 4] = ["low", "medium", "high", "xhigh"];
    let Some(asked) = metadata_text(task, "effort") else {
        return (route.effort.clone(), None);
    };
    if KNOWN.contains(&asked) {
        return (Some(asked.to_string()), None);
    }
    let shown = crate::error::printable(&asked.chars().take(40).collect::<String>());
    let warning = format!("effort {shown} is unknown; medium is used (known: {})", KNOWN.join(", "));
    (Some("medium".to_string()), Some(warning))
}

/// Collects everything that goes into the prompt, except the effort, for which the vendor may have a flag.
///
/// # Errors
/// `Config` for the route's template; `Io` when the request cannot be read.
pub fn prompt_input(
    store: &Store,
    task: &Task,
    events: &[Event],
    route: &Route,
    around: &Surroundings,
) -> Result<PromptInput> {
    let task_dir = store.attempts_dir(&task.id).parent().map(Path::to_path_buf).unwrap_or_default();
    let api_url = around
        .variable("LANES_API_URL")
        .map(|url| format!("{}/tasks/{}", url.trim_end_matches('/'), task.id));
    // Without a server, the task's own directory is the place to look.
    let task_url = api_url.clone().unwrap_or_else(|| task_dir.to_string_lossy().into_owned());
    let request_path = Path::new(&task.request_path);
    let (own_prompt, request) = match store.own_request(task)? {
        Some(file) => (read_prompt(file, request_path)?, None),
        None => (task.spec.prompt.clone(), Some(artifact(request_path, &task.request_sha256)?)),
    };
    let template_text = match &route.prompt {
        Some(template) => {
            let attempt = task.attempt.to_string();
            let values = [
                ("task_id", task.id.as_str()),
                ("task_name", task.spec.name.as_deref().unwrap_or(&task.spec.correlation_id)),
                ("task_url", task_url.as_str()),
                ("lane", task.spec.lane.as_str()),
                ("attempt", attempt.as_str()),
            ];
            Some(fill_template(template, &values)?)
        }
        None => None,
    };
    let prompt = match template_text {
        Some(template) if own_prompt.trim().is_empty() => template,
        Some(template) => format!("{}\n\n{own_prompt}", template.trim_end()),
        None => own_prompt,
    };
    let text = |key: &str| metadata_text(task, key).map(str::to_string);
    Ok(PromptInput {
        task_id: task.id.to_string(),
        effort_hint: None,
        caller: text("caller"),
        goal: text("goal"),
        context: text("context"),
        prompt,
        worktree: task.spec.worktree_path.clone(),
        branch: task.spec.expected_branch.clone(),
        request,
        supporting_paths: task.spec.supporting_paths.iter().map(|file| file.path.clone()).collect(),
        thread: thread_history(task.id.as_str(), metadata_text(task, "parent_task_id"), |id| link(store, id)),
        earlier_attempts: retry::earlier_attempts(events),
        wants_json: wants_json(task, route),
        task_url: api_url,
    })
}

fn read_prompt(file: File, path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    file.take(LONGEST_PROMPT).read_to_end(&mut bytes).map_err(|error| Error::io("read", path, error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads the request file, with its content only if that is small enough for a prompt. The file may have been
/// replaced since the check at the claim, so the content is checked again.
fn artifact(path: &Path, sha256: &str) -> Result<Artifact> {
    let fail = |error| Error::io("read the request", path, error);
    // A pipe in its place must not block the dispatcher.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(LONGEST_REQUEST as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
    let content = (bytes.len() <= LONGEST_REQUEST).then_some(bytes);
    if content.as_deref().is_some_and(|content| sha256_bytes(content) != sha256) {
        return Err(fail(std::io::Error::other("it has changed since the claim")));
    }
    Ok(Artifact { path: path.to_string_lossy().into_owned(), content })
}

/// Returns a task of the conversation; `None` if it is unknown or unreadable.
fn link(store: &Store, id: &str) -> Option<ThreadLink> {
    let task = store.task(&TaskId::parse(id).ok()?).ok()?;
    let answer = store.response(&task).ok().flatten().map(|response| ThreadAnswer {
        task_id: task.id.to_string(),
        author: response.reviewer,
        body: response.body,
    });
    Some(ThreadLink { parent: metadata_text(&task, "parent_task_id").map(str::to_string), answer })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::testing;

    #[test]
    fn a_conversation_is_text_and_a_depth_is_a_number() {
        let mut task = testing::task();
        assert_eq!((session(&task), depth(&task)), (Ok(None), 0));
        task.spec.metadata.insert("session_id".to_string(), "s1".into());
        assert_eq!(session(&task), Ok(Some("s1")));
        task.spec.metadata.insert("session_id".to_string(), Value::Null);
        assert_eq!(session(&task), Ok(None));
        task.spec.metadata.insert("session_id".to_string(), 17.into());
        assert!(session(&task).expect_err("no text").ends_with("not 17"));
        for (given, expected) in [
            (Value::from("2"), 2),
            (2.into(), 2),
            (u64::MAX.into(), u32::MAX),
            ("99999999999".into(), u32::MAX),
            (Value::from(-1), 0),
            ("deep".into(), 0),
        ] {
            task.spec.metadata.insert("dispatch_depth".to_string(), given);
            assert_eq!(depth(&task), expected);
        }
    }

    #[test]
    fn unknown_efforts_become_medium_with_a_warning() {
        let mut task = testing::task();
        let route = Route { effort: Some("low".to_string()), ..Route::plain("work") };
        assert_eq!(effort(&task, &route), (Some("low".to_string()), None));
        task.spec.metadata.insert("effort".to_string(), "xhigh".into());
        assert_eq!(effort(&task, &route), (Some("xhigh".to_string()), None));
        task.spec.metadata.insert("effort".to_string(), "-x".into());
        let (effort, warning) = effort(&task, &route);
        assert_eq!(effort.as_deref(), Some("medium"));
        assert!(warning.expect("a warning").contains("-x is unknown"));
    }
}
