//! `lanes stats`: what agents did, how long it took, what it cost.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::args::number;
use super::context::Context;
use super::table::Table;
use crate::dispatch::journal::{Group, Period, Record, stats};
use crate::error::{EXIT_OK, Result};
use crate::model::span;
use crate::model::task::object;

/// Show the runs of agents: how many, how long, how much.
///
/// Durations are those of answered runs. Costs are summed over the runs that told theirs.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes stats --days 7")]
pub struct StatsCommand {
    /// Only the last N days
    #[arg(long, value_name = "N", value_parser = number::<u32>, allow_negative_numbers = true)]
    days: Option<u32>,
}

impl StatsCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<u8> {
        let store = context.store()?;
        let period = self.days.map_or(Period::default(), |days| Period::last_days(days, store.now().wall));
        let usage = store.usage()?;
        let stats = stats(usage.lines().filter_map(Record::from_line), period);
        if context.out.json {
            let stats = serde_json::to_value(&stats).unwrap_or(Value::Null);
            context.out.object(&object([
                ("status", "ok".into()),
                ("days", self.days.into()),
                ("stats", stats),
            ]))?;
            return Ok(EXIT_OK);
        }
        if stats.all.runs == 0 {
            context.out.note("lanes: no run is on record");
            return Ok(EXIT_OK);
        }
        let mut table = Table::new(&["", "RUNS", "ANSWERED", "MEDIAN", "90%", "COST", "TOKENS"]);
        table.row(row("all", &stats.all));
        for (what, groups) in [("lane", &stats.lanes), ("vendor", &stats.vendors), ("model", &stats.models)] {
            add(&mut table, what, groups);
        }
        table.print(&mut context.out)?;
        Ok(EXIT_OK)
    }
}

fn add(table: &mut Table, what: &str, groups: &BTreeMap<String, Group>) {
    for (name, group) in groups {
        table.row(row(&format!("{what} {name}"), group));
    }
}

fn row(name: &str, group: &Group) -> Vec<String> {
    let length = |seconds: Option<f64>| {
        let length = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        length.map_or_else(|| "-".to_string(), span::words)
    };
    vec![
        name.to_string(),
        group.runs.to_string(),
        format!("{} ({}%)", group.completed, group.completed * 100 / group.runs.max(1)),
        length(group.median_seconds),
        length(group.p90_seconds),
        group.cost_usd.map_or_else(|| "-".to_string(), |cost| format!("${cost:.2}")),
        group.tokens.map_or_else(|| "-".to_string(), |tokens| tokens.total().to_string()),
    ]
}
