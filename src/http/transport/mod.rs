//! Connections: from accepting a client to a parsed request, and from a response to the bytes that are sent.
//!
//! Knows nothing of the queue: what answers requests implements [`service::HttpService`].

pub(crate) mod catch_panic;
pub(crate) mod chunked;
pub(crate) mod connection;
pub(crate) mod head;
pub(crate) mod header;
pub(crate) mod listener;
pub(crate) mod memory;
pub(crate) mod parser;
pub(crate) mod reactor;
pub(crate) mod request;
pub(crate) mod request_queue;
pub(crate) mod response;
pub(crate) mod send_buffer;
pub(crate) mod service;
pub(crate) mod socket;
pub(crate) mod unix_socket;
