//! Finds and claims the next task of some lanes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::commit::catch_up_with_others;
use super::exclusive::{KeyState, KnownKeys};
use super::index::sorted_set::{IndexEntry, SortedSet};
use super::index::{DependentsMark, Index, KeyedEntry, LaneSets, WaitingEntry};
use super::lock::TaskLock;
use super::{ClaimRequest, FileStore, bounded_file, cannot_write, task_files};
use crate::error::{ErrorKind, Result};
use crate::model::task::Availability;
use crate::model::transition::TransitionContext;
use crate::model::{
    Command, Effect, ExclusiveKey, Filter, LaneName, Owner, Refusal, RequestCheck, Status, Task, TaskId,
    json, limits,
};

/// Which tasks a worker is ready to take.
#[derive(Clone, Debug)]
pub struct LaneQuery {
    /// The lanes, in the order in which they are searched.
    pub lanes: Vec<LaneName>,
    /// Which of their tasks match.
    pub filter: Filter,
}

impl LaneQuery {
    /// Makes a query for any task in `lane`.
    pub fn lane(lane: impl Into<LaneName>) -> Self {
        Self { lanes: vec![lane.into()], filter: Filter::default() }
    }
}

/// What a search has found so far.
#[derive(Default)]
struct Search {
    /// The states of the keys that it has come across.
    keys: KnownKeys,
    /// A task that another process is changing.
    busy: Option<TaskId>,
    /// The tasks of a lane that were passed over because a key is held.
    waiting: Vec<WaitingEntry>,
}

/// The outcome for one candidate.
enum CandidateOutcome {
    /// It was claimed, or can be claimed.
    Found(Box<Task>),
    /// It is not where the index has it; the index must be corrected.
    Stale,
    /// Another process is changing it now.
    Busy,
    /// It cannot be claimed: it does not match, or its request has changed.
    Skipped,
}

/// The longest wait for another process to finish its change of the only task that is left.
const MAX_BUSY_WAIT: Duration = Duration::from_secs(1);

/// How many tasks that wait for dependencies, and how many that wait for keys, are checked when there is nothing to claim.
const MAX_STRAYS_CHECKED: usize = 64;

/// For how many keys those are looked at that are parked.
const MAX_PARKED_SETS_CHECKED: usize = 8;

/// From how many tasks on that a search has passed over because a key is held these are parked, and how many at most.
const MIN_PARKED: usize = 32;
const MAX_PARKED: usize = 500;

/// How many tasks, and for how many keys, are parked while the store lock is held once: each key has files of its own.
const PARKED_AT_ONCE: usize = 128;
const PARKED_KEYS_AT_ONCE: usize = 8;

/// Tries one candidate of a lane.
type TryCandidate<'a> = dyn Fn(&TaskId, &IndexEntry, &LaneName) -> Result<CandidateOutcome> + 'a;

impl FileStore {
    pub(crate) fn claim_next(
        &self,
        query: &LaneQuery,
        owner: &Owner,
        lease: Duration,
    ) -> Result<Option<Task>> {
        self.claim_next_as(query, &ClaimRequest::of(owner, lease))
    }

    pub(crate) fn claim_next_as(
        &self,
        query: &LaneQuery,
        request: &ClaimRequest<'_>,
    ) -> Result<Option<Task>> {
        self.check_writable()?;
        limits::check_lease(request.lease)?;
        let claimed = self.find_claimable(query, true, &|id, entry, lane| {
            self.try_claim(query, id, entry, lane, request)
        })?;
        // The claim itself is done; what fails now, the next command completes.
        let _ = self.release_if_due();
        Ok(claimed)
    }

