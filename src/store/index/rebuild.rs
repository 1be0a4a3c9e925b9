//! Brings the index up to date: after a process died during a change, after another implementation added
//! tasks, and from nothing.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::exclusive::holds_keys;
use super::lane::{LaneSets, Position, clock_lead, entry, keyed_entry, position};
use super::power_loss::{NewestByCorrelation, WRITEBACK_SECONDS};
use super::seal::seal;
use super::sorted_set::IndexEntry;
use super::state::{IndexState, boot_word};
use super::{EXCLUSIVE, GROUPS, Index, KEYS, LANE_SETS, STATE, ids_in, self_heal};
use crate::error::{Error, Result};
use crate::model::{Event, LaneName, Task, TaskId, TaskText, Time, json};
use crate::store::dir::Dir;
use crate::store::feed::FeedEntry;
use crate::store::layout::{RESPONSE_FILE, exclusive_key, group_key, idempotency_key};
use crate::store::lock::TaskLock;
use crate::store::request_file::is_part;
use crate::store::scan::scan_with_progress;
use crate::store::{atomic, bounded_file, feed, history, task_files};

/// By how much the numbers of the feed skip ahead after a power cut, so that none is used twice.
const SEQ_GAP: u64 = 1_000_000;

/// How much of the end of the feed is compared with the tasks, in bytes.
const FEED_END_BYTES: u64 = 1024 * 1024;

/// What a rebuild needs of one task.
enum ScannedTask {
    /// An open or recently ended task, which needs a closer look.
    Task(Box<Task>, Option<KeyHolder>),
    /// An ended task: only its lane, its key and the file name of its group matter.
    Ended(LaneName, Option<KeyHolder>, Option<(String, TaskId)>),
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
        // A task that was retried has passed its key to the new one.
        let key = task.spec.idempotency_key().filter(|_| task.retried_as.is_none())?;
        let name = idempotency_key(&task.spec.workspace_id.decode(), &key);
        Some(Self { name, created_at: task.created_at, id: task.id.clone() })
    }
}

/// What a rebuild needs of all tasks.
struct RebuildInput {
    /// The entries of the ready, the later, the held, the blocked and the keyed set of each lane.
    lanes: BTreeMap<LaneName, [Vec<IndexEntry>; 5]>,
    /// The tasks that wait for others.
    waiting: Vec<Task>,
    /// File name of an exclusive key → the claimed tasks that have it.
    holders: BTreeMap<String, Vec<TaskId>>,
    /// Whether an open task has exclusive keys.
    has_keys: bool,
    /// File name of a group → its tasks.
    groups: BTreeMap<String, Vec<TaskId>>,
    /// The ids of the open tasks.
    open: HashSet<TaskId>,
    /// File name of a key → the newest task that holds it.
    keys: BTreeMap<String, (Time, TaskId)>,
    newest_by_correlation: NewestByCorrelation,
    /// By how much the wall clock was at most ahead of the uptime when a lease was given, in microseconds.
    clock: i64,
    /// Recent events that the feed lacks.
    lost: Vec<(Task, Event)>,
}

impl RebuildInput {
    fn add_key(&mut self, holder: Option<KeyHolder>) {
        if let Some(KeyHolder { name, created_at, id }) = holder
            && self.keys.get(&name).is_none_or(|(newest, _)| *newest <= created_at)
        {
            self.keys.insert(name, (created_at, id));
        }
    }

    fn add_task(&mut self, task: &Task) {
        self.newest_by_correlation.add(task);
        if let Some(group) = &task.spec.group {
            self.groups.entry(group_key(group.as_str())).or_default().push(task.id.clone());
        }
        if !task.status.is_terminal() {
            self.open.insert(task.id.clone());
        }
        if task.waits_for_dependencies() {
            self.waiting.push(task.clone());
        }
        self.has_keys |= task.needs_keys() && !task.status.is_terminal();
        if holds_keys(task) {
            for key in &task.spec.exclusive {
                self.holders.entry(exclusive_key(key)).or_default().push(task.id.clone());
            }
        }
        let sets = self.lanes.entry(task.spec.lane.clone()).or_default();
        if let Some(position) = position(task) {
            self.clock = clock_lead(task).map_or(self.clock, |lead| lead.max(self.clock));
            match position {
                Position::Ready(key) => sets[0].push(entry(task, key)),
                Position::Later(key) => sets[1].push(entry(task, key)),
                Position::Held(key) => sets[2].push(entry(task, key)),
                Position::Blocked(key) => sets[3].push(entry(task, key)),
                Position::Keyed(key) => sets[4].push(keyed_entry(task, key)),
            }
        }
    }
}

