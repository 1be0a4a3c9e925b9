//! Which tasks wait for which.
//!
//! For every open task on which others depend, `indexes/dependents` has a file with their ids. When it ends, the
//! file moves to `indexes/releasing` under the lock, and stays there until the last of the dependents has been
//! looked at: what a killed process leaves undone is seen by the next one, since `indexes/state` says that there
//! is something. `ID@due` is an empty file there for a dependent that is to be looked at itself; were its name the
//! id alone, its removal could remove the dependents of this very task, if it has just failed. As everywhere in
//! the index, an id is only a hint to look at the task.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use rustix::fs::AtFlags;

use super::seal::{is_sealed, is_sealed_at, seal};
use super::state::{DependentsMark, IndexState};
use super::{Index, MAX_ID_FILE, ids_in, is_gone, self_heal};
use crate::error::{Error, Result};
use crate::model::{Task, TaskId};
use crate::store::dir::Dir;
use crate::store::file_tail::lines;
use crate::store::lock::{self, StoreLock};
use crate::store::{atomic, bounded_file};

const DEPENDENTS: &str = "dependents";
const RELEASING: &str = "releasing";

/// The end of the name of a file in `releasing` for one dependent; no id contains `@`.
const DUE: &str = "@due";

/// The lock of the process that releases dependents.
pub(in crate::store) struct ReleaseLock {
    _file: std::os::fd::OwnedFd,
}

/// Some dependents to look at.
pub(in crate::store) struct ReleaseStep {
    /// The file in `indexes/releasing`.
    name: String,
    /// Its tasks, and those that were looked at.
    pub(in crate::store) ids: Vec<String>,
}

