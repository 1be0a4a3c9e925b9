//! What a long poll or a stream waits for, and the response when it is available.

use std::time::Duration;

use serde_json::Value;

use super::api::views::{claimed, public_task};
use super::log_follower::{LogFollower, LogPiece};
use super::log_lines::OutputLines;
use super::responder::Responder;
use super::transport::response::{HttpResponse, members, ok};
use super::transport::service::Ticket;
use crate::error::{Error, Result};
use crate::model::{Command, LaneName, Owner, TaskId};
use crate::store::{FeedEntry, LaneQuery, Store};
use crate::workspace::mark_messages_read;

/// What a request waits for.
#[derive(Clone, Debug)]
pub(crate) enum WaitFor {
    /// A task that can be claimed.
    ClaimableTask(LaneQuery),
    /// A task, claimed for the client.
    Claim {
        /// The lanes and conditions of the task.
        query: LaneQuery,
        /// The owner of the claim.
        owner: Owner,
        /// The length of the lease.
        lease: Duration,
    },
    /// The response to a task.
    Response(TaskId),
    /// The responses to several tasks.
    Responses {
        /// The tasks.
        ids: Vec<TaskId>,
        /// Whether all of them must have ended; otherwise the first is enough.
        all: bool,
    },
    /// A change after one of them: of one of these tasks, or of a task of one of these lanes; any, if none are named.
    Change {
        /// The sequence number of the last change that the client knows.
        since: u64,
        /// The tasks.
        tasks: Vec<TaskId>,
        /// The lanes.
        lanes: Vec<LaneName>,
        /// Whether the client is a worker that waits for tasks of these lanes.
        is_worker: bool,
    },
    /// A stream of all changes after one of them.
    Feed {
        /// The sequence number of the last change that was sent.
        since: u64,
        /// The only lane whose changes are sent; all lanes without it.
        lane: Option<String>,
    },
    /// A stream of the events of a task.
    TaskEvents {
        /// The task.
        id: TaskId,
        /// The number of its events that were sent.
        sent: usize,
    },
    /// A stream of what a run prints.
    RunLog(RunLog),
}

/// A position in what a run prints.
#[derive(Clone, Debug)]
pub(crate) enum RunLog {
    /// In one of its files.
    Bytes(LogFollower),
    /// In both outputs, as lines.
    Lines(OutputLines),
}

impl RunLog {
    /// Reads on, about `most` bytes.
    pub(crate) fn read(&mut self, store: &Store, most: usize) -> LogPiece {
        match self {
            Self::Bytes(follower) => follower.read(store, most),
            Self::Lines(lines) => lines.read(store, most),
        }
    }
}

/// Why a wait ends without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    /// Its time is over.
    TimedOut,
    /// The server stops.
    Stopping,
}

impl WaitFor {
    /// Returns the response to the client of `ticket`, if it can be given now.
    ///
    /// # Errors
    /// Any error of the store.
    pub(crate) fn check(
        &self,
        store: &Store,
        responder: &dyn Responder,
        ticket: Ticket,
    ) -> Result<Option<HttpResponse>> {
        match self {
            Self::ClaimableTask(query) => {
                let task = store.peek_next(query)?;
                Ok(task.map(|task| ok([("task", public_task(store, &task))])))
            }
            Self::Claim { query, owner, lease } => {
                claim_for_client(store, responder, ticket, query, owner, *lease)
            }
            Self::Response(id) => response_to(store, id),
            Self::Responses { ids, all } => responses_to(store, ids, *all),
            Self::Change { since, tasks, lanes, .. } => change_after(store, *since, tasks, lanes),
            Self::Feed { .. } | Self::TaskEvents { .. } | Self::RunLog(_) => Ok(None),
        }
    }

    /// Returns the response for a wait that ends without a result.
    pub(crate) fn response_without_result(&self, end: WaitEnd) -> HttpResponse {
        match (self, end) {
            (Self::ClaimableTask(_) | Self::Claim { .. }, _) => ok([("task", Value::Null)]),
            (_, WaitEnd::Stopping) => HttpResponse::stopping(),
            (Self::Change { since, .. }, WaitEnd::TimedOut) => ok([("value", (*since).into())]),
            (_, WaitEnd::TimedOut) => {
                HttpResponse::error(408, "timed_out", "the wait ended without a response")
            }
        }
    }

