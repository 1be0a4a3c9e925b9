//! `delegate`: submits tasks and waits for their answers.

use std::collections::BTreeSet;

use super::{MAX_TASKS, reply_about};
use crate::mcp::aggregation::Aggregation;
use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolResult};
use crate::mcp::catalog::task_schema;
use crate::mcp::client::{DEFAULT_CHARS, DEFAULT_WAIT};
use crate::mcp::failure::ToolFailure;
use crate::mcp::open_queue::OpenQueue;
use crate::mcp::task_draft::{Submission, TaskDraft, of_item, submit_all};
use crate::mcp::waiting::wait_for_ends;
use crate::model::AgentChain;
use crate::model::json::Object;

/// The arguments of the call that apply to all `tasks` without a value of their own.
const SHARED: [&str; 9] =
    ["agent", "lane", "context", "caller", "goal", "format", "timeout", "fresh", "priority"];

pub(super) async fn run(mut call: ToolCall, arguments: Arguments) -> ToolResult {
    let seconds = arguments.count("wait")?.unwrap_or(DEFAULT_WAIT);
    let max_chars =
        arguments.count("max_chars")?.map_or(DEFAULT_CHARS, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let merge = merge_request(&arguments)?;
    let wanted = wanted_tasks(arguments)?;
    let (session, chain) = (call.session.clone(), call.chain.clone());
    // From here on the tasks are in the store, whatever happens to the call.
    let submission = call
        .with_queue(move |queue| submit(queue, &wanted, merge.as_ref(), &session, chain.as_ref()))
        .await?;
    let mut reports = wait_for_ends(&mut call, &submission.ids, false, seconds).await?;
    for (report, id) in reports.iter_mut().zip(&submission.ids) {
        report.is_cached = submission.cached.contains(id);
    }
    Ok(reply_about(&call, (&submission.failures, &submission.warnings), &reports, max_chars))
}

/// Who merges the answers of the tasks, and what it is told about them.
pub(in crate::mcp) struct MergeRequest {
    /// The agent.
    agent: String,
    /// The instruction.
    instruction: String,
}

impl MergeRequest {
    /// Makes a request to an agent to merge the answers, for a goal if there is one.
    pub(in crate::mcp) fn new(agent: &str, goal: Option<&str>) -> Self {
        let mut instruction =
            "Merge the answers below into one: keep what is right and useful in each, settle what they \
             contradict each other in, and say what remains open."
                .to_string();
        if let Some(goal) = goal.filter(|goal| !goal.trim().is_empty()) {
            instruction.push_str(&format!(" The goal: {goal}"));
        }
        Self { agent: agent.to_string(), instruction }
    }
}

/// Returns the request to merge the answers, if there is one.
fn merge_request(arguments: &Arguments) -> Result<Option<MergeRequest>, ToolFailure> {
    let Some(agent) = arguments.text("aggregate") else { return Ok(None) };
    if !arguments.has("tasks") {
        return Err(ToolFailure::invalid(
            "'aggregate' needs 'tasks'",
            "give the tasks whose answers are merged",
        ));
    }
    Ok(Some(MergeRequest::new(agent, arguments.text("goal"))))
}

/// Returns the arguments of each task.
fn wanted_tasks(arguments: Arguments) -> Result<Vec<Arguments>, ToolFailure> {
    let Some(items) = arguments.objects("tasks") else { return Ok(vec![arguments]) };
    if items.is_empty() || items.len() > MAX_TASKS {
        let what = format!("'tasks' has {} tasks", items.len());
        return Err(ToolFailure::invalid(what, format!("give 1 to {MAX_TASKS}")));
    }
    if let Some(name) = ["task", "key", "session_id"].into_iter().find(|name| arguments.has(name)) {
        let what = format!("'{name}' belongs to one task");
        return Err(ToolFailure::invalid(what, "give it in an item of 'tasks'"));
    }
    let schema = task_schema()?;
    let with_shared = |(number, mut item): (usize, Object)| {
        let has_target = item.contains_key("agent") || item.contains_key("lane");
        for name in SHARED {
            let is_target = matches!(name, "agent" | "lane");
            if let Some(value) = arguments.value(name).filter(|_| !(is_target && has_target)) {
                item.entry(name).or_insert_with(|| value.clone());
            }
        }
        Arguments::check(&schema, item).map_err(|failure| of_item(number, failure))
    };
    items.into_iter().enumerate().map(with_shared).collect()
}

/// Checks all of the tasks, then submits them. The work that merges their answers comes first; if it could not be
/// stored, that is the last failure.
///
/// # Errors
/// A task that is not valid; otherwise as [`submit_all`].
pub(in crate::mcp) fn submit(
    queue: &OpenQueue,
    wanted: &[Arguments],
    merge: Option<&MergeRequest>,
    session: &str,
    chain: Option<&AgentChain>,
) -> Result<Submission, ToolFailure> {
    let config = queue.config_now()?;
    let draft = |(number, arguments): (usize, &Arguments)| {
        let draft = TaskDraft::of(queue, &config, arguments, session, chain);
        draft.map_err(|failure| if wanted.len() > 1 { of_item(number, failure) } else { failure })
    };
    let drafts = wanted.iter().enumerate().map(draft).collect::<Result<Vec<_>, _>>()?;
    // A task for a lane may wait for any worker; a task for an agent needs a dispatcher that can run it.
    let named = wanted.iter().zip(&drafts).filter(|(arguments, _)| arguments.has("agent"));
    for lane in named.map(|(_, draft)| draft.lane()).collect::<BTreeSet<_>>() {
        queue.dispatch.check(&config, &queue.store, lane)?;
    }
    let Some(merge) = merge else { return submit_all(queue, &config, &drafts, session) };
    let merging = TaskDraft::for_agent(queue, &config, &merge.agent, &merge.instruction, session, chain)?;
    queue.dispatch.check(&config, &queue.store, merging.lane())?;
    let mut submission = submit_all(queue, &config, &drafts, session)?;
    let plan = Aggregation { agent: merge.agent.clone(), parts: submission.ids.clone() }.to_plan();
    let merging = TaskDraft::of_plan(queue, &config, &merge.instruction, plan, session, chain)
        .and_then(|draft| submit_all(queue, &config, &[draft], session));
    match merging {
        // What it says is what the caller wants to know first.
        Ok(merging) => submission.ids.splice(0..0, merging.ids).for_each(drop),
        Err(failure) => {
            let what = format!("aggregate: {}", failure.what);
            submission.failures.push(ToolFailure { what, ..failure });
        }
    }
    Ok(submission)
}
