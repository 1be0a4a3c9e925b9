//! The tools that delegate: `dispatch` and its variants.

use serde_json::Value;

use super::{no_groups, records, reply};
use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolResult};
use crate::mcp::catalog::{old_schema, task_schema};
use crate::mcp::coordinator::steps;
use crate::mcp::failure::ToolFailure;
use crate::mcp::report_text::{ReportedState, TaskReport};
use crate::mcp::summary::report_of;
use crate::mcp::task_draft::{COORDINATION_LANE, Submission};
use crate::mcp::tools::delegate::MergeRequest;
use crate::mcp::tools::{MAX_TASKS, delegate};
use crate::mcp::waiting::wait_for_ends;
use crate::model::TaskId;
use crate::model::json::{Object, why_not_json};
use crate::model::task::object;

/// The default length of a summary, in characters.
const DEFAULT_SUMMARY: u64 = 500;
/// Waits as long as the client does.
pub(super) const WITHOUT_LIMIT: u64 = u64::MAX;

/// A request to delegate, and the part of its answer to return.
struct OldRequest {
    /// The arguments of `delegate`.
    arguments: Arguments,
    /// The length of the summary that is returned in place of the answer, in characters, if a reference was
    /// requested.
    summary_chars: Option<usize>,
}

impl OldRequest {
    /// Translates a request. With `is_fresh`, it is neither answered from the cache nor by a task that is open.
    fn read(old: &Arguments, is_fresh: bool) -> Result<Self, ToolFailure> {
        let text = |name: &str| old.text(name).filter(|text| !text.is_empty());
        if text("group").is_some() {
            return Err(no_groups());
        }
        let format = match text("response_format") {
            None | Some("json") => text("response_format"),
            Some(_) => {
                let what = "'response_format' is neither empty nor json";
                return Err(ToolFailure::invalid(what, "give json, or nothing for text"));
            }
        };
        let new = object([
            ("agent", old.needed_text("agent")?.into()),
            ("task", old.needed_text("task")?.into()),
            ("context", text("context").into()),
            ("caller", text("caller").into()),
            ("goal", text("goal").into()),
            ("session_id", text("session_id").into()),
            ("format", format.into()),
            ("fresh", is_fresh.then_some(true).into()),
            // 0 means the agent's own timeout.
            ("timeout", old.count("timeout_seconds")?.filter(|seconds| *seconds > 0).into()),
        ]);
        let summary = old.integer("summary_chars").map_or(DEFAULT_SUMMARY, |n| u64::try_from(n).unwrap_or(0));
        let summary = usize::try_from(summary).unwrap_or(usize::MAX);
        Ok(Self {
            arguments: Arguments::check(&task_schema()?, new)?,
            summary_chars: old.flag("return_ref").then_some(summary),
        })
    }

    /// Returns the record about the task of this request, with at most `max_chars` characters of its answer.
    fn record(&self, report: &TaskReport, max_chars: usize) -> Object {
        match self.summary_chars {
            _ if !report.state.is_over() => records::unfinished(report),
            Some(summary_chars) => records::reference(report, summary_chars, max_chars),
            None => records::result(report, 0, max_chars),
        }
    }
}

/// Submits requests as `delegate` does.
async fn submit(
    call: &ToolCall,
    requests: &[OldRequest],
    merge: Option<MergeRequest>,
) -> Result<Submission, ToolFailure> {
    let wanted: Vec<Arguments> = requests.iter().map(|request| request.arguments.clone()).collect();
    let (session, chain) = (call.session.clone(), call.chain.clone());
    call.with_queue(move |queue| delegate::submit(queue, &wanted, merge.as_ref(), &session, chain.as_ref()))
        .await
}

/// Waits for the answers to what was submitted, as long as the client does.
async fn answers(call: &mut ToolCall, submission: &Submission) -> Result<Vec<TaskReport>, ToolFailure> {
    let mut reports = wait_for_ends(call, &submission.ids, false, WITHOUT_LIMIT).await?;
    for (report, id) in reports.iter_mut().zip(&submission.ids) {
        report.is_cached = submission.cached.contains(id);
    }
    Ok(reports)
}

/// Delegates a turn of a conversation and waits for its answer.
pub(super) async fn turn(call: ToolCall, old: &Arguments) -> ToolResult {
    // A turn that continues a conversation is not cached anyway, and a call that is repeated must not take it twice.
    let begins = old.text("session_id").unwrap_or_default().is_empty();
    answer(call, OldRequest::read(old, begins)?).await
}

/// Delegates a task and waits for its answer.
pub(super) async fn one(call: ToolCall, old: &Arguments) -> ToolResult {
    answer(call, OldRequest::read(old, false)?).await
}

async fn answer(mut call: ToolCall, request: OldRequest) -> ToolResult {
    let request = [request];
    let submission = submit(&call, &request, None).await?;
    let reports = answers(&mut call, &submission).await?;
    let records = reports.iter().map(|report| request[0].record(report, call.limits.result_chars));
    Ok(reply(records.map(Value::Object).next().unwrap_or_default()))
}

