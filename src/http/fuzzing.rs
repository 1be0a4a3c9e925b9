//! The request parser, for tests with arbitrary bytes.

use super::transport::memory::Reservation;
use super::transport::parser::{ParseStep, RequestParser};
use super::transport::request::MAX_BODY;

/// A request that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedRequest {
    /// The method as it was sent.
    pub method: String,
    /// Path and query as they were sent, joined by a question mark if there is a query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

/// The content of the bytes of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedConnection {
    /// The requests, in the order they came.
    pub requests: Vec<ParsedRequest>,
    /// The status of the response to bytes that are not a request; nothing is read after it.
    pub refused: Option<u16>,
    /// Whether an incomplete request is left.
    pub waits: bool,
}

/// Parses bytes that arrive in these pieces; every body is admitted.
pub fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> ParsedConnection {
    let mut parser = RequestParser::default();
    let mut seen = ParsedConnection::default();
    for mut piece in pieces {
        while !piece.is_empty() && seen.refused.is_none() {
            let (now, later) = piece.split_at(parser.room().min(piece.len()));
            parser.push(now);
            piece = later;
            take(&mut parser, &mut seen);
        }
    }
    seen.waits = seen.refused.is_none() && !parser.is_idle();
    seen
}

fn take(parser: &mut RequestParser, seen: &mut ParsedConnection) {
    loop {
        let step = match parser.next() {
            Ok(ParseStep::Head) => parser.admit(MAX_BODY, Reservation::default()).map(|_| ()),
            Ok(ParseStep::NeedMore) => return,
            Ok(ParseStep::Request(request)) => {
                let mark = if request.query.is_empty() { "" } else { "?" };
                seen.requests.push(ParsedRequest {
                    target: format!("{}{mark}{}", request.path, request.query),
                    method: request.method,
                    headers: request.headers,
                    body: request.body,
                });
                Ok(())
            }
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = step {
            seen.refused = Some(refusal.status);
            return;
        }
    }
}
