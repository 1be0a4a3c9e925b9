//! `lanes serve`: the queue over HTTP, for programs that do not know where the store is.
//!
//! This is a front end like the command line: it translates requests and holds no rule of the queue.
//!
//! - [`transport`] knows sockets and bytes: it accepts clients, parses requests and sends responses.
//! - [`api`] is the interface as data: the routes, their parameters and fields, the OpenAPI document.
//! - [`handlers`] does what each route is for, one file for each resource.
//! - `auth` decides who may send requests, by a `token` or a `session`; `allowed_paths` which paths a request may name.
//! - `context` is what handlers share, `response` what a client receives.
//! - `long_poll` holds requests that wait, `watcher` is the one thread that wakes them.
//! - `submit_batcher` makes submits that arrive together durable in one batch.
//! - `fuzzing` gives tests the request parser and nothing else.

mod access_log;
mod allowed_paths;
pub mod api;
mod auth;
mod context;
mod count_cache;
#[doc(hidden)]
pub mod fuzzing;
pub mod handlers;
mod long_poll;
mod response;
mod server;
mod session;
mod submit_batcher;
mod token;
pub mod transport;
mod watcher;

pub use api::openapi::document;
pub use handlers::routes::{AgreeToRoutes, RouteRules};
pub use server::{Places, ServeOptions, TokenRule, serve};
pub use transport::catch_panic::is_contained;
