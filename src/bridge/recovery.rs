//! Works out again what a bridge remembers of its board, from the tasks of the store.

use std::collections::BTreeMap;

use super::engine::{Bridge, StepResult};
use crate::model::Task;
use crate::model::bridge::record::{BridgeRecords, CardRecord};
use crate::model::bridge::{BOARD_QUEUE, BRIDGE, CARD, GENERATION, card_key, metadata_text};

impl Bridge<'_> {
    /// Finds the cards that have become tasks. Whether a card was put into its queue again since is not known then.
    ///
    /// # Errors
    /// When the tasks cannot be listed.
    pub(super) fn recover_records(&mut self) -> StepResult<()> {
        let name = &self.context.settings.name;
        let mut newest: BTreeMap<String, Task> = BTreeMap::new();
        self.context.store.scan(&mut |_, task| {
            // A task that cannot be read keeps its key, so that no second one is submitted for it.
            let Ok(task) = task else { return };
            let Some(card) = card_of(name, &task) else { return };
            let is_newer = newest.get(&card).is_none_or(|other| other.created_at <= task.created_at);
            if is_newer && task.retried_as.is_none() {
                newest.insert(card, task);
            }
        })?;
        let cards = newest.into_iter().map(|(card, task)| (card, self.recovered(&task))).collect();
        self.records = BridgeRecords { cards, ..BridgeRecords::default() };
        Ok(())
    }

    fn recovered(&self, task: &Task) -> CardRecord {
        let text = |key: &str| metadata_text(&task.spec.metadata, key);
        let watched = text(BOARD_QUEUE).unwrap_or_default();
        let served = self.queues.iter().find(|queue| queue.settings.queue.to_string() == watched);
        CardRecord {
            queue: served.map_or_else(|| watched.to_string(), |queue| queue.source.id.clone()),
            generation: text(GENERATION).unwrap_or_default().to_string(),
            task: Some(task.id.to_string()),
            first_task: Some(text("thread_id").unwrap_or(task.id.as_str()).to_string()),
            previous_task: text("parent_task_id").map(str::to_string),
            recovered: true,
            ..CardRecord::default()
        }
    }
}

/// Returns the card that a task of the bridge `name` was made from; `None` for a task that only continues such a task.
fn card_of(name: &str, task: &Task) -> Option<String> {
    let metadata = &task.spec.metadata;
    let (card, generation) = (metadata_text(metadata, CARD)?, metadata_text(metadata, GENERATION)?);
    let is_own = metadata_text(metadata, BRIDGE) == Some(name);
    let key = card_key(name, card, generation);
    (is_own && task.spec.key.as_ref() == Some(&key)).then(|| card.to_string())
}
