//! What each route does, one file for each resource.

pub(crate) mod agents;
pub(crate) mod browser_login;
pub(crate) mod claims;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod lanes;
pub(crate) mod large_submit;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod responses;
pub(crate) mod routes;
pub(crate) mod submit;
pub(crate) mod submit_body;
pub(crate) mod tasks;
pub(crate) mod vendors;
