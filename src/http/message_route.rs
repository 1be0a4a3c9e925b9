//! The route `/mcp`: passes posted messages on to an endpoint, and its replies back to their clients.
//!
//! Messages are not interpreted here. They are answered on the endpoint's own thread, so that a waiting call
//! blocks no thread of the server.

#![cfg_attr(not(feature = "mcp"), expect(dead_code, reason = "nothing answers messages without the feature"))]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::responder::{RequestTrace, Responder};
use super::transport::memory::Reservation;
use super::transport::request::HttpRequest;
use super::transport::response::HttpResponse;
use super::transport::service::{Reply, Ticket};
use crate::error::Result;

/// The methods of the route.
pub(super) const METHODS: &str = "POST, OPTIONS";

/// How posted messages are answered.
pub(crate) struct MessageOptions {
    /// Answers them.
    pub endpoint: Box<dyn MessageEndpoint>,
    /// Whether they must present a token over TCP.
    pub needs_token: bool,
}

/// A message as it was posted.
pub(crate) struct PostedMessage {
    /// The number that identifies its reply.
    pub number: u64,
    /// The body.
    pub body: Vec<u8>,
    /// The header `MCP-Protocol-Version`.
    pub version: Option<String>,
    /// Whether the client accepts a stream of events.
    pub takes_events: bool,
}

/// A reply to a posted message, or a part of one.
pub(crate) enum MessageReply {
    /// The whole reply: its status and its JSON, if any.
    Whole(u16, Vec<u8>),
    /// The beginning of a stream of events.
    BeginEvents,
    /// A piece of the stream.
    Events(Vec<u8>),
    /// The last piece of the stream.
    EndEvents(Vec<u8>),
}

/// Answers messages.
pub(crate) trait MessageEndpoint: Send + Sync {
    /// Takes a message. Returns the reply if there is one already; otherwise [`run`](Self::run) delivers it. Called by
    /// several threads at the same time.
    fn take(&self, message: PostedMessage) -> Option<MessageReply>;
    /// Records that the client of a message has hung up. Must not wait for anything.
    fn gone(&self, number: u64);
    /// Answers messages until [`close`](Self::close) is called, and passes each reply to `deliver`, which returns whether
    /// the client is still there.
    ///
    /// # Errors
    /// `Io` when it cannot be started.
    fn run(&self, deliver: &dyn Fn(u64, MessageReply) -> bool) -> Result<()>;
    /// Ends all waiting, so that every message is answered soon.
    fn stop(&self);
    /// Lets [`run`](Self::run) return.
    fn close(&self);
}

/// A message that is not answered yet.
struct OpenMessage {
    ticket: Ticket,
    trace: RequestTrace,
    /// The memory of its body counts until it is answered.
    _memory: Reservation,
}

/// The route `/mcp`, with the messages that are not answered yet.
pub(crate) struct MessageRoute {
    endpoint: Box<dyn MessageEndpoint>,
    next_number: AtomicU64,
    open: Mutex<HashMap<u64, OpenMessage>>,
}

impl MessageRoute {
    /// Makes the route to an endpoint.
    pub(super) fn new(endpoint: Box<dyn MessageEndpoint>) -> Self {
        Self { endpoint, next_number: AtomicU64::new(1), open: Mutex::default() }
    }

    /// Passes on a posted message.
    ///
    /// # Errors
    /// The response of a server that is stopping.
    pub(super) fn post(
        &self,
        responder: &dyn Responder,
        mut request: HttpRequest,
        ticket: Ticket,
        trace: &RequestTrace,
    ) -> std::result::Result<Reply, HttpResponse> {
        if responder.is_stopping() {
            return Err(HttpResponse::stopping());
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let message = PostedMessage {
            number,
            body: std::mem::take(&mut request.body),
            version: request.header("mcp-protocol-version").map(str::to_string),
            takes_events: takes_events(&request),
        };
        let memory = std::mem::take(&mut request.memory);
        self.open().insert(number, OpenMessage { ticket, trace: trace.clone(), _memory: memory });
        match self.endpoint.take(message) {
            None => Ok(Reply::Deferred),
            Some(reply) => {
                self.open().remove(&number);
                match reply {
                    MessageReply::Whole(status, body) => Ok(response(status, body).into()),
                    // Only a reply that takes time is a stream.
                    _ => Err(HttpResponse::internal_error()),
                }
            }
        }
    }

    /// Records that a client has hung up.
    pub(super) fn gone(&self, ticket: Ticket) {
        let mut open = self.open();
        let number = open.iter().find(|(_, message)| message.ticket == ticket).map(|(number, _)| *number);
        if let Some(number) = number {
            open.remove(&number);
            drop(open);
            self.endpoint.gone(number);
        }
    }

    /// Delivers replies until [`Self::close`].
    ///
    /// # Errors
    /// As for [`MessageEndpoint::run`].
    pub(super) fn run(&self, responder: &dyn Responder) -> Result<()> {
        self.endpoint.run(&|number, reply| self.deliver(responder, number, reply))
    }

    /// Lets every message be answered soon.
    pub(super) fn stop(&self) {
        self.endpoint.stop();
    }

    /// Lets [`Self::run`] return.
    pub(super) fn close(&self) {
        self.endpoint.close();
    }

    /// Delivers a reply, or a part of one. Returns whether its client is still connected.
    fn deliver(&self, responder: &dyn Responder, number: u64, reply: MessageReply) -> bool {
        // The lock is not held meanwhile: a thread that has the lock of a connection may call `gone`.
        let is_last = matches!(reply, MessageReply::Whole(..) | MessageReply::EndEvents(_));
        let message = {
            let mut open = self.open();
            let message = open.get(&number).map(|open| (open.ticket, open.trace.clone()));
            if is_last {
                open.remove(&number);
            }
            message
        };
        let Some((ticket, trace)) = message.filter(|(ticket, _)| responder.is_connected(*ticket)) else {
            return false;
        };
        match reply {
            MessageReply::Whole(status, body) => responder.respond(ticket, &trace, response(status, body)),
            MessageReply::BeginEvents => {
                responder.respond(ticket, &trace, HttpResponse::stream("text/event-stream"));
            }
            MessageReply::Events(events) => {
                // A client that is far behind misses progress, and nothing else.
                responder.send(ticket, &events);
            }
            MessageReply::EndEvents(last) => responder.finish(ticket, &last),
        }
        true
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, OpenMessage>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn response(status: u16, body: Vec<u8>) -> HttpResponse {
    HttpResponse { status, ..HttpResponse::text("application/json", body) }
}

/// Returns whether a client accepts a stream of events.
fn takes_events(request: &HttpRequest) -> bool {
    request.headers.iter().filter(|(name, _)| name == "accept").flat_map(|(_, value)| value.split(',')).any(
        |kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream"),
    )
}
