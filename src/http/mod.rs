//! `lanes serve`: the queue over HTTP, for programs that do not know where the store is.
//!
//! This is an interface like the command line: it translates requests and contains no rule of the queue. From the
//! bottom to the top:
//!
//! - [`transport`] knows sockets and bytes: it accepts clients, parses requests and sends responses.
//! - [`api`] is the interface as data: operations, their parameters and fields, the OpenAPI document.
//! - `auth` decides which clients may send requests, by a `token` or a browser's `session`; `allowed_paths` to which
//!   paths a request may lead.
//! - `responder` is how threads other than a handler's answer requests. `long_poll` keeps the requests that wait,
//!   `wait_for` defines what they wait for, and the `watcher` wakes them: it reads `changes` from the store's feed
//!   and sends `streams`. `submit_draft` is a task as a client submits it; `submit_readers` read its files,
//!   `submit_batcher` makes submits that arrive together durable in one batch.
//! - `message_route` passes messages posted to `/mcp` to the endpoint that answers them, if there is one.
//! - `ui` is the web interface: a page that uses the routes as every other client does.
//! - `task_list` keeps all tasks in brief, for pages of them in any order; `bulk_answers` the answers to changes of many.
//! - `metrics`, `access_log` and `count_cache` record and count.
//! - `context` is the state that handlers share, and one request as its handler sees it.
//! - [`handlers`] implement the routes, one file for each resource.
//! - `routes` is the table of all routes, `router` finds the handler of a request, `server` starts and stops the
//!   server.
//! - `fuzzing` gives tests the request parser and nothing else.

mod access_log;
mod allowed_paths;
pub(crate) mod api;
mod auth;
mod bulk_answers;
mod change_replies;
mod changes;
#[cfg(test)]
mod concurrency_tests;
mod context;
mod count_cache;
#[doc(hidden)]
pub(crate) mod fuzzing;
pub(crate) mod handlers;
mod log_follower;
mod log_lines;
mod long_poll;
mod message_route;
mod metrics;
mod responder;
mod router;
mod routes;
mod server;
mod session;
mod streams;
mod submit_batcher;
mod submit_draft;
mod submit_readers;
mod task_list;
mod token;
pub(crate) mod transport;
mod ui;
mod wait_for;
mod watcher;

use crate::sync;

pub(crate) use context::{AgreeToRoutes, BudgetAccess, RouteRules};
pub(crate) use message_route::MessageOptions;
#[cfg(feature = "mcp")]
pub(crate) use message_route::{MessageEndpoint, MessageReply, PostedMessage};
pub use routes::document;
pub use server::serve_until_exit;
pub(crate) use server::{ServeOptions, ServerAddresses, TokenRule, serve};
pub(crate) use token::read_token;
pub(crate) use transport::catch_panic::is_panic_caught;
