//! `upkeep`: removes tasks that ended long ago.

use std::time::Duration;

use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolReply, ToolResult};
use crate::mcp::failure::ToolFailure;
use crate::store::{GcAge, GcPlan};

/// The seconds of a day.
const DAY: f64 = 86_400.0;

pub(super) async fn run(call: ToolCall, arguments: Arguments) -> ToolResult {
    let plan = gc_plan("older_than_days", arguments.number("older_than_days"), arguments.flag("dry_run"))?;
    call.with_queue(move |queue| {
        let report = queue.store.gc(&plan)?;
        let done = if plan.dry_run { "would be removed" } else { "removed" };
        Ok(ToolReply::text(format!("{} tasks {done}, {} kept", report.removed.len(), report.kept)))
    })
    .await
}

/// Returns the plan to remove what ended more than this many days ago; `name` is the argument with the days.
///
/// # Errors
/// The days are missing, not above 0, or too many.
pub(in crate::mcp) fn gc_plan(name: &str, days: Option<f64>, dry_run: bool) -> Result<GcPlan, ToolFailure> {
    let missing = || ToolFailure::invalid(format!("'{name}' is missing or 0"), "give more than 0 days");
    let days = days.filter(|days| *days > 0.0).ok_or_else(missing)?;
    let older_than = Duration::try_from_secs_f64(days * DAY)
        .map_err(|_| ToolFailure::invalid(format!("'{name}' is too large"), "give fewer days"))?;
    Ok(GcPlan { age: GcAge::OlderThan(older_than), lane: None, dry_run, archive: None })
}
