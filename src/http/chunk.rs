//! Bodies that come in chunks.

use super::wire::{MAX_BODY, MAX_HEADERS, Refusal, bad, too_large};

/// The longest line that announces a chunk, in bytes.
const MAX_CHUNK_LINE: usize = 256;

/// Moves whole chunks from `bytes` to `body`. `true`: the body has ended, and `bytes` go on with
/// what follows it.
pub(super) fn dechunk(
    bytes: &mut Vec<u8>,
    body: &mut Vec<u8>,
    trailers: &mut Option<usize>,
) -> Result<bool, Refusal> {
    while trailers.is_none() {
        let Some((line, start)) = chunk_line(bytes)? else { return Ok(false) };
        let digits = line.split(';').next().unwrap_or_default().trim_end_matches([' ', '\t']);
        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad("the size of a chunk is not a hexadecimal number"));
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| too_large())?;
        if body.len() + size > MAX_BODY {
            return Err(too_large());
        }
        if size == 0 {
            bytes.drain(..start);
            *trailers = Some(0);
            break;
        }
        let end = start + size;
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => body.extend_from_slice(&bytes[start..end]),
            Some(_) => return Err(bad("a chunk does not end where its size says")),
            None => return Ok(false),
        }
        bytes.drain(..end + 2);
    }
    // Trailers are read and forgotten.
    while let Some((line, next)) = chunk_line(bytes)? {
        let is_end = line.is_empty();
        bytes.drain(..next);
        let seen = trailers.get_or_insert(0);
        *seen += 1;
        if is_end {
            return Ok(true);
        }
        if *seen > MAX_HEADERS {
            return Err(bad("too many trailers"));
        }
    }
    Ok(false)
}

/// The first line of `bytes` without its end, and where the next begins.
fn chunk_line(bytes: &[u8]) -> Result<Option<(&str, usize)>, Refusal> {
    match bytes.iter().take(MAX_CHUNK_LINE).position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && bytes[end - 1] == b'\r' => std::str::from_utf8(&bytes[..end - 1])
            .map(|line| Some((line, end + 1)))
            .map_err(|_| bad("a chunk's line is not text")),
        Some(_) => Err(bad("a chunk's line does not end with CR LF")),
        None if bytes.len() >= MAX_CHUNK_LINE => Err(bad("a chunk's line is too long")),
        None => Ok(None),
    }
}
