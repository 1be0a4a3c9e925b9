//! `lanes dispatch`: claims tasks and runs an agent for each, unattended.
//!
//! Rules are pure functions in files of their own: which command line ([`vendor`]), what to say to
//! the agent ([`prompt`]), what its output means ([`stream`]), how a run ended ([`judge`]). Only
//! [`agent`] touches processes.

pub mod agent;
pub mod answer;
pub mod config;
pub mod journal;
pub mod judge;
pub mod limit;
pub mod outcome;
pub mod prompt;
pub mod route;
pub mod span;
pub mod stream;
pub mod vendor;
pub mod yaml;
