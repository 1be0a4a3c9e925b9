//! `permission_prompt`: asks a person whether an agent may call a tool. The agent's program calls it, not the model.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolReply, ToolResult};
use crate::mcp::failure::ToolFailure;
use crate::mcp::open_queue::OpenQueue;
use crate::mcp::permission::{ALLOW, DENY, PermissionAsker};
use crate::model::json::Object;
use crate::model::question::QuestionAnswer;
use crate::model::task::object;
use crate::model::{ClaimState, Command, TaskId};

/// How often the task is read without a change in the feed: its default applies by the clock.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Who answers a question that nobody waits for any more.
const END_OF_RUN: &str = "the end of the run";

pub(super) async fn run(call: ToolCall, arguments: Arguments) -> ToolResult {
    let Some(asker) = call.permission.clone() else {
        return Err(ToolFailure::invalid("no run asks here", "let the dispatcher start this server"));
    };
    let tool = arguments.needed_text("tool_name")?.to_string();
    let input = arguments.object("input").cloned().unwrap_or_default();
    let mut changes = call.with_queue(|queue| Ok(queue.changes()?)).await?;
    let mut asked = ask(&call, &asker, &tool, &input).await?;
    loop {
        changes.borrow_and_update();
        let (id, number, token) = (asker.task_id.clone(), asked.number, asker.token.clone());
        let state = call.with_queue(move |queue| {
            let mut task = queue.store.read_settled(&id)?;
            let held = task.claim_state(&token) == ClaimState::Held;
            let place = task.questions.iter().position(|question| question.number == number);
            Ok((held, place.and_then(|place| task.questions.swap_remove(place).answer)))
        });
        let (is_held, answer) = state.await?;
        if let Some(answer) = answer {
            asked.is_answered = true;
            return Ok(ToolReply::text(decision(&answer, input)));
        }
        if !is_held || call.end.is_over() {
            return Ok(ToolReply::text(denied("The run is over.")));
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep_until(Instant::now() + CHECK_INTERVAL) => {}
            () = call.end.wait() => {}
        }
    }
}

/// Asks the question about a call.
async fn ask(
    call: &ToolCall,
    asker: &PermissionAsker,
    tool: &str,
    input: &Object,
) -> Result<AskedQuestion, ToolFailure> {
    let queue = call.open_queue().await?;
    let (id, token) = (asker.task_id.clone(), asker.token.clone());
    let question = asker.question(tool, input);
    call.with_queue(move |open| {
        let (task, _) = open.store.apply(&id, &Command::Ask { token, question })?;
        let number = task.questions.last().map_or(0, |question| question.number);
        Ok(AskedQuestion { queue, id, number, is_answered: false })
    })
    .await
}

/// A question that a call waits for. When nobody waits for it any more, it is answered with no, so that nobody is asked in
/// vain and the task does not wait for it.
struct AskedQuestion {
    queue: Arc<OpenQueue>,
    id: TaskId,
    number: u32,
    is_answered: bool,
}

impl Drop for AskedQuestion {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let answer = Command::AnswerQuestion {
            number: Some(self.number),
            text: DENY.to_string(),
            is_choice: true,
            by: END_OF_RUN.to_string(),
        };
        // A task that has ended, or an answer that was given meanwhile, needs none; otherwise its default applies.
        let _ = self.queue.store.apply(&self.id, &answer);
    }
}

/// Returns what an answer means for the call, in the words of the agent's program.
fn decision(answer: &QuestionAnswer, input: Object) -> String {
    match (answer.text.trim(), &answer.by) {
        (ALLOW, Some(_)) => {
            serde_json::Value::Object(object([("behavior", ALLOW.into()), ("updatedInput", input.into())]))
                .to_string()
        }
        (_, None) => {
            denied("Nobody allowed this call in time. Continue without it, or end with STATUS: blocked.")
        }
        (DENY, Some(_)) => denied("A person has denied this call."),
        (words, Some(_)) => denied(&format!("A person has denied this call: {words}")),
    }
}

fn denied(message: &str) -> String {
    serde_json::Value::Object(object([("behavior", DENY.into()), ("message", message.into())])).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Time;

    #[test]
    fn only_the_word_of_a_person_allows_a_call() {
        let decide = |text: &str, by: Option<&str>| -> Value {
            let answer =
                QuestionAnswer { text: text.into(), by: by.map(str::to_string), at: Time::from_micros(0) };
            let input = json!({"command": "ls"}).as_object().cloned().unwrap();
            serde_json::from_str(&decision(&answer, input)).unwrap()
        };
        assert_eq!(
            decide(" allow\n", Some("eve")),
            json!({"behavior": "allow", "updatedInput": {"command": "ls"}})
        );
        for (text, by, message) in [
            ("deny", Some("eve"), "A person has denied this call."),
            (
                "Allow it, but not today",
                Some("eve"),
                "A person has denied this call: Allow it, but not today",
            ),
            ("allow", None, "Nobody allowed"),
            ("deny", None, "Nobody allowed"),
        ] {
            let decided = decide(text, by);
            assert_eq!(decided["behavior"], "deny");
            assert!(decided["message"].as_str().unwrap().starts_with(message), "{decided}");
        }
    }
}
