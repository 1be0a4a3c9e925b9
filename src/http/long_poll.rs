//! The waiting requests: what each of them waits for, and which is served next.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::responder::{RequestTrace, Responder};
use super::sync::mpsc::{Receiver, Sender, channel};
use super::sync::{Mutex, MutexGuard, PoisonError};
use super::transport::response::HttpResponse;
use super::transport::service::Ticket;
use super::wait_for::{WaitEnd, WaitFor, group};
use crate::error::Result;

/// The maximum number of requests that may wait at the same time.
const MAX_WAITING: usize = 10_000;

/// A message to the watcher.
pub(crate) enum WatcherSignal {
    /// Something in the store has changed.
    StoreChanged,
    /// A request has begun to wait, under this number.
    Added(u64),
    /// A request of this group was woken, and its client has disconnected: the next of the group is to be tried.
    PassedOn(String),
    /// The server ends.
    Stop,
}

/// A request that waits.
#[derive(Clone, Debug)]
pub(crate) struct WaitingRequest {
    /// The ticket under which it is answered.
    pub ticket: Ticket,
    /// What it waits for.
    pub wait: WaitFor,
    /// When the wait ends; `None` for a stream.
    pub until: Option<Instant>,
    /// The data that the log and the metrics record of it.
    pub trace: RequestTrace,
    attempt: ClaimAttempt,
}

/// Whether a thread is trying to claim for a request at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClaimAttempt {
    /// No thread is.
    None,
    /// A thread is.
    Running,
    /// A thread is, and something has changed since it began.
    Outdated,
}

impl WaitingRequest {
    /// Makes a request that begins to wait.
    pub(crate) fn new(ticket: Ticket, wait: WaitFor, until: Option<Instant>, trace: RequestTrace) -> Self {
        Self { ticket, wait, until, trace, attempt: ClaimAttempt::None }
    }
}

#[derive(Default)]
struct PollTable {
    /// By number, which is the order of their arrival.
    requests: BTreeMap<u64, WaitingRequest>,
    numbers: HashMap<Ticket, u64>,
    last: u64,
    signals: Option<Sender<WatcherSignal>>,
}

/// All requests that wait. Its lock is never held while the store or a socket is used.
#[derive(Default)]
pub(crate) struct LongPolls(Mutex<PollTable>);

impl LongPolls {
    fn table(&self) -> MutexGuard<'_, PollTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the channel to the watcher; until then no request may wait.
    pub(crate) fn open(&self) -> (Sender<WatcherSignal>, Receiver<WatcherSignal>) {
        let (signals, inbox) = channel();
        self.table().signals = Some(signals.clone());
        (signals, inbox)
    }

    /// Adds a request. Returns `false` when there are too many, or there is no watcher to wake it.
    pub(crate) fn add(&self, request: WaitingRequest) -> bool {
        let mut table = self.table();
        if table.requests.len() >= MAX_WAITING || table.signals.is_none() {
            return false;
        }
        table.last += 1;
        let number = table.last;
        table.numbers.insert(request.ticket, number);
        table.requests.insert(number, request);
        table.signal(WatcherSignal::Added(number));
        true
    }

    /// Lets the watcher answer all requests, and accepts no more. The responder must report already that the server
    /// is stopping.
    pub(crate) fn stop(&self) {
        let mut table = self.table();
        table.signal(WatcherSignal::Stop);
        table.signals = None;
    }

    /// Removes a request whose client has disconnected. If it was woken for a task, the next request of its group is
    /// tried.
    pub(crate) fn forget(&self, ticket: Ticket) {
        let mut table = self.table();
        let Some(number) = table.numbers.get(&ticket).copied() else { return };
        if let Some(request) = table.remove(number)
            && request.attempt != ClaimAttempt::None
            && let Some(query) = request.wait.query()
        {
            table.signal(WatcherSignal::PassedOn(group(query)));
        }
    }

    /// Returns how many requests wait.
    pub(crate) fn len(&self) -> usize {
        self.table().requests.len()
    }

    /// Visits every request, in the order of their arrival.
    pub(crate) fn visit(&self, mut visit: impl FnMut(u64, &WaitingRequest)) {
        for (number, request) in &self.table().requests {
            visit(*number, request);
        }
    }

    /// Removes a request that is about to be answered. Returns `None` when another thread has it.
    pub(crate) fn take(&self, number: u64) -> Option<WaitingRequest> {
        let mut table = self.table();
        if table.requests.get(&number)?.attempt != ClaimAttempt::None {
            return None;
        }
        table.remove(number)
    }

