//! `lanes budget`: shows what is spent of each budget, and adds to one.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::args::amount;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::inside_run;
use super::table::Table;
use super::text_format::relative;
use crate::dispatch::budget_gate::{add_to_budgets, budget_uses};
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::load::load;
use crate::error::Result;
use crate::model::LaneName;
use crate::model::json::Object;
use crate::model::spending::{BudgetScope, BudgetUnit, BudgetUse};
use crate::model::task::object;
use crate::store::Store;
use crate::workspace::Config;

/// Show how much of each budget is spent, or add to one.
///
/// Budgets are defined under `dispatch.budget` in handoff.yaml. A lane whose budget is spent, or that of its vendor or of
/// the store, starts no run until the day or week is over; its tasks keep their attempts and their places.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  lanes budget
  lanes budget add 5
  lanes budget add 3 --of runs --lane work")]
pub(super) struct BudgetCommand {
    #[command(subcommand)]
    action: Option<BudgetAction>,
}

/// What is done with the budgets; by default, they are listed.
#[derive(Subcommand, Debug)]
enum BudgetAction {
    /// List the budgets (default)
    #[command(name = "list", after_help = "Examples:\n  lanes budget list --json")]
    List,
    #[command(
        name = "add",
        after_help = "Examples:\n  lanes budget add 5 --lane work\n  lanes budget add 20 --vendor claude"
    )]
    Add(AddToBudgetCommand),
}

/// Add an amount to a budget, until the end of the present day or week
#[derive(Args, Debug)]
struct AddToBudgetCommand {
    /// How much: US dollars, unless --of says otherwise
    #[arg(value_name = "AMOUNT", value_parser = amount, allow_negative_numbers = true)]
    amount: f64,
    /// To the budget of this lane [default: to that of the store]
    #[arg(long, short, value_name = "LANE")]
    lane: Option<String>,
    /// To the budget of this vendor
    #[arg(long, value_name = "VENDOR", conflicts_with = "lane")]
    vendor: Option<String>,
    /// What the amount counts
    #[arg(long, value_name = "UNIT", default_value = "usd")]
    of: AddedUnit,
}

/// The unit of an amount that is added.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum AddedUnit {
    Usd,
    Tokens,
    Runs,
}

impl BudgetCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        match &self.action {
            None | Some(BudgetAction::List) => list(context),
            Some(BudgetAction::Add(add)) => add.run(context),
        }
    }
}

/// Returns how much of each budget of a configuration is spent, one object each.
///
/// # Errors
/// `Config` when the configuration cannot be used; any error of the store.
pub(super) fn show_budgets(config: &Config, store: &Store) -> Result<Vec<Object>> {
    let budgets = load(config, store, &ConsentPolicy::AllowAll)?.budgets;
    Ok(budget_uses(store, &budgets)?.iter().map(BudgetUse::to_object).collect())
}

/// Raises budgets of a configuration, as [`add_to_budgets`] does, and returns them as they are then.
///
/// # Errors
/// As [`show_budgets`] and [`add_to_budgets`].
pub(super) fn raise_budgets(
    config: &Config,
    store: &Store,
    scope: &BudgetScope,
    unit: BudgetUnit,
    amount: f64,
) -> Result<Vec<Object>> {
    let budgets = load(config, store, &ConsentPolicy::AllowAll)?.budgets;
    let uses = add_to_budgets(store, &budgets, scope, unit, amount)?;
    Ok(uses.iter().map(BudgetUse::to_object).collect())
}

fn list(context: &mut CommandContext) -> Result<CommandExit> {
    let (config, store) = context.workspace_to_read()?;
    let budgets = load(&config, &store, &ConsentPolicy::AllowAll)?.budgets;
    let uses = budget_uses(&store, &budgets)?;
    if context.out.json {
        let list: Vec<Value> = uses.iter().map(|used| used.to_object().into()).collect();
        context.out.object(&object([
            ("status", "ok".into()),
            ("count", uses.len().into()),
            ("budgets", list.into()),
        ]))?;
        return Ok(CommandExit::Done);
    }
    if uses.is_empty() {
        context.out.note("lanes: no budgets; `budget:` under dispatch in handoff.yaml defines them");
        return Ok(CommandExit::Done);
    }
    let now = store.now();
    for used in uses.iter().filter(|used| used.unknown.0 > 0) {
        context.out.note(&format!("lanes: {used}"));
    }
    let mut table = Table::new(&["FOR", "LIMITS", "LIMIT", "SPENT", "RUNNING", "LEFT", "UNTIL"]);
    for used in uses {
        let unit = used.limit.measure.unit();
        let left = (used.total - used.spent - used.running).max(0.0);
        table.row(vec![
            used.limit.scope.key(),
            used.limit.measure.as_str().to_string(),
            unit.format(used.total),
            unit.format(used.spent),
            unit.format(used.running),
            unit.format(left),
            relative(used.until, &now),
        ]);
    }
    table.print(&mut context.out)?;
    Ok(CommandExit::Done)
}

impl AddToBudgetCommand {
    fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        inside_run::refuse(context, "budget add")?;
        let unit = match self.of {
            AddedUnit::Usd => BudgetUnit::Usd,
            AddedUnit::Tokens => BudgetUnit::Tokens,
            AddedUnit::Runs => BudgetUnit::Runs,
        };
        let scope = match (&self.lane, &self.vendor) {
            (Some(lane), _) => BudgetScope::Lane(LaneName::new(lane)?),
            (None, Some(vendor)) => BudgetScope::Vendor(vendor.clone()),
            (None, None) => BudgetScope::Store,
        };
        let (config, store) = context.workspace()?;
        let budgets = load(&config, &store, &ConsentPolicy::AllowAll)?.budgets;
        let uses = add_to_budgets(&store, &budgets, &scope, unit, self.amount)?;
        if context.out.json {
            let list: Vec<Value> = uses.iter().map(|used| used.to_object().into()).collect();
            context.out.object(&object([("status", "added".into()), ("budgets", list.into())]))?;
            return Ok(CommandExit::Done);
        }
        for used in uses {
            let line = format!("{used}, until {}", context.out.time(used.until));
            context.out.line(&line)?;
        }
        Ok(CommandExit::Done)
    }
}
