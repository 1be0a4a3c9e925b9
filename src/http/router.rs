//! Finds and calls the handler of each request.

use std::cell::Cell;

use super::api::params::{Params, decode_path};
use super::auth::MESSAGE_PATH;
use super::context::{App, Call, HandlerResult};
use super::message_route::{METHODS, MessageRoute};
use super::responder::RequestTrace;
use super::routes::{HttpRoute, ROUTES};
use super::transport::catch_panic::catch_panic;
use super::transport::request::{HttpRequest, MAX_BODY};
use super::transport::response::HttpResponse;
use super::transport::service::{HttpService, Reply, Ticket};
use super::ui;
use crate::error::Error;

/// The path of the route that is served, as the web interface is, while all other requests wait for the store.
const HEALTH_PATH: &str = "/healthz";

impl HttpService for App {
    fn admit(&self, head: &HttpRequest) -> Result<usize, HttpResponse> {
        let mut pattern = "";
        check_head(self, head, &mut pattern)
            .inspect_err(|refusal| self.record(&RequestTrace::of(head, pattern), refusal))
    }

    fn is_quick(&self, request: &HttpRequest) -> bool {
        request.path == HEALTH_PATH || ui_pattern(self, request).is_some()
    }

    fn call(&self, request: HttpRequest, ticket: Ticket) -> Reply {
        let mut trace = RequestTrace::of(&request, "");
        let handled = catch_panic(|| handle(self, request, ticket, &mut trace));
        let reply = match handled.unwrap_or_else(|| Err(HttpResponse::internal_error())) {
            Ok(reply) => reply,
            Err(refusal) => Reply::Response(refusal),
        };
        match reply {
            Reply::Response(response) => Reply::Response(self.finish_response(&trace, response)),
            Reply::Deferred => Reply::Deferred,
        }
    }

    fn resume(&self, ticket: Ticket) -> Reply {
        let check = || self.long_polls.try_claim(ticket, self, |wait| wait.check(&self.store, self, ticket));
        let Some(tried) = catch_panic(check) else {
            self.long_polls.forget(ticket);
            return Reply::Response(HttpResponse::internal_error());
        };
        let Some((request, response)) = tried else {
            return Reply::Deferred;
        };
        Reply::Response(self.finish_response(&request.trace, response))
    }

    fn gone(&self, ticket: Ticket) {
        self.long_polls.forget(ticket);
        if let Some(messages) = &self.messages {
            messages.gone(ticket);
        }
    }

    fn refused(&self, refusal: &HttpResponse) {
        self.record(&RequestTrace::of_invalid_request(), refusal);
    }
}

/// Decides by the head of a request whether it is served, and returns how many bytes its body may have.
fn check_head(app: &App, head: &HttpRequest, pattern: &mut &'static str) -> Result<usize, HttpResponse> {
    if let Some(of_ui) = ui_pattern(app, head) {
        app.auth.check_sender(head)?;
        *pattern = of_ui;
        return match head.method.as_str() {
            "GET" | "HEAD" | "OPTIONS" => Ok(0),
            _ => Err(method_not_allowed(ui::METHODS.to_string())),
        };
    }
    app.auth.check(head)?;
    if message_route(app, head).is_some() {
        *pattern = MESSAGE_PATH;
        return match head.method.as_str() {
            "POST" => app.auth.check_body(head).map(|()| MAX_BODY),
            "OPTIONS" => Ok(0),
            _ => Err(method_not_allowed(METHODS.to_string())),
        };
    }
    let operation = match find(&head.method, &head.path) {
        RouteMatch::Found(route, _) => &route.operation,
        RouteMatch::Options(_) => return Ok(0),
        RouteMatch::OtherMethods(allow) => return Err(method_not_allowed(allow)),
        RouteMatch::NoPath => return Err(unknown_route()),
    };
    *pattern = operation.path;
    if app.is_read_only && operation.method != "GET" {
        let text = "this server only shows the queue; start `lanes serve` without --read-only to change it";
        return Err(HttpResponse::error(403, "read_only", text));
    }
    if operation.needs_management && !app.allows_management {
        let text = "changing lanes and routes is switched off; start with --enable-queue-management";
        return Err(HttpResponse::error(403, "management_disabled", text));
    }
    if operation.body.is_none() {
        return Ok(0);
    }
    app.auth.check_body(head)?;
    Ok(MAX_BODY)
}

