//! `GET /tasks`: pages of tasks.

use std::ops::ControlFlow;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::http::api::params::Params;
use crate::http::api::views::shown_task;
use crate::http::context::{Call, HandlerResult};
use crate::http::task_list::{PageQuery, TaskPage};
use crate::http::transport::response::{HttpResponse, members};
use crate::model::json::{Object, portable_line};
use crate::model::task_selection::{TaskOrder, TaskSelection};
use crate::model::{Filter, TaskText};
use crate::store::Store;

/// The value of `fields` for tasks in brief.
pub(super) const SUMMARY: &str = "summary";
/// The number of tasks on a page by default.
const DEFAULT_PAGE: u64 = 100;

/// `GET /tasks`: one page.
pub(crate) fn list(call: &Call<'_>) -> HandlerResult {
    let query = &call.query;
    let page = PageQuery {
        selection: selection(query)?,
        order: query.str("order").and_then(TaskOrder::parse).unwrap_or_default(),
        cursor: query.text("cursor"),
        limit: usize::try_from(query.count("limit").unwrap_or(DEFAULT_PAGE)).unwrap_or(1),
    };
    let is_brief = query.str("fields") == Some(SUMMARY);
    let answer = move |store: &Store, page| match is_brief {
        true => brief_page(store, page),
        false => full_page(store, page),
    };
    call.app.task_list.answer(&call.app.store, page, || call.defer(), answer)
}

/// Returns which tasks a query selects.
pub(super) fn selection(query: &Params) -> Result<TaskSelection> {
    Ok(TaskSelection {
        lanes: query.texts("lane").unwrap_or_default(),
        states: query.texts("state").unwrap_or_default(),
        groups: query.text("group").into_iter().collect(),
        failure_classes: query.texts("failure_class").unwrap_or_default(),
        labels: query.texts("label").unwrap_or_default(),
        owners: query.texts("owner").unwrap_or_default(),
        key: query.text("key"),
        metadata: Filter::parse(&query.texts("match").unwrap_or_default())?,
        text: query.text_or("q", "").to_lowercase(),
    })
}

/// Returns a page of tasks in brief.
fn brief_page(store: &Store, mut page: TaskPage) -> HttpResponse {
    let now = store.now().wall;
    let (mut tasks, mut unreadable) = (Vec::new(), Vec::new());
    for (name, task) in std::mem::take(&mut page.entries) {
        match task {
            Some(task) => tasks.push(Value::Object(task.to_object(now))),
            None => unreadable.push(name.to_string()),
        }
    }
    let mut errors = Vec::new();
    store.scan_names(&unreadable, |_: &TaskText<'_>| (), &mut |name, seen| {
        errors.extend(seen.err().map(|error| unreadable_entry(name, &error)));
        ControlFlow::Continue(())
    });
    // On one line, because a board requests many of these.
    HttpResponse::text("application/json", portable_line(&page_object(page, tasks, errors)))
}

/// Returns a page of whole tasks.
fn full_page(store: &Store, mut page: TaskPage) -> HttpResponse {
    let names: Vec<String> =
        std::mem::take(&mut page.entries).into_iter().map(|(name, _)| name.to_string()).collect();
    let (mut tasks, mut errors) = (Vec::new(), Vec::new());
    let shown = store.shown_states();
    let read = |task: &TaskText<'_>| shown_task(&shown.shown(store.with_current_paths(task.to_task())));
    store.scan_names(&names, read, &mut |name, seen| {
        match seen {
            Ok(task) => tasks.push(task),
            Err(error) => errors.push(unreadable_entry(name, &error)),
        }
        ControlFlow::Continue(())
    });
    HttpResponse::json(200, &page_object(page, tasks, errors))
}

fn unreadable_entry(name: &str, error: &Error) -> Value {
    Value::Object(members([("id", name.into()), ("error", error.to_string().into())]))
}

fn page_object(page: TaskPage, tasks: Vec<Value>, unreadable: Vec<Value>) -> Object {
    members([
        ("count", tasks.len().into()),
        ("total", page.total.into()),
        ("tasks", tasks.into()),
        ("unreadable", unreadable.into()),
        ("next_cursor", page.next_cursor.into()),
    ])
}
