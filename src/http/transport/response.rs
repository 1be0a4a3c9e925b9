//! A response, and its head as bytes.

use std::fmt::Write as _;

use serde_json::Value;

use crate::error::{Error, ErrorKind};
use crate::model::json::{self, Object};

/// One response, before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The media type of the body.
    pub content_type: &'static str,
    /// Further headers; their values never come from a client. Without `Cache-Control` nothing is kept.
    pub headers: Vec<(&'static str, String)>,
    /// The body, or the beginning of a stream.
    pub body: Vec<u8>,
    /// Whether the body continues until the connection ends.
    pub is_stream: bool,
}

impl HttpResponse {
    fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status, content_type, headers: Vec::new(), body, is_stream: false }
    }

    /// Makes a response with a JSON object.
    pub(crate) fn json(status: u16, object: &Object) -> Self {
        Self::new(status, "application/json", json::portable_text(object).into_bytes())
    }

    /// Makes a 200 with a body of another media type.
    pub(crate) fn text(content_type: &'static str, text: impl Into<Vec<u8>>) -> Self {
        Self::new(200, content_type, text.into())
    }

    /// Makes a 204 without a body.
    pub(crate) fn no_content() -> Self {
        Self::new(204, "", Vec::new())
    }

    /// Makes the head of a stream, whose body is sent piece by piece.
    pub(crate) fn stream(content_type: &'static str) -> Self {
        Self { is_stream: true, ..Self::new(200, content_type, Vec::new()) }
    }

    /// Makes an error with a stable `code` and a message for people.
    pub(crate) fn error(status: u16, code: &str, text: &str) -> Self {
        let mut object = Object::new();
        object.insert("error".into(), text.into());
        object.insert("code".into(), code.into());
        Self::json(status, &object)
    }

    /// Makes the response to an error of the queue.
    pub(crate) fn from_error(error: &Error) -> Self {
        let response = Self::error(error.kind().http_status(), error.kind().code(), &error.to_string());
        match error.kind() {
            ErrorKind::Locked => response.with_header("Retry-After", "1"),
            _ => response,
        }
    }

    /// Makes the response to a request that a stopping server cannot finish.
    pub(crate) fn stopping() -> Self {
        Self::error(503, "stopping", "the server is stopping").with_header("Retry-After", "1")
    }

    /// Makes the response to a request whose handler panicked.
    pub(crate) fn internal_error() -> Self {
        Self::error(500, "internal", "an internal error; the server's standard error shows where")
    }

    /// Adds a header.
    #[must_use]
    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Returns the status line and the headers as bytes. A stream has no length; it ends with the connection.
    pub(crate) fn head(&self, keep_alive: bool) -> Vec<u8> {
        let mut head = String::with_capacity(256);
        // Writing to a string cannot fail.
        let _ = write!(head, "HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        if !matches!(self.status, 204 | 304) {
            let _ = write!(head, "Content-Type: {}\r\n", self.content_type);
            if !self.is_stream {
                let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
            }
        }
        if self.headers.iter().all(|(name, _)| *name != "Cache-Control") {
            head.push_str("Cache-Control: no-store\r\n");
        }
        head.push_str("X-Content-Type-Options: nosniff\r\n");
        for (name, value) in &self.headers {
            // Values do not come from clients; this is the second line of defence.
            let _ = write!(head, "{name}: {}\r\n", value.replace(|c: char| c.is_control(), " "));
        }
        // Keep-alive is the default of HTTP/1.1, but not of HTTP/1.0.
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let _ = write!(head, "Connection: {connection}\r\n\r\n");
        head.into_bytes()
    }
}

impl From<Error> for HttpResponse {
    fn from(error: Error) -> Self {
        Self::from_error(&error)
    }
}

/// Returns a JSON object with these members, nulls included.
pub(crate) fn members<const N: usize>(pairs: [(&str, Value); N]) -> Object {
    pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}

/// Returns a 200 with these members.
pub(crate) fn ok<const N: usize>(pairs: [(&str, Value); N]) -> HttpResponse {
    HttpResponse::json(200, &members(pairs))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_begin_a_header_of_its_own() {
        let mut answer = HttpResponse::error(400, "x", "y");
        answer.headers.push(("Allow", "GET\r\nSet-Cookie: a=b".to_string()));
        let text = String::from_utf8(answer.head(true)).unwrap();
        assert!(!text.contains("\r\nSet-Cookie"), "{text}");
    }
}
