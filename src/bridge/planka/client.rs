//! Requests to one Planka server: who asks, how long it may take, and what a refusal means.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use super::address::ServerAddress;
use super::credentials::Credentials;
use crate::bridge::board::{BoardError, BoardErrorCode, BoardResult};
use crate::bridge::stop::StopFlag;
use crate::error::{brief, printable};
use crate::model::json::why_not_json;
use crate::workspace::Secret;

/// How long a request may take and how long its answer may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLimits {
    pub(super) time: Duration,
    /// In bytes.
    pub(super) answer: u64,
    /// The time from one request to the next, at least.
    pub(super) interval: Duration,
}

impl RequestLimits {
    /// At most `requests_per_second`, each for 30 seconds and 32 MiB at most.
    pub(super) fn at_rate(requests_per_second: f64) -> Self {
        let interval = Duration::try_from_secs_f64(1.0 / requests_per_second).unwrap_or_default();
        Self { time: Duration::from_secs(30), answer: 32 << 20, interval }
    }
}

/// A client of one server, logged in as one user.
pub(super) struct PlankaClient {
    agent: Agent,
    address: ServerAddress,
    credentials: Credentials,
    /// What the server gave for name and password.
    session: Option<Secret>,
    limits: RequestLimits,
    /// Once it is set, no request is made any more.
    stop: Arc<StopFlag>,
    /// When the last request began.
    last: Option<Instant>,
}

