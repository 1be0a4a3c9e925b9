//! From cards to tasks: takes the cards that lie in a watched queue, and notices those that were moved away.

use std::collections::{BTreeSet, HashSet};

use super::board::{BoardError, BoardErrorCode, BoardResult, Card, QueueRef};
use super::engine::{Bridge, BridgeFailure, CardStep, StepResult};
use super::event::{BridgeEvent, BridgeEventKind};
use super::prompt::{CardOrigin, card_request};
use super::served_queue::ServedQueue;
use crate::error::{Error, ErrorKind};
use crate::model::bridge::card_key;
use crate::model::bridge::generation::{CardDecision, LastTask, decide};
use crate::model::bridge::news::CardNote;
use crate::model::bridge::record::CardRecord;
use crate::model::{Task, TaskId, Time};
use crate::workspace::{BaseDir, SubmitContext, check_submit};

/// The most cards of a queue that are read at once.
const MAX_CARDS: usize = 10_000;

/// A card that becomes a task, in this generation.
struct TakenCard {
    card: Card,
    generation: String,
}

/// What became of the submit of a card.
enum CardSubmit {
    /// It is a task.
    Submitted(Box<Task>),
    /// It cannot be one; the reason is one line.
    Refused(String),
}

impl Bridge<'_> {
    /// Reads a watched queue and takes the cards that are due.
    ///
    /// # Errors
    /// When the board or the store fails; what was done is remembered.
    pub(crate) fn read_queue(&mut self, at: usize) -> StepResult<()> {
        self.check_stop()?;
        let mut cards = match self.cards_in(at) {
            Err(error) if error.code == BoardErrorCode::NotFound => {
                self.find_queue_again(at, error).and_then(|()| self.cards_in(at))
            }
            cards => cards,
        }
        .map_err(BridgeFailure::Board)?;
        let source = self.queues[at].source.clone();
        let mut present = HashSet::new();
        cards.retain(|card| present.insert(card.id.clone()));
        self.note_absent_cards(&source.id, &present);
        self.look_for_moved_cards(at, &present)?;
        let mut taken = Vec::new();
        for card in cards {
            match self.decide_card(&source.id, &card)? {
                CardDecision::Take(generation) => taken.push(TakenCard { card, generation }),
                CardDecision::Ask => self.ask(&card.id)?,
                CardDecision::Leave => {}
            }
        }
        for TakenCard { card, generation } in &taken {
            self.begin_record(&source.id, card, generation);
        }
        // Durable before the first submit: a generation is never used twice.
        self.save()?;
        for TakenCard { card, generation } in &taken {
            self.take(at, card, generation)?;
        }
        Ok(())
    }

    fn cards_in(&mut self, at: usize) -> BoardResult<Vec<Card>> {
        let by_id = QueueRef::Id { id: self.queues[at].source.id.clone() };
        self.board.get_ready_tasks(&by_id, MAX_CARDS)
    }

    /// Looks for a queue by the name in the settings, after its id was not found: it may have been deleted and made
    /// again.
    ///
    /// # Errors
    /// `missing` if it is the same queue; those of [`ServedQueue::find`].
    fn find_queue_again(&mut self, at: usize, missing: BoardError) -> BoardResult<()> {
        let old = &self.queues[at];
        let found = ServedQueue::find(self.board.as_mut(), &old.settings)?;
        if found.source.id == old.source.id {
            return Err(missing);
        }
        let message = format!("queue {} was created again, and is watched from now on", found.source.name);
        self.queues[at] = ServedQueue { next_poll: old.next_poll, ..found };
        (self.context.observe)(BridgeEvent::new(BridgeEventKind::Connected, message));
        Ok(())
    }

    /// Notes which cards of a queue are outside of it, and forgets those that were never submitted.
    fn note_absent_cards(&mut self, queue: &str, present: &HashSet<String>) {
        self.records.cards.retain(|card, record| {
            let is_absent = record.queue == queue && !present.contains(card);
            record.left |= is_absent;
            !is_absent || record.task.is_some() || record.foreign
        });
    }

    fn decide_card(&self, queue: &str, card: &Card) -> StepResult<CardDecision> {
        let record = self.records.cards.get(&card.id);
        let last = match record {
            None => LastTask::Absent,
            Some(record) => match self.tasks_of(&card.id, record)?.last() {
                None => LastTask::Absent,
                Some(task) if task.status.is_terminal() => LastTask::Ended,
                Some(_) => LastTask::Open,
            },
        };
        Ok(decide(queue, card.generation.as_deref(), record, last))
    }

    fn ask(&mut self, card: &str) -> StepResult<()> {
        let task = self.records.cards.get(card).and_then(|record| record.task.clone());
        if let Some(id) = task.as_deref().and_then(|id| TaskId::parse(id).ok()) {
            self.comment(card, Some(id.as_str()), &CardNote::doubt(&id))?;
        }
        if let Some(record) = self.records.cards.get_mut(card) {
            record.doubtful = false;
        }
        Ok(())
    }

    /// Remembers that a card is about to become a task in this generation.
    fn begin_record(&mut self, queue: &str, card: &Card, generation: &str) {
        let old = self.records.cards.get(&card.id);
        if old.is_some_and(|old| old.task.is_none() && old.generation == generation && !old.foreign) {
            return;
        }
        let (first_task, previous_task) = match old {
            Some(old) => (old.first_task.clone(), old.task.clone().or_else(|| old.previous_task.clone())),
            None => (None, None),
        };
        let record = CardRecord {
            queue: queue.to_string(),
            generation: generation.to_string(),
            first_task,
            previous_task,
            placed: Some(queue.to_string()),
            ..CardRecord::default()
        };
        self.records.cards.insert(card.id.clone(), record);
    }

    /// Makes a card a task: assigns it, submits the task and moves it on. A board on which one bridge alone can assign
    /// a card decides by that which bridge takes it.
    fn take(&mut self, at: usize, card: &Card, generation: &str) -> StepResult<()> {
        self.check_stop()?;
        let assigns_once = self.board.identity().can.assign_once;
        let key = card_key(&self.context.settings.name, &card.id, generation);
        let known = self.context.store.task_with_key(&self.context.config.workspace_id, &key)?;
        if known.is_none() && assigns_once && !self.may_take(at, card, generation)? {
            return Ok(());
        }
        let task = match known {
            Some(task) => task,
            None => match self.submit(at, card, generation)? {
                CardSubmit::Submitted(task) => *task,
                CardSubmit::Refused(why) => return self.refuse(card, generation, &why),
            },
        };
        let Some(record) = self.records.cards.get_mut(&card.id) else { return Ok(()) };
        record.task = Some(task.id.to_string());
        record.first_task.get_or_insert_with(|| task.id.to_string());
        self.cards.insert(task.id.to_string(), card.id.clone());
        if !assigns_once && !self.context.dry_run {
            match self.board.assign_task(&card.id) {
                Err(error) if error.code == BoardErrorCode::Unsupported => {}
                assigned => drop(self.step(&card.id, assigned.map(drop))?),
            }
        }
        if self.context.dry_run {
            return Ok(());
        }
        self.update_cards(std::slice::from_ref(&card.id))
    }

    /// Returns whether this bridge may take a card of a board that others may serve as well.
    ///
    /// Who assigns the card takes it. A card that is assigned already was taken by another bridge, or by this one before
    /// it was killed or in an earlier generation, or a person has assigned it. It is taken nevertheless if it still lies
    /// there after a while; between bridges that do so, the first comment decides.
    fn may_take(&mut self, at: usize, card: &Card, generation: &str) -> StepResult<bool> {
        if self.context.dry_run {
            return Ok(true);
        }
        let assigned = match self.board.assign_task(&card.id) {
            Ok(assigned) => assigned,
            Err(error) => {
                // A card that is gone is no card to take.
                return self.step(&card.id, Err(error)).map(|_| false);
            }
        };
        let is_visible = self.queues[at].shows_what_is_taken();
        if assigned && is_visible {
            return Ok(true);
        }
        let now = self.context.store.now().wall;
        let wait = self.context.settings.take_assigned_after;
        let source = self.queues[at].source.id.clone();
        let Some(record) = self.records.cards.get_mut(&card.id) else { return Ok(false) };
        let was_mine = record.previous_task.is_some();
        if !assigned && is_visible && !was_mine {
            let is_new = record.assigned_since.is_none();
            let since = Time::from_micros(*record.assigned_since.get_or_insert(now.micros()));
            if now.seconds_since(since) < wait.as_secs_f64() {
                if is_new {
                    let length = crate::model::duration::format_coarse(wait);
                    let message =
                        format!("is assigned already; it is taken if it still lies there in {length}");
                    self.warn(&card.id, message);
                }
                return Ok(false);
            }
        }
        let holder = self.records.holder.clone();
        self.comment(&card.id, None, &CardNote::taken(&holder, generation))?;
        let found = match self.board.get_task(&card.id) {
            Ok(found) => found,
            Err(error) => return self.step(&card.id, Err(error)).map(|_| false),
        };
        // Another bridge may have moved it on since the queue was read.
        if found.queue != source || found.generation != card.generation {
            return Ok(false);
        }
        let first = CardNote::holder(found.comments.iter().map(|comment| comment.text.as_str()), generation);
        let is_mine = first == Some(holder.as_str());
        if !is_mine && let Some(record) = self.records.cards.get_mut(&card.id) {
            record.foreign = true;
        }
        Ok(is_mine)
    }

    fn submit(&mut self, at: usize, card: &Card, generation: &str) -> StepResult<CardSubmit> {
        let settings = &self.queues[at].settings;
        let record = self.records.cards.get(&card.id).cloned().unwrap_or_default();
        let queue = settings.queue.to_string();
        let origin = CardOrigin {
            bridge: &self.context.settings.name,
            board: &self.board.identity().name,
            queue: &queue,
            lane: &settings.lane,
            generation,
            first_task: record.first_task.as_deref(),
            previous_task: record.previous_task.as_deref(),
        };
        let base = BaseDir::at(self.context.config.workspace_root.clone());
        let context = SubmitContext::new(self.context.config, &base, self.context.store.now().wall);
        let checked = match check_submit(&context, card_request(card, &origin)) {
            Ok(checked) => checked,
            Err(error) if error.kind() == ErrorKind::Invalid => return Ok(refusal(&error)),
            Err(error) => return Err(error.into()),
        };
        let mut new = checked.task;
        new.spec.key = Some(card_key(origin.bridge, &card.id, generation));
        let message = format!("submitted to {}", settings.lane);
        if self.context.dry_run {
            self.report(BridgeEventKind::Submitted, &card.id, None, message);
            return Ok(CardSubmit::Refused(String::new()));
        }
        let task = match self.context.store.submit(new) {
            Ok(submitted) => submitted.task,
            Err(error) if error.kind() == ErrorKind::Invalid => return Ok(refusal(&error)),
            Err(error) => return Err(error.into()),
        };
        self.report(BridgeEventKind::Submitted, &card.id, Some(task.id.as_str()), message);
        Ok(CardSubmit::Submitted(Box::new(task)))
    }

    /// Tells a card why it cannot become a task. It is not looked at again before it was moved.
    fn refuse(&mut self, card: &Card, generation: &str, why: &str) -> StepResult<()> {
        if self.context.dry_run {
            if !why.is_empty() {
                self.warn(&card.id, format!("cannot be taken: {why}"));
            }
            return Ok(());
        }
        self.warn(&card.id, format!("cannot be taken: {why}"));
        let note = CardNote::refusal(&self.context.settings.name, generation, why);
        self.comment(&card.id, None, &note)?;
        if let Some(record) = self.records.cards.get_mut(&card.id) {
            record.foreign = true;
        }
        Ok(())
    }

    /// Looks for cards whose tasks are open and that are not where the bridge has put them.
    fn look_for_moved_cards(&mut self, at: usize, in_source: &HashSet<String>) -> StepResult<()> {
        let source = self.queues[at].source.id.clone();
        let in_progress = self.queues[at].in_progress.as_ref().map(|queue| queue.id.clone());
        let is_open = |record: &CardRecord| {
            record.queue == source && record.task.is_some() && !record.settled && !record.recovered
        };
        let open: Vec<(String, Option<String>)> = self
            .records
            .cards
            .iter()
            .filter(|(_, record)| is_open(record))
            .map(|(card, record)| (card.clone(), record.placed.clone()))
            .collect();
        let mut in_work = BTreeSet::new();
        if let Some(id) = &in_progress
            && open.iter().any(|(_, placed)| placed.as_ref() == Some(id))
        {
            let queue = QueueRef::Id { id: id.clone() };
            let cards = self.board.get_ready_tasks(&queue, MAX_CARDS).map_err(BridgeFailure::Board)?;
            in_work = cards.into_iter().map(|card| card.id).collect();
        }
        for (card, placed) in open {
            let queue = if in_work.contains(&card) {
                in_progress.clone()
            } else if in_source.contains(&card) {
                Some(source.clone())
            } else {
                None
            };
            self.check_place(&card, placed.as_deref(), queue, in_progress.as_deref())?;
        }
        Ok(())
    }

    /// Compares where a card is with where the bridge has put it; `queue` is where it was seen.
    fn check_place(
        &mut self,
        card: &str,
        placed: Option<&str>,
        queue: Option<String>,
        in_progress: Option<&str>,
    ) -> StepResult<()> {
        let Some(mut record) = self.records.cards.get(card).cloned() else { return Ok(()) };
        let queue = match queue {
            Some(queue) => Some(queue),
            None => match self.board.get_task(card) {
                Ok(found) => Some(found.queue),
                Err(error) if error.code == BoardErrorCode::NotFound => None,
                Err(error) => return self.step(card, Err(error)).map(|_: CardStep| ()),
            },
        };
        if queue.is_some() && queue.as_deref() == placed {
            record.away = false;
        } else {
            let Some(task) = self.tasks_of(card, &record)?.pop() else { return Ok(()) };
            match queue {
                None => self.give_up(card, &task, &mut record)?,
                // Where the bridge may have put it before it was killed.
                Some(queue) if Some(queue.as_str()) == in_progress => {
                    (record.placed, record.away, record.left) = (Some(queue), false, true);
                }
                Some(_) if record.away || record.returning => {}
                Some(_) => {
                    self.report(
                        BridgeEventKind::Moved,
                        card,
                        Some(task.id.as_str()),
                        "was moved by somebody else; it stays where it is".to_string(),
                    );
                    self.leave_away(card, &task, &mut record, "away")?;
                }
            }
        }
        self.records.cards.insert(card.to_string(), record);
        Ok(())
    }
}

fn refusal(error: &Error) -> CardSubmit {
    CardSubmit::Refused(error.message().to_string())
}
