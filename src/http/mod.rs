//! `lanes serve`: the queue over HTTP, for programs that do not know where it lives.
//!
//! A door like the command line: it says what a client asked for and holds no rule of the queue.
//!
//! - The seam to the network is `socket` (epoll, answers, deadlines), `accept` (letting in), `transport` and
//!   `own_socket` (TCP, or a socket in the file system), `connection` (one client), `wire`, `head` and `chunk`
//!   (bytes to requests), `answer` and `outbox` (answers to bytes), `pace` (clients that are too slow), `budget`
//!   (memory that all connections share), `memory` (which goes back to the system); `service` is
//!   what both sides say to each other. Nothing else knows sockets.
//! - `guard` decides who may ask, by a `token` or a `session`; `input` and `strict` what a request may say, `bounds` where its paths may
//!   lead.
//! - `table` lists every route with its `fields`; checks and the OpenAPI document are made from it.
//! - The handlers are in a file for each noun: `task`, `submit`, `claim`, `response`, `event`, `lane`,
//!   `agent`, `dispatch`, `run_log`, `health`, `metrics`, `openapi`, `open`.
//! - `draft` is a task to be submitted, `errand` reads the large files of such, `gather` submits many at once.
//! - `park` keeps requests that wait, `watcher` is the one thread that wakes them all.
//! - `fuzzing` lets tests read requests out of bytes, nothing else.
//! - `crew` keeps one thread free for what never waits.
//! - `contain` keeps a panic from ending more than the request that showed it.

mod accept;
mod access;
mod agent;
mod answer;
mod app;
mod bounds;
mod budget;
mod census;
mod chunk;
mod claim;
mod connection;
mod contain;
mod crew;
mod dispatch;
mod draft;
mod errand;
mod event;
mod fields;
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod guard;
mod head;
mod health;
mod input;
mod lane;
mod memory;
mod metrics;
mod open;
mod openapi;
mod outbox;
mod own_socket;
mod pace;
mod park;
mod response;
mod route;
mod run_log;
mod schema;
mod serve;
mod service;
mod session;
mod socket;
mod strict;
mod submit;
mod table;
mod task;
mod token;
mod transport;
mod vendor;
mod watcher;
mod wire;

pub use contain::is_contained;
pub use dispatch::{AgreeToRoutes, RouteRules};
pub use openapi::document;
pub use serve::{Places, ServeOptions, TokenRule, serve};
