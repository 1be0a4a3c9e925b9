//! Checks of the operations on cards.

use super::{CheckRunner, by_id, equal, fails_with, holds, or_failed, skipped};
use crate::bridge::board::{Board, BoardErrorCode, BoardQueue, Card, CardChange, NewCard, QueueRef};
use crate::model::Time;
use crate::store::Entropy;

/// A card that no board has.
const UNKNOWN: &str = "lanes-bridge-test-no-such-card";
/// What a description must keep.
const DESCRIPTION: &str =
    "First line\n\nÜmlaut, 漢字, 🙂, \"quotes\", 'more', a \\ and `code`.\n\n* a list\n* of two";
/// Length of a long comment in bytes: that of the longest answer that a bridge writes.
const LONG_COMMENT: usize = 16 * 1024;

/// Two cards in the scratch queue.
pub(super) struct CardChecks {
    queue: BoardQueue,
    cards: Vec<Card>,
    /// Differs from run to run, because comments stay.
    run: String,
}

impl CardChecks {
    /// Creates the cards, or finds those of an earlier run. Returns `None` if there are not two.
    pub(super) fn create(
        board: &mut dyn Board,
        queue: &BoardQueue,
        checker: &mut CheckRunner<'_>,
    ) -> Option<Self> {
        let mut cards = Vec::new();
        for number in 1..=2 {
            let new = new_card(by_id(queue), number);
            checker.check(&format!("create_task ({number} of 2)"), || {
                let card = or_failed("a card", board.create_task(&new))?;
                holds(!card.id.is_empty(), "a card with an id", "an empty id")?;
                // The card of an earlier run may be anywhere, with another text.
                or_failed("no error", board.move_task(&card.id, &by_id(queue), None))?;
                let change = CardChange {
                    name: Some(new.name.clone()),
                    description: Some(new.description.clone()),
                    ..CardChange::default()
                };
                or_failed("no error", board.update_task(&card.id, &change))?;
                cards.push(card);
                Ok(())
            });
        }
        if cards.len() < 2 {
            return None;
        }
        let run = Entropy::system().next(Time::from_micros(0));
        Some(Self { queue: queue.clone(), cards, run: format!("{run:032x}") })
    }

    /// Returns the scratch queue.
    pub(super) fn queue(&self) -> QueueRef {
        by_id(&self.queue)
    }

    /// Returns the id of the first card.
    pub(super) fn first(&self) -> &str {
        &self.cards[0].id
    }