impl PlankaClient {
    /// Makes a client; `ca_file` has the certificates that are trusted in place of the public ones.
    ///
    /// # Errors
    /// `Invalid` if `ca_file` cannot be used.
    pub(super) fn new(
        address: ServerAddress,
        credentials: Credentials,
        ca_file: Option<&Path>,
        limits: RequestLimits,
        stop: Arc<StopFlag>,
    ) -> BoardResult<Self> {
        let roots = match ca_file {
            Some(path) => certificates(path)?,
            None => RootCerts::WebPki,
        };
        // Only an encrypted request may pass through a proxy, which would read any other.
        let proxy = if address.is_https() { Proxy::try_from_env() } else { None };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // The key is for this origin alone.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .timeout_global(Some(limits.time))
            .user_agent(concat!("lanes/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build()
            .new_agent();
        Ok(Self { agent, address, credentials, session: None, limits, stop, last: None })
    }

    /// Returns the address of the server.
    pub(super) fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Returns what a path has.
    ///
    /// # Errors
    /// By the status of the answer; `Unavailable` if there is none.
    pub(super) fn get<T: DeserializeOwned>(&mut self, path: &str) -> BoardResult<T> {
        self.request(Method::GET, path, None)
    }

    /// Creates something.
    ///
    /// # Errors
    /// As [`PlankaClient::get`].
    pub(super) fn post<T: DeserializeOwned>(&mut self, path: &str, body: &Value) -> BoardResult<T> {
        self.request(Method::POST, path, Some(body))
    }

    /// Changes something.
    ///
    /// # Errors
    /// As [`PlankaClient::get`].
    pub(super) fn patch<T: DeserializeOwned>(&mut self, path: &str, body: &Value) -> BoardResult<T> {
        self.request(Method::PATCH, path, Some(body))
    }

    /// Deletes something.
    ///
    /// # Errors
    /// As [`PlankaClient::get`].
    pub(super) fn delete(&mut self, path: &str) -> BoardResult<Value> {
        self.request(Method::DELETE, path, None)
    }

    fn request<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> BoardResult<T> {
        let had_session = self.session.is_some();
        let (status, mut text) = self.exchange(&method, path, body)?;
        let mut status = status;
        // A session may have ended; a password opens another one.
        if status.status == StatusCode::UNAUTHORIZED && had_session {
            self.session = None;
            (status, text) = self.exchange(&method, path, body)?;
        }
        if !status.status.is_success() {
            return Err(self.refusal(&status, &text, &format!("{method} {path}")));
        }
        serde_json::from_slice(&text).map_err(|error| {
            let is_page = text.trim_ascii_start().starts_with(b"<");
            let what = if is_page {
                "a web page".to_string()
            } else {
                format!("not JSON of Planka ({})", why_not_json(&error))
            };
            self.error(
                BoardErrorCode::Unavailable,
                format!(
                    "{} answers {method} {path} with {what}: is url right, and is it Planka 2?",
                    self.address
                ),
            )
        })
    }

    /// Makes a request as the user.
    fn exchange(
        &mut self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> BoardResult<(HttpAnswer, Vec<u8>)> {
        let (name, value) = match &self.credentials {
            Credentials::ApiKey(key) => ("x-api-key", key.reveal().to_string()),
            Credentials::Token(token) => ("authorization", format!("Bearer {}", token.reveal())),
            Credentials::Password { .. } => ("authorization", format!("Bearer {}", self.log_in()?.reveal())),
        };
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| self.error(BoardErrorCode::Auth, "the server gave a token that cannot be used"))?;
        value.set_sensitive(true);
        self.send(method, path, body, Some((name, value)))
    }

    /// Returns the session of name and password, and opens one if there is none.
    fn log_in(&mut self) -> BoardResult<Secret> {
        let Credentials::Password { user, password } = &self.credentials else {
            return Err(self.error(BoardErrorCode::Auth, "there is no password"));
        };
        if let Some(session) = &self.session {
            return Ok(session.clone());
        }
        let body = json!({"emailOrUsername": user.reveal(), "password": password.reveal()});
        let (answer, text) = self.send(&Method::POST, "/api/access-tokens", Some(&body), None)?;
        // What else the server says may repeat the password.
        let reply: Value = serde_json::from_slice(&text).unwrap_or_default();
        if answer.status.is_success() {
            let token = reply["item"].as_str().unwrap_or_default();
            let session = Secret::new(token);
            self.session = Some(session.clone());
            return Ok(session);
        }
        let address = self.address.clone();
        let asks_for_terms = reply["step"] == "accept-terms" || reply.get("pendingToken").is_some();
        Err(match answer.status {
            StatusCode::FORBIDDEN if asks_for_terms => self.error(
                BoardErrorCode::Auth,
                format!("the user has not accepted the terms of {address}: log in there once as PLANKA_USER and accept them, or use PLANKA_API_KEY"),
            ),
            StatusCode::FORBIDDEN => self.error(
                BoardErrorCode::Auth,
                format!("{address} does not let PLANKA_USER log in with a password ({}): use PLANKA_API_KEY", said(&reply)),
            ),
            StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST => self.error(
                BoardErrorCode::Auth,
                format!("{address} does not accept PLANKA_USER with PLANKA_PASSWORD: check both"),
            ),
            _ => self.refusal(&answer, b"", "the login"),
        })
    }

    /// Makes one request, when it is time for it, and reads the whole answer.
    fn send(
        &mut self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        identity: Option<(&str, HeaderValue)>,
    ) -> BoardResult<(HttpAnswer, Vec<u8>)> {
        let wait = self.last.map(|last| self.limits.interval.saturating_sub(last.elapsed()));
        if self.stop.sleep(wait.unwrap_or_default()) {
            return Err(StopFlag::refusal());
        }
        self.last = Some(Instant::now());
        let mut request = Request::builder()
            .method(method)
            .uri(self.address.with(path))
            .header(header::ACCEPT, "application/json");
        if let Some((name, value)) = identity {
            request = request.header(name, value);
        }
        let sent = match body {
            Some(body) => request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.to_string())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
            None => request.body(()).map_err(ureq::Error::from).and_then(|request| self.agent.run(request)),
        };
        let mut response = sent.map_err(|error| self.failure(&error))?;
        let answer = HttpAnswer::of(&response);
        let limit = self.limits.answer;
        let text = response.body_mut().with_config().limit(limit).read_to_vec();
        let text = text.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => self.error(
                BoardErrorCode::Invalid,
                format!(
                    "the answer to {method} {path} is longer than {} MiB: archive cards that are done",
                    limit >> 20
                ),
            ),
            error => self.failure(&error),
        })?;
        Ok((answer, text))
    }

    /// What a request that has no answer means.
    fn failure(&self, error: &ureq::Error) -> BoardError {
        let reason = match error {
            ureq::Error::Timeout(_) => format!("no answer within {} s", self.limits.time.as_secs_f64()),
            ureq::Error::HostNotFound => "there is no such host".to_string(),
            ureq::Error::Io(error) => without_number(&error.to_string()),
            ureq::Error::Rustls(error) => error.to_string(),
            error => error.to_string(),
        };
        let hint = if reason.contains("UnknownIssuer") {
            "; name the certificate of its authority in ca_file"
        } else {
            ""
        };
        self.error(
            BoardErrorCode::Unavailable,
            format!("cannot reach Planka at {}: {}{hint}", self.address, printable(&reason)),
        )
    }

    /// What an answer other than success means.
    fn refusal(&self, answer: &HttpAnswer, text: &[u8], request: &str) -> BoardError {
        let reply: Value = serde_json::from_slice(text).unwrap_or_default();
        let (status, said, address) = (answer.status, said(&reply), &self.address);
        let (code, message) = match status.as_u16() {
            401 => (
                BoardErrorCode::Auth,
                format!("{address} does not accept {}: check it, or make a new one", self.credentials.name()),
            ),
            403 => (BoardErrorCode::Forbidden, format!("{address} refuses {request}: {said}")),
            404 => (BoardErrorCode::NotFound, format!("{address} has nothing for {request}: {said}")),
            409 => (BoardErrorCode::Conflict, format!("{address} refuses {request}: {said}")),
            429 => (BoardErrorCode::RateLimited, format!("{address} asks for fewer requests")),
            300..=399 => (
                BoardErrorCode::Invalid,
                match &answer.location {
                    Some(location) => format!("{address} has moved to {}: change url", brief(location)),
                    None => format!("{address} answers {request} with status {status}: is url right?"),
                },
            ),
            408 | 500.. => (BoardErrorCode::Unavailable, format!("{address} answers with status {status}")),
            _ => (BoardErrorCode::Invalid, format!("{address} does not accept {request} ({status}): {said}")),
        };
        BoardError { retry_after: answer.retry_after, ..self.error(code, message) }
    }

    /// Makes an error in whose message no secret is left, whatever the server has repeated.
    pub(super) fn error(&self, code: BoardErrorCode, message: impl Into<String>) -> BoardError {
        let mut message = message.into();
        for secret in self.credentials.secrets().into_iter().chain(&self.session) {
            if secret.reveal().len() >= 4 {
                message = message.replace(secret.reveal(), "…");
            }
        }
        BoardError::new(code, message)
    }
}

