//! `jobs`: lists the tasks of a session, and what each waits for.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use serde_json::Value;

use crate::error::{Result, brief};
use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolReply, ToolResult};
use crate::mcp::open_queue::OpenQueue;
use crate::mcp::report_text::ReportedState;
use crate::mcp::session_budget::SESSION_KEY;
use crate::mcp::summary::{report_of, reported_state};
use crate::model::AGENT_LANES;
use crate::model::{Task, TaskText};

/// How many tasks are listed by default.
const DEFAULT_LIMIT: u64 = 20;
/// The maximum number of tasks that are listed.
const MAX_LIMIT: u64 = 200;
/// How many of the newest tasks are searched, in addition to the open ones.
const SEARCHED: usize = 10_000;
/// How many tasks are read at once.
const CHUNK: usize = 500;

/// Which tasks are listed.
struct JobFilter {
    state: Option<ReportedState>,
    lane: Option<String>,
    session: String,
}

impl JobFilter {
    /// Returns whether a task is listed: with a state or a lane, whether it has that; otherwise, whether it
    /// belongs to the session or is open.
    fn accepts(&self, task: &Task) -> bool {
        let state = reported_state(&task.status);
        if self.state.is_none() && self.lane.is_none() {
            let session = task.spec.metadata.get(SESSION_KEY).and_then(Value::as_str);
            return !state.is_over() || session == Some(&self.session);
        }
        self.state.is_none_or(|wanted| wanted == state)
            && self.lane.as_ref().is_none_or(|lane| task.spec.lane == lane.as_str())
    }
}

pub(super) async fn run(call: ToolCall, arguments: Arguments) -> ToolResult {
    let agent = arguments.text("agent").map(|agent| format!("{AGENT_LANES}{agent}"));
    let state = arguments.text("status");
    let filter = JobFilter {
        state: ReportedState::ALL.into_iter().find(|known| Some(known.as_str()) == state),
        lane: agent.or_else(|| arguments.text("lane").map(str::to_string)),
        session: call.session.clone(),
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

/// Returns the tasks that the filter accepts, newest first. Ids begin with the time of their submit.
fn newest(queue: &OpenQueue, filter: &JobFilter, limit: usize) -> Result<Vec<Task>> {
    let all = queue.store.task_names()?;
    let mut names: BTreeSet<String> = all.into_iter().rev().take(SEARCHED).collect();
    names.extend(queue.store.open_task_ids(filter.lane.as_deref())?.into_iter().flatten());
    let names: Vec<String> = names.into_iter().rev().collect();
    let accepted = |text: &TaskText<'_>| Some(text.to_task()).filter(|task| filter.accepts(task));
    let mut found = Vec::new();
    for chunk in names.chunks(CHUNK) {
        queue.store.scan_names(chunk, accepted, &mut |_, task| {
            // `lanes doctor` reports tasks that cannot be read; a chat cannot repair them.
            found.extend(task.ok().flatten());
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
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
