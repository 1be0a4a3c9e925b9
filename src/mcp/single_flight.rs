//! Makes equal requests one task, because a client that gave up on a call repeats it.
//!
//! Each request has an idempotency key, the hash of its content and of the session that makes it. While the task
//! is open, the store returns it for the same key. Once it has ended and its answer was returned, the key moves on,
//! and the same request is a new task.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::model::json::{Object, to_line};
use crate::model::{IdempotencyKey, NewTask, TaskId};
use crate::sha256::sha256_bytes;
use crate::store::{Store, SubmittedTask};

/// The length of a key, in hex digits of a hash.
const KEY_DIGITS: usize = 40;

/// Returns the first key of a request: a hash of its content, its session, and the number of equal ones before
/// it in the same call.
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

/// Returns the key of a step of coordinated work.
///
/// # Errors
/// As [`request_key`].
pub(super) fn step_key(work: &TaskId, step: u64) -> Result<IdempotencyKey> {
    key_of(&format!("{work}\nstep {step}"))
}

fn key_of(text: &str) -> Result<IdempotencyKey> {
    IdempotencyKey::new(format!("mcp-{}", &sha256_bytes(text.as_bytes()).as_str()[..KEY_DIGITS]))
}

/// The requests of this process, and which of their answers have been returned.
#[derive(Debug, Default)]
pub(super) struct SingleFlight(Mutex<FlightState>);

/// The keys and tasks of the requests so far.
#[derive(Debug, Default)]
struct FlightState {
    /// The current key, by the first key of the request, where it is another one.
    keys: HashMap<IdempotencyKey, IdempotencyKey>,
    /// The tasks that this process submitted or attached to, and whose answers have not been returned yet.
    unanswered: HashSet<TaskId>,
}

/// A request to submit.
#[derive(Clone, Debug)]
pub(super) struct FlightRequest {
    /// The task that it asks for.
    pub new: NewTask,
    /// The first of its keys; `None` for a request that is submitted as it is.
    pub first_key: Option<IdempotencyKey>,
}

/// Submits tasks; each has a result of its own.
fn submit_together(store: &Store, new: Vec<NewTask>) -> Vec<Result<SubmittedTask>> {
    match <[NewTask; 1]>::try_from(new) {
        Ok([one]) => vec![store.submit(one)],
        Err(many) => {
            let count = many.len();
            store.submit_batch(many).unwrap_or_else(|error| {
                (0..count).map(|_| Err(Error::new(error.kind(), error.message()))).collect()
            })
        }
    }
}

impl SingleFlight {
    fn state(&self) -> MutexGuard<'_, FlightState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives requests the keys that count now.
    pub(super) fn with_current_keys(&self, mut requests: Vec<FlightRequest>) -> Vec<FlightRequest> {
        for FlightRequest { new, first_key } in &mut requests {
            if let Some(first) = first_key {
                new.spec.key = Some(self.state().keys.get(first).unwrap_or(first).clone());
            }
        }
        requests
    }

    /// Returns the tasks whose answers were not returned yet, as far as this process has submitted them.
    pub(super) fn unanswered(&self) -> Vec<TaskId> {
        self.state().unanswered.iter().cloned().collect()
    }

