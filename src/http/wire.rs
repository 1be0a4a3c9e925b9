//! HTTP/1.1 requests out of the bytes that a client sent.
//!
//! Strict on purpose: what two programs could read in two ways (two lengths, a length beside
//! chunks, a bare line feed, a folded header) is refused, so that no request can hide in another.

use super::answer::Answer;
use super::chunk::dechunk;

/// The longest request line, in bytes.
const MAX_LINE: usize = 8 * 1024;
/// The largest head (request line and headers), in bytes.
const MAX_HEAD: usize = 32 * 1024;
/// The most headers of one request.
pub(super) const MAX_HEADERS: usize = 100;
/// The largest body, in bytes.
pub const MAX_BODY: usize = 8 * 1024 * 1024;

/// One request, whole.
#[derive(Debug, Default)]
pub struct Request {
    /// The method as it was sent.
    pub method: String,
    /// The path, still percent-encoded.
    pub path: String,
    /// What follows the question mark, still encoded.
    pub query: String,
    /// The authority the client believes it talks to.
    pub host: String,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// Whether the client wants to send another request on this connection.
    pub keep_alive: bool,
    /// Whether it came over a socket that only this user can reach.
    pub is_own: bool,
}

impl Request {
    /// The value of a header; `None` when it is absent or was sent more than once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(have, _)| have == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// How often a header was sent.
    pub fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(have, _)| have == name).count()
    }
}

/// How a request's body is framed.
#[derive(Debug)]
enum Framing {
    Length(usize),
    /// Chunks; once the last has come, the number of trailers read so far.
    Chunked(Option<usize>),
}

/// What the bytes so far amount to.
#[derive(Debug)]
pub enum Progress {
    /// Part of a request, or nothing.
    More,
    /// The client waits for leave to send its body.
    Continue,
    /// A request; what follows it stays for the next call.
    Request(Request),
}

/// Why bytes are no request: an answer to give before the connection ends.
pub type Refusal = Answer;

/// Collects what one connection sends.
#[derive(Debug, Default)]
pub struct Parser {
    bytes: Vec<u8>,
    head: Option<(Request, Framing)>,
    /// Up to where `bytes` was searched for the end of the head in vain.
    searched: usize,
    is_own: bool,
}

impl Parser {
    /// For a connection whose client is this user's, or anybody's.
    pub fn new(is_own: bool) -> Self {
        Self { is_own, ..Self::default() }
    }

    /// Adds what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether nothing of a next request has come yet.
    pub fn is_idle(&self) -> bool {
        self.bytes.is_empty() && self.head.is_none()
    }

    /// Whether a head is complete and its body is awaited.
    pub fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// Takes the next request out of the bytes.
    ///
    /// # Errors
    /// The answer to bytes that can never become a request that is served.
    pub fn next(&mut self) -> Result<Progress, Refusal> {
        let mut fresh = false;
        if self.head.is_none() {
            // RFC 9112 2.2: empty lines before a request are skipped.
            let blank = self.bytes.chunks_exact(2).take_while(|pair| pair == b"\r\n").count() * 2;
            self.bytes.drain(..blank.min(MAX_LINE));
            let Some(end) = self.head_end()? else {
                return Ok(Progress::More);
            };
            let mut head = parse_head(&self.bytes[..end])?;
            head.0.is_own = self.is_own;
            self.bytes.drain(..end + 4);
            self.searched = 0;
            self.head = Some(head);
            fresh = true;
        }
        let Some((request, framing)) = &mut self.head else {
            return Ok(Progress::More);
        };
        let whole = match framing {
            Framing::Length(length) if self.bytes.len() < *length => false,
            Framing::Length(length) => {
                request.body = self.bytes.drain(..*length).collect();
                true
            }
            Framing::Chunked(trailers) => dechunk(&mut self.bytes, &mut request.body, trailers)?,
        };
        if !whole {
            let waits = fresh && request.header("expect").is_some();
            return Ok(if waits { Progress::Continue } else { Progress::More });
        }
        if self.bytes.is_empty() {
            // A connection that idles keeps no large buffer.
            self.bytes.shrink_to(MAX_HEAD);
        }
        Ok(self.head.take().map_or(Progress::More, |(request, _)| Progress::Request(request)))
    }

