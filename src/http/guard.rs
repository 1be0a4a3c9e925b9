//! Who may ask at all: this machine's programs, and web pages never.
//!
//! A browser lets any page send requests to this machine. What protects the queue: the Host must
//! be a name that no stranger's DNS can hand out, an Origin must be our own, and a body must be
//! declared as JSON, which a page cannot do without asking first (and being told nothing).

use std::net::IpAddr;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::answer::Answer;
use super::wire::Request;
use crate::error::{Error, Result, printable};

/// The shortest token that is accepted, in bytes.
const MIN_TOKEN: usize = 16;

/// The door's rules.
#[derive(Debug, Default)]
pub struct Guard {
    /// Names beside the loopback's under which clients may address the server, in lower case.
    pub hosts: Vec<String>,
    /// The fingerprint of the token that every request must show.
    pub token: Option<[u8; 32]>,
}

impl Guard {
    /// Refuses a request that must not be served.
    ///
    /// # Errors
    /// The answer to it.
    pub fn check(&self, request: &Request) -> std::result::Result<(), Answer> {
        if !self.is_our_name(&request.host) {
            let text = "this Host is not served here; use a loopback name, an IP address, or --allow-host";
            return Err(Answer::refusal(403, "host_refused", text));
        }
        let own = request.host.to_ascii_lowercase();
        let is_own = |origin: &str| {
            let origin = origin.to_ascii_lowercase();
            origin.strip_prefix("http://").or(origin.strip_prefix("https://")) == Some(own.as_str())
        };
        let is_foreign_origin = match request.count("origin") {
            0 => false,
            _ => !request.header("origin").is_some_and(is_own),
        };
        let is_cross_site = request.headers.iter().any(|(name, value)| {
            name == "sec-fetch-site" && !matches!(value.as_str(), "same-origin" | "none")
        });
        if is_foreign_origin || is_cross_site {
            let text = "requests from web pages of other origins are not served";
            return Err(Answer::refusal(403, "origin_refused", text));
        }
        if request.path != "/healthz" && !self.knows(request.header("authorization")) {
            let text = "this server needs the header `Authorization: Bearer TOKEN`";
            return Err(
                Answer::refusal(401, "unauthorized", text).with("WWW-Authenticate", "Bearer realm=\"lanes\"")
            );
        }
        Ok(())
    }

    /// Refuses a body that is not declared as JSON.
    ///
    /// # Errors
    /// The answer to it.
    pub fn check_body(&self, request: &Request) -> std::result::Result<(), Answer> {
        let is_json = |value: &str| {
            let kind = value.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/json")
        };
        let is_fine = match request.count("content-type") {
            0 => !request.has_body,
            _ => request.header("content-type").is_some_and(is_json),
        };
        if is_fine {
            return Ok(());
        }
        let text = "a body is JSON and says so: Content-Type: application/json";
        Err(Answer::refusal(415, "content_type_refused", text))
    }

    /// Whether a Host names this server in a way that no DNS server of a stranger could.
    fn is_our_name(&self, host: &str) -> bool {
        let name = host_name(host).to_ascii_lowercase();
        name.parse::<IpAddr>().is_ok() || name == "localhost" || self.hosts.contains(&name)
    }

    fn knows(&self, authorization: Option<&str>) -> bool {
        let Some(expected) = &self.token else {
            return true;
        };
        let shown = authorization.and_then(|value| value.split_once(' '));
        let token = match shown {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => "",
        };
        // Fingerprints have one length, and all of their bytes are always looked at.
        let shown: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        shown.iter().zip(expected).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

/// A Host without its port, and an IPv6 address without its brackets; empty when it is neither.
fn host_name(host: &str) -> &str {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address, rest),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { name } else { "" }
}

/// The fingerprint of the token in a file.
///
/// # Errors
/// `Config` when the file holds no good token; `Io`.
pub fn read_token(path: &Path) -> Result<[u8; 32]> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Error::io("read the token file", path, error))?;
    let token = text.trim();
    if token.len() < MIN_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::config(format!(
            "{} holds no token: at least {MIN_TOKEN} visible ASCII characters are needed",
            printable(&path.to_string_lossy())
        ))
        .with_hint("`head -c 32 /dev/urandom | base64` makes a good one"));
    }
    Ok(Sha256::digest(token.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(guard: &Guard, host: &str, headers: &[(&str, &str)]) -> u16 {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let request =
            Request { host: host.to_string(), path: "/tasks".into(), headers, ..Request::default() };
        guard.check(&request).map_or_else(|answer| answer.status, |()| 200)
    }

    #[test]
    fn only_names_beyond_a_strangers_reach_are_ours() {
        let guard = Guard { hosts: vec!["build.lan".into()], token: None };
        for good in ["localhost", "LOCALHOST:1", "127.0.0.1:8765", "[::1]:8765", "10.0.0.3", "Build.LAN:80"] {
            assert_eq!(status(&guard, good, &[]), 200, "{good}");
        }
        for bad in [
            "",
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "[::1].evil.test:1",
            "a@localhost",
        ] {
            assert_eq!(status(&guard, bad, &[]), 403, "{bad}");
        }
    }

    #[test]
    fn foreign_origins_are_refused() {
        let guard = Guard::default();
        let host = "localhost:8765";
        assert_eq!(status(&guard, host, &[("origin", "http://localhost:8765")]), 200);
        assert_eq!(status(&guard, host, &[("sec-fetch-site", "none")]), 200);
        for origin in ["http://evil.test", "null", "", "http://localhost:3000", "http://localhost"] {
            assert_eq!(status(&guard, host, &[("origin", origin)]), 403, "{origin}");
        }
        let twice = [("origin", "http://localhost:8765"), ("origin", "http://evil.test")];
        assert_eq!(status(&guard, host, &twice), 403);
        assert_eq!(status(&guard, host, &[("sec-fetch-site", "cross-site")]), 403);
    }

    #[test]
    fn a_token_is_needed_whole() {
        let secret = "0123456789abcdef";
        let guard = Guard { hosts: Vec::new(), token: Some(Sha256::digest(secret.as_bytes()).into()) };
        assert_eq!(status(&guard, "localhost", &[("authorization", "Bearer 0123456789abcdef")]), 200);
        for bad in ["Bearer 0123456789abcde", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef"] {
            assert_eq!(status(&guard, "localhost", &[("authorization", bad)]), 401, "{bad}");
        }
        assert_eq!(status(&guard, "localhost", &[]), 401);
    }
}
