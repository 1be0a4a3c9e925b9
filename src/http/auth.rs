//! Decides which requests are served: those of this user's programs, and never those of web pages of other
//! origins.
//!
//! A browser lets any page send requests to this machine. Three checks protect the queue: the Host must be a name
//! that nobody else's DNS server can answer for; an Origin must be our own; and every request must present a token,
//! or a cookie that was exchanged for a code, or come over a socket that only this user can reach.
//!
//! Without a token (`--no-token`), the headers that browsers add must keep pages of other sites from posting. A
//! body may lack `Content-Type: application/json` only if no header shows that a browser sends it: no Origin,
//! Sec-Fetch-*, Referer or Cookie, and no User-Agent that begins with `Mozilla/`, as that of every browser does. A
//! page can forge none of these; old browsers that send neither Origin with a form nor Sec-Fetch-* still have
//! their User-Agent. A page that DNS rebinding has made "same origin" fails the check of its Host.

use std::net::IpAddr;
use std::time::Instant;

use super::session::{BrowserSession, is_host_name};
use super::token::SecretHash;
use super::transport::request::HttpRequest;
use super::transport::response::HttpResponse;

/// The paths that need no token; their responses may be seen by everybody.
pub(super) const OPEN_PATHS: [&str; 2] = ["/healthz", "/open"];

/// The pages that a link on another page may lead to: those that show nothing and change nothing without a secret, which
/// the other page does not know.
const LINKED_PAGES: [&str; 2] = ["/", "/open"];

/// The path of messages of the Model Context Protocol.
pub(super) const MESSAGE_PATH: &str = "/mcp";

/// The rules by which requests are served.
#[derive(Debug, Default)]
pub(crate) struct AuthPolicy {
    /// Names under which clients may address the server, in addition to those of the loopback, in lower case.
    pub hosts: Vec<String>,
    /// The token that requests must present; without it, everybody who can reach the server may use it.
    pub token: Option<SecretHash>,
    /// The token that messages to [`MESSAGE_PATH`] must present, in place of the other and of a cookie.
    pub message_token: Option<SecretHash>,
    /// The session whose cookie a browser may present instead.
    pub session: Option<BrowserSession>,
}

impl AuthPolicy {
    /// Checks the head of a request, except for what it may ask for without a token.
    ///
    /// # Errors
    /// The response to a request that addresses another server, or comes from a page of another origin.
    pub(crate) fn check_sender(&self, request: &HttpRequest) -> Result<(), HttpResponse> {
        if !self.is_our_name(&request.host) {
            let text = match is_host_name(&host_name(&request.host).to_ascii_lowercase()) {
                true => {
                    "this address was that of another server; `lanes serve --open` prints the address of this one"
                }
                false => "this Host is not served here; use a loopback name, an IP address, or --allow-host",
            };
            return Err(HttpResponse::error(403, "host_refused", text));
        }
        let is_foreign_origin = request.count("origin") > 0 && !has_our_origin(request);
        let is_cross_site = request.headers.iter().any(|(name, value)| {
            name == "sec-fetch-site" && !matches!(value.as_str(), "same-origin" | "none")
        });
        if is_foreign_origin || (is_cross_site && !is_followed_link(request)) {
            let text = "requests from web pages of other origins are not served";
            return Err(HttpResponse::error(403, "origin_refused", text));
        }
        Ok(())
    }

    /// Checks the head of a request.
    ///
    /// # Errors
    /// The response to a request that is not served.
    pub(crate) fn check(&self, request: &HttpRequest) -> Result<(), HttpResponse> {
        self.check_sender(request)?;
        if !OPEN_PATHS.contains(&request.path.as_str()) && !self.is_authenticated(request) {
            let text = "this server needs the header `Authorization: Bearer TOKEN`; `lanes serve` prints at its \
                        start where the token is";
            return Err(HttpResponse::error(401, "unauthorized", text)
                .with_header("WWW-Authenticate", "Bearer realm=\"lanes\""));
        }
        Ok(())
    }

    /// Returns whether a request presents the token or a valid cookie, or needs neither.
    pub(crate) fn is_authenticated(&self, request: &HttpRequest) -> bool {
        if request.path == MESSAGE_PATH {
            return request.is_own_user
                || self.message_token.is_none_or(|token| token.matches(bearer(request)));
        }
        request.is_own_user
            || self.token.is_none_or(|token| token.matches(bearer(request)))
            || self.session.as_ref().is_some_and(|session| {
                may_use_cookie(request)
                    && request
                        .header("cookie")
                        .is_some_and(|cookies| session.accepts(cookies, Instant::now()))
            })
    }

