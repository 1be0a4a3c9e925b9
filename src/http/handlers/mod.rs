//! The handlers of the routes, one file for each resource.

pub(crate) mod agents;
pub(crate) mod automation;
pub(crate) mod bulk;
pub(crate) mod claims;
pub(crate) mod dispatch_routes;
pub(crate) mod events;
pub(crate) mod graph;
pub(crate) mod groups;
pub(crate) mod lanes;
pub(crate) mod listing;
pub(crate) mod logs;
pub(crate) mod messages;
pub(crate) mod questions;
pub(crate) mod responses;
pub(crate) mod server;
pub(crate) mod store_changes;
pub(crate) mod store_reads;
pub(crate) mod submit;
pub(crate) mod tasks;
pub(crate) mod vendors;
