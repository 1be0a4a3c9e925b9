//! `dispatch_dialogue`: two agents talk about a topic in turns.

use serde_json::Value;

use super::dispatch::WITHOUT_LIMIT;
use super::{records, reply};
use crate::error::{ErrorKind, Result};
use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolResult};
use crate::mcp::coordinator::steps;
use crate::mcp::open_queue::OpenQueue;
use crate::mcp::report_text::{TaskReport, TextPiece};
use crate::mcp::summary::report_of;
use crate::mcp::tools::dialogue::begin;
use crate::mcp::waiting::wait_for_ends;
use crate::model::TaskId;
use crate::model::dialogue::{DEFAULT_ROUNDS, Dialogue, MAX_ROUNDS, Side, without_marker};
use crate::model::json::Object;
use crate::model::task::object;

/// Lets two agents talk and waits for the end of it.
pub(super) async fn run(mut call: ToolCall, old: &Arguments) -> ToolResult {
    let max_rounds = old.integer("max_rounds").unwrap_or(i64::from(DEFAULT_ROUNDS));
    let dialogue = Dialogue {
        requester: old.needed_text("requester")?.to_string(),
        responder: old.needed_text("responder")?.to_string(),
        topic: old.needed_text("topic")?.to_string(),
        max_rounds: u32::try_from(max_rounds.max(1)).unwrap_or(MAX_ROUNDS).min(MAX_ROUNDS),
    };
    let (session, chain, submitted) = (call.session.clone(), call.chain.clone(), dialogue.clone());
    let id = call.with_queue(move |queue| begin(queue, &submitted, &session, chain.as_ref())).await?;
    let reports = wait_for_ends(&mut call, std::slice::from_ref(&id), false, WITHOUT_LIMIT).await?;
    let Some(work) = reports.into_iter().next() else { return Ok(reply(Object::new())) };
    if !work.state.is_over() {
        // No agent has the dialogue as a whole.
        let mut record = records::unfinished(&work);
        record.remove("agent");
        return Ok(reply(record));
    }
    let max_chars = call.limits.result_chars;
    call.with_queue(move |queue| Ok(reply(outcome(queue, &dialogue, &id, &work, max_chars)?))).await
}

/// A turn that was taken.
struct Turn {
    /// Its number; the first is 0.
    number: u64,
    report: TaskReport,
}

impl Turn {
    fn side(&self) -> Side {
        Side::of_turn(usize::from(self.number % 2 == 1))
    }

    fn round(&self) -> u64 {
        self.number / 2 + 1
    }
}

/// Returns what became of a dialogue, with at most `max_chars` characters of what was said.
fn outcome(
    queue: &OpenQueue,
    dialogue: &Dialogue,
    id: &TaskId,
    work: &TaskReport,
    max_chars: usize,
) -> Result<Object> {
    let turns = turns(queue, id)?;
    let response = queue.store.response(&queue.store.read_settled(id)?)?;
    let resolved = response.as_ref().and_then(|response| response.metadata.get("resolved"));
    let is_resolved = resolved.and_then(Value::as_bool).unwrap_or(false);
    let cost: f64 = turns.iter().filter_map(|turn| turn.report.cost_usd).sum();
    let last = turns.last().map(|turn| &turn.report);
    let answer = match last {
        Some(last) if work.failure.is_none() || last.failure.is_some() => without_marker(&last.body),
        _ => work.body.clone(),
    };
    let each = max_chars / (turns.len() + 1);
    let said = turns.iter().map(|turn| said(dialogue, turn, each).into());
    Ok(object([
        ("resolved", is_resolved.into()),
        ("rounds", turns.last().map_or(0, Turn::round).into()),
        ("total_cost_usd", ((cost * 1e4).round() / 1e4).into()),
        (
            "total_duration_ms",
            turns.iter().map(|turn| records::milliseconds(&turn.report)).sum::<u64>().into(),
        ),
        ("final_answer", TextPiece::of(&answer, 0, each).text.into()),
        ("conversation", said.collect::<Vec<Value>>().into()),
        ("error_type", work.failure.into()),
    ]))
}

/// Reads the turns, without those whose tasks were removed.
fn turns(queue: &OpenQueue, id: &TaskId) -> Result<Vec<Turn>> {
    let mut turns = Vec::new();
    for (number, step) in steps(&queue.store, id)? {
        match queue.store.read_settled(&step) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            task => turns.push(Turn { number, report: report_of(queue, &task?)? }),
        }
    }
    Ok(turns)
}

/// Returns what was said in a turn, at most `max_chars` characters of it.
fn said(dialogue: &Dialogue, turn: &Turn, max_chars: usize) -> Object {
    let role = match turn.side() {
        Side::Responder => "responder",
        Side::Requester => "requester",
    };
    let result = records::result(&turn.report, 0, max_chars);
    let mut said = object([
        ("agent", dialogue.agent(turn.side()).into()),
        ("role", role.into()),
        ("round", turn.round().into()),
        ("message", result.get("result").cloned().into()),
    ]);
    for key in ["cost_usd", "error", "error_type", "truncated", "full_size", "next_offset", "ref"] {
        said.extend(result.get(key).map(|value| (key.to_string(), value.clone())));
    }
    said
}
