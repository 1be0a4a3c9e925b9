//! `lanes bridge`: turns the cards of an outside board into tasks, and what becomes of the tasks into comments and moves.
//!
//! - [`board`] is what a bridge knows of a board: its cards, its eleven operations, and how they fail.
//! - [`settings`] is what `handoff.yaml` says of it.

pub(crate) mod board;
pub(crate) mod settings;
