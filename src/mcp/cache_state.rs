//! What one process knows of the cache of answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::answer_cache::AgentSettings;
use crate::model::{Sha256, TaskId};

/// How often the cache was asked, and under which settings tasks were submitted whose answers may be added.
#[derive(Debug, Default)]
pub(super) struct CacheState {
    hits: AtomicU64,
    misses: AtomicU64,
    submitted_under: Mutex<HashMap<TaskId, Sha256>>,
}

impl CacheState {
    /// Counts a question to which there was an answer, or none.
    pub(super) fn count(&self, has_answer: bool) {
        let count = if has_answer { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often there was an answer, and how often there was none.
    pub(super) fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// Notes the settings that the agent of a task has when the task is submitted.
    pub(super) fn note_settings(&self, id: &TaskId, settings: &AgentSettings) {
        self.submitted_under().insert(id.clone(), settings.digest.clone());
    }

    /// Returns the digest of those settings, and forgets it: a task ends once.
    pub(super) fn take_settings(&self, id: &TaskId) -> Option<Sha256> {
        self.submitted_under().remove(id)
    }

    fn submitted_under(&self) -> MutexGuard<'_, HashMap<TaskId, Sha256>> {
        self.submitted_under.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
