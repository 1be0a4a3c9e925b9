//! `lanes dispatch`: claims tasks and runs an agent for each, unattended.
//!
//! Rules are pure functions in files of their own: which command line ([`vendor`]), what to say to
//! the agent ([`prompt`]), what its output means ([`stream`]), how a run ended ([`outcome`]). Only
//! [`agent`] and [`tree`] touch processes.

pub mod agent;
pub mod answer;
pub mod journal;
pub mod limit;
pub mod log;
pub mod outcome;
pub mod prompt;
pub mod route;
pub mod span;
mod spawn;
pub mod stop;
pub mod stream;
pub mod tree;
pub mod vendor;
pub mod yaml;
