//! The tasks of a card: the one that was made of it, and those that continue its work.

use super::engine::{Bridge, BridgeContext, StepResult};
use crate::error::ErrorKind;
use crate::model::bridge::record::CardRecord;
use crate::model::bridge::{BRIDGE, CARD, card_key, metadata_text};
use crate::model::{IdempotencyKey, Task, TaskId};
use crate::store::{FeedEntry, WorkerInfo};

/// The most tasks of a card in one generation; a dispatcher lets fewer follow one another.
const MAX_TASKS: usize = 100;

impl Bridge<'_> {
    /// Returns the tasks of a card in the generation of its record, in their order: the one that was made of the card, the
    /// one that follows when that is answered, and so on. Empty if there is none.
    pub(super) fn tasks_of(&self, card: &str, record: &CardRecord) -> StepResult<Vec<Task>> {
        let BridgeContext { settings, store, config, .. } = self.context;
        let key = card_key(&settings.name, card, &record.generation);
        let mut next = match store.task_with_key(&config.workspace_id, &key)? {
            Some(task) => Some(task),
            // The name of the workspace may have changed.
            None => self.remembered_task(record)?,
        };
        let mut tasks: Vec<Task> = Vec::new();
        while let Some(task) = next.take().filter(|_| tasks.len() < MAX_TASKS) {
            if task.status.is_terminal() {
                let key = IdempotencyKey::continuation_of(&task.id);
                next = store.task_with_key(&task.spec.workspace_id, &key)?;
            }
            tasks.push(task);
        }
        Ok(tasks)
    }

    /// Returns the task that the card tells of, if it was not removed.
    fn remembered_task(&self, record: &CardRecord) -> StepResult<Option<Task>> {
        let Some(id) = record.task.as_deref().and_then(|id| TaskId::parse(id).ok()) else { return Ok(None) };
        match self.context.store.task(&id) {
            Ok(task) => Ok(Some(task)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the index of the first of these tasks that the card has not told everything about; `None` if the one that
    /// it told of last was removed, which happens long after its end.
    pub(super) fn first_untold(&self, tasks: &[Task], record: &CardRecord) -> StepResult<Option<usize>> {
        let Some(id) = record.task.as_deref() else { return Ok(Some(0)) };
        if let Some(at) = tasks.iter().position(|task| task.id.as_str() == id) {
            return Ok(Some(at));
        }
        // It was retried: the new task, and what follows it, is newer.
        let told = self.remembered_task(record)?;
        Ok(told.map(|told| {
            let newer = tasks.iter().position(|task| task.created_at > told.created_at);
            newer.unwrap_or(tasks.len().saturating_sub(1))
        }))
    }

    /// Returns whether another task continues the last of these tasks, if that has ended, or its run is not over, so that
    /// its dispatcher may still submit one.
    pub(super) fn may_be_continued(&self, tasks: &[Task]) -> StepResult<bool> {
        let Some(task) = tasks.last().filter(|task| task.status.is_terminal() && tasks.len() < MAX_TASKS)
        else {
            return Ok(false);
        };
        let store = self.context.store;
        let is_unreported = store.spool().outbox()?.iter().any(|(id, _)| *id == task.id);
        let runs = |worker: &WorkerInfo| worker.runs().contains_key(&task.id);
        if is_unreported || store.live_workers()?.iter().any(runs) {
            return Ok(true);
        }
        // Only now, because the run may have submitted one and ended since the tasks of the card were read.
        let key = IdempotencyKey::continuation_of(&task.id);
        Ok(store.task_with_key(&task.spec.workspace_id, &key)?.is_some())
    }

    /// Returns the cards of the tasks that have changed.
    pub(crate) fn cards_of(&self, changes: &[FeedEntry]) -> Vec<String> {
        let mut cards: Vec<String> = changes.iter().filter_map(|entry| self.card_of_change(entry)).collect();
        cards.sort();
        cards.dedup();
        cards
    }

    fn card_of_change(&self, change: &FeedEntry) -> Option<String> {
        if let Some(card) = self.cards.get(change.task_id.as_str()) {
            return Some(card.clone());
        }
        // A task that continues that of a card has its metadata.
        let is_new = change.event.kind == "created";
        let task = is_new.then(|| self.context.store.task(&change.task_id).ok()).flatten()?;
        let text = |key: &str| metadata_text(&task.spec.metadata, key);
        let card = text(CARD).filter(|_| text(BRIDGE) == Some(&self.context.settings.name))?;
        self.records.cards.contains_key(card).then(|| card.to_string())
    }
}
