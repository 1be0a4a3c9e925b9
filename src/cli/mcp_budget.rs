//! The budget of `mcp`: costs come from the usage log of the dispatchers, limits from the routes.

use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::load::load;
use crate::dispatch::usage_record::UsageRecord;
use crate::dispatch::usage_stats::{Period, stats};
use crate::error::Result;
use crate::mcp::SessionBudget;
use crate::model::LaneName;
use crate::model::budget::CostBudget;
use crate::store::Store;
use crate::workspace::Config;

/// Returns a budget of this many US dollars for each session.
///
/// # Errors
/// `Invalid` for an amount that is not above 0.
pub(super) fn session_budget(dollars: f64) -> Result<SessionBudget> {
    let amount = CostBudget::new(dollars)?;
    Ok(SessionBudget { amount, spent: Box::new(spent), limit: Box::new(limit) })
}

/// Returns the cost of the runs of a session: as reported, or else its lower bound.
fn spent(store: &Store, session: &str) -> Result<f64> {
    let log = store.usage_log_text()?;
    let records = log.lines().filter_map(UsageRecord::from_line);
    let of_session = records.filter(|record| record.mcp_session.as_deref() == Some(session));
    Ok(stats(of_session, Period::default()).all.known_cost().map_or(0.0, |(cost, _)| cost))
}

/// Returns the maximum cost of a run of a lane. Starts nothing, so no consent is needed.
fn limit(config: &Config, store: &Store, lane: &LaneName) -> Option<f64> {
    load(config, store, &ConsentPolicy::AllowAll).ok()?.route(lane).max_budget_usd
}
