//! `respond`: answers a claimed task.

use std::path::PathBuf;

use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolReply, ToolResult};
use crate::mcp::failure::ToolFailure;
use crate::model::response::MAX_BODY;
use crate::model::task::object;
use crate::model::{Answer, AnswerOutcome, ClaimToken, Command, FailureClass, Verdict};
use crate::workspace::{BaseDir, check_is_not_verified_later, read_text_for_client};

pub(super) async fn run(call: ToolCall, arguments: Arguments) -> ToolResult {
    let name = arguments.needed_text("id")?.to_string();
    let is_failed = arguments.flag("failed");
    let (text, file) = (arguments.text("text"), arguments.text("file").map(PathBuf::from));
    if text.is_some() == file.is_some() {
        return Err(ToolFailure::invalid("an answer is either text or a file", "give 'text' or 'file'"));
    }
    let answer = Answer {
        token: Some(ClaimToken::from_text(arguments.needed_text("token")?)),
        outcome: if is_failed {
            AnswerOutcome::Failed(FailureClass::Error)
        } else {
            AnswerOutcome::Completed
        },
        verdict: arguments.text("verdict").and_then(Verdict::parse),
        metadata: object([("outcome", arguments.text("outcome").into())]),
        ..Answer::completed(&call.worker, text.unwrap_or_default())
    };
    call.with_queue(move |queue| {
        let mut answer = answer.clone();
        if let Some(file) = &file {
            let base = BaseDir::at(&queue.config.workspace_root);
            answer.body = read_text_for_client(&queue.config, &base, file, "file", MAX_BODY)?;
        }
        if answer.body.trim().is_empty() {
            return Err(ToolFailure::invalid("the answer is empty", "say what was done, or why it failed"));
        }
        let id = queue.store.resolve(&name)?;
        check_is_not_verified_later(&queue.store, &id, &answer)?;
        let (task, _) = queue.store.apply(&id, &Command::Respond(answer))?;
        let lane = &task.spec.lane;
        // The answer is stored, whether or not the remaining tasks can be counted.
        let more = match queue.store.queue_depth(lane) {
            Ok(0) | Err(_) => format!("nothing else waits in lane {lane}"),
            Ok(1) => format!("1 more task waits in lane {lane}"),
            Ok(depth) => format!("{depth} more tasks wait in lane {lane}"),
        };
        Ok(ToolReply::text(format!("answered {id} status={}; {more}", task.status.as_str())))
    })
    .await
}
