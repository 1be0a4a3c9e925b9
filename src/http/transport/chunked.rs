//! Bodies that are sent in chunks (RFC 9112, section 7.1).

use super::header::{MAX_HEADERS, bad_request, is_token, parse_header};
use super::response::HttpResponse;

/// The longest line that announces a chunk, and the longest trailer, in bytes.
const MAX_CHUNK_LINE: usize = 256;

/// What is expected next in a body.
#[derive(Debug, Default, PartialEq, Eq)]
enum ChunkState {
    /// The line with the size of a chunk.
    #[default]
    Size,
    /// This many more bytes of a chunk.
    Data(usize),
    /// The line end after a chunk.
    DataEnd,
    /// A trailer, or the empty line that ends the body.
    Trailer,
}

/// Removes the framing from a body as it arrives.
#[derive(Debug, Default)]
pub(crate) struct ChunkDecoder {
    next: ChunkState,
    trailers: usize,
}

/// The state of a body after some of its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ChunkProgress {
    /// More bytes are needed.
    NeedMore,
    /// The body would be larger than allowed.
    TooLarge,
    /// The body is complete, and the bytes that are left follow it.
    Complete,
}

impl ChunkDecoder {
    /// Moves the part of the body in `bytes` to `body`, which may grow to `most` bytes.
    ///
    /// # Errors
    /// The response to bytes that are not valid chunks.
    pub(crate) fn take(
        &mut self,
        bytes: &mut Vec<u8>,
        body: &mut Vec<u8>,
        most: usize,
    ) -> Result<ChunkProgress, HttpResponse> {
        let mut at = 0;
        let taken = self.step(bytes, &mut at, body, most);
        bytes.drain(..at);
        taken
    }

    fn step(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        body: &mut Vec<u8>,
        most: usize,
    ) -> Result<ChunkProgress, HttpResponse> {
        loop {
            let rest = &bytes[*at..];
            match self.next {
                ChunkState::Size => {
                    let Some((line, length)) = chunk_line(rest)? else { return Ok(ChunkProgress::NeedMore) };
                    let size = chunk_size(line)?;
                    if size > most - body.len() {
                        return Ok(ChunkProgress::TooLarge);
                    }
                    *at += length;
                    self.next = if size == 0 { ChunkState::Trailer } else { ChunkState::Data(size) };
                }
                ChunkState::Data(left) => {
                    let here = left.min(rest.len());
                    if here == 0 {
                        return Ok(ChunkProgress::NeedMore);
                    }
                    append(body, &rest[..here], most);
                    *at += here;
                    self.next =
                        if here == left { ChunkState::DataEnd } else { ChunkState::Data(left - here) };
                }
                ChunkState::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        *at += 2;
                        self.next = ChunkState::Size;
                    }
                    [] | [b'\r'] => return Ok(ChunkProgress::NeedMore),
                    _ => return Err(bad_request("a chunk is not as long as its size")),
                },
                ChunkState::Trailer => {
                    let Some((line, length)) = chunk_line(rest)? else { return Ok(ChunkProgress::NeedMore) };
                    if line.is_empty() {
                        *at += length;
                        return Ok(ChunkProgress::Complete);
                    }
                    // Trailers are checked like headers and then dropped.
                    parse_header(line)?;
                    self.trailers += 1;
                    if self.trailers > MAX_HEADERS {
                        return Err(bad_request("too many trailers"));
                    }
                    *at += length;
                }
            }
        }
    }
}

/// Appends to a body that never becomes longer than `most` bytes, without allocating more than that.
pub(crate) fn append(body: &mut Vec<u8>, bytes: &[u8], most: usize) {
    let needed = body.len() + bytes.len();
    if needed > body.capacity() {
        body.reserve_exact((2 * body.capacity()).clamp(needed, most.max(needed)) - body.len());
    }
    body.extend_from_slice(bytes);
}

/// Returns the first line of `bytes` without its end, and its length including the end.
fn chunk_line(bytes: &[u8]) -> Result<Option<(&str, usize)>, HttpResponse> {
    match bytes.iter().take(MAX_CHUNK_LINE).position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && bytes[end - 1] == b'\r' => std::str::from_utf8(&bytes[..end - 1])
            .map(|line| Some((line, end + 1)))
            .map_err(|_| bad_request("a chunk's line is not text")),
        Some(_) => Err(bad_request("a chunk's line does not end with CR LF")),
        None if bytes.len() >= MAX_CHUNK_LINE => Err(bad_request("a chunk's line is too long")),
        None => Ok(None),
    }
}

/// Returns the size at the beginning of a chunk's line; extensions after it are checked and dropped.
fn chunk_size(line: &str) -> Result<usize, HttpResponse> {
    let end = line.bytes().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, extensions) = line.split_at(end);
    if !is_extensions(extensions) {
        return Err(bad_request("a chunk's line is neither a size nor a size with extensions"));
    }
    let size = if digits.len() > 8 { None } else { usize::from_str_radix(digits, 16).ok() };
    size.ok_or_else(|| bad_request("the size of a chunk is not a hexadecimal number of at most 8 digits"))
}