/// The head of an answer, as far as it matters.
struct HttpAnswer {
    status: StatusCode,
    location: Option<String>,
    retry_after: Option<Duration>,
}

impl HttpAnswer {
    fn of(response: &Response<Body>) -> Self {
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        Self {
            status: response.status(),
            location: text(header::LOCATION).map(str::to_string),
            retry_after: text(header::RETRY_AFTER)
                .and_then(|text| text.parse().ok())
                .map(Duration::from_secs),
        }
    }
}

/// What the server says of a refusal.
fn said(reply: &Value) -> String {
    let problem = reply["problems"][0].as_str();
    match problem.or(reply["message"].as_str()).or(reply["code"].as_str()) {
        Some(text) => brief(text),
        None => "no reason is given".to_string(),
    }
}

/// The message of the operating system without its number.
fn without_number(text: &str) -> String {
    text.find(" (os error ").map_or(text, |end| &text[..end]).to_string()
}

/// Reads the certificates of authorities.
fn certificates(path: &Path) -> BoardResult<RootCerts> {
    let shown = printable(&path.to_string_lossy());
    let refuse = |reason: String| BoardError::new(BoardErrorCode::Invalid, reason);
    let text = std::fs::read(path).map_err(|error| {
        refuse(format!("cannot read ca_file {shown}: {}", without_number(&error.to_string())))
    })?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(refuse(format!("ca_file {shown}: {error}"))),
        }
    }
    if found.is_empty() {
        return Err(refuse(format!(
            "ca_file {shown} has no certificate: it needs text that begins with -----BEGIN CERTIFICATE-----"
        )));
    }
    Ok(RootCerts::new_with_certs(&found))
}
