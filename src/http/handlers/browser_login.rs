//! Letting a browser in.

use std::time::Instant;

use crate::http::context::{Call, Outcome};
use crate::http::response::Answer;

/// Where a browser goes first.
const FIRST_PAGE: &str = "/status";

/// `GET /open`: a cookie for the code that `lanes serve --open` has printed.
pub fn open(call: &Call<'_>) -> Outcome {
    let code = call.query.needed("code")?;
    // Whoever only looks whether the page is there must not use the code up.
    let session = call.app.guard.session.as_ref().filter(|_| !call.is_head());
    let cookie = session.map(|session| session.redeem(&code, Instant::now())).transpose()?.flatten();
    let Some(cookie) = cookie else {
        let text = "this code is wrong, used or too old; start `lanes serve --open` again for another one";
        return Err(Answer::refusal(403, "code_refused", text));
    };
    let mut answer = Answer::text("text/plain; charset=utf-8", "this browser may look at the queue now\n");
    answer.status = 303;
    Ok(answer
        .with("Location", FIRST_PAGE)
        .with("Set-Cookie", cookie)
        .with("Referrer-Policy", "no-referrer")
        .into())
}
