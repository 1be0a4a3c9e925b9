//! Renews the leases of running tasks, and notices when a claim is over.
//!
//! One thread does this for all runs of a dispatcher: it renews each lease when a third of it has passed, and
//! at each change in the store it checks whether a task was cancelled or claimed by another worker. The run of
//! such a task is stopped, and nothing is reported for it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::agent::StopHandle;
use super::outcome::StopReason;
use crate::error::{Error, ErrorKind};
use crate::model::{ClaimState, ClaimToken, Command, Refusal, TaskId};
use crate::store::Store;

/// Maximum time between two checks.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Renews the leases of a dispatcher's claims.
#[derive(Debug)]
pub(crate) struct LeaseRenewer {
    claims: Mutex<Vec<RenewedClaim>>,
    lease: Duration,
    ended: AtomicBool,
}

#[derive(Clone, Debug)]
struct RenewedClaim {
    id: TaskId,
    token: ClaimToken,
    stop: StopHandle,
    renew_at: Instant,
}

impl LeaseRenewer {
    /// Creates a renewer without claims, for leases of the length `lease`.
    pub(crate) fn new(lease: Duration) -> Self {
        Self { claims: Mutex::default(), lease, ended: AtomicBool::new(false) }
    }

    /// Adds a claim to renew; `stop` ends its run when the claim is over.
    pub(crate) fn add(&self, id: &TaskId, token: &ClaimToken, stop: &StopHandle) {
        let renew_at = Instant::now() + self.renewal_interval();
        let claim = RenewedClaim { id: id.clone(), token: token.clone(), stop: stop.clone(), renew_at };
        self.lock().push(claim);
    }

    /// Stops renewing a claim, because its run is over.
    pub(crate) fn remove(&self, token: &ClaimToken) {
        self.lock().retain(|claim| claim.token != *token);
    }

    /// Ends [`LeaseRenewer::watch`].
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    /// Renews the claims until [`LeaseRenewer::end`]. Runs in a thread of its own.
    pub(crate) fn watch(&self, store: &Store) {
        let mut watch = store.watch_feed();
        while !self.ended.load(Ordering::SeqCst) {
            // Copied, so that the lock is not held while files are read.
            let claims = self.lock().clone();
            for claim in &claims {
                if !self.check_and_renew(store, claim) {
                    self.remove(&claim.token);
                }
            }
            watch.wait(self.next_check());
        }
    }

    /// Checks a claim and renews it if that is due. Returns false when the claim is over.
    fn check_and_renew(&self, store: &Store, claim: &RenewedClaim) -> bool {
        let is_due = Instant::now() >= claim.renew_at;
        let state = match is_due {
            true => self.renew(store, claim),
            false => store.task(&claim.id).map(|task| {
                let now = store.now().wall;
                claim.stop.set_waiting(task.questions.iter().any(|question| question.is_open(now)));
                task.claim_state(&claim.token)
            }),
        };
        let reason = match state {
            Ok(ClaimState::Held) => {
                if is_due {
                    self.schedule_renewal(claim, self.renewal_interval());
                }
                return true;
            }
            // The agent answered the task itself; it may continue until it exits.
            Ok(ClaimState::Ended) => return false,
            Ok(ClaimState::Cancelled) => StopReason::Cancelled,
            Ok(ClaimState::Lost) => StopReason::LeaseLost,
            Err(error) if error.kind() == ErrorKind::NotFound => StopReason::LeaseLost,
            // The store is locked or cannot be read, or the disk is full: try again soon. Two thirds of the
            // lease are left for that.
            Err(_) => {
                if is_due {
                    self.schedule_renewal(claim, MAX_CHECK_INTERVAL.min(self.renewal_interval()));
                }
                return true;
            }
        };
        claim.stop.stop(reason);
        false
    }

    /// Renews a lease. Returns the state of the claim, also if the renewal was refused.
    fn renew(&self, store: &Store, claim: &RenewedClaim) -> Result<ClaimState, Error> {
        let command = Command::Renew { token: claim.token.clone(), lease: Some(self.lease) };
        match store.apply(&claim.id, &command) {
            Ok(_) => Ok(ClaimState::Held),
            Err(error) => error.refusal().and_then(Refusal::claim_state).ok_or(error),
        }
    }

    fn schedule_renewal(&self, claim: &RenewedClaim, pause: Duration) {
        if let Some(renewed) = self.lock().iter_mut().find(|renewed| renewed.token == claim.token) {
            renewed.renew_at = Instant::now() + pause;
        }
    }

    /// Returns when to check next: at the next renewal, but at most [`MAX_CHECK_INTERVAL`] from now. A claim that
    /// is added while the thread sleeps is due no earlier than that.
    fn next_check(&self) -> Instant {
        let latest = Instant::now() + MAX_CHECK_INTERVAL.min(self.renewal_interval());
        self.lock().iter().map(|claim| claim.renew_at).fold(latest, Instant::min)
    }

    /// Returns the time between two renewals of a lease: a third of it.
    fn renewal_interval(&self) -> Duration {
        self.lease / 3
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<RenewedClaim>> {
        // A panic in another thread leaves the list valid.
        self.claims.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
