//! Queries about lanes that the index answers.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::lane::{KeyedEntry, NEVER};
use super::{Index, LANE_SETS, LaneSets, due};
use crate::error::Result;
use crate::model::task::Availability;
use crate::model::{LaneName, Now, Time};
use crate::store::layout::lane_key;

impl Index<'_> {
    /// Returns the number of the last change, as far as the index shows.
    pub(in crate::store) fn last_seq(&self) -> Result<u64> {
        Ok(self.read_state()?.map_or(0, |state| state.seq))
    }

    /// Returns when the next entry of a lane comes due.
    pub(in crate::store) fn next_due(&self, lane: &LaneName) -> Result<Option<Time>> {
        let Some(sets) = self.existing_lane(lane)? else {
            return Ok(None);
        };
        let keys = [sets.later.first_key()?, sets.held.first_key()?, self.keyed_due(&sets)?];
        let comes_due = |key: &i64| *key != NEVER;
        Ok(keys.into_iter().flatten().filter(comes_due).min().map(Time::from_micros))
    }

    /// Returns when a task with exclusive keys can be claimed at the earliest: when its time has come, or when the lease of
    /// a task ends that holds a key.
    fn keyed_due(&self, sets: &LaneSets) -> Result<Option<i64>> {
        if sets.keyed()?.is_none() {
            return Ok(None);
        }
        let held = self.held_keys()?;
        let (mut next, mut keys) = (None, BTreeSet::from_iter(sets.parked_keys()?));
        for set in self.keyed_without(sets, &held)? {
            set.visit(|entry| {
                if let Some(keyed) = KeyedEntry::of(entry) {
                    next = next.into_iter().chain(keyed.due()).min();
                    keys.extend(keyed.keys.into_iter().map(str::to_string));
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        for key in keys.intersection(&held) {
            for holder in self.holders(key)? {
                let task = self.load(holder.as_str())?;
                let end = task.and_then(|task| Some(task.status.claim()?.lease_expires_at.micros()));
                next = next.into_iter().chain(end).min();
            }
        }
        Ok(next)
    }

    /// Returns how many tasks of a lane can be claimed, including due ones that were not moved to the ready
    /// ones yet.
    pub(in crate::store) fn depth(&self, lane: &LaneName, now: &Now) -> Result<u64> {
        let Some(sets) = self.existing_lane(lane)? else { return Ok(0) };
        let keyed = self.free_keyed(&sets, now)?.1;
        let mut depth = sets.count()? + keyed + due(&sets.later, false, now, usize::MAX)?.len() as u64;
        for entry in due(&sets.held, true, now, usize::MAX)? {
            depth += u64::from(self.load(&entry.id)?.is_some_and(|task| !task.lease_is_live(now)));
        }
        Ok(depth)
    }

    /// Returns the ids in all sorted sets, or in those of one lane, sorted.
    pub(in crate::store) fn open_ids(&self, lane: Option<&str>) -> Result<Vec<String>> {
        let Some(lanes) = self.dir().open_existing(LANE_SETS)? else { return Ok(Vec::new()) };
        let names = match lane {
            Some(lane) => vec![lane_key(lane)],
            None => lanes.names()?,
        };
        let mut ids = BTreeSet::new();
        for name in names {
            let Some(sets) = LaneSets::open_at(&lanes, &name)? else { continue };
            let (blocked, keyed) = (sets.blocked()?, sets.all_keyed()?);
            for set in [&sets.ready, &sets.later, &sets.held].into_iter().chain(&blocked).chain(&keyed) {
                set.visit(|entry| {
                    ids.insert(entry.id.clone());
                    Ok(ControlFlow::Continue(()))
                })?;
            }
        }
        Ok(ids.into_iter().collect())
    }

    /// Returns the id of one task for each lane that has any in its sorted sets.
    pub(in crate::store) fn one_of_each_lane(&self) -> Result<Vec<String>> {
        let Some(lanes) = self.dir().open_existing(LANE_SETS)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for name in lanes.names()? {
            let Some(sets) = LaneSets::open_at(&lanes, &name)? else { continue };
            let mut first = None;
            let (blocked, keyed) = (sets.blocked()?, sets.all_keyed()?);
            for set in [&sets.ready, &sets.later, &sets.held].into_iter().chain(&blocked).chain(&keyed) {
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

    /// Returns whether every lane of the index, which keeps those that ever had a task, is among `lanes`.
    pub(in crate::store) fn has_no_lanes_but(&self, lanes: &BTreeSet<LaneName>) -> Result<bool> {
        let Some(listed) = self.dir().open_existing(LANE_SETS)? else { return Ok(true) };
        let keys: BTreeSet<String> = lanes.iter().map(|lane| lane_key(lane.as_str())).collect();
        Ok(listed.names()?.iter().all(|name| keys.contains(name)))
    }

    /// Returns a claimable task, the first one if it was queued, and the number of claimable tasks, for each lane that has
    /// any. Due ones count that were not moved to the ready ones yet: where nobody looks for work, nobody has moved them.
    pub(in crate::store) fn first_of_lanes(&self, now: &Now) -> Result<Vec<(String, u64)>> {
        let Some(lanes) = self.dir().open_existing(LANE_SETS)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for name in lanes.names()? {
            let Some(sets) = LaneSets::open_at(&lanes, &name)? else { continue };
            let mut first = None;
            sets.ready.visit(|entry| {
                first = Some(entry.id.clone());
                Ok(ControlFlow::Break(()))
            })?;
            let (first_keyed, keyed) = self.free_keyed(&sets, now)?;
            let mut due_ids: Vec<String> =
                due(&sets.later, false, now, usize::MAX)?.into_iter().map(|entry| entry.id).collect();
            for entry in due(&sets.held, true, now, usize::MAX)? {
                let task = self.load(&entry.id)?;
                if task.is_some_and(|task| task.availability(now) == Availability::Ready) {
                    due_ids.push(entry.id);
                }
            }
            let count = sets.count()? + keyed + due_ids.len() as u64;
            let first = first.or(first_keyed.map(|entry| entry.id)).or(due_ids.into_iter().next());
            found.extend(first.map(|first| (first, count)));
        }
        Ok(found)
    }
}
