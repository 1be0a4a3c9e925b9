//! Delivers responses from the threads behind the handlers to clients.
//!
//! A handler whose response takes longer returns [`Reply::Deferred`](super::transport::service::Reply), and another
//! thread responds under the ticket of the request. Such a thread needs a [`Responder`] and nothing else of the
//! server, so that tests can give it one of their own.

use std::time::Instant;

use super::transport::memory::Reservation;
use super::transport::request::HttpRequest;
use super::transport::response::HttpResponse;
use super::transport::service::{SendResult, Ticket};

/// Delivers responses to requests that were deferred, and pieces of streams.
pub(crate) trait Responder: Sync {
    /// Sends the response to a deferred request, and records it in the metrics and the access log. Does nothing
    /// when the client has disconnected.
    fn respond(&self, ticket: Ticket, trace: &RequestTrace, response: HttpResponse);
    /// Returns whether the client of a request is still connected.
    fn is_connected(&self, ticket: Ticket) -> bool;
    /// Returns whether the server is shutting down.
    fn is_stopping(&self) -> bool;
    /// Lets a worker thread try again to answer a deferred request.
    fn resume(&self, ticket: Ticket);
    /// Sends a piece of a stream.
    fn send(&self, ticket: Ticket, piece: &[u8]) -> SendResult;
    /// Ends a stream once its client has received all of it, and this last piece.
    fn finish(&self, ticket: Ticket, last: &[u8]);
}

/// The data that the metrics and the access log record of a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestTrace {
    /// The time at which the request was complete.
    pub received_at: Instant,
    /// The method as it was sent.
    pub method: String,
    /// The path as it was sent.
    pub path: String,
    /// The path pattern of its route; empty when it has none.
    pub pattern: &'static str,
}

impl RequestTrace {
    /// Begins the trace of a request that arrives now.
    pub(crate) fn of(request: &HttpRequest, pattern: &'static str) -> Self {
        let (method, path) = (request.method.clone(), request.path.clone());
        Self { received_at: Instant::now(), method, path, pattern }
    }

    /// Makes the trace of bytes that are not a request.
    pub(crate) fn of_invalid_request() -> Self {
        Self { received_at: Instant::now(), method: String::new(), path: String::new(), pattern: "" }
    }
}

/// A request that another thread than its handler's will answer.
pub(crate) struct DeferredRequest {
    ticket: Ticket,
    trace: RequestTrace,
    /// The memory of its body counts until the request is answered.
    _memory: Reservation,
}

impl DeferredRequest {
    /// Defers a request, keeping the memory that its body takes reserved.
    pub(crate) fn new(ticket: Ticket, trace: RequestTrace, memory: Reservation) -> Self {
        Self { ticket, trace, _memory: memory }
    }

    /// Sends the response.
    pub(crate) fn respond(self, responder: &dyn Responder, response: HttpResponse) {
        responder.respond(self.ticket, &self.trace, response);
    }

    /// Returns whether the client is still connected.
    pub(crate) fn is_wanted(&self, responder: &dyn Responder) -> bool {
        responder.is_connected(self.ticket)
    }
}
