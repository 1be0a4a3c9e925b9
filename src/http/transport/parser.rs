//! Reads HTTP/1.1 requests from the bytes that a client sends.
//!
//! Strict on purpose: whatever two programs could read in two ways (two lengths, a length together with chunks, a
//! bare line feed, a folded header) is refused, so that no request can hide in another.

use super::chunked::{ChunkProgress, append};
use super::head::{BodyFraming, RequestHead, parse_head};
use super::header::bad_request;
use super::memory::Reservation;
use super::request::HttpRequest;
use super::response::HttpResponse;

/// The longest request line, in bytes.
pub(crate) const MAX_LINE: usize = 8 * 1024;
/// The largest head (request line and headers), in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// How many bytes of a body are received before they are moved to it.
const BODY_READ_BYTES: usize = 64 * 1024;
/// The maximum capacity of its buffer that a connection keeps while it waits for a request, in bytes.
const MAX_IDLE_BUFFER: usize = 4 * 1024;

/// What the bytes so far contain.
#[derive(Debug)]
pub(crate) enum ParseStep {
    /// Part of a request, or nothing.
    NeedMore,
    /// A head, available from [`RequestParser::head`]; nothing of its body is kept until it is admitted.
    Head,
    /// A request; the bytes after it stay for the next call.
    Request(HttpRequest),
}

/// Parses the requests of one connection from its bytes.
#[derive(Debug, Default)]
pub(crate) struct RequestParser {
    bytes: Vec<u8>,
    head: Option<RequestHead>,
    /// How many of `bytes` were searched for the end of the head, without finding it.
    searched: usize,
    is_own_user: bool,
}

impl RequestParser {
    /// Makes a parser for a connection; `is_own_user` marks all of its requests.
    pub(crate) fn new(is_own_user: bool) -> Self {
        Self { is_own_user, ..Self::default() }
    }

    /// Returns how many bytes may be added before the next call of [`RequestParser::next`].
    pub(crate) fn room(&self) -> usize {
        if self.head.is_some() { BODY_READ_BYTES } else { (MAX_HEAD + 4).saturating_sub(self.bytes.len()) }
    }

