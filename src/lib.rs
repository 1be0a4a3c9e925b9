//! A task queue for coding agents, shell scripts and people on one machine: plain files, leases, no daemon.
//!
//! The queue, or *store*, is a directory. Every process that opens it with [`Store`] shares it with every `lanes`
//! command; there is no server in between. A task is submitted to a *lane*, claimed under a
//! lease by one worker at a time, and answered once.
//!
//! ```
//! use std::time::Duration;
//!
//! use lanes::{Answer, Command, LaneName, LaneQuery, NewTask, Owner, Store, StoreOptions};
//!
//! # let dir = tempfile::tempdir()?;
//! # let root = dir.path().join("state");
//! let store = Store::open(&root, StoreOptions::default())?;
//! let review = LaneName::new("review")?;
//! let id = store.submit(NewTask::prompt(&review, "Is this right?"))?.task.id;
//!
//! // A worker, usually in another process. The lease holds for 60 seconds unless it is renewed.
//! let me = Owner::new("worker-1")?;
//! let task = store.claim_next(&LaneQuery::lane(&review), &me, Duration::from_secs(60))?.expect("a task is waiting");
//! let token = task.status.claim().map(|claim| claim.token.clone());
//! let answer = Answer { token, ..Answer::completed(&me, "Yes.") };
//! store.apply(&task.id, &Command::Respond(answer))?;
//!
//! let response = store.response(&store.task(&id)?)?.expect("it was answered");
//! assert_eq!(response.body, "Yes.");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Store::watch_lanes`] and [`Store::watch_tasks`] return a [`Watch`], which sleeps until something may have changed.
//! `examples/worker.rs` is a worker that renews its claims.
//!
//! # Invariants
//!
//! - **A change is one rename.** A process that is killed leaves the state before a change or after it, and what
//!   is derived from the tasks is repaired by the next process that uses it.
//! - **One holder.** A task has at most one live claim. Every claim has a new token, and a command with an old
//!   token is refused: [`Error::refusal`] returns the reason.
//! - **One answer.** A task that has been answered, cancelled or given up as dead never changes its answer.
//! - **Durable when it returns.** Every change of a task is on the disk when its call returns, and survives a power cut.
//!
//! `CONTRACT.md` in the repository states all promises in detail, with the file formats.
//!
//! # Limits
//!
//! - Linux, and a local file system: locks rely on `flock`, leases on the clock and the uptime of one machine.
//! - Calls block for the disk and for locks: see [`StoreOptions::lock_timeout`].
//! - A prompt has at most 8 MiB (1 MiB with a request file), and a response at most 100 MiB; names and labels have
//!   limits, too. Whatever is longer is refused, and [`LaneName`], [`Owner`] and [`IdempotencyKey`] are checked by their types.
//!   Control and invisible characters in other names, flags in place of a branch, and the ranges of numbers are
//!   checked by the command line and the server; a program that calls [`Store::submit`] itself has to.
//! - The version of the crate is 0.x: names may change. The files and the command line are what is stable.
//!
//! # Features
//!
//! `cli` (on by default) is the `lanes` binary: command line, HTTP server and dispatcher; `mcp` (on by default) adds
//! `lanes mcp`, and `planka` (on by default) bridges to Planka servers. Without default features the crate is the library on this page.

// Items that neither this page nor `internals` re-exports are `pub(crate)`.
#![warn(unreachable_pub)]
#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, unused_imports, reason = "much of the library serves the binary")
)]

#[cfg(feature = "cli")]
mod bridge;
#[cfg(feature = "cli")]
mod cli;
#[cfg(test)]
mod concurrency_tests;
#[cfg(feature = "cli")]
mod dispatch;
mod error;
#[cfg(feature = "cli")]
mod guard;
#[cfg(feature = "cli")]
mod http;
#[doc(hidden)]
pub mod internals;
#[cfg(feature = "mcp")]
mod mcp;
mod model;
mod os;
mod sha256;
#[cfg(feature = "cli")]
mod signals;
mod store;
mod sync;
mod workspace;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub use cli::run as run_command_line;
pub use error::{Error, ErrorKind, Result};
pub use model::json::Object;
pub use model::task::Availability;
pub use model::{
    Answer, AnswerOutcome, AnswerSchema, Claim, ClaimState, ClaimToken, Command, DefaultAnswer, Dependency,
    DependencyCondition, DependencyOutcome, DependencyRef, DependencyTarget, Effect, Event, ExclusiveKey,
    FailureClass, Filter, GroupName, IdempotencyKey, LaneName, ListEdit, MessageReceipt, NewQuestion,
    NewRequest, NewTask, Now, Owner, Question, QuestionAnswer, Refusal, RequestCheck, RequestFault, Response,
    ResponseStatus, Sha256, Status, StoredDuration, SupportingPath, Task, TaskEdit, TaskEnd, TaskId,
    TaskMessage, TaskSpec, Time, Verdict,
};
pub use store::{
    Clock, Entropy, FeedCursor, FeedEntry, Finding, FsckReport, GcAge, GcPlan, GcReport, ImportReport,
    LaneQuery, Pause, ProgressListener, Registration, RemoteAccess, Severity, Store, StoreOptions,
    StoreToken, SubmittedTask, Watch, WorkerInfo, WorkerKind,
};
