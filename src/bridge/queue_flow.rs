//! Checks where the queues of a bridge lead: a card must not come back by itself to where it is taken from.

use std::collections::BTreeSet;

use super::board::QueueRef;
use super::settings::WatchedQueue;

/// A setting of a queue that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueProblem {
    /// The watched queue, as its key is written.
    pub queue: String,
    /// The key below it.
    pub key: &'static str,
    /// What is wrong.
    pub reason: String,
}

/// Returns the first problem of the queues of a bridge.
///
/// A card in the queue for work in progress is being worked on, so that queue must not be watched. A card that is done
/// may go on to another watched queue, but never round in a circle: each round would be a run that is paid for.
pub(crate) fn problem(queues: &[WatchedQueue]) -> Option<QueueProblem> {
    twice(queues).or_else(|| queues.iter().find_map(|queue| back_into_queue(queue, queues)))
}

fn twice(queues: &[WatchedQueue]) -> Option<QueueProblem> {
    let mut seen = BTreeSet::new();
    let again = queues.iter().find(|watched| !seen.insert(&watched.queue))?;
    Some(QueueProblem {
        queue: key_of(&again.queue),
        key: "lane",
        reason: format!("the queue {} is watched twice", again.queue),
    })
}

fn back_into_queue(watched: &WatchedQueue, queues: &[WatchedQueue]) -> Option<QueueProblem> {
    let problem = |key, reason: &str| {
        Some(QueueProblem { queue: key_of(&watched.queue), key, reason: reason.to_string() })
    };
    let watches = |target: &Option<QueueRef>| {
        target.as_ref().is_some_and(|target| queues.iter().any(|other| other.queue == *target))
    };
    if watches(&watched.in_progress) {
        return problem(
            "in_progress",
            "is a watched queue of this bridge: cards in progress would be taken again",
        );
    }
    for (key, target) in
        [("done", &watched.done), ("failed", &watched.failed), ("dead_letter", &watched.dead_letter)]
    {
        if target.as_ref() == Some(&watched.queue) {
            return problem(key, "is the watched queue itself: its cards would be taken again without end");
        }
    }
    let next = |queue: &QueueRef| {
        queues.iter().find(|other| other.queue == *queue).and_then(|other| other.done.as_ref())
    };
    let mut at = watched.done.as_ref();
    for _ in queues {
        match at {
            Some(queue) if *queue == watched.queue => {
                return problem(
                    "done",
                    "leads back to this queue: its cards would be taken again without end",
                );
            }
            Some(queue) => at = next(queue),
            None => break,
        }
    }
    None
}

/// Returns the key of a watched queue.
fn key_of(queue: &QueueRef) -> String {
    match queue {
        QueueRef::Name(name) => name.clone(),
        QueueRef::Id { id } => format!("id:{id}"),
    }
}