    /// Checks that a browser declares its body as JSON, which a page of another site cannot do without a preflight
    /// request (which is not allowed). Every other client's body is read as JSON, whatever its declared type.
    ///
    /// # Errors
    /// The response to a request whose body is refused.
    pub(crate) fn check_body(&self, request: &HttpRequest) -> Result<(), HttpResponse> {
        let is_json = |value: &str| {
            let kind = value.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/json")
        };
        let is_fine = match request.count("content-type") {
            0 => !request.has_body || !is_from_browser(request),
            1 => !is_from_browser(request) || request.header("content-type").is_some_and(is_json),
            _ => false,
        };
        if is_fine {
            return Ok(());
        }
        let text = "a body must be JSON and declared as such: Content-Type: application/json";
        Err(HttpResponse::error(415, "content_type_refused", text))
    }

    /// Returns whether a Host names this server in a way that nobody else's DNS server could.
    fn is_our_name(&self, host: &str) -> bool {
        let name = host_name(host).to_ascii_lowercase();
        name.parse::<IpAddr>().is_ok() || name == "localhost" || self.hosts.contains(&name)
    }
}

/// Returns whether a person follows a link, or a page that only forwards, to a page of ours; not a frame, script or
/// image of another page.
fn is_followed_link(request: &HttpRequest) -> bool {
    LINKED_PAGES.contains(&request.path.as_str())
        && request.method == "GET"
        && request.header("sec-fetch-mode") == Some("navigate")
        && request.header("sec-fetch-dest") == Some("document")
}

/// Returns the token that a request presents; empty when it presents none.
fn bearer(request: &HttpRequest) -> &str {
    match request.header("authorization").and_then(|value| value.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    }
}

/// Returns whether a request has one Origin, and it is the server's.
fn has_our_origin(request: &HttpRequest) -> bool {
    request.header("origin").is_some_and(|origin| {
        let origin = origin.to_ascii_lowercase();
        origin.strip_prefix("http://").or(origin.strip_prefix("https://"))
            == Some(request.host.to_ascii_lowercase().as_str())
    })
}

/// Returns whether a cookie counts. A browser adds it to the requests of any page, so a request that may change
/// something must come from a page of this server.
fn may_use_cookie(request: &HttpRequest) -> bool {
    matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS")
        || has_our_origin(request)
        || request.header("sec-fetch-site") == Some("same-origin")
}

/// Returns whether any header shows that a browser sends the request.
fn is_from_browser(request: &HttpRequest) -> bool {
    request.headers.iter().any(|(name, value)| match name.as_str() {
        "origin" | "referer" | "cookie" => true,
        "user-agent" => {
            value.trim_start().get(..8).is_some_and(|start| start.eq_ignore_ascii_case("mozilla/"))
        }
        name => name.starts_with("sec-fetch-"),
    })
}