/// Reads the parameters of a request and calls its handler.
fn handle(app: &App, mut request: HttpRequest, ticket: Ticket, trace: &mut RequestTrace) -> HandlerResult {
    if let Some(pattern) = ui_pattern(app, &request) {
        trace.pattern = pattern;
        return match request.method.as_str() {
            "OPTIONS" => Ok(HttpResponse::no_content().with_header("Allow", ui::METHODS).into()),
            _ => Ok(ui::respond(&request.path, request.header("accept-encoding"))?.into()),
        };
    }
    if let Some(messages) = message_route(app, &request) {
        trace.pattern = MESSAGE_PATH;
        return match request.method.as_str() {
            "POST" => messages.post(app, request, ticket, trace),
            _ => Ok(HttpResponse::no_content().with_header("Allow", METHODS).into()),
        };
    }
    let (HttpRoute { operation, run }, parameter) = match find(&request.method, &request.path) {
        RouteMatch::Found(route, parameter) => (route, parameter),
        RouteMatch::Options(allow) => {
            return Ok(HttpResponse::no_content().with_header("Allow", allow).into());
        }
        RouteMatch::OtherMethods(allow) => return Err(method_not_allowed(allow)),
        RouteMatch::NoPath => return Err(unknown_route()),
    };
    trace.pattern = operation.path;
    if operation.path != HEALTH_PATH {
        app.check_store()?;
    }
    let parameter = decode_path(parameter.unwrap_or_default())?;
    let query = Params::from_query(operation.query, &request.query)?;
    // The parameters are copies: the bytes of the body are freed before the handler runs.
    let bytes = std::mem::take(&mut request.body);
    let body = operation.body.map_or(Ok(Params::default()), |fields| {
        let body = Params::from_body(fields, &bytes)?;
        if !operation.warns_of_unknown_keys {
            body.check_keys(fields)?;
        }
        Ok::<_, Error>(body)
    })?;
    drop(bytes);
    let call = Call {
        app,
        query,
        memory: Cell::new(std::mem::take(&mut request.memory)),
        request: &request,
        body,
        parameter,
        ticket,
        trace,
    };
    run(&call)
}

/// Returns the pattern of a path of the web interface, if that is served.
fn ui_pattern(app: &App, request: &HttpRequest) -> Option<&'static str> {
    ui::pattern(&request.path).filter(|_| app.has_ui)
}

/// Returns what answers the messages of a request, if it may be one.
fn message_route<'a>(app: &'a App, request: &HttpRequest) -> Option<&'a MessageRoute> {
    app.messages.as_ref().filter(|_| request.path == MESSAGE_PATH)
}

fn method_not_allowed(allow: String) -> HttpResponse {
    HttpResponse::error(405, "method_not_allowed", "this route does not have this method")
        .with_header("Allow", allow)
}

fn unknown_route() -> HttpResponse {
    HttpResponse::error(404, "unknown_route", "unknown route")
}

/// The result of looking up a method and a path.
enum RouteMatch<'a> {
    /// A route, and the part of the path that is its parameter.
    Found(&'static HttpRoute, Option<&'a str>),
    /// An OPTIONS request; the value is the `Allow` header.
    Options(String),
    /// A path whose routes have other methods; the value is the `Allow` header.
    OtherMethods(String),
    /// A path without routes.
    NoPath,
}

/// Finds the route of a request.
fn find<'a>(method: &str, path: &'a str) -> RouteMatch<'a> {
    if path == "*" {
        return RouteMatch::Options("GET, HEAD, POST, PATCH, DELETE, OPTIONS".to_string());
    }
    let wanted = if method == "HEAD" { "GET" } else { method };
    // A literal path goes before one with a parameter.
    let is_literal = !path.contains('{') && ROUTES.iter().any(|route| route.operation.path == path);
    let matching = || {
        let match_path = move |route: &'static HttpRoute| match is_literal {
            true => (route.operation.path == path).then_some((route, None)),
            false => match_pattern(route.operation.path, path).map(|parameter| (route, parameter)),
        };
        ROUTES.iter().filter_map(match_path)
    };
    if let Some((route, parameter)) = matching().find(|(route, _)| route.operation.method == wanted) {
        return RouteMatch::Found(route, parameter);
    }
    let mut methods: Vec<&str> = matching().map(|(route, _)| route.operation.method).collect();
    if methods.is_empty() {
        return RouteMatch::NoPath;
    }
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    let allow = methods.join(", ");
    if method == "OPTIONS" { RouteMatch::Options(allow) } else { RouteMatch::OtherMethods(allow) }
}

/// Returns whether a path matches a pattern, and the part of the path that is its parameter.
fn match_pattern<'a>(pattern: &str, path: &'a str) -> Option<Option<&'a str>> {
    let mut parameter = None;
    let mut parts = path.split('/');
    for wanted in pattern.split('/') {
        let part = parts.next()?;
        if wanted.starts_with('{') {
            parameter = Some(part).filter(|part| !part.is_empty());
            parameter?;
        } else if wanted != part {
            return None;
        }
    }
    parts.next().is_none().then_some(parameter)
}
