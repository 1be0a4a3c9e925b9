//! Sends server-sent events and the output of runs to clients that stream them.

use std::time::{Duration, Instant};

use super::changes::StoreChanges;
use super::log_follower::LogPiece;
use super::long_poll::LongPolls;
use super::responder::Responder;
use super::transport::catch_panic::catch_panic;
use super::transport::service::{SendResult, Ticket};
use super::wait_for::{RunLog, WaitFor};
use crate::model::TaskId;
use crate::model::json::{Object, portable_line};
use crate::store::Store;

/// The interval at which an otherwise silent stream gets a comment, so that no proxy takes the connection for
/// dead.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// The delay before sending to a client that is behind is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(20);
/// The interval at which the output of a run is read.
const LOG_INTERVAL: Duration = Duration::from_millis(250);
/// The maximum number of changes that are read at once for a client that is behind.
const MAX_READ: usize = 256;
/// The maximum number of bytes that are sent at once.
const MAX_PIECE: usize = 64 * 1024;

/// When the streams are due, between two rounds of the watcher.
#[derive(Default)]
pub(super) struct StreamTimers {
    keep_alive_at: Option<Instant>,
    retry_at: Option<Instant>,
    log_at: Option<Instant>,
}

/// The state of a stream after a round.
enum StreamStep {
    /// It continues from here when something changes.
    Waiting(WaitFor),
    /// It continues from here once its client has caught up.
    Behind(WaitFor),
    /// Everything was sent, and nothing can follow.
    Finished,
    /// The client has disconnected.
    Gone,
}

/// The context for sending to streams.
#[derive(Clone, Copy)]
pub(super) struct StreamContext<'a> {
    /// The queue.
    pub store: &'a Store,
    /// The requests that wait, streams among them.
    pub polls: &'a LongPolls,
    /// Reaches the clients.
    pub responder: &'a dyn Responder,
}

impl StreamTimers {
    /// Returns when the streams need a round even if nothing happens.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        [self.keep_alive_at, self.retry_at, self.log_at].into_iter().flatten().min()
    }

    /// Sends to every stream what its client has not received yet.
    pub(super) fn round(&mut self, context: StreamContext<'_>, changes: &StoreChanges) {
        let StreamContext { polls, responder, .. } = context;
        let mut streams: Vec<(u64, Ticket, WaitFor)> = Vec::new();
        polls.visit(|number, request| {
            if request.wait.is_stream() {
                streams.push((number, request.ticket, request.wait.clone()));
            }
        });
        let now = Instant::now();
        let is_retry = self.retry_at.is_some_and(|at| at <= now);
        let has_logs = streams.iter().any(|(_, _, wait)| matches!(wait, WaitFor::RunLog(_)));
        self.log_at = has_logs.then_some(now + LOG_INTERVAL);
        self.retry_at = None;
        let is_keep_alive = self.keep_alive_at.is_some_and(|at| at <= now);
        // A client that connects again is told why.
        let is_gone = is_keep_alive && !context.store.is_in_place();
        if is_keep_alive || self.keep_alive_at.is_none() || streams.is_empty() {
            self.keep_alive_at = (!streams.is_empty()).then_some(now + KEEP_ALIVE_INTERVAL);
        }
        for (number, ticket, wait) in streams {
            let takes_comments = !matches!(wait, WaitFor::RunLog(_));
            let step = catch_panic(|| match wait {
                _ if is_gone => StreamStep::Finished,
                WaitFor::Feed { since, lane } => context.send_feed(changes, ticket, since, lane),
                WaitFor::TaskEvents { id, sent } if is_retry || changes.may_affect(number, &id) => {
                    context.send_task_events(ticket, id, sent)
                }
                WaitFor::RunLog(follower) => context.send_log(ticket, follower),
                wait => StreamStep::Waiting(wait),
            });
            // A client whose stream breaks off connects again.
            match step.unwrap_or(StreamStep::Finished) {
                StreamStep::Waiting(wait) => polls.update(number, wait),
                StreamStep::Behind(wait) => {
                    polls.update(number, wait);
                    self.retry_at = Some(now + RETRY_DELAY);
                }
                StreamStep::Finished => {
                    responder.finish(ticket, &[]);
                    polls.take(number);
                    continue;
                }
                StreamStep::Gone => {
                    polls.take(number);
                    continue;
                }
            }
            if is_keep_alive && takes_comments {
                responder.send(ticket, b": still here\n\n");
            }
        }
    }
}