/// Returns a Host without its port, and an IPv6 address without its brackets; empty when it is invalid.
fn host_name(host: &str) -> &str {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address, rest),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { name } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(auth: &AuthPolicy, host: &str, headers: &[(&str, &str)]) -> u16 {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let request =
            HttpRequest { host: host.to_string(), path: "/tasks".into(), headers, ..HttpRequest::default() };
        auth.check(&request).map_or_else(|answer| answer.status, |()| 200)
    }

    #[test]
    fn only_names_beyond_a_strangers_reach_are_ours() {
        let auth = AuthPolicy { hosts: vec!["build.lan".into()], ..AuthPolicy::default() };
        for good in ["localhost", "LOCALHOST:1", "127.0.0.1:8765", "[::1]:8765", "10.0.0.3", "Build.LAN:80"] {
            assert_eq!(status(&auth, good, &[]), 200, "{good}");
        }
        for bad in [
            "",
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "[::1].evil.test:1",
            "a@localhost",
        ] {
            assert_eq!(status(&auth, bad, &[]), 403, "{bad}");
        }
    }

    #[test]
    fn foreign_origins_are_refused() {
        let auth = AuthPolicy::default();
        let host = "localhost:8765";
        assert_eq!(status(&auth, host, &[("origin", "http://localhost:8765")]), 200);
        assert_eq!(status(&auth, host, &[("sec-fetch-site", "none")]), 200);
        for origin in ["http://evil.test", "null", "", "http://localhost:3000", "http://localhost"] {
            assert_eq!(status(&auth, host, &[("origin", origin)]), 403, "{origin}");
        }
        let twice = [("origin", "http://localhost:8765"), ("origin", "http://evil.test")];
        assert_eq!(status(&auth, host, &twice), 403);
        assert_eq!(status(&auth, host, &[("sec-fetch-site", "cross-site")]), 403);
    }

    #[test]
    fn a_link_elsewhere_leads_to_pages_without_data_alone() {
        let auth = AuthPolicy::default();
        let link = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        let is_served = |method: &str, path: &str, headers: &[(&str, &str)]| {
            let request = HttpRequest { path: path.to_string(), ..of(method, headers) };
            auth.check_sender(&request).is_ok()
        };
        assert!(is_served("GET", "/", &link) && is_served("GET", "/open", &link));
        assert!(!is_served("GET", "/status", &link) && !is_served("POST", "/open", &link));
        let origin = [&link[..], &[("origin", "null")]].concat();
        assert!(!is_served("GET", "/", &origin) && !is_served("GET", "/", &link[..1]));
        for (at, other) in [(1, ("sec-fetch-mode", "no-cors")), (2, ("sec-fetch-dest", "iframe"))] {
            let mut headers = link;
            headers[at] = other;
            assert!(!is_served("GET", "/", &headers), "{other:?}");
        }
    }

    #[test]
    fn a_token_is_needed_whole() {
        let secret = "0123456789abcdef";
        let auth = AuthPolicy { token: Some(SecretHash::of(secret)), ..AuthPolicy::default() };
        assert_eq!(status(&auth, "localhost", &[("authorization", "Bearer 0123456789abcdef")]), 200);
        for bad in ["Bearer 0123456789abcde", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef"] {
            assert_eq!(status(&auth, "localhost", &[("authorization", bad)]), 401, "{bad}");
        }
        assert_eq!(status(&auth, "localhost", &[]), 401);
    }

    fn of(method: &str, headers: &[(&str, &str)]) -> HttpRequest {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        HttpRequest {
            method: method.to_string(),
            host: "localhost:1".to_string(),
            path: "/tasks".to_string(),
            headers,
            has_body: true,
            ..HttpRequest::default()
        }
    }

    #[test]
    fn a_cookie_changes_things_only_from_a_page_of_ours() {
        let now = Instant::now();
        let (session, code) = BrowserSession::offer(1, now).unwrap();
        let set = session.redeem(&code, now).unwrap().unwrap();
        let cookie = ("cookie", set.split(';').next().unwrap());
        let token = Some(SecretHash::of("0123456789abcdef"));
        let auth = AuthPolicy { token, session: Some(session), ..AuthPolicy::default() };
        let own = ("origin", "http://localhost:1");
        let fetched = ("sec-fetch-site", "same-origin");
        for (method, headers, is_known) in [
            ("GET", vec![cookie], true),
            ("GET", vec![cookie, ("sec-fetch-site", "none")], true),
            ("POST", vec![cookie], false),
            ("POST", vec![cookie, ("sec-fetch-site", "none")], false),
            ("POST", vec![cookie, own], true),
            ("PATCH", vec![cookie, fetched], true),
            ("DELETE", vec![cookie, ("sec-fetch-site", "same-site")], false),
            ("POST", vec![cookie, ("origin", "http://localhost:2")], false),
            ("POST", vec![own, fetched], false),
            ("GET", vec![("cookie", "lanes-1=x")], false),
            ("POST", vec![("authorization", "Bearer 0123456789abcdef")], true),
        ] {
            assert_eq!(auth.is_authenticated(&of(method, &headers)), is_known, "{method} {headers:?}");
        }
        assert!(auth.is_authenticated(&HttpRequest { is_own_user: true, ..of("POST", &[]) }));
    }

    #[test]
    fn only_a_body_that_no_browser_sends_may_hide_what_it_is() {
        let auth = AuthPolicy::default();
        let fits = |headers: &[(&str, &str)]| auth.check_body(&of("POST", headers)).is_ok();
        let form = ("content-type", "application/x-www-form-urlencoded");
        let json = ("content-type", "application/json; charset=utf-8");
        let agent = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:68.0) Gecko/20100101 Firefox/68.0");
        assert!(fits(&[]) && fits(&[form]) && fits(&[("user-agent", "curl/8.5.0"), form]));
        for sign in [
            ("origin", "http://localhost:1"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-mode", "no-cors"),
            ("referer", "http://localhost:1/"),
            ("cookie", "a=b"),
            agent,
        ] {
            assert!(!fits(&[sign]) && !fits(&[sign, form]), "{sign:?}");
            assert!(fits(&[sign, json]), "{sign:?}");
        }
        assert!(!fits(&[form, json]), "two types");
    }
}
