//! `jobs`: lists the tasks of a session, and what each waits for.

use crate::error::{Result, brief};
use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolReply, ToolResult};
use crate::mcp::job_search::{JobFilter, JobScope, newest};
use crate::mcp::open_queue::OpenQueue;
use crate::mcp::report_text::ReportedState;
use crate::mcp::summary::report_of;
use crate::model::AGENT_LANES;
use crate::model::Task;

/// How many tasks are listed by default.
const DEFAULT_LIMIT: u64 = 20;
/// The maximum number of tasks that are listed.
const MAX_LIMIT: u64 = 200;

pub(super) async fn run(call: ToolCall, arguments: Arguments) -> ToolResult {
    let agent = arguments.text("agent").map(|agent| format!("{AGENT_LANES}{agent}"));
    let state = arguments.text("status");
    let filter = JobFilter {
        states: ReportedState::ALL.into_iter().filter(|known| Some(known.as_str()) == state).collect(),
        lane: agent.or_else(|| arguments.text("lane").map(str::to_string)),
        scope: JobScope::OfSession(call.session.clone()),
    };
    let limit = arguments.count("limit")?.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let max_chars = call.limits.result_chars;
    call.with_queue(move |queue| {
        let tasks = newest(queue, &filter, limit)?;
        let lines = tasks.iter().map(|task| job_line(queue, task)).collect::<Result<Vec<_>>>()?;
        Ok(ToolReply::text(if lines.is_empty() {
            "no tasks".to_string()
        } else {
            listing(&lines, max_chars)
        }))
    })
    .await
}

/// Joins as many lines as fit, and adds the number of omitted ones.
fn listing(lines: &[String], max_chars: usize) -> String {
    const LAST_LINE: usize = 100;
    let mut left = max_chars.saturating_sub(LAST_LINE);
    let fits = lines.iter().take_while(|line| {
        let length = line.chars().count() + 1;
        let fits = length <= left;
        left = left.saturating_sub(length);
        fits
    });
    let shown = fits.count();
    let mut text = lines[..shown].join("\n");
    if shown < lines.len() {
        text += &format!("\n[{} more; give status, agent, lane or a smaller limit]", lines.len() - shown);
    }
    text
}

/// Returns the line about a task: what it is, and how its request begins.
fn job_line(queue: &OpenQueue, task: &Task) -> Result<String> {
    let first = task.spec.prompt.lines().next().unwrap_or_default();
    Ok(format!("{} — {}", report_of(queue, task)?.head(), brief(first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_has_whole_lines_and_says_what_is_missing() {
        let lines: Vec<String> = (0..50).map(|n| format!("{n:02} {}", "x".repeat(17))).collect();
        assert_eq!(listing(&lines[..2], 400), lines[..2].join("\n"));
        let cut = listing(&lines, 400);
        assert!(cut.chars().count() <= 400, "{cut}");
        assert!(cut.ends_with("\n[36 more; give status, agent, lane or a smaller limit]"), "{cut}");
        assert_eq!(cut.lines().count(), 15);
    }
}
