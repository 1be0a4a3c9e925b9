//! A bridge between a board and a store: what it knows, and the operations that its rounds are made of.
//!
//! Every operation may be repeated, so that a bridge that is killed between any two of them goes on where it was.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::sync::Arc;

use super::adapter::AdapterLog;
use super::board::{Board, BoardError, BoardErrorCode, BoardQueue, BoardResult, CardChange, QueueRef};
use super::event::{BridgeEvent, BridgeEventKind};
use super::round_changes::RoundChanges;
use super::served_queue::{ServedQueue, find_queues};
use super::settings::BridgeSettings;
use super::stop::StopFlag;
use crate::error::{Error, ErrorKind};
use crate::model::bridge::news::CardNote;
use crate::model::bridge::record::BridgeRecords;
use crate::model::{Command, TaskId};
use crate::store::Store;
use crate::workspace::Config;

/// Why a round of a bridge ended early.
#[derive(Debug)]
pub(crate) enum BridgeFailure {
    /// The board failed.
    Board(BoardError),
    /// The store failed.
    Store(Error),
    /// The bridge is being stopped.
    Stopped,
}

impl From<Error> for BridgeFailure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// The result of a step of a round.
pub(super) type StepResult<T> = Result<T, BridgeFailure>;

/// What became of an operation on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CardStep {
    /// It is done.
    Done,
    /// The card does not exist any more.
    Gone,
    /// The card is not where it was expected.
    Elsewhere,
    /// It cannot be done, now or ever; that was reported.
    Impossible,
}

/// What a bridge serves.
pub(crate) struct BridgeContext<'a> {
    /// Its settings.
    pub settings: &'a BridgeSettings,
    /// The store of its tasks.
    pub store: &'a Store,
    /// The workspace of its tasks.
    pub config: &'a Config,
    /// The environment, which may have the secrets of the board.
    pub environment: &'a [(OsString, OsString)],
    /// Receives the log of a program that serves as adapter.
    pub adapter_log: &'a AdapterLog,
    /// Tells it to stop.
    pub stop: &'a Arc<StopFlag>,
    /// Gets to know what it does.
    pub observe: &'a (dyn Fn(BridgeEvent) + Sync),
    /// Whether it only reports what it would do.
    pub dry_run: bool,
}

/// A bridge that is connected to its board.
pub(crate) struct Bridge<'a> {
    pub(super) context: &'a BridgeContext<'a>,
    pub(super) board: Box<dyn Board + 'a>,
    pub(super) queues: Vec<ServedQueue>,
    pub(super) records: BridgeRecords,
    saved: BridgeRecords,
    /// The card of each task.
    pub(super) cards: HashMap<String, String>,
    /// The cards whose task has ended in a run that is not over, so that another task may follow.
    pub(super) awaited: BTreeSet<String>,
    /// What was done and may still be undone by other programs.
    pub(super) changes: RoundChanges,
    /// The first failure of a round that concerns one queue or card, and did not stop the round.
    pub(super) problem: Option<BoardError>,
}

impl<'a> Bridge<'a> {
    /// Finds the queues on the board, and what is remembered of its cards.
    ///
    /// # Errors
    /// When a queue cannot be found, or the board or the store fails.
    pub(crate) fn open(context: &'a BridgeContext<'a>, mut board: Box<dyn Board + 'a>) -> StepResult<Self> {
        let queues = find_queues(board.as_mut(), &context.settings.queues).map_err(BridgeFailure::Board)?;
        let saved = context.store.bridge_records(&context.settings.name)?;
        let mut bridge = Self {
            context,
            board,
            queues,
            records: saved.clone().unwrap_or_default(),
            saved: saved.clone().unwrap_or_default(),
            cards: HashMap::new(),
            awaited: BTreeSet::new(),
            changes: RoundChanges::default(),
            problem: None,
        };
        if saved.is_none() {
            bridge.recover_records()?;
        }
        if bridge.records.holder.is_empty() {
            bridge.records.holder = format!("{:08x}", context.store.random() as u32);
        }
        let tasks = bridge.records.cards.iter();
        let tasks = tasks.filter_map(|(card, record)| Some((record.task.clone()?, card.clone())));
        bridge.cards = tasks.collect();
        Ok(bridge)
    }

    /// Makes what is remembered durable, if it has changed.
    pub(super) fn save(&mut self) -> StepResult<()> {
        if self.context.dry_run || self.records == self.saved {
            return Ok(());
        }
        self.context.store.save_bridge_records(&self.context.settings.name, &self.records)?;
        self.saved = self.records.clone();
        Ok(())
    }

