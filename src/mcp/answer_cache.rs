//! Gives the answer to a request again for a short time, whichever session asked first.

use super::open_queue::OpenQueue;
use crate::error::Result;
use crate::model::answer_cache::{AgentSettings, cacheable, identity};
use crate::model::{NewRequest, NewTask, Response, Sha256, Task, TaskId};
use crate::sha256::sha256_bytes;

/// Returns the task whose answer is an answer to a new one too. Whatever stands in the way of finding it means that there
/// is none.
pub(super) fn find(queue: &OpenQueue, new: &NewTask, settings: &AgentSettings) -> Option<TaskId> {
    let NewRequest::Text(text) = &new.request else { return None };
    let wanted = identity(&new.spec, &sha256_bytes(text.as_bytes()), settings)?;
    let found = look_up(queue, &wanted, settings).ok().flatten();
    queue.cache.count(found.is_some());
    found
}

/// Reads an entry and the task that it names, which must be what is wanted.
fn look_up(queue: &OpenQueue, wanted: &str, settings: &AgentSettings) -> Result<Option<TaskId>> {
    let store = &queue.store;
    let key = key_of(wanted);
    let Some(entry) = store.cached_answer(&key)? else { return Ok(None) };
    let is_answer = || -> Result<bool> {
        let task = store.task(&entry.task_id)?;
        let Some(response) = store.response(&task)? else { return Ok(false) };
        Ok(identity(&task.spec, &task.request_sha256, settings).as_deref() == Some(wanted)
            && cacheable(&task, &response, settings).as_ref() == Some(&entry))
    };
    // A task that was removed or exchanged answers nothing.
    if is_answer().unwrap_or(false) {
        return Ok(Some(entry.task_id));
    }
    store.forget_cached_answer(&key)?;
    Ok(None)
}

/// Keeps the answer of a task that has ended, if the rules allow it and its agent has the settings that it had at the
/// submit. One that cannot be kept is not missed.
pub(super) fn keep(queue: &OpenQueue, task: &Task, response: &Response) {
    let Some(digest) = queue.cache.take_settings(&task.id) else { return };
    let kept = || -> Result<()> {
        let settings = queue.agent_settings(&queue.config_now()?, &task.spec.lane)?;
        let Some(settings) = settings.filter(|settings| settings.digest == digest) else { return Ok(()) };
        let entry = cacheable(task, response, &settings);
        let entry = entry.filter(|entry| entry.is_valid(queue.store.now().wall));
        let Some((entry, wanted)) = entry.zip(identity(&task.spec, &task.request_sha256, &settings)) else {
            return Ok(());
        };
        queue.store.cache_answer(&key_of(&wanted), &entry)
    };
    let _ = kept();
}

fn key_of(identity: &str) -> Sha256 {
    sha256_bytes(identity.as_bytes())
}
