//! From tasks to cards: comments, edits and moves.

use super::board::{BoardErrorCode, CardChange, QueueRef};
use super::engine::{Bridge, BridgeFailure, CardStep, StepResult};
use super::served_queue::{CardTarget, find_near};
use super::settings::TaskFate;
use crate::model::bridge::news::{CardEdit, CardNews, CardNote, news};
use crate::model::bridge::place::{PlaceRules, card_place};
use crate::model::bridge::record::CardRecord;
use crate::model::bridge::{BOARD_QUEUE, metadata_text};
use crate::model::{Event, Task};

/// Whether the store has the task of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KnownTask {
    There,
    Removed,
}

/// Whether a card still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CardPresence {
    There,
    Gone,
}

impl From<CardStep> for CardPresence {
    fn from(step: CardStep) -> Self {
        if step == CardStep::Gone { Self::Gone } else { Self::There }
    }
}

impl Bridge<'_> {
    /// Brings these cards up to date with their tasks.
    ///
    /// # Errors
    /// When the board or the store fails; what was done is remembered.
    pub(crate) fn update_cards(&mut self, cards: &[String]) -> StepResult<()> {
        for card in cards {
            let Some(mut record) = self.records.cards.get(card).cloned() else { continue };
            let updated = self.update_card(card, &mut record);
            if let Some(task) = &record.task {
                self.cards.insert(task.clone(), card.clone());
            }
            match updated {
                // Nothing is left to remember: should the card come back, it is a new one.
                Ok(KnownTask::Removed) if record.left => drop(self.records.cards.remove(card)),
                _ => drop(self.records.cards.insert(card.clone(), record)),
            }
            match updated.map(drop) {
                // Others may be allowed: a card of another board of the server, say.
                Err(BridgeFailure::Board(error)) if error.code == BoardErrorCode::Forbidden => {
                    self.problem.get_or_insert(error);
                }
                updated => updated?,
            }
        }
        Ok(())
    }

    /// Returns the cards that do not tell everything about their tasks yet.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let cards = self.records.cards.iter();
        let open = cards.filter(|(_, record)| !record.settled && !record.foreign);
        open.map(|(card, _)| card.clone()).collect()
    }

    fn update_card(&mut self, card: &str, record: &mut CardRecord) -> StepResult<KnownTask> {
        self.check_stop()?;
        let tasks = self.tasks_of(card, record)?;
        let Some(newest) = tasks.last() else {
            // It ended long ago and was removed.
            record.settled = record.task.is_some();
            return Ok(if record.settled { KnownTask::Removed } else { KnownTask::There });
        };
        let Some(first_untold) = self.first_untold(&tasks, record)? else {
            record.settled = true;
            return Ok(KnownTask::There);
        };
        self.serve_queue_of(newest, record);
        // It was retried or continued, or the bridge was killed before it could remember the task.
        record.settled &= record.task.as_deref() == Some(newest.id.as_str());
        if !record.settled && (record.placed.is_none() || record.recovered || record.returning) {
            self.find_card(card, newest, record)?;
        }
        if record.settled {
            record.task = Some(newest.id.to_string());
            return Ok(KnownTask::There);
        }
        record.first_task.get_or_insert_with(|| tasks[0].id.to_string());
        if self.tell_all(card, &tasks[first_untold..], record)? == CardPresence::Gone {
            return self.give_up(card, newest, record).map(|()| KnownTask::There);
        }
        if self.may_be_continued(&tasks)? {
            // Where the card belongs is known once the run is over.
            self.awaited.insert(card.to_string());
            return Ok(KnownTask::There);
        }
        if !record.away && self.put(card, &tasks, record)? == CardPresence::Gone {
            return self.give_up(card, newest, record).map(|()| KnownTask::There);
        }
        record.settled = newest.status.is_terminal();
        Ok(KnownTask::There)
    }

    /// Finds the watched queue of a card again, if it was deleted and made again.
    fn serve_queue_of(&self, task: &Task, record: &mut CardRecord) {
        let Some(watched) = metadata_text(&task.spec.metadata, BOARD_QUEUE) else { return };
        if self.queue_with_id(&record.queue).is_none()
            && let Some(served) = self.queues.iter().find(|queue| queue.settings.queue.to_string() == watched)
        {
            record.queue.clone_from(&served.source.id);
        }
    }

    /// Tells a card what happened to tasks that follow one another.
    fn tell_all(&mut self, card: &str, tasks: &[Task], record: &mut CardRecord) -> StepResult<CardPresence> {
        for task in tasks {
            if record.task.as_deref() != Some(task.id.as_str()) {
                record.task = Some(task.id.to_string());
                record.event = 0;
            }
            let events = self.context.store.events(&task.id)?;
            if self.tell(card, task, &events, record)? == CardPresence::Gone {
                return Ok(CardPresence::Gone);
            }
        }
        Ok(CardPresence::There)
    }

    /// Tells a card what happened to its task since the last time.
    fn tell(
        &mut self,
        card: &str,
        task: &Task,
        events: &[Event],
        record: &mut CardRecord,
    ) -> StepResult<CardPresence> {
        let id = task.id.as_str();
        for (at, event) in events.iter().enumerate() {
            let Some(number) = event.n.filter(|number| *number > record.event) else { continue };
            let step = match news(task, events, at) {
                Some(CardNews::Note(note)) => self.comment(card, Some(id), &note)?,
                Some(CardNews::Edit(edit)) => self.change(card, id, &card_change(edit))?,
                None => CardStep::Done,
            };
            if step == CardStep::Gone {
                return Ok(CardPresence::Gone);
            }
            record.event = number;
        }
        if !task.status.is_terminal() {
            return Ok(CardPresence::There);
        }
        let response = self.context.store.response(task)?;
        match CardNote::last(task, response.as_ref()) {
            Some(note) => self.comment(card, Some(id), &note).map(CardPresence::from),
            None => Ok(CardPresence::There),
        }
    }

    /// Puts a card where it belongs, by the last of its tasks.
    fn put(&mut self, card: &str, tasks: &[Task], record: &mut CardRecord) -> StepResult<CardPresence> {
        let Some(at) = self.queue_with_id(&record.queue) else { return Ok(CardPresence::There) };
        let Some(task) = tasks.last() else { return Ok(CardPresence::There) };
        let served = &self.queues[at];
        let source = served.source.clone();
        let rules = if tasks.len() == 1 { served.rules() } else { PlaceRules::of_continuation() };
        let events = self.context.store.events(&task.id)?;
        let queue = match served.target(card_place(task, &events, rules)) {
            CardTarget::Stay => return Ok(CardPresence::There),
            CardTarget::Queue(queue) => queue,
            CardTarget::Named(name) => {
                match find_near(self.board.as_mut(), &source.name, &QueueRef::Name(name)) {
                    Ok(queue) => queue,
                    Err(error) => {
                        // The agent's queue does not exist: the card stays.
                        let step = self.step(card, Err(error.clone()))?;
                        if step != CardStep::Impossible {
                            self.warn(card, error.message);
                        }
                        return Ok(CardPresence::There);
                    }
                }
            }
        };
        if record.placed.as_deref() == Some(queue.id.as_str()) {
            return Ok(CardPresence::There);
        }
        let is_return = queue.id == source.id;
        if is_return {
            // The board gives the card another generation, which must not pass for one that a person began.
            record.returning = true;
            self.remember(card, record)?;
        }
        let mut step = self.move_card(card, task.id.as_str(), &queue, record.placed.as_deref())?;
        if step == CardStep::Elsewhere && self.adopt_own_place(card, record, at)? {
            step = self.move_card(card, task.id.as_str(), &queue, record.placed.as_deref())?;
        }
        match step {
            CardStep::Done => {
                record.placed = Some(queue.id.clone());
                record.left = !is_return;
                if is_return {
                    self.note_return(card, record)?;
                }
            }
            CardStep::Elsewhere => self.leave_away(card, task, record, "to another queue")?,
            CardStep::Gone => return Ok(CardPresence::Gone),
            CardStep::Impossible => record.returning = false,
        }
        Ok(CardPresence::There)
    }

    fn remember(&mut self, card: &str, record: &CardRecord) -> StepResult<()> {
        self.records.cards.insert(card.to_string(), record.clone());
        self.save()
    }

    /// Remembers the generation of a card that the bridge has put back into its first queue.
    fn note_return(&mut self, card: &str, record: &mut CardRecord) -> StepResult<()> {
        record.returning = false;
        if self.context.dry_run || !self.board.identity().can.generation {
            return Ok(());
        }
        match self.board.get_task(card) {
            Ok(found) => record.returned_generation = found.generation,
            Err(error) => {
                record.returning = true;
                self.step(card, Err(error))?;
            }
        }
        Ok(())
    }

    /// Returns whether a card lies in the queue for work in progress, where the bridge may have put it before it was
    /// killed; it is remembered there then.
    fn adopt_own_place(&mut self, card: &str, record: &mut CardRecord, at: usize) -> StepResult<bool> {
        let Some(in_progress) = self.queues[at].in_progress.as_ref().map(|queue| queue.id.clone()) else {
            return Ok(false);
        };
        let found = match self.board.get_task(card) {
            Ok(found) => found,
            Err(error) => return self.step(card, Err(error)).map(|_| false),
        };
        if found.queue != in_progress || record.placed.as_deref() == Some(in_progress.as_str()) {
            return Ok(false);
        }
        (record.placed, record.left) = (Some(in_progress), true);
        Ok(true)
    }

    /// Finds out where a card is of which that is not remembered.
    fn find_card(&mut self, card: &str, task: &Task, record: &mut CardRecord) -> StepResult<()> {
        let found = match self.board.get_task(card) {
            Ok(found) => found,
            Err(error) if error.code == BoardErrorCode::NotFound => {
                return self.give_up(card, task, record);
            }
            Err(error) => return self.step(card, Err(error)).map(drop),
        };
        let served = self.queue_with_id(&record.queue).map(|at| &self.queues[at]);
        let is_source = found.queue == record.queue;
        let in_progress = served.and_then(|served| served.in_progress.as_ref());
        let is_in_progress = in_progress.is_some_and(|queue| queue.id == found.queue);
        if record.returning && is_source {
            record.returned_generation.clone_from(&found.generation);
        }
        record.left |= !is_source;
        if record.recovered && task.status.is_terminal() && is_source {
            let response = self.context.store.response(task)?;
            let told = CardNote::last(task, response.as_ref())
                .is_some_and(|note| found.comments.iter().any(|comment| comment.text.contains(&note.marker)));
            let is_new = found.generation.as_ref().is_some_and(|found| *found != record.generation);
            // With the last comment there, the card may have been moved on and put here again.
            if told || is_new {
                record.settled = told;
                record.away = !told;
                record.doubtful = told && found.generation.is_none();
            }
        } else if record.recovered && !is_source && !is_in_progress {
            record.away = true;
        }
        (record.recovered, record.returning) = (false, false);
        record.placed = Some(found.queue);
        Ok(())
    }

    /// Notes that a person has moved a card whose task is open.
    pub(super) fn leave_away(
        &mut self,
        card: &str,
        task: &Task,
        record: &mut CardRecord,
        whereto: &str,
    ) -> StepResult<()> {
        (record.away, record.returning) = (true, false);
        let fate = self.queue_with_id(&record.queue).map(|at| self.queues[at].settings.moved_away);
        if task.status.is_terminal() || fate != Some(TaskFate::Cancel) {
            return Ok(());
        }
        self.cancel(card, &task.id, &format!("its card was moved {whereto}"))
    }

    /// Forgets a card that was deleted or archived, and cancels its task if the settings say so.
    pub(super) fn give_up(&mut self, card: &str, task: &Task, record: &mut CardRecord) -> StepResult<()> {
        let fate = self.queue_with_id(&record.queue).map(|at| self.queues[at].settings.gone);
        if !task.status.is_terminal() && fate == Some(TaskFate::Cancel) {
            self.cancel(card, &task.id, "its card was deleted or archived")?;
        }
        (record.settled, record.left, record.recovered, record.returning) = (true, true, false, false);
        Ok(())
    }
}

fn card_change(edit: CardEdit) -> CardChange {
    CardChange {
        name: edit.name,
        description: edit.description,
        labels: edit.labels,
        assignees: edit.assignees,
    }
}
