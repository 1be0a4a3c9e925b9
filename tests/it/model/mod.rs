//! The state machine of a task.

mod transition_rules;
mod transitions;
