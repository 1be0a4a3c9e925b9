//! Compares the index, the keys and the correlations with the tasks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::FileType;

use super::Checker;
use super::expected::{ExpectedIndexEntry, StoreExpectations};
use super::layout_check::misplaced;
use super::report::Severity;
use crate::error::{ErrorKind, Result};
use crate::model::json::raw::read_object;
use crate::model::{LaneName, TaskId, Time};
use crate::store::atomic;
use crate::store::correlation_file::correlation_content;
use crate::store::dir::Dir;
use crate::store::index::correlations::target_of;
use crate::store::index::exclusive::holds_keys;
use crate::store::index::seal::seal;
use crate::store::index::self_heal::put;
use crate::store::index::sorted_set::SortedSet;
use crate::store::index::{DependentsMark, Index, LaneSets, Position, position};
use crate::store::layout::{INDEXES, exclusive_key};
use crate::store::scan::{FastReader, map_in_order};

/// The entries of the sorted sets of one lane.
#[derive(Default)]
struct IndexedTasks {
    ready: HashSet<(i64, String)>,
    later: HashSet<(i64, String)>,
    held: HashSet<(i64, String)>,
    blocked: HashSet<(i64, String)>,
    keyed: HashSet<(i64, String)>,
    count: u64,
}

impl IndexedTasks {
    fn read(sets: Option<LaneSets>) -> Result<Self> {
        let Some(sets) = sets else { return Ok(Self::default()) };
        Ok(Self {
            ready: entries(&sets.ready)?,
            later: entries(&sets.later)?,
            held: entries(&sets.held)?,
            blocked: sets.blocked()?.map_or(Ok(HashSet::new()), |blocked| entries(&blocked))?,
            keyed: keyed_entries(&sets)?,
            count: sets.count()?,
        })
    }

    /// Returns whether a task can be found: at its position, or among the ready ones if its time has come.
    fn holds(&self, rank: i64, position: Position, id: &str) -> bool {
        let at = |set: &HashSet<(i64, String)>, key: i64| set.contains(&(key, id.to_string()));
        at(&self.ready, rank)
            || match position {
                Position::Ready(_) => false,
                Position::Later(key) => at(&self.later, key),
                Position::Held(key) => at(&self.held, key),
                Position::Blocked(key) => at(&self.blocked, key),
                Position::Keyed(key) => at(&self.keyed, key),
            }
    }
}

