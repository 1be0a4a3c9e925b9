//! Checks whether a bridge can work: who it is on the board, and whether the queues of its settings are there.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::board::{Board, BoardError, QueueRef};
use super::connect::connect;
use super::engine::BridgeContext;
use super::served_queue::{find_near, find_queues};
use super::settings::{BridgeSettings, WatchedQueue};
use super::stop::StopFlag;

/// The most cards that are counted.
const MAX_CARDS: usize = 1000;
/// How long a check that takes too long may take to stop.
const STOP_LIMIT: Duration = Duration::from_millis(1500);

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

/// Makes several checks at the same time. `None` stands for one that has not ended within `limit`; it is told to stop
/// then, and waited for a moment, so that a program that it has started is ended.
pub(crate) fn check_all<C>(
    checks: impl IntoIterator<Item = C>,
    limit: Duration,
) -> Vec<Option<Vec<BoardFinding>>>
where
    C: FnOnce(&Arc<StopFlag>) -> Vec<BoardFinding> + Send + 'static,
{
    let stop = Arc::new(StopFlag::default());
    let (sender, receiver) = channel();
    let mut found = Vec::new();
    for (at, check) in checks.into_iter().enumerate() {
        found.push(None);
        let (sender, stop) = (sender.clone(), Arc::clone(&stop));
        // Nobody receives what comes too late.
        std::thread::spawn(move || drop(sender.send((at, check(&stop)))));
    }
    drop(sender);
    let deadline = Instant::now() + limit;
    while let Ok((at, findings)) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        found[at] = Some(findings);
    }
    stop.set();
    let deadline = Instant::now() + STOP_LIMIT;
    while receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_that_does_not_answer_keeps_no_other_from_being_checked() {
        type Check = Box<dyn FnOnce(&Arc<StopFlag>) -> Vec<BoardFinding> + Send>;
        let (ended, has_ended) = channel();
        let silent: Check = Box::new(move |stop| {
            // Until it is told to stop.
            while !stop.sleep(Duration::from_secs(600)) {}
            ended.send(()).unwrap();
            vec![BoardFinding::ok("too late")]
        });
        let good: Check = Box::new(|_| vec![BoardFinding::ok("here")]);
        let broken: Check = Box::new(|_| panic!("on purpose"));
        let found = check_all([silent, good, broken], Duration::from_millis(300));
        assert_eq!(found, [None, Some(vec![BoardFinding::ok("here")]), None]);
        assert!(has_ended.try_recv().is_ok(), "it was told to stop");
    }
}
