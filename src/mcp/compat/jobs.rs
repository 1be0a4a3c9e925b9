//! The tools about jobs, which are tasks of agents.

use serde_json::Value;

use super::{records, reply};
use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolResult};
use crate::mcp::failure::ToolFailure;
use crate::mcp::job_search::{JobFilter, JobScope, newest};
use crate::mcp::report_text::ReportedState;
use crate::mcp::summary::report_of;
use crate::mcp::tools::upkeep;
use crate::mcp::waiting::wait_for_ends;
use crate::model::task::object;
use crate::model::{AGENT_LANES, Command};

/// How long `dispatch_wait` waits by default, in seconds.
const DEFAULT_WAIT: i64 = 60;
/// How long it waits at most, in seconds, if its client does.
const MAX_WAIT: i64 = 3600;
/// The number of jobs that are listed by default.
const DEFAULT_LIMIT: i64 = 50;
/// The minimum age of the jobs that are removed by default, in days.
const DEFAULT_AGE: f64 = 7.0;

/// Returns the record of a job.
pub(super) async fn status(call: ToolCall, old: &Arguments) -> ToolResult {
    record(call, old, 0).await
}

/// Returns the record of a job once it has ended.
pub(super) async fn wait(call: ToolCall, old: &Arguments) -> ToolResult {
    let seconds = old.integer("timeout_seconds").unwrap_or(DEFAULT_WAIT).clamp(1, MAX_WAIT);
    record(call, old, seconds.unsigned_abs()).await
}

async fn record(mut call: ToolCall, old: &Arguments, seconds: u64) -> ToolResult {
    let name = old.needed_text("job_id")?.to_string();
    let id = call.with_queue(move |queue| Ok(queue.store.resolve(&name)?)).await?;
    let reports = wait_for_ends(&mut call, std::slice::from_ref(&id), false, seconds).await?;
    let is_late = seconds > 0 && reports.iter().any(|report| !report.state.is_over());
    let max_chars = call.limits.result_chars;
    call.with_queue(move |queue| {
        let mut job = records::job(queue, &queue.store.read_settled(&id)?, max_chars)?;
        if is_late {
            job.insert("timed_out_waiting".to_string(), true.into());
        }
        Ok(reply(job))
    })
    .await
}

/// Lists jobs, newest first, as many as a result has room for.
pub(super) async fn list(call: ToolCall, old: &Arguments) -> ToolResult {
    let word = old.text("status").unwrap_or_default().trim().to_lowercase();
    let has_word = |state: &ReportedState| records::status_word(*state) == word;
    let states: Vec<ReportedState> = ReportedState::ALL.into_iter().filter(has_word).collect();
    if states.is_empty() && !word.is_empty() {
        let what = "'status' is not the state of a job";
        let remedy = "give one of cancelled, done, failed, pending, running, or nothing";
        return Err(ToolFailure::invalid(what, remedy));
    }
    let agent = old.text("agent").filter(|agent| !agent.is_empty());
    let lane = agent.map(|agent| format!("{AGENT_LANES}{agent}"));
    let filter = JobFilter { states, lane, scope: JobScope::OfAgents };
    let limit = old.integer("limit").unwrap_or(DEFAULT_LIMIT).max(1);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut room = call.limits.result_chars;
    call.with_queue(move |queue| {
        let mut jobs: Vec<Value> = Vec::new();
        for task in newest(queue, &filter, limit)? {
            let job: Value = records::listed_job(queue, &task)?.into();
            room = room.saturating_sub(job.to_string().chars().count());
            if room == 0 {
                break;
            }
            jobs.push(job);
        }
        Ok(reply(jobs))
    })
    .await
}

/// Returns the result of a job, or its record while there is none.
pub(super) async fn fetch(call: ToolCall, old: &Arguments) -> ToolResult {
    let name = old.needed_text("ref")?.to_string();
    let count = |name: &str| old.integer(name).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let offset = count("offset");
    let max_chars = match count("max_chars") {
        0 => call.limits.piece_chars,
        wanted => wanted.min(call.limits.piece_chars),
    };
    call.with_queue(move |queue| {
        let task = queue.store.read_settled(&queue.store.resolve(&name)?)?;
        if !task.status.is_terminal() {
            return Ok(reply(records::job(queue, &task, max_chars)?));
        }
        Ok(reply(records::result(&report_of(queue, &task)?, offset, max_chars)))
    })
    .await
}

/// Ends a job.
pub(super) async fn cancel(call: ToolCall, old: &Arguments) -> ToolResult {
    let name = old.needed_text("job_id")?.to_string();
    let cancel = Command::Cancel { reason: None, by: String::from(&call.worker) };
    call.with_queue(move |queue| {
        let id = queue.store.resolve(&name)?;
        let before = queue.store.read_settled(&id)?;
        let outcome = match before.status.claim() {
            _ if before.status.is_terminal() => "already_terminal",
            Some(_) => "cancelled_running",
            None => "cancelled",
        };
        if !before.status.is_terminal() {
            queue.store.apply(&id, &cancel)?;
        }
        Ok(reply(object([("job_id", id.as_str().into()), ("outcome", outcome.into())])))
    })
    .await
}

/// Removes jobs that ended long ago.
pub(super) async fn gc(call: ToolCall, old: &Arguments) -> ToolResult {
    let days = old.number("max_age_days").unwrap_or(DEFAULT_AGE);
    let plan = upkeep::gc_plan("max_age_days", Some(days), old.flag("dry_run"))?;
    call.with_queue(move |queue| {
        let report = queue.store.gc(&plan)?;
        Ok(reply(object([
            ("purged", report.removed.len().into()),
            ("max_age_days", days.into()),
            ("dry_run", plan.dry_run.then_some(true).into()),
        ])))
    })
    .await
}
