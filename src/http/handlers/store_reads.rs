//! What a remote store reads: whole tasks and the facts of lanes, not the views of the other routes.
//!
//! Every reply has one member, `value`, which `store::wire` writes and reads.

use std::ops::ControlFlow;

use serde_json::Value;

use super::claims;
use crate::error::{Error, Result};
use crate::http::api::params::missing;
use crate::http::context::{Call, HandlerResult};
use crate::http::transport::response::{HttpResponse, members, ok};
use crate::http::wait_for::WaitFor;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{Filter, GroupName, LaneName, RequestCheck, Task, TaskId};
use crate::sha256::sha256_bytes;
use crate::store::{WorkerKind, wire};

/// A read: its name in the path, and what it returns.
type Read = (&'static str, fn(&Call<'_>) -> Result<Value>);

/// The reads of tasks.
const TASK_READS: &[Read] = &[
    ("task", |call| Ok(whole(&call.app.store.task(&id(call)?)?))),
    ("settled", |call| Ok(whole(&call.app.store.read_settled(&id(call)?)?))),
    ("resolve", |call| Ok(call.app.store.resolve(&needed(call, "text")?)?.as_str().into())),
    ("response", |call| {
        let store = &call.app.store;
        let response = store.response(&store.task(&id(call)?)?)?;
        Ok(response.map(|response| Value::Object(response.to_object())).into())
    }),
    ("response-exists", |call| {
        let store = &call.app.store;
        Ok(store.response_exists(&store.task(&id(call)?)?).into())
    }),
    ("events", |call| {
        let events = call.app.store.events(&id(call)?)?;
        Ok(events.iter().map(|event| Value::Object(event.to_object())).collect())
    }),
    ("last-event", |call| {
        let store = &call.app.store;
        let event = store.last_event(&store.task(&id(call)?)?)?;
        Ok(event.map(|event| Value::Object(event.to_object())).into())
    }),
    ("tasks", tasks),
    ("names", |call| Ok(call.app.store.task_names()?.into())),
    ("open", |call| {
        let lane = call.query.texts("lane").and_then(|lanes| lanes.into_iter().next());
        Ok(call.app.store.open_task_ids(lane.as_deref())?.into())
    }),
    ("group", |call| {
        let group = GroupName::stored(needed(call, "group")?);
        Ok(call.app.store.task_names_of_group(&group)?.into())
    }),
    ("recent", |call| Ok(call.app.store.recent_task_ids().into())),
    ("dependents", |call| {
        let ids = call.app.store.dependents(&id(call)?)?;
        Ok(ids.iter().map(|id| Value::from(id.as_str())).collect())
    }),
    ("newest-successor", |call| Ok(call.app.store.newest_successor(&id(call)?)?.as_str().into())),
    ("held-key", |call| {
        let store = &call.app.store;
        let held = store.held_key(&store.task(&id(call)?)?)?;
        let held = held.map(|held| {
            object([
                ("key", held.key.as_str().into()),
                ("holder", held.holder.as_str().into()),
                ("since", held.since.map(|since| since.to_string()).into()),
            ])
        });
        Ok(held.map(Value::Object).into())
    }),
    ("next", |call| {
        let filter = Filter::parse(&call.query.texts("match").unwrap_or_default())?;
        let query = claims::query(call.query.texts("lane").unwrap_or_default(), filter)?;
        Ok(call.app.store.peek_next(&query)?.map(|task| whole(&task)).into())
    }),
    ("request", request),
    ("request-check", |call| {
        let store = &call.app.store;
        let (word, more) = match store.blobs().request_check(&store.task(&id(call)?)?) {
            RequestCheck::Unchecked => ("unchecked", None),
            RequestCheck::Same => ("same", None),
            RequestCheck::Missing => ("missing", None),
            RequestCheck::Unreadable(why) => ("unreadable", Some(why)),
            RequestCheck::Changed(sha256) => ("changed", Some(sha256.as_str().to_string())),
        };
        Ok(Value::Object(object([("state", word.into()), ("more", more.into())])))
    }),
    ("tasks-ahead", |call| {
        let store = &call.app.store;
        Ok(store.tasks_ahead(&store.task(&id(call)?)?)?.into())
    }),
];

/// The reads of lanes, workers and the feed.
const OTHER_READS: &[Read] = &[
    ("next-due", |call| Ok(call.app.store.next_due(&lanes(call)?).map(|due| due.to_string()).into())),
    ("served", |call| Ok(call.app.store.lane_is_served(&lane(call)?)?.into())),
    ("attended", |call| Ok(call.app.store.lane_is_attended(&lane(call)?)?.into())),
    ("has-tasks", |call| Ok(call.app.store.lane_has_tasks(&lane(call)?)?.into())),
    ("is-new", |call| Ok(call.app.store.lane_is_new(&lane(call)?).into())),
    ("depth", |call| Ok(call.app.store.queue_depth(&lane(call)?)?.into())),
    ("recent-lanes", |call| {
        Ok(call.app.store.recent_lanes().iter().map(|lane| Value::from(lane.as_str())).collect())
    }),
    ("lanes-with-tasks", |call| {
        Ok(call.app.store.lanes_with_tasks()?.iter().map(|lane| Value::from(lane.as_str())).collect())
    }),
    ("ready", |call| Ok(Value::Object(wire::ready_object(call.app.store.lanes_with_ready_tasks()?)))),
    ("feed", |call| {
        let limit = call.query.count("limit").unwrap_or(1000).min(1000) as usize;
        let entries = call.app.store.feed_since(call.query.count("since").unwrap_or(0), limit)?;
        Ok(entries.iter().map(|entry| Value::Object(entry.to_object())).collect())
    }),
    ("feed-start", |call| Ok(call.app.store.feed_start()?.into())),
    ("feed-end", |call| Ok(call.app.store.feed_end()?.into())),
    ("paused", |call| Ok(Value::Object(wire::pauses_object(call.app.store.paused()?)))),
    ("descriptions", |call| Ok(Value::Object(call.app.store.lane_descriptions()?))),
    ("cooldowns", |call| Ok(Value::Object(wire::cooldowns_object(call.app.store.cooldowns()?)))),
    ("spending", |call| {
        let spent = serde_json::to_value(call.app.store.recorded_spending()?);
        spent.map_err(|error| Error::corrupt(error.to_string()))
    }),
    ("workers", |call| {
        let workers = call.app.store.live_workers()?;
        Ok(workers.iter().map(|worker| Value::Object(worker.to_object())).collect())
    }),
    ("dead-workers", |call| {
        let workers = call.app.store.dead_workers(&WorkerKind::parse(&needed(call, "kind")?))?;
        Ok(workers.iter().map(|worker| Value::Object(worker.to_object())).collect())
    }),
];