    /// The length of the head without its blank line, once it is there.
    fn head_end(&mut self) -> Result<Option<usize>, Refusal> {
        let from = self.searched.saturating_sub(3);
        let found = self.bytes[from..].windows(4).position(|window| window == b"\r\n\r\n");
        let end = found.map(|at| from + at);
        let seen = end.unwrap_or(self.bytes.len());
        let line = self.bytes[..seen.min(MAX_LINE + 1)].iter().position(|byte| *byte == b'\r');
        if line.is_none() && seen > MAX_LINE {
            return Err(Answer::refusal(414, "uri_too_long", "the request line is too long"));
        }
        if seen > MAX_HEAD {
            return Err(Answer::refusal(431, "headers_too_large", "the request's head is too large"));
        }
        // Otherwise a client that ends its lines with a bare line feed would wait for ever.
        if end.is_none() && self.bytes[from..].windows(2).any(|pair| pair[0] != b'\r' && pair[1] == b'\n') {
            return Err(bad("lines of a head end with CR LF"));
        }
        self.searched = self.bytes.len();
        Ok(end)
    }
}

pub(super) fn bad(why: &str) -> Refusal {
    Answer::refusal(400, "bad_request", why)
}

pub(super) fn too_large() -> Refusal {
    Answer::refusal(413, "body_too_large", &format!("the body is larger than {MAX_BODY} bytes"))
}

fn parse_head(head: &[u8]) -> Result<(Request, Framing), Refusal> {
    let text = std::str::from_utf8(head).map_err(|_| bad("the head is not UTF-8 text"))?;
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad("the request line is not METHOD TARGET VERSION"));
    };
    if !is_token(method) {
        return Err(bad("the method is not a word"));
    }
    let is_1_0 = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return Err(Answer::refusal(505, "version_unsupported", "only HTTP/1.1 and 1.0 are spoken")),
    };
    let headers = lines.map(parse_header).collect::<Result<Vec<_>, _>>()?;
    if headers.len() > MAX_HEADERS {
        return Err(Answer::refusal(431, "headers_too_large", "the request has too many headers"));
    }
    let mut request = Request { method: method.to_string(), headers, ..Request::default() };
    if request.count("host") > 1 || (request.count("host") == 0 && !is_1_0) {
        return Err(bad("a request has exactly one Host"));
    }
    request.host = request.header("host").unwrap_or_default().to_string();
    set_target(&mut request, target)?;
    let connection = request.header("connection").unwrap_or_default().to_ascii_lowercase();
    let says = |word: &str| connection.split(',').any(|item| item.trim() == word);
    request.keep_alive = if is_1_0 { says("keep-alive") } else { !says("close") };
    if request.count("connection") > 1 {
        request.keep_alive = false;
    }
    let framing = framing(&request, is_1_0)?;
    match request.header("expect") {
        None if request.count("expect") == 0 => {}
        Some(value) if value.eq_ignore_ascii_case("100-continue") => {}
        _ => return Err(Answer::refusal(417, "expectation_failed", "only 100-continue can be expected")),
    }
    Ok((request, framing))
}

fn set_target(request: &mut Request, target: &str) -> Result<(), Refusal> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad("the target has characters that must be percent-encoded"));
    }
    let origin = if let Some(rest) = target.strip_prefix("http://") {
        // The absolute form, as proxies send it, speaks for itself and replaces Host.
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        request.host = host.to_string();
        if path.is_empty() { "/" } else { path }
    } else {
        target
    };
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    let is_server = path == "*" && request.method == "OPTIONS";
    if !path.starts_with('/') && !is_server {
        return Err(bad("the target is not a path"));
    }
    request.path = path.split('#').next().unwrap_or_default().to_string();
    request.query = query.split('#').next().unwrap_or_default().to_string();
    Ok(())
}

