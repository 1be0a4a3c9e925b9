//! Making the index fit the store again: after a process died in the middle of a change, after
//! another implementation added tasks, and from nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::lane::{LaneSets, Position, clock_lead, entry, position};
use super::power_loss::UNWRITTEN;
use super::seal::seal;
use super::sorted_set::IndexEntry;
use super::state::{IndexState, boot_word};
use super::{Index, KEYS, LANE_SETS, STATE, self_heal};
use crate::error::{Error, Result};
use crate::model::{Event, Task, TaskId, TaskText, Time, json};
use crate::store::dir::Dir;
use crate::store::layout::{RESPONSE_FILE, idempotency_key};
use crate::store::lock::TaskLock;
use crate::store::request_file::is_part;
use crate::store::scan::scan_with_progress;
use crate::store::{atomic, bounded_file, feed, history, task_files};

/// After a power cut the numbers of the feed go on this much higher, so that none is used twice.
const SEQ_GAP: u64 = 1_000_000;

/// What a look at a task says to a new index.
enum ScannedTask {
    /// It is open or has only just ended, and is to be looked at closely.
    Task(Box<Task>, Option<KeyHolder>),
    /// It has ended and only shows that its lane was used.
    Ended(String, Option<KeyHolder>),
}

/// A task with an idempotency key.
struct KeyHolder {
    /// The file name of its key.
    name: String,
    created_at: Time,
    id: TaskId,
}

impl KeyHolder {
    fn of(task: &TaskText<'_>) -> Option<Self> {
        // A task that was retried has given its key to the new one.
        let key = task.spec.key.filter(|_| task.retried_as.is_none())?;
        let name = idempotency_key(&task.spec.workspace_id.decode(), &key.decode());
        Some(Self { name, created_at: task.created_at, id: task.id.clone() })
    }
}

