//! `POST /tasks/bulk`: changes all tasks of a selection.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::listing::selection;
use crate::error::{Error, Result, brief_list};
use crate::http::api::fields::SELECTION;
use crate::http::api::params::{FieldKind, Params};
use crate::http::context::{App, Call, HandlerResult};
use crate::http::task_list::{PageQuery, TaskPage};
use crate::http::transport::response::{HttpResponse, members};
use crate::model::json::Object;
use crate::model::task_selection::TaskOrder;
use crate::model::transition::check_redrive;
use crate::model::{Command, Effect, LaneName, TaskId};
use crate::sha256::sha256_bytes;

/// The maximum number of tasks of one request.
const MAX_TASKS: usize = 1000;
/// How long one request changes tasks, since it keeps a thread of the server busy. A client repeats it for the rest.
const MAX_TIME: Duration = Duration::from_secs(30);

/// What is done to each task.
enum BulkAction {
    Cancel { reason: Option<String>, by: String },
    Retry { by: String },
    Redrive { by: String },
    Move { lane: LaneName },
}

/// What became of a task.
struct Changed {
    new_task_id: Option<String>,
    is_changed: bool,
}

/// `POST /tasks/bulk`
pub(crate) fn change(call: &Call<'_>) -> HandlerResult {
    let (app, body) = (call.app, &call.body);
    let action = action(body)?;
    let filter = filter(&body.map("filter"))?;
    let expected = body.count("expect_count");
    let query = PageQuery {
        selection: selection(&filter)?,
        order: TaskOrder::Oldest,
        cursor: None,
        limit: MAX_TASKS,
    };
    let Some(key) = body.text("key") else {
        let page = app.task_list.page_now(&app.store, &query)?;
        check_count(&page, expected)?;
        return Ok(HttpResponse::json(200, &change_all(app, &action, &page)).into());
    };
    let request = sha256_bytes(format!("{body:?}").as_bytes());
    if let Some(answer) = app.bulk_answers.begin(&key, &request)? {
        return Ok(HttpResponse::json(200, &answer).into());
    }
    let changed = app.task_list.page_now(&app.store, &query).map_err(HttpResponse::from).and_then(|page| {
        check_count(&page, expected)?;
        Ok(change_all(app, &action, &page))
    });
    app.bulk_answers.finish(&key, changed.as_ref().ok().cloned());
    Ok(HttpResponse::json(200, &changed?).into())
}

fn action(body: &Params) -> Result<BulkAction> {
    let by = body.text_or("by", "api");
    Ok(match body.text_or("action", "").as_str() {
        "cancel" => BulkAction::Cancel { reason: body.text("reason"), by },
        "retry" => BulkAction::Retry { by },
        "redrive" => BulkAction::Redrive { by },
        _ => BulkAction::Move { lane: LaneName::new(body.needed("lane")?)? },
    })
}

/// Reads a selection from a body, where a list of one value may be that value.
fn filter(object: &Object) -> Result<Params> {
    let unknown: Vec<String> =
        object.keys().filter(|key| SELECTION.iter().all(|field| field.name != **key)).cloned().collect();
    if !unknown.is_empty() {
        let message = format!("'filter' has unknown keys: {}", brief_list(&unknown));
        return Err(Error::invalid(message).with_hint("it takes what selects tasks in GET /tasks"));
    }
    let mut lists = object.clone();
    for field in SELECTION {
        if let (FieldKind::Texts(_) | FieldKind::SomeOf(_), Some(value)) =
            (field.kind, lists.get_mut(field.name))
            && value.is_string()
        {
            *value = Value::Array(vec![value.take()]);
        }
    }
    Params::from_item(&SELECTION, &Value::Object(lists))
}

/// Refuses a selection of more tasks than one request changes, or of another number than the client has seen.
fn check_count(page: &TaskPage, expected: Option<u64>) -> std::result::Result<(), HttpResponse> {
    let total = page.total;
    if expected.is_some_and(|expected| expected != total as u64) {
        let text = format!(
            "the filter selects {total} tasks now, not {}; nothing was changed",
            expected.unwrap_or_default()
        );
        return Err(HttpResponse::error(409, "count_differs", &text));
    }
    if total > MAX_TASKS {
        let text = format!("the filter selects {total} tasks; one request changes at most {MAX_TASKS}");
        return Err(Error::invalid(text).with_hint("narrow the filter").into());
    }
    Ok(())
}

fn change_all(app: &App, action: &BulkAction, page: &TaskPage) -> Object {
    let begun = Instant::now();
    let (mut changed, mut remaining) = (0u64, 0u64);
    let (mut results, mut refused) = (Vec::new(), Vec::new());
    // Entries that cannot be read are not selected.
    for (name, _) in page.entries.iter().filter(|(_, task)| task.is_some()) {
        if begun.elapsed() > MAX_TIME {
            remaining += 1;
            continue;
        }
        match TaskId::parse(name).and_then(|id| action.apply(app, &id)) {
            Ok(done) => {
                changed += u64::from(done.is_changed);
                results.push(Value::Object(members([
                    ("task_id", (**name).into()),
                    ("new_task_id", done.new_task_id.into()),
                ])));
            }
            Err(error) => refused.push(Value::Object(members([
                ("task_id", (**name).into()),
                ("error", error.to_string().into()),
                ("code", error.kind().code().into()),
            ]))),
        }
    }
    members([
        ("matched", page.total.into()),
        ("changed", changed.into()),
        ("remaining", remaining.into()),
        ("results", results.into()),
        ("refused", refused.into()),
    ])
}

impl BulkAction {
    fn apply(&self, app: &App, id: &TaskId) -> Result<Changed> {
        let store = &app.store;
        let apply = |command: &Command| {
            let (_, effect) = store.apply(id, command)?;
            Ok(Changed { new_task_id: None, is_changed: effect == Effect::Changed })
        };
        let retry = |by: &str| {
            let submitted = store.retry(id, by)?;
            Ok(Changed { new_task_id: Some(submitted.task.id.to_string()), is_changed: !submitted.existing })
        };
        match self {
            Self::Cancel { reason, by } => apply(&Command::Cancel { reason: reason.clone(), by: by.clone() }),
            Self::Move { lane } => apply(&Command::Move { lane: lane.clone() }),
            Self::Retry { by } => retry(by),
            Self::Redrive { by } => {
                check_redrive(&store.read_settled(id)?)?;
                retry(by)
            }
        }
    }
}
