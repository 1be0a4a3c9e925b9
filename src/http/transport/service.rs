//! The interface between the connections and what answers their requests.

use super::request::HttpRequest;
use super::response::HttpResponse;

/// Names one request that is to be answered: a connection, and the number of the request on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket {
    pub(crate) connection: u64,
    pub(crate) request: u64,
}

/// What a service returns for a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The response.
    Response(HttpResponse),
    /// Nothing yet: another thread will pass the response to `Reactor::answer`.
    Deferred,
}

impl From<HttpResponse> for Reply {
    fn from(response: HttpResponse) -> Self {
        Self::Response(response)
    }
}

/// The result of sending a piece of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendResult {
    /// The piece is on its way.
    Sent,
    /// The client is behind, and nothing was accepted.
    Behind,
    /// The client has disconnected.
    Gone,
}

/// What answers requests; called by several threads at the same time.
pub(crate) trait HttpService: Sync {
    /// Decides by its head whether a request is served, and returns how many bytes its body may have. Must neither
    /// block nor call the `Reactor`, whose locks are held.
    ///
    /// # Errors
    /// The response to a request that is not served.
    fn admit(&self, head: &HttpRequest) -> Result<usize, HttpResponse>;
    /// Returns whether a request is answered without waiting for a lock, so that it need not wait for others.
    fn is_quick(&self, request: &HttpRequest) -> bool;
    /// Answers a request that was admitted, or defers it under its ticket.
    fn call(&self, request: HttpRequest, ticket: Ticket) -> Reply;
    /// Tries again to answer a deferred request, because of `Reactor::resume`.
    fn resume(&self, ticket: Ticket) -> Reply;
    /// Records that the client of a deferred request, or of a stream, has hung up. Must not call the `Reactor`,
    /// whose locks are held.
    fn gone(&self, ticket: Ticket);
    /// Records a response to bytes that are not a request.
    fn refused(&self, refusal: &HttpResponse);
}
