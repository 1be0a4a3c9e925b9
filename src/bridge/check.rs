//! Checks whether a bridge can work: who it is on the board, and whether the queues of its settings are there.

use super::board::{Board, BoardError, QueueRef};
use super::connect::connect;
use super::engine::BridgeContext;
use super::served_queue::{find_near, find_queues};
use super::settings::{BridgeSettings, WatchedQueue};

/// The most cards that are counted.
const MAX_CARDS: usize = 1000;

/// The result of one check of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoardFinding {
    /// Whether it is as it should be.
    pub is_ok: bool,
    /// What was found, in one line.
    pub message: String,
}

impl BoardFinding {
    /// Makes the finding of something that is as it should be.
    fn ok(message: impl Into<String>) -> Self {
        Self { is_ok: true, message: message.into() }
    }

    /// Makes the finding of a failure.
    fn failed(message: impl Into<String>) -> Self {
        Self { is_ok: false, message: message.into() }
    }
}

/// Connects to the board of a bridge and checks it. Changes nothing there.
pub(crate) fn check_bridge(context: &BridgeContext<'_>) -> Vec<BoardFinding> {
    match connect(context) {
        Ok(mut board) => check_board(board.as_mut(), context.settings),
        Err(error) => vec![BoardFinding::failed(error.message)],
    }
}

fn check_board(board: &mut dyn Board, settings: &BridgeSettings) -> Vec<BoardFinding> {
    let mut findings = vec![BoardFinding::ok(greeting(board))];
    for watched in &settings.queues {
        if let Err(error) = check_queue(board, watched, &mut findings) {
            // Further requests would end the same way.
            findings.push(BoardFinding::failed(error.message));
            return findings;
        }
    }
    if findings.iter().all(|finding| finding.is_ok)
        && let Err(error) = find_queues(board, &settings.queues)
    {
        findings.push(BoardFinding::failed(error.message));
    }
    findings
}

fn greeting(board: &dyn Board) -> String {
    let identity = board.identity();
    let user = identity.user.as_ref().map(|user| format!(" as {}", user.name)).unwrap_or_default();
    format!("connected to {} {}{user}", identity.name, identity.version)
}

/// Checks a watched queue, and where its cards go.
///
/// # Errors
/// Those that concern the whole board.
fn check_queue(
    board: &mut dyn Board,
    watched: &WatchedQueue,
    findings: &mut Vec<BoardFinding>,
) -> Result<(), BoardError> {
    let place = watched.queue.to_string();
    let source = match board.get_queue(&watched.queue).and_then(|queue| {
        let cards = board.get_ready_tasks(&QueueRef::Id { id: queue.id.clone() }, MAX_CARDS)?;
        Ok((queue, cards.len()))
    }) {
        Ok((queue, count)) => {
            let cards = if count == 1 { "1 card".to_string() } else { format!("{count} cards") };
            findings.push(BoardFinding::ok(format!("queue {place} → lane {}: {cards}", watched.lane)));
            queue
        }
        Err(error) => return note(findings, &format!("queue {place}"), error),
    };
    let targets = [
        ("in_progress", &watched.in_progress),
        ("done", &watched.done),
        ("failed", &watched.failed),
        ("dead_letter", &watched.dead_letter),
    ];
    for (key, target) in targets {
        let Some(target) = target else { continue };
        if let Err(error) = find_near(board, &source.name, target) {
            note(findings, &format!("queue {place}: {key}"), error)?;
        }
    }
    Ok(())
}

/// Notes an error about one queue, and returns one about the whole board.
fn note(findings: &mut Vec<BoardFinding>, what: &str, error: BoardError) -> Result<(), BoardError> {
    if error.code.concerns_whole_board() {
        return Err(error);
    }
    findings.push(BoardFinding::failed(format!("{what}: {}", error.message)));
    Ok(())
}
