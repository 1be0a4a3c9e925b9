//! The running dispatchers in brief, for overviews.

use serde_json::Value;

use crate::model::TaskId;
use crate::os::machine;
use crate::store::{RegisteredRun, Store, WorkerInfo, WorkerKind};

/// Returns the dispatchers among the workers as JSON objects: `name`, `pid`, `host`, `lanes`, `slots`, `running`, `serves`,
/// `unready`, `draining`.
pub(crate) fn dispatcher_objects(store: &Store, workers: &[WorkerInfo]) -> Vec<Value> {
    // Every dispatcher of a store runs on this machine, since locks hold on local disks only.
    let host = machine::host_name();
    let dispatchers = workers.iter().filter(|worker| worker.kind == WorkerKind::Dispatcher);
    dispatchers.map(|worker| dispatcher_object(store, worker, host.as_deref())).collect()
}

fn dispatcher_object(store: &Store, worker: &WorkerInfo, host: Option<&str>) -> Value {
    let running: Vec<Value> = worker.runs().iter().map(|(id, run)| run_object(store, id, run)).collect();
    let unready: Vec<Value> = worker
        .unready_lanes()
        .into_iter()
        .map(|(lane, missing)| {
            let vendor = worker.vendors_for_lane(&lane, None).into_iter().next().map(|(vendor, _)| vendor);
            serde_json::json!({"lane": lane.as_str(), "vendor": vendor, "text": missing})
        })
        .collect();
    serde_json::json!({
        "name": worker.owner.as_str(),
        "pid": worker.pid,
        "host": host,
        "lanes": worker.lanes.iter().map(|lane| lane.as_str()).collect::<Vec<_>>(),
        "slots": worker.max_concurrent(),
        "running": running,
        "serves": worker.data.get("serves").cloned().unwrap_or_else(|| Value::Array(Vec::new())),
        "unready": unready,
        "draining": worker.is_draining(),
    })
}

fn run_object(store: &Store, id: &TaskId, run: &RegisteredRun) -> Value {
    // A task that cannot be read is still worked on.
    let attempt = store.task(id).ok().map(|task| task.attempt);
    serde_json::json!({
        "task_id": id.as_str(),
        "lane": run.lane.as_str(),
        "attempt": attempt,
        "vendor": run.vendor,
        "since": run.started_at.to_string(),
        "progress": run.progress,
    })
}
