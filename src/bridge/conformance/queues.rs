//! Checks of the operations on queues.

use super::cards::CardChecks;
use super::{
    CheckRunner, SCRATCH_QUEUE, ScratchQueues, by_id, equal, failed, fails_with, holds, or_failed, skipped,
};
use crate::bridge::board::{Board, BoardErrorCode, BoardQueue, BoardResult, QueueRef};

/// A queue that no board has.
const UNKNOWN: &str = "lanes-bridge-test-no-such-queue";
/// Name of the queue that is created for moves.
const OTHER_QUEUE: &str = "lanes-bridge-test-2";
/// Names of the queue that is created, renamed and deleted.
const CHANGED_QUEUE: &str = "lanes-bridge-test-3";
const RENAMED_QUEUE: &str = "lanes-bridge-test-4";

/// A second queue for moves.
pub(super) struct OtherQueue {
    pub queue: BoardQueue,
    /// Whether the checks created it.
    is_ours: bool,
}

fn unknown() -> QueueRef {
    QueueRef::Name(UNKNOWN.to_string())
}

/// Checks what only reads.
pub(super) fn check_reading(board: &mut dyn Board, checker: &mut CheckRunner<'_>) {
    checker.check("list_queues", || {
        let queues = or_failed("a list of queues", board.list_queues())?;
        let nameless = queues.iter().find(|queue| queue.id.is_empty() || queue.name.is_empty());
        if let Some(queue) = nameless {
            return failed(
                "queues with an id and a name",
                format!("id '{}', name '{}'", queue.id, queue.name),
            );
        }
        let mut ids: Vec<&str> = queues.iter().map(|queue| queue.id.as_str()).collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => failed("a different id for each queue", format!("'{}' twice", pair[0])),
            None => Ok(()),
        }
    });
    checker.check("get_queue of an unknown queue", || {
        fails_with(&[BoardErrorCode::NotFound], board.get_queue(&unknown()))
    });
    checker.check("get_ready_tasks of an unknown queue", || {
        fails_with(&[BoardErrorCode::NotFound], board.get_ready_tasks(&unknown(), 1))
    });
}

/// Finds or creates the queue for the cards.
pub(super) fn scratch_queue(
    board: &mut dyn Board,
    scratch: &ScratchQueues,
    checker: &mut CheckRunner<'_>,
) -> Option<BoardQueue> {
    let can_create = board.identity().can.queues;
    let mut found = None;
    checker.check("a scratch queue", || {
        let queue = match &scratch.queue {
            Some(queue) => or_failed("the queue of --queue", board.get_queue(queue))?,
            None if can_create => or_failed("a new queue", find_or_create(board, SCRATCH_QUEUE))?,
            None => return failed("the name of a queue for its cards", "none: give it with --queue"),
        };
        found = Some(queue);
        Ok(())
    });
    let queue = found?;
    checker.check("get_queue by its id", || {
        equal("the queue", &queue, &or_failed("a queue", board.get_queue(&by_id(&queue)))?)
    });
    checker.check("list_queues has the scratch queue", || {
        let queues = or_failed("a list of queues", board.list_queues())?;
        holds(
            queues.iter().any(|listed| listed.id == queue.id),
            format!("the id '{}'", queue.id),
            "other ids",
        )
    });
    Some(queue)
}

/// Finds or creates a second queue.
pub(super) fn other_queue(
    board: &mut dyn Board,
    scratch: &ScratchQueues,
    checker: &mut CheckRunner<'_>,
) -> Option<OtherQueue> {
    let can_create = board.identity().can.queues;
    let mut found = None;
    checker.check("a second queue, for moves", || {
        found = Some(match &scratch.other {
            Some(queue) => OtherQueue {
                queue: or_failed("the queue of --other", board.get_queue(queue))?,
                is_ours: false,
            },
            None if can_create => OtherQueue {
                queue: or_failed("a new queue", find_or_create(board, OTHER_QUEUE))?,
                is_ours: true,
            },
            None => return skipped("it cannot create queues: name one with --other"),
        });
        Ok(())
    });
    found
}

fn find_or_create(board: &mut dyn Board, name: &str) -> BoardResult<BoardQueue> {
    match board.get_queue(&QueueRef::Name(name.to_string())) {
        Err(error) if error.code == BoardErrorCode::NotFound => board.create_queue(name),
        found => found,
    }
}

/// Checks what changes queues, on a queue of its own.
pub(super) fn check_changing(board: &mut dyn Board, cards: &CardChecks, checker: &mut CheckRunner<'_>) {
    if !board.identity().can.queues {
        checker.check("create_queue of a board without `queues`", || {
            fails_with(&[BoardErrorCode::Unsupported], board.create_queue(CHANGED_QUEUE))
        });
        return;
    }
    let mut queue = None;
    checker.check("create_queue", || {
        for name in [CHANGED_QUEUE, RENAMED_QUEUE] {
            // A run that was stopped may have left it.
            let left = board.get_queue(&QueueRef::Name(name.to_string()));
            if let Ok(left) = left {
                or_failed("no error", board.delete_queue(&by_id(&left)))?;
            }
        }
        let created = or_failed("a queue", board.create_queue(CHANGED_QUEUE))?;
        let found = or_failed("the new queue", board.get_queue(&QueueRef::Name(CHANGED_QUEUE.to_string())))?;
        equal("the id", &created.id, &found.id)?;
        let ready = or_failed("a list of cards", board.get_ready_tasks(&by_id(&created), 10))?;
        queue = Some(created);
        equal("the number of cards", &0, &ready.len())
    });
    let Some(mut queue) = queue else { return };
    checker.check("delete_queue of a queue with a card", || {
        or_failed("no error", board.move_task(cards.first(), &by_id(&queue), None))?;
        let deleted = fails_with(&[BoardErrorCode::Conflict], board.delete_queue(&by_id(&queue)));
        let card = or_failed("the card, still there", board.get_task(cards.first()));
        or_failed("no error", board.move_task(cards.first(), &cards.queue(), None))?;
        deleted?;
        equal("the queue of the card", &queue.id, &card?.queue)
    });
    checker.check("update_queue", || {
        let renamed = or_failed("the queue", board.update_queue(&by_id(&queue), RENAMED_QUEUE))?;
        let old = QueueRef::Name(CHANGED_QUEUE.to_string());
        queue = or_failed("the queue", board.get_queue(&QueueRef::Name(RENAMED_QUEUE.to_string())))?;
        equal("the id", &renamed.id, &queue.id)?;
        fails_with(&[BoardErrorCode::NotFound], board.get_queue(&old))
    });
    checker.check("delete_queue", || {
        or_failed("no error", board.delete_queue(&by_id(&queue)))?;
        fails_with(&[BoardErrorCode::NotFound], board.get_queue(&by_id(&queue)))
    });
    checker.check("delete_queue of an unknown queue", || {
        fails_with(&[BoardErrorCode::NotFound], board.delete_queue(&unknown()))
    });
}

/// Moves the cards back, and removes the second queue if the checks created it.
pub(super) fn remove(
    board: &mut dyn Board,
    cards: &CardChecks,
    other: &OtherQueue,
    checker: &mut CheckRunner<'_>,
) {
    checker.check("cleaning up", || {
        for card in cards.ids() {
            or_failed("no error", board.move_task(card, &cards.queue(), None))?;
        }
        if other.is_ours {
            or_failed("no error", board.delete_queue(&by_id(&other.queue)))?;
        }
        Ok(())
    });
}
