//! Warns of budgets in dollars that cannot be kept: those of programs that do not tell what a run costs.

use std::collections::BTreeMap;

use super::DispatchConfig;
use super::prices::Prices;
use super::route::{Route, Runner};
use crate::dispatch::output::Format;
use crate::dispatch::vendor::COMMAND;
use crate::error::printable;
use crate::model::spending::{BudgetUnit, Budgets};
use crate::workspace::Config;

/// Returns the warnings about all lanes of a configuration.
pub(crate) fn of_configuration(workspace: &Config, config: &DispatchConfig) -> Vec<String> {
    let described = workspace.lanes.keys().chain(&config.lanes).map(|lane| config.route(lane));
    of_routes(config, config.routes().iter().cloned().chain(described))
}

/// Returns a warning for each program that serves one of these routes, has a budget in dollars and does not tell its cost:
/// its first run counts as the whole budget.
pub(super) fn of_routes(config: &DispatchConfig, routes: impl IntoIterator<Item = Route>) -> Vec<String> {
    let mut warnings: BTreeMap<String, String> = BTreeMap::new();
    for route in routes {
        let Some(runner) = &route.runner else { continue };
        let (vendor, format) = match runner {
            Runner::Command { format, .. } => (COMMAND, *format),
            Runner::Vendor(name) => match config.vendors.get(name) {
                Ok(vendor) => (name.as_str(), vendor.format),
                // That has an error of its own.
                Err(_) => continue,
            },
        };
        let is_limited = route.max_budget_usd.is_none() && has_dollars(&config.budgets, &route, vendor);
        if let Some(remedy) = remedy(format, &config.prices).filter(|_| is_limited) {
            let program = printable(runner.name());
            let warning = format!(
                "{program} does not tell what a run costs, so that its first run counts as the whole budget and the \
                 next ones wait; {remedy}"
            );
            warnings.insert(program, warning);
        }
    }
    warnings.into_values().collect()
}

/// Returns whether a budget in dollars applies to the runs of a route.
fn has_dollars(budgets: &Budgets, route: &Route, vendor: &str) -> bool {
    let limits = budgets.limits.iter().filter(|limit| limit.measure.unit() == BudgetUnit::Usd);
    limits.into_iter().any(|limit| limit.scope.includes(route.lane.as_str(), vendor))
}

/// Returns what makes the cost of runs with this output known, or does without it; `None` if it is known.
fn remedy(format: Format, prices: &Prices) -> Option<&'static str> {
    match format {
        Format::ClaudeStream | Format::OpencodeJson => None,
        Format::CodexJsonl | Format::GeminiStream if !prices.is_empty() => None,
        Format::CodexJsonl | Format::GeminiStream => Some("set `prices` of its models under dispatch"),
        Format::Text => Some("limit `runs_per_day` instead of dollars"),
    }
}
