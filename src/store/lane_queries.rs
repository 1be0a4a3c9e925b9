//! Queries about lanes that the index answers, without reading all tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::index::Index;
use super::{FileStore, cannot_write, earlier, feed};
use crate::error::{ErrorKind, Result};
use crate::model::{LaneName, Status, Task, TaskId, Time};

/// How much of the end of the feed counts as the latest changes, in bytes.
const RECENT_FEED_BYTES: u64 = 64 * 1024;

/// The claimable tasks of a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadyTasks {
    /// How many there are.
    pub count: u64,
    /// Since when one of them waits, the next one if any is queued.
    pub since: Time,
}

impl FileStore {
    pub(crate) fn next_due(&self, lanes: &[LaneName]) -> Option<Time> {
        let next = |index: &Index<'_>| {
            lanes.iter().try_fold(None, |next, lane| Ok(earlier(next, index.next_due(lane)?)))
        };
        self.with_index(next).ok()?
    }

    pub(crate) fn lane_is_served(&self, lane: &LaneName) -> Result<bool> {
        if self.live_workers()?.iter().any(|worker| worker.lanes.contains(lane)) {
            return Ok(true);
        }
        self.lane_has_live_claim(lane)
    }

    /// Returns whether a task of this lane is claimed under a live lease.
    ///
    /// # Errors
    /// `Io`, `Locked`.
    pub(crate) fn lane_has_live_claim(&self, lane: &LaneName) -> Result<bool> {
        let now = self.now();
        self.with_index(|index| {
            let mut found = false;
            if let Some(sets) = index.existing_lane(lane)? {
                sets.held.visit(|entry| {
                    let task = TaskId::parse(&entry.id).ok().and_then(|id| self.scan_one(&id).ok().flatten());
                    found = task.is_some_and(|task| task.spec.lane == *lane && task.lease_is_live(&now));
                    Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                })?;
            }
            Ok(found)
        })
    }

    pub(crate) fn tasks_ahead(&self, task: &Task) -> Result<u64> {
        self.with_index(|index| {
            let mut ahead = 0;
            if let Some(sets) = index.existing_lane(&task.spec.lane)? {
                sets.ready.visit(|entry| {
                    let is_before = (entry.rank, entry.id.as_str()) < (task.rank(), task.id.as_str());
                    ahead += u64::from(is_before);
                    Ok(if is_before { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
                })?;
            }
            Ok(ahead)
        })
    }

    pub(crate) fn open_task_ids(&self, lane: Option<&str>) -> Result<Option<Vec<String>>> {
        let listed = |index: &Index<'_>| match index.state_if_current()? {
            Some(_) => index.open_ids(lane).map(Some),
            None => Ok(None),
        };
        match Index::open(&self.layout).and_then(|index| listed(&index)) {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            names => names,
        }
    }

    pub(crate) fn recent_task_ids(&self) -> Vec<String> {
        let mut ids: BTreeSet<String> =
            self.open_task_ids(None).ok().flatten().into_iter().flatten().collect();
        ids.extend(self.latest().into_iter().map(|entry| entry.task_id.to_string()));
        ids.into_iter().rev().collect()
    }

    pub(crate) fn recent_lanes(&self) -> BTreeSet<LaneName> {
        let mut lanes: BTreeSet<LaneName> = self.latest().into_iter().map(|entry| entry.lane).collect();
        let listed = || -> Result<Vec<String>> {
            Index::open_existing(&self.layout)?.map_or(Ok(Vec::new()), |index| index.one_of_each_lane())
        };
        for id in listed().unwrap_or_default() {
            let task = TaskId::parse(&id).ok().and_then(|id| self.scan_one(&id).ok().flatten());
            lanes.extend(task.map(|task| task.spec.lane));
        }
        lanes
    }

    pub(crate) fn lanes_with_tasks(&self) -> Result<BTreeSet<LaneName>> {
        let mut lanes = self.recent_lanes();
        let knows_all = || -> Result<bool> {
            let Some(index) = Index::open_existing(&self.layout)? else { return Ok(false) };
            Ok(index.state_if_current()?.is_some() && index.has_no_lanes_but(&lanes)?)
        };
        if !knows_all().unwrap_or(false) {
            self.scan_names(&self.task_names()?, |task| task.spec.lane_name(), &mut |_, lane| {
                lanes.extend(lane.ok());
                ControlFlow::Continue(())
            });
        }
        Ok(lanes)
    }

    fn latest(&self) -> Vec<feed::FeedEntry> {
        feed::newest_entries(&self.layout.root, RECENT_FEED_BYTES).unwrap_or_default()
    }

    /// Brings the index up to date if that is needed and possible: a store that is not writable is read with
    /// the index as it is.
    fn ensure_index(&self, index: &Index<'_>) -> Result<()> {
        if index.state_if_current()?.is_none() {
            match self.lock_store() {
                Ok(lock) => drop(index.ensure(&lock)?),
                Err(error) if cannot_write(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(crate) fn lane_has_tasks(&self, lane: &LaneName) -> Result<bool> {
        self.with_index(|index| {
            self.ensure_index(index)?;
            index.has_lane(lane)
        })
    }

    pub(crate) fn lane_is_new(&self, lane: &LaneName) -> bool {
        let is_new = || -> Result<bool> {
            // Without an index that is current, only an empty store tells; the submit makes one.
            if let Some(index) = Index::open_existing(&self.layout)? {
                if index.has_lane(lane)? {
                    return Ok(false);
                }
                if index.state_if_current()?.is_some() {
                    return Ok(true);
                }
            }
            Ok(self.task_names()?.is_empty())
        };
        self.layout.is_absent() || is_new().unwrap_or(false)
    }

    pub(crate) fn queue_depth(&self, lane: &LaneName) -> Result<u64> {
        self.with_index(|index| match self.refresh(index, lane) {
            Err(error) if cannot_write(&error) => index.depth(lane, &self.now()),
            refreshed => refreshed.and_then(|_| index.depth(lane, &self.now())),
        })
    }

    pub(crate) fn lanes_with_ready_tasks(&self) -> Result<BTreeMap<LaneName, ReadyTasks>> {
        let index = Index::open(&self.layout)?;
        if index.state_if_current()?.is_none() {
            index.ensure(&self.lock_store()?)?;
        }
        let mut lanes = BTreeMap::new();
        for (id, count) in index.first_of_lanes(&self.now())? {
            let task = TaskId::parse(&id).ok().and_then(|id| self.scan_one(&id).ok().flatten());
            if let Some(task) = task {
                let since = match &task.status {
                    Status::Scheduled { until } => task.updated_at.max(*until),
                    Status::Claimed(claim) => claim.lease_expires_at,
                    Status::InputRequired => task.questions_expire_at().unwrap_or(task.updated_at),
                    _ => task.updated_at,
                };
                lanes.insert(task.spec.lane, ReadyTasks { count, since });
            }
        }
        Ok(lanes)
    }

    pub(crate) fn held_tasks(&self, lane: &LaneName, belongs: &dyn Fn(&Task) -> bool) -> Result<Vec<Task>> {
        let index = Index::open(&self.layout)?;
        if index.state_if_current()?.is_none() {
            index.ensure(&self.lock_store()?)?;
        }
        let mut held = Vec::new();
        if let Some(sets) = index.existing_lane(lane)? {
            sets.held.visit(|entry| {
                let task = TaskId::parse(&entry.id).ok().and_then(|id| self.scan_one(&id).ok().flatten());
                held.extend(task.filter(|task| matches!(task.status, Status::Claimed(_)) && belongs(task)));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(held)
    }
}
