//! Applies a command to a task and commits the result.

use std::time::Duration;

use super::atomic::{self, StagedEntry};
use super::dir::Dir;
use super::index::Index;
use super::index::exclusive::holds_keys;
use super::layout::{NEXT_REQUEST_FILE, RESPONSE_FILE, TASK_FILE};
use super::lock::{StoreLock, TaskLock};
use super::task_files::{self, LoadedTask};
use super::{ClaimRequest, FileStore, feed, history, request_file};
use crate::error::Result;
use crate::model::transition::TransitionContext;
use crate::model::{Command, Effect, Owner, Refusal, RequestCheck, Response, Status, Task, TaskId, json};
use crate::sha256::sha256_bytes;

/// The largest response body that is stored inside task.json, in bytes; then one rename commits both.
const INLINE_BODY: usize = 16 * 1024;

impl FileStore {
    pub(crate) fn claim(&self, id: &TaskId, owner: &Owner, lease: Duration) -> Result<Task> {
        self.claim_as(id, &ClaimRequest::of(owner, lease))
    }

    pub(crate) fn claim_as(&self, id: &TaskId, request: &ClaimRequest<'_>) -> Result<Task> {
        let task = self.task(id)?;
        if let Some(pause) = self.paused()?.get(&task.spec.lane) {
            let (id, lane) = (id.clone(), task.spec.lane.clone());
            return Err(Refusal::LanePaused { id, lane, since: pause.since }.into());
        }
        self.release_ended_holders(&task)?;
        let command = match &request.token {
            Some(token) => {
                Command::Claim { owner: request.owner.clone(), token: token.clone(), lease: request.lease }
            }
            None => self.claim_command(request.owner, request.lease),
        };
        self.apply(id, &command).map(|(task, _)| task)
    }

    pub(super) fn claim_command(&self, owner: &Owner, lease: Duration) -> Command {
        let token = crate::model::ClaimToken::from_random(self.options.entropy.next(self.now().wall));
        Command::Claim { owner: owner.clone(), token, lease }
    }

    pub(crate) fn apply(&self, id: &TaskId, command: &Command) -> Result<(Task, Effect)> {
        self.check_writable()?;
        let dir = self.task_dir(id)?;
        let lock = TaskLock::acquire(&dir, self.options.lock_timeout)?;
        let applied = self.apply_locked(&dir, id, command, &lock)?;
        drop(lock);
        // The change itself is done; what fails now, the next command completes.
        let _ = self.release_if_due();
        Ok(applied)
    }

    /// Applies a command for a caller that holds the lock of the task.
    pub(super) fn apply_locked(
        &self,
        dir: &Dir,
        id: &TaskId,
        command: &Command,
        _lock: &TaskLock,
    ) -> Result<(Task, Effect)> {
        loop {
            let loaded = self.load(dir, id)?;
            let mut task = loaded.task.clone();
            catch_up_with_others(dir, &mut task)?;
            let request = match command {
                Command::Claim { .. } => self.check_and_restore_request(dir, &task)?,
                // An edit that was cut short must be complete before the next one is written.
                Command::Edit(edit) if edit.prompt.is_some() => self.check_and_restore_request(dir, &task)?,
                Command::Respond(_) => self.check_request(dir, &task)?,
                _ => RequestCheck::Unchecked,
            };
            let previous = match command {
                Command::Respond(_) => task_files::response(dir, &task)?,
                _ => None,
            };
            let now = self.now();
            let new_prompt = match command {
                Command::Edit(edit) if request_file::is_own(&task) => edit.prompt.as_deref(),
                _ => None,
            };
            let new_sha256 = new_prompt.map(|prompt| sha256_bytes(prompt.as_bytes()));
            let context = TransitionContext {
                now: &now,
                request: &request,
                previous: previous.as_ref(),
                new_request: new_sha256.as_ref(),
            };
            if command.apply(&mut task, &context)? == Effect::Unchanged {
                // The process that made this change may have been killed before it was durable.
                atomic::sync_dir(dir)?;
                self.sync_name(dir, &task)?;
                return Ok((task, Effect::Unchanged));
            }
            let new_request = new_prompt.filter(|_| task.request_sha256 != loaded.task.request_sha256);
            if let Some(task) = self.commit(dir, &loaded, task, new_request)? {
                return Ok((task, Effect::Changed));
            }
        }
    }