/// Delegates a task and returns its id, with the state that it has when it is submitted.
pub(super) async fn begin(call: ToolCall, old: &Arguments) -> ToolResult {
    let request = [OldRequest::read(old, true)?];
    let submission = submit(&call, &request, None).await?;
    Ok(reply(object([
        ("job_id", submission.ids.first().map(TaskId::as_str).into()),
        ("status", records::status_word(ReportedState::Queued).into()),
        ("agent", old.text("agent").into()),
    ])))
}

/// Delegates several tasks and waits for all answers, and for what `aggregate` makes of them. All are checked before
/// one of them is submitted.
pub(super) async fn several(mut call: ToolCall, old: &Arguments) -> ToolResult {
    let requests = parallel_requests(old)?;
    let merger = old.text("aggregate").filter(|agent| !agent.is_empty());
    let merge = merger.map(|agent| MergeRequest::new(agent, None));
    let mut submission = submit(&call, &requests, merge).await?;
    let mut reports = answers(&mut call, &submission).await?;
    let each = call.limits.result_chars / (requests.len() + usize::from(merger.is_some()));
    let merged = match merger {
        None => None,
        Some(_) if reports.first().is_some_and(|report| report.lane == COORDINATION_LANE) => {
            Some(merged_record(&call, reports.remove(0), submission.ids.remove(0), each).await?)
        }
        Some(_) => submission.failures.pop().map(|failure| failed_record(&failure)),
    };
    let are_all_stored = submission.failures.is_empty();
    let mut records: Vec<Value> = Vec::with_capacity(requests.len());
    for (report, request) in reports.iter().zip(&requests) {
        // It is unknown which requests were not stored, so every answer is returned in full.
        let whole = OldRequest { summary_chars: None, arguments: request.arguments.clone() };
        records.push(if are_all_stored { request } else { &whole }.record(report, each).into());
    }
    records.extend(submission.failures.iter().map(|failure| Value::Object(failed_record(failure))));
    let (Some(mut merged), Some(merger)) = (merged, merger) else { return Ok(reply(records)) };
    merged.insert("agent".to_string(), merger.into());
    Ok(reply(object([("individual_results", records.into()), ("aggregated", merged.into())])))
}

/// Reads the requests of a list.
fn parallel_requests(old: &Arguments) -> Result<Vec<OldRequest>, ToolFailure> {
    let schema = old_schema("dispatch")?;
    let of_item = |number: usize, failure: ToolFailure| ToolFailure {
        what: format!("dispatches[{number}]: {}", failure.what),
        ..failure
    };
    let read = |(number, item): (usize, Value)| {
        let Value::Object(item) = item else {
            let failure = ToolFailure::invalid("it is not an object", "give {agent, task}");
            return Err(of_item(number, failure));
        };
        let request = Arguments::check(&schema, item).and_then(|item| OldRequest::read(&item, false));
        request.map_err(|failure| of_item(number, failure))
    };
    items(old.value("dispatches"))?.into_iter().enumerate().map(read).collect()
}

/// Returns the record about merged answers: the result of the agent that merged them, if it was asked.
async fn merged_record(
    call: &ToolCall,
    work: TaskReport,
    id: TaskId,
    max_chars: usize,
) -> Result<Object, ToolFailure> {
    if !work.state.is_over() {
        return Ok(records::unfinished(&work));
    }
    let asked = call.with_queue(move |queue| {
        let Some(step) = steps(&queue.store, &id)?.remove(&0) else { return Ok(None) };
        let task = queue.store.read_settled(&step)?;
        Ok(Some(report_of(queue, &task)?).filter(|report| report.state.is_over()))
    });
    // Its task may have been removed; the work has its answer.
    let asked = asked.await.ok().flatten();
    Ok(records::result(asked.as_ref().unwrap_or(&work), 0, max_chars))
}

/// Returns the record about a request that could not be stored.
fn failed_record(failure: &ToolFailure) -> Object {
    object([
        ("success", false.into()),
        ("result", "".into()),
        ("error", failure.what.clone().into()),
        ("error_type", failure.kind.into()),
    ])
}

/// Returns the items of a list, which may be given as JSON text.
fn items(dispatches: Option<&Value>) -> Result<Vec<Value>, ToolFailure> {
    let wrong = |what: String| ToolFailure::invalid(what, "give a JSON array of {agent, task}");
    let parsed = match dispatches {
        Some(Value::String(text)) => serde_json::from_str(text)
            .map_err(|error| wrong(format!("'dispatches' is not valid JSON: {}", why_not_json(&error))))?,
        given => given.cloned().unwrap_or_default(),
    };
    match parsed {
        Value::Array(items) if !items.is_empty() && items.len() <= MAX_TASKS => Ok(items),
        Value::Array(items) => {
            Err(wrong(format!("'dispatches' has {} tasks, not 1 to {MAX_TASKS}", items.len())))
        }
        _ => Err(wrong("'dispatches' is not an array".to_string())),
    }
}
