//! The head of a request: the request line and the headers.

use super::chunked::ChunkDecoder;
use super::header::{MAX_HEADERS, bad_request, is_token, parse_header};
use super::request::HttpRequest;
use super::response::HttpResponse;

/// How a request's body is framed.
#[derive(Debug)]
pub(crate) enum BodyFraming {
    /// By its length, in bytes.
    Length(usize),
    /// In chunks.
    Chunked(ChunkDecoder),
}

/// A head, and how the body after it is framed.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) request: HttpRequest,
    pub(crate) framing: BodyFraming,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
    /// The largest body that it was admitted with; `None` until it is admitted.
    pub(crate) admitted: Option<usize>,
}

/// Reads the lines of a head, without the empty one that ends it.
///
/// # Errors
/// The response to a head that is not valid, or asks for something that is not supported.
pub(crate) fn parse_head(head: &[u8]) -> Result<RequestHead, HttpResponse> {
    let text = std::str::from_utf8(head).map_err(|_| bad_request("the head is not UTF-8 text"))?;
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad_request("the request line is not METHOD TARGET VERSION"));
    };
    if !is_token(method) {
        return Err(bad_request("the method is not a token"));
    }
    let is_1_0 = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => {
            return Err(HttpResponse::error(
                505,
                "version_unsupported",
                "only HTTP/1.1 and 1.0 are supported",
            ));
        }
    };
    let headers = lines.map(parse_header).collect::<Result<Vec<_>, _>>()?;
    if headers.len() > MAX_HEADERS {
        return Err(HttpResponse::error(431, "headers_too_large", "the request has too many headers"));
    }
    let mut request = HttpRequest { method: method.to_string(), headers, ..HttpRequest::default() };
    if request.count("host") > 1 || (request.count("host") == 0 && !is_1_0) {
        return Err(bad_request("a request must have exactly one Host"));
    }
    request.host = request.header("host").unwrap_or_default().to_string();
    set_target(&mut request, target)?;
    let connection = request.header("connection").unwrap_or_default().to_ascii_lowercase();
    let has = |word: &str| connection.split(',').any(|item| item.trim() == word);
    request.keep_alive = if is_1_0 { has("keep-alive") } else { !has("close") };
    if request.count("connection") > 1 {
        request.keep_alive = false;
    }
    let framing = framing(&request, is_1_0)?;
    request.has_body = !matches!(framing, BodyFraming::Length(0));
    let expects_continue = match request.header("expect") {
        // RFC 9110, section 10.1.1: of a client of HTTP/1.0 it means nothing.
        _ if is_1_0 => false,
        None if request.count("expect") == 0 => false,
        Some(value) if value.eq_ignore_ascii_case("100-continue") => true,
        _ => {
            return Err(HttpResponse::error(
                417,
                "expectation_failed",
                "only Expect: 100-continue is supported",
            ));
        }
    };
    Ok(RequestHead { request, framing, expects_continue, admitted: None })
}

/// Sets path and query, and the host when the target has one.
fn set_target(request: &mut HttpRequest, target: &str) -> Result<(), HttpResponse> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad_request("the target has characters that must be percent-encoded"));
    }
    let origin = if let Some(rest) = target.strip_prefix("http://") {
        // The absolute form, which proxies send, contains the host and replaces the Host header.
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        request.host = host.to_string();
        if path.is_empty() { "/" } else { path }
    } else {
        target
    };
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    let is_server = path == "*" && request.method == "OPTIONS";
    if !path.starts_with('/') && !is_server {
        return Err(bad_request("the target is not a path"));
    }
    request.path = path.split('#').next().unwrap_or_default().to_string();
    request.query = query.split('#').next().unwrap_or_default().to_string();
    Ok(())
}

/// Returns how the body is framed.
fn framing(request: &HttpRequest, is_1_0: bool) -> Result<BodyFraming, HttpResponse> {
    let (lengths, encodings) = (request.count("content-length"), request.count("transfer-encoding"));
    match (lengths, encodings) {
        (0, 0) => Ok(BodyFraming::Length(0)),
        (1, 0) => {
            let text = request.header("content-length").unwrap_or_default();
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(bad_request("Content-Length is not a number"));
            }
            // A number too long for a usize is certainly too large.
            Ok(BodyFraming::Length(text.parse().unwrap_or(usize::MAX)))
        }
        (0, 1) if is_1_0 => Err(bad_request("HTTP/1.0 has no Transfer-Encoding")),
        (0, 1) => match request.header("transfer-encoding") {
            Some(value) if value.eq_ignore_ascii_case("chunked") => {
                Ok(BodyFraming::Chunked(ChunkDecoder::default()))
            }
            _ => Err(HttpResponse::error(
                501,
                "encoding_unsupported",
                "the only supported Transfer-Encoding is chunked",
            )),
        },
        _ => Err(bad_request("the length of the body is given twice")),
    }
}
