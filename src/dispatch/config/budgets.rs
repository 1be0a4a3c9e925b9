//! Budgets: `budget:` under `dispatch` in handoff.yaml.

use super::route::Route;
use crate::Result;
use crate::dispatch::vendor::Vendors;
use crate::error::brief;
use crate::model::LaneName;
use crate::model::schedule::ScheduleZone;
use crate::model::spending::{BudgetLimit, BudgetMeasure, BudgetScope, BudgetUnit, Budgets};
use crate::workspace::Section;

/// Reads the budgets of the store, of vendors and of lanes. `routes` and `defaults` say what one run may cost.
///
/// # Errors
/// `Config`, with file, line and key.
pub(super) fn read_budgets(
    section: &Section<'_>,
    vendors: &Vendors,
    (routes, defaults): (&[Route], &Route),
) -> Result<Budgets> {
    let measures = BudgetMeasure::KEYS.map(|(key, _)| key);
    let known: Vec<&str> = measures.into_iter().chain(["timezone", "vendors", "lanes"]).collect();
    section.refuse_unknown_keys(&known)?;
    let zone = match section.text("timezone")?.value() {
        Some(name) => ScheduleZone::named(&name).map_err(|why| section.error("timezone", &why))?,
        None => ScheduleZone::of_machine(),
    };
    let mut limits = limits(section, &BudgetScope::Store)?;
    let of_vendors = section.section("vendors")?;
    for name in of_vendors.keys()? {
        vendors.get(&name).map_err(|error| of_vendors.error(&name, error.message()))?;
        let of_vendor = of_vendors.section(&name)?;
        of_vendor.refuse_unknown_keys(&measures)?;
        limits.extend(self::limits(&of_vendor, &BudgetScope::Vendor(name))?);
    }
    let of_lanes = section.section("lanes")?;
    for name in of_lanes.keys()? {
        let lane = LaneName::new(&name).map_err(|error| of_lanes.error(&brief(&name), error.message()))?;
        let of_lane = of_lanes.section(&name)?;
        of_lane.refuse_unknown_keys(&measures)?;
        limits.extend(self::limits(&of_lane, &BudgetScope::Lane(lane))?);
    }
    let caps = routes.iter().filter_map(|route| Some((route.lane.clone(), route.max_budget_usd?)));
    Ok(Budgets { zone: zone.zone, limits, caps: caps.collect(), default_cap: defaults.max_budget_usd })
}

/// Reads the limits of one scope.
fn limits(section: &Section<'_>, scope: &BudgetScope) -> Result<Vec<BudgetLimit>> {
    let mut limits = Vec::new();
    for (key, measure) in BudgetMeasure::KEYS {
        let amount = match measure.unit() {
            BudgetUnit::Usd => section.positive_number(key)?.value(),
            BudgetUnit::Tokens | BudgetUnit::Runs => whole_number(section, key)?,
        };
        limits.extend(amount.map(|amount| BudgetLimit { scope: scope.clone(), measure, amount }));
    }
    Ok(limits)
}

/// Reads a number of tokens or runs.
fn whole_number(section: &Section<'_>, key: &str) -> Result<Option<f64>> {
    let number = section.read(key, |value| {
        value
            .as_u64()
            .filter(|number| *number > 0)
            .ok_or_else(|| "expected a whole number above 0".to_string())
    });
    Ok(number?.value().map(|number| number as f64))
}

#[cfg(test)]
mod tests {
    use serde_yaml::Value;

    use super::*;
    use crate::workspace::SourceText;

    fn read(text: &str) -> Result<Budgets> {
        let value: Value = serde_yaml::from_str(text).expect("valid YAML");
        let source = SourceText { file: "handoff.yaml", text };
        let dispatch = Section::new(source, &["dispatch"], value.get("dispatch"))?;
        let vendors = Vendors::with_overrides(&dispatch.section("vendors")?)?;
        let defaults = Route { max_budget_usd: Some(2.0), ..Route::defaults() };
        let cheap =
            Route { max_budget_usd: Some(0.5), ..Route::defaults().for_lane(&LaneName::stored("work")) };
        read_budgets(&dispatch.section("budget")?, &vendors, (&[cheap], &defaults))
    }

    #[test]
    fn each_scope_has_its_limits() {
        let text = "dispatch:\n  budget:\n    timezone: Europe/Berlin\n    usd_per_day: 20\n    vendors:\n      \
                    claude: {usd_per_week: 50.5}\n    lanes:\n      work: {runs_per_day: 3, tokens_per_day: 1000000}\n";
        let budgets = read(text).expect("valid");
        let shown: Vec<String> = budgets
            .limits
            .iter()
            .map(|limit| format!("{} {} {}", limit.scope.key(), limit.measure.as_str(), limit.amount))
            .collect();
        assert_eq!(
            shown,
            [
                "store usd_per_day 20",
                "vendor claude usd_per_week 50.5",
                "lane work tokens_per_day 1000000",
                "lane work runs_per_day 3"
            ]
        );
        assert_eq!((budgets.default_cap, budgets.caps.len()), (Some(2.0), 1));
        assert!(read("dispatch: {}\n").expect("valid").limits.is_empty());
    }

    #[test]
    fn mistakes_are_refused_with_their_line() {
        for (budget, reason) in [
            ("usd_per_day: -1", "line 3: dispatch.budget.usd_per_day: expected a number above 0"),
            ("usd_per_day: 0", "dispatch.budget.usd_per_day: expected a number above 0"),
            ("usd_per_day: much", "dispatch.budget.usd_per_day: expected a number above 0"),
            ("runs_per_day: 1.5", "dispatch.budget.runs_per_day: expected a whole number above 0"),
            ("tokens_per_day: -5", "dispatch.budget.tokens_per_day: expected a whole number above 0"),
            ("usd_per_month: 5", "dispatch.budget.usd_per_month: unknown key"),
            ("timezone: Mars/Base", "dispatch.budget.timezone: unknown time zone Mars/Base"),
            ("vendors: {clod: {usd_per_day: 1}}", "dispatch.budget.vendors.clod: unknown vendor clod"),
            ("lanes: {../x: {usd_per_day: 1}}", "dispatch.budget.lanes."),
            ("lanes: {x: 5}", "dispatch.budget.lanes.x: expected keys with values"),
            ("lanes: {x: {cost: 5}}", "dispatch.budget.lanes.x.cost: unknown key"),
        ] {
            let error = read(&format!("dispatch:\n  budget:\n    {budget}\n")).expect_err(budget).to_string();
            assert!(error.contains(reason), "{budget}: {error}");
        }
    }
}