    /// Answers all requests that still wait, since the server ends. A request that a thread is busy with is answered by
    /// that thread.
    pub(crate) fn answer_all(&self, responder: &dyn Responder) {
        let mut all = Vec::new();
        self.visit(|number, request| {
            all.push((number, request.wait.response_without_result(WaitEnd::Stopping)))
        });
        for (number, response) in all {
            if let Some(request) = self.take(number) {
                // A stream was given its response when it began.
                if request.wait.is_stream() {
                    responder.finish(request.ticket, &[]);
                } else {
                    responder.respond(request.ticket, &request.trace, response);
                }
            }
        }
    }

    /// Records how far a stream has come.
    pub(crate) fn update(&self, number: u64, wait: WaitFor) {
        if let Some(request) = self.table().requests.get_mut(&number) {
            request.wait = wait;
        }
    }

    /// Wakes up to `most` requests that want to claim a task of `wanted_group`, those that have waited longest
    /// first. When all of them are being tried already, one of them is tried again afterwards.
    pub(crate) fn wake_claims(&self, wanted_group: &str, most: usize, responder: &dyn Responder) {
        let mut woken = Vec::new();
        {
            let mut table = self.table();
            let mut of_group = table.requests.values_mut().filter(
                |request| matches!(&request.wait, WaitFor::Claim { query, .. } if group(query) == wanted_group),
            );
            let mut first_busy = None;
            while woken.len() < most
                && let Some(request) = of_group.next()
            {
                if request.attempt != ClaimAttempt::None {
                    first_busy = first_busy.or(Some(request));
                } else {
                    request.attempt = ClaimAttempt::Running;
                    woken.push(request.ticket);
                }
            }
            if woken.is_empty()
                && let Some(request) = first_busy
            {
                request.attempt = ClaimAttempt::Outdated;
            }
        }
        for ticket in woken {
            responder.resume(ticket);
        }
    }

    /// Tries `check` (see [`WaitFor::check`]) for a request that was woken. Returns the request with its
    /// response, or `None` when there was nothing, so that it continues to wait.
    pub(crate) fn try_claim(
        &self,
        ticket: Ticket,
        responder: &dyn Responder,
        check: impl Fn(&WaitFor) -> Result<Option<HttpResponse>>,
    ) -> Option<(WaitingRequest, HttpResponse)> {
        loop {
            let (number, wait) = {
                let mut table = self.table();
                let number = *table.numbers.get(&ticket)?;
                let request = table.requests.get_mut(&number)?;
                request.attempt = ClaimAttempt::Running;
                (number, request.wait.clone())
            };
            let checked = check(&wait);
            let is_found = matches!(checked, Ok(Some(_)));
            let response = match checked {
                Ok(Some(response)) => Some(response),
                Ok(None) => responder.is_stopping().then(|| wait.response_without_result(WaitEnd::Stopping)),
                Err(error) => Some(error.into()),
            };
            if let Some(response) = response {
                let request = self.table().remove(number)?;
                // There may be more tasks, so the next request is tried too.
                if let (true, Some(query)) = (is_found, wait.query()) {
                    self.wake_claims(&group(query), 1, responder);
                }
                return Some((request, response));
            }
            if !responder.is_connected(ticket) {
                // Its client has disconnected, so the next request of the group is tried.
                let request = self.table().remove(number)?;
                self.wake_claims(&request.wait.query().map(group).unwrap_or_default(), 1, responder);
                return None;
            }
            let mut table = self.table();
            // At the stop the watcher answers only the requests that no thread is trying. This one was being
            // tried, so it is answered here.
            let has_stopped = table.signals.is_none();
            let request = table.requests.get_mut(&number)?;
            if request.attempt != ClaimAttempt::Outdated && !has_stopped {
                request.attempt = ClaimAttempt::None;
                return None;
            }
        }
    }
}

impl PollTable {
    fn signal(&self, signal: WatcherSignal) {
        if let Some(signals) = &self.signals {
            // Sending fails only when the watcher has ended, and then no request waits.
            let _ = signals.send(signal);
        }
    }

    fn remove(&mut self, number: u64) -> Option<WaitingRequest> {
        let request = self.requests.remove(&number)?;
        self.numbers.remove(&request.ticket);
        Some(request)
    }
}
