//! Runs the threads behind the handlers in many schedules; see `crate::concurrency_tests`.

mod long_poll;
mod submit_batcher;

use std::time::Instant;

use self::responder::RequestTrace;
use self::transport::service::Ticket;
use super::{api, responder, transport, wait_for};
use crate::concurrency_tests::check;

/// What the files that are compiled again import as `super::sync`.
mod sync {
    pub(super) use shuttle::sync::{Mutex, MutexGuard, PoisonError, mpsc};
}

fn ticket(number: u64) -> Ticket {
    Ticket { connection: number, request: 1 }
}

fn trace() -> RequestTrace {
    RequestTrace { received_at: Instant::now(), method: "POST".into(), path: "/".into(), pattern: "" }
}
