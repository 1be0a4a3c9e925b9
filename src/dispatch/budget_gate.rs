//! Budgets at the claim: whether a lane may spend more, and what a run may spend.

use std::collections::HashSet;

use super::config::plan::Plan;
use super::config::served_lane::ServedLane;
use super::run::context::run_id;
use super::usage_record::UsageRecord;
use crate::error::{Error, Result};
use crate::model::spending::{
    BudgetLimit, BudgetScope, BudgetUnit, BudgetUse, Budgets, CountedRun, LaneOverBudget, SpendingRecord,
};
use crate::model::{ClaimToken, Status, Task, TaskId};
use crate::store::Store;

/// Reads a line of the usage log as a run that budgets count.
pub(crate) fn read_run(line: &str) -> Option<CountedRun> {
    let record = UsageRecord::from_line(line)?;
    // The bound of a run that was cut short is not what it cost; unknown counts as the cap.
    let usd = record.cost_usd;
    Some(CountedRun {
        run: record.run.as_ref().map(|run| run.as_str().to_string()),
        lane: record.lane,
        vendor: record.vendor,
        ended: record.ended_at.or(record.started_at)?,
        usd,
        tokens: record.tokens.map(|tokens| tokens.total()),
        was_started: !record.not_started,
    })
}

/// Returns how much of each budget is used now.
///
/// # Errors
/// Any error of the store.
pub(crate) fn budget_uses(store: &Store, budgets: &Budgets) -> Result<Vec<BudgetUse>> {
    let over = runs_that_are_over(store)?;
    let now = store.now().wall;
    let mut record = store.spending(&read_run)?;
    record.prune(now, |run| over.contains(run));
    Ok(record.uses(budgets, None, now))
}

/// Raises the budgets of a scope until the end of the present day or week. Returns them as they are then.
///
/// # Errors
/// `Invalid` for an amount that is not above 0; `Refused` when there is no such budget; any error of the store.
pub(crate) fn add_to_budgets(
    store: &Store,
    budgets: &Budgets,
    scope: &BudgetScope,
    unit: BudgetUnit,
    amount: f64,
) -> Result<Vec<BudgetUse>> {
    if !amount.is_finite() || amount <= 0.0 {
        return Err(Error::invalid("the amount must be a number above 0"));
    }
    let fits = |limit: &BudgetLimit| limit.scope == *scope && limit.measure.unit() == unit;
    if !budgets.limits.iter().any(fits) {
        let message = format!("no budget in {} is set for {scope}", unit.as_str());
        return Err(Error::refused(message).with_hint("`lanes budget` lists the budgets"));
    }
    let now = store.now().wall;
    let mut uses = store.change_spending(&read_run, |record| {
        record.add(scope, unit, amount, now);
        Ok(record.uses(budgets, None, now))
    })?;
    uses.retain(|used| fits(&used.limit));
    Ok(uses)
}

/// What dispatchers have spent, as it was when the lanes were last looked at.
pub(crate) struct BudgetGate<'a> {
    store: &'a Store,
    budgets: &'a Budgets,
    spending: Option<SpendingRecord>,
}

impl<'a> BudgetGate<'a> {
    /// Reads what was spent, if there are budgets.
    ///
    /// # Errors
    /// When it cannot be read; then no task may be claimed for a lane with a budget.
    pub(crate) fn load(store: &'a Store, plan: &'a Plan) -> Result<Self> {
        let budgets = &plan.budgets;
        let spending = if budgets.limits.is_empty() { None } else { Some(store.spending(&read_run)?) };
        Ok(Self { store, budgets, spending })
    }

    /// Returns the budget that keeps a lane from starting runs, if one does, without looking at its tasks.
    pub(crate) fn over_budget(&self, served: &ServedLane) -> Option<LaneOverBudget> {
        let of = (&served.route.lane, served.vendor.name.as_str());
        self.spending.as_ref()?.over_budget(self.budgets, of, self.store.now().wall)
    }

    /// Records whether a lane starts no run because of a budget, so that others can see it.
    ///
    /// # Errors
    /// Any error of the store.
    pub(crate) fn note(&self, served: &ServedLane, over: Option<&LaneOverBudget>) -> Result<()> {
        let Some(spending) = &self.spending else { return Ok(()) };
        let lane = served.route.lane.to_string();
        let facts =
            |over: &LaneOverBudget| (over.scope.clone(), over.measure.clone(), over.is_spent, over.until);
        if spending.over.get(&lane).map(facts) == over.map(facts) {
            return Ok(());
        }
        self.store.change_spending(&read_run, |record| {
            match over {
                Some(over) => drop(record.over.insert(lane, over.clone())),
                None => drop(record.over.remove(&lane)),
            }
            Ok(())
        })
    }

    /// Reserves what the run of a task under `token` may spend. Returns the budget that does not allow it, if one does
    /// not. All dispatchers of the store do this one after the other.
    ///
    /// # Errors
    /// Any error of the store.
    pub(crate) fn reserve(
        &self,
        served: &ServedLane,
        task: &Task,
        token: &ClaimToken,
    ) -> Result<Option<LaneOverBudget>> {
        let (lane, vendor) = (&served.route.lane, served.vendor.name.as_str());
        if !self.budgets.concern(lane, vendor) {
            return Ok(None);
        }
        let over = runs_that_are_over(self.store)?;
        let (now, run) = (self.store.now().wall, run_id(token));
        self.store.change_spending(&read_run, |record| {
            record.prune(now, |run| over.contains(run));
            Ok(record.reserve(self.budgets, (lane, vendor), (run.as_str(), task.id.as_str()), now))
        })
    }
}

/// Returns the runs with a reservation that have ended, and that are in the usage log if they cost anything.
///
/// A report is in the outbox from before the claim ends until the run is in the usage log. So the claim is looked at first,
/// and the log is read only afterwards by the caller: in between, no run is in neither.
fn runs_that_are_over(store: &Store) -> Result<HashSet<String>> {
    let record = store.recorded_spending()?;
    let mut over: Vec<(&str, &str)> =
        record.reserved_runs().filter(|(run, task_id)| !is_claimed_for(store, run, task_id)).collect();
    if !over.is_empty() {
        let reports = store.spool().outbox()?;
        over.retain(|(_, task_id)| !reports.iter().any(|(id, _)| id.as_str() == *task_id));
    }
    Ok(over.into_iter().map(|(run, _)| run.to_string()).collect())
}

/// Returns whether a task is claimed for a run.
fn is_claimed_for(store: &Store, run: &str, task_id: &str) -> bool {
    let task = TaskId::parse(task_id).and_then(|id| store.task(&id));
    // A task that cannot be read may still be running.
    task.map_or(
        true,
        |task| matches!(&task.status, Status::Claimed(claim) if run_id(&claim.token).as_str() == run),
    )
}
