//! `report`: renews the lease of a claimed task, records its progress, releases it, or asks a question about it.

use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolReply, ToolResult};
use crate::mcp::failure::ToolFailure;
use crate::model::json::Object;
use crate::model::limits::lease_from_seconds;
use crate::model::message::messages_text;
use crate::model::{ClaimToken, Command, NewQuestion};
use crate::workspace::{check_release_is_not_verified_later, take_messages};

pub(super) async fn run(call: ToolCall, arguments: Arguments) -> ToolResult {
    let name = arguments.needed_text("id")?.to_string();
    let token = ClaimToken::from_text(arguments.needed_text("token")?);
    let text = arguments.text("text").map(str::to_string);
    let command = match arguments.text("do") {
        Some("renew") => {
            let lease = arguments.count("seconds")?.map(|seconds| lease_from_seconds(seconds as f64));
            Command::Renew { token: token.clone(), lease: lease.transpose()? }
        }
        Some("progress") => {
            let message = arguments.needed_text("text")?.to_string();
            Command::Note {
                kind: "progress".to_string(),
                message,
                data: Object::new(),
                token: Some(token.clone()),
            }
        }
        Some("release") => Command::Release { token: token.clone(), reason: text, delay: None, spent: None },
        Some("ask") => {
            let choices = arguments.needed_texts("choices").unwrap_or_default();
            let text = arguments.needed_text("text")?.to_string();
            Command::Ask {
                token: token.clone(),
                question: NewQuestion { text, choices, ..NewQuestion::default() },
            }
        }
        _ => return Err(ToolFailure::invalid("'do' is missing", "give 'do'")),
    };
    call.with_queue(move |queue| {
        let id = queue.store.resolve(&name)?;
        if let Command::Release { token, .. } = &command {
            check_release_is_not_verified_later(&queue.store, &id, token)?;
        }
        let (task, _) = queue.store.apply(&id, &command)?;
        let reply = match (&command, task.status.claim()) {
            (Command::Renew { .. }, Some(claim)) => format!("renewed {id} until {}", claim.lease_expires_at),
            (Command::Release { .. }, _) => format!("released {id}"),
            (Command::Ask { .. }, _) => {
                format!("asked; {id} waits for the answer and is no longer yours, so stop working on it")
            }
            _ => format!("noted for {id}"),
        };
        let messages = messages_text(&take_messages(&queue.store, &task, &token));
        Ok(ToolReply::text(if messages.is_empty() { reply } else { format!("{reply}\n\n{messages}") }))
    })
    .await
}
