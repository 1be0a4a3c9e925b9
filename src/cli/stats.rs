//! `lanes stats`: prints statistics of agent runs: their number, duration and cost.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::args::number;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::table::Table;
use crate::dispatch::budget_gate::budget_uses;
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::load::load;
use crate::dispatch::usage_record::UsageRecord;
use crate::dispatch::usage_stats::{Period, Stats, UsageTotals, stats};
use crate::error::Result;
use crate::model::duration;
use crate::model::json::Object;
use crate::model::spending::BudgetUse;
use crate::model::task::object;
use crate::store::Store;
use crate::workspace::Config;

/// Show statistics of agent runs: number, duration and cost.
///
/// Durations are those of answered runs. Costs and tokens are those that runs reported, or the minimum that
/// their output shows; where something is missing, the sum says "at least".
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes stats --days 7")]
pub(super) struct StatsCommand {
    /// Only the last N days
    #[arg(long, value_name = "N", value_parser = number::<u32>, allow_negative_numbers = true)]
    days: Option<u32>,
}

impl StatsCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let config = context.config().ok();
        if context.out.json {
            context.out.object(&stats_object(config.as_ref(), &store, self.days)?)?;
            return Ok(CommandExit::Done);
        }
        let stats = recorded_stats(&store, self.days)?;
        let budgets = budgets(config.as_ref(), &store);
        if stats.all.runs == 0 {
            context.out.note("lanes: no runs recorded");
            return Ok(CommandExit::Done);
        }
        let mut table = Table::new(&["", "RUNS", "ANSWERED", "MEDIAN", "90%", "COST", "TOKENS"]);
        table.row(row("all", &stats.all));
        for (what, groups) in [("lane", &stats.lanes), ("vendor", &stats.vendors), ("model", &stats.models)] {
            add_rows(&mut table, what, groups);
        }
        table.print(&mut context.out)?;
        for line in remarks(&stats.all) {
            context.out.line(&line)?;
        }
        for used in budgets {
            context.out.line(&format!("{used}, until {}", used.until))?;
        }
        Ok(CommandExit::Done)
    }
}

/// Returns the statistics as JSON, for this command and for the server.
pub(super) fn stats_object(config: Option<&Config>, store: &Store, days: Option<u32>) -> Result<Object> {
    let stats = recorded_stats(store, days)?;
    let budgets: Vec<Value> = budgets(config, store).iter().map(|used| used.to_object().into()).collect();
    let value = |value: serde_json::Result<Value>| value.unwrap_or(Value::Null);
    Ok(object([
        ("status", "ok".into()),
        ("days", days.into()),
        ("series", value(serde_json::to_value(&stats.days))),
        ("stats", value(serde_json::to_value(&stats))),
        ("budgets", budgets.into()),
    ]))
}

fn recorded_stats(store: &Store, days: Option<u32>) -> Result<Stats> {
    let now = store.now().wall;
    let period = days.map_or_else(|| Period::until(now), |days| Period::last_days(days, now));
    let usage = store.usage_log_text()?;
    Ok(stats(usage.lines().filter_map(UsageRecord::from_line), period))
}

/// Returns how much of each budget is spent; nothing when there is no configuration that can be used.
fn budgets(config: Option<&Config>, store: &Store) -> Vec<BudgetUse> {
    let Some(config) = config else { return Vec::new() };
    let budgets = load(config, store, &ConsentPolicy::AllowAll).map(|dispatch| dispatch.budgets);
    budgets.and_then(|budgets| budget_uses(store, &budgets)).unwrap_or_default()
}

fn add_rows(table: &mut Table, what: &str, groups: &BTreeMap<String, UsageTotals>) {
    for (name, group) in groups {
        table.row(row(&format!("{what} {name}"), group));
    }
}

fn row(name: &str, group: &UsageTotals) -> Vec<String> {
    let length = |length: Option<Duration>| length.map_or_else(|| "-".to_string(), duration::format_coarse);
    vec![
        name.to_string(),
        group.runs.to_string(),
        format!("{} ({}%)", group.completed, group.completed * 100 / group.runs_without_question().max(1)),
        length(group.median),
        length(group.p90),
        figure_text(group.known_cost().map(|(cost, is_least)| (format!("${cost:.2}"), is_least))),
        figure_text(group.known_tokens().map(|(tokens, is_least)| (tokens.total().to_string(), is_least))),
    ]
}

/// Formats a figure; true marks a lower bound.
fn figure_text(figure: Option<(String, bool)>) -> String {
    match figure {
        Some((figure, true)) => format!("at least {figure}"),
        Some((figure, false)) => figure,
        None => "-".to_string(),
    }
}

/// Returns how many runs were verified, and the reasons for which the sums may be too small, one line each.
fn remarks(all: &UsageTotals) -> Vec<String> {
    let runs = |count: u64| if count == 1 { "1 run".to_string() } else { format!("{count} runs") };
    let mut lines = Vec::new();
    if all.verified + all.unverified > 0 {
        let checked = runs(all.verified + all.unverified);
        lines.push(format!("{checked} had to be verified; {} of them passed", all.verified));
    }
    if all.runs_at_least > 0 {
        let cut = runs(all.runs_at_least);
        lines.push(format!(
            "{cut} ended before reporting a total; the minimum shown in the output is counted"
        ));
    }
    if all.runs_without_usage > 0 {
        lines.push(format!("{} reported no usage", runs(all.runs_without_usage)));
    }
    if all.runs_unpriced > 0 {
        let unpriced = runs(all.runs_unpriced);
        lines.push(format!(
            "{unpriced} reported tokens but no cost; see `prices:` under dispatch in handoff.yaml"
        ));
    }
    lines
}
