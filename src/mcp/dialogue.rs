//! A dialogue of two agents: each turn is a task, and each side goes on with its own conversation.

use serde_json::{Value, json};

use super::coordinator::{Coordinator, Progress, outcome_after};
use super::failure::ToolFailure;
use super::report_text::{ReportedState, TaskReport};
use super::summary::report_of;
use crate::model::dialogue::{Dialogue, DialogueStep, Side, Utterance, without_marker};
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{AnswerOutcome, FailureClass};

/// The kind of the plan.
pub(super) const KIND: &str = "dialogue";

/// Returns the plan of a dialogue, whose topic is the request of its task.
pub(super) fn to_plan(dialogue: &Dialogue) -> Value {
    json!({
        "kind": KIND,
        "requester": dialogue.requester,
        "responder": dialogue.responder,
        "max_rounds": dialogue.max_rounds,
    })
}

/// Reads a plan; `None` if it is not that of a dialogue.
pub(super) fn from_plan(plan: &Object, topic: String) -> Option<Dialogue> {
    let text = |key: &str| plan.get(key).and_then(Value::as_str).map(str::to_string);
    Some(Dialogue {
        requester: text("requester")?,
        responder: text("responder")?,
        topic,
        max_rounds: plan.get("max_rounds")?.as_u64()?.try_into().ok()?,
    })
}

/// Goes on with a dialogue: asks the next agent, or answers with what was said.
///
/// # Errors
/// The next turn is refused; otherwise whatever the store reports.
pub(super) fn advance(work: &Coordinator<'_>, dialogue: &Dialogue) -> Result<Progress, ToolFailure> {
    let mut said: Vec<Utterance> = Vec::new();
    let mut turns: Vec<TaskReport> = Vec::new();
    let steps = work.steps()?;
    while let Some(id) = steps.get(&(said.len() as u64)) {
        let Some(task) = work.read(id)? else {
            let why = format!("turn {} is gone: its task {id} was removed", said.len() + 1);
            return Ok(end(
                work,
                dialogue,
                &turns,
                &End::Failed(AnswerOutcome::Failed(FailureClass::Error), why),
            )?);
        };
        if !task.status.is_terminal() {
            return Ok(Progress::WaitingFor(vec![id.clone()]));
        }
        let report = report_of(work.queue, &task)?;
        if report.state != ReportedState::Done {
            let agent = dialogue.agent(Side::of_turn(said.len()));
            let why = format!("turn {} of {agent}, task {id}, has {}", said.len() + 1, report.state.as_str());
            turns.push(report);
            return Ok(end(work, dialogue, &turns, &End::Failed(outcome_after(&task), why))?);
        }
        said.push(Utterance {
            task_id: id.clone(),
            text: report.body.clone(),
            session_id: report.session_id.clone(),
        });
        turns.push(report);
    }
    match dialogue.next(&said) {
        DialogueStep::End { is_resolved } => Ok(end(work, dialogue, &turns, &End::Reached { is_resolved })?),
        DialogueStep::Ask(turn) => {
            let agent = dialogue.agent(turn.side);
            let arguments = object([
                ("agent", agent.into()),
                ("task", turn.prompt.into()),
                ("session_id", turn.session_id.into()),
            ]);
            let message = format!("turn {}: {agent}", said.len() + 1);
            let id = work.delegate(said.len() as u64, arguments, &message)?;
            Ok(Progress::WaitingFor(vec![id]))
        }
    }
}

/// How a dialogue has ended.
enum End {
    /// By itself.
    Reached {
        /// Whether one side has declared it resolved.
        is_resolved: bool,
    },
    /// With an outcome that is a failure, for a reason.
    Failed(AnswerOutcome, String),
}

/// Answers the task of the dialogue.
fn end(
    work: &Coordinator<'_>,
    dialogue: &Dialogue,
    turns: &[TaskReport],
    end: &End,
) -> crate::error::Result<Progress> {
    let rounds = turns.len().div_ceil(2);
    let cost: f64 = turns.iter().filter_map(|turn| turn.cost_usd).sum();
    let is_resolved = matches!(end, End::Reached { is_resolved: true });
    let (outcome, how, last) = match end {
        End::Reached { is_resolved: true } => {
            (AnswerOutcome::Completed, "resolved".to_string(), turns.last())
        }
        End::Reached { .. } => (AnswerOutcome::Completed, "not resolved".to_string(), turns.last()),
        End::Failed(outcome, why) => (outcome.clone(), format!("failed: {why}"), None),
    };
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let (in_rounds, in_turns) = (count(rounds, "round"), count(turns.len(), "turn"));
    let mut parts = vec![format!("{how} after {in_rounds} ({in_turns}), ${cost:.2}")];
    parts.extend(last.map(|turn| without_marker(&turn.body)));
    parts.push("# Conversation".to_string());
    let name = |number: usize| dialogue.agent(Side::of_turn(number));
    for (number, turn) in turns.iter().enumerate() {
        let (agent, id) = (name(number), &turn.id);
        parts.push(format!("## {}. {agent} (task {id})\n\n{}", number + 1, turn.body));
    }
    let listed: Vec<Value> = turns
        .iter()
        .enumerate()
        .map(|(number, turn)| json!({"round": number / 2 + 1, "agent": name(number), "task_id": turn.id}))
        .collect();
    let metadata = object([
        ("cost_usd", cost.into()),
        ("resolved", is_resolved.into()),
        ("rounds", rounds.into()),
        ("turns", listed.into()),
    ]);
    work.end(outcome, parts.join("\n\n"), metadata)
}
