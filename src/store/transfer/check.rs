//! Checks that a line of an import is a task that a submit and later commands could have made. The file may
//! come from anywhere, and the contents of the store are trusted.

use serde_json::Value;

use super::super::layout::{REQUEST_FILE, RESPONSE_BODY_FILE, TASK_FILE};
use crate::error::{Error, Result, printable};
use crate::model::dependency::check_count;
use crate::model::duration;
use crate::model::json::Object;
use crate::model::limits::{self, MAX_LEASE, MAX_PROMPT, MAX_PROMPT_ONLY};
use crate::model::response::MAX_BODY;
use crate::model::{
    Claim, Dependency, ExclusiveKey, FailureClass, GroupName, LaneName, Now, Response, ResponseStatus,
    Sha256, Status, StoredDuration, Task, TaskId, Time,
};
use crate::sha256::sha256_bytes;
use crate::store::task_files::MAX_TASK_FILE;

/// The largest number that every JSON reader parses exactly.
const MAX_COUNT: u64 = 1 << 53;

/// Checks a task, its response, and the files of its directory by their relative paths.
///
/// # Errors
/// `Invalid`, about the first fault.
pub(super) fn check(
    task: &Task,
    response: Option<&Response>,
    files: &[(String, Vec<u8>)],
    now: &Now,
) -> Result<()> {
    texts(task)?;
    paths(task)?;
    numbers(task)?;
    key(task)?;
    if let Status::Claimed(claim) = &task.status {
        lease(task, claim, now)?;
    }
    answer(task, response)?;
    for (path, content) in files {
        file(task, path, content)?;
    }
    Ok(())
}

fn texts(task: &Task) -> Result<()> {
    refuse_if(task.spec.workspace_id.trim().is_empty(), "the workspace id is empty")?;
    LaneName::new(task.spec.lane.as_str())?;
    limits::check_short_text("the correlation id", &task.spec.correlation_id)?;
    limits::check_short_text("the source agent", &task.spec.source_agent)?;
    limits::check_short_text("the branch", task.spec.expected_branch.as_deref().unwrap_or_default())?;
    if !task.status.is_terminal() {
        limits::check_argument("the branch", task.spec.expected_branch.as_deref().unwrap_or_default())?;
        limits::check_metadata(&task.spec.metadata)?;
    }
    task.spec.name.clone().map(limits::check_name).transpose()?;
    limits::check_labels(task.spec.labels.clone())?;
    refuse_if(task.spec.prompt.len() > MAX_PROMPT, format!("the prompt is longer than {MAX_PROMPT} bytes"))?;
    for (what, id) in [("retry_of", &task.spec.retry_of), ("retried_as", &task.retried_as)] {
        let Some(id) = id else { continue };
        refuse_if(!TaskId::is_valid(id), format!("'{what}' is not a task id"))?;
        refuse_if(id == task.id.as_str(), format!("'{what}' names the task itself"))?;
    }
    task.spec.group.as_ref().map(|group| GroupName::new(group.as_str())).transpose()?;
    check_count(task.spec.after.len())?;
    task.spec.exclusive.iter().try_for_each(|key| ExclusiveKey::new(key.as_str()).map(drop))?;
    let is_own = |dependency: &Dependency| dependency.task == task.id;
    refuse_if(task.spec.after.iter().any(is_own), "'after' names the task itself")?;
    if let Status::Failed { class: FailureClass::Other(word), .. } = &task.status {
        return Err(Error::invalid_here(format!(
            "this version does not know the failure class '{}'",
            printable(word)
        )));
    }
    let is_failed = matches!(task.status, Status::Failed { .. });
    refuse_if(task.retried_as.is_some() && !is_failed, "'retried_as' is set in a task that has not failed")
}

fn paths(task: &Task) -> Result<()> {
    let own = [
        ("workspace_root", Some(&task.spec.workspace_root)),
        ("worktree_path", task.spec.worktree_path.as_ref()),
        ("request_path", Some(&task.request_path)),
        ("response_path", Some(&task.response_path)),
    ];
    let supporting = task.spec.supporting_paths.iter().map(|file| ("supporting_paths", Some(&file.path)));
    for (what, path) in own.into_iter().chain(supporting) {
        let is_path = path.is_none_or(|path| path.starts_with('/') && !path.contains('\0'));
        refuse_if(!is_path, format!("'{what}' is not an absolute path"))?;
    }
    let mut hashes = task.spec.supporting_paths.iter().map(|file| &file.sha256).chain([&task.request_sha256]);
    refuse_if(!hashes.all(Sha256::is_valid), "a 'sha256' is not 64 hex digits")
}

fn numbers(task: &Task) -> Result<()> {
    limits::check_priority(task.spec.priority.into())?;
    task.spec.max_attempts.map(|most| limits::check_max_attempts(most.into())).transpose()?;
    let timeout = task.spec.timeout.map(StoredDuration::as_secs_f64);
    timeout.map(limits::timeout_from_seconds).transpose()?;
    let counts = [task.fence, task.bookkeeping.last_event, task.bookkeeping.synced_event];
    refuse_if(counts.into_iter().any(|count| count > MAX_COUNT), "a count is out of range")?;
    refuse_if(u64::from(task.attempt) > task.fence, "there are more attempts than claims")?;
    refuse_if(task.created_at == Time::from_micros(0), "'created_at' is not after 1970")?;
    let lease = task.status.claim().and_then(|claim| claim.lease).map(StoredDuration::as_secs_f64);
    lease.map(limits::lease_from_seconds).transpose().map(drop)
}

