//! HTTP requests, compared with httparse and a simple reader of bodies.

use lanes::internals::http::fuzzing::{ParsedConnection, ParsedRequest, read};

use crate::noise::Noise;
use crate::run::Target;

/// The largest head that is read, and the longest line in it.
const MAX_HEAD: usize = 16 * 1024;
const MAX_LINE: usize = 8 * 1024;
/// The maximum number of headers.
const MAX_HEADERS: usize = 100;

const GOOD: [&[u8]; 6] = [
    b"GET /tasks?lane=work&limit=10 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\n\r\n",
    b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"lane\":\"work\"}",
    b"POST /tasks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;n=v\r\nabc\r\n0b\r\nhello world\r\n0\r\nT: v\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close, x\r\n\r\nab",
    b"OPTIONS * HTTP/1.0\r\n\r\n\r\n\r\nHEAD /healthz HTTP/1.0\r\nConnection: keep-alive\r\nX: \xc3\xa9\r\n\r\n",
    b"GET http://host:1/a?b=c#d HTTP/1.1\r\nHost: other\r\nAuthorization: Bearer x\r\nLast-Event-ID: 7\r\n\r\n",
];

const WORDS: [&str; 48] = [
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ": ",
    ",",
    ";",
    "=",
    "/",
    "?",
    "#",
    "%2f",
    "..",
    "*",
    "\0",
    "GET ",
    "POST ",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "http://",
    "Host: x\r\n",
    "Host: y\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 8388609\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "transfer-encoding:\tChunked \r\n",
    "Expect: 100-continue\r\n",
    "Expect: x\r\n",
    "Connection: close\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "5;a=\"b\"\r\nhello\r\n",
    "FFFFFFFFFFFFFFFF\r\n",
    "-1\r\n",
    "0x5\r\n",
    "800001\r\n",
    "X-A: b\r\n",
    "A : b\r\n",
    " folded\r\n",
    "\u{e9}",
];

#[test]
fn http() {
    let target = Target { name: "http", found: &[], make, check };
    target.run(20_000);
}

fn make(noise: &mut Noise) -> Vec<u8> {
    if noise.one_in(3) {
        return noise.changed(&GOOD, &WORDS);
    }
    let mut bytes = Vec::new();
    for _ in 0..=noise.size(3) {
        bytes.extend(request(noise));
    }
    bytes
}

/// A request that is mostly valid.
fn request(noise: &mut Noise) -> Vec<u8> {
    let mut text = String::new();
    text.push_str(noise.pick(&["GET", "POST", "PUT", "OPTIONS", "M-SEARCH", "get"]));
    text.push_str(if noise.one_in(40) { "  " } else { " " });
    text.push_str(noise.pick(&["/", "/tasks", "/a?b=c", "*", "http://h/p", "x", "/a#b", "/\u{e9}"]));
    text.push(' ');
    text.push_str(if noise.one_in(20) {
        noise.pick(&["HTTP/1.2", "HTTP/1", "http/1.1"])
    } else {
        noise.pick(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"])
    });
    text.push_str("\r\n");
    if !noise.one_in(20) {
        text.push_str("Host: x\r\n");
    }
    for _ in 0..noise.size(5) {
        let many = if noise.one_in(30) { noise.size(120) } else { 1 };
        text.push_str(&noise.pick(&WORDS[24..]).repeat(many));
    }
    let body = noise.text(&WORDS[37..44]);
    match noise.below(4) {
        0 => text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len())),
        1 => text
            .push_str(&format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())),
        2 => text.push_str(&format!("\r\n{body}")),
        _ => text.push_str("\r\n"),
    }
    text.into_bytes()
}

fn check(bytes: &[u8]) {
    let seen = read([bytes]);
    let mut noise = Noise::new(bytes.len() as u64);
    let again = read(noise.pieces(bytes));
    assert_eq!(seen.requests, again.requests, "it matters in which pieces bytes arrive");
    // Of several faults, the other reader may report a different one first.
    assert_eq!(seen.refused.is_some(), again.refused.is_some(), "{} and {}", end(&seen), end(&again));
    let mut rest = bytes;
    for request in &seen.requests {
        rest = match other_reader(rest) {
            Other::Request { request: theirs, length, .. } => {
                assert_eq!(*request, theirs);
                &rest[length..]
            }
            other => panic!("let pass what another reader takes for {other:?}: {request:?}"),
        };
    }
    if let Other::Request { request, is_plain: true, .. } = other_reader(rest) {
        panic!("did not read {request:?}, but {}", end(&seen));
    }
}

