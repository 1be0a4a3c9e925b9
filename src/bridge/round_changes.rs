//! What a bridge has done to the cards of a board in one round.

use std::collections::BTreeMap;

use crate::model::bridge::record::CardRecord;

/// What a bridge has done to a card since it last looked whether that is still there.
#[derive(Debug, Default)]
pub(super) struct CardChanges {
    /// What it remembered of the card before.
    pub(super) before: CardRecord,
    /// The markers of the comments that it has added.
    pub(super) markers: Vec<String>,
    /// Whether it has changed the texts of the card.
    pub(super) is_edited: bool,
}

/// The changes of a round, by card.
pub(super) type RoundChanges = BTreeMap<String, CardChanges>;
