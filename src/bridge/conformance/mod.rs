//! Checks whether a board behaves as the adapter protocol says (`docs/bridge.md`): the eleven operations and their
//! errors, on two cards in a scratch queue. `lanes bridge test` runs them for the authors of adapters, and the tests of
//! the built-in boards run them too.
//!
//! The protocol cannot delete cards, so the cards stay in the scratch queue. They are created with keys that are always
//! the same, so that the next run finds them again and a board does not fill up with them.

mod cards;
mod program;
mod queues;

use std::fmt::{Debug, Display};
use std::time::Duration;

use self::cards::CardChecks;
use super::adapter::{AdapterProgram, ProgramBoard};
use super::board::{Board, BoardError, BoardErrorCode, BoardQueue, BoardResult, Card, QueueRef};
use crate::error::brief;

/// The name of the scratch queue, unless there is another one.
pub(crate) const SCRATCH_QUEUE: &str = "lanes-bridge-test";
/// Number of failures of an adapter's process after which the checks end.
const MAX_PROCESS_FAILURES: usize = 3;
/// Maximum time for which a check waits until an adapter may be started again.
const MAX_RESTART_WAIT: Duration = Duration::from_secs(5);

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckOutcome {
    /// The board behaved as expected.
    Passed,
    /// It did not.
    Failed {
        /// What was expected.
        expected: String,
        /// What came instead.
        came: String,
    },
    /// It was not checked, for this reason.
    Skipped(String),
}

/// A check that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckReport {
    /// What was checked.
    pub name: String,
    /// The result.
    pub outcome: CheckOutcome,
}

/// The queues that the checks may use, besides those that they create.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScratchQueues {
    /// The queue of the cards; without it, [`SCRATCH_QUEUE`] is created.
    pub queue: Option<QueueRef>,
    /// Another one, for moves; without it, one is created.
    pub other: Option<QueueRef>,
}

/// The number of checks with each result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckCounts {
    /// Those that passed.
    pub passed: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that were not made.
    pub skipped: usize,
}

/// Receives the checks as they are made.
pub(crate) type OnCheck<'a> = &'a mut dyn FnMut(&CheckReport);

/// Checks an adapter. Returns the counts, and what was left on the board, for people.
pub(crate) fn check_program(
    program: &AdapterProgram,
    scratch: &ScratchQueues,
    on_check: OnCheck<'_>,
) -> (CheckCounts, Option<String>) {
    let mut checker = CheckRunner::new(on_check);
    let mut connected = None;
    checker.check("initialize", || {
        connected = Some(or_failed("an answer to initialize", ProgramBoard::connect(program.clone()))?);
        Ok(())
    });
    let Some(mut board) = connected else { return (checker.counts, None) };
    let left = board_checks(&mut board, scratch, &mut checker);
    program::check(board, program, left.as_ref(), &mut checker);
    (checker.counts, left.map(|left| left.describe()))
}

/// Checks a board. Returns the counts.
#[cfg(test)]
pub(crate) fn check_board(
    board: &mut dyn Board,
    scratch: &ScratchQueues,
    on_check: OnCheck<'_>,
) -> CheckCounts {
    let mut checker = CheckRunner::new(on_check);
    board_checks(board, scratch, &mut checker);
    checker.counts
}

/// What the checks leave on a board.
struct LeftBehind {
    queue: BoardQueue,
    cards: Vec<Card>,
}

impl LeftBehind {
    fn describe(&self) -> String {
        let cards = match self.cards.len() {
            1 => "1 card".to_string(),
            count => format!("{count} cards"),
        };
        format!(
            "{cards} of this test stay in the queue {}: the protocol cannot delete cards",
            brief(&self.queue.name)
        )
    }
}

/// Makes the checks that every board has to pass.
fn board_checks(
    board: &mut dyn Board,
    scratch: &ScratchQueues,
    checker: &mut CheckRunner<'_>,
) -> Option<LeftBehind> {
    queues::check_reading(board, checker);
    let queue = queues::scratch_queue(board, scratch, checker)?;
    let cards = CardChecks::create(board, &queue, checker);
    if let Some(cards) = &cards {
        cards.check(board, checker);
        let other = queues::other_queue(board, scratch, checker);
        if let Some(other) = &other {
            cards.check_moves(board, &other.queue, checker);
        }
        queues::check_changing(board, cards, checker);
        if let Some(other) = other {
            queues::remove(board, cards, &other, checker);
        }
    }
    cards.map(|cards| LeftBehind { queue, cards: cards.into_cards() })
}

/// Runs checks and counts their results.
struct CheckRunner<'a> {
    on_check: OnCheck<'a>,
    counts: CheckCounts,
    process_failures: usize,
}

