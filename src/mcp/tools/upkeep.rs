//! `upkeep`: figures of the answer cache, and what is removed from the queue.

use std::time::Duration;

use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolReply, ToolResult};
use crate::mcp::failure::ToolFailure;
use crate::mcp::open_queue::OpenQueue;
use crate::model::answer_cache::{CACHE_LIFETIME, MAX_CACHED_ANSWERS};
use crate::store::{GcAge, GcPlan};

/// The seconds of a day.
const DAY: f64 = 86_400.0;

pub(super) async fn run(call: ToolCall, arguments: Arguments) -> ToolResult {
    match arguments.text("do") {
        Some("cache_stats") => call.with_queue(|queue| Ok(ToolReply::text(cache_figures(queue)?))).await,
        Some("cache_clear") => {
            let clear = |queue: &OpenQueue| {
                Ok(ToolReply::text(format!("{} cached answers removed", queue.store.clear_answer_cache()?)))
            };
            call.with_queue(clear).await
        }
        _ => remove_old_tasks(call, arguments).await,
    }
}

/// Returns the figures of the answer cache: of the store, and of this process.
fn cache_figures(queue: &OpenQueue) -> crate::Result<String> {
    let count = queue.store.count_cached_answers()?;
    let (hits, misses) = queue.cache.hits_and_misses();
    let seconds = CACHE_LIFETIME.as_secs();
    Ok(format!(
        "{count} of at most {MAX_CACHED_ANSWERS} answers cached, each for {seconds} s; asked by this server: {hits} hits, \
         {misses} misses"
    ))
}

async fn remove_old_tasks(call: ToolCall, arguments: Arguments) -> ToolResult {
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
