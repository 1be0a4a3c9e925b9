//! What the network and the program say to each other.

use super::parser::Request;
use crate::http::response::Answer;

/// One request that is to be answered: which connection, and the how-manieth on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    pub(crate) connection: u64,
    pub(crate) request: u64,
}

/// What a service makes of a request.
#[derive(Debug)]
pub enum Reply {
    /// This, at once.
    Answer(Answer),
    /// Something, later, through `Sockets::answer`.
    Parked,
}

/// What became of a piece of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Taken,
    /// The client is behind; nothing was taken.
    Behind,
    /// There is nobody to send it to.
    Gone,
}

/// Who answers requests; called by several threads at once.
pub trait Service: Sync {
    /// Says by its head whether a request is wanted, and how many bytes its body may have. Must neither
    /// wait for anything nor call `Sockets`, whose locks are held.
    ///
    /// # Errors
    /// The answer to a request that is not wanted.
    fn admit(&self, head: &Request) -> Result<usize, Answer>;
    /// Whether a request is answered without waiting for a lock, so that it need not wait for others.
    fn is_quick(&self, request: &Request) -> bool;
    /// Answers a request that was admitted, or parks it under its ticket.
    fn call(&self, request: Request, ticket: Ticket) -> Reply;
    /// Looks again at a parked request, because of `Sockets::resume`.
    fn resume(&self, ticket: Ticket) -> Reply;
    /// The client of a parked request, or of a stream, has hung up. Must not call `Sockets`, whose
    /// locks are held.
    fn gone(&self, ticket: Ticket);
    /// Bytes were refused before they became a request.
    fn refused(&self, refusal: &Answer);
}
