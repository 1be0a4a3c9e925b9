//! `lanes workers`: who is at work.

use clap::Args;
use serde_json::Value;

use super::context::Context;
use super::table::{Table, relative};
use crate::error::{EXIT_OK, Result};
use crate::model::Now;
use crate::model::task::object;
use crate::store::WorkerInfo;

/// Show the workers that are alive: dispatchers, and parked `claim --wait`s.
#[derive(Args, Debug)]
pub struct WorkersCommand {}

impl WorkersCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<u8> {
        let store = context.store()?;
        let workers = store.live_workers()?;
        if context.out.json {
            context.out.object(&object([
                ("status", "ok".into()),
                ("count", workers.len().into()),
                ("workers", worker_objects(&workers).into()),
            ]))?;
        } else if workers.is_empty() {
            context.out.note("lanes: no worker is alive");
        } else {
            print_workers(context, &workers, &store.now())?;
        }
        Ok(EXIT_OK)
    }
}

pub(super) fn worker_objects(workers: &[WorkerInfo]) -> Vec<Value> {
    workers.iter().map(|worker| Value::Object(worker.to_object())).collect()
}

pub(super) fn print_workers(context: &mut Context, workers: &[WorkerInfo], now: &Now) -> Result<()> {
    let mut table = Table::new(&["WORKER", "KIND", "PID", "LANES", "SINCE", "TAKES"]);
    for worker in workers {
        table.row(vec![
            worker.owner.clone(),
            worker.kind.clone(),
            worker.pid.to_string(),
            worker.lanes.join(","),
            relative(worker.since, now),
            if worker.filter.is_empty() { "everything".to_string() } else { worker.filter.clone() },
        ]);
    }
    table.print(&mut context.out)
}