/// Returns whether a text is `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`.
fn is_extensions(mut text: &str) -> bool {
    let space = |text: &'_ str| text.len() - text.trim_start_matches([' ', '\t']).len();
    while !text.is_empty() {
        text = &text[space(text)..];
        let Some(rest) = text.strip_prefix(';') else { return false };
        text = &rest[space(rest)..];
        let name = text.find([' ', '\t', ';', '=']).unwrap_or(text.len());
        if !is_token(&text[..name]) {
            return false;
        }
        text = &text[name..];
        let Some(value) = text[space(text)..].strip_prefix('=') else { continue };
        let value = &value[space(value)..];
        let length = if value.starts_with('"') {
            quoted_length(value)
        } else {
            let end = value.find([' ', '\t', ';']).unwrap_or(value.len());
            is_token(&value[..end]).then_some(end)
        };
        let Some(length) = length else { return false };
        text = &value[length..];
    }
    true
}

/// Returns the length of the quoted string at the beginning of `text`.
fn quoted_length(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if c.is_control() && c != '\t' => return None,
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a body in pieces of several sizes: returns the body and what follows it, or a status.
    fn dechunk(text: &str) -> Result<(String, String), u16> {
        let mut results = [1, 3, text.len()].map(|step| {
            let (mut chunks, mut bytes, mut body) = (ChunkDecoder::default(), Vec::new(), Vec::new());
            let mut is_whole = false;
            for piece in text.as_bytes().chunks(step) {
                bytes.extend_from_slice(piece);
                if !is_whole {
                    match chunks.take(&mut bytes, &mut body, 10).map_err(|refusal| refusal.status)? {
                        ChunkProgress::NeedMore => {}
                        ChunkProgress::TooLarge => return Err(413),
                        ChunkProgress::Complete => is_whole = true,
                    }
                }
            }
            let text = |bytes| String::from_utf8(bytes).unwrap();
            if is_whole { Ok((text(body), text(bytes))) } else { Err(0) }
        });
        let last = results[2].clone();
        assert!(results.iter_mut().all(|result| *result == last), "{text:?}: {results:?}");
        last
    }

    #[test]
    fn chunks_become_a_body() {
        let body = |body: &str, rest: &str| Ok((body.to_string(), rest.to_string()));
        assert_eq!(dechunk("3\r\nabc\r\n02;n\r\nde\r\n0\r\n\r\nGET"), body("abcde", "GET"));
        assert_eq!(dechunk("a\r\n0123456789\r\n0\r\nT: v\r\nU:\r\n\r\n"), body("0123456789", ""));
        for extensions in [";a=b", " ; a = b", ";a;b=c", ";a=\"b;\\\" \tc\"", "\t;a=\"\";b", ";a ;b"] {
            assert_eq!(dechunk(&format!("1{extensions}\r\na\r\n0\r\n\r\n")), body("a", ""), "{extensions:?}");
        }
        assert_eq!(dechunk("1\r\na\r\n"), Err(0));
        assert_eq!(dechunk("b\r\n"), Err(413));
        assert_eq!(dechunk("6\r\n123456\r\n5\r\n"), Err(413));
        assert_eq!(dechunk("ffffffff\r\n"), Err(413));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for line in [
            "",
            "x",
            "0x1",
            "+1",
            "-1",
            "1 ",
            "1 x",
            " 1",
            "1\r",
            "\r1",
            "1;a\rb",
            "1;",
            "1;;a",
            "1;a=",
            "1;a=b c",
            "1;a=\"b",
            "1;a=\"b\"c",
            "1;a=\"\u{1}\"",
            "1;\u{0}a",
            "1;a=\u{e9}",
            "1,a",
            "000000001",
            "1;a=\"\\",
        ] {
            assert_eq!(dechunk(&format!("{line}\r\na\r\n0\r\n\r\n")), Err(400), "{line:?}");
        }
        for body in ["1\r\nab\r\n", "1\na\r\n", "1\r\na\n", "1\r\na\rb", "1\r\n\r\n1\r\n"] {
            assert_eq!(dechunk(&format!("{body}0\r\n\r\n")), Err(400), "{body:?}");
        }
        for trailer in ["junk", "a b: c", ": v", " T: v", "T: a\rb", "T: \u{0}", "T : v", "T: v\n"] {
            assert_eq!(dechunk(&format!("0\r\n{trailer}\r\n\r\n")), Err(400), "{trailer:?}");
        }
        assert_eq!(dechunk(&format!("0\r\n{}\r\n", "A: b\r\n".repeat(101))), Err(400));
        assert_eq!(dechunk(&format!("1;{}\r\n", "a".repeat(300))), Err(400));
    }
}