    pub(crate) fn peek_next(&self, query: &LaneQuery) -> Result<Option<Task>> {
        self.find_claimable(query, false, &|id, entry, lane| {
            let dir = match candidate(self.layout.task(id))? {
                Candidate::Read(dir) => dir,
                Candidate::Unusable(outcome) => return Ok(outcome),
            };
            let mut loaded = match candidate(task_files::task(&dir, id))? {
                Candidate::Read(loaded) => loaded,
                Candidate::Unusable(outcome) => return Ok(outcome),
            };
            if let Candidate::Unusable(outcome) =
                candidate(catch_up_with_others(&dir, &mut loaded.task).map(Some))?
            {
                return Ok(outcome);
            }
            let availability = loaded.task.availability(&self.now());
            let spent = is_over(&availability);
            let task = match loaded.task.status {
                Status::Scheduled { .. } | Status::InputRequired => self.settle_if_possible(&loaded.task)?,
                _ if spent || availability == Availability::InputRequired => {
                    self.settle_if_possible(&loaded.task)?
                }
                _ => loaded.task,
            };
            Ok(match self.check_candidate(query, entry, lane, &task) {
                _ if spent => CandidateOutcome::Skipped,
                CandidateOutcome::Found(task)
                    if self.check_request(&dir, &task)? != RequestCheck::Same
                        // A question whose default applies now comes from a part of the index that knows no keys.
                        || self.held_key(&task)?.is_some() =>
                {
                    CandidateOutcome::Skipped
                }
                outcome => outcome,
            })
        })
    }

    /// Finds the first candidate that `attempt` takes. `writes` means that the caller is about to change the
    /// task, so that an index that cannot be brought up to date is an error.
    fn find_claimable(
        &self,
        query: &LaneQuery,
        writes: bool,
        attempt: &TryCandidate<'_>,
    ) -> Result<Option<Task>> {
        let paused = self.paused()?;
        let lanes: Vec<&LaneName> = query.lanes.iter().filter(|lane| !paused.contains_key(*lane)).collect();
        self.with_index(|index| self.find_in_lanes(index, &lanes, query, writes, attempt))
    }

    fn find_in_lanes(
        &self,
        index: &Index<'_>,
        lanes: &[&LaneName],
        query: &LaneQuery,
        writes: bool,
        attempt: &TryCandidate<'_>,
    ) -> Result<Option<Task>> {
        let (mut stuck, mut healed, mut released) = (false, false, false);
        loop {
            let (mut seq, mut outdated, mut search) = (None, None, Search::default());
            let mut seen = Vec::with_capacity(lanes.len());
            for lane in lanes {
                let state = match self.refresh(index, lane) {
                    // A store that is not writable can still be read with the index as it is.
                    Err(error) if cannot_write(&error) => {
                        outdated = Some(error);
                        None
                    }
                    state => Some(state?),
                };
                seq = seq.or(Some(state));
                let mut count = 0;
                if let Some(task) = self.find_in_lane(index, lane, query, attempt, &mut search, &mut count)? {
                    return Ok(Some(*task));
                }
                seen.push((*lane, count));
            }
            if let Some(id) = search.busy
                && !stuck
            {
                // The process that changes it is about to finish, and its result is worth another look; if
                // that process was stopped, the task is as good as claimed.
                stuck = !self.wait_for_other_change(&id)?;
                continue;
            }
            // A task that changed during the search may have moved from a part not yet searched to one
            // already searched. If nothing changed, there is no task.
            let is_current = outdated.is_none();
            if let Some(error) = outdated.filter(|_| writes) {
                // Without a current index the absence of a task is not certain.
                return Err(error);
            }
            let state = index.state_if_current()?;
            let unchanged = state.as_ref().map(|state| state.seq) == seq.flatten();
            let mut corrected = false;
            for lane in lanes {
                corrected |= self.recheck_held(index, lane)?;
                self.block_strays(index, lane)?;
            }
            if unchanged && !corrected && !healed && is_current {
                healed = self.heal_miscounted(index, &seen)?;
                corrected |= healed;
            }
            if !released
                && is_current
                && let Some(state) = state.filter(|state| state.dependents != DependentsMark::Absent)
            {
                // What these tasks wait for may have ended without a release.
                released = true;
                self.note_due(&state);
                corrected |= self.releases_are_due.load(Ordering::Relaxed);
                self.release_if_due()?;
                corrected |= self.release_after_others(index)?;
            }
            if (unchanged && !corrected) || seq.flatten().is_none() {
                return Ok(None);
            }
        }
    }

