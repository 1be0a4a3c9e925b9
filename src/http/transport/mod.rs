//! Connections: from accepting a client to a parsed request, and from a response to bytes sent.

pub(crate) mod address;
pub(crate) mod catch_panic;
pub(crate) mod chunked;
pub(crate) mod connection;
pub(crate) mod head;
pub(crate) mod listener;
pub(crate) mod memory;
pub(crate) mod memory_budget;
pub(crate) mod parser;
pub(crate) mod reactor;
pub(crate) mod request_threads;
pub(crate) mod send_buffer;
pub(crate) mod service;
pub(crate) mod slow_client;
pub(crate) mod unix_socket;
