//! `wait`: returns the states and answers of tasks, as soon as they have ended.

use super::{reply_about, resolve_all};
use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolResult};
use crate::mcp::client::{DEFAULT_CHARS, DEFAULT_WAIT};
use crate::mcp::waiting::wait_for_ends;

pub(super) async fn run(mut call: ToolCall, arguments: Arguments) -> ToolResult {
    let names = arguments.needed_texts("ids")?;
    let seconds = arguments.count("seconds")?.unwrap_or(DEFAULT_WAIT);
    let max_chars =
        arguments.count("max_chars")?.map_or(DEFAULT_CHARS, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let ids = call.with_queue(move |queue| resolve_all(&queue.store, &names)).await?;
    let reports = wait_for_ends(&mut call, &ids, arguments.flag("any"), seconds).await?;
    Ok(reply_about(&call, (&[], &[]), &reports, max_chars))
}