fn parse_header(line: &str) -> Result<(String, String), Refusal> {
    let (name, value) = line.split_once(':').ok_or_else(|| bad("a header is not NAME: VALUE"))?;
    if !is_token(name) {
        return Err(bad("the name of a header is not a word"));
    }
    let value = value.trim_matches([' ', '\t']);
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(bad("a header has control characters"));
    }
    Ok((name.to_ascii_lowercase(), value.to_string()))
}

fn is_token(text: &str) -> bool {
    let is_mark = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

fn framing(request: &Request, is_1_0: bool) -> Result<Framing, Refusal> {
    let (lengths, encodings) = (request.count("content-length"), request.count("transfer-encoding"));
    match (lengths, encodings) {
        (0, 0) => Ok(Framing::Length(0)),
        (1, 0) => {
            let text = request.header("content-length").unwrap_or_default();
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(bad("Content-Length is not a number"));
            }
            // A number too long for a usize is certainly too large.
            text.parse().ok().filter(|length| *length <= MAX_BODY).map(Framing::Length).ok_or_else(too_large)
        }
        (0, 1) if is_1_0 => Err(bad("HTTP/1.0 knows no Transfer-Encoding")),
        (0, 1) => match request.header("transfer-encoding") {
            Some(value) if value.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked(None)),
            _ => Err(Answer::refusal(501, "encoding_unsupported", "the only Transfer-Encoding is chunked")),
        },
        _ => Err(bad("the length of the body is given twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Progress, u16> {
        let mut parser = Parser::default();
        parser.push(text.as_bytes());
        parser.next().map_err(|refusal| refusal.status)
    }

    fn status_of(text: &str) -> u16 {
        match one(text) {
            Ok(Progress::Request(_)) => 200,
            Ok(Progress::Continue) => 100,
            Ok(Progress::More) => 0,
            Err(status) => status,
        }
    }

    #[test]
    fn whatever_can_be_read_in_two_ways_is_refused() {
        for head in [
            "GET / HTTP/1.1\nHost: x\n\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
            "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\u{1}\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET x HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
        ] {
            assert_eq!(status_of(head), 400, "{head:?}");
        }
        let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
        assert_eq!(status_of(chunked), 501);
        assert_eq!(status_of("GET / HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
        assert_eq!(status_of("GET / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n"), 417);
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(status_of(&format!("GET /{}", "a".repeat(MAX_LINE))), 414);
        let many = "A: b\r\n".repeat(MAX_HEADERS + 1);
        assert_eq!(status_of(&format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")), 431);
        assert_eq!(status_of(&format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(MAX_HEAD))), 431);
        for length in ["8388609", "99999999999999999999999999"] {
            let head = format!("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(status_of(&head), 413);
        }
        let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(status_of(&format!("{head}800001\r\n")), 413);
    }

    #[test]
    fn a_request_comes_out_however_its_bytes_arrive() {
        let text = "\r\nPOST /a?b=c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3;n=v\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n";
        for step in [1, 2, 7, text.len()] {
            let mut parser = Parser::default();
            let mut seen = Vec::new();
            for piece in text.as_bytes().chunks(step) {
                parser.push(piece);
                while let Progress::Request(request) = parser.next().unwrap() {
                    seen.push((request.path, request.query, request.body));
                }
            }
            let expected = [("/a", "b=c", "abcde"), ("/next", "", "")]
                .map(|(path, query, body)| (path.to_string(), query.to_string(), body.as_bytes().to_vec()));
            assert_eq!(seen, expected, "{step}");
            assert!(parser.is_idle());
        }
    }

    #[test]
    fn a_client_that_waits_for_leave_gets_it_once() {
        let mut parser = Parser::default();
        parser.push(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
        assert!(matches!(parser.next(), Ok(Progress::Continue)));
        assert!(matches!(parser.next(), Ok(Progress::More)));
        parser.push(b"ab");
        assert!(matches!(parser.next(), Ok(Progress::Request(_))));
    }
}
