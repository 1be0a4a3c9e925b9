//! What the care of a store asks of the index and does to it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::self_heal::{is_sealed, seal};
use super::{CORRELATIONS, Index, IndexState, LANE_SETS, LaneSets};
use crate::error::{ErrorKind, Result};
use crate::model::{Task, TaskId, json};
use crate::store::layout::{Dir, idempotency_key, lane_key};
use crate::store::lock::StoreLock;
use crate::store::submit::{correlation_content, correlation_name};
use crate::store::{atomic, reader};

impl Index<'_> {
    /// The number of the last change, as far as the index knows.
    pub(in crate::store) fn last_seq(&self) -> Result<u64> {
        Ok(self.read_state()?.map_or(0, |state| state.seq))
    }

    /// Notes that a task which stood in no sorted set has been removed.
    pub(in crate::store) fn removed(
        &self,
        _lock: &StoreLock,
        state: &IndexState,
        task: &Task,
        successor: Option<&Task>,
    ) -> Result<()> {
        let stamp = self.stamp_tasks()?;
        self.write_state(&IndexState { stamp, known: state.known.saturating_sub(1), ..state.clone() })?;
        self.forget(task, successor)
    }

    /// Removes the key that leads to a task which is gone, and lets its correlation lead to
    /// `successor`, if there is one.
    pub(in crate::store) fn forget(&self, task: &Task, successor: Option<&Task>) -> Result<()> {
        if let Some(key) = &task.spec.key
            && self.known_holder(&task.spec.workspace_id, key)?.as_ref() == Some(&task.id)
            && let Some(keys) = self.keys()?
        {
            let was_whole = is_sealed(keys.dir())?;
            keys.forget(&idempotency_key(&task.spec.workspace_id, key))?;
            if was_whole {
                seal(keys.dir())?;
            }
        }
        if self.correlation_target(task)?.as_ref() == Some(&task.id)
            && let Some(correlations) = self.dir().open_existing(CORRELATIONS)?
        {
            let name = correlation_name(&task.spec.workspace_id, &task.spec.correlation_id);
            let replaced = successor.is_some_and(|task| {
                let content = correlation_content(task);
                atomic::replace_derived(&correlations, &name, content.as_bytes()).is_ok()
            });
            // A full disk has no room for the new one, and none is better than one that leads nowhere.
            if !replaced {
                atomic::remove(&correlations, &name)?;
            }
        }
        Ok(())
    }

    /// The task that the correlation of `task` leads to.
    pub(in crate::store) fn correlation_target(&self, task: &Task) -> Result<Option<TaskId>> {
        let name = correlation_name(&task.spec.workspace_id, &task.spec.correlation_id);
        let target = || match self.dir().open_existing(CORRELATIONS)? {
            Some(correlations) => target_of(&correlations, &name),
            None => Ok(None),
        };
        match target() {
            // Something else stands in its place.
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            target => target,
        }
    }

    /// The ids in all sorted sets, or on those of one lane, sorted.
    pub(in crate::store) fn open_ids(&self, lane: Option<&str>) -> Result<Vec<String>> {
        let Some(lanes) = self.dir().open_existing(LANE_SETS)? else { return Ok(Vec::new()) };
        let names = match lane {
            Some(lane) => vec![lane_key(lane)],
            None => lanes.names()?,
        };
        let mut ids = BTreeSet::new();
        for name in names {
            let Some(sets) = LaneSets::open_at(&lanes, &name)? else { continue };
            for set in [&sets.ready, &sets.later, &sets.held] {
                set.visit(|entry| {
                    ids.insert(entry.id.clone());
                    Ok(ControlFlow::Continue(()))
                })?;
            }
        }
        Ok(ids.into_iter().collect())
    }

    /// The id of a task in a sorted set of each lane that has one.
    pub(in crate::store) fn one_of_each_lane(&self) -> Result<Vec<String>> {
        let Some(lanes) = self.dir().open_existing(LANE_SETS)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for name in lanes.names()? {
            let Some(sets) = LaneSets::open_at(&lanes, &name)? else { continue };
            let mut first = None;
            for set in [&sets.ready, &sets.later, &sets.held] {
                if first.is_none() {
                    set.visit(|entry| {
                        first = Some(entry.id.clone());
                        Ok(ControlFlow::Break(()))
                    })?;
                }
            }
            found.extend(first);
        }
        Ok(found)
    }

    /// For each lane with tasks that can be claimed: the first of them, and their number.
    pub(in crate::store) fn first_of_lanes(&self) -> Result<Vec<(String, u64)>> {
        let Some(lanes) = self.dir().open_existing(LANE_SETS)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for name in lanes.names()? {
            let Some(sets) = LaneSets::open_at(&lanes, &name)? else { continue };
            let mut first = None;
            sets.ready.visit(|entry| {
                first = Some(entry.id.clone());
                Ok(ControlFlow::Break(()))
            })?;
            if let Some(first) = first {
                found.push((first, sets.count()?));
            }
        }
        Ok(found)
    }
}

/// The task that a correlation file leads to, if it can be read.
pub(in crate::store) fn target_of(correlations: &Dir, name: &str) -> Result<Option<TaskId>> {
    let content = reader::file(correlations, name, 1024 * 1024)?;
    let object = content.and_then(|content| json::parse_object(&content.bytes).ok());
    Ok(object.and_then(|object| TaskId::parse(object.get("task_id")?.as_str()?).ok()))
}
