//! The watcher: the thread that wakes the waiting requests.
//!
//! It follows the store's feed, so that after a change only the requests that it concerns are checked. Changes
//! without a notification (those of other implementations) are found by a slow check of a few requests at a time;
//! changes by the clock (leases that end, delays that are over) by an alarm.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use super::changes::{ChangeReader, StoreChanges};
use super::long_poll::{LongPolls, WaitingRequest, WatcherSignal};
use super::responder::Responder;
use super::streams::{StreamContext, StreamTimers};
use super::transport::catch_panic::catch_panic;
use super::transport::response::HttpResponse;
use super::wait_for::{WaitEnd, WaitFor, group};
use crate::error::Result;
use crate::model::json::Object;
use crate::model::{LaneName, Owner, Time};
use crate::store::{Registration, Store, Watch, WorkerInfo, WorkerKind};

/// The interval at which some requests are checked although no change concerns them.
const SLOW_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// The maximum number of requests in one slow check.
const MAX_SLOW_CHECKS: usize = 100;
/// How long a client on another machine counts as a worker after it was last heard of: longer than the time between two of
/// its requests.
const LINGER_TIME: Duration = Duration::from_secs(4);
/// The minimum time between two alarms.
const MIN_ALARM_INTERVAL: Duration = Duration::from_millis(50);
/// The interval at which the thread that waits for the feed checks whether the server ends.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Passes notifications of the store's feed on to the watcher until the server ends.
pub(super) fn forward_feed(mut watch: Watch, responder: &dyn Responder, signals: &Sender<WatcherSignal>) {
    while !responder.is_stopping() {
        if watch.wait(Instant::now() + STOP_CHECK_INTERVAL)
            && signals.send(WatcherSignal::StoreChanged).is_err()
        {
            return;
        }
    }
}

/// The state of the thread between two rounds.
pub(super) struct Watcher<'a> {
    store: &'a Store,
    polls: &'a LongPolls,
    responder: &'a dyn Responder,
    inbox: Receiver<WatcherSignal>,
    reader: ChangeReader,
    /// When the next task becomes claimable by the clock, for each lane that is waited for.
    due: BTreeMap<LaneName, Option<Time>>,
    /// The earliest time of the next alarm.
    alarm_after: Instant,
    next_slow_check: Instant,
    /// The number of the last request that the slow check has reached.
    checked_up_to: u64,
    streams: StreamTimers,
    /// The lanes that clients on other machines wait for, each with the time until which that counts.
    lingering: HashMap<LaneName, Instant>,
    /// The lanes that are waited for, as other programs see them.
    registration: Option<(BTreeSet<LaneName>, Registration)>,
}

impl<'a> Watcher<'a> {
    /// Makes a watcher that begins at the end of the feed.
    ///
    /// # Errors
    /// Any error of the store.
    pub(super) fn new(
        store: &'a Store,
        polls: &'a LongPolls,
        responder: &'a dyn Responder,
        inbox: Receiver<WatcherSignal>,
    ) -> Result<Self> {
        Ok(Self {
            store,
            polls,
            responder,
            inbox,
            reader: ChangeReader::new(store)?,
            due: BTreeMap::new(),
            alarm_after: Instant::now(),
            next_slow_check: Instant::now() + SLOW_CHECK_INTERVAL,
            checked_up_to: 0,
            streams: StreamTimers::default(),
            lingering: HashMap::new(),
            registration: None,
        })
    }

    /// Wakes requests until the server ends, then answers all that still wait.
    pub(super) fn run(&mut self) {
        loop {
            let timeout = self.wake_at().saturating_duration_since(Instant::now());
            let first = self.inbox.recv_timeout(timeout).ok();
            let mut changes = StoreChanges::default();
            let mut has_changed = false;
            for signal in first.into_iter().chain(self.inbox.try_iter()) {
                match signal {
                    WatcherSignal::StoreChanged => has_changed = true,
                    WatcherSignal::Added(number) => drop(changes.added.insert(number)),
                    WatcherSignal::PassedOn(group) => drop(changes.passed_on.insert(group)),
                    WatcherSignal::Stop => return self.polls.answer_all(self.responder),
                }
            }
            changes.is_slow_check = Instant::now() >= self.next_slow_check;
            if changes.is_slow_check {
                self.next_slow_check = Instant::now() + SLOW_CHECK_INTERVAL;
            }
            if has_changed || changes.is_slow_check {
                self.reader.read(self.store, &mut changes);
            }
            changes.latest = self.reader.latest();
            self.round(changes);
        }
    }

