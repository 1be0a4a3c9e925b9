//! `lanes dispatch`: claims tasks and runs an agent for each, unattended.
//!
//! - [`dispatcher`] is the event loop: it claims when a slot is free, starts runs and reports their end.
//! - [`on_demand`] is the dispatcher that runs only while somebody needs it.
//! - [`config`] reads and checks settings: routes, vendors of lanes, consent, prices.
//! - [`run`] is one run, from its preparation to what its end means for the task; [`outcome`] lists the ends.
//! - [`prompt`] builds what the agent is asked; [`output`] parses what it prints.
//! - [`vendor`] describes the agents' programs as data.
//! - [`agent`] starts, supervises and ends processes; nothing else touches them.
//! - [`report`] delivers the result of a run to the queue, also for a dispatcher that died.
//!
//! Decisions are pure functions: the command line, the prompt, what output means, how a run ended.

pub(crate) mod admission;
pub(crate) mod agent;
#[cfg(feature = "mcp")]
pub(crate) mod agent_settings;
pub(crate) mod budget_gate;
pub(crate) mod config;
pub(crate) mod cooldown;
pub(crate) mod cost_limit;
pub(crate) mod dispatcher;
pub(crate) mod dry_run;
pub(crate) mod event;
pub(crate) mod lease_renewer;
pub(crate) mod on_demand;
pub(crate) mod outcome;
pub(crate) mod output;
pub(crate) mod prompt;
pub(crate) mod registration;
pub(crate) mod report;
pub(crate) mod run;
mod stored_lane;
mod stored_time;
mod task_metadata;
#[cfg(test)]
mod testing;
pub(crate) mod usage_record;
pub(crate) mod usage_stats;
pub(crate) mod vendor;
pub(crate) mod worktree;
