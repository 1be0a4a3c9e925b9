//! Checks the budget of a session before tasks are submitted: what its tasks have cost, and may still cost.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use serde_json::Value;

use super::failure::ToolFailure;
use crate::error::Result;
use crate::model::answer_cache::SESSION_KEY;
use crate::model::budget::{CostBudget, SessionCosts};
use crate::model::{IdempotencyKey, LaneName, NewTask, TaskId, TaskText};
use crate::store::Store;
use crate::workspace::Config;

/// Reads what the runs of the tasks of a session have cost, in US dollars.
type SpentReader = Box<dyn Fn(&Store, &str) -> Result<f64> + Send + Sync>;
/// Reads the maximum cost of one run of a lane, in US dollars, if its route limits that.
type LimitReader = Box<dyn Fn(&Config, &Store, &LaneName) -> Option<f64> + Send + Sync>;

/// The budget that each session of a server has.
pub(crate) struct SessionBudget {
    /// The amount.
    pub amount: CostBudget,
    /// Reads what a session has spent.
    pub spent: SpentReader,
    /// Reads what a run may cost.
    pub limit: LimitReader,
}

/// A task of a session to which the same request attaches.
struct AttachableTask {
    lane: LaneName,
    key: Option<IdempotencyKey>,
    is_open: bool,
}

impl SessionBudget {
    /// Checks whether the budget allows tasks, one after the other. A task whose key belongs to one that is open
    /// or `unanswered` costs nothing more: a repeated call attaches to that one.
    ///
    /// # Errors
    /// The budget is spent; otherwise whatever the store reports.
    pub(super) fn check<'a>(
        &self,
        store: &Store,
        config: &Config,
        session: &str,
        unanswered: Vec<TaskId>,
        tasks: impl Iterator<Item = &'a NewTask>,
    ) -> std::result::Result<(), ToolFailure> {
        let attachable = attachable_tasks(store, session, unanswered)?;
        let keys: HashSet<&IdempotencyKey> = attachable.iter().filter_map(|task| task.key.as_ref()).collect();
        let mut limits: BTreeMap<LaneName, f64> = BTreeMap::new();
        let mut limit_of = |lane: &LaneName| {
            let read = || (self.limit)(config, store, lane).unwrap_or(0.0);
            *limits.entry(lane.clone()).or_insert_with(read)
        };
        let open = attachable.iter().filter(|task| task.is_open);
        let mut costs = SessionCosts {
            spent: (self.spent)(store, session)?,
            committed: open.fold(0.0, |sum, task| sum + limit_of(&task.lane)),
        };
        for task in tasks {
            if task.spec.key.as_ref().is_some_and(|key| keys.contains(key)) {
                continue;
            }
            if !self.amount.allows_another(costs) {
                return Err(self.refusal(costs));
            }
            costs.committed += limit_of(&task.spec.lane);
        }
        Ok(())
    }

    fn refusal(&self, costs: SessionCosts) -> ToolFailure {
        let SessionCosts { spent, committed } = costs;
        let what = format!(
            "the budget of this session is ${:.2}, of which ${spent:.2} is spent and ${committed:.2} may be spent by \
             the tasks that are open",
            self.amount.dollars()
        );
        let remedy =
            "collect what is there with jobs and wait; a person may start the server with a higher --budget";
        ToolFailure { kind: "budget", what, remedy: Some(remedy.to_string()) }
    }
}

/// Reads the tasks of a session that are open, and those that are `unanswered`.
fn attachable_tasks(store: &Store, session: &str, unanswered: Vec<TaskId>) -> Result<Vec<AttachableTask>> {
    let open = match store.open_task_ids(None)? {
        Some(ids) => ids,
        None => store.task_names()?,
    };
    let names: HashSet<String> = open.into_iter().chain(unanswered.iter().map(TaskId::to_string)).collect();
    let names: Vec<String> = names.into_iter().collect();
    let read = |text: &TaskText<'_>| {
        let task = text.to_task();
        let is_of_session = task.spec.metadata.get(SESSION_KEY).and_then(Value::as_str) == Some(session);
        let is_open = !task.status.is_terminal();
        (is_of_session && (is_open || unanswered.contains(&task.id))).then_some(AttachableTask {
            lane: task.spec.lane,
            key: task.spec.key,
            is_open,
        })
    };
    let mut tasks = Vec::new();
    store.scan_names(&names, read, &mut |_, task| {
        // `lanes doctor` reports tasks that cannot be read; a chat cannot repair them.
        tasks.extend(task.ok().flatten());
        ControlFlow::Continue(())
    });
    Ok(tasks)
}
