//! Checks where the queues of a bridge lead: a card must not come back by itself to where it is taken from.

use std::collections::BTreeSet;

use super::board::QueueRef;
use super::settings::WatchedQueue;

/// Why a queue must not lead back to itself.
pub(super) const BACK: &str = "leads back to this queue: its cards would be taken again without end";

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
/// A card in the queue for work in progress is being worked on, so that queue must not be watched. A card whose task has
/// ended may go on to another watched queue, but never round in a circle: each round would be a run that is paid for.
pub(crate) fn problem(queues: &[WatchedQueue]) -> Option<QueueProblem> {
    twice(queues)
        .or_else(|| queues.iter().find_map(|queue| into_watched_queue(queue, queues)))
        .or_else(|| in_circle(queues))
}

/// Returns the first watched queue whose cards can come back to it, and the key by which they leave it. `next` has for
/// each watched queue the keys by which cards leave it for another watched queue, and the index of that one.
pub(super) fn circle(next: &[Vec<(&'static str, usize)>]) -> Option<(usize, &'static str)> {
    let comes_back = |start: usize, first: usize| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![first]);
        while let Some(at) = left.pop() {
            if at == start {
                return true;
            }
            if seen.insert(at) {
                left.extend(next[at].iter().map(|(_, to)| *to));
            }
        }
        false
    };
    let all = next.iter().enumerate().flat_map(|(start, edges)| edges.iter().map(move |edge| (start, edge)));
    all.into_iter().find(|(start, (_, to))| comes_back(*start, *to)).map(|(start, (key, _))| (start, *key))
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

fn into_watched_queue(watched: &WatchedQueue, queues: &[WatchedQueue]) -> Option<QueueProblem> {
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
    None
}

fn in_circle(queues: &[WatchedQueue]) -> Option<QueueProblem> {
    let index = |target: &Option<QueueRef>| {
        target.as_ref().and_then(|target| queues.iter().position(|other| other.queue == *target))
    };
    let next = |watched: &WatchedQueue| {
        let keys =
            [("done", &watched.done), ("failed", &watched.failed), ("dead_letter", &watched.dead_letter)];
        keys.into_iter().filter_map(|(key, target)| Some((key, index(target)?))).collect()
    };
    let (at, key) = circle(&queues.iter().map(next).collect::<Vec<_>>())?;
    Some(QueueProblem { queue: key_of(&queues[at].queue), key, reason: BACK.to_string() })
}

/// Returns the key of a watched queue.
fn key_of(queue: &QueueRef) -> String {
    match queue {
        QueueRef::Name(name) => name.clone(),
        QueueRef::Id { id } => format!("id:{id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_wherever_they_begin() {
        assert_eq!(circle(&[vec![("done", 1)], vec![("done", 2)], vec![]]), None);
        assert_eq!(
            circle(&[vec![("done", 1), ("failed", 2)], vec![("done", 2)], vec![]]),
            None,
            "two ways to one"
        );
        assert_eq!(circle(&[vec![("done", 1)], vec![("failed", 0)]]), Some((0, "done")));
        assert_eq!(
            circle(&[vec![("failed", 1)], vec![("dead_letter", 2)], vec![("done", 1)]]),
            Some((1, "dead_letter"))
        );
        assert_eq!(circle(&[vec![("done", 0)]]), Some((0, "done")));
        assert_eq!(
            circle(&[vec![("done", 1), ("failed", 2)], vec![], vec![("failed", 0)]]),
            Some((0, "failed"))
        );
    }
}