    fn wake_at(&self) -> Instant {
        if self.polls.len() == 0 {
            return Instant::now() + SLOW_CHECK_INTERVAL;
        }
        let now = self.store.now().wall;
        let alarm = self.due.values().flatten().min().map(|due| {
            let left = Duration::from_secs_f64(due.seconds_since(now).clamp(0.0, 3600.0));
            (Instant::now() + left).max(self.alarm_after)
        });
        let mut wake = self.next_slow_check;
        // A request that a thread is busy with cannot be answered here, even when its time is up.
        let soonest = Instant::now() + MIN_ALARM_INTERVAL / 10;
        self.polls
            .visit(|_, request| wake = wake.min(request.until.map_or(wake, |until| until.max(soonest))));
        [alarm, self.streams.wake_at()].into_iter().flatten().fold(wake, Instant::min)
    }

    fn round(&mut self, mut changes: StoreChanges) {
        self.ring_alarm(&mut changes);
        let affected = self.affected_requests(&changes);
        let mut claims: BTreeMap<String, usize> = BTreeMap::new();
        let mut checked: HashMap<String, Option<HttpResponse>> = HashMap::new();
        for (number, request) in affected {
            let response = match &request.wait {
                WaitFor::Claim { query, .. } => {
                    let counts = query.lanes.iter().filter_map(|lane| changes.lanes.get(lane));
                    let most = counts.fold(1, |sum: usize, n| sum.saturating_add(*n));
                    claims.insert(group(query), most);
                    continue;
                }
                // The response is the same for all requests of a group.
                WaitFor::ClaimableTask(query) => {
                    checked.entry(group(query)).or_insert_with(|| self.check(&request)).clone()
                }
                _ => self.check(&request),
            };
            if let Some(response) = response {
                self.answer(number, response);
            }
        }
        for group in std::mem::take(&mut changes.passed_on) {
            claims.entry(group).or_insert(1);
        }
        for (group, most) in claims {
            self.polls.wake_claims(&group, most, self.responder);
        }
        let Self { store, polls, responder, .. } = *self;
        self.streams.round(StreamContext { store, polls, responder }, &changes);
        self.expire();
        self.schedule_alarm(&changes);
        self.update_registration();
    }

    /// Returns the response that a request can be given now, if any.
    fn check(&self, request: &WaitingRequest) -> Option<HttpResponse> {
        match catch_panic(|| request.wait.check(self.store, self.responder, request.ticket)) {
            Some(checked) => checked.unwrap_or_else(|error| Some(error.into())),
            None => Some(HttpResponse::internal_error()),
        }
    }

    /// Returns the requests for which something may have changed.
    fn affected_requests(&mut self, changes: &StoreChanges) -> Vec<(u64, WaitingRequest)> {
        let tasks: BTreeSet<_> = changes.entries.iter().map(|entry| &entry.task_id).collect();
        let mut groups = BTreeSet::new();
        let mut slow_left = if changes.is_slow_check { MAX_SLOW_CHECKS } else { 0 };
        let (mut found, mut slow) = (Vec::new(), None);
        self.polls.visit(|number, request| {
            let is_touched = match &request.wait {
                WaitFor::ClaimableTask(query) | WaitFor::Claim { query, .. } => {
                    query.lanes.iter().any(|lane| changes.lanes.contains_key(lane))
                }
                WaitFor::Response(id) => tasks.contains(id),
                WaitFor::Responses { ids, .. } => ids.iter().any(|id| tasks.contains(id)),
                WaitFor::Change { tasks: ids, lanes, .. } => {
                    let is_any = ids.is_empty() && lanes.is_empty() && !changes.entries.is_empty();
                    is_any
                        || ids.iter().any(|id| tasks.contains(id))
                        || lanes.iter().any(|lane| changes.lanes.contains_key(lane))
                }
                WaitFor::Feed { .. } | WaitFor::TaskEvents { .. } | WaitFor::RunLog(_) => return,
            };
            let mut is_affected = is_touched || changes.added.contains(&number);
            if !is_affected && slow_left > 0 && number > self.checked_up_to {
                // Further requests of a group that is checked anyway cost nothing.
                let is_new = request.wait.query().is_none_or(|query| groups.insert(group(query)));
                slow_left -= usize::from(is_new);
                slow = Some(number);
                is_affected = true;
            }
            if is_affected {
                found.push((number, request.clone()));
            }
        });
        if changes.is_slow_check {
            // From the beginning once the end is reached.
            self.checked_up_to = slow.filter(|_| slow_left == 0).unwrap_or(0);
        }
        found
    }