impl Index<'_> {
    /// Returns the mark of a state, where an older version may have written it: a store without the directory never
    /// had dependents.
    pub(super) fn dependents_mark_of(&self, state: &IndexState) -> Result<DependentsMark> {
        match state.dependents {
            DependentsMark::Unknown if !self.has(DEPENDENTS)? => Ok(DependentsMark::Absent),
            mark => Ok(mark),
        }
    }

    /// Returns whether the files of dependents are those that `lanes` wrote.
    pub(super) fn dependents_are_complete(&self, mark: DependentsMark) -> Result<bool> {
        match mark {
            DependentsMark::Absent => Ok(true),
            DependentsMark::Present | DependentsMark::Due => is_sealed_at(&self.dir(), DEPENDENTS),
            DependentsMark::Unknown => Ok(false),
        }
    }

    fn dependents(&self) -> Result<Dir> {
        self_heal::directory(self.layout, &self.dir(), DEPENDENTS)
    }

    fn releasing(&self) -> Result<Dir> {
        self_heal::directory(self.layout, &self.dir(), RELEASING)
    }

    /// Records for which tasks a task waits. `is_due` means that one of them may have ended already. Returns the
    /// state to write.
    pub(in crate::store) fn add_dependent(
        &self,
        state: &IndexState,
        task: &Task,
        is_due: bool,
    ) -> Result<IndexState> {
        if !task.waits_for_dependencies() {
            return Ok(state.clone());
        }
        let dir = self.dependents()?;
        // A change by others that came before must stay visible.
        let was_whole = state.dependents == DependentsMark::Absent || is_sealed(&dir)?;
        for dependency in &task.spec.after {
            let name = dependency.task.as_str();
            let mut file = atomic::open_for_append(&dir, name)?;
            file.write_all(format!("{}\n", task.id).as_bytes())
                .map_err(|error| Error::io("write", dir.path().join(name), error))?;
        }
        if was_whole {
            seal(&dir)?;
        }
        if is_due {
            drop(atomic::open_for_append(&self.releasing()?, &due_name(&task.id))?);
        }
        let is_due = is_due || state.dependents == DependentsMark::Due;
        let dependents = if is_due { DependentsMark::Due } else { DependentsMark::Present };
        Ok(IndexState { dependents, ..state.clone() })
    }

    /// Records that the dependents of a task that has ended are to be released. Returns the state to write.
    pub(in crate::store) fn note_end(&self, state: &IndexState, id: &TaskId) -> Result<IndexState> {
        if state.dependents == DependentsMark::Absent {
            return Ok(state.clone());
        }
        let (dir, releasing) = (self.dependents()?, self.releasing()?);
        let was_whole = is_sealed(&dir)?;
        match atomic::rename_derived(&dir, id.as_str(), &releasing, id.as_str()) {
            // Without dependents, or a process that was killed has done it.
            Err(error) if is_gone(&error) => {
                if rustix::fs::statat(&releasing, id.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_err() {
                    return Ok(state.clone());
                }
            }
            moved => moved?,
        }
        if was_whole {
            seal(&dir)?;
        }
        Ok(IndexState { dependents: DependentsMark::Due, ..state.clone() })
    }

    /// Records that tasks have ended that others depend on, when another implementation has ended them.
    pub(in crate::store) fn note_ends(&self, lock: &StoreLock, ended: &[TaskId]) -> Result<()> {
        let mut state = self.ensure(lock)?;
        for id in ended {
            state = self.note_end(&state, id)?;
        }
        self.write_state(&state)
    }

    /// Takes the lock for releasing dependents; `None` when another process has it.
    pub(in crate::store) fn try_release_lock(&self) -> Result<Option<ReleaseLock>> {
        let releasing = self.releasing()?;
        let file = atomic::duplicate(&releasing)?;
        Ok(lock::hold(&file, releasing.path())?.then_some(ReleaseLock { _file: file }))
    }

    /// Returns the next dependents to look at; `None` when there are none.
    pub(in crate::store) fn next_release(&self) -> Result<Option<ReleaseStep>> {
        let releasing = self.releasing()?;
        let mut names = releasing.names()?;
        names.retain(|name| TaskId::is_valid(id_of(name)));
        names.sort_unstable();
        let Some(name) = names.into_iter().next() else { return Ok(None) };
        let content = bounded_file::read(&releasing, &name, MAX_ID_FILE)?;
        let bytes = content.map(|content| content.bytes).unwrap_or_default();
        let mut ids = vec![id_of(&name).to_string()];
        ids.extend(lines(&bytes).map(|line| String::from_utf8_lossy(line).into_owned()));
        Ok(Some(ReleaseStep { name, ids }))
    }

    /// Records that all dependents of a step have been looked at.
    pub(in crate::store) fn finish_release(&self, step: &ReleaseStep) -> Result<()> {
        atomic::remove(&self.releasing()?, &step.name)
    }

    /// Records that nothing is left to release, unless there is again. Returns whether it was recorded.
    pub(in crate::store) fn finish_releases(&self, lock: &StoreLock) -> Result<bool> {
        let state = self.ensure(lock)?;
        if self.next_release()?.is_some() {
            return Ok(false);
        }
        let is_empty = self.dependents()?.names()?.is_empty();
        let dependents = if is_empty { DependentsMark::Absent } else { DependentsMark::Present };
        self.write_state(&IndexState { dependents, ..state })?;
        Ok(true)
    }

    /// Returns the ids of tasks on which others depend, as far as the index shows.
    pub(in crate::store) fn awaited(&self) -> Result<Vec<TaskId>> {
        let Some(dir) = self.dir().open_existing(DEPENDENTS)? else { return Ok(Vec::new()) };
        Ok(dir.names()?.iter().filter_map(|name| TaskId::parse(name).ok()).collect())
    }

    /// Returns the ids of the tasks that depend on an open one, as far as the index shows.
    pub(in crate::store) fn dependents_of(&self, id: &TaskId) -> Result<Vec<TaskId>> {
        let Some(dir) = self.dir().open_existing(DEPENDENTS)? else { return Ok(Vec::new()) };
        ids_in(&dir, id.as_str())
    }

    /// Writes the files of dependents anew. `waiting` are the tasks with open dependencies or with ones that have
    /// ended, `is_open` tells which tasks are open.
    pub(super) fn rebuild_dependents(
        &self,
        waiting: &[Task],
        is_open: impl Fn(&TaskId) -> bool,
    ) -> Result<DependentsMark> {
        for name in [DEPENDENTS, RELEASING] {
            atomic::remove_tree(&self.dir(), name)?;
        }
        if waiting.is_empty() {
            return Ok(DependentsMark::Absent);
        }
        let (mut dependents, mut due) = (BTreeMap::<&TaskId, String>::new(), BTreeSet::new());
        for task in waiting {
            for dependency in &task.spec.after {
                if is_open(&dependency.task) {
                    let ids = dependents.entry(&dependency.task).or_default();
                    ids.push_str(task.id.as_str());
                    ids.push('\n');
                } else {
                    due.insert(&task.id);
                }
            }
        }
        let (dir, releasing) = (self.dependents()?, self.releasing()?);
        for (id, text) in &dependents {
            let mut file = atomic::open_for_append(&dir, id.as_str())?;
            file.write_all(text.as_bytes())
                .map_err(|error| Error::io("write", dir.path().join(id.as_str()), error))?;
        }
        for id in &due {
            drop(atomic::open_for_append(&releasing, &due_name(id))?);
        }
        seal(&dir)?;
        Ok(if due.is_empty() { DependentsMark::Present } else { DependentsMark::Due })
    }
}

/// Returns the name of the file in `releasing` that makes the next release look at a task itself.
fn due_name(id: &TaskId) -> String {
    format!("{id}{DUE}")
}

/// Returns the id in the name of a file in `releasing`.
fn id_of(name: &str) -> &str {
    name.strip_suffix(DUE).unwrap_or(name)
}
