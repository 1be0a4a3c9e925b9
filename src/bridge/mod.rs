//! `lanes bridge`: turns the cards of an outside board into tasks, and what becomes of the tasks into comments and moves.
//!
//! - [`board`] is what a bridge knows of a board: its cards, its eleven operations, and how they fail.
//! - [`json_board`] is the board that is a JSON file.
//! - [`adapter`] is a board behind a program that speaks the adapter protocol.
//! - [`conformance`] checks whether a board behaves as it should, for the authors of adapters.
//! - `planka` is the board of a Planka server.
//! - [`runner`] runs a bridge in rounds ([`round`]): first what the tasks have to tell their cards ([`outbound`]), then
//!   which new cards there are ([`inbound`]). [`card_tasks`] finds the tasks of a card. All are made of the operations in
//!   [`engine`], and follow the rules in `model/bridge/`.
//! - [`supervisor`] runs several bridges, and follows changes of the configuration.
//! - [`confirmation`] looks whether other programs have written a board over meanwhile, and does again what
//!   was undone ([`round_changes`]).
//! - [`settings`] is what `handoff.yaml` says of it, read by [`config`]; [`queue_flow`] checks where its queues lead,
//!   and [`check`] whether they are on the board.

pub(crate) mod adapter;
mod backoff;
pub(crate) mod board;
mod card_tasks;
pub(crate) mod check;
pub(crate) mod config;
mod confirmation;
pub(crate) mod conformance;
mod connect;
pub(crate) mod engine;
pub(crate) mod event;
pub(crate) mod import;
mod inbound;
pub(crate) mod json_board;
mod outbound;
#[cfg(feature = "planka")]
pub(crate) mod planka;
mod prompt;
mod queue_flow;
mod rate_limit;
mod recovery;
mod registration;
mod round;
mod round_changes;
pub(crate) mod runner;
mod served_queue;
pub(crate) mod settings;
pub(crate) mod stop;
pub(crate) mod supervisor;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
