//! Requests to one server: which are repeated, how long that goes on, and what an answer means.
//!
//! Every request may be repeated: a read changes nothing, and a change has an id by which the server gives the first reply
//! again. A link that breaks in the middle is therefore tried again until [`DEADLINE`]. What became of a change then is
//! unknown, and the error says so.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::{HeaderValue, Method, Request, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy};

use super::address::StoreAddress;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::json::{self, Object};
use crate::store::StoreToken;
use crate::store::wire;

/// How long a request is repeated once it was sent.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long a server that nothing can be sent to is tried.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// How long an answer may take on top of what the server was asked to wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// The delays between two tries.
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LAST_DELAY: Duration = Duration::from_secs(1);
/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 130 * 1024 * 1024;
/// The largest body that a server takes, in bytes.
pub(super) const MAX_BODY: usize = 8 * 1024 * 1024;

/// A client of one server.
#[derive(Clone, Debug)]
pub(super) struct StoreClient {
    agent: Agent,
    address: StoreAddress,
    token: Option<StoreToken>,
}

/// Why there is no answer.
enum Failure {
    /// Nothing was sent.
    NotSent(String),
    /// It may have been sent.
    Broken(String),
    /// Trying again cannot help.
    Hopeless(Error),
}

impl StoreClient {
    /// Makes a client; connects only with the first request.
    ///
    /// # Errors
    /// `Config` if `ca_file` cannot be used.
    pub(super) fn new(
        address: StoreAddress,
        token: Option<StoreToken>,
        ca_file: Option<&Path>,
    ) -> Result<Self> {
        let roots = match ca_file {
            Some(path) => certificates(path)?,
            None => RootCerts::WebPki,
        };
        // Only an encrypted request may pass through a proxy, which would read any other.
        let proxy = if address.is_https() { Proxy::try_from_env() } else { None };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // The token is for this origin alone.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .timeout_connect(Some(CONNECT_DEADLINE))
            .user_agent(concat!("lanes/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build()
            .new_agent();
        Ok(Self { agent, address, token })
    }

    /// Returns the address of the server.
    pub(super) fn address(&self) -> &StoreAddress {
        &self.address
    }

    /// Reads something; `query` has names and values.
    ///
    /// # Errors
    /// What the server answers; `Unavailable` if there is no answer.
    pub(super) fn read(&self, name: &str, query: &[(&str, &str)]) -> Result<Value> {
        let mut reply = self.request(&Method::GET, &target(name, query), None)?;
        reply.remove("value").ok_or_else(|| wire::unusable("there is no value"))
    }

    /// Asks what the server is.
    ///
    /// # Errors
    /// As [`StoreClient::read`]; `Config` when it is no server of the same protocol.
    pub(super) fn describe(&self) -> Result<Object> {
        let described = self.request(&Method::GET, "/store/v1", None)?;
        match described.get("protocol").and_then(Value::as_u64) {
            Some(wire::PROTOCOL) => Ok(described),
            _ => Err(self.not_lanes("it does not say which protocol it speaks")),
        }
    }

    /// Changes something. The server carries the change out once, however often it is sent.
    ///
    /// # Errors
    /// As [`StoreClient::read`].
    pub(super) fn change(&self, name: &str, request_id: &str, mut body: Object) -> Result<Object> {
        body.insert("request_id".to_string(), request_id.into());
        self.request(&Method::POST, &format!("/store/v1/{name}"), Some(body))
    }

    /// Waits on the server, once; the caller decides what a failure means.
    ///
    /// # Errors
    /// As [`StoreClient::read`].
    pub(super) fn wait(&self, query: &[(&str, &str)], longest: Duration) -> Result<Value> {
        self.once("watch", query, longest + PATIENCE)
    }

    /// Reads something as [`StoreClient::read`] does, and does not try again.
    ///
    /// # Errors
    /// As [`StoreClient::read`].
    pub(super) fn read_once(&self, name: &str, query: &[(&str, &str)]) -> Result<Value> {
        self.once(name, query, PATIENCE)
    }

    fn once(&self, name: &str, query: &[(&str, &str)], longest: Duration) -> Result<Value> {
        let sent = self.exchange(&Method::GET, &target(name, query), None, longest);
        let (status, text) = sent.map_err(|failure| match failure {
            Failure::NotSent(reason) | Failure::Broken(reason) => self.unreachable(&reason),
            Failure::Hopeless(error) => error,
        })?;
        let mut reply = self.reply(status, &text)?;
        reply.remove("value").ok_or_else(|| wire::unusable("there is no value"))
    }

    /// Makes a request until there is an answer, or its time is over.
    fn request(&self, method: &Method, target: &str, body: Option<Object>) -> Result<Object> {
        let (begun, mut delay, mut body) = (Instant::now(), FIRST_DELAY, body);
        let mut was_sent = false;
        loop {
            let text = body.as_ref().map(json::portable_text);
            if text.as_ref().is_some_and(|text| text.len() > MAX_BODY) {
                return Err(Error::refused(
                    "this is more than the 8 MiB that can be sent to a store on another machine",
                )
                .with_hint("put it where the worker can fetch it, and name the place in the request"));
            }
            let left = DEADLINE.saturating_sub(begun.elapsed()).max(PATIENCE);
            let reason = match self.exchange(method, target, text.as_deref(), left) {
                Ok((status, text)) if !is_passing(status, &text) => return self.reply(status, &text),
                Ok((status, text)) => {
                    was_sent = true;
                    said(&text).unwrap_or_else(|| format!("it answers with status {status}"))
                }
                Err(Failure::NotSent(reason)) => reason,
                Err(Failure::Broken(reason)) => {
                    was_sent = true;
                    reason
                }
                Err(Failure::Hopeless(error)) => return Err(error),
            };
            if begun.elapsed() + delay > if was_sent { DEADLINE } else { CONNECT_DEADLINE } {
                return Err(match was_sent && body.is_some() {
                    true => self.unknown_outcome(&reason),
                    false => self.unreachable(&reason),
                });
            }
            sleep(delay);
            delay = (delay * 2).min(LAST_DELAY);
            // By the token of a claim, the server finds what a request before this one has claimed.
            if was_sent && let Some(body) = body.as_mut().filter(|body| body.contains_key("lease_seconds")) {
                body.insert("is_repeated".to_string(), true.into());
            }
        }
    }

    /// Makes one request and reads its whole answer.
    fn exchange(
        &self,
        method: &Method,
        target: &str,
        body: Option<&str>,
        longest: Duration,
    ) -> std::result::Result<(u16, Vec<u8>), Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.address.with(target))
            .header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal())).map_err(|_| {
                let message = "the token of the store has characters that no token has";
                Failure::Hopeless(Error::config(message).with_hint(TOKEN_PLACES))
            })?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let sent = match body {
            Some(body) => request.body(body).map_err(ureq::Error::from).and_then(|request| {
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(longest)).build())
            }),
            None => request.body(()).map_err(ureq::Error::from).and_then(|request| {
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(longest)).build())
            }),
        };
        let mut response = sent.map_err(|error| self.failure(&error))?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        let text = text.map_err(|error| self.failure(&error))?;
        Ok((status, text))
    }

    /// Returns what a request without an answer means.
    fn failure(&self, error: &ureq::Error) -> Failure {
        match error {
            ureq::Error::HostNotFound => Failure::NotSent("there is no such host".to_string()),
            ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                Failure::NotSent("it does not take connections".to_string())
            }
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Failure::NotSent("nothing listens there".to_string())
            }
            // A handshake that fails comes as an I/O error, with the words of rustls.
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                self.tls_failure(&error.to_string())
            }
            ureq::Error::Rustls(error) => self.tls_failure(&error.to_string()),
            ureq::Error::Io(error) => Failure::Broken(without_number(&error.to_string())),
            ureq::Error::Timeout(_) => Failure::Broken("it does not answer in time".to_string()),
            ureq::Error::BodyExceedsLimit(_) => {
                Failure::Hopeless(Error::refused("the answer of the server is longer than 130 MiB"))
            }
            error => Failure::Broken(without_number(&error.to_string())),
        }
    }

    /// Returns what a failure of TLS means.
    fn tls_failure(&self, reason: &str) -> Failure {
        let address = &self.address;
        if reason.contains("certificate") {
            let message = format!("the certificate of {address} is not accepted: {}", printable(reason));
            return Failure::Hopeless(
                Error::config(message).with_hint(
                    "set SSL_CERT_FILE to the certificate of its authority, or correct the address",
                ),
            );
        }
        // The first bytes of the answer are no record of TLS.
        if reason.contains("InvalidContentType") {
            let message = format!("{address} answers without encryption");
            return Failure::Hopeless(
                Error::config(message)
                    .with_hint("name the proxy that encrypts; `lanes serve` itself speaks http://"),
            );
        }
        Failure::Broken(reason.to_string())
    }

    /// Reads an answer.
    fn reply(&self, status: u16, text: &[u8]) -> Result<Object> {
        let parsed = json::parse_object(text);
        if (200..300).contains(&status) {
            return parsed.map_err(|_| self.not_lanes("it does not answer in JSON"));
        }
        let reply = parsed.unwrap_or_default();
        let code = reply.get("code").and_then(Value::as_str).unwrap_or_default();
        let address = &self.address;
        Err(match (status, code) {
            (401, _) if self.token.is_some() => {
                Error::config(format!("{address} does not accept the token")).with_hint(TOKEN_PLACES)
            }
            (401, _) => Error::config(format!("{address} wants a token")).with_hint(TOKEN_PLACES),
            (404 | 405, "unknown_route" | "method_not_allowed") => self.not_lanes("it has no such route"),
            (300..=399, _) => self.not_lanes(&format!("it answers with status {status}")),
            (413, _) => Error::refused("this is more than the server takes in one request"),
            _ => match wire::read_error(&reply) {
                Some(error) => error,
                None => match said(text) {
                    Some(said) => Error::refused(format!("{address} refuses this: {said}")),
                    None => self.not_lanes(&format!("it answers with status {status}")),
                },
            },
        })
    }

    fn not_lanes(&self, why: &str) -> Error {
        Error::config(format!("{} is no store: {why}", self.address))
            .with_hint("check the address, and use the same version of lanes on both machines")
    }

    /// Returns the error of a request that had no effect, for all that is known.
    fn unreachable(&self, reason: &str) -> Error {
        let message = format!("cannot reach the store at {}: {}", self.address, printable(reason));
        Error::new(ErrorKind::Unavailable, message).with_hint("is `lanes serve` running there?")
    }

    fn unknown_outcome(&self, reason: &str) -> Error {
        let message = format!(
            "the store at {} does not say whether this was done: {}",
            self.address,
            printable(reason)
        );
        Error::new(ErrorKind::Unavailable, message)
            .with_hint("look at the task before you run the command again")
    }
}