    fn answer(&self, number: u64, response: HttpResponse) {
        if let Some(request) = self.polls.take(number) {
            self.respond(&request, response);
        }
    }

    fn respond(&self, request: &WaitingRequest, response: HttpResponse) {
        // A stream was given its response when it began.
        if !request.wait.is_stream() {
            self.responder.respond(request.ticket, &request.trace, response);
        }
    }

    /// Answers the requests whose time is up.
    fn expire(&self) {
        let now = Instant::now();
        let mut expired = Vec::new();
        self.polls.visit(|number, request| {
            if request.until.is_some_and(|until| until <= now) {
                expired.push((number, request.wait.response_without_result(WaitEnd::TimedOut)));
            }
        });
        for (number, response) in expired {
            self.answer(number, response);
        }
    }

    /// Adds the lanes in which a task has become claimable by the clock.
    fn ring_alarm(&mut self, changes: &mut StoreChanges) {
        if Instant::now() < self.alarm_after {
            return;
        }
        let now = self.store.now().wall;
        for (lane, due) in &self.due {
            if due.is_some_and(|due| due <= now) {
                changes.lanes.entry(lane.clone()).or_insert(1);
                self.alarm_after = Instant::now() + MIN_ALARM_INTERVAL;
            }
        }
    }

    /// Sets the alarm for the lanes that are waited for.
    fn schedule_alarm(&mut self, changes: &StoreChanges) {
        let lanes = self.lanes();
        self.due.retain(|lane, _| lanes.contains(lane));
        for lane in lanes {
            if !self.due.contains_key(&lane) || changes.lanes.contains_key(&lane) {
                let due = self.store.next_due(std::slice::from_ref(&lane));
                self.due.insert(lane, due);
            }
        }
    }

    /// Returns the lanes that are waited for, and those that were a moment ago: a client on another machine asks again and
    /// again.
    fn lanes(&mut self) -> BTreeSet<LaneName> {
        let (mut lanes, now) = (BTreeSet::new(), Instant::now());
        let lingering = &mut self.lingering;
        self.polls.visit(|_, request| {
            for lane in request.wait.worker_lanes() {
                if !lanes.contains(lane) {
                    lanes.insert(lane.clone());
                }
                if matches!(request.wait, WaitFor::Change { .. }) {
                    lingering.insert(lane.clone(), now + LINGER_TIME);
                }
            }
        });
        lingering.retain(|_, until| *until > now);
        lanes.extend(lingering.keys().cloned());
        lanes
    }

    /// Shows other programs for which lanes requests wait.
    fn update_registration(&mut self) {
        let lanes: BTreeSet<LaneName> = self.due.keys().cloned().collect();
        if self.registration.as_ref().map(|(shown, _)| shown).unwrap_or(&BTreeSet::new()) == &lanes {
            return;
        }
        let info = WorkerInfo {
            kind: WorkerKind::Server,
            owner: Owner::stored("serve"),
            pid: std::process::id(),
            lanes: lanes.iter().cloned().collect(),
            filter: String::new(),
            since: self.store.now().wall,
            data: Object::new(),
        };
        // Without a registration, a person may only miss that somebody waits.
        self.registration = match self.registration.take() {
            _ if lanes.is_empty() => None,
            Some((_, registration)) => registration.update(&info).ok().map(|()| (lanes, registration)),
            None => self.store.register(&info).ok().map(|registration| (lanes, registration)),
        };
    }
}