/// Why a check did not pass.
enum NotPassed {
    Failed { expected: String, came: String, error: Option<BoardError> },
    Skipped(String),
}

type Check = Result<(), NotPassed>;

impl<'a> CheckRunner<'a> {
    fn new(on_check: OnCheck<'a>) -> Self {
        Self { on_check, counts: CheckCounts::default(), process_failures: 0 }
    }

    /// Makes a check and reports it. Returns whether it passed.
    fn check(&mut self, name: &str, check: impl FnOnce() -> Check) -> bool {
        let outcome = if self.process_failures >= MAX_PROCESS_FAILURES {
            CheckOutcome::Skipped(format!("the adapter failed {MAX_PROCESS_FAILURES} times"))
        } else {
            self.outcome(check())
        };
        match outcome {
            CheckOutcome::Passed => self.counts.passed += 1,
            CheckOutcome::Failed { .. } => self.counts.failed += 1,
            CheckOutcome::Skipped(_) => self.counts.skipped += 1,
        }
        let passed = outcome == CheckOutcome::Passed;
        (self.on_check)(&CheckReport { name: name.to_string(), outcome });
        passed
    }

    fn outcome(&mut self, result: Check) -> CheckOutcome {
        match result {
            Ok(()) => CheckOutcome::Passed,
            Err(NotPassed::Skipped(why)) => CheckOutcome::Skipped(why),
            Err(NotPassed::Failed { expected, came, error }) => {
                if let Some(delay) = error.filter(|error| error.code == BoardErrorCode::Unavailable) {
                    self.process_failures += 1;
                    if self.process_failures < MAX_PROCESS_FAILURES {
                        // The next check would only find that the adapter is not running.
                        std::thread::sleep(delay.retry_after.unwrap_or_default().min(MAX_RESTART_WAIT));
                    }
                }
                CheckOutcome::Failed { expected, came }
            }
        }
    }
}

/// Fails with what was expected and what came.
fn failed<T>(expected: impl Display, came: impl Display) -> Result<T, NotPassed> {
    Err(NotPassed::Failed { expected: expected.to_string(), came: came.to_string(), error: None })
}

fn skipped<T>(why: impl Display) -> Result<T, NotPassed> {
    Err(NotPassed::Skipped(why.to_string()))
}

/// Fails unless two values are equal.
fn equal<T: PartialEq + Debug>(what: &str, expected: &T, came: &T) -> Check {
    if expected == came {
        return Ok(());
    }
    failed(format!("{what} {}", brief_debug(expected)), brief_debug(came))
}

/// Fails unless a condition holds.
fn holds(condition: bool, expected: impl Display, came: impl Display) -> Check {
    if condition { Ok(()) } else { failed(expected, came) }
}

/// Returns the value of a result, or fails.
fn or_failed<T>(expected: &str, result: BoardResult<T>) -> Result<T, NotPassed> {
    result.map_err(|error| NotPassed::Failed {
        expected: expected.to_string(),
        came: describe(&error),
        error: Some(error),
    })
}

/// Fails unless a result is an error with one of these codes.
fn fails_with<T>(codes: &[BoardErrorCode], result: BoardResult<T>) -> Check {
    let names: Vec<String> = codes.iter().map(|code| code_name(*code)).collect();
    let expected = format!("the error {}", names.join(" or "));
    match result {
        Ok(_) => failed(expected, "a result"),
        Err(error) if codes.contains(&error.code) => Ok(()),
        Err(error) => Err(NotPassed::Failed { expected, came: describe(&error), error: Some(error) }),
    }
}

fn describe(error: &BoardError) -> String {
    format!("the error {}: {}", code_name(error.code), error.message)
}

/// Returns the code as it is on the wire.
fn code_name(code: BoardErrorCode) -> String {
    serde_json::to_value(code).ok().and_then(|name| name.as_str().map(str::to_string)).unwrap_or_default()
}

/// Formats a value on one line of limited length.
fn brief_debug(value: &impl Debug) -> String {
    const MAX_CHARS: usize = 200;
    let text = format!("{value:?}");
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Returns how a queue is named without doubt.
fn by_id(queue: &BoardQueue) -> QueueRef {
    QueueRef::Id { id: queue.id.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::json_board::JsonBoard;

    #[test]
    fn a_board_that_is_a_json_file_passes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("board.json");
        std::fs::write(&path, r#"{"queues": {}}"#).unwrap();
        let mut board = JsonBoard::open(path).unwrap();
        let mut failed = Vec::new();
        let counts = check_board(&mut board, &ScratchQueues::default(), &mut |report| {
            if let CheckOutcome::Failed { .. } = report.outcome {
                failed.push(report.clone());
            }
        });
        assert_eq!(failed, []);
        assert!(counts.passed > 20, "{counts:?}");
    }
}