    /// Adds received bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        append(&mut self.bytes, bytes, MAX_HEAD + 4);
    }

    /// Returns whether no part of the next request has arrived yet.
    pub(crate) fn is_idle(&self) -> bool {
        self.bytes.is_empty() && self.head.is_none()
    }

    /// Returns whether a head is complete and its body is expected.
    pub(crate) fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// Returns the request whose body is expected.
    pub(crate) fn head(&self) -> Option<&HttpRequest> {
        self.head.as_ref().map(|head| &head.request)
    }

    /// Admits a body of at most `most` bytes for the head that has arrived; its memory counts for `memory`.
    /// Returns whether the client waits for `100 Continue` before it sends the body.
    ///
    /// # Errors
    /// The response to a body that is announced as larger, or for which there is no memory now.
    pub(crate) fn admit(&mut self, most: usize, memory: Reservation) -> Result<bool, HttpResponse> {
        let Some(head) = &mut self.head else { return Ok(false) };
        head.request.memory = memory;
        head.admitted = Some(most);
        if let BodyFraming::Length(length) = head.framing {
            if length > most {
                return Err(body_too_large(most));
            }
            if !head.request.memory.grow(length) {
                return Err(too_many_bodies());
            }
        }
        // A client that has sent some of the body already does not wait.
        Ok(head.expects_continue && head.request.has_body && self.bytes.is_empty())
    }

    /// Drops everything that has arrived.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.is_own_user);
    }

    /// Drops a request without a body.
    pub(crate) fn skip(&mut self) {
        self.head = None;
    }

    /// Removes the next request from the bytes.
    ///
    /// # Errors
    /// The response to bytes that cannot become a request that is served.
    pub(crate) fn next(&mut self) -> Result<ParseStep, HttpResponse> {
        let Some(RequestHead { request, framing, admitted, .. }) = &mut self.head else {
            // RFC 9112 2.2: empty lines before a request are skipped.
            let blank = self.bytes.chunks_exact(2).take_while(|pair| pair == b"\r\n").count() * 2;
            self.bytes.drain(..blank.min(MAX_LINE));
            let Some(end) = self.head_end()? else { return Ok(ParseStep::NeedMore) };
            let mut head = parse_head(&self.bytes[..end])?;
            head.request.is_own_user = self.is_own_user;
            self.head = Some(head);
            self.bytes.drain(..end + 4);
            self.searched = 0;
            return Ok(ParseStep::Head);
        };
        let Some(most) = *admitted else { return Ok(ParseStep::Head) };
        let is_whole = match framing {
            BodyFraming::Length(length) => {
                let more = self.bytes.len().min(*length - request.body.len());
                append(&mut request.body, &self.bytes[..more], *length);
                self.bytes.drain(..more);
                request.body.len() == *length
            }
            BodyFraming::Chunked(chunks) => {
                let taken = chunks.take(&mut self.bytes, &mut request.body, most)?;
                if taken == ChunkProgress::TooLarge {
                    return Err(body_too_large(most));
                }
                if !request.memory.grow(request.body.capacity()) {
                    return Err(too_many_bodies());
                }
                taken == ChunkProgress::Complete
            }
        };
        if self.bytes.is_empty() && self.bytes.capacity() > MAX_IDLE_BUFFER {
            self.bytes = Vec::new();
        }
        if !is_whole {
            return Ok(ParseStep::NeedMore);
        }
        Ok(self.head.take().map_or(ParseStep::NeedMore, |head| ParseStep::Request(head.request)))
    }

    /// Returns the length of the head without its blank line, once it is complete.
    fn head_end(&mut self) -> Result<Option<usize>, HttpResponse> {
        let from = self.searched.saturating_sub(3);
        let found = self.bytes[from..].windows(4).position(|window| window == b"\r\n\r\n");
        let end = found.map(|at| from + at);
        let seen = end.unwrap_or(self.bytes.len());
        let line = self.bytes[..seen.min(MAX_LINE + 1)].iter().position(|byte| *byte == b'\r');
        if line.is_none() && seen > MAX_LINE {
            return Err(HttpResponse::error(414, "uri_too_long", "the request line is too long"));
        }
        if seen > MAX_HEAD {
            return Err(HttpResponse::error(431, "headers_too_large", "the request's head is too large"));
        }
        // Otherwise a client that ends its lines with a bare line feed would wait forever.
        if end.is_none() && self.bytes[from..].windows(2).any(|pair| pair[0] != b'\r' && pair[1] == b'\n') {
            return Err(bad_request("the lines of a head must end with CR LF"));
        }
        self.searched = self.bytes.len();
        Ok(end)
    }
}

fn body_too_large(most: usize) -> HttpResponse {
    if most == 0 {
        return HttpResponse::error(400, "invalid", "this route takes no body");
    }
    HttpResponse::error(413, "body_too_large", &format!("the body is larger than {most} bytes"))
}

fn too_many_bodies() -> HttpResponse {
    let text = "too many request bodies are arriving at the same time; try again later";
    HttpResponse::error(503, "too_many_bodies", text).with_header("Retry-After", "1")
}

#[cfg(test)]
mod tests {
    use super::super::header::MAX_HEADERS;
    use super::super::memory::MemoryBudget;
    use super::super::request::MAX_BODY;
    use super::*;

    /// Returns the next step of a parser that admits every head, and whether the client waits for `100 Continue`.
    fn step(parser: &mut RequestParser) -> Result<(ParseStep, bool), HttpResponse> {
        Ok(match parser.next()? {
            ParseStep::Head => {
                let waits = parser.admit(MAX_BODY, Reservation::default())?;
                (parser.next()?, waits)
            }
            progress => (progress, false),
        })
    }

