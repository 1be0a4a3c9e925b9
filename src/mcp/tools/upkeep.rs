//! `upkeep`: removes tasks that ended long ago.

use std::time::Duration;

use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolReply, ToolResult};
use crate::mcp::failure::ToolFailure;
use crate::store::{GcAge, GcPlan};

/// The seconds of a day.
const DAY: f64 = 86_400.0;

pub(super) async fn run(call: ToolCall, arguments: Arguments) -> ToolResult {
    let days = arguments.number("older_than_days").filter(|days| *days > 0.0);
    let days = days
        .ok_or_else(|| ToolFailure::invalid("'older_than_days' is missing or 0", "give more than 0 days"))?;
    let older_than = Duration::try_from_secs_f64(days * DAY)
        .map_err(|_| ToolFailure::invalid("'older_than_days' is too large", "give fewer days"))?;
    let plan = GcPlan {
        age: GcAge::OlderThan(older_than),
        lane: None,
        dry_run: arguments.flag("dry_run"),
        archive: None,
    };
    call.with_queue(move |queue| {
        let report = queue.store.gc(&plan)?;
        let done = if plan.dry_run { "would be removed" } else { "removed" };
        Ok(ToolReply::text(format!("{} tasks {done}, {} kept", report.removed.len(), report.kept)))
    })
    .await
}