/// Where a token is taken from.
const TOKEN_PLACES: &str =
    "give it in LANES_TOKEN or --store-token-file; `lanes serve` prints at its start where its token is";

/// Returns the path of a read with its query.
fn target(name: &str, query: &[(&str, &str)]) -> String {
    let mut target = format!("/store/v1/{name}");
    for (place, (key, value)) in query.iter().enumerate() {
        target.push(if place == 0 { '?' } else { '&' });
        target.push_str(key);
        target.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    target.push(byte.into())
                }
                _ => target.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    target
}

/// Returns whether an answer is about the moment: the server, or a proxy before it, may answer otherwise soon.
fn is_passing(status: u16, text: &[u8]) -> bool {
    let code = || -> Option<String> {
        let reply = json::parse_object(text).ok()?;
        reply.get("code")?.as_str().map(str::to_string)
    };
    match status {
        408 | 502 | 504 => true,
        503 => code().is_none_or(|code| {
            !["locked", "newer_format", "unavailable", "store_gone"].contains(&code.as_str())
        }),
        _ => false,
    }
}

/// Returns what a server says of a refusal.
fn said(text: &[u8]) -> Option<String> {
    let reply = json::parse_object(text).ok()?;
    reply.get("error").and_then(Value::as_str).map(printable)
}

