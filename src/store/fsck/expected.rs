//! What derived data must contain according to the tasks.

use std::collections::HashMap;

use crate::model::{GroupName, LaneName, TaskId, TaskText, Time};
use crate::store::correlation_file::correlation_name;
use crate::store::index::exclusive::holds_keys;
use crate::store::index::{Position, position};
use crate::store::layout::idempotency_key;

/// An open task, which the index must contain.
pub(crate) struct ExpectedIndexEntry {
    pub(crate) id: String,
    pub(crate) lane: LaneName,
    pub(crate) rank: i64,
    pub(crate) position: Position,
    /// Whether it waits for other tasks.
    pub(crate) waits: bool,
    /// Whether it holds exclusive keys.
    pub(crate) holds_keys: bool,
}

/// What derived data must contain according to one task.
pub(crate) struct TaskExpectations {
    id: TaskId,
    created_at: Time,
    open: Option<ExpectedIndexEntry>,
    is_open: bool,
    /// The file name of its key.
    key: Option<String>,
    /// Its group.
    group: Option<GroupName>,
    /// The file name of its correlation.
    correlation: String,
}

impl TaskExpectations {
    pub(crate) fn of(task: &TaskText<'_>) -> Self {
        let whole = (!task.is_terminal()).then(|| task.to_task());
        let open = whole.and_then(|task| {
            let (rank, position) = (task.rank(), position(&task)?);
            let (waits, holds_keys) = (task.waits_for_dependencies(), holds_keys(&task));
            let (id, lane) = (task.id.to_string(), task.spec.lane);
            Some(ExpectedIndexEntry { id, lane, rank, position, waits, holds_keys })
        });
        let workspace = task.spec.workspace_id.decode();
        let key = task.spec.idempotency_key().filter(|_| task.retried_as.is_none());
        Self {
            id: task.id.clone(),
            created_at: task.created_at,
            open,
            is_open: !task.is_terminal(),
            key: key.map(|key| idempotency_key(&workspace, &key)),
            group: task.spec.group.map(|name| GroupName::stored(name.decode())),
            correlation: correlation_name(&workspace, &task.spec.correlation_id.decode()),
        }
    }
}

/// What derived data must contain according to all tasks.
#[derive(Default)]
pub(crate) struct StoreExpectations {
    /// The readable tasks and when they were created, in the order of their ids.
    pub(crate) tasks: Vec<(TaskId, Time)>,
    pub(crate) open: Vec<ExpectedIndexEntry>,
    /// File name of a key → the newest task that holds it, as an index into `tasks`.
    pub(crate) keys: HashMap<String, usize>,
    /// File name of a key → the newest open task that holds it, as an index into `tasks`.
    open_keys: HashMap<String, usize>,
    /// Pairs of open tasks with the same key, as indexes into `tasks`.
    pub(crate) sharing: Vec<(usize, usize)>,
    /// Group → its tasks, as indexes into `tasks`.
    pub(crate) groups: HashMap<GroupName, Vec<usize>>,
    /// File name of a correlation → its newest task, as an index into `tasks`.
    pub(crate) correlations: HashMap<String, usize>,
}

impl StoreExpectations {
    pub(crate) fn add(&mut self, task: TaskExpectations) {
        let position = self.tasks.len();
        self.open.extend(task.open);
        self.tasks.push((task.id, task.created_at));
        if let Some(group) = task.group {
            self.groups.entry(group).or_default().push(position);
        }
        if let Some(key) = task.key {
            if task.is_open
                && let Some(older) = self.open_keys.insert(key.clone(), position)
            {
                self.sharing.push((older, position));
            }
            keep_newest(&mut self.keys, key, position, &self.tasks);
        }
        keep_newest(&mut self.correlations, task.correlation, position, &self.tasks);
    }

    /// Returns when a task was created, if it is one of the readable ones.
    pub(crate) fn created_at(&self, id: &str) -> Option<Time> {
        let position = self.tasks.binary_search_by(|(known, _)| known.as_str().cmp(id)).ok()?;
        Some(self.tasks[position].1)
    }

    pub(crate) fn id(&self, position: usize) -> &str {
        self.tasks[position].0.as_str()
    }

    /// Returns whether the correlation with this file name may lead to a task: it is the newest, or not older than
    /// that.
    pub(crate) fn may_lead(&self, correlation: &str, id: &str) -> bool {
        match self.correlations.get(correlation).map(|position| &self.tasks[*position]) {
            Some((newest, _)) if newest.as_str() == id => true,
            newest => self.created_at(id).is_some_and(|at| newest.is_none_or(|(_, newest)| at >= *newest)),
        }
    }
}

fn keep_newest(map: &mut HashMap<String, usize>, name: String, position: usize, tasks: &[(TaskId, Time)]) {
    match map.get(&name) {
        Some(newest) if tasks[*newest].1 > tasks[position].1 => {}
        _ => drop(map.insert(name, position)),
    }
}
