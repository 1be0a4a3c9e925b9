//! Checks of what only a program has: messages, versions, its end.

use serde_json::json;

use super::{CheckRunner, LeftBehind, equal, fails_with, holds, or_failed, skipped};
use crate::bridge::adapter::{AdapterProgram, ProgramBoard};
use crate::bridge::board::{Board as _, BoardErrorCode};

/// A version of the protocol that does not exist.
const NEWER_PROTOCOL: u64 = 1000;

/// Makes the checks; `left` is what the others have left on the board.
pub(super) fn check(
    mut board: ProgramBoard,
    program: &AdapterProgram,
    left: Option<&LeftBehind>,
    checker: &mut CheckRunner<'_>,
) {
    checker.check("an unknown method", || {
        let result = board.call("lanes_bridge_test", json!({}));
        fails_with(&[BoardErrorCode::Unsupported], result)
    });
    checker.check("an unknown parameter", || {
        or_failed("a result", board.call("list_queues", json!({"lanes_bridge_test": true}))).map(drop)
    });
    checker.check("a request without a parameter that it needs", || {
        fails_with(&[BoardErrorCode::Invalid], board.call("get_task", json!({})))
    });
    checker.check("shutdown", || {
        let is_over = or_failed("an answer", board.end_by_shutdown())?;
        holds(is_over, "the exit of the program within 5 seconds", "none")
    });
    checker.check("a program that is started again knows the cards", || {
        let mut board = or_failed("an answer to initialize", ProgramBoard::connect(program.clone()))?;
        let Some(card) = left.and_then(|left| left.cards.first()) else {
            return skipped("there are no cards");
        };
        let found = or_failed("the card", board.get_task(&card.id))?;
        equal("the id", &card.id, &found.id)
    });
    checker.check("the end of its standard input", || {
        let mut board = or_failed("an answer to initialize", ProgramBoard::connect(program.clone()))?;
        holds(board.end_by_closing(), "the exit of the program within 5 seconds", "none")
    });
    checker.check("initialize with a newer version of the protocol", || {
        // It either names the version that it speaks, or refuses.
        match ProgramBoard::connect_with(program.clone(), NEWER_PROTOCOL) {
            Ok(_) => Ok(()),
            result => fails_with(&[BoardErrorCode::Invalid, BoardErrorCode::Unsupported], result),
        }
    });
}
