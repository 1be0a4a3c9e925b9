//! The HTTP server over real sockets.

mod access;
mod admission;
mod board;
mod compatible;
mod connection;
mod input;
mod listing;
mod live;
mod load;
mod operations;
mod overview;
mod own_socket;
mod parity;
mod routes;
mod ui;
mod wait;
