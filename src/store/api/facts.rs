//! What a store knows of lanes without reading their tasks.

use std::collections::{BTreeMap, BTreeSet};

use super::{Engine, Store};
use crate::error::Result;
use crate::model::{LaneName, Task, Time};
use crate::store::lane_queries::ReadyTasks;

impl Store {
    /// Returns when the next task of these lanes comes due, by the wall clock.
    pub fn next_due(&self, lanes: &[LaneName]) -> Option<Time> {
        engine!(self, next_due(lanes))
    }

    /// Returns whether a worker is registered for the lane or holds one of its tasks.
    ///
    /// # Errors
    /// `Io`, `Locked`.
    pub fn lane_is_served(&self, lane: &LaneName) -> Result<bool> {
        engine!(self, lane_is_served(lane))
    }

    /// Returns how many tasks of its lane are served before a waiting task.
    ///
    /// # Errors
    /// `Io`, `Locked`.
    pub fn tasks_ahead(&self, task: &Task) -> Result<u64> {
        engine!(self, tasks_ahead(task))
    }

    /// Returns the ids of all open tasks, or of those of one lane, sorted; ended ones may be among them.
    /// `None` when the index is not up to date.
    ///
    /// # Errors
    /// `Io`.
    pub fn open_task_ids(&self, lane: Option<&str>) -> Result<Option<Vec<String>>> {
        engine!(self, open_task_ids(lane))
    }

    /// Returns the ids of open tasks, as far as the index shows, and of the tasks that changed last, newest
    /// first: the ones that a person is likely to mean. Does not read the tasks.
    pub fn recent_task_ids(&self) -> Vec<String> {
        engine!(self, recent_task_ids())
    }

    /// Returns the lanes of the tasks that changed last. Writes nothing.
    pub fn recent_lanes(&self) -> BTreeSet<LaneName> {
        engine!(self, recent_lanes())
    }

    /// Returns the lanes that have tasks, whatever their states, and those of the tasks that changed last. Writes nothing; reads
    /// all tasks if the index knows a lane that none of the latter is in.
    ///
    /// # Errors
    /// `Io` when the tasks cannot be listed.
    pub fn lanes_with_tasks(&self) -> Result<BTreeSet<LaneName>> {
        engine!(self, lanes_with_tasks())
    }

    /// Returns whether the lane ever had a task.
    ///
    /// # Errors
    /// `Io`, `Locked`.
    pub fn lane_has_tasks(&self, lane: &LaneName) -> Result<bool> {
        engine!(self, lane_has_tasks(lane))
    }

    /// Returns the lanes that the configuration of the store's server describes, with their descriptions, as they were when the
    /// store was opened. There are none for a store of this machine, whose own configuration describes them.
    #[cfg(feature = "cli")]
    pub(crate) fn server_lanes(&self) -> BTreeMap<LaneName, String> {
        engine!(self, server_lanes())
    }

    /// Returns whether the lane never had a task, as far as the index says in one look, which writes nothing. `false` if it
    /// cannot say.
    pub(crate) fn lane_is_new(&self, lane: &LaneName) -> bool {
        engine!(self, lane_is_new(lane))
    }

    /// Returns how many tasks of a lane can be claimed: queued ones, scheduled ones that have come due, and
    /// claimed ones whose lease is over.
    ///
    /// # Errors
    /// `Io`, `Locked`.
    pub fn queue_depth(&self, lane: &LaneName) -> Result<u64> {
        engine!(self, queue_depth(lane))
    }

    /// Returns the lanes with claimable tasks, which [`Self::queue_depth`] counts, and what is known of those without
    /// reading them all.
    ///
    /// # Errors
    /// `Io`, `Locked` when the index must be brought up to date first and cannot be.
    pub(crate) fn lanes_with_ready_tasks(&self) -> Result<BTreeMap<LaneName, ReadyTasks>> {
        engine!(self, lanes_with_ready_tasks())
    }

    /// Returns the claimed tasks of a lane that `belongs` accepts, with live leases and expired ones.
    ///
    /// # Errors
    /// `Io`, `Locked`.
    pub fn held_tasks(&self, lane: &LaneName, belongs: &dyn Fn(&Task) -> bool) -> Result<Vec<Task>> {
        files!(self, held_tasks(lane, belongs))
    }
}
