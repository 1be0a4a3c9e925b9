//! Pure data and rules: what a task is, and which change is allowed in which state.
//!
//! Nothing here accesses a file, a clock or a terminal. Every rule of the queue is written once, here, and
//! applies to every interface (command line, HTTP, dispatcher).

mod agent_chain;
mod agent_name;
pub(crate) mod answer_cache;
pub(crate) mod answer_schema;
pub(crate) mod bridge;
#[cfg(feature = "mcp")]
pub(crate) mod budget;
mod claim_state;
pub(crate) mod command_list;
pub(crate) mod cooldown;
pub(crate) mod dependency;
pub(crate) mod dependency_outcome;
#[cfg(feature = "mcp")]
pub(crate) mod dialogue;
pub(crate) mod duration;
pub(crate) mod event;
pub(crate) mod excerpt;
pub(crate) mod exclusive_key;
pub(crate) mod filter;
mod group;
pub(crate) mod id;
mod idempotency_key;
#[cfg(feature = "cli")]
pub(crate) mod inbox;
pub(crate) mod json;
mod lane;
pub(crate) mod limits;
pub(crate) mod message;
pub(crate) mod names;
#[cfg(feature = "cli")]
pub(crate) mod notice;
mod owner;
pub(crate) mod question;
pub(crate) mod refusal;
pub(crate) mod release_reason;
pub(crate) mod response;
#[cfg(feature = "cli")]
pub(crate) mod schedule;
mod sha256;
pub(crate) mod spec;
#[cfg(feature = "cli")]
pub(crate) mod spending;
pub(crate) mod succession;
pub(crate) mod task;
pub(crate) mod task_graph;
mod task_json;
#[cfg(feature = "cli")]
pub(crate) mod task_selection;
#[cfg(feature = "cli")]
pub(crate) mod task_summary;
pub(crate) mod task_text;
mod task_title;
mod text_type;
pub(crate) mod time;
pub(crate) mod transition;

#[cfg(feature = "mcp")]
pub(crate) use agent_chain::Recursion;
pub(crate) use agent_chain::{AgentChain, CHAIN_VARIABLE, DEPTH_VARIABLE, RecursionLimits};
pub(crate) use agent_name::AgentName;
pub use answer_schema::AnswerSchema;
pub use claim_state::ClaimState;
pub(crate) use cooldown::{
    Certainty, Cooldown, CooldownCause, CooldownKey, CooldownScope, Cooldowns, CooledModels,
};
pub use dependency::{Dependency, DependencyCondition, DependencyOutcome, DependencyRef, DependencyTarget};
pub use duration::StoredDuration;
pub use event::Event;
pub use exclusive_key::ExclusiveKey;
pub use filter::Filter;
pub use group::GroupName;
pub(crate) use id::TokenPrefix;
pub use id::{ClaimToken, RunId, TaskId};
pub use idempotency_key::IdempotencyKey;
pub use lane::LaneName;
pub(crate) use lane::{AGENT_LANES, MAX_LANE};
pub use message::{MessageReceipt, TaskMessage};
pub use owner::Owner;
pub use question::{DefaultAnswer, NewQuestion, Question, QuestionAnswer};
pub use refusal::{Refusal, RequestFault, TaskEnd};
pub use response::{Response, ResponseStatus, Verdict};
pub use sha256::Sha256;
pub use spec::{NewRequest, NewTask, SupportingPath, TaskSpec};
pub(crate) use task::Bookkeeping;
pub use task::{Claim, FailureClass, Status, Task};
pub use task_text::TaskText;
pub use time::{Now, Time};
pub use transition::{Answer, AnswerOutcome, Command, Effect, ListEdit, RequestCheck, TaskEdit};
