//! Commands and new tasks as the fields of the routes that take them.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result, printable};
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{
    Answer, AnswerOutcome, Command, DependencyRef, DependencyTarget, FailureClass, ListEdit, NewQuestion,
    NewRequest, NewTask, TaskEdit,
};
use crate::sha256::sha256_bytes;

/// The largest request that is sent, in bytes.
const MAX_REQUEST: u64 = 8 * 1024 * 1024;

/// Returns the name of a change and its fields.
///
/// # Errors
/// `Config` for a command that only the store itself gives.
pub(super) fn command_fields(command: &Command) -> Result<(&'static str, Object)> {
    Ok(match command {
        Command::Renew { token, lease } => (
            "renew",
            fields([
                ("claim_token", token.as_str().into()),
                ("lease_seconds", lease.map(|lease| lease.as_secs_f64()).into()),
            ]),
        ),
        Command::Release { token, reason, delay, spent } => (
            "release",
            fields([
                ("claim_token", token.as_str().into()),
                ("reason", reason.clone().into()),
                ("delay_seconds", delay.map(|delay| delay.as_secs_f64()).into()),
                ("failure_class", spent.as_ref().map(FailureClass::as_str).into()),
            ]),
        ),
        Command::Respond(answer) => ("respond", answer_fields(answer)),
        Command::Ask { token, question } => ("ask", question_fields(token.as_str(), question)),
        Command::AnswerQuestion { number, text, is_choice, by } => (
            "answer",
            fields([
                ("question", (*number).into()),
                ("answer", text.as_str().into()),
                ("choice", (*is_choice).into()),
                ("by", by.as_str().into()),
            ]),
        ),
        Command::Tell { text, by } => {
            ("tell", fields([("message", text.as_str().into()), ("by", by.as_str().into())]))
        }
        Command::ReadMessages { token, through } => {
            ("read", fields([("claim_token", token.as_str().into()), ("through", (*through).into())]))
        }
        Command::Note { kind, message, data, token } => (
            "note",
            fields([
                ("type", kind.as_str().into()),
                ("message", message.as_str().into()),
                ("data", Value::Object(data.clone())),
                ("claim_token", token.as_ref().map(|token| token.as_str().to_string()).into()),
            ]),
        ),
        Command::Cancel { reason, by } => {
            ("cancel", fields([("reason", reason.clone().into()), ("by", by.as_str().into())]))
        }
        Command::Move { lane } => ("move", fields([("lane", lane.as_str().into())])),
        Command::Edit(edit) => ("edit", edit_fields(edit)),
        Command::Claim { .. }
        | Command::AddKeys { .. }
        | Command::Retried { .. }
        | Command::RequestChanged
        | Command::Settle
        | Command::Unblock(_) => return Err(super::super::remote_access::needs_the_store_itself()),
    })
}

/// Returns an object without the members that are null.
fn fields<const N: usize>(members: [(&str, Value); N]) -> Object {
    let mut object = object(members);
    object.retain(|_, value| !value.is_null());
    object
}

fn answer_fields(answer: &Answer) -> Object {
    let class = match &answer.outcome {
        AnswerOutcome::Completed => None,
        AnswerOutcome::Failed(class) => Some(class.as_str()),
    };
    fields([
        ("claim_token", answer.token.as_ref().map(|token| token.as_str().to_string()).into()),
        ("reviewer", answer.reviewer.as_str().into()),
        ("status", answer.outcome.status().as_str().into()),
        ("failure_class", class.into()),
        ("body", answer.body.as_str().into()),
        ("verdict", answer.verdict.map(|verdict| verdict.as_str()).into()),
        ("blocking_count", answer.blocking_count.into()),
        ("nonblocking_count", answer.nonblocking_count.into()),
        ("follow_up_required", answer.follow_up_required.into()),
        ("expect_sha256", answer.expect_sha256.clone().into()),
        ("metadata", Value::Object(answer.metadata.clone())),
    ])
}

fn question_fields(token: &str, question: &NewQuestion) -> Object {
    let (default, expires) = match &question.default {
        Some((text, after)) => (Some(text.as_str()), Some(after.as_secs_f64())),
        None => (None, None),
    };
    fields([
        ("claim_token", token.into()),
        ("question", question.text.as_str().into()),
        ("choices", question.choices.clone().into()),
        ("default", default.into()),
        ("expires_seconds", expires.into()),
        ("keep_claim", question.keeps_claim.into()),
    ])
}

fn edit_fields(edit: &TaskEdit) -> Object {
    let mut object = fields([
        ("prompt", edit.prompt.clone().into()),
        ("priority", edit.priority.into()),
        ("name", edit.name.clone().into()),
        ("description", edit.description.clone().into()),
    ]);
    for (name, list) in [("labels", &edit.labels), ("assignees", &edit.assignees)] {
        match list {
            Some(ListEdit::Replace(texts)) => drop(object.insert(name.to_string(), texts.clone().into())),
            Some(ListEdit::Change { add, remove }) => {
                object.insert(format!("add_{name}"), add.clone().into());
                object.insert(format!("remove_{name}"), remove.clone().into());
            }
            None => {}
        }
    }
    object
}

