//! Which tasks are in which group.
//!
//! For each group, `indexes/groups` has a file with the ids of its tasks, one a line. A task stays in its group for
//! good, so a file only grows until the index is rebuilt; the id of a task that was removed means nothing.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use super::seal::{is_sealed, seal};
use super::state::{IndexState, UseMark};
use super::{GROUPS, Index, ids_in, self_heal};
use crate::error::{Error, Result};
use crate::model::{GroupName, Task, TaskId};
use crate::store::atomic;
use crate::store::layout::group_key;

impl Index<'_> {
    /// Records in which group a new task is. Returns the state to write.
    pub(in crate::store) fn add_to_group(&self, state: &IndexState, task: &Task) -> Result<IndexState> {
        let Some(group) = &task.spec.group else { return Ok(state.clone()) };
        let dir = self_heal::directory(self.layout, &self.dir(), GROUPS)?;
        // A change by others that came before must stay visible.
        let was_whole = state.groups == UseMark::Absent || is_sealed(&dir)?;
        let name = group_key(group.as_str());
        let mut file = atomic::open_for_append(&dir, &name)?;
        file.write_all(format!("{}\n", task.id).as_bytes())
            .map_err(|error| Error::io("write", dir.path().join(&name), error))?;
        if was_whole {
            seal(&dir)?;
        }
        let groups = if state.groups == UseMark::Unknown { UseMark::Unknown } else { UseMark::Present };
        Ok(IndexState { groups, ..state.clone() })
    }

    /// Returns the ids of the tasks of a group, as far as the index shows.
    pub(in crate::store) fn members_of(&self, group: &GroupName) -> Result<Vec<TaskId>> {
        let Some(dir) = self.dir().open_existing(GROUPS)? else { return Ok(Vec::new()) };
        let mut ids = ids_in(&dir, &group_key(group.as_str()))?;
        // A change that was completed after its process died may have added its task twice.
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        Ok(ids)
    }

    /// Writes the files of groups anew: for each file name the tasks of the group.
    pub(super) fn rebuild_groups(&self, groups: &BTreeMap<String, Vec<TaskId>>) -> Result<UseMark> {
        atomic::remove_tree(&self.dir(), GROUPS)?;
        if groups.is_empty() {
            return Ok(UseMark::Absent);
        }
        let dir = self_heal::directory(self.layout, &self.dir(), GROUPS)?;
        for (name, ids) in groups {
            let text: String = ids.iter().map(|id| format!("{id}\n")).collect();
            atomic::replace_derived(&dir, name, text.as_bytes())?;
        }
        seal(&dir)?;
        Ok(UseMark::Present)
    }
}
