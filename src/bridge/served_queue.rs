//! Finds the queues that a bridge's settings name on its board.

use std::time::Instant;

use super::board::{Board, BoardError, BoardErrorCode, BoardQueue, BoardResult, QueueRef};
use super::queue_flow;
use super::settings::{CardRetry, MoveOn, WatchedQueue};
use crate::model::bridge::place::{CardPlace, PlaceRules};

/// A watched queue, with the queues of the board that its settings name. A queue is known by its id from then on, so
/// that it may be renamed.
#[derive(Debug)]
pub(crate) struct ServedQueue {
    /// The settings.
    pub settings: WatchedQueue,
    /// The queue itself.
    pub source: BoardQueue,
    /// Where its cards go when work on them begins.
    pub in_progress: Option<BoardQueue>,
    /// Where they go when their task has completed.
    pub done: Option<BoardQueue>,
    /// Where they go when it has failed.
    pub failed: Option<BoardQueue>,
    /// Where they go when it has died.
    pub dead_letter: Option<BoardQueue>,
    /// When it is read next; `None` for now.
    pub next_poll: Option<Instant>,
}

/// Where a card should go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CardTarget {
    /// To this queue.
    Queue(BoardQueue),
    /// To the queue that the agent has named.
    Named(String),
    /// Nowhere.
    Stay,
}

impl ServedQueue {
    /// Finds the queues of a watched queue.
    ///
    /// # Errors
    /// `NotFound` or `Invalid` for a name that stands for none or several; `Invalid` for a queue that would be emptied
    /// into itself; those of the board.
    pub(crate) fn find(board: &mut dyn Board, settings: &WatchedQueue) -> BoardResult<Self> {
        let source = board.get_queue(&settings.queue)?;
        let mut find = |target: &Option<QueueRef>, key: &str| -> BoardResult<Option<BoardQueue>> {
            let Some(target) = target else { return Ok(None) };
            let found = find_near(board, &source.name, target)?;
            if found.id == source.id {
                let message =
                    format!("{key}: {target} is the watched queue itself; name another queue, or null");
                return Err(BoardError::new(BoardErrorCode::Invalid, message));
            }
            Ok(Some(found))
        };
        Ok(Self {
            in_progress: find(&settings.in_progress, "in_progress")?,
            done: find(&settings.done, "done")?,
            failed: find(&settings.failed, "failed")?,
            dead_letter: find(&settings.dead_letter, "dead_letter")?,
            settings: settings.clone(),
            source,
            next_poll: None,
        })
    }

    /// Returns the rules for the place of its cards.
    pub(crate) fn rules(&self) -> PlaceRules {
        PlaceRules {
            leave_when_claimed: self.settings.move_on == MoveOn::Claim,
            back_for_retry: self.settings.retry == CardRetry::Move,
        }
    }

    /// Returns where a card at `place` goes.
    pub(crate) fn target(&self, place: CardPlace) -> CardTarget {
        let queue = match place {
            CardPlace::Named(name) => return CardTarget::Named(name),
            CardPlace::Stay => None,
            CardPlace::Source => Some(&self.source),
            CardPlace::InProgress => self.in_progress.as_ref(),
            CardPlace::Done => self.done.as_ref(),
            CardPlace::Failed => self.failed.as_ref(),
            CardPlace::DeadLetter => self.dead_letter.as_ref().or(self.failed.as_ref()),
        };
        queue.map_or(CardTarget::Stay, |queue| CardTarget::Queue(queue.clone()))
    }

    /// Returns whether others can see on the board that a card of it was taken.
    pub(crate) fn shows_what_is_taken(&self) -> bool {
        self.in_progress.is_some() && self.settings.move_on == MoveOn::Submit
    }
}

/// Finds the queue that `target` names next to the queue with the full name `beside`: `Done` next to `App.Work.Todo` is
/// `App.Work.Done`, if that exists.
///
/// # Errors
/// As [`Board::get_queue`].
pub(crate) fn find_near(board: &mut dyn Board, beside: &str, target: &QueueRef) -> BoardResult<BoardQueue> {
    if let QueueRef::Name(name) = target
        && let Some((parent, _)) = beside.rsplit_once('.')
        && !name.starts_with(&format!("{parent}."))
    {
        match board.get_queue(&QueueRef::Name(format!("{parent}.{name}"))) {
            Err(error) if error.code == BoardErrorCode::NotFound => {}
            found => return found,
        }
    }
    board.get_queue(target)
}

/// Finds all watched queues of a bridge.
///
/// # Errors
/// As [`ServedQueue::find`]; `Invalid` when two of them are one, or when the cards of one wait for work in another.
pub(crate) fn find_queues(board: &mut dyn Board, watched: &[WatchedQueue]) -> BoardResult<Vec<ServedQueue>> {
    let mut queues: Vec<ServedQueue> = Vec::new();
    for settings in watched {
        let queue = ServedQueue::find(board, settings)?;
        if let Some(other) = queues.iter().find(|other| other.source.id == queue.source.id) {
            let message = format!(
                "{} and {} are the same queue; remove one of them",
                other.settings.queue, queue.settings.queue
            );
            return Err(BoardError::new(BoardErrorCode::Invalid, message));
        }
        queues.push(queue);
    }
    for queue in &queues {
        let Some(target) = &queue.in_progress else { continue };
        if queues.iter().any(|other| other.source.id == target.id) {
            let message = format!(
                "in_progress of {}: {} is watched itself; name a queue that is not",
                queue.settings.queue, target.name
            );
            return Err(BoardError::new(BoardErrorCode::Invalid, message));
        }
    }
    check_circles(&queues)?;
    Ok(queues)
}

/// Refuses queues that lead back to themselves, however they are named.
fn check_circles(queues: &[ServedQueue]) -> BoardResult<()> {
    let index = |target: &Option<BoardQueue>| {
        target.as_ref().and_then(|target| queues.iter().position(|other| other.source.id == target.id))
    };
    let next = |queue: &ServedQueue| {
        let keys = [("done", &queue.done), ("failed", &queue.failed), ("dead_letter", &queue.dead_letter)];
        keys.into_iter().filter_map(|(key, target)| Some((key, index(target)?))).collect()
    };
    let Some((at, key)) = queue_flow::circle(&queues.iter().map(next).collect::<Vec<_>>()) else {
        return Ok(());
    };
    let message = format!("queue {}: {key} {}", queues[at].settings.queue, queue_flow::BACK);
    Err(BoardError::new(BoardErrorCode::Invalid, message))
}
