//! The grammar of header lines, which heads and the trailers of chunked bodies share.

use super::response::HttpResponse;

/// The maximum number of headers of one request, and of trailers.
pub(crate) const MAX_HEADERS: usize = 100;

/// Returns the response to bytes that are not a valid request.
pub(crate) fn bad_request(why: &str) -> HttpResponse {
    HttpResponse::error(400, "bad_request", why)
}

/// Reads one line of a head, or of what follows a chunked body: the name in lower case, and the value.
///
/// # Errors
/// The response to a line that is not a valid header.
pub(crate) fn parse_header(line: &str) -> Result<(String, String), HttpResponse> {
    let (name, value) = line.split_once(':').ok_or_else(|| bad_request("a header is not NAME: VALUE"))?;
    if !is_token(name) {
        return Err(bad_request("the name of a header is not a token"));
    }
    let value = value.trim_matches([' ', '\t']);
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(bad_request("a header has control characters"));
    }
    Ok((name.to_ascii_lowercase(), value.to_string()))
}

/// Returns whether a text is a token of HTTP's grammar.
pub(crate) fn is_token(text: &str) -> bool {
    let is_mark = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}
