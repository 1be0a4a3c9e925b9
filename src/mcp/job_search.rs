//! Finds tasks to list, newest first.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use serde_json::Value;

use super::open_queue::OpenQueue;
use super::report_text::ReportedState;
use super::summary::reported_state;
use crate::error::Result;
use crate::model::answer_cache::SESSION_KEY;
use crate::model::{AGENT_LANES, Task, TaskText};

/// How many of the newest tasks are searched, in addition to the open ones.
const SEARCHED: usize = 10_000;
/// How many tasks are read at once.
const CHUNK: usize = 500;

/// Which tasks are listed.
pub(super) struct JobFilter {
    /// The states of which they have one; none for all.
    pub states: Vec<ReportedState>,
    /// Their lane.
    pub lane: Option<String>,
    /// Whose tasks they are.
    pub scope: JobScope,
}

/// Whose tasks are listed.
pub(super) enum JobScope {
    /// Those of a session, and all that are open; with a state or a lane, all that have it.
    OfSession(String),
    /// Those of the lanes of agents.
    OfAgents,
}

impl JobFilter {
    fn accepts(&self, task: &Task) -> bool {
        let state = reported_state(&task.status);
        let is_in_scope = match &self.scope {
            JobScope::OfSession(session) => {
                let of_task = task.spec.metadata.get(SESSION_KEY).and_then(Value::as_str);
                let is_filtered = !self.states.is_empty() || self.lane.is_some();
                is_filtered || !state.is_over() || of_task == Some(session)
            }
            JobScope::OfAgents => task.spec.lane.as_str().starts_with(AGENT_LANES),
        };
        is_in_scope
            && (self.states.is_empty() || self.states.contains(&state))
            && self.lane.as_ref().is_none_or(|lane| task.spec.lane == lane.as_str())
    }
}

/// Returns the tasks that the filter accepts, newest first. Ids begin with the time of their submit.
///
/// # Errors
/// As [`crate::store::Store::task_names`].
pub(super) fn newest(queue: &OpenQueue, filter: &JobFilter, limit: usize) -> Result<Vec<Task>> {
    let all = queue.store.task_names()?;
    let mut names: BTreeSet<String> = all.into_iter().rev().take(SEARCHED).collect();
    names.extend(queue.store.open_task_ids(filter.lane.as_deref())?.into_iter().flatten());
    let names: Vec<String> = names.into_iter().rev().collect();
    let accepted = |text: &TaskText<'_>| Some(text.to_task()).filter(|task| filter.accepts(task));
    let mut found = Vec::new();
    for chunk in names.chunks(CHUNK) {
        queue.store.scan_names(chunk, accepted, &mut |_, task| {
            // `lanes doctor` reports tasks that cannot be read; a chat cannot repair them.
            found.extend(task.ok().flatten());
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}