impl StreamContext<'_> {
    fn send_feed(
        self,
        changes: &StoreChanges,
        ticket: Ticket,
        mut since: u64,
        lane: Option<String>,
    ) -> StreamStep {
        while since < changes.latest {
            let read;
            let batch = match changes.entries.first() {
                Some(first) if first.seq <= since + 1 => &changes.entries,
                _ => {
                    // A feed that cannot be read now is read in the next round.
                    read = self.store.feed_since(since, MAX_READ).unwrap_or_default();
                    &read
                }
            };
            let mut piece = String::new();
            let mut last = since;
            for entry in batch.iter().filter(|entry| entry.seq > since) {
                if piece.len() >= MAX_PIECE {
                    break;
                }
                last = entry.seq;
                if lane.as_ref().is_none_or(|lane| entry.lane == lane.as_str()) {
                    piece.push_str(&event_text(entry.seq, entry.to_object()));
                }
            }
            if last == since {
                break;
            }
            match self.responder.send(ticket, piece.as_bytes()) {
                SendResult::Sent => since = last,
                SendResult::Behind => return StreamStep::Behind(WaitFor::Feed { since, lane }),
                SendResult::Gone => return StreamStep::Gone,
            }
        }
        StreamStep::Waiting(WaitFor::Feed { since, lane })
    }

    fn send_task_events(self, ticket: Ticket, id: TaskId, mut sent: usize) -> StreamStep {
        // The state is read first: once the task has ended, the events that are read afterwards are complete.
        let Ok(task) = self.store.task(&id) else { return StreamStep::Finished };
        let Ok(events) = self.store.events(&id) else {
            return StreamStep::Waiting(WaitFor::TaskEvents { id, sent });
        };
        while sent < events.len() {
            let mut piece = String::new();
            let mut next = sent;
            while next < events.len() && piece.len() < MAX_PIECE {
                let mut object = events[next].to_object();
                object.insert("task_id".into(), id.as_str().into());
                next += 1;
                piece.push_str(&event_text(next as u64, object));
            }
            match self.responder.send(ticket, piece.as_bytes()) {
                SendResult::Sent => sent = next,
                SendResult::Behind => return StreamStep::Behind(WaitFor::TaskEvents { id, sent }),
                SendResult::Gone => return StreamStep::Gone,
            }
        }
        if task.status.is_terminal() {
            StreamStep::Finished
        } else {
            StreamStep::Waiting(WaitFor::TaskEvents { id, sent })
        }
    }

    fn send_log(self, ticket: Ticket, mut follower: RunLog) -> StreamStep {
        loop {
            let before = follower.clone();
            match follower.read(self.store, MAX_PIECE) {
                LogPiece::Bytes(bytes) => match self.responder.send(ticket, &bytes) {
                    SendResult::Sent => {}
                    SendResult::Behind => return StreamStep::Behind(WaitFor::RunLog(before)),
                    SendResult::Gone => return StreamStep::Gone,
                },
                LogPiece::Nothing => return StreamStep::Waiting(WaitFor::RunLog(follower)),
                LogPiece::End => return StreamStep::Finished,
            }
        }
    }
}

/// Returns an event as text; its data is one line, whatever the values contain.
fn event_text(id: u64, event: Object) -> String {
    format!("id: {id}\ndata: {}\n", portable_line(&event))
}
