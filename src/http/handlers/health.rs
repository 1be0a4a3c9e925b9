//! Whether the server can do its work.

use crate::http::context::{Call, Outcome, stopping};
use crate::http::response::{Answer, ok};

/// `GET /healthz`: the store is there and can be read. Without the token, only whether it is.
pub fn show(call: &Call<'_>) -> Outcome {
    let look = || -> Outcome {
        if call.app.is_stopping() {
            return Err(stopping());
        }
        if !call.app.store.is_in_place() {
            let text = "the state directory was removed or moved; start the server again once it is back";
            return Err(Answer::refusal(503, "store_gone", text));
        }
        call.app.store.feed_end()?;
        call.app.store.paused()?;
        Ok(ok([("status", "ok".into())]).into())
    };
    look().map_err(|refusal| {
        if call.app.guard.knows(call.request) {
            return refusal;
        }
        Answer::refusal(refusal.status, "unhealthy", "the queue cannot be used; the token shows why")
    })
}
