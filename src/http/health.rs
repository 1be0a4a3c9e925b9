//! Whether the server can do its work.

use super::answer::ok;
use super::app::{Call, Outcome, stopping};

/// `GET /healthz`: the store can be read.
pub fn show(call: &Call<'_>) -> Outcome {
    if call.app.is_stopping() {
        return Err(stopping());
    }
    call.app.store.feed_end()?;
    call.app.store.paused()?;
    Ok(ok([("status", "ok".into())]).into())
}
