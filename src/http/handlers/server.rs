//! The server itself: its health, its metrics, and the login of a browser.

use std::fmt::Write as _;
use std::time::Instant;

use crate::http::context::{Call, HandlerResult};
use crate::http::count_cache::LaneCounts;
use crate::http::metrics::{label, write_help};
use crate::http::responder::Responder;
use crate::http::transport::response::{HttpResponse, ok};
use crate::http::ui::PAGE_PATH;

/// The page to which a browser is redirected after its login when there is no web interface.
const PAGE_WITHOUT_UI: &str = "/status";

/// `GET /healthz`: whether the store is in place and readable. Without the token, the response gives no reason.
pub(crate) fn health(call: &Call<'_>) -> HandlerResult {
    let check = || -> HandlerResult {
        if call.app.is_stopping() {
            return Err(HttpResponse::stopping());
        }
        call.app.check_store()?;
        call.app.store.feed_end()?;
        call.app.store.paused()?;
        Ok(ok([("status", "ok".into())]).into())
    };
    check().map_err(|refusal| {
        if call.app.auth.is_authenticated(call.request) {
            return refusal;
        }
        HttpResponse::error(refusal.status, "unhealthy", "the queue cannot be used; the token shows why")
    })
}

/// `GET /metrics`
pub(crate) fn metrics(call: &Call<'_>) -> HandlerResult {
    let app = call.app;
    let counts = app.counts.read(&app.store)?;
    let mut out = String::new();
    let now = "gauge";
    write_help(&mut out, "lanes_tasks", now, "Tasks by lane and state.");
    for (lane, LaneCounts { states, .. }) in counts.iter() {
        for (state, n) in states {
            let _ = writeln!(
                out,
                "lanes_tasks{{lane=\"{}\",state=\"{}\"}} {n}",
                label(lane.as_str()),
                label(state)
            );
        }
    }
    write_help(&mut out, "lanes_waiting_requests", now, "Requests that wait: long polls and streams.");
    let _ = writeln!(out, "lanes_waiting_requests {}", app.long_polls.len());
    write_help(&mut out, "lanes_connections", now, "Open connections.");
    let _ = writeln!(out, "lanes_connections {}", app.reactor.connection_count());
    write_help(
        &mut out,
        "lanes_http_body_bytes",
        now,
        "Memory of the bodies of requests that are arriving or being answered.",
    );
    let _ = writeln!(out, "lanes_http_body_bytes {}", app.reactor.body_bytes());
    write_help(&mut out, "lanes_http_answer_bytes", now, "Memory of responses that are not sent yet.");
    let _ = writeln!(out, "lanes_http_answer_bytes {}", app.reactor.response_bytes());
    write_help(
        &mut out,
        "lanes_log_dropped_total",
        "counter",
        "Lines of the access log that were dropped because they were not read in time.",
    );
    let _ = writeln!(out, "lanes_log_dropped_total {}", app.dropped_log_records());
    write_help(&mut out, "lanes_uptime_seconds", now, "Time since the server started.");
    let _ = writeln!(out, "lanes_uptime_seconds {}", app.started.elapsed().as_secs_f64());
    app.metrics.write(&app.store, &mut out)?;
    Ok(HttpResponse::text("text/plain; version=0.0.4; charset=utf-8", out).into())
}

/// `GET /open`: exchanges the code that `lanes serve --open` has printed for a cookie.
pub(crate) fn open(call: &Call<'_>) -> HandlerResult {
    let code = call.query.needed("code")?;
    // A HEAD request only checks that the page exists, and must not use up the code.
    let session = call.app.auth.session.as_ref().filter(|_| !call.is_head());
    let cookie = session.map(|session| session.redeem(&code, Instant::now())).transpose()?.flatten();
    let Some(cookie) = cookie else {
        let text = "this code is wrong, used or too old; start `lanes serve --open` again for another one";
        return Err(HttpResponse::error(403, "code_refused", text));
    };
    let mut response = HttpResponse::text("text/plain; charset=utf-8", "this browser is now logged in\n");
    response.status = 303;
    Ok(response
        .with_header("Location", if call.app.has_ui { PAGE_PATH } else { PAGE_WITHOUT_UI })
        .with_header("Set-Cookie", cookie)
        .with_header("Referrer-Policy", "no-referrer")
        .into())
}
