//! The tools about the cache of answers.

use super::reply;
use crate::mcp::call::{ToolCall, ToolResult};
use crate::model::answer_cache::{CACHE_LIFETIME, MAX_CACHED_ANSWERS};
use crate::model::task::object;

/// Returns how many answers are cached, and how often this process found one.
pub(super) async fn figures(call: ToolCall) -> ToolResult {
    call.with_queue(|queue| {
        let (hits, misses) = queue.cache.hits_and_misses();
        let asked = hits + misses;
        let hit_rate = if asked == 0 { 0.0 } else { hits as f64 / asked as f64 };
        Ok(reply(object([
            ("size", queue.store.count_cached_answers()?.into()),
            ("max_size", MAX_CACHED_ANSWERS.into()),
            ("hits", hits.into()),
            ("misses", misses.into()),
            ("hit_rate", ((hit_rate * 1000.0).round() / 1000.0).into()),
            ("ttl", CACHE_LIFETIME.as_secs().into()),
        ])))
    })
    .await
}

/// Removes all cached answers.
pub(super) async fn clear(call: ToolCall) -> ToolResult {
    call.with_queue(|queue| Ok(reply(object([("cleared", queue.store.clear_answer_cache()?.into())])))).await
}
