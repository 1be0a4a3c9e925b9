//! A request, read and checked as far as HTTP itself goes.

use super::memory::Reservation;

/// The largest body, in bytes.
pub(crate) const MAX_BODY: usize = 8 * 1024 * 1024;

/// One complete request.
#[derive(Debug, Default)]
pub(crate) struct HttpRequest {
    /// The method as it was sent.
    pub method: String,
    /// The path, still percent-encoded.
    pub path: String,
    /// The part after the question mark, still encoded.
    pub query: String,
    /// The authority that the client addresses: the `Host` header, or the one of an absolute target.
    pub host: String,
    /// Names in lower case with their values, in the order they came.
    pub headers: Vec<(String, String)>,
    /// Whether the head announces a body.
    pub has_body: bool,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// The memory that is reserved for the body.
    pub memory: Reservation,
    /// Whether the client wants to send another request on this connection.
    pub keep_alive: bool,
    /// Whether it came over a socket that only this user can reach.
    pub is_own_user: bool,
}

impl HttpRequest {
    /// Returns the value of a header; `None` when it is absent or was sent more than once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(have, _)| have == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// Returns how often a header was sent.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(have, _)| have == name).count()
    }
}
