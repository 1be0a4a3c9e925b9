//! What a remote store tells of lanes, workers, pauses and the feed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::{RemoteStore, or_unknown, wrong_reply};
use crate::error::Result;
use crate::model::json::Object;
#[cfg(feature = "cli")]
use crate::model::spending::SpendingRecord;
use crate::model::task::object;
use crate::model::{Cooldown, Cooldowns, LaneName, Task, Time};
use crate::store::lane_queries::ReadyTasks;
use crate::store::{FeedCursor, FeedEntry, Pause, Registration, WorkerInfo, WorkerKind, wire};

impl RemoteStore {
    fn flag(&self, name: &str, lane: &LaneName) -> Result<bool> {
        let value = self.client.read(name, &[("lane", lane.as_str())])?;
        value.as_bool().map_or_else(|| wrong_reply("yes or no"), Ok)
    }

    fn number(&self, name: &str, query: &[(&str, &str)]) -> Result<u64> {
        let value = self.client.read(name, query)?;
        value.as_u64().map_or_else(|| wrong_reply("a number"), Ok)
    }

    pub(crate) fn next_due(&self, lanes: &[LaneName]) -> Option<Time> {
        let query: Vec<(&str, &str)> = lanes.iter().map(|lane| ("lane", lane.as_str())).collect();
        wire::read_time(&self.client.read("next-due", &query).ok()?)
    }

    pub(crate) fn lane_is_served(&self, lane: &LaneName) -> Result<bool> {
        self.flag("served", lane)
    }

    pub(crate) fn tasks_ahead(&self, task: &Task) -> Result<u64> {
        self.number("tasks-ahead", &[("id", task.id.as_str())])
    }

    pub(crate) fn open_task_ids(&self, lane: Option<&str>) -> Result<Option<Vec<String>>> {
        let query: Vec<(&str, &str)> = lane.map(|lane| ("lane", lane)).into_iter().collect();
        match self.client.read("open", &query)? {
            Value::Null => Ok(None),
            names => wire::read_texts(&names).map(Some),
        }
    }

    pub(crate) fn recent_task_ids(&self) -> Vec<String> {
        or_unknown(self.client.read("recent", &[]).and_then(|ids| wire::read_texts(&ids)))
    }

    pub(crate) fn recent_lanes(&self) -> BTreeSet<LaneName> {
        let lanes = or_unknown(self.client.read("recent-lanes", &[]).and_then(|ids| wire::read_texts(&ids)));
        lanes.into_iter().map(LaneName::stored).collect()
    }

    pub(crate) fn lanes_with_tasks(&self) -> Result<BTreeSet<LaneName>> {
        let lanes = wire::read_texts(&self.client.read("lanes-with-tasks", &[])?)?;
        Ok(lanes.into_iter().map(LaneName::stored).collect())
    }

    pub(crate) fn lane_has_tasks(&self, lane: &LaneName) -> Result<bool> {
        self.flag("has-tasks", lane)
    }

    pub(crate) fn lane_is_new(&self, lane: &LaneName) -> bool {
        or_unknown(self.flag("is-new", lane))
    }

    pub(crate) fn queue_depth(&self, lane: &LaneName) -> Result<u64> {
        self.number("depth", &[("lane", lane.as_str())])
    }

    pub(crate) fn lanes_with_ready_tasks(&self) -> Result<BTreeMap<LaneName, ReadyTasks>> {
        wire::read_ready(&self.client.read("ready", &[])?)
    }

    pub(crate) fn feed_since(&self, since: u64, limit: usize) -> Result<Vec<FeedEntry>> {
        let (since, limit) = (since.to_string(), limit.clamp(1, 1000).to_string());
        let entries = self.client.read("feed", &[("since", &since), ("limit", &limit)])?;
        let Value::Array(entries) = entries else { return wrong_reply("a list of changes") };
        entries.iter().map(wire::read_feed_entry).collect()
    }

    pub(crate) fn feed_after(&self, cursor: &mut FeedCursor, limit: usize) -> Result<Vec<FeedEntry>> {
        let entries = self.feed_since(cursor.seq(), limit)?;
        if let Some(last) = entries.last() {
            *cursor = FeedCursor::after(last.seq);
        }
        Ok(entries)
    }

    pub(crate) fn feed_start(&self) -> Result<Option<u64>> {
        Ok(self.client.read("feed-start", &[])?.as_u64())
    }

