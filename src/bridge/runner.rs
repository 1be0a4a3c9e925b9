//! Runs a bridge: connects to its board, makes rounds, and waits in between.

use std::time::{Duration, Instant};

use super::backoff::wait_after;
use super::board::BoardError;
use super::connect::connect;
use super::engine::{Bridge, BridgeContext, BridgeFailure, StepResult};
use super::event::{BridgeEvent, BridgeEventKind};
use super::rate_limit::RateLimited;
use super::registration::BridgeRegistration;
use crate::error::{Error, Result};
use crate::store::{FeedCursor, WorkerKind};

/// How long a board that tells of changes is listened to before the store is looked at again.
const LISTEN: Duration = Duration::from_millis(250);
/// How long a run that is about to be over is waited for until it is looked at again.
const RUN_CHECK: Duration = Duration::from_millis(250);
/// The most changes of the store that are read at once.
const MAX_CHANGES: usize = 1000;

/// How long a bridge runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BridgeLifetime {
    /// One round.
    Once,
    /// Until it is stopped, or its settings turn out to be wrong when it starts.
    UntilStopped,
    /// Until it is stopped, whatever is wrong: others run next to it.
    Persistent,
}

/// Runs a bridge.
///
/// # Errors
/// `Refused` when another process is this bridge already, or when the board fails in a way that the lifetime does not
/// allow; those of the store.
pub(crate) fn run_bridge(context: &BridgeContext<'_>, lifetime: BridgeLifetime) -> Result<()> {
    if context.dry_run {
        let mut runner =
            BridgeRunner { context, lifetime: BridgeLifetime::Once, registration: None, failures: 0 };
        return runner.run();
    }
    let name = &context.settings.name;
    let Some(_lock) = context.store.try_bridge_lock(name)? else {
        return Err(is_running(context));
    };
    let registration = BridgeRegistration::new(context.store, context.settings)?;
    BridgeRunner { context, lifetime, registration: Some(registration), failures: 0 }.run()
}

/// Makes the error about another process that is this bridge already.
fn is_running(context: &BridgeContext<'_>) -> Error {
    let name = &context.settings.name;
    let live = context.store.live_workers().unwrap_or_default();
    let holder = live.iter().find(|worker| {
        let of = worker.data.get("bridge").and_then(serde_json::Value::as_str);
        worker.kind == WorkerKind::Bridge && of == Some(name)
    });
    let holder = holder.map(|worker| format!(" as process {}, since {}", worker.pid, worker.since));
    Error::refused(format!("bridge {name} is running already{}", holder.unwrap_or_default()))
        .with_hint("stop that one first; `lanes workers` shows it")
}

struct BridgeRunner<'a> {
    context: &'a BridgeContext<'a>,
    lifetime: BridgeLifetime,
    registration: Option<BridgeRegistration>,
    /// The number of failures since the last round that was complete.
    failures: u32,
}

impl BridgeRunner<'_> {
    fn run(&mut self) -> Result<()> {
        let mut was_connected = false;
        loop {
            let error = match self.session(&mut was_connected) {
                Ok(()) | Err(BridgeFailure::Stopped) => return Ok(()),
                Err(BridgeFailure::Store(error)) => return Err(error),
                Err(BridgeFailure::Board(error)) => error,
            };
            if self.context.stop.is_set() {
                return Ok(());
            }
            let is_final = match self.lifetime {
                BridgeLifetime::Once => true,
                BridgeLifetime::UntilStopped => !was_connected && !error.code.concerns_whole_board(),
                BridgeLifetime::Persistent => false,
            };
            if is_final {
                return Err(Error::refused(format!(
                    "bridge {}: {}",
                    self.context.settings.name, error.message
                )));
            }
            self.note_failure(&error);
            let random = self.context.store.random() as u64;
            if self.context.stop.sleep(wait_after(&error, self.failures, random)) {
                return Ok(());
            }
        }
    }

    /// Serves the board until something fails.
    fn session(&mut self, was_connected: &mut bool) -> StepResult<()> {
        let context = self.context;
        let board = connect(context).map_err(BridgeFailure::Board)?;
        let board = RateLimited::new(board, context.settings.requests_per_second, context.stop);
        let mut cursor = FeedCursor::after(context.store.feed_end()?);
        let mut bridge = Bridge::open(context, Box::new(board))?;
        *was_connected = true;
        self.observe(BridgeEvent::new(BridgeEventKind::Connected, bridge.greeting()));
        let mut cards = bridge.all_cards();
        loop {
            let due = bridge.due_queues(Instant::now());
            bridge.round(&cards, &due)?;
            let problem = bridge.problem.take();
            if self.lifetime == BridgeLifetime::Once {
                return problem.map_or(Ok(()), |error| Err(BridgeFailure::Board(error)));
            }
            match problem {
                Some(error) => self.note_failure(&error),
                None => self.note_success(),
            }
            cards = self.wait(&mut bridge, &mut cursor)?;
        }
    }

    /// Waits until a queue is due or a task has changed. Returns the cards of the tasks that have.
    fn wait(&self, bridge: &mut Bridge<'_>, cursor: &mut FeedCursor) -> StepResult<Vec<String>> {
        let store = self.context.store;
        let listens = bridge.board.identity().can.watch;
        let awaited = std::mem::take(&mut bridge.awaited);
        let look_again = (!awaited.is_empty()).then(|| Instant::now() + RUN_CHECK);
        let mut watch = store.watch_feed();
        loop {
            bridge.check_stop()?;
            let changed = store.feed_after(cursor, MAX_CHANGES)?;
            let mut cards = bridge.cards_of(&changed);
            let poll = bridge.next_poll();
            let next = look_again.map_or(poll, |again| again.min(poll));
            if !cards.is_empty() || next <= Instant::now() {
                cards.extend(awaited);
                return Ok(cards);
            }
            if !listens {
                watch.wait(next);
                continue;
            }
            let left = next.saturating_duration_since(Instant::now());
            if bridge.board.wait_for_change(left.min(LISTEN)).map_err(BridgeFailure::Board)? {
                bridge.poll_now();
                return Ok(bridge.unsettled());
            }
        }
    }

    fn observe(&self, event: BridgeEvent) {
        (self.context.observe)(event);
    }

    fn note_failure(&mut self, error: &BoardError) {
        self.failures = self.failures.saturating_add(1);
        let now = self.context.store.now().wall;
        let is_new =
            self.registration.as_mut().is_none_or(|registration| registration.note_failure(error, now));
        if is_new {
            self.observe(BridgeEvent::new(BridgeEventKind::Failed, error.message.clone()));
        }
    }

    fn note_success(&mut self) {
        self.failures = 0;
        let now = self.context.store.now().wall;
        let was_failing = self.registration.as_mut().and_then(|registration| registration.note_success(now));
        if let Some(length) = was_failing {
            let message = format!("the board works again after {length}");
            self.observe(BridgeEvent::new(BridgeEventKind::Recovered, message));
        }
    }
}
