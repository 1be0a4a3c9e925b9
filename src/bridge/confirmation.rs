//! Makes sure that what was done to a card is still there.
//!
//! An editor or a script that writes a whole board has read it before. What a bridge has done in between is undone by that,
//! and a card that is back in its queue must not pass for one that a person has put there again. Such a board is therefore
//! looked at once more, and what was undone is done again: every operation may be repeated.

use super::board::{BoardError, BoardErrorCode};
use super::engine::{Bridge, BridgeFailure, StepResult};
use super::round_changes::{CardChanges, RoundChanges};

/// How often in a round is done again what was undone.
const MAX_REPEATS: u32 = 10;

impl Bridge<'_> {
    /// Notes that a card was moved.
    pub(super) fn note_moved(&mut self, card: &str) {
        self.changes_of(card);
    }

    /// Notes that a card has got the comment with this marker.
    pub(super) fn note_commented(&mut self, card: &str, marker: &str) {
        self.changes_of(card).markers.push(marker.to_string());
    }

    /// Notes that the texts of a card were changed.
    pub(super) fn note_edited(&mut self, card: &str) {
        self.changes_of(card).is_edited = true;
    }

    fn changes_of(&mut self, card: &str) -> &mut CardChanges {
        let before = self.records.cards.get(card);
        self.changes.entry(card.to_string()).or_insert_with(|| CardChanges {
            before: before.cloned().unwrap_or_default(),
            ..CardChanges::default()
        })
    }

    /// Looks whether what was done is still there, and does again what is not.
    ///
    /// # Errors
    /// When the board or the store fails. What was not seen on the board is then remembered as not done.
    pub(super) fn confirm_changes(&mut self) -> StepResult<()> {
        for _ in 0..MAX_REPEATS {
            if self.changes.is_empty() || !self.board.was_written_over() {
                self.changes.clear();
                return Ok(());
            }
            let changes = std::mem::take(&mut self.changes);
            if let Err(failure) = self.repeat_undone(changes) {
                self.forget_changes();
                return Err(failure);
            }
        }
        self.forget_changes();
        let message = "another program keeps overwriting the board";
        Err(BridgeFailure::Board(BoardError::new(BoardErrorCode::Unavailable, message)))
    }

    /// Does again what is undone. After a failure, `self.changes` has what may be undone.
    fn repeat_undone(&mut self, mut changes: RoundChanges) -> StepResult<()> {
        while let Some((card, change)) = changes.pop_first() {
            let repeated = match self.is_undone(&card, &change) {
                Ok(false) => Ok(()),
                Ok(true) => {
                    self.set_back(&card, &change);
                    self.update_cards(std::slice::from_ref(&card))
                }
                Err(failure) => {
                    changes.insert(card, change);
                    Err(failure)
                }
            };
            if repeated.is_err() {
                self.changes.append(&mut changes);
                return repeated;
            }
        }
        Ok(())
    }

    /// Remembers of all changes that they were not made.
    fn forget_changes(&mut self) {
        for (card, change) in std::mem::take(&mut self.changes) {
            self.set_back(&card, &change);
        }
    }

    fn is_undone(&mut self, card: &str, changes: &CardChanges) -> StepResult<bool> {
        let found = match self.board.get_task(card) {
            Ok(found) => found,
            // The next look at the queue finds out what that means.
            Err(error) if error.code == BoardErrorCode::NotFound => return Ok(false),
            Err(error) => return self.step(card, Err(error)).map(|_| false),
        };
        let placed = self.records.cards.get(card).and_then(|record| record.placed.as_deref());
        let is_back = placed != Some(found.queue.as_str())
            && changes.before.placed.as_deref() == Some(found.queue.as_str());
        let has = |marker: &String| found.comments.iter().any(|comment| comment.text.contains(marker));
        Ok(is_back || changes.is_edited || !changes.markers.iter().all(has))
    }

    /// Remembers of a card that its last changes were not made.
    fn set_back(&mut self, card: &str, changes: &CardChanges) {
        let Some(record) = self.records.cards.get_mut(card) else { return };
        let before = &changes.before;
        record.placed.clone_from(&before.placed);
        (record.event, record.left, record.settled) = (before.event, before.left, false);
    }
}