    /// Commits a changed task, and its request if that is a new one; `None` when another process wrote it meanwhile.
    fn commit(
        &self,
        dir: &Dir,
        loaded: &LoadedTask,
        mut task: Task,
        new_request: Option<&str>,
    ) -> Result<Option<Task>> {
        task.bookkeeping.written_at = Some(task.updated_at);
        // A durable change must not lose the task itself: its submitter may have been killed before the name
        // of the task was synced.
        self.sync_name(dir, &task)?;
        task.bookkeeping.name_is_durable = true;
        self.trim_recent_events(dir, loaded, &mut task)?;
        let response = task.bookkeeping.response.take_if(|_| loaded.task.bookkeeping.response.is_none());
        let tmp = self.layout.tmp()?;
        let large = response.as_ref().is_some_and(|response| response.body.len() > INLINE_BODY);
        let pending = task_files::pending_response_name(task.fence);
        let is_answer = response.is_some();
        let response_text = response.as_ref().map(|response| json::to_text(&response.to_object()));
        if !large {
            task.bookkeeping.response = response.or(task.bookkeeping.response.take());
        }
        let task_text = json::to_text(&task.to_object());
        let staged_response = match &response_text {
            // A large response is made durable under a name of its own before the commit, so that an answered
            // task always has its response.
            Some(text) if large => {
                atomic::replace_durably(&tmp, dir, &pending, text.as_bytes())?;
                None
            }
            // A small response is a copy of the one in task.json.
            Some(text) => Some(StagedEntry::copy(&tmp, text.as_bytes())?),
            None => None,
        };
        // Durable before the commit, so that a task with a new prompt always has it.
        if let Some(text) = new_request {
            atomic::replace_durably(&tmp, dir, NEXT_REQUEST_FILE, text.as_bytes())?;
        }
        let staged_task = StagedEntry::file(&tmp, task_text.as_bytes())?;

        let index = Index::open(&self.layout)?;
        let lock = self.lock_store()?;
        if !loaded.is_current(dir)? {
            if large {
                atomic::remove(dir, &pending)?;
            }
            if new_request.is_some() {
                atomic::remove(dir, NEXT_REQUEST_FILE)?;
            }
            return Ok(None);
        }
        let state = index.ensure(&lock)?;
        let claims = holds_keys(&task) && loaded.task.status.claim() != task.status.claim();
        if claims {
            self.check_keys_are_free(&index, &task)?;
        }
        let state = index.begin(&lock, &state, &task)?;
        if claims {
            index.hold_keys(&task, false)?;
        }
        let has_ended = task.status.is_terminal() && !loaded.task.status.is_terminal();
        staged_task.publish(dir, TASK_FILE)?;
        // The change is committed from here on. Bookkeeping that fails now, for example on a full disk, is
        // completed by the next change, which finds `busy` still set.
        let noted = || -> Result<()> {
            let seq = self.note_change(&lock, &index, dir, loaded, &task, state.seq)?;
            let state = if has_ended { index.note_end(&state, &task.id)? } else { state };
            self.note_due(&state);
            let finished = match is_answer {
                true => index.finish_with_response(&lock, &state, seq, &task.id),
                false => index.finish(&lock, &state, seq, None),
            };
            finished.map(drop)
        };
        let _ = noted();
        drop(lock);

        atomic::sync_dir(dir)?;
        // Other implementations trust response.json whatever the state in task.json, so it appears only when no
        // power cut can undo the commit. The next change completes what fails here.
        let _ = match staged_response {
            Some(staged) => staged.publish(dir, RESPONSE_FILE),
            None if large => atomic::rename_derived(dir, &pending, dir, RESPONSE_FILE),
            None => Ok(()),
        };
        if new_request.is_some() {
            // The next claim completes what fails here.
            let _ = request_file::publish_next(dir);
        }
        self.ring([&task.spec.lane, &loaded.task.spec.lane]);
        if holds_keys(&loaded.task) && !holds_keys(&task) {
            self.ring_for_keys(&index);
        }
        Ok(Some(task))
    }