impl Index<'_> {
    /// Completes the bookkeeping of a change whose process died in the middle of it.
    pub(super) fn finish_for_another(&self, state: &IndexState, id: &str) -> Result<IndexState> {
        let task = self.load(id)?;
        if task.is_none() && TaskId::parse(id).is_ok_and(|id| !self.is_gone(&id)) {
            // What it lacks is found when all are looked at, if it can be read then.
            return Err(Error::corrupt(format!("{id} cannot be read")));
        }
        let mut seq = state.seq;
        if let Some(task) = &task {
            let dir = self.layout.task(&task.id)?;
            if let Some(dir) = dir {
                seq = self.complete_feed(&dir, task, seq)?;
                // One task whose history cannot be written must not stop the others.
                let _ = history::append(&dir, task);
                let _ = self.complete_response(&dir, task);
            }
            self.recover_key(task)?;
            self.recover_correlation(task)?;
            if let Some(position) = position(task) {
                self.lane(&task.spec.lane)?.insert(task, position)?;
            }
        }
        let next = IndexState { seq, busy: None, ..state.clone() };
        self.write_state(&next)?;
        Ok(next)
    }

    /// Gives the answers of the tasks that were answered last their names, if their processes died before that.
    pub(super) fn publish_owed_responses(&self, state: IndexState) -> Result<IndexState> {
        let mut owed = Vec::new();
        for id in &state.owed {
            let path = format!("{id}/{RESPONSE_FILE}");
            let is_there = rustix::fs::statat(&self.layout.tasks, path, AtFlags::SYMLINK_NOFOLLOW).is_ok();
            if !is_there
                && let Some(task) = self.load(id)?
                && let Some(dir) = self.layout.task(&task.id)?
            {
                match TaskLock::try_acquire(&dir)? {
                    Some(_lock) => drop(self.complete_response(&dir, &task)),
                    // The process that holds it is about to do so; until it has, this stays noted.
                    None => owed.push(id.clone()),
                }
            }
        }
        Ok(IndexState { owed, ..state })
    }

    /// Puts the answer of an ended task under the name by which other implementations find it.
    pub(super) fn complete_response(&self, dir: &Dir, task: &Task) -> Result<()> {
        if !task.status.is_terminal() {
            return Ok(());
        }
        match &task.journal.response {
            Some(response) => {
                let text = json::to_text(&response.to_object());
                match bounded_file::read(dir, RESPONSE_FILE, text.len() as u64)
                    .map(|found| found.map(|it| it.bytes))
                {
                    Ok(Some(found)) if found == text.as_bytes() => return Ok(()),
                    // What a power cut left of it, if anything.
                    Ok(found) if is_part(found.as_deref().unwrap_or_default(), text.as_bytes()) => {}
                    // Whatever else stands there is for fsck to move aside.
                    Ok(_) | Err(_) => return Ok(()),
                }
                // Nobody is to find an answer whose commit a power cut may take back.
                atomic::sync_dir(dir)?;
                atomic::replace_durably(&self.layout.tmp()?, dir, RESPONSE_FILE, text.as_bytes())
            }
            None if dir.path().join(RESPONSE_FILE).exists() => Ok(()),
            None => {
                atomic::sync_dir(dir)?;
                atomic::rename_derived(
                    dir,
                    &task_files::pending_response_name(task.fence),
                    dir,
                    RESPONSE_FILE,
                )?;
                atomic::sync_dir(dir)
            }
        }
    }

    /// Notes the key of a task unless it has moved on to a later task that repeats this one.
    fn recover_key(&self, task: &Task) -> Result<()> {
        let Some(key) = &task.spec.key else { return Ok(()) };
        if let Some(holder) = self.known_holder(&task.spec.workspace_id, key)?
            && holder > task.id
            && task.spec.retry_of.as_deref() != Some(holder.as_str())
            && self.layout.task(&holder)?.is_some()
        {
            return Ok(());
        }
        self.set_key(task)
    }

    /// Adds to the feed what a task tells and neither its events.jsonl nor the feed knows.
    fn complete_feed(&self, dir: &Dir, task: &Task, seq: u64) -> Result<u64> {
        let tail = feed::newest(&self.layout.root, 256 * 1024)?;
        let seq = tail.last().map_or(seq, |entry| entry.seq.max(seq));
        let known =
            tail.iter().filter(|entry| entry.task_id == task.id).filter_map(|entry| entry.event.n).max();
        let bare = Task { journal: Default::default(), ..task.clone() };
        let copied = history::events(dir, &bare).unwrap_or_default();
        let copied =
            copied.iter().filter_map(|event| event.n).filter(|n| *n <= task.journal.last_event).max();
        let newest = known.max(copied);
        let missing: Vec<Event> =
            task.journal.recent.iter().filter(|event| event.n > newest).cloned().collect();
        feed::append(&self.layout.root, task, &missing, seq)
    }

    /// Looks for tasks that another implementation added.
    ///
    /// Ids sort by time, so the new ones are among the last. When their number does not account for
    /// what has changed in the directory, everything is looked at.
    pub(super) fn adopt_new_tasks(&self, state: IndexState) -> Result<IndexState> {
        let names = self.layout.tasks.names()?;
        let newest_known = TaskId::parse(&state.newest).ok();
        let from = Time::from_micros(state.stamp / 1000).plus_seconds(-60.0).compact();
        let mut found = 0;
        for name in names.iter().filter(|name| **name > state.newest || **name > from) {
            let Some(task) = self.load(name)? else {
                continue;
            };
            self.recover_key(&task)?;
            let sets = self.lane(&task.spec.lane)?;
            let is_new = match position(&task) {
                Some(position) => sets.insert(&task, position)?,
                None => newest_known.as_ref().is_none_or(|newest| task.id > *newest),
            };
            found += u64::from(is_new);
        }
        if state.known.saturating_add(found) != names.len() as u64 {
            return self.rebuild(state.seq);
        }
        let newest = names.iter().filter(|name| TaskId::is_valid(name)).max();
        let newest = newest.unwrap_or(&state.newest).clone().max(state.newest.clone());
        let next = IndexState { stamp: self.stamp_tasks()?, known: names.len() as u64, newest, ..state };
        self.write_state(&next)?;
        Ok(next)
    }

    /// Builds the index anew from the tasks.
    pub(in crate::store) fn rebuild(&self, seq: u64) -> Result<IndexState> {
        let mut lanes: BTreeMap<String, [Vec<IndexEntry>; 3]> = BTreeMap::new();
        let mut keys: BTreeMap<String, (Time, TaskId)> = BTreeMap::new();
        let mut clock = i64::MIN;
        let mut lost: Vec<(Task, Event)> = Vec::new();
        self.withdraw_undone()?;
        let tail = feed::newest(&self.layout.root, 1024 * 1024)?;
        let in_feed: HashSet<(&str, Option<u64>)> =
            tail.iter().map(|entry| (entry.task_id.as_str(), entry.event.n)).collect();
        let feed_end = tail.iter().map(|entry| entry.event.created_at).max();
        let names = self.layout.tasks.names()?;
        let mut newest_by_correlation = self.newest_by_correlation(&names)?;
        let mut used: BTreeSet<String> = BTreeSet::new();
        let fresh = feed_end.map(|end| end.plus_seconds(-UNWRITTEN));
        // An ended task leaves no trace but its lane and its key, unless its end is news.
        let mut failed = Ok(());
        let look = |task: &TaskText<'_>| {
            let holder = KeyHolder::of(task);
            if !task.is_terminal() || fresh.is_none_or(|fresh| task.updated_at >= fresh) {
                ScannedTask::Task(Box::new(task.to_task()), holder)
            } else {
                ScannedTask::Ended(task.spec.lane.decode().into_owned(), holder)
            }
        };
        let mut hold = |holder: Option<KeyHolder>| {
            if let Some(KeyHolder { name, created_at, id }) = holder {
                let newest = keys.get(&name).is_none_or(|(newest, _)| *newest <= created_at);
                newest.then(|| keys.insert(name, (created_at, id)));
            }
        };
        scan_with_progress(self.layout, &names, &look, &mut |_, seen| {
            let task = match seen {
                Ok(ScannedTask::Task(task, holder)) => {
                    hold(holder);
                    *task
                }
                Ok(ScannedTask::Ended(lane, holder)) => {
                    hold(holder);
                    used.insert(lane);
                    return ControlFlow::Continue(());
                }
                Err(error) if !bounded_file::is_transient(&error) => return ControlFlow::Continue(()),
                Err(error) => {
                    failed = Err(error);
                    return ControlFlow::Break(());
                }
            };
            newest_by_correlation.add(&task);
            let is_news = fresh.is_none_or(|fresh| task.updated_at >= fresh);
            failed = self.repair_response(&task, is_news);
            if failed.is_err() {
                return ControlFlow::Break(());
            }
            used.insert(task.spec.lane.clone());
            if let Some(position) = position(&task) {
                clock = clock_lead(&task).map_or(clock, |lead| lead.max(clock));
                let sets = lanes.entry(task.spec.lane.clone()).or_default();
                match position {
                    Position::Ready(key) => sets[0].push(entry(&task, key)),
                    Position::Later(key) => sets[1].push(entry(&task, key)),
                    Position::Held(key) => sets[2].push(entry(&task, key)),
                }
            }
            for event in &task.journal.recent {
                let after = feed_end.is_none_or(|end| event.created_at >= end);
                if after && !in_feed.contains(&(task.id.as_str(), event.n)) {
                    lost.push((task.clone(), event.clone()));
                }
            }
            ControlFlow::Continue(())
        });
        failed?;
        for lane in used {
            lanes.entry(lane).or_default();
        }
        // Whoever dies from here on leaves an index that nobody takes for whole.
        self_heal::clear(self.layout, &self.dir(), STATE)?;
        self.swap_lane_sets(lanes)?;
        self_heal::directory(self.layout, &self.dir(), KEYS)?;
        let keys = keys.into_iter().map(|(name, (_, id))| (name, id)).collect();
        self.keys_or_make()?.fill(&keys)?;
        self.recover_correlations(&newest_by_correlation)?;
        let feed_seq = tail.last().map_or(0, |entry| entry.seq);
        // Numbers that were taken back are not given out again.
        let mut seq = seq.max(feed_seq).max(feed::last_number(&self.layout.root)?);
        if tail.is_empty() {
            // The feed is gone, and with it what numbers were used; seconds since 1970 are higher.
            let newest = lost.iter().map(|(_, event)| event.created_at.micros() / 1_000_000).max();
            seq = seq.max(newest.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0));
        }
        if seq > 0 {
            seq = (seq / SEQ_GAP + 1).saturating_mul(SEQ_GAP);
        }
        lost.sort_by_key(|(_, event)| (event.created_at, event.n));
        for (task, event) in &lost {
            seq = feed::append(&self.layout.root, task, std::slice::from_ref(event), seq)?;
        }
        for name in [KEYS, LANE_SETS] {
            // One that is not there any more must not be taken for a whole one that is empty.
            let dir = self.dir().open_existing(name)?;
            seal(&dir.ok_or_else(|| Error::io("open", self.dir().path().join(name), Errno::NOENT))?)?;
        }
        let state = IndexState {
            boot: boot_word(),
            stamp: self.stamp_tasks()?,
            known: names.len() as u64,
            // A word, so that the line can be split at spaces again.
            newest: names.iter().filter(|name| TaskId::is_valid(name)).max().cloned().unwrap_or("-".into()),
            seq,
            clock,
            busy: None,
            owed: Vec::new(),
        };
        self.write_state(&state)?;
        Ok(state)
    }

    fn swap_lane_sets(&self, lanes: BTreeMap<String, [Vec<IndexEntry>; 3]>) -> Result<()> {
        let tmp = self.layout.tmp()?;
        let staging = format!("lanes-{}", std::process::id());
        atomic::remove_tree(&tmp, &staging)?;
        let new = tmp.open_or_make_derived(&staging)?;
        for (lane, [ready, later, held]) in lanes {
            let sets = LaneSets::make(&new, &lane)?;
            sets.set_count(ready.len() as u64)?;
            sets.ready.fill(ready)?;
            sets.later.fill(later)?;
            sets.held.fill(held)?;
        }
        let swapped = atomic::remove_tree(&self.dir(), LANE_SETS)
            .and_then(|()| atomic::rename_derived(&tmp, &staging, &self.dir(), LANE_SETS));
        if swapped.is_err() {
            let _ = atomic::remove_tree(&tmp, &staging);
        }
        swapped
    }
}
