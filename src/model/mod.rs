//! Pure data and rules: what a task is, and which change is allowed in which state.
//!
//! Nothing here accesses a file, a clock or a terminal. Every rule of the queue is written once, here, and
//! applies to every interface (command line, HTTP, dispatcher).

mod claim_state;
pub mod cooldown;
pub mod duration;
pub mod event;
pub mod filter;
pub mod id;
pub mod json;
mod lane;
pub mod limits;
pub mod names;
pub mod refusal;
pub mod response;
pub mod spec;
pub mod task;
mod task_json;
mod task_text;
pub mod time;
pub mod transition;

pub use claim_state::ClaimState;
pub use cooldown::{Certainty, Cooldown, CooldownCause, Cooldowns};
pub use event::Event;
pub use filter::Filter;
pub use id::{ClaimToken, TaskId};
pub use lane::{MAX_LANE, check_lane};
pub use refusal::Refusal;
pub use response::{Response, ResponseStatus, Verdict};
pub use spec::{NewRequest, NewTask, SupportingPath, TaskSpec};
pub use task::{Claim, FailureClass, Journal, Status, Task};
pub use task_text::TaskText;
pub use time::{Now, Time};
pub use transition::{Answer, Command, Effect, RequestCheck};