    /// Makes the name of a task's directory durable, unless it is known to be.
    fn sync_name(&self, dir: &Dir, task: &Task) -> Result<()> {
        let is_known = task.bookkeeping.name_is_durable || atomic::is_name_durable(dir);
        if is_known { Ok(()) } else { self.sync_new(&[task]) }
    }

    /// Makes the names of tasks durable, some of which may be new.
    pub(super) fn sync_new(&self, tasks: &[&Task]) -> Result<()> {
        if tasks.iter().all(|task| task.bookkeeping.name_is_durable) {
            return Ok(());
        }
        atomic::sync_dir(&self.layout.tasks)?;
        for task in tasks {
            atomic::mark_name_durable(&self.layout.tasks, task.id.as_str());
        }
        Ok(())
    }

    /// Copies a commit to the feed, the history and the index.
    fn note_change(
        &self,
        lock: &StoreLock,
        index: &Index<'_>,
        dir: &Dir,
        loaded: &LoadedTask,
        task: &Task,
        seq: u64,
    ) -> Result<u64> {
        let before = loaded.task.bookkeeping.last_event;
        let new: Vec<_> =
            task.bookkeeping.recent.iter().filter(|event| event.n > Some(before)).cloned().collect();
        let seq = feed::append(&self.layout.root, task, &new, seq)?;
        history::append(dir, task)?;
        index.update(lock, Some(&loaded.task), task)?;
        Ok(seq)
    }

    /// Removes events from task.json that are durable in events.jsonl, once there are too many.
    fn trim_recent_events(&self, dir: &Dir, loaded: &LoadedTask, task: &mut Task) -> Result<()> {
        if task.bookkeeping.recent.len() <= history::MAX_RECENT_EVENTS {
            return Ok(());
        }
        {
            let _lock = self.lock_store()?;
            history::append(dir, &loaded.task)?;
        }
        history::sync(dir)?;
        let safe = loaded.task.bookkeeping.last_event;
        task.bookkeeping.synced_event = safe;
        // One old event stays, so that the newest is known even when no new one is added.
        task.bookkeeping.recent.retain(|event| event.n >= Some(safe));
        Ok(())
    }
}

/// Counts the claims of other implementations, which do not maintain our counters.
pub(super) fn catch_up_with_others(dir: &Dir, task: &mut Task) -> Result<()> {
    if !task.was_written_by_others() {
        return Ok(());
    }
    let events = history::events(dir, task)?;
    // Another writer may have dropped our keys; then the history is the better source for the last event
    // number.
    task.bookkeeping.last_event = task.bookkeeping.last_event.max(history::newest_number(&events));
    let (claims, given_back) = history::count_claims(&events);
    task.fence = task.fence.max(claims);
    let spent = claims.saturating_sub(given_back);
    task.attempt = task.attempt.max(u32::try_from(spent).unwrap_or(u32::MAX));
    // The length of our claim does not apply to a later claim of theirs.
    if let Status::Claimed(claim) = &mut task.status
        && let (Some(lease), Some(length)) = (&task.bookkeeping.lease, claim.lease)
        && claim.claimed_at > lease.expires_at.plus_seconds(-length.as_secs_f64())
    {
        claim.lease = None;
    }
    // Another writer's task.json overrides the response that we recorded.
    if !task.status.is_terminal() {
        task.bookkeeping.response = None;
    }
    Ok(())
}

/// Returns the body of a response as `wait` prints it.
pub(super) fn body(response: &Response) -> &[u8] {
    response.body.as_bytes()
}