/// Returns the fields of a new task. Its request travels with it, since the server cannot read a file of this machine.
///
/// # Errors
/// `Refused` for what cannot be sent, `Io` when the request cannot be read.
pub(super) fn task_fields(new: &NewTask) -> Result<Object> {
    let spec = &new.spec;
    if let Some(file) = spec.supporting_paths.first() {
        let message = format!(
            "supporting files cannot be sent to a store on another machine yet: {}",
            printable(&file.path)
        );
        return Err(Error::refused(message).with_hint("put what matters of them into the request"));
    }
    let request = request_text(&new.request)?;
    let (prompt, request) = match request {
        // The prompt is the request: the server copies it to task.json as far as it fits.
        text if spec.prompt.is_empty() || NewRequest::prompt(text.clone()).1 == spec.prompt => (text, None),
        text => (spec.prompt.clone(), Some(text)),
    };
    // What a server takes for no list at all.
    crate::model::dependency::check_count(new.after.len())?;
    let after: Vec<Value> = new.after.iter().map(dependency_object).map(Value::Object).collect();
    Ok(fields([
        ("lane", spec.lane.as_str().into()),
        ("prompt", prompt.into()),
        ("request_text", request.into()),
        ("correlation_id", spec.correlation_id.as_str().into()),
        ("source_agent", spec.source_agent.as_str().into()),
        ("worktree_path", spec.worktree_path.clone().into()),
        ("expected_branch", spec.expected_branch.clone().into()),
        ("metadata", Value::Object(spec.metadata.clone())),
        ("priority", spec.priority.into()),
        ("max_attempts", spec.max_attempts.into()),
        ("key", spec.key.as_ref().map(|key| key.as_str().to_string()).into()),
        ("name", spec.name.clone().into()),
        ("labels", spec.labels.clone().into()),
        ("timeout_seconds", spec.timeout.map(|timeout| timeout.as_secs_f64()).into()),
        ("not_before", new.not_before.map(|time| time.to_string()).into()),
        ("after", after.into()),
        ("exclusive", spec.exclusive.iter().map(|key| Value::from(key.as_str())).collect()),
        ("group", spec.group.as_ref().map(|group| group.as_str().to_string()).into()),
        ("deadline", spec.deadline.map(|time| time.to_string()).into()),
        ("verify", verify_value(&spec.verify)),
        ("schema", spec.schema.as_ref().map(|schema| Value::Object(schema.as_object().clone())).into()),
    ]))
}

/// Returns commands; null for none, which needs no right to choose what runs.
fn verify_value(commands: &[Vec<String>]) -> Value {
    match commands {
        [] => Value::Null,
        some => some.to_vec().into(),
    }
}

fn dependency_object(dependency: &DependencyRef) -> Object {
    let (what, value) = match &dependency.target {
        DependencyTarget::Task(id) => ("task", Value::from(id.as_str())),
        DependencyTarget::Group(group) => ("group", group.as_str().into()),
        DependencyTarget::Key(key) => ("key", key.as_str().into()),
        DependencyTarget::Line(line) => ("line", (*line).into()),
    };
    object([(what, value), ("on", dependency.on.as_str().into())])
}

/// Returns the text of a request.
fn request_text(request: &NewRequest) -> Result<String> {
    let (path, sha256) = match request {
        NewRequest::Text(text) => return Ok(text.clone()),
        NewRequest::File { path, sha256 } => (Path::new(path), sha256),
    };
    let shown = printable(&path.to_string_lossy());
    let cannot = |why: &str| {
        Error::refused(format!("the request cannot be sent to a store on another machine: {shown} {why}"))
            .with_hint("put it where the worker can fetch it, and name the place in the prompt")
    };
    let size = std::fs::metadata(path).map_err(|error| Error::io("read the request", path, error))?.len();
    if size > MAX_REQUEST {
        return Err(cannot("is larger than 8 MiB"));
    }
    let bytes = std::fs::read(path).map_err(|error| Error::io("read the request", path, error))?;
    if sha256_bytes(&bytes) != *sha256 {
        return Err(cannot("has changed since it was read"));
    }
    String::from_utf8(bytes).map_err(|_| cannot("is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LaneName;

    fn lane() -> LaneName {
        LaneName::new("review").unwrap()
    }

    #[test]
    fn a_prompt_travels_once_and_a_request_next_to_it() {
        let long = "x".repeat(100_000);
        let fields = task_fields(&NewTask::prompt(lane(), long.as_str())).unwrap();
        assert_eq!((fields["prompt"].as_str(), fields.get("request_text")), (Some(long.as_str()), None));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.md");
        std::fs::write(&path, "the plan").unwrap();
        let file =
            NewRequest::File { path: path.to_string_lossy().into_owned(), sha256: sha256_bytes(b"the plan") };
        let mut new = NewTask { request: file, ..NewTask::prompt(lane(), "be brief") };
        let fields = task_fields(&new).unwrap();
        assert_eq!(
            (fields["prompt"].as_str(), fields["request_text"].as_str()),
            (Some("be brief"), Some("the plan"))
        );
        new.spec.prompt = String::new();
        assert_eq!(task_fields(&new).unwrap()["prompt"], "the plan");
        std::fs::write(&path, "another plan").unwrap();
        assert!(task_fields(&new).unwrap_err().to_string().contains("has changed"));
    }

    #[test]
    fn a_task_without_commands_says_nothing_of_them() {
        let fields = task_fields(&NewTask::prompt(lane(), "x")).unwrap();
        assert!(!fields.contains_key("verify"), "a server refuses them unless it was started for that");
    }
}