    pub(crate) fn feed_end(&self) -> Result<u64> {
        self.number("feed-end", &[])
    }

    #[cfg(feature = "cli")]
    pub(crate) fn recorded_spending(&self) -> Result<SpendingRecord> {
        let spent = self.client.read("spending", &[])?;
        serde_json::from_value(spent).map_err(|error| wire::unusable(&error.to_string()))
    }

    pub(crate) fn paused(&self) -> Result<BTreeMap<LaneName, Pause>> {
        wire::read_pauses(&self.client.read("paused", &[])?)
    }

    pub(crate) fn pause(&self, lane: &LaneName, reason: Option<&str>) -> Result<bool> {
        self.change_pause(object([
            ("lane", lane.as_str().into()),
            ("paused", true.into()),
            ("reason", reason.into()),
        ]))
    }

    pub(crate) fn resume(&self, lane: &LaneName) -> Result<bool> {
        self.change_pause(object([("lane", lane.as_str().into()), ("paused", false.into())]))
    }

    fn change_pause(&self, body: Object) -> Result<bool> {
        let reply = self.client.change("pause", &self.request_id(), body)?;
        reply.get("value").and_then(Value::as_bool).map_or_else(|| wrong_reply("yes or no"), Ok)
    }

    pub(crate) fn lane_descriptions(&self) -> Result<Object> {
        match self.client.read("descriptions", &[])? {
            Value::Object(lanes) => Ok(lanes),
            _ => wrong_reply("lanes"),
        }
    }

    pub(crate) fn cooldowns(&self) -> Result<Cooldowns> {
        wire::read_cooldowns(&self.client.read("cooldowns", &[])?)
    }

    pub(crate) fn active_cooldowns(&self) -> Result<Cooldowns> {
        let now = self.now().wall;
        let mut cooldowns = self.cooldowns()?;
        cooldowns.retain(|_, cooldown| cooldown.is_active(now));
        Ok(cooldowns)
    }

    pub(crate) fn pause_vendor(
        &self,
        vendor: &str,
        model: Option<&str>,
        until: Time,
        reason: Option<&str>,
    ) -> Result<Cooldown> {
        let changed = self.change_vendor(object([
            ("vendor", vendor.into()),
            ("model", model.into()),
            ("paused", true.into()),
            ("until", until.to_string().into()),
            ("reason", reason.into()),
        ]))?;
        changed.into_iter().next().map_or_else(|| wrong_reply("a pause"), Ok)
    }

    pub(crate) fn resume_vendor(&self, vendor: &str, model: Option<&str>) -> Result<Vec<Cooldown>> {
        self.change_vendor(object([
            ("vendor", vendor.into()),
            ("model", model.into()),
            ("paused", false.into()),
        ]))
    }

    fn change_vendor(&self, body: Object) -> Result<Vec<Cooldown>> {
        let reply = self.client.change("pause", &self.request_id(), body)?;
        let changed = wire::read_cooldowns(reply.get("value").unwrap_or(&Value::Null))?;
        Ok(changed.into_values().collect())
    }

    /// The server shows that somebody waits for the lanes, as long as this process does.
    pub(crate) fn register(&self, _worker: &WorkerInfo) -> Result<Registration> {
        self.is_working.store(true, Ordering::SeqCst);
        Ok(Registration::remote(Arc::clone(&self.is_working)))
    }

    pub(crate) fn dead_workers(&self, kind: &WorkerKind) -> Result<Vec<WorkerInfo>> {
        workers(self.client.read("dead-workers", &[("kind", kind.as_str())])?)
    }

    pub(crate) fn has_exiting_worker(&self, _kind: &WorkerKind) -> bool {
        false
    }

    pub(crate) fn live_workers(&self) -> Result<Vec<WorkerInfo>> {
        workers(self.client.read("workers", &[])?)
    }

    pub(crate) fn lane_is_attended(&self, lane: &LaneName) -> Result<bool> {
        self.flag("attended", lane)
    }

    pub(crate) fn on_demand_dispatcher(&self) -> Result<Option<WorkerInfo>> {
        Ok(self.live_workers()?.into_iter().find(WorkerInfo::is_on_demand))
    }
}

fn workers(value: Value) -> Result<Vec<WorkerInfo>> {
    let Value::Array(workers) = value else { return wrong_reply("workers") };
    workers.iter().map(|worker| Ok(wire::read_worker(worker)?.elsewhere())).collect()
}