/// Returns what a damaged part of the index says, which is nothing.
fn unless_damaged<T: Default>(read: Result<T>) -> Result<T> {
    match read {
        Err(error) if !bounded_file::is_transient(&error) => Ok(T::default()),
        read => read,
    }
}

impl Index<'_> {
    /// Completes the bookkeeping of changes whose process died.
    pub(super) fn finish_interrupted_changes(&self, mut state: IndexState) -> Result<IndexState> {
        while let Some(id) = state.busy.last().cloned() {
            state = self.finish_interrupted_change(&state, &id)?;
        }
        Ok(state)
    }

    /// Completes the bookkeeping of the last of these changes.
    fn finish_interrupted_change(&self, state: &IndexState, id: &str) -> Result<IndexState> {
        let task = self.load(id)?;
        if task.is_none() && TaskId::parse(id).is_ok_and(|id| !self.is_gone(&id)) {
            // The rebuild finds what it lacks, if the task can be read then.
            return Err(Error::corrupt(format!("{id} cannot be read")));
        }
        let (mut seq, mut state) = (state.seq, state.clone());
        if let Some(task) = &task {
            let dir = self.layout.task(&task.id)?;
            if let Some(dir) = dir {
                seq = self.complete_feed(&dir, task, seq)?;
                // A history that cannot be written must not stop other tasks.
                let _ = history::append(&dir, task);
                if self.complete_response(&dir, task).is_err() {
                    state = state.with_owed(task.id.as_str());
                }
            }
            self.recover_key(task)?;
            self.recover_correlation(task)?;
            if let Some(position) = position(task) {
                self.lane(&task.spec.lane)?.insert(task, position)?;
            }
            match holds_keys(task) {
                true => self.hold_keys(task, true)?,
                false => self.free_keys(task)?,
            }
        }
        let state = match &task {
            Some(task) if task.status.is_terminal() => self.note_end(&state, &task.id)?,
            Some(task) => self.add_dependent(&state, task, true)?,
            None => state,
        };
        let state = match &task {
            Some(task) => self.add_to_group(&state, task)?,
            None => state,
        };
        let mut next = IndexState { seq, ..state };
        next.busy.pop();
        self.write_state(&next)?;
        Ok(next)
    }

    /// Gives the responses of the last answered tasks their names, for processes that died before doing so.
    pub(super) fn publish_owed_responses(&self, state: IndexState) -> Result<IndexState> {
        let mut owed = Vec::new();
        for id in &state.owed {
            let path = format!("{id}/{RESPONSE_FILE}");
            let is_there = rustix::fs::statat(&self.layout.tasks, path, AtFlags::SYMLINK_NOFOLLOW).is_ok();
            if !is_there
                && let Some(task) = self.load(id)?
                && let Some(dir) = self.layout.task(&task.id)?
            {
                // The process that holds the lock is about to do so; until then, and while it fails, it stays
                // recorded.
                let lock = TaskLock::try_acquire(&dir)?;
                if lock.is_none() || self.complete_response(&dir, &task).is_err() {
                    owed.push(id.clone());
                }
            }
        }
        Ok(IndexState { owed, ..state })
    }

    /// Gives the response of an ended task the name under which other implementations find it.
    pub(super) fn complete_response(&self, dir: &Dir, task: &Task) -> Result<()> {
        if !task.status.is_terminal() {
            return Ok(());
        }
        match &task.bookkeeping.response {
            Some(response) => {
                let text = json::to_text(&response.to_object());
                match bounded_file::read(dir, RESPONSE_FILE, text.len() as u64)
                    .map(|found| found.map(|it| it.bytes))
                {
                    Ok(Some(found)) if found == text.as_bytes() => return Ok(()),
                    // The remains of a power cut, if any.
                    Ok(found) if is_part(found.as_deref().unwrap_or_default(), text.as_bytes()) => {}
                    // Anything else is left for fsck to move.
                    Ok(_) | Err(_) => return Ok(()),
                }
                // Nobody may find a response whose commit a power cut may undo.
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

    /// Stores the key of a task, unless it has passed to a later task that repeats this one.
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

    /// Appends to the feed the events of a task that neither its events.jsonl nor the feed has.
    fn complete_feed(&self, dir: &Dir, task: &Task, seq: u64) -> Result<u64> {
        let tail = feed::newest_entries(&self.layout.root, 256 * 1024)?;
        let seq = tail.last().map_or(seq, |entry| entry.seq.max(seq));
        let known =
            tail.iter().filter(|entry| entry.task_id == task.id).filter_map(|entry| entry.event.n).max();
        let bare = Task { bookkeeping: Default::default(), ..task.clone() };
        let copied = history::events(dir, &bare).unwrap_or_default();
        let copied =
            copied.iter().filter_map(|event| event.n).filter(|n| *n <= task.bookkeeping.last_event).max();
        let newest = known.max(copied);
        let missing: Vec<Event> =
            task.bookkeeping.recent.iter().filter(|event| event.n > newest).cloned().collect();
        feed::append(&self.layout.root, task, &missing, seq)
    }

    /// Looks for tasks that another implementation added.
    ///
    /// Ids sort by time, so new ones are among the last. When their number does not account for the change of
    /// the directory, the index is rebuilt.
    pub(super) fn adopt_new_tasks(&self, state: IndexState) -> Result<IndexState> {
        let names = self.layout.tasks.names()?;
        let newest_known = TaskId::parse(&state.newest).ok();
        let from = Time::from_micros(state.stamp / 1000).plus_seconds(-60.0).compact();
        let (mut found, mut state) = (0, state);
        let last_known = state.newest.clone();
        for name in names.iter().filter(|name| **name > last_known || **name > from) {
            let Some(task) = self.load(name)? else {
                continue;
            };
            self.recover_key(&task)?;
            state = self.add_dependent(&state, &task, true)?;
            state = self.note_keys(&state, &task)?;
            state = self.add_to_group(&state, &task)?;
            if holds_keys(&task) {
                self.hold_keys(&task, true)?;
            }
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

    /// Rebuilds the index from the tasks.
    pub(in crate::store) fn rebuild(&self, seq: u64) -> Result<IndexState> {
        self.withdraw_undone()?;
        let feed_end = feed::newest_entries(&self.layout.root, FEED_END_BYTES)?;
        let names = self.layout.tasks.names()?;
        let input = self.read_tasks(&names, &feed_end)?;
        let RebuildInput { lanes, waiting, mut holders, has_keys, open, keys, .. } = input;
        let RebuildInput { newest_by_correlation, clock, lost, mut groups, .. } = input;
        self.keep_unreadable(EXCLUSIVE, &mut holders)?;
        self.keep_unreadable(GROUPS, &mut groups)?;
        // A process that dies from here on leaves an index that counts as incomplete.
        self_heal::clear(self.layout, &self.dir(), STATE)?;
        self.swap_lane_sets(lanes)?;
        let dependents = self.rebuild_dependents(&waiting, |id| open.contains(id))?;
        let exclusive = self.rebuild_exclusive(&holders, has_keys || !holders.is_empty())?;
        let groups = self.rebuild_groups(&groups)?;
        self_heal::directory(self.layout, &self.dir(), KEYS)?;
        let keys = keys.into_iter().map(|(name, (_, id))| (name, id)).collect();
        self.keys_or_make()?.fill(&keys)?;
        self.recover_correlations(&newest_by_correlation)?;
        let seq = self.append_lost(lost, &feed_end, seq)?;
        for name in [KEYS, LANE_SETS] {
            // A directory that was removed must not be taken for a complete one that is empty.
            let dir = self.dir().open_existing(name)?;
            seal(&dir.ok_or_else(|| Error::io("open", self.dir().path().join(name), Errno::NOENT))?)?;
        }
        let state = IndexState {
            boot: boot_word(),
            stamp: self.stamp_tasks()?,
            known: names.len() as u64,
            // A placeholder word, so that the line can be split at spaces.
            newest: names.iter().filter(|name| TaskId::is_valid(name)).max().cloned().unwrap_or("-".into()),
            seq,
            clock,
            busy: Vec::new(),
            owed: Vec::new(),
            dependents,
            exclusive,
            groups,
        };
        self.write_state(&state)?;
        Ok(state)
    }

    /// Adds to what the tasks say those that cannot be read: only this part of the old index still tells which keys they
    /// hold, or in which group they are.
    fn keep_unreadable(&self, part: &str, known: &mut BTreeMap<String, Vec<TaskId>>) -> Result<()> {
        let Some(dir) = unless_damaged(self.dir().open_existing(part))? else { return Ok(()) };
        for name in unless_damaged(dir.names())? {
            let mut ids = unless_damaged(ids_in(&dir, &name))?;
            let there: HashSet<&TaskId> = known.get(&name).into_iter().flatten().collect();
            ids.retain(|id| !there.contains(id));
            let mut kept = Vec::new();
            for id in ids {
                if self.load(id.as_str())?.is_none() && !self.is_gone(&id) {
                    kept.push(id);
                }
            }
            if !kept.is_empty() {
                known.entry(name).or_default().extend(kept);
            }
        }
        Ok(())
    }

    /// Reads what a rebuild needs of all tasks, and repairs the names of recent responses on the way.
    fn read_tasks(&self, names: &[String], feed_end: &[FeedEntry]) -> Result<RebuildInput> {
        let in_feed: HashSet<(&str, Option<u64>)> =
            feed_end.iter().map(|entry| (entry.task_id.as_str(), entry.event.n)).collect();
        let newest_change = feed_end.iter().map(|entry| entry.event.created_at).max();
        let fresh = newest_change.map(|end| end.plus_seconds(-WRITEBACK_SECONDS));
        let mut input = RebuildInput {
            lanes: BTreeMap::new(),
            waiting: Vec::new(),
            holders: BTreeMap::new(),
            has_keys: false,
            groups: BTreeMap::new(),
            open: HashSet::new(),
            keys: BTreeMap::new(),
            newest_by_correlation: self.newest_by_correlation(names)?,
            clock: i64::MIN,
            lost: Vec::new(),
        };
        // Only the lane and the key of an ended task matter, unless it ended recently.
        let extract = |task: &TaskText<'_>| {
            let holder = KeyHolder::of(task);
            if !task.is_terminal() || fresh.is_none_or(|fresh| task.updated_at >= fresh) {
                ScannedTask::Task(Box::new(task.to_task()), holder)
            } else {
                let group = task.spec.group.map(|name| (group_key(&name.decode()), task.id.clone()));
                ScannedTask::Ended(task.spec.lane_name(), holder, group)
            }
        };
        let mut failed = Ok(());
        scan_with_progress(self.layout, names, &extract, &mut |_, seen| {
            let task = match seen {
                Ok(ScannedTask::Task(task, holder)) => {
                    input.add_key(holder);
                    *task
                }
                Ok(ScannedTask::Ended(lane, holder, group)) => {
                    input.add_key(holder);
                    if let Some((name, id)) = group {
                        input.groups.entry(name).or_default().push(id);
                    }
                    input.lanes.entry(lane).or_default();
                    return ControlFlow::Continue(());
                }
                Err(error) if !bounded_file::is_transient(&error) => return ControlFlow::Continue(()),
                Err(error) => {
                    failed = Err(error);
                    return ControlFlow::Break(());
                }
            };
            let is_news = fresh.is_none_or(|fresh| task.updated_at >= fresh);
            failed = self.repair_response(&task, is_news);
            if failed.is_err() {
                return ControlFlow::Break(());
            }
            input.add_task(&task);
            for event in &task.bookkeeping.recent {
                let after = newest_change.is_none_or(|end| event.created_at >= end);
                if after && !in_feed.contains(&(task.id.as_str(), event.n)) {
                    input.lost.push((task.clone(), event.clone()));
                }
            }
            ControlFlow::Continue(())
        });
        failed.map(|()| input)
    }

    /// Appends to the feed the events that a power cut took from it; returns the last number in use.
    fn append_lost(&self, mut lost: Vec<(Task, Event)>, feed_end: &[FeedEntry], seq: u64) -> Result<u64> {
        let feed_seq = feed_end.last().map_or(0, |entry| entry.seq);
        // Withdrawn numbers are not used again.
        let mut seq = seq.max(feed_seq).max(feed::last_number(&self.layout.root)?);
        if feed_end.is_empty() {
            // The feed is gone, and with it the numbers in use; seconds since 1970 are higher.
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
        Ok(seq)
    }

    fn swap_lane_sets(&self, lanes: BTreeMap<LaneName, [Vec<IndexEntry>; 5]>) -> Result<()> {
        let tmp = self.layout.tmp()?;
        let staging = format!("lanes-{}", std::process::id());
        atomic::remove_tree(&tmp, &staging)?;
        let new = tmp.open_or_make_derived(&staging)?;
        for (lane, [ready, later, held, blocked, keyed]) in lanes {
            let sets = LaneSets::make(&new, &lane)?;
            sets.set_count(ready.len() as u64)?;
            sets.ready.fill(ready)?;
            sets.later.fill(later)?;
            sets.held.fill(held)?;
            sets.fill_blocked(blocked)?;
            sets.fill_keyed(keyed)?;
        }
        let swapped = atomic::remove_tree(&self.dir(), LANE_SETS)
            .and_then(|()| atomic::rename_derived(&tmp, &staging, &self.dir(), LANE_SETS));
        if swapped.is_err() {
            let _ = atomic::remove_tree(&tmp, &staging);
        }
        swapped
    }
}
