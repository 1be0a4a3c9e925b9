//! `dialogue`: two agents talk about a topic in turns.

use super::reply_about;
use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolResult};
use crate::mcp::client::{DEFAULT_CHARS, DEFAULT_WAIT};
use crate::mcp::dialogue::to_plan;
use crate::mcp::failure::ToolFailure;
use crate::mcp::open_queue::OpenQueue;
use crate::mcp::task_draft::{TaskDraft, submit_all};
use crate::mcp::waiting::wait_for_ends;
use crate::model::dialogue::{DEFAULT_ROUNDS, Dialogue, MAX_ROUNDS, Side};
use crate::model::{AgentChain, TaskId};

pub(super) async fn run(mut call: ToolCall, arguments: Arguments) -> ToolResult {
    let seconds = arguments.count("wait")?.unwrap_or(DEFAULT_WAIT);
    let max_rounds = arguments.count("max_rounds")?.unwrap_or(u64::from(DEFAULT_ROUNDS));
    let max_rounds = u32::try_from(max_rounds).ok().filter(|rounds| (1..=MAX_ROUNDS).contains(rounds));
    let max_rounds = max_rounds.ok_or_else(|| {
        ToolFailure::invalid("'max_rounds' is out of range", format!("give 1 to {MAX_ROUNDS}"))
    })?;
    let dialogue = Dialogue {
        requester: arguments.needed_text("requester")?.to_string(),
        responder: arguments.needed_text("responder")?.to_string(),
        topic: arguments.needed_text("topic")?.to_string(),
        max_rounds,
    };
    let (session, chain) = (call.session.clone(), call.chain.clone());
    // From here on the dialogue is in the store, whatever happens to the call.
    let id = call.with_queue(move |queue| begin(queue, &dialogue, &session, chain.as_ref())).await?;
    let reports = wait_for_ends(&mut call, &[id], false, seconds).await?;
    Ok(reply_about(&call, (&[], &[]), &reports, DEFAULT_CHARS))
}

/// Submits the dialogue, whose agents are checked before.
///
/// # Errors
/// An agent that cannot be asked, or a topic that is not valid; otherwise as [`submit_all`].
pub(in crate::mcp) fn begin(
    queue: &OpenQueue,
    dialogue: &Dialogue,
    session: &str,
    chain: Option<&AgentChain>,
) -> Result<TaskId, ToolFailure> {
    let config = queue.config_now()?;
    for side in [Side::Responder, Side::Requester] {
        let agent = dialogue.agent(side);
        let turn = TaskDraft::for_agent(queue, &config, agent, &dialogue.topic, session, chain)?;
        queue.dispatch.check(&config, &queue.store, turn.lane())?;
    }
    let draft = TaskDraft::of_plan(queue, &config, &dialogue.topic, to_plan(dialogue), session, chain)?;
    let submission = submit_all(queue, &config, &[draft], session)?;
    submission.ids.into_iter().next().ok_or_else(|| ToolFailure {
        kind: "io",
        what: "the dialogue was not stored".to_string(),
        remedy: None,
    })
}
