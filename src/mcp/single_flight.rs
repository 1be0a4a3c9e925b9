//! The same request twice is one task: a client that gave up on a call repeats it.
//!
//! Each request has an idempotency key, the hash of its content and of the session that makes it. While the task
//! is open, the store returns it for the same key. Once it has ended and its answer was returned, the key moves on,
//! and the same request is a new task.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::model::json::{Object, to_line};
use crate::model::{IdempotencyKey, NewTask, TaskId};
use crate::sha256::sha256_bytes;
use crate::store::{Store, SubmittedTask};

/// How many hex digits of a hash a key has.
const KEY_DIGITS: usize = 40;

/// Returns the first key of a request: of what it asks for, the session that makes it, and how many equal ones came
/// before it in the same call.
///
/// # Errors
/// As for [`IdempotencyKey::new`], which accepts every key that is made here.
pub(super) fn request_key(content: &Object, session: &str, repetition: usize) -> Result<IdempotencyKey> {
    key_of(&format!("{session}\n{repetition}\n{}", to_line(content)))
}

/// Returns the key of a request whose task with the key before it has ended.
fn next_key(first_key: &IdempotencyKey, ended: &TaskId) -> Result<IdempotencyKey> {
    key_of(&format!("{first_key}\n{ended}"))
}

fn key_of(text: &str) -> Result<IdempotencyKey> {
    IdempotencyKey::new(format!("mcp-{}", &sha256_bytes(text.as_bytes()).as_str()[..KEY_DIGITS]))
}

/// The requests of this process and which of their answers were returned.
#[derive(Debug, Default)]
pub(super) struct SingleFlight(Mutex<FlightState>);

#[derive(Debug, Default)]
struct FlightState {
    /// The key that counts now, by the first key of the request.
    keys: HashMap<IdempotencyKey, IdempotencyKey>,
    /// Tasks that this process submitted or attached to, and whose answers were not returned yet.
    unanswered: HashSet<TaskId>,
}

impl SingleFlight {
    fn state(&self) -> MutexGuard<'_, FlightState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits a request, or returns its open task.
    ///
    /// # Errors
    /// Whatever the store reports.
    pub(super) fn submit(
        &self,
        store: &Store,
        mut new: NewTask,
        first_key: &IdempotencyKey,
    ) -> Result<SubmittedTask> {
        let mut key = self.state().keys.get(first_key).unwrap_or(first_key).clone();
        loop {
            new.spec.key = Some(key.clone());
            let submitted = store.submit(new.clone())?;
            let id = &submitted.task.id;
            let has_ended = submitted.existing && submitted.task.status.is_terminal();
            let mut state = self.state();
            if !has_ended || state.unanswered.contains(id) {
                state.unanswered.insert(id.clone());
                state.keys.insert(first_key.clone(), key);
                drop(state);
                return Ok(submitted);
            }
            drop(state);
            key = next_key(first_key, id)?;
        }
    }

    /// Notes that the answer of a task was returned.
    pub(super) fn answered(&self, id: &TaskId) {
        self.state().unanswered.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Answer, Command, LaneName};
    use crate::store::StoreOptions;

    fn key(content: serde_json::Value, session: &str, repetition: usize) -> IdempotencyKey {
        request_key(content.as_object().unwrap(), session, repetition).unwrap()
    }

    #[test]
    fn a_key_depends_on_the_content_and_the_session_and_not_on_the_order_of_fields() {
        let first = key(json!({"lane": "a", "task": "x"}), "s", 0);
        assert_eq!(first, key(json!({"task": "x", "lane": "a"}), "s", 0));
        for other in [
            key(json!({"lane": "a", "task": "y"}), "s", 0),
            key(json!({"lane": "a", "task": "x"}), "t", 0),
            key(json!({"lane": "a", "task": "x"}), "s", 1),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_request_is_one_task_until_its_answer_was_returned() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state"), StoreOptions::default()).unwrap();
        let flights = SingleFlight::default();
        let first_key = IdempotencyKey::new("mcp-first").unwrap();
        let submit = |flights: &SingleFlight| {
            let new = NewTask::prompt(LaneName::new("a").unwrap(), "x");
            flights.submit(&store, new, &first_key).unwrap().task.id
        };
        let answer = |id: &TaskId| {
            store.apply(id, &Command::Respond(Answer::completed("w", "done"))).unwrap();
        };
        let first = submit(&flights);
        assert_eq!(submit(&flights), first, "it is open");
        assert_eq!(submit(&SingleFlight::default()), first, "also for another process");
        answer(&first);
        assert_eq!(submit(&flights), first, "nobody has seen the answer");
        flights.answered(&first);
        let second = submit(&flights);
        assert_ne!(second, first);
        assert_eq!(submit(&flights), second);
        answer(&second);
        let third = submit(&SingleFlight::default());
        assert!(third != second && third != first, "another process cannot know what was seen");
        assert_eq!(submit(&SingleFlight::default()), third);
    }
}
