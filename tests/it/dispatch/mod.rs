//! Dispatchers with scripted agents, which lie in `tests/agents/`.

mod agent;
mod agents;
mod bad_agents;
mod budgets;
mod environment;
mod exclusive;
mod follow_ups;
mod guard;
mod life;
mod limits;
mod messages;
mod money;
mod notices;
mod on_demand;
mod outcomes;
mod permissions;
mod places;
mod questions;
mod recorded_messages;
mod resume;
mod runs;
mod schema;
mod settings;
mod signals;
mod verify;
mod worktrees;