/// `GET /store/v1`: which store this is, by which clock it goes, and what its server speaks.
pub(crate) fn describe(call: &Call<'_>) -> HandlerResult {
    let app = call.app;
    let root = app.config.store_root.to_string_lossy().into_owned();
    let lanes = app.config.lanes.iter().map(|(name, text)| (name.as_str().to_string(), text.as_str().into()));
    let lanes: Object = lanes.collect();
    // The path itself is nobody's business elsewhere.
    let id = sha256_bytes(format!("{}\n{root}", app.config.workspace_id).as_bytes());
    Ok(ok([
        ("protocol", wire::PROTOCOL.into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("id", id.as_str().into()),
        ("workspace_id", app.config.workspace_id.as_str().into()),
        ("format", app.store.format_version().into()),
        ("is_writable", app.store.is_writable_version().into()),
        ("is_read_only", app.is_read_only.into()),
        ("now", Value::Object(wire::now_object(&app.store.now()))),
        ("lanes", lanes.into()),
    ])
    .into())
}

/// `GET /store/v1/{read}`
pub(crate) fn read(call: &Call<'_>) -> HandlerResult {
    let named = TASK_READS.iter().chain(OTHER_READS).find(|(name, _)| *name == call.parameter);
    let Some((_, read)) = named else {
        return Err(refusal(&Error::not_found("this server does not know this read of a store")));
    };
    match read(call) {
        Ok(value) => Ok(ok([("value", value)]).into()),
        Err(error) => Err(refusal(&error)),
    }
}

/// `GET /store/v1/watch`: waits until one of the tasks or lanes has changed, or anything if none are named.
pub(crate) fn watch(call: &Call<'_>) -> HandlerResult {
    let ids = call.query.texts("id").unwrap_or_default();
    let wait = WaitFor::Change {
        since: call.query.count("since").unwrap_or(0),
        tasks: ids.iter().map(|id| TaskId::parse(id)).collect::<Result<_>>()?,
        lanes: lanes(call)?,
        is_worker: call.query.flag("is_working"),
    };
    call.wait(wait, call.query.duration("wait_seconds").unwrap_or_default())
}

/// Returns the response to an error of the store, with what the other side needs to make the same error.
pub(super) fn refusal(error: &Error) -> HttpResponse {
    HttpResponse::json(error.kind().http_status(), &wire::error_object(error))
}

/// Returns the whole of a task, without the token of its claim.
pub(super) fn whole(task: &Task) -> Value {
    Value::Object(wire::task_object(task, None))
}

fn needed(call: &Call<'_>, name: &str) -> Result<String> {
    call.query.text(name).ok_or_else(|| missing(name))
}

fn id(call: &Call<'_>) -> Result<TaskId> {
    let ids = call.query.texts("id").unwrap_or_default();
    TaskId::parse(ids.first().ok_or_else(|| missing("id"))?)
}

fn lanes(call: &Call<'_>) -> Result<Vec<LaneName>> {
    call.query.texts("lane").unwrap_or_default().into_iter().map(LaneName::new).collect()
}

fn lane(call: &Call<'_>) -> Result<LaneName> {
    lanes(call)?.into_iter().next().ok_or_else(|| missing("lane"))
}

/// Reads tasks by their names: each as a whole, or why it cannot be read. One that is gone is left out.
fn tasks(call: &Call<'_>) -> Result<Value> {
    let names = call.query.texts("id").unwrap_or_default();
    let mut entries: Vec<Value> = Vec::new();
    let extract = |task: &crate::model::TaskText<'_>| wire::task_object(&task.to_task(), None);
    call.app.store.scan_names(&names, extract, &mut |name, seen: Result<Object>| {
        let (key, value) = match seen {
            Ok(task) => ("task", task),
            Err(error) => ("error", wire::error_object(&error)),
        };
        entries.push(Value::Object(members([("name", name.into()), (key, Value::Object(value))])));
        ControlFlow::Continue(())
    });
    Ok(entries.into())
}

/// Reads the request of a task: the copy of the store, or the file in the workspace, which must be as it was submitted.
fn request(call: &Call<'_>) -> Result<Value> {
    let store = &call.app.store;
    let task = store.task(&id(call)?)?;
    Ok(store.blobs().request_text(&task)?.into())
}
