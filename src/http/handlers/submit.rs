//! New tasks: `POST /tasks`, `POST /tasks/batch`.
//!
//! Two forms in one route. agent-lanes' form names everything (workspace, request and response
//! file); the short form names a lane and a prompt (`queue_name` and `description` on boards) or a
//! request file, and takes the rest from the server's own workspace.

use serde_json::Value;

use super::large_submit::Errand;
use super::submit_body::{Draft, weight};
use super::tasks::redacted;
use crate::error::{Error, Result};
use crate::http::api::fields::SUBMIT;
use crate::http::api::params::Input;
use crate::http::context::{App, Call, MAX_FILES, Outcome, stopping};
use crate::http::response::{Answer, members, ok};
use crate::http::transport::service::Reply;
use crate::model::json::{self, Object};
use crate::model::limits;
use crate::store::Submitted;
use crate::workspace::{Fingerprints, check_key};

/// The largest metadata, in bytes as they are written.
const MAX_METADATA: usize = 1024 * 1024;
/// Files up to this size, in bytes, are read at once; larger ones by threads of their own.
const MOST_AT_ONCE: u64 = 4 * 1024 * 1024;

/// `POST /tasks`
pub fn submit(call: &Call<'_>) -> Outcome {
    let files = call.app.fingerprints();
    let draft = Draft::read(call.app, &call.body, key(call)?, &files)?;
    if is_heavy(weight([&draft]))? {
        return call.app.errands.send(call, Errand::One(Box::new(draft)), files);
    }
    let checked = draft.check(call.app).map_err(|error| refusal(call.app, &files, error))?;
    call.app.submits.submit(call.later(), checked).map_or(Ok(Reply::Parked), |_| Err(stopping()))
}

/// Whether files of so many bytes are to be read by others.
fn is_heavy(bytes: u64) -> std::result::Result<bool, Answer> {
    if bytes > MAX_FILES {
        return Err(files_too_large());
    }
    Ok(bytes > MOST_AT_ONCE)
}

fn files_too_large() -> Answer {
    let most = MAX_FILES / (1024 * 1024);
    let text = format!(
        "the files that this request names have more than {most} MiB together; `lanes submit` takes any size"
    );
    Answer::refusal(413, "files_too_large", &text)
}

/// Why a task is refused whose files were read.
pub fn refusal(app: &App, files: &Fingerprints, error: Error) -> Answer {
    if files.is_exceeded() {
        // A file has grown meanwhile.
        files_too_large()
    } else if app.is_stopping() {
        stopping()
    } else {
        error.into()
    }
}

/// The answer to a submit that is durable.
pub fn submitted(submitted: &Submitted, warnings: Vec<String>) -> Answer {
    let status = if submitted.existing { 200 } else { 201 };
    let answer = Answer::json(
        status,
        &members([
            ("task", redacted(&submitted.task)),
            ("task_id", submitted.task.id.as_str().into()),
            ("existing", submitted.existing.into()),
            ("warnings", warnings.into()),
            // What boards look for in the answer to their own form.
            ("id", submitted.task.id.as_str().into()),
            ("name", submitted.task.spec.name.clone().map_or(Value::Null, Value::from)),
            ("queue", submitted.task.spec.lane.clone().into()),
        ]),
    );
    answer.with("Location", format!("/tasks/{}", submitted.task.id))
}

/// `POST /tasks/batch`: each task is taken or refused for itself.
pub fn submit_batch(call: &Call<'_>) -> Outcome {
    let common = key(call)?;
    let files = call.app.fingerprints();
    let read = |(number, item)| {
        let derived = common.as_ref().map(|key| format!("{key}#{number}"));
        let item = Input::from_item(SUBMIT, item)?;
        Draft::read(call.app, &item, item.text("key").or(derived), &files)
    };
    let drafts: Vec<Result<Draft>> = call.body.items("tasks").iter().enumerate().map(read).collect();
    if is_heavy(weight(drafts.iter().flatten()))? {
        return call.app.errands.send(call, Errand::Many(drafts), files);
    }
    Ok(finish_batch(call.app, drafts)?.into())
}

/// Checks and submits what a batch names.
pub fn finish_batch(app: &App, drafts: Vec<Result<Draft>>) -> Result<Answer> {
    let (mut checked, mut warnings, mut numbers, mut errors) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, draft) in drafts.into_iter().enumerate() {
        match draft.and_then(|draft| draft.check(app)) {
            Ok(fine) => {
                numbers.push(number);
                warnings.push(fine.warnings);
                checked.push(fine.task);
            }
            Err(error) => errors.push((number, error)),
        }
    }
    let submitted = app.store.submit_batch(checked)?;
    let mut tasks = Vec::new();
    for ((number, warnings), result) in numbers.into_iter().zip(warnings).zip(submitted) {
        match result {
            Ok(submitted) => tasks.push(Value::Object(members([
                ("index", number.into()),
                ("task_id", submitted.task.id.as_str().into()),
                ("existing", submitted.existing.into()),
                ("warnings", warnings.into()),
            ]))),
            Err(error) => errors.push((number, error)),
        }
    }
    errors.sort_by_key(|(number, _)| *number);
    let errors = errors.into_iter().map(|(number, error)| {
        Value::Object(members([
            ("index", number.into()),
            ("code", error.kind().code().into()),
            ("error", error.to_string().into()),
        ]))
    });
    let errors: Vec<Value> = errors.collect();
    let status = if errors.is_empty() { "ok" } else { "partly_refused" };
    Ok(ok([
        ("status", status.into()),
        ("count", tasks.len().into()),
        ("tasks", tasks.into()),
        ("errors", errors.into()),
    ]))
}

/// The idempotency key, by header or by field.
fn key(call: &Call<'_>) -> Result<Option<String>> {
    let header = call.request.header("idempotency-key").map(str::to_string);
    if call.request.count("idempotency-key") > 1 {
        return Err(Error::invalid("Idempotency-Key is given twice"));
    }
    match (header, call.body.text("key")) {
        (Some(header), Some(field)) if header != field => {
            Err(Error::invalid("Idempotency-Key and the field 'key' differ"))
        }
        (header, field) => header.or(field).map(check_key).transpose(),
    }
}

/// Refuses metadata that would swell a task's file, which every look at the task reads, and words in it that
/// a program could read as a flag.
pub fn check_metadata(metadata: &Object) -> Result<()> {
    limits::metadata(metadata)?;
    if json::to_text(metadata).len() <= MAX_METADATA {
        return Ok(());
    }
    Err(Error::invalid(format!("the metadata takes more than {MAX_METADATA} bytes"))
        .with_hint("put large data into a file and name it"))
}