    fn status_of(text: &str) -> u16 {
        let mut parser = RequestParser::default();
        parser.push(text.as_bytes());
        match step(&mut parser) {
            Ok((_, true)) => 100,
            Ok((ParseStep::Request(_), false)) => 200,
            Ok((ParseStep::NeedMore | ParseStep::Head, false)) => 0,
            Err(refusal) => refusal.status,
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
        for size in [1, 2, 7, text.len()] {
            let mut parser = RequestParser::default();
            let mut seen = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                parser.push(piece);
                while let (ParseStep::Request(request), _) = step(&mut parser).unwrap() {
                    seen.push((request.path, request.query, request.body));
                }
            }
            let expected = [("/a", "b=c", "abcde"), ("/next", "", "")]
                .map(|(path, query, body)| (path.to_string(), query.to_string(), body.as_bytes().to_vec()));
            assert_eq!(seen, expected, "{size}");
            assert!(parser.is_idle());
        }
    }

    #[test]
    fn a_client_that_waits_for_leave_gets_it_once() {
        let head = |version, more| {
            format!(
                "POST / HTTP/{version}\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{more}"
            )
        };
        assert_eq!(status_of(&head("1.1", "")), 100);
        assert_eq!(status_of(&head("1.1", "a")), 0, "it has not waited");
        assert_eq!(status_of(&head("1.0", "")), 0, "that client does not know 100 Continue");
        let mut parser = RequestParser::default();
        parser.push(head("1.1", "").as_bytes());
        assert!(matches!(step(&mut parser), Ok((ParseStep::NeedMore, true))));
        assert!(matches!(step(&mut parser), Ok((ParseStep::NeedMore, false))));
        parser.push(b"ab");
        assert!(matches!(step(&mut parser), Ok((ParseStep::Request(_), false))));
    }

    #[test]
    fn a_head_is_judged_before_its_body_is_kept() {
        let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
        let mut parser = RequestParser::default();
        parser.push(head.as_bytes());
        for _ in 0..2 {
            assert!(matches!(parser.next(), Ok(ParseStep::Head)), "it waits to be let in");
        }
        assert_eq!(parser.head().unwrap().method, "POST");
        assert_eq!(parser.admit(99_999, Reservation::default()).unwrap_err().status, 413);
        assert_eq!(parser.admit(0, Reservation::default()).unwrap_err().status, 400, "no body is wanted");

        let budget = MemoryBudget::new(150_000);
        let mut parsers = [RequestParser::default(), RequestParser::default()];
        let admitted = parsers.each_mut().map(|parser| {
            parser.push(head.as_bytes());
            assert!(matches!(parser.next(), Ok(ParseStep::Head)));
            parser.admit(MAX_BODY, Reservation::on(&budget)).map_err(|refusal| refusal.status)
        });
        assert_eq!(admitted, [Ok(false), Err(503)]);
        let [mut first, _] = parsers;
        first.push(&[b' '; 100_000]);
        let Ok(ParseStep::Request(request)) = first.next() else { panic!("not whole") };
        assert_eq!((request.body.len(), budget.used()), (100_000, 100_000));
        drop(request);
        assert_eq!(budget.used(), 0, "what is answered counts no more");

        let mut chunked = RequestParser::default();
        chunked.push(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n");
        assert!(matches!(chunked.next(), Ok(ParseStep::Head)));
        assert!(!chunked.admit(MAX_BODY, Reservation::on(&budget)).unwrap());
        let refused = std::iter::repeat_with(|| {
            chunked.push(&[b' '; 10_000]);
            chunked.next()
        })
        .take(20)
        .find_map(Result::err);
        assert_eq!(refused.unwrap().status, 503, "a body without a length counts as it comes");
    }

    #[test]
    fn a_parser_takes_no_more_than_a_head_before_it_is_let_in() {
        let mut parser = RequestParser::default();
        assert_eq!(parser.room(), MAX_HEAD + 4);
        parser.push(b"GET / HTTP/1.1\r\nHost: x\r\n");
        assert!(matches!(parser.next(), Ok(ParseStep::NeedMore)));
        parser.push(&vec![b'x'; parser.room()]);
        assert_eq!((parser.room(), parser.bytes.capacity()), (0, MAX_HEAD + 4));
        assert_eq!(parser.next().unwrap_err().status, 431);
    }
}