    /// Returns the ids of the cards.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.cards.iter().map(|card| card.id.as_str())
    }

    /// Returns the cards.
    pub(super) fn into_cards(self) -> Vec<Card> {
        self.cards
    }

    /// Checks everything but moves.
    pub(super) fn check(&self, board: &mut dyn Board, checker: &mut CheckRunner<'_>) {
        self.check_creating(board, checker);
        self.check_reading(board, checker);
        self.check_changing(board, checker);
        self.check_comments(board, checker);
        self.check_assigning(board, checker);
    }

    fn check_creating(&self, board: &mut dyn Board, checker: &mut CheckRunner<'_>) {
        checker.check("create_task gives each card an id of its own", || {
            holds(self.cards[0].id != self.cards[1].id, "two ids", format!("'{}' twice", self.first()))
        });
        checker.check("create_task with a key that is known", || {
            let again = or_failed("the card", board.create_task(&new_card(self.queue(), 1)))?;
            equal("the id", &self.cards[0].id, &again.id)
        });
        checker.check("create_task in an unknown queue", || {
            let queue = QueueRef::Name("lanes-bridge-test-no-such-queue".to_string());
            let new = NewCard { key: Some(format!("lanes-bridge-test-{}", self.run)), ..new_card(queue, 3) };
            fails_with(&[BoardErrorCode::NotFound], board.create_task(&new))
        });
    }

    fn check_reading(&self, board: &mut dyn Board, checker: &mut CheckRunner<'_>) {
        checker.check("get_task", || {
            let card = or_failed("the card", board.get_task(self.first()))?;
            let expected = new_card(self.queue(), 1);
            equal("the id", &self.cards[0].id, &card.id)?;
            equal("the id of its queue", &self.queue.id, &card.queue)?;
            equal("the name", &expected.name, &card.name)?;
            equal("the description", &expected.description.as_str(), &card.description.trim_end())
        });
        checker.check("get_task of an unknown card", || {
            fails_with(&[BoardErrorCode::NotFound], board.get_task(UNKNOWN))
        });
        checker.check("get_ready_tasks", || {
            let ready = or_failed("a list of cards", board.get_ready_tasks(&self.queue(), 1000))?;
            for card in self.ids() {
                let found = ready.iter().filter(|ready| ready.id == card).count();
                equal(&format!("the card '{card}' so many times:"), &1, &found)?;
            }
            let by_name = QueueRef::Name(self.queue.name.clone());
            match board.get_ready_tasks(&by_name, 1000) {
                // The queue was given by its id, because its name is not unique.
                Err(error) if error.code == BoardErrorCode::Invalid => Ok(()),
                named => equal(
                    "by the name of the queue, the number of cards",
                    &ready.len(),
                    &or_failed("a list of cards", named)?.len(),
                ),
            }
        });
        checker.check("get_ready_tasks with a limit", || {
            let ready = or_failed("a list of cards", board.get_ready_tasks(&self.queue(), 1))?;
            equal("the number of cards", &1, &ready.len())
        });
        checker.check("get_ready_tasks has the same cards as get_task", || {
            let ready = or_failed("a list of cards", board.get_ready_tasks(&self.queue(), 1000))?;
            let Some(listed) = ready.into_iter().find(|card| card.id == self.first()) else {
                return skipped("the card is not in the list");
            };
            let card = or_failed("the card", board.get_task(self.first()))?;
            equal("the name", &card.name, &listed.name)?;
            equal("the description", &card.description, &listed.description)?;
            equal("the labels", &card.labels, &listed.labels)?;
            equal("the generation", &card.generation, &listed.generation)
        });
    }

    fn check_changing(&self, board: &mut dyn Board, checker: &mut CheckRunner<'_>) {
        checker.check("update_task changes the name alone", || {
            let change = CardChange { name: Some("Another name".to_string()), ..CardChange::default() };
            or_failed("no error", board.update_task(self.first(), &change))?;
            let card = or_failed("the card", board.get_task(self.first()))?;
            equal("the name", &"Another name", &card.name.as_str())?;
            equal("the description", &DESCRIPTION, &card.description.trim_end())
        });
        checker.check("update_task changes the description alone", || {
            let change = CardChange { description: Some("Short".to_string()), ..CardChange::default() };
            or_failed("no error", board.update_task(self.first(), &change))?;
            let card = or_failed("the card", board.get_task(self.first()))?;
            equal("the name", &"Another name", &card.name.as_str())?;
            equal("the description", &"Short", &card.description.trim_end())
        });
        checker.check("update_task of an unknown card", || {
            let change = CardChange { name: Some("Another name".to_string()), ..CardChange::default() };
            fails_with(&[BoardErrorCode::NotFound], board.update_task(UNKNOWN, &change))
        });
        checker.check("update_task replaces the labels", || {
            if !board.identity().can.labels {
                return skipped("it has no labels");
            }
            for labels in [vec!["lanes-test-a".to_string(), "lanes-test-b".to_string()], Vec::new()] {
                let change = CardChange { labels: Some(labels.clone()), ..CardChange::default() };
                or_failed("no error", board.update_task(self.first(), &change))?;
                let mut came = or_failed("the card", board.get_task(self.first()))?.labels;
                came.sort_unstable();
                equal("the labels", &labels, &came)?;
            }
            Ok(())
        });
    }

    fn check_comments(&self, board: &mut dyn Board, checker: &mut CheckRunner<'_>) {
        let count = |board: &mut dyn Board, marker: &str| {
            let card = or_failed("the card", board.get_task(self.first()))?;
            Ok(card.comments.iter().filter(|comment| comment.text.contains(marker)).count())
        };
        let marker = format!("_lanes-bridge-test {} 1_", self.run);
        checker.check("add_comment", || {
            let text = format!("{DESCRIPTION}\n\n{marker}");
            or_failed("no error", board.add_comment(self.first(), &text, &marker))?;
            let card = or_failed("the card", board.get_task(self.first()))?;
            let comment = card.comments.iter().find(|comment| comment.text.contains(&marker));
            let came = comment.map(|comment| comment.text.trim_end());
            equal("the comment", &Some(text.as_str()), &came)
        });
        checker.check("add_comment with a marker that is there", || {
            let text = format!("Another text\n\n{marker}");
            or_failed("no error", board.add_comment(self.first(), &text, &marker))?;
            equal("the number of comments with the marker", &1, &count(board, &marker)?)
        });
        checker.check("add_comment of 16 KiB", || {
            let marker = format!("_lanes-bridge-test {} 2_", self.run);
            let text = format!("{}\n\n{marker}", "long ".repeat((LONG_COMMENT - marker.len() - 2) / 5));
            or_failed("no error", board.add_comment(self.first(), &text, &marker))?;
            equal("the number of comments with the marker", &1, &count(board, &marker)?)
        });
        checker.check("add_comment on an unknown card", || {
            fails_with(&[BoardErrorCode::NotFound], board.add_comment(UNKNOWN, &marker, &marker))
        });
    }

    fn check_assigning(&self, board: &mut dyn Board, checker: &mut CheckRunner<'_>) {
        let identity = board.identity().clone();
        checker.check("update_task assigns, once", || {
            let Some(user) = &identity.user else { return skipped("it has no users") };
            let nobody = CardChange { assignees: Some(Vec::new()), ..CardChange::default() };
            or_failed("no error", board.update_task(self.first(), &nobody))?;
            let first = or_failed("no error", board.assign_task(self.first()))?;
            holds(first, "a result for the first", "the error conflict")?;
            let assignees = or_failed("the card", board.get_task(self.first()))?.assignees;
            holds(
                assignees.contains(&user.name),
                format!("the assignee '{}'", user.name),
                format!("{assignees:?}"),
            )?;
            let second = or_failed("no error", board.assign_task(self.first()))?;
            holds(!second, "the error conflict for the second", "a result")?;
            or_failed("no error", board.update_task(self.first(), &nobody))
        });
    }

    /// Checks moves between the scratch queue and another one.
    pub(super) fn check_moves(
        &self,
        board: &mut dyn Board,
        other: &BoardQueue,
        checker: &mut CheckRunner<'_>,
    ) {
        let (card, here, there) = (self.first(), self.queue(), by_id(other));
        let has_card = |board: &mut dyn Board, queue: &QueueRef| {
            let ready = or_failed("a list of cards", board.get_ready_tasks(queue, 1000))?;
            Ok(ready.iter().any(|ready| ready.id == card))
        };
        checker.check("move_task", || {
            let before = or_failed("the card", board.get_task(card))?;
            or_failed("no error", board.move_task(card, &there, Some(&here)))?;
            let after = or_failed("the card", board.get_task(card))?;
            equal("the id of its queue", &other.id, &after.queue)?;
            equal("the name", &before.name, &after.name)?;
            equal("the description", &before.description, &after.description)?;
            equal("the number of comments", &before.comments.len(), &after.comments.len())?;
            holds(!has_card(board, &here)?, "the card to be gone from the first queue", "it is there")?;
            holds(has_card(board, &there)?, "the card in the second queue", "it is not there")
        });
        checker.check("move_task to the queue it is in", || {
            or_failed("no error", board.move_task(card, &there, None))?;
            or_failed("no error", board.move_task(card, &there, Some(&here)))?;
            equal("the id of its queue", &other.id, &or_failed("the card", board.get_task(card))?.queue)
        });
        checker.check("move_task of a card that is elsewhere", || {
            fails_with(&[BoardErrorCode::Conflict], board.move_task(card, &here, Some(&here)))?;
            equal("the id of its queue", &other.id, &or_failed("the card", board.get_task(card))?.queue)
        });
        checker.check("move_task to an unknown queue", || {
            let unknown = QueueRef::Name("lanes-bridge-test-no-such-queue".to_string());
            // The card is there: `not_found` would mean that it is not.
            fails_with(&[BoardErrorCode::Invalid], board.move_task(card, &unknown, None))
        });
        checker.check("move_task of an unknown card", || {
            fails_with(&[BoardErrorCode::NotFound], board.move_task(UNKNOWN, &there, None))
        });
        checker.check("generation", || {
            if !board.identity().can.generation {
                return skipped("its cards have none");
            }
            let generation =
                |board: &mut dyn Board| Ok(or_failed("the card", board.get_task(card))?.generation);
            let first = generation(board)?;
            holds(first.is_some(), "a card with a generation", "none")?;
            let change = CardChange { name: Some("Another name".to_string()), ..CardChange::default() };
            or_failed("no error", board.update_task(card, &change))?;
            equal("after a change, the generation", &first, &generation(board)?)?;
            or_failed("no error", board.move_task(card, &here, None))?;
            or_failed("no error", board.move_task(card, &there, None))?;
            let moved = generation(board)?;
            holds(moved != first, "after moves, another generation", format!("{moved:?} again"))
        });
    }
}

fn new_card(queue: QueueRef, number: usize) -> NewCard {
    NewCard {
        queue,
        name: format!("Card {number} of `lanes bridge test`"),
        description: DESCRIPTION.to_string(),
        key: Some(format!("lanes-bridge-test-{number}")),
    }
}