fn end(seen: &ParsedConnection) -> String {
    match seen.refused {
        Some(status) => format!("answered {status}"),
        None => format!("waits: {}", seen.waits),
    }
}

/// The request at the start of the bytes, as the other reader parses it.
#[derive(Debug)]
enum Other {
    Request {
        request: ParsedRequest,
        /// Its length in bytes.
        length: usize,
        /// Whether it must be accepted.
        is_plain: bool,
    },
    Incomplete,
    Wrong,
}

fn other_reader(bytes: &[u8]) -> Other {
    let blank = bytes.chunks_exact(2).take_while(|pair| pair == b"\r\n").count() * 2;
    let bytes = &bytes[blank..];
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Other::Incomplete;
    };
    let head = &bytes[..end + 4];
    let mut headers = [httparse::EMPTY_HEADER; 512];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        _ => return Other::Wrong,
    }
    let named = |header: &httparse::Header<'_>| {
        let value = String::from_utf8_lossy(header.value);
        (header.name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_string())
    };
    let headers: Vec<(String, String)> = parsed.headers.iter().map(named).collect();
    let all = |name: &str| {
        headers.iter().filter(|(have, _)| have == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    let (lengths, encodings) = (all("content-length"), all("transfer-encoding"));
    let is_1_0 = parsed.version == Some(0);
    let sent = parsed.path.unwrap_or_default();
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let is_plain_head = head.len() <= MAX_HEAD
        && line.len() <= MAX_LINE
        && headers.len() <= MAX_HEADERS
        && std::str::from_utf8(head)
            .is_ok_and(|text| text.replace("\r\n", "").chars().all(|c| !c.is_control() || c == '\t'))
        && all("host").len() + usize::from(is_1_0) >= 1
        && all("host").len() <= 1
        && sent.starts_with('/')
        && sent.bytes().all(|byte| byte.is_ascii_graphic())
        && all("expect").iter().all(|value| value.eq_ignore_ascii_case("100-continue"))
        && all("expect").len() <= 1;
    let after = &bytes[head.len()..];
    let (body, length, is_plain_body) = match (&lengths[..], &encodings[..]) {
        ([], []) => (Vec::new(), 0, true),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => match length.parse() {
            Ok(length) if length <= after.len() => (after[..length].to_vec(), length, true),
            Ok(_) => return Other::Incomplete,
            Err(_) => return Other::Wrong,
        },
        ([], [encoding]) if encoding.eq_ignore_ascii_case("chunked") => match dechunked(after) {
            Some((body, length, is_plain)) => (body, length, is_plain && !is_1_0),
            None => return Other::Incomplete,
        },
        _ => return Other::Wrong,
    };
    let request = ParsedRequest {
        method: parsed.method.unwrap_or_default().to_string(),
        target: target(sent),
        headers,
        body,
    };
    Other::Request { request, length: blank + head.len() + length, is_plain: is_plain_head && is_plain_body }
}

/// Path and query of a target, without fragment and authority.
fn target(sent: &str) -> String {
    let origin = match sent.strip_prefix("http://") {
        Some(rest) => match rest.find(['/', '?']) {
            Some(at) => &rest[at..],
            None => "/",
        },
        None => sent,
    };
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    let visible = |text: &str| text.split('#').next().unwrap_or_default().to_string();
    match visible(query) {
        query if query.is_empty() => visible(path),
        query => format!("{}?{query}", visible(path)),
    }
}

/// The body in chunks, its length on the wire, and whether it is free of what a reader may refuse: extensions,
/// trailers, long sizes.
fn dechunked(bytes: &[u8]) -> Option<(Vec<u8>, usize, bool)> {
    let (mut body, mut at, mut is_plain) = (Vec::new(), 0, true);
    loop {
        let line = &bytes[at..][..bytes[at..].windows(2).position(|pair| pair == b"\r\n")?];
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = usize::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        is_plain &= digits == line.len() && digits <= 8;
        at += line.len() + 2;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    while !bytes[at..].starts_with(b"\r\n") {
        is_plain = false;
        at += bytes[at..].windows(2).position(|pair| pair == b"\r\n")? + 2;
    }
    Some((body, at + 2, is_plain))
}
