//! `cancel`: ends tasks. A dispatcher that runs one stops its agent within a second.

use super::resolve_all;
use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolReply, ToolResult};
use crate::mcp::coordinator::{cancel_steps, is_coordinated};
use crate::mcp::failure::ToolFailure;
use crate::model::{Command, Effect};

pub(super) async fn run(call: ToolCall, arguments: Arguments) -> ToolResult {
    let names = arguments.needed_texts("ids")?;
    let cancel = Command::Cancel {
        reason: arguments.text("reason").map(str::to_string),
        by: String::from(&call.worker),
    };
    call.with_queue(move |queue| {
        let (mut lines, mut refused) = (Vec::new(), 0);
        // All ids are resolved first, so that a wrong one cancels nothing.
        for id in resolve_all(&queue.store, &names)? {
            lines.push(match queue.store.apply(&id, &cancel) {
                Ok((task, Effect::Changed)) => {
                    if is_coordinated(&task) {
                        cancel_steps(&queue.store, &id)?;
                    }
                    format!("cancelled {id}")
                }
                Ok((_, Effect::Unchanged)) => format!("cancelled {id} before"),
                Err(error) => {
                    refused += 1;
                    ToolFailure::from(error).text()
                }
            });
        }
        Ok(ToolReply { is_failure: refused == lines.len(), ..ToolReply::text(lines.join("\n")) })
    })
    .await
}