    /// Fails if the bridge is being stopped.
    pub(super) fn check_stop(&self) -> StepResult<()> {
        if self.context.stop.is_set() { Err(BridgeFailure::Stopped) } else { Ok(()) }
    }

    /// Reports what was done, or would be.
    pub(super) fn report(&self, kind: BridgeEventKind, card: &str, task: Option<&str>, message: String) {
        (self.context.observe)(BridgeEvent {
            task_id: task.map(str::to_string),
            is_planned: self.context.dry_run && !kind.is_warning(),
            ..BridgeEvent::about(kind, card, message)
        });
    }

    /// Reports something that needs attention and concerns a card.
    pub(super) fn warn(&self, card: &str, message: impl Into<String>) {
        self.report(BridgeEventKind::Warning, card, None, message.into());
    }

    /// Returns the watched queue with this id.
    pub(super) fn queue_with_id(&self, id: &str) -> Option<usize> {
        self.queues.iter().position(|queue| queue.source.id == id)
    }

    /// Turns the failures that concern a card alone into what became of the operation.
    pub(super) fn step(&mut self, card: &str, result: BoardResult<()>) -> StepResult<CardStep> {
        let Err(error) = result else { return Ok(CardStep::Done) };
        if self.context.stop.is_set() {
            return Err(BridgeFailure::Stopped);
        }
        match error.code {
            BoardErrorCode::NotFound => Ok(CardStep::Gone),
            BoardErrorCode::Conflict => Ok(CardStep::Elsewhere),
            BoardErrorCode::Invalid | BoardErrorCode::Unsupported => {
                self.warn(card, error.message);
                Ok(CardStep::Impossible)
            }
            BoardErrorCode::Forbidden => Err(BridgeFailure::Board(error)),
            BoardErrorCode::Auth | BoardErrorCode::RateLimited | BoardErrorCode::Unavailable => {
                Err(BridgeFailure::Board(error))
            }
        }
    }

    /// Adds a comment to a card unless it is there.
    pub(super) fn comment(
        &mut self,
        card: &str,
        task: Option<&str>,
        note: &CardNote,
    ) -> StepResult<CardStep> {
        self.check_stop()?;
        let first = note.text.lines().next().unwrap_or_default();
        let message = format!("commented: {}", crate::error::brief(first));
        if !self.context.dry_run {
            let result = self.board.add_comment(card, &note.text, &note.marker);
            let step = self.step(card, result)?;
            if step != CardStep::Done {
                return Ok(step);
            }
            self.note_commented(card, &note.marker);
        }
        self.report(BridgeEventKind::Commented, card, task, message);
        Ok(CardStep::Done)
    }

    /// Changes a card.
    pub(super) fn change(&mut self, card: &str, task: &str, change: &CardChange) -> StepResult<CardStep> {
        self.check_stop()?;
        if !self.context.dry_run {
            let result = self.board.update_task(card, change);
            let step = self.step(card, result)?;
            if step != CardStep::Done {
                return Ok(step);
            }
            self.note_edited(card);
        }
        self.report(BridgeEventKind::Edited, card, Some(task), "changed as its task was".to_string());
        Ok(CardStep::Done)
    }

    /// Moves a card from where it is expected.
    pub(super) fn move_card(
        &mut self,
        card: &str,
        task: &str,
        to: &BoardQueue,
        expected: Option<&str>,
    ) -> StepResult<CardStep> {
        self.check_stop()?;
        if !self.context.dry_run {
            let by_id = |id: &str| QueueRef::Id { id: id.to_string() };
            let result = self.board.move_task(card, &by_id(&to.id), expected.map(by_id).as_ref());
            let step = self.step(card, result)?;
            if step != CardStep::Done {
                return Ok(step);
            }
            self.note_moved(card);
        }
        self.report(BridgeEventKind::Moved, card, Some(task), format!("moved to {}", to.name));
        Ok(CardStep::Done)
    }

    /// Cancels the task of a card; one that has ended meanwhile stays as it is.
    pub(super) fn cancel(&self, card: &str, task: &TaskId, why: &str) -> StepResult<()> {
        if !self.context.dry_run {
            let by = format!("bridge {}", self.context.settings.name);
            let cancel = Command::Cancel { reason: Some(why.to_string()), by };
            match self.context.store.apply(task, &cancel) {
                Err(error) if [ErrorKind::Refused, ErrorKind::NotFound].contains(&error.kind()) => {
                    return Ok(());
                }
                applied => applied.map(drop)?,
            }
        }
        self.report(BridgeEventKind::Cancelled, card, Some(task.as_str()), format!("cancelled: {why}"));
        Ok(())
    }
}