fn key(task: &Task) -> Result<()> {
    let Some(key) = &task.spec.key else { return Ok(()) };
    // The key of a retry of a task without one may be longer than what a submit accepts.
    if !key.is_retry_of() {
        limits::check_key(key.as_str())?;
    }
    let content = task.bookkeeping.content_sha256.as_ref();
    refuse_if(
        !content.is_some_and(Sha256::is_valid),
        "it has an idempotency key and no 'content_sha256' to compare a repeated submit with",
    )
}

fn lease(task: &Task, claim: &Claim, now: &Now) -> Result<()> {
    refuse_if(claim.owner.as_str().trim().is_empty(), "it is claimed and names no owner")?;
    refuse_if(claim.token.as_str().trim().is_empty(), "it is claimed and has an empty token")?;
    let too_long = |seconds: f64| seconds > duration::seconds(MAX_LEASE) + 1.0;
    let last_change = task.updated_at.max(claim.claimed_at);
    let uptime = task.bookkeeping.lease.as_ref().filter(|lease| lease.boot == now.boot);
    refuse_if(
        too_long(claim.lease_expires_at.seconds_since(last_change))
            || uptime.is_some_and(|lease| too_long(lease.until.saturating_sub(now.uptime) as f64 / 1e6)),
        format!("its lease is longer than {} seconds", MAX_LEASE.as_secs()),
    )
}

fn answer(task: &Task, response: Option<&Response>) -> Result<()> {
    let expected = match &task.status {
        Status::Completed { .. } => Some(ResponseStatus::Completed),
        Status::Failed { .. } => Some(ResponseStatus::Failed),
        Status::Unknown(word) => {
            return Err(Error::invalid_here(format!(
                "this version does not know the state '{}'",
                printable(word)
            )));
        }
        Status::Queued
        | Status::Scheduled { .. }
        | Status::Blocked { .. }
        | Status::Claimed(_)
        | Status::InputRequired => None,
    };
    let state = task.status.as_str();
    let carried = task.bookkeeping.response.as_ref();
    refuse_if(expected.is_none() && carried.is_some(), format!("it holds an answer and is {state}"))?;
    let Some(response) = response else {
        return refuse_if(expected.is_some(), format!("it is {state} and its answer is missing"));
    };
    refuse_if(expected.is_none(), format!("it has an answer and is {state}"))?;
    refuse_if(response.task_id != task.id.as_str(), "its answer belongs to another task")?;
    refuse_if(
        expected.is_some_and(|expected| expected != response.status),
        format!("it is {state} and its answer is {}", response.status.as_str()),
    )?;
    refuse_if(response.body.len() > MAX_BODY, format!("its answer is longer than {MAX_BODY} bytes"))?;
    refuse_if(carried.is_some_and(|carried| carried != response), "it holds two answers that differ")
}

/// The keys in a line that depend on the state of its task. Parsing a task ignores those that its state does
/// not use.
pub(super) struct StateKeys(Vec<(&'static str, Value)>);

impl StateKeys {
    pub(super) fn of(given: &Object) -> Self {
        let words = STATE_KEYS.iter().filter_map(|key| Some((*key, given.get(*key)?.clone())));
        Self(words.filter(|(_, value)| !value.is_null()).collect())
    }

    /// Checks that none of them is missing in the task.json that was made.
    pub(super) fn check(&self, written: &Object) -> Result<()> {
        let state = written.get("state").unwrap_or(&Value::Null);
        for (key, value) in &self.0 {
            let why = match value.as_str() {
                Some("scheduled") if state == "queued" => "it is scheduled and 'not_before' is missing",
                Some("input_required") => "it is input_required and no question is open",
                _ => "it can be claimed and a question is open",
            };
            refuse_if(*key == "state" && value != state, why)?;
            let is_kept = written.get(*key).is_some_and(|written| !written.is_null());
            let state = state.as_str().unwrap_or_default();
            refuse_if(!is_kept, format!("'{key}' is set in a task that is {}", printable(state)))?;
        }
        Ok(())
    }
}

/// The keys that only some states have.
const STATE_KEYS: [&str; 11] = [
    "state",
    "claim_owner",
    "claim_token",
    "claimed_at",
    "lease_expires_at",
    "lease_seconds",
    "completed_at",
    "failed_at",
    "failure_reason",
    "failure_class",
    "not_before",
];

fn file(task: &Task, path: &str, content: &[u8]) -> Result<()> {
    match path {
        TASK_FILE => refuse_if(
            content.len() as u64 > MAX_TASK_FILE,
            format!("it is longer than {MAX_TASK_FILE} bytes"),
        ),
        REQUEST_FILE if !task.status.is_terminal() => {
            let most = MAX_PROMPT_ONLY;
            refuse_if(content.len() > most, format!("its request is longer than {most} bytes"))?;
            let is_submitted = sha256_bytes(content) == task.request_sha256;
            refuse_if(!is_submitted, "its request does not match 'request_sha256'")
        }
        RESPONSE_BODY_FILE => refuse_if(content.len() > MAX_BODY, "its response.md is too long"),
        _ => Ok(()),
    }
}

fn refuse_if(wrong: bool, why: impl Into<String>) -> Result<()> {
    if wrong { Err(Error::invalid_here(why)) } else { Ok(()) }
}