/// Returns the message of the operating system without its number.
fn without_number(text: &str) -> String {
    text.find(" (os error ").map_or(text, |end| &text[..end]).to_string()
}

/// Reads the certificates of authorities.
fn certificates(path: &Path) -> Result<RootCerts> {
    let shown = printable(&path.to_string_lossy());
    let text = std::fs::read(path).map_err(|error| Error::io("read the certificates in", path, error))?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(Error::config(format!("{shown}: {error}"))),
        }
    }
    if found.is_empty() {
        return Err(Error::config(format!("{shown} has no certificate"))
            .with_hint("SSL_CERT_FILE names a file with -----BEGIN CERTIFICATE-----"));
    }
    Ok(RootCerts::new_with_certs(&found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_encoded() {
        assert_eq!(target("task", &[]), "/store/v1/task");
        assert_eq!(
            target("x", &[("id", "a-1"), ("lane", "é &=#")]),
            "/store/v1/x?id=a-1&lane=%C3%A9%20%26%3D%23"
        );
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_stays_is_not() {
        for (status, text) in [
            (502, ""),
            (504, "<html>"),
            (503, ""),
            (503, r#"{"code": "stopping"}"#),
            (503, r#"{"code": "running"}"#),
            (408, ""),
        ] {
            assert!(is_passing(status, text.as_bytes()), "{status} {text}");
        }
        for (status, text) in [
            (200, ""),
            (409, ""),
            (500, ""),
            (503, r#"{"code": "locked"}"#),
            (503, r#"{"code": "newer_format"}"#),
        ] {
            assert!(!is_passing(status, text.as_bytes()), "{status} {text}");
        }
    }
}
