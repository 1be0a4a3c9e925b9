//! Collects the parts of a prompt from the task, its history, its route and the store.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::earlier_work::earlier_work;
use super::retry::MAX_INTERRUPTIONS;
use crate::dispatch::config::options::ProcessContext;
use crate::dispatch::config::route::{Route, Runner};
use crate::dispatch::output::Format;
use crate::dispatch::prompt::{
    AnsweredQuestion, MAX_REQUEST_BYTES, PromptInput, RequestContent, ThreadAnswer, ThreadLink,
    fill_template, thread_history,
};
use crate::dispatch::task_metadata::metadata_text;
use crate::model::json;
use crate::model::{Event, Sha256, Task, TaskId};
use crate::sha256::sha256_bytes;
use crate::store::Store;
use crate::workspace::dependency_answers;
use crate::{Error, Result};

/// Maximum size of a prompt that the store holds, in bytes.
const MAX_PROMPT_BYTES: u64 = 9 * 1024 * 1024;

/// Returns whether the answer must be JSON.
pub(crate) fn wants_json(task: &Task, route: &Route) -> bool {
    route.wants_json || task.spec.schema.is_some() || metadata_text(task, "response_format") == Some("json")
}

/// Returns the effort that the task asks for, and a warning if the value is unknown.
pub(crate) fn effort(task: &Task, route: &Route) -> (Option<String>, Option<String>) {
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

/// Describes the results of the earlier attempts, one line each, for the agent of the next one.
pub(crate) fn earlier_attempts(events: &[Event]) -> Vec<String> {
    let mut lines = Vec::new();
    for event in events {
        let has = |key: &str| event.data.get(key).and_then(|value| value.as_str());
        let line = match (event.kind.as_str(), has("spent")) {
            ("released", Some(class)) => {
                format!("{}: {class}: {}", event.created_at, has("reason").unwrap_or("no reason given"))
            }
            ("claimed", _) if has("previous_owner").is_some() => {
                format!("{}: lost: its worker disappeared", event.created_at)
            }
            _ => continue,
        };
        lines.push(line);
    }
    let skipped = lines.len().saturating_sub(MAX_INTERRUPTIONS as usize * 2);
    lines.split_off(skipped)
}

/// Collects everything that goes into the prompt, except the effort, for which the vendor may have a flag.
///
/// # Errors
/// `Config` for the route's template; `Io` when the request cannot be read.
pub(crate) fn prompt_input(
    store: &Store,
    task: &Task,
    events: &[Event],
    route: &Route,
    process: &ProcessContext,
) -> Result<PromptInput> {
    let task_dir = store.spool().task_path(&task.id);
    let api_url = process
        .variable("LANES_API_URL")
        .map(|url| format!("{}/tasks/{}", url.trim_end_matches('/'), task.id));
    // Without a server, the task's own directory is the place to look.
    let task_url = api_url.clone().unwrap_or_else(|| task_dir.to_string_lossy().into_owned());
    let request_path = Path::new(&task.request_path);
    let (own_prompt, request) = match store.blobs().stored_request(task)? {
        Some(file) => (read_prompt(file, request_path)?, None),
        None => (task.spec.prompt.clone(), Some(read_request(request_path, &task.request_sha256)?)),
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
        dependencies: dependency_answers(store, task)?,
        thread: thread_history(task.id.as_str(), metadata_text(task, "parent_task_id"), |id| link(store, id)),
        earlier_work: earlier_work(store, task),
        earlier_attempts: earlier_attempts(events),
        questions: answered_questions(task),
        messages: task.messages.clone(),
        is_for_program: matches!(route.runner, Some(Runner::Command { format: Format::Text, .. })),
        wants_json: wants_json(task, route),
        schema: task.spec.schema.as_ref().map(|schema| json::to_text(schema.as_object())),
        rejection: None,
        task_url: api_url,
    })
}

/// Returns the questions about a task that have answers.
fn answered_questions(task: &Task) -> Vec<AnsweredQuestion> {
    let answered = task.questions.iter().filter_map(|question| {
        let answer = question.answer.as_ref()?;
        Some(AnsweredQuestion {
            number: question.number,
            question: question.text.clone(),
            answer: answer.text.clone(),
            by: answer.by.clone(),
        })
    });
    answered.collect()
}

fn read_prompt(file: File, path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_PROMPT_BYTES).read_to_end(&mut bytes).map_err(|error| Error::io("read", path, error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads the request file, with its content only if that is small enough for a prompt. The file may have been
/// replaced since the check at the claim, so the content is checked again.
fn read_request(path: &Path, sha256: &Sha256) -> Result<RequestContent> {
    let fail = |error| Error::io("read the request", path, error);
    // A pipe in its place must not block the dispatcher.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(MAX_REQUEST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
    let content = (bytes.len() <= MAX_REQUEST_BYTES).then_some(bytes);
    if content.as_deref().is_some_and(|content| sha256_bytes(content) != *sha256) {
        return Err(fail(std::io::Error::other("it has changed since the claim")));
    }
    Ok(RequestContent { path: path.to_string_lossy().into_owned(), content })
}

/// Returns a task of the thread; `None` if it is unknown or unreadable.
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
    use crate::model::LaneName;

    #[test]
    fn unknown_efforts_become_medium_with_a_warning() {
        let mut task = testing::task();
        let route =
            Route { effort: Some("low".to_string()), ..Route::with_defaults(LaneName::stored("work")) };
        assert_eq!(effort(&task, &route), (Some("low".to_string()), None));
        task.spec.metadata.insert("effort".to_string(), "xhigh".into());
        assert_eq!(effort(&task, &route), (Some("xhigh".to_string()), None));
        task.spec.metadata.insert("effort".to_string(), "-x".into());
        let (effort, warning) = effort(&task, &route);
        assert_eq!(effort.as_deref(), Some("medium"));
        assert!(warning.expect("a warning").contains("-x is unknown"));
    }
}
