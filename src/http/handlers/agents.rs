//! Shows the running workers: dispatchers, the agents they run, and other programs that wait for tasks.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::http::context::{App, Call, HandlerResult};
use crate::http::log_follower::{LogFollower, STREAMS};
use crate::http::transport::response::{members, ok};
use crate::model::{Status, StoredDuration, Task, TaskId};
use crate::store::{RegisteredRun, WorkerInfo, WorkerKind};
use crate::workspace::{attention, dispatcher_objects};

/// The number of bytes of an agent's output that are shown.
const RECENT_OUTPUT_BYTES: u64 = 16 * 1024;

/// `GET /status`
pub(crate) fn status(call: &Call<'_>) -> HandlerResult {
    let app = call.app;
    let workers = app.store.live_workers()?;
    let dispatchers = || workers.iter().filter(|worker| worker.kind == WorkerKind::Dispatcher);
    let capacity: u64 = dispatchers().map(WorkerInfo::max_concurrent).sum();
    let active: u64 = dispatchers().map(|worker| worker.runs().len() as u64).sum();
    let shown: Vec<Value> = workers.iter().map(visible_worker).collect();
    // A client that follows the events after this one misses nothing, however old the counts are.
    let (concerns, feed) = app.counts.concerns(&app.store)?;
    let needed = attention(&app.store, &concerns)?;
    Ok(ok([
        ("status", "ok".into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("workspace_id", app.config.workspace_id.clone().into()),
        ("read_only", app.is_read_only.into()),
        ("queue_management", app.allows_management.into()),
        ("started_at", app.started_at.to_string().into()),
        ("uptime_seconds", app.started.elapsed().as_secs_f64().into()),
        ("capacity", capacity.into()),
        ("active_agents", active.into()),
        ("free_slots", capacity.saturating_sub(active).into()),
        ("dispatchers", dispatcher_objects(&app.store, &workers).into()),
        ("workers", shown.into()),
        ("parked", app.store.active_cooldowns()?.values().map(|cooldown| cooldown.to_object()).collect()),
        ("attention", needed.iter().map(|item| Value::Object(item.to_object())).collect()),
        ("now", app.store.now().wall.to_string().into()),
        ("feed", feed.into()),
        ("waiting_requests", app.long_polls.len().into()),
        ("lanes", super::lanes::lane_objects(app)?.into()),
    ])
    .into())
}

/// `GET /agents`
pub(crate) fn list(call: &Call<'_>) -> HandlerResult {
    let agents = running_agents(call.app)?;
    let count = agents.len();
    Ok(ok([("agents", agents.into()), ("count", count.into())]).into())
}

/// `GET /agents/{task_id}`
pub(crate) fn show(call: &Call<'_>) -> HandlerResult {
    let id = call.id()?;
    let is_it = |agent: &Value| agent.get("task_id").and_then(Value::as_str) == Some(id.as_str());
    let agent = running_agents(call.app)?.into_iter().find(is_it);
    let Some(Value::Object(mut agent)) = agent else {
        return Err(Error::not_found(format!("no agent is running for {id}")).into());
    };
    agent.insert(
        "recent_output".into(),
        LogFollower::new(&call.app.store, id.clone(), STREAMS[0], None)
            .last_text(&call.app.store, RECENT_OUTPUT_BYTES)
            .into(),
    );
    let events = call.app.store.events(&id)?;
    let newest = events.len().saturating_sub(20);
    let events: Vec<Value> = events[newest..].iter().map(|event| Value::Object(event.to_object())).collect();
    agent.insert("recent_events".into(), events.into());
    Ok(ok([("agent", Value::Object(agent))]).into())
}

/// Returns a worker's registration without the data by which it recognizes its own claims, as every client may see
/// it.
fn visible_worker(worker: &WorkerInfo) -> Value {
    let mut object = worker.to_object();
    if let Some(Value::Object(data)) = object.get_mut("data") {
        data.retain(|key, _| matches!(key.as_str(), "vendors" | "max_concurrent" | "version" | "draining"));
    }
    Value::Object(object)
}

fn running_agents(app: &App) -> Result<Vec<Value>> {
    let workers = app.store.live_workers()?;
    let dispatchers = workers.iter().filter(|worker| worker.kind == WorkerKind::Dispatcher);
    Ok(dispatchers
        .flat_map(|worker| {
            let runs = worker.runs().into_iter();
            runs.filter_map(|(id, run)| agent_object(app, worker, &id, &run)).collect::<Vec<_>>()
        })
        .collect())
}

/// Returns one agent: the run as its dispatcher has registered it, completed from its task.
fn agent_object(app: &App, worker: &WorkerInfo, id: &TaskId, run: &RegisteredRun) -> Option<Value> {
    let task = app.store.task(id).ok()?;
    let mut object = run.to_object(id);
    object.remove("run");
    object.extend(members([
        ("task_id", task.id.as_str().into()),
        ("name", task.spec.name.clone().unwrap_or_else(|| task.spec.correlation_id.clone()).into()),
        ("lane", task.spec.lane.clone().into()),
        ("queue", task.spec.lane.clone().into()),
        ("attempt", task.attempt.into()),
        ("dispatcher", worker.owner.clone().into()),
        ("runtime_seconds", runtime(app, &task).into()),
        ("timeout_seconds", timeout(run, &task).into()),
    ]));
    Some(Value::Object(object))
}

/// Returns how long the present run has lasted, in seconds.
fn runtime(app: &App, task: &Task) -> Option<f64> {
    match &task.status {
        Status::Claimed(claim) => Some(app.store.now().wall.seconds_since(claim.claimed_at).max(0.0)),
        _ => None,
    }
}

/// Returns how long the run may take, in seconds.
fn timeout(run: &RegisteredRun, task: &Task) -> Option<f64> {
    match run.deadline {
        Some(deadline) => Some(deadline.seconds_since(run.started_at)),
        None => task.spec.timeout.map(StoredDuration::as_secs_f64),
    }
}