    /// Submits requests together, or returns their open tasks. The results are in the order of the requests; one
    /// that fails does not affect the others.
    pub(super) fn submit_all(
        &self,
        store: &Store,
        requests: Vec<FlightRequest>,
    ) -> Vec<Result<SubmittedTask>> {
        let mut results = Vec::with_capacity(requests.len());
        let mut pending: Vec<(usize, FlightRequest)> =
            self.with_current_keys(requests).into_iter().enumerate().collect();
        while !pending.is_empty() {
            let new = pending.iter().map(|(_, request)| request.new.clone()).collect();
            for ((number, mut request), result) in
                std::mem::take(&mut pending).into_iter().zip(submit_together(store, new))
            {
                let next_key = match &result {
                    Ok(submitted) => self.join(&request, submitted),
                    Err(_) => Ok(None),
                };
                match next_key {
                    Ok(None) => results.push((number, result)),
                    Ok(next_key) => {
                        request.new.spec.key = next_key;
                        pending.push((number, request));
                    }
                    Err(error) => results.push((number, Err(error))),
                }
            }
        }
        results.sort_by_key(|(number, _)| *number);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Attaches a request to the task that the store returned for it. If that has ended and its answer was returned,
    /// it belongs to an earlier request, and the key of the next one is returned instead.
    fn join(&self, request: &FlightRequest, submitted: &SubmittedTask) -> Result<Option<IdempotencyKey>> {
        let (Some(first_key), Some(key)) = (&request.first_key, &request.new.spec.key) else {
            return Ok(None);
        };
        let id = &submitted.task.id;
        let has_ended = submitted.existing && submitted.task.status.is_terminal();
        let mut state = self.state();
        if has_ended && !state.unanswered.contains(id) {
            return next_key(first_key, id).map(Some);
        }
        state.unanswered.insert(id.clone());
        if key != first_key {
            state.keys.insert(first_key.clone(), key.clone());
        }
        Ok(None)
    }

    /// Notes that the answer of a task was returned.
    pub(super) fn answered(&self, id: &TaskId) {
        self.state().unanswered.remove(id);
    }

    /// Notes that the answer of a task was not returned after all.
    pub(super) fn not_answered(&self, id: &TaskId) {
        self.state().unanswered.insert(id.clone());
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
            let request = FlightRequest { new, first_key: Some(first_key.clone()) };
            flights.submit_all(&store, vec![request]).remove(0).unwrap().task.id
        };
        let answer = |id: &TaskId| {
            store.apply(id, &Command::Respond(Answer::completed("w", "done"))).unwrap();
        };
        let first = submit(&flights);
        assert_eq!(submit(&flights), first, "it is open");
        assert!(
            flights.state().keys.is_empty(),
            "over HTTP, every request has a session and a key of its own"
        );
        assert_eq!(submit(&SingleFlight::default()), first, "also for another process");
        answer(&first);
        assert_eq!(submit(&flights), first, "nobody has seen the answer");
        flights.answered(&first);
        let second = submit(&flights);
        assert_ne!(second, first);
        assert_eq!(submit(&flights), second);
        answer(&second);
        flights.answered(&second);
        flights.not_answered(&second);
        assert_eq!(submit(&flights), second, "the answer did not reach the client");
        let third = submit(&SingleFlight::default());
        assert!(third != second && third != first, "another process cannot know what was seen");
        assert_eq!(submit(&SingleFlight::default()), third);
    }

    #[test]
    fn requests_are_submitted_together_and_fail_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state"), StoreOptions::default()).unwrap();
        let flights = SingleFlight::default();
        let request = |text: &str, first_key: Option<&str>| FlightRequest {
            new: NewTask::prompt(LaneName::new("a").unwrap(), text),
            first_key: first_key.map(|key| IdempotencyKey::new(key).unwrap()),
        };
        let submit = |requests| -> Vec<Option<TaskId>> {
            let results = flights.submit_all(&store, requests);
            results.into_iter().map(|result| result.ok().map(|submitted| submitted.task.id)).collect()
        };
        let first = submit(vec![request("x", Some("k-x")), request("y", Some("k-y"))]);
        let (x, y) = (first[0].clone().unwrap(), first[1].clone().unwrap());
        store.apply(&x, &Command::Respond(Answer::completed("w", "done"))).unwrap();
        flights.answered(&x);
        // The first is a new task now; the third has a key of other content; the fourth is like the second.
        let requests = ["x", "y", "other", "y"].into_iter().zip(["k-x", "k-y", "k-y", "k-y"]);
        let again = submit(requests.map(|(text, key)| request(text, Some(key))).collect());
        assert!(again[0].as_ref().is_some_and(|id| *id != x && *id != y), "{again:?}");
        assert_eq!(again[1..], [Some(y.clone()), None, Some(y)]);
        assert_eq!(submit(vec![]), []);
        assert_eq!(submit(vec![request("z", None)]).len(), 1);
    }
}