    /// Repairs the index when the count of a lane differs from the number of tasks `seen` in it: a chunk that
    /// somebody removed leaves no other trace. Returns whether it was repaired.
    fn heal_miscounted(&self, index: &Index<'_>, seen: &[(&LaneName, u64)]) -> Result<bool> {
        for (lane, count) in seen {
            if let Some(sets) = index.existing_lane(lane)?
                && sets.count()? != *count
            {
                return match self.lock_store() {
                    Ok(lock) => index.heal(&lock).map(|()| true),
                    Err(error) if cannot_write(&error) => Ok(false),
                    Err(error) => Err(error),
                };
            }
        }
        Ok(false)
    }

    /// Waits until no process changes a task any more. Returns `false` when that takes too long.
    fn wait_for_other_change(&self, id: &TaskId) -> Result<bool> {
        let Some(dir) = self.layout.task(id)? else {
            return Ok(true);
        };
        match TaskLock::acquire(&dir, self.options.lock_timeout.min(MAX_BUSY_WAIT)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Locked => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Brings the index of a lane up to date, taking the lock only if there is something to do.
    pub(super) fn refresh(&self, index: &Index<'_>, lane: &LaneName) -> Result<u64> {
        let now = self.now();
        let usable = index.state_if_current()?;
        if let Some(state) = usable
            && !index.has_due_entries(&state, lane, &now)?
        {
            self.note_due(&state);
            return Ok(state.seq);
        }
        let lock = self.lock_store()?;
        let state = index.ensure(&lock)?;
        let state = index.promote_due(&lock, state, lane, &now)?;
        self.note_due(&state);
        Ok(state.seq)
    }

    /// Passes the candidates of one lane to `attempt` until it takes one; `seen` is raised by the number of
    /// candidates.
    fn find_in_lane(
        &self,
        index: &Index<'_>,
        lane: &LaneName,
        query: &LaneQuery,
        attempt: &TryCandidate<'_>,
        search: &mut Search,
        seen: &mut u64,
    ) -> Result<Option<Box<Task>>> {
        let Some(sets) = index.existing_lane(lane)? else {
            return Ok(None);
        };
        let (mut found, mut stale) = (None, Vec::new());
        let mut consider = |entry: &IndexEntry, is_keyed: bool, search: &mut Search| {
            *seen += u64::from(!is_keyed);
            let is_candidate = match is_keyed {
                true => self.may_have_keys(index, query, entry, search)?,
                false => may_match(query, &entry.metadata),
            };
            if !is_candidate {
                return Ok(ControlFlow::Continue(()));
            }
            let Ok(id) = TaskId::parse(&entry.id) else {
                stale.push(entry.clone());
                return Ok(ControlFlow::Continue(()));
            };
            match attempt(&id, entry, lane)? {
                CandidateOutcome::Found(task) => {
                    found = Some(task);
                    return Ok(ControlFlow::Break(()));
                }
                CandidateOutcome::Stale => stale.push(entry.clone()),
                CandidateOutcome::Busy => drop(search.busy.get_or_insert(id)),
                CandidateOutcome::Skipped => {}
            }
            Ok(ControlFlow::Continue(()))
        };
        match sets.keyed()? {
            Some(keyed) => {
                let parked = self.sets_of_free_keys(index, &sets, search)?;
                visit_all(&sets.ready, &keyed, &parked, &mut |entry, is_keyed| {
                    consider(entry, is_keyed, search)
                })?;
                self.park_waiting(index, lane, search);
            }
            None => sets.ready.visit(|entry| consider(entry, false, search))?,
        }
        match self.correct(index, lane, &stale) {
            // A claimed task stays claimed, and other processes correct the index of a store that is not
            // writable here.
            Err(error) if found.is_none() && !cannot_write(&error) => Err(error),
            _ => Ok(found),
        }
    }

    /// Returns whether a task with exclusive keys may be claimed, as far as its index entry and the holders of its keys
    /// show.
    fn may_have_keys(
        &self,
        index: &Index<'_>,
        query: &LaneQuery,
        entry: &IndexEntry,
        search: &mut Search,
    ) -> Result<bool> {
        let now = self.now();
        let Some(keyed) = KeyedEntry::of(entry) else { return Ok(true) };
        if keyed.is_early(&now) || !may_match(query, keyed.metadata) {
            return Ok(false);
        }
        if keyed.is_late(&now) {
            return Ok(true);
        }
        for key in &keyed.keys {
            match self.state_of_key(index, &mut search.keys, key)? {
                KeyState::Free => {}
                KeyState::Held(holder) => {
                    if search.waiting.len() < MAX_PARKED {
                        let (key, entry) = ((*key).to_string(), entry.clone());
                        search.waiting.push(WaitingEntry { key, holder, entry });
                    }
                    return Ok(false);
                }
                KeyState::Busy(id) => {
                    search.busy.get_or_insert(id);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Returns the sets of tasks of a lane that are parked for keys that are free now.
    fn sets_of_free_keys(
        &self,
        index: &Index<'_>,
        sets: &LaneSets,
        search: &mut Search,
    ) -> Result<Vec<SortedSet>> {
        let mut free = Vec::new();
        for key in sets.parked_keys()? {
            // The first task in order with a key decides whether this is all that there is to know of it.
            if !self.is_known_as_held(index, &mut search.keys, &key)? {
                free.extend(sets.parked(&key)?);
            }
        }
        Ok(free)
    }

    /// Parks the tasks that a search of a lane has passed over because a key is held, if there are many: the next search then
    /// does not come across them. What fails here changes nothing.
    fn park_waiting(&self, index: &Index<'_>, lane: &LaneName, search: &mut Search) {
        let waiting = std::mem::take(&mut search.waiting);
        if waiting.len() < MIN_PARKED {
            return;
        }
        let mut by_key = BTreeMap::<String, Vec<WaitingEntry>>::new();
        for entry in waiting {
            by_key.entry(entry.key.clone()).or_default().push(entry);
        }
        let all: Vec<WaitingEntry> = by_key.into_values().flatten().collect();
        let mut left = &all[..];
        while !left.is_empty() {
            let (step, rest) = left.split_at(parked_at_once(left));
            let Ok(lock) = self.lock_store() else { return };
            if index.park(&lock, lane, step).is_err() {
                return;
            }
            left = rest;
        }
    }

    fn correct(&self, index: &Index<'_>, lane: &LaneName, stale: &[IndexEntry]) -> Result<()> {
        if stale.is_empty() {
            return Ok(());
        }
        let Some(sets) = index.existing_lane(lane)? else {
            return Ok(());
        };
        let mut lock = None;
        for entry in stale {
            // Usually another process claimed it after we read the sorted set, and the index is correct
            // already.
            let is_keyed = || -> Result<bool> {
                for set in sets.all_keyed()? {
                    if set.contains(entry.key, &entry.id)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            };
            if sets.ready.contains(entry.key, &entry.id)?
                || sets.held.contains(entry.key, &entry.id)?
                || is_keyed()?
            {
                let lock = match &lock {
                    Some(lock) => lock,
                    None => lock.insert(self.lock_store()?),
                };
                index.correct(lock, lane, entry)?;
            }
        }
        Ok(())
    }

    /// Checks that the claimed tasks of a lane are still claimed: another implementation changes them without
    /// updating our index. Returns whether the index was corrected.
    fn recheck_held(&self, index: &Index<'_>, lane: &LaneName) -> Result<bool> {
        let Some(sets) = index.existing_lane(lane)? else {
            return Ok(false);
        };
        let (mut stale, mut over) = (Vec::new(), Vec::new());
        let now = self.now();
        sets.held.visit(|entry| {
            let task = TaskId::parse(&entry.id).ok().and_then(|id| self.scan_one(&id).ok().flatten());
            let as_noted = task.as_ref().is_some_and(|task| {
                task.spec.lane == *lane
                    && matches!(&task.status, Status::Claimed(claim)
                        if claim.lease_expires_at.micros() == entry.key)
            });
            if !as_noted {
                stale.push(entry.clone());
            } else if task.is_some_and(|task| !task.lease_is_live(&now)) {
                over.push(entry.clone());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if stale.is_empty() && over.is_empty() {
            return Ok(false);
        }
        let put_right = || -> Result<()> {
            self.correct(index, lane, &stale)?;
            if !over.is_empty() {
                let lock = self.lock_store()?;
                for entry in &over {
                    index.promote_held(&lock, lane, entry)?;
                }
            }
            Ok(())
        };
        match put_right() {
            Ok(()) => Ok(true),
            Err(error) if cannot_write(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the tasks wait for their dependencies or keys again that another implementation took by their ids and gave
    /// back: until then it offers them. The first ones of the lane are looked at.
    fn block_strays(&self, index: &Index<'_>, lane: &LaneName) -> Result<()> {
        let Some(sets) = index.existing_lane(lane)? else { return Ok(()) };
        let mut strays = Vec::new();
        let parked = sets.parked_keys()?;
        let some = parked.iter().cycle().skip(self.random() as usize % parked.len().max(1));
        let some: Vec<&String> = some.take(parked.len().min(MAX_PARKED_SETS_CHECKED)).collect();
        let of_each = MAX_STRAYS_CHECKED / some.len().max(1);
        let parked = some.into_iter().filter_map(|key| sets.parked(key).transpose());
        let mut checked = Vec::from_iter(
            sets.blocked()?.into_iter().chain(sets.keyed()?).map(|set| (set, MAX_STRAYS_CHECKED)),
        );
        for set in parked {
            checked.push((set?, of_each));
        }
        for (set, mut left) in checked {
            set.visit(|entry| {
                let task = TaskId::parse(&entry.id).ok().and_then(|id| self.scan_one(&id).ok().flatten());
                let is_offered =
                    |task: &Task| matches!(task.status, Status::Queued | Status::Scheduled { .. });
                strays.extend(task.filter(is_offered));
                left -= 1;
                Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
        }
        strays.iter().try_for_each(|task| self.settle_if_possible(task).map(drop))
    }

    /// Checks that a task agrees with its index entry and matches the query.
    fn check_candidate(
        &self,
        query: &LaneQuery,
        entry: &IndexEntry,
        lane: &LaneName,
        task: &Task,
    ) -> CandidateOutcome {
        if task.spec.lane != *lane || task.rank() != entry.rank {
            return CandidateOutcome::Stale;
        }
        match task.availability(&self.now()) {
            Availability::Ready if query.filter.accepts(&task.spec.metadata) => {
                CandidateOutcome::Found(Box::new(task.clone()))
            }
            Availability::Ready => CandidateOutcome::Skipped,
            Availability::Spent
            | Availability::Expired
            | Availability::NotBefore(_)
            | Availability::InputRequired
            | Availability::Leased(_)
            | Availability::Blocked
            | Availability::Closed => CandidateOutcome::Stale,
        }
    }

    fn try_claim(
        &self,
        query: &LaneQuery,
        id: &TaskId,
        entry: &IndexEntry,
        lane: &LaneName,
        request: &ClaimRequest<'_>,
    ) -> Result<CandidateOutcome> {
        let dir = match candidate(self.layout.task(id))? {
            Candidate::Read(dir) => dir,
            Candidate::Unusable(outcome) => return Ok(outcome),
        };
        let Some(lock) = TaskLock::try_acquire(&dir)? else {
            return Ok(CandidateOutcome::Busy);
        };
        let mut loaded = match candidate(task_files::task(&dir, id))? {
            Candidate::Read(loaded) => loaded,
            Candidate::Unusable(outcome) => return Ok(outcome),
        };
        // Its history must be readable as well, otherwise its claims cannot be counted.
        if let Candidate::Unusable(outcome) =
            candidate(catch_up_with_others(&dir, &mut loaded.task).map(Some))?
        {
            return Ok(outcome);
        }
        let availability = loaded.task.availability(&self.now());
        let lost_its_claim =
            availability == Availability::InputRequired && matches!(loaded.task.status, Status::Claimed(_));
        if is_over(&availability) || lost_its_claim {
            self.apply_locked(&dir, id, &Command::Settle, &lock)?;
            return Ok(CandidateOutcome::Skipped);
        }
        if loaded.task.waits_for_dependencies() && !loaded.task.lease_is_live(&self.now()) {
            return self.back_to_its_gate(&dir, loaded.task, &lock);
        }
        match self.check_candidate(query, entry, lane, &loaded.task) {
            CandidateOutcome::Found(task) => {
                if !self.adds_free_keys(&dir, &task, &(request.keys)(&task), &lock)?
                    || !(request.accepts)(&task)
                {
                    return Ok(CandidateOutcome::Skipped);
                }
            }
            outcome => return Ok(outcome),
        }
        let mut command = self.claim_command(request.owner, request.lease);
        if let (Command::Claim { token, .. }, Some(own)) = (&mut command, &request.token) {
            token.clone_from(own);
        }
        match self.apply_locked(&dir, id, &command, &lock) {
            Ok((task, _)) => Ok(CandidateOutcome::Found(Box::new(task))),
            Err(error) => match error.refusal() {
                Some(Refusal::RequestUnusable { .. }) => {
                    self.note_changed_request(&dir, &loaded.task, &lock)?;
                    Ok(CandidateOutcome::Skipped)
                }
                Some(Refusal::KeyHeld { .. }) => {
                    // It may not be offered to others either.
                    self.apply_locked(&dir, id, &Command::Settle, &lock)?;
                    Ok(CandidateOutcome::Skipped)
                }
                Some(_) => Ok(CandidateOutcome::Skipped),
                None => Err(error),
            },
        }
    }

    /// Gives a task the keys that its claim needs besides its own. Returns whether it may be claimed: a key that is added
    /// now may be held by another task.
    fn adds_free_keys(
        &self,
        dir: &super::dir::Dir,
        task: &Task,
        keys: &[ExclusiveKey],
        lock: &TaskLock,
    ) -> Result<bool> {
        let is_claimed = matches!(task.status, Status::Claimed(_));
        if keys.iter().all(|key| task.spec.exclusive.contains(key)) {
            // The keys of one that waits were found free; this one may have lost them to another claim.
            if is_claimed {
                self.release_ended_holders(task)?;
            }
            return Ok(true);
        }
        let command = Command::AddKeys { keys: keys.to_vec() };
        let (task, _) = self.apply_locked(dir, &task.id, &command, lock)?;
        self.release_ended_holders(&task)?;
        Ok(self.held_key(&task)?.is_none())
    }

    /// Handles a task that another implementation took in spite of its dependencies and gave back: it waits for them
    /// again, or gets their outcome.
    fn back_to_its_gate(
        &self,
        dir: &super::dir::Dir,
        task: Task,
        lock: &TaskLock,
    ) -> Result<CandidateOutcome> {
        let command = match self.dependency_outcome(&task.spec.after)? {
            Some(outcome) => Command::Unblock(outcome),
            None => Command::Settle,
        };
        self.apply_locked(dir, &task.id, &command, lock)?;
        // Nothing of it is left in the part of the index that is searched, or the next search finds it there.
        Ok(CandidateOutcome::Stale)
    }

    /// Records once in a task's history that its request has changed and that it is therefore skipped.
    fn note_changed_request(&self, dir: &super::dir::Dir, task: &Task, lock: &TaskLock) -> Result<()> {
        let is_noted = task.bookkeeping.recent.iter().any(|event| event.kind == "request_changed");
        // Checked once more: an error that has passed leaves no trace in the history.
        if is_noted || self.check_request(dir, task)? == RequestCheck::Same {
            return Ok(());
        }
        self.apply_locked(dir, &task.id, &Command::RequestChanged, lock).map(|_| ())
    }

    /// Applies the changes of a task that have come due, in memory only when they cannot be written now.
    fn settle_if_possible(&self, task: &Task) -> Result<Task> {
        match self.settle(&task.id) {
            Err(error)
                if error.kind().forbids_changes()
                    || matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io) =>
            {
                let mut draft = task.clone();
                let context = TransitionContext {
                    now: &self.now(),
                    request: &RequestCheck::Unchecked,
                    previous: None,
                    new_request: None,
                };
                Command::Settle.apply(&mut draft, &context)?;
                Ok(draft)
            }
            settled => settled,
        }
    }

    pub(crate) fn settle(&self, id: &TaskId) -> Result<Task> {
        let task = self.settle_dependencies(self.task(id)?)?;
        let now = self.now();
        let mut draft = task.clone();
        if !task.status.is_terminal() {
            catch_up_with_others(&self.task_dir(id)?, &mut draft)?;
        }
        let context = TransitionContext {
            now: &now,
            request: &RequestCheck::Unchecked,
            previous: None,
            new_request: None,
        };
        if Command::Settle.apply(&mut draft, &context)? == Effect::Unchanged {
            return Ok(task);
        }
        self.apply(id, &Command::Settle).map(|(task, _)| task)
    }

    pub(crate) fn read_settled(&self, id: &TaskId) -> Result<Task> {
        let task = self.task(id)?;
        if task.waits_for_dependencies() {
            self.settle_upstream(&task);
        }
        match self.settle(id) {
            Err(error)
                if error.kind().forbids_changes()
                    || matches!(error.kind(), ErrorKind::Io | ErrorKind::Locked) =>
            {
                self.task(id)
            }
            settled => settled,
        }
    }
}

/// Returns whether a task can never be claimed again and is about to fail.
fn is_over(availability: &Availability) -> bool {
    matches!(availability, Availability::Spent | Availability::Expired)
}

/// Passes the entries of the ready set and of those of tasks with keys to `visit`, in the order of all together, until that
/// breaks. It is also told whether an entry is of a task with keys.
fn visit_all(
    ready: &SortedSet,
    keyed: &SortedSet,
    parked: &[SortedSet],
    visit: &mut dyn FnMut(&IndexEntry, bool) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut next = Vec::new();
    for (n, set) in [ready, keyed].into_iter().chain(parked).enumerate() {
        let mut cursor = set.cursor()?;
        next.extend(cursor.next()?.map(|entry| (entry, n > 0, cursor)));
    }
    while let Some(first) = (0..next.len()).min_by_key(|n| (next[*n].0.key, &next[*n].0.id)) {
        let (entry, is_keyed, cursor) = &mut next[first];
        if visit(entry, *is_keyed)?.is_break() {
            return Ok(());
        }
        match cursor.next()? {
            Some(following) => *entry = following,
            None => drop(next.swap_remove(first)),
        }
    }
    Ok(())
}

/// Returns how many of some tasks that wait for keys, those of each key together, are parked at once.
fn parked_at_once(waiting: &[WaitingEntry]) -> usize {
    let mut keys = 1;
    let enough = waiting.windows(2).take(PARKED_AT_ONCE - 1).position(|pair| {
        keys += usize::from(pair[0].key != pair[1].key);
        keys > PARKED_KEYS_AT_ONCE
    });
    enough.map_or(waiting.len().min(PARKED_AT_ONCE), |last| last + 1)
}

/// Returns whether a task may match, as far as its metadata in the index show.
fn may_match(query: &LaneQuery, metadata: &str) -> bool {
    if query.filter.is_empty() || metadata == "?" {
        return true;
    }
    match json::parse_object(metadata.as_bytes()) {
        Ok(metadata) => query.filter.accepts(&metadata),
        Err(_) => true,
    }
}

/// A file of a task that may be claimed next.
enum Candidate<T> {
    /// It was read.
    Read(T),
    /// The task cannot be claimed, for this reason.
    Unusable(CandidateOutcome),
}

/// Classifies the result of reading a candidate. A task whose files cannot be read is not a candidate but
/// does not stop the search, unless this process cannot open files: then every task would be skipped.
///
/// # Errors
/// Those that concern more than this task.
fn candidate<T>(looked: Result<Option<T>>) -> Result<Candidate<T>> {
    Ok(match looked {
        Ok(Some(found)) => Candidate::Read(found),
        Ok(None) => Candidate::Unusable(CandidateOutcome::Stale),
        Err(error) if error.kind() == ErrorKind::Corrupt => Candidate::Unusable(CandidateOutcome::Stale),
        Err(error) if error.kind() == ErrorKind::Io && !bounded_file::is_transient(&error) => {
            Candidate::Unusable(CandidateOutcome::Skipped)
        }
        Err(error) => return Err(error),
    })
}