fn entries(set: &SortedSet) -> Result<HashSet<(i64, String)>> {
    let mut entries = HashSet::new();
    set.visit(|entry| {
        entries.insert((entry.key, entry.id.clone()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(entries)
}

fn keyed_entries(sets: &LaneSets) -> Result<HashSet<(i64, String)>> {
    let mut found = HashSet::new();
    for set in sets.all_keyed()? {
        found.extend(entries(&set)?);
    }
    Ok(found)
}

/// Returns the task that the file of a correlation leads to.
fn correlated(content: &[u8]) -> Option<String> {
    let mut id = None;
    read_object(content, |raw| {
        raw.members(|key, raw| {
            if key == "task_id" {
                id = raw.text().map(|text| text.decode().into_owned());
            }
        });
    })
    .ok()?;
    id
}

/// Returns the files whose content does not lead where it should; they need a closer look.
fn find_suspicious(dir: &Dir, names: &[String], leads: impl Fn(&str, &[u8]) -> bool + Sync) -> Vec<String> {
    let extract = |reader: &mut FastReader, name: &String| {
        reader.read_small(dir, "", name).is_some_and(|content| leads(name, content))
    };
    let mut doubtful = Vec::new();
    let _ = map_in_order(names, &FastReader::new, &extract, &mut |name, leads| {
        doubtful.extend((!leads).then(|| name.clone()));
        ControlFlow::Continue(())
    });
    doubtful.sort_unstable();
    doubtful
}

impl Checker<'_> {
    /// Compares all derived data with the tasks.
    pub(crate) fn check_derived(&mut self, expected: &StoreExpectations) -> Result<()> {
        self.check_feed()?;
        let store = self.store;
        let Ok(Some(indexes)) = store.layout.root.open_existing(INDEXES) else { return Ok(()) };
        for name in ["keys", "correlations"] {
            if let Ok(Some(dir)) = indexes.open_existing(name) {
                self.check_only_files(&dir)?;
            }
        }
        let mut is_current = true;
        match self.check_index(&indexes, expected) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let repaired = self.try_repair(|_| Index::open(&store.layout)?.heal(&store.lock_store()?))?;
                let (path, remedy) = (indexes.path().to_path_buf(), "repair rebuilds the index");
                let (code, message) = ("index-disagrees", error.message());
                self.found(code, Severity::Damage, path, message, remedy, repaired);
            }
            done => is_current = done?,
        }
        self.check_keys(expected, is_current)?;
        self.check_correlations(&indexes, expected)
    }

    /// Finds entries that are not regular files in an index directory that contains only files.
    fn check_only_files(&mut self, dir: &Dir) -> Result<()> {
        for (name, _) in dir.entries()?.into_iter().filter(|(_, kind)| *kind != FileType::RegularFile) {
            let repaired = self.try_repair(|check| {
                let _lock = check.store.lock_store()?;
                // A process that needed the name may have cleared it.
                match misplaced(dir, name.as_os_str(), FileType::RegularFile) {
                    Some(_) => check.move_to_quarantine(dir, &name),
                    None => Ok(()),
                }
            })?;
            let message = "expected a file of the index here";
            let (path, remedy) = (dir.path().join(&name), "repair moves it to the quarantine");
            self.found("not-a-file", Severity::Damage, path, message, remedy, repaired);
        }
        Ok(())
    }

    /// Compares the sorted sets with the tasks. Returns whether the index was up to date, or is now.
    fn check_index(&mut self, indexes: &Dir, expected: &StoreExpectations) -> Result<bool> {
        let store = self.store;
        let index = Index::open(&store.layout)?;
        let path = indexes.path().to_path_buf();
        if let Some(lanes) = indexes.open_existing("lanes")? {
            for lane in lanes.names()? {
                for set in ["ready", "later", "held", "blocked", "keyed"] {
                    let Some(dir) = lanes.open_existing(&lane)? else { continue };
                    if let Some(set) = dir.open_existing(set)? {
                        self.remove_partial_files(&set)?;
                    }
                }
            }
        }
        index.keys()?.map_or(Ok(Vec::new()), |keys| keys.packed())?;
        if index.state_if_current()?.is_none()
            && !self.try_repair(|_| index.ensure(&store.lock_store()?).map(drop))?
        {
            let message = "the index is not up to date";
            let remedy = "the next command that needs it brings it up to date";
            self.found("index-outdated", Severity::Leftover, path, message, remedy, false);
            return Ok(false);
        }
        let mut lanes: BTreeMap<&LaneName, IndexedTasks> = BTreeMap::new();
        for task in &expected.open {
            if !lanes.contains_key(&task.lane) {
                lanes.insert(&task.lane, IndexedTasks::read(index.existing_lane(&task.lane)?)?);
            }
        }
        let hidden = expected.open.iter().filter(|task| {
            !lanes.get(&task.lane).is_some_and(|lane| lane.holds(task.rank, task.position, &task.id))
        });
        let hidden: Vec<&ExpectedIndexEntry> = hidden.collect();
        let waiting: Vec<&str> =
            expected.open.iter().filter(|task| task.waits).map(|task| task.id.as_str()).collect();
        let unreleased = self.unreleased(&index, &waiting)?;
        let miscounted: Vec<&LaneName> = lanes
            .iter()
            .filter(|(_, lane)| lane.count != lane.ready.len() as u64)
            .map(|(name, _)| *name)
            .collect();
        let unheld: Vec<&str> =
            expected.open.iter().filter(|task| task.holds_keys).map(|task| task.id.as_str()).collect();
        let unheld = self.without_their_keys(&index, &unheld)?;
        let is_listed = self.missing_in_groups(&index, expected)?.is_none();
        if hidden.is_empty()
            && miscounted.is_empty()
            && unreleased.is_empty()
            && unheld.is_empty()
            && is_listed
        {
            return Ok(true);
        }
        // Tasks that changed since may have moved; the second look is under the lock.
        let lock = match store.lock_store() {
            Ok(lock) => Some(lock),
            Err(error) if !self.repair && error.kind() == ErrorKind::Io => None,
            Err(error) => return Err(error),
        };
        let hidden: Vec<&str> = hidden
            .iter()
            .filter(|task| self.is_hidden(&index, &task.id))
            .map(|task| task.id.as_str())
            .collect();
        let mut wrong = hidden.first().map(|first| {
            format!("{} tasks cannot be found through the index, such as {first}", hidden.len())
        });
        if let Some(first) = self.unreleased(&index, &unreleased)?.first()
            && wrong.is_none()
        {
            wrong = Some(format!("{first} waits for other tasks, whose ends would not release it"));
        }
        if let Some(first) = self.without_their_keys(&index, &unheld)?.first()
            && wrong.is_none()
        {
            wrong = Some(format!("{first} is claimed, and the index says that its exclusive keys are free"));
        }
        if wrong.is_none() {
            let missing = self.missing_in_groups(&index, expected)?;
            wrong = missing.map(|id| format!("{id} cannot be found through its group"));
        }
        for lane in miscounted {
            let indexed = IndexedTasks::read(index.existing_lane(lane)?)?;
            if indexed.count != indexed.ready.len() as u64 && wrong.is_none() {
                wrong = Some(format!(
                    "lane {lane} counts {} claimable tasks, but has {}",
                    indexed.count,
                    indexed.ready.len()
                ));
            }
        }
        let Some(message) = wrong else { return Ok(true) };
        let repaired = lock.is_some() && self.try_repair(|_| index.rebuild(index.last_seq()?).map(drop))?;
        let remedy = "repair rebuilds the index";
        self.found("index-disagrees", Severity::Damage, path, message, remedy, repaired);
        Ok(true)
    }

    /// Returns which of the tasks that wait for others would not be released when these end.
    fn unreleased<'t>(&self, index: &Index<'_>, waiting: &[&'t str]) -> Result<Vec<&'t str>> {
        let mut dependents: HashMap<TaskId, HashSet<TaskId>> = HashMap::new();
        let mut unreleased = Vec::new();
        let is_due = index.state_if_current()?.is_none_or(|state| state.dependents == DependentsMark::Due);
        for id in waiting {
            let Some(task) = TaskId::parse(id).ok().and_then(|id| self.store.scan_one(&id).ok().flatten())
            else {
                continue;
            };
            if !task.waits_for_dependencies() || is_due {
                continue;
            }
            let mut is_listed = false;
            for dependency in &task.spec.after {
                if !dependents.contains_key(&dependency.task) {
                    let listed = index.dependents_of(&dependency.task)?.into_iter().collect();
                    dependents.insert(dependency.task.clone(), listed);
                }
                let listed = dependents.get(&dependency.task).is_some_and(|ids| ids.contains(&task.id));
                if !listed && self.is_open(dependency.task.as_str()) {
                    is_listed = false;
                    break;
                }
                is_listed |= listed;
            }
            if !is_listed && !task.lease_is_live(&self.store.now()) {
                unreleased.push(*id);
            }
        }
        Ok(unreleased)
    }

    /// Returns which of the claimed tasks with exclusive keys do not hold them according to the index.
    fn without_their_keys<'t>(&self, index: &Index<'_>, claimed: &[&'t str]) -> Result<Vec<&'t str>> {
        let mut found = Vec::new();
        for id in claimed {
            let task = TaskId::parse(id).ok().and_then(|id| self.store.scan_one(&id).ok().flatten());
            let Some(task) = task.filter(holds_keys) else { continue };
            for key in &task.spec.exclusive {
                if !index.holders(&exclusive_key(key))?.contains(&task.id) {
                    found.push(*id);
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Returns a task that the index does not have in its group.
    fn missing_in_groups<'t>(
        &self,
        index: &Index<'_>,
        expected: &'t StoreExpectations,
    ) -> Result<Option<&'t str>> {
        for (group, members) in &expected.groups {
            let listed: HashSet<TaskId> = index.members_of(group)?.into_iter().collect();
            let is_missing =
                |id: &&str| TaskId::parse(id).is_ok_and(|id| !listed.contains(&id)) && self.exists(id);
            if let Some(id) = members.iter().map(|place| expected.id(*place)).find(is_missing) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    fn is_hidden(&self, index: &Index<'_>, id: &str) -> bool {
        let task = TaskId::parse(id).ok().and_then(|id| self.store.scan_one(&id).ok().flatten());
        let Some(task) = task else { return false };
        let Some(position) = position(&task) else { return false };
        let indexed = index.existing_lane(&task.spec.lane).and_then(IndexedTasks::read);
        indexed.is_ok_and(|indexed| !indexed.holds(task.rank(), position, id))
    }

    fn exists(&self, id: &str) -> bool {
        TaskId::parse(id).is_ok_and(|id| matches!(self.store.layout.task(&id), Ok(Some(_))))
    }

    fn check_keys(&mut self, expected: &StoreExpectations, is_current: bool) -> Result<()> {
        let store = self.store;
        let index = Index::open(&store.layout)?;
        let Ok(Some(keys)) = index.keys() else { return Ok(()) };
        self.remove_partial_files(keys.dir())?;
        if self.repair {
            let _lock = store.lock_store()?;
            seal(keys.dir())?;
        }
        let holder = |name: &str| keys.holder(name).ok().flatten();
        let is_known = |id: &str| expected.created_at(id).is_some();
        let mut present = keys.own_names()?;
        let own: Vec<String> = present.iter().cloned().collect();
        // Damage to it has been reported with the index.
        let Ok(packed) = keys.packed() else { return Ok(()) };
        let leads = |_: &str, content: &[u8]| is_known(String::from_utf8_lossy(content).trim());
        let mut doubtful = find_suspicious(keys.dir(), &own, leads);
        for (name, id) in packed {
            if !present.contains(&name) && !is_known(id.as_str()) {
                doubtful.push(name.clone());
            }
            present.insert(name);
        }
        for name in doubtful {
            let is_known = holder(&name).is_some_and(|id| self.exists(id.as_str()));
            if is_known || misplaced(keys.dir(), name.as_str(), FileType::RegularFile).is_some() {
                continue;
            }
            present.remove(&name);
            let repaired = self.try_repair(|check| {
                let _lock = store.lock_store()?;
                if !holder(&name).is_some_and(|id| check.exists(id.as_str())) {
                    keys.forget(&name)?;
                    seal(keys.dir())?;
                }
                Ok(())
            })?;
            let message = "an idempotency key of a task that is gone";
            let path = keys.dir().path().join(&name);
            self.found("key-stale", Severity::Leftover, path, message, "repair removes it", repaired);
        }
        for (name, id) in expected.keys.iter().map(|(name, position)| (name, expected.id(*position))) {
            if present.contains(name) || !self.exists(id) {
                continue;
            }
            let repaired = self.try_repair(|_| {
                let _lock = store.lock_store()?;
                TaskId::parse(id).map_or(Ok(()), |id| keys.set(name, &id))?;
                seal(keys.dir())
            })?;
            let message =
                format!("the idempotency key of {id} is missing from the index: it could be submitted twice");
            let path = keys.dir().path().join(name);
            // A submit brings an outdated index up to date first.
            let severity = if is_current { Severity::Damage } else { Severity::Leftover };
            self.found("key-missing", severity, path, message, "repair adds it", repaired);
        }
        for (older, newer) in
            expected.sharing.iter().map(|(older, newer)| (expected.id(*older), expected.id(*newer)))
        {
            if !self.is_open(older) || !self.is_open(newer) {
                continue;
            }
            let message = format!("it is open and has the same idempotency key as {newer}");
            let remedy = "cancel the one that is not wanted with `lanes cancel`";
            let path = store.layout.tasks.path().join(older);
            self.found("key-shared", Severity::Damage, path, message, remedy, false);
        }
        Ok(())
    }

    fn is_open(&self, id: &str) -> bool {
        let task = TaskId::parse(id).ok().and_then(|id| self.store.scan_one(&id).ok().flatten());
        task.is_some_and(|task| !task.status.is_terminal())
    }

    fn check_correlations(&mut self, indexes: &Dir, expected: &StoreExpectations) -> Result<()> {
        let Ok(Some(correlations)) = indexes.open_existing("correlations") else { return Ok(()) };
        let names = self.remove_partial_files(&correlations)?;
        let known = AtomicUsize::new(0);
        let leads = |name: &str, content: &[u8]| {
            known.fetch_add(expected.correlations.contains_key(name).into(), Ordering::Relaxed);
            correlated(content).is_some_and(|id| expected.may_lead(name, &id))
        };
        for name in find_suspicious(&correlations, &names, leads) {
            let newest = expected.correlations.get(&name).map(|position| &expected.tasks[*position]);
            let Some(message) = self.wrong_target(&correlations, &name, newest) else { continue };
            if misplaced(&correlations, name.as_str(), FileType::RegularFile).is_some() {
                continue;
            }
            let repaired = self.try_repair(|check| {
                let _lock = check.store.lock_store()?;
                if check.wrong_target(&correlations, &name, newest).is_some() {
                    check.retarget(&correlations, &name, newest)?;
                }
                Ok(())
            })?;
            let path = correlations.path().join(&name);
            let remedy = "repair makes it lead to the newest task, or removes it when there is none";
            self.found("correlation-stale", Severity::Leftover, path, message, remedy, repaired);
        }
        // Usually all of them have been seen.
        let all_known = known.into_inner() == expected.correlations.len();
        let present: HashSet<String> = names.into_iter().filter(|_| !all_known).collect();
        for (name, position) in expected.correlations.iter().filter(|_| !all_known) {
            let newest = &expected.tasks[*position];
            if present.contains(name) || !self.exists(newest.0.as_str()) {
                continue;
            }
            let repaired = self.try_repair(|check| {
                let _lock = check.store.lock_store()?;
                check.retarget(&correlations, name, Some(newest))
            })?;
            let path = correlations.path().join(name);
            let message = "other implementations do not find the tasks of this correlation";
            let remedy = "repair makes it lead to the newest task";
            self.found("correlation-missing", Severity::Leftover, path, message, remedy, repaired);
        }
        Ok(())
    }

    /// Returns what is wrong with the task that a correlation leads to.
    fn wrong_target(
        &self,
        correlations: &Dir,
        name: &str,
        newest: Option<&(TaskId, Time)>,
    ) -> Option<&'static str> {
        let target = target_of(correlations, name).ok().flatten();
        let Some(target) = target.and_then(|id| self.store.scan_one(&id).ok().flatten()) else {
            return Some("it leads to no task");
        };
        let is_older = newest.is_some_and(|(id, at)| target.created_at < *at && self.exists(id.as_str()));
        is_older.then_some("it leads to an older task than it should")
    }

    fn retarget(&self, correlations: &Dir, name: &str, newest: Option<&(TaskId, Time)>) -> Result<()> {
        match newest.and_then(|(id, _)| self.store.scan_one(id).ok().flatten()) {
            Some(task) => {
                let (tmp, text) = (self.store.layout.tmp()?, correlation_content(&task));
                put(&self.store.layout, correlations, name, || {
                    atomic::replace_durably(&tmp, correlations, name, text.as_bytes())
                })
            }
            None => atomic::remove(correlations, name),
        }
    }
}
