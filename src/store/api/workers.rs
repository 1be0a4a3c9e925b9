//! The workers that are running.

use super::{Engine, Store};
use crate::error::Result;
use crate::model::LaneName;
use crate::store::{AbandonedWorker, Registration, WorkerInfo, WorkerKind};

impl Store {
    /// Registers a worker until the returned value is dropped or the process ends.
    ///
    /// # Errors
    /// `NewerFormat`, `Io`.
    pub fn register(&self, worker: &WorkerInfo) -> Result<Registration> {
        engine!(self, register(worker))
    }

    /// Returns the registrations of dead workers of `kind`, whose tasks must be recovered. Each is given to
    /// one caller at a time, and stays until `AbandonedWorker::clear`.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn abandoned_workers(&self, kind: &WorkerKind) -> Result<Vec<AbandonedWorker>> {
        files!(self, abandoned_workers(kind))
    }

    /// Returns what dead workers of `kind` registered whose tasks were not recovered yet; for display only,
    /// see `Store::abandoned_workers`.
    ///
    /// # Errors
    /// `Io`.
    pub fn dead_workers(&self, kind: &WorkerKind) -> Result<Vec<WorkerInfo>> {
        engine!(self, dead_workers(kind))
    }

    /// Returns whether a registration of `kind` is locked although its process is gone: a child process that has
    /// not started its own program yet holds the lock a moment longer.
    pub(crate) fn has_exiting_worker(&self, kind: &WorkerKind) -> bool {
        engine!(self, has_exiting_worker(kind))
    }

    /// Returns the running workers. Registrations of dead ones are removed, except those that
    /// `Store::abandoned_workers` returns.
    ///
    /// # Errors
    /// `Io`.
    pub fn live_workers(&self) -> Result<Vec<WorkerInfo>> {
        engine!(self, live_workers())
    }

    /// Returns whether a running worker claims any task of the lane. One that drains does not, nor does one that looks
    /// for certain tasks.
    ///
    /// # Errors
    /// `Io`.
    pub fn lane_is_attended(&self, lane: &LaneName) -> Result<bool> {
        engine!(self, lane_is_attended(lane))
    }

    /// Returns the running on-demand dispatcher, once it has registered.
    ///
    /// # Errors
    /// `Io`.
    pub fn on_demand_dispatcher(&self) -> Result<Option<WorkerInfo>> {
        engine!(self, on_demand_dispatcher())
    }

    /// Returns the running servers for chats that have opened this store.
    ///
    /// # Errors
    /// `Io`.
    #[cfg(feature = "mcp")]
    pub(crate) fn live_chat_servers(&self) -> Result<Vec<WorkerInfo>> {
        files!(self, live_chat_servers())
    }
}
