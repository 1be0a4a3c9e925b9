//! New tasks: `POST /tasks`, `POST /tasks/batch`.
//!
//! Two forms in one route. agent-lanes' form names everything (workspace, request and response
//! file); the short form names a lane and a prompt (`queue_name` and `description` on boards) or a
//! request file, and takes the rest from the server's own workspace.

use std::path::PathBuf;

use serde_json::Value;

use super::answer::{Answer, members, ok};
use super::app::{Call, Outcome, blame_client};
use super::bounds;
use super::fields::SUBMIT;
use super::input::{Input, missing};
use super::task::redacted;
use crate::error::{Error, Result};
use crate::model::json::{self, Object};
use crate::model::limits;
use crate::store::Submitted;
use crate::workspace::{Base, Checked, Config, SubmitWish, check_key, check_submit};

/// The largest metadata, in bytes as they are written.
const MAX_METADATA: usize = 1024 * 1024;

/// Any of these fields makes it agent-lanes' form.
const FULL: [&str; 5] = ["workspace_id", "workspace_root", "request_path", "response_path", "checkpoint_id"];

/// `POST /tasks`
pub fn submit(call: &Call<'_>) -> Outcome {
    let checked = check(call, &call.body, key(call)?)?;
    call.app.submits.submit(call, checked)
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
            ("name", submitted.task.name.clone().map_or(Value::Null, Value::from)),
            ("queue", submitted.task.lane.clone().into()),
        ]),
    );
    answer.with("Location", format!("/tasks/{}", submitted.task.id))
}

/// `POST /tasks/batch`: each task is taken or refused for itself.
pub fn submit_batch(call: &Call<'_>) -> Outcome {
    let common = key(call)?;
    let (mut checked, mut warnings, mut numbers, mut errors) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, item) in call.body.items("tasks").iter().enumerate() {
        let derived = common.as_ref().map(|key| format!("{key}#{number}"));
        let fine =
            Input::from_item(SUBMIT, item).and_then(|item| check(call, &item, item.text("key").or(derived)));
        match fine {
            Ok(fine) => {
                numbers.push(number);
                warnings.push(fine.warnings);
                checked.push(fine.task);
            }
            Err(error) => errors.push((number, error)),
        }
    }
    let submitted = call.app.store.submit_batch(checked)?;
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
    ])
    .into())
}

/// From the fields of a body to a checked task, in either form.
fn check(call: &Call<'_>, body: &Input, key: Option<String>) -> Result<Checked> {
    let is_full = FULL.iter().any(|name| body.has(name));
    let (config, mut wish) =
        if is_full { full(call, body)? } else { (call.app.config.clone(), short(body)?) };
    wish.key = key;
    wish.source_agent = body.text_or("source_agent", "api");
    wish.supporting =
        body.texts("supporting_paths").unwrap_or_default().into_iter().map(PathBuf::from).collect();
    wish.priority = body.whole("priority");
    wish.not_before = body.time("not_before");
    wish.delay_seconds = body.seconds("delay_seconds");
    wish.max_attempts = body.whole("max_attempts");
    wish.timeout_seconds = body.seconds("timeout_seconds");
    wish.name = body.text("name");
    wish.labels = body.texts("labels").unwrap_or_default();
    wish.worktree_path = body.text("worktree_path").map(PathBuf::from);
    wish.for_client = true;

    let metadata = body.map("metadata");
    check_metadata(&metadata)?;
    let now = call.app.store.now().wall;
    let root = config.workspace_root.clone();
    bounds::settle(call.app, &root, &mut wish)?;
    let mut checked = check_submit(&config, &Base::at(root), now, wish).map_err(blame_client)?;
    // A shell can only give texts; here any JSON will do.
    checked.task.metadata = metadata;
    checked.warnings.extend(body.warning());
    checked.warnings.extend(two_prompts(body));
    Ok(checked)
}

fn full(call: &Call<'_>, body: &Input) -> Result<(Config, SubmitWish)> {
    let workspace_id = body.needed("workspace_id")?;
    if workspace_id.trim().is_empty() {
        return Err(Error::invalid("'workspace_id' is empty"));
    }
    let correlation_id = body
        .text("correlation_id")
        .or_else(|| body.text("checkpoint_id"))
        .ok_or_else(|| missing("correlation_id"))?;
    let lane = body.needed("lane")?;
    let workspace_root = bounds::workspace_root(call.app, &body.needed("workspace_root")?)?;
    let request = body.needed("request_path")?;
    let response = body.needed("response_path")?;
    let config = Config { workspace_id, workspace_root, ..call.app.config.clone() };
    let wish = SubmitWish {
        lane: Some(lane),
        correlation_id: Some(correlation_id),
        request_from: Some(request.into()),
        response_to: Some(response.into()),
        prompt: first_said(body, &["prompt", "description"]),
        branch: body.text("expected_branch"),
        ..SubmitWish::default()
    };
    Ok((config, wish))
}

fn short(body: &Input) -> Result<SubmitWish> {
    let lane = body.text("lane").or_else(|| body.text("queue_name")).ok_or_else(|| missing("lane"))?;
    // A card that has nothing but a title is still something to do.
    let has_request = body.has("request_from");
    let names = ["prompt", "description", "name"];
    let prompt = first_said(body, if has_request { &names[..2] } else { &names });
    if prompt.is_none() && !has_request {
        return Err(missing("prompt").with_hint(
            "beside the lane give prompt, description, name or request_from; or agent-lanes' form: \
             workspace_id, correlation_id, workspace_root, request_path and response_path",
        ));
    }
    Ok(SubmitWish {
        lane: Some(lane),
        correlation_id: body.text("correlation_id"),
        request_from: body.text("request_from").map(PathBuf::from),
        response_to: body.text("response_to").map(PathBuf::from),
        prompt,
        branch: body.text("expected_branch"),
        ..SubmitWish::default()
    })
}

/// The first of these fields that says something.
fn first_said(body: &Input, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| body.text(name).filter(|text| !text.trim().is_empty()))
}

fn two_prompts(body: &Input) -> Option<String> {
    let (prompt, description) = (first_said(body, &["prompt"])?, first_said(body, &["description"])?);
    (prompt != description)
        .then(|| "the body has both prompt and description: the prompt is used".to_string())
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