    /// Returns whether this is a stream, whose response has begun already.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Feed { .. } | Self::TaskEvents { .. } | Self::RunLog(_))
    }

    /// Returns the lanes for which the client is a worker.
    pub(crate) fn worker_lanes(&self) -> &[LaneName] {
        match self {
            Self::ClaimableTask(query) | Self::Claim { query, .. } => &query.lanes,
            Self::Change { lanes, is_worker: true, .. } => lanes,
            Self::Change { .. }
            | Self::Response(_)
            | Self::Responses { .. }
            | Self::Feed { .. }
            | Self::TaskEvents { .. }
            | Self::RunLog(_) => &[],
        }
    }

    /// Returns which tasks are waited for, if tasks of lanes are.
    pub(crate) fn query(&self) -> Option<&LaneQuery> {
        match self {
            Self::ClaimableTask(query) | Self::Claim { query, .. } => Some(query),
            Self::Response(_)
            | Self::Responses { .. }
            | Self::Change { .. }
            | Self::Feed { .. }
            | Self::TaskEvents { .. }
            | Self::RunLog(_) => None,
        }
    }
}

/// Returns a key that is equal for queries that the same tasks match.
pub(super) fn group(query: &LaneQuery) -> String {
    format!("{}\n{}", query.lanes.join("\n"), query.filter.describe())
}

/// Claims the next task for a client that is still connected; releases the task if the client hangs up meanwhile.
fn claim_for_client(
    store: &Store,
    responder: &dyn Responder,
    ticket: Ticket,
    query: &LaneQuery,
    owner: &Owner,
    lease: Duration,
) -> Result<Option<HttpResponse>> {
    if !responder.is_connected(ticket) {
        return Ok(None);
    }
    let Some(task) = store.claim_next(query, owner, lease)? else { return Ok(None) };
    match task.status.claim() {
        Some(claim) if !responder.is_connected(ticket) => {
            let release = Command::Release {
                token: claim.token.clone(),
                reason: Some("the client had hung up".to_string()),
                delay: None,
                spent: None,
            };
            store.apply(&task.id, &release)?;
            Ok(None)
        }
        claim => {
            if let Some(claim) = claim {
                mark_messages_read(store, &task, &claim.token);
            }
            Ok(Some(claimed(&task, &task.messages)))
        }
    }
}

/// Returns the response to a wait for the end of a task, once it has ended.
fn response_to(store: &Store, id: &TaskId) -> Result<Option<HttpResponse>> {
    // Also declares a task dead that has run out of attempts meanwhile, so that the wait ends.
    let task = store.read_settled(id)?;
    match store.response(&task)? {
        Some(response) => Ok(Some(ok([("response", Value::Object(response.to_object()))]))),
        None if task.status.is_terminal() => Err(Error::corrupt(format!("the response of {id} is missing"))),
        None => Ok(None),
    }
}

/// Returns the response to a wait for the ends of tasks, once enough of them have ended.
fn responses_to(store: &Store, ids: &[TaskId], all: bool) -> Result<Option<HttpResponse>> {
    let (mut answered, mut pending) = (Vec::new(), Vec::new());
    for id in ids {
        // Also declares a task dead that has run out of attempts meanwhile, so that the wait ends.
        let task = store.read_settled(id)?;
        match store.response(&task)? {
            Some(response) => answered.push(Value::Object(members([
                ("task_id", id.as_str().into()),
                ("state", task.status.as_str().into()),
                ("response", Value::Object(response.to_object())),
            ]))),
            None if task.status.is_terminal() => answered.push(Value::Object(members([
                ("task_id", id.as_str().into()),
                ("state", task.status.as_str().into()),
                ("response", Value::Null),
            ]))),
            None => pending.push(Value::from(id.as_str())),
        }
    }
    let is_enough = if all { pending.is_empty() } else { !answered.is_empty() };
    Ok(is_enough.then(|| ok([("answered", answered.into()), ("pending", pending.into())])))
}

/// The maximum number of changes that are looked at for one that is waited for; after more, the client looks itself.
const MAX_CHANGES: usize = 1000;

/// Returns the response to a wait for a change, once there is one: the number of the newest change.
fn change_after(
    store: &Store,
    since: u64,
    tasks: &[TaskId],
    lanes: &[LaneName],
) -> Result<Option<HttpResponse>> {
    let changes = store.feed_since(since, MAX_CHANGES)?;
    let is_any = tasks.is_empty() && lanes.is_empty();
    let is_meant =
        |entry: &FeedEntry| is_any || tasks.contains(&entry.task_id) || lanes.contains(&entry.lane);
    if changes.len() < MAX_CHANGES && !changes.iter().any(is_meant) {
        return Ok(None);
    }
    Ok(Some(ok([("value", store.feed_end()?.into())])))
}
