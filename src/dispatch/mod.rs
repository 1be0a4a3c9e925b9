//! `lanes dispatch`: claims tasks and runs an agent for each, unattended.
//!
//! Rules are pure functions in files of their own: which command line ([`vendor`]), what to say to
//! the agent ([`prompt`]), what its output means ([`stream`]), how a run ended ([`judge`]). Only
//! [`agent`] touches processes.

pub mod agent;
pub mod answer;
pub mod brief;
pub mod choices;
pub mod config;
pub mod consent;
mod conversation;
pub mod fit;
pub mod follow;
pub mod gate;
pub mod journal;
pub mod judge;
pub mod keeper;
pub mod limit;
pub mod moment;
pub mod outcome;
pub mod parking;
pub mod place;
pub mod plan;
pub mod policy;
pub mod prepare;
pub mod preview;
pub mod prices;
pub mod prompt;
pub mod reach;
pub mod recover;
pub mod report;
pub mod repository;
pub mod reset;
pub mod resume;
pub mod roster;
pub mod route;
pub mod runner;
mod said;
pub mod scheduler;
pub mod service;
pub mod settings;
pub mod settle;
pub mod stream;
pub mod telling;
#[cfg(test)]
mod testing;
pub mod unready;
pub mod vendor;
pub mod wake;
pub mod workplace;
pub mod yaml;
