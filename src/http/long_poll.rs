//! Requests that wait: what each waits for, and who is next.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;

use super::context::{App, Trace, stopping};
use super::handlers::logs::Follow;
use super::handlers::{claims, responses, tasks};
use super::response::{Answer, ok};
use super::transport::service::Ticket;
use crate::error::Result;
use crate::model::TaskId;
use crate::store::Want;

/// The most requests that may wait at once.
const MOST: usize = 10_000;

/// What the watcher is told.
pub enum Signal {
    /// Something in the store has changed.
    Bell,
    /// A request has begun to wait, under this number.
    Parked(u64),
    /// The server ends.
    Stop,
}

/// What a request waits for.
#[derive(Clone, Debug)]
pub enum Wish {
    /// A task that could be claimed.
    Next(Want),
    /// A task, claimed.
    Claim {
        /// Which.
        want: Want,
        /// For whom.
        owner: String,
        /// For how long, in seconds.
        lease_seconds: f64,
    },
    /// Answers to tasks.
    Answered {
        /// The tasks.
        ids: Vec<TaskId>,
        /// Whether all of them must be answered.
        all: bool,
        /// Whether the client named one task and expects its response alone.
        is_single: bool,
    },
    /// A stream of all changes after this one, perhaps of one lane.
    Feed {
        /// The last change that was sent.
        since: u64,
        /// The lane.
        lane: Option<String>,
    },
    /// A stream of a task's history.
    History {
        /// The task.
        id: TaskId,
        /// How many of its events were sent.
        sent: usize,
    },
    /// A stream of what a run prints.
    Log(Follow),
}

impl Wish {
    /// The answer to the client with this ticket, if it can be given now.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn look(&self, app: &App, ticket: Ticket) -> Result<Option<Answer>> {
        match self {
            Self::Next(want) => {
                let task = app.store.peek_next(want)?;
                Ok(task.map(|task| ok([("task", tasks::redacted(&task))])))
            }
            Self::Claim { want, owner, lease_seconds } => {
                claims::take(app, ticket, want, owner, *lease_seconds)
            }
            Self::Answered { ids, all, is_single } => responses::look(app, ids, *all, *is_single),
            Self::Feed { .. } | Self::History { .. } | Self::Log(_) => Ok(None),
        }
    }

    /// The answer when the time is up, or the server's time is.
    pub fn in_vain(&self, is_stopping: bool) -> Answer {
        match self {
            Self::Next(_) | Self::Claim { .. } => ok([("task", Value::Null)]),
            _ if is_stopping => stopping(),
            _ => Answer::refusal(408, "timed_out", "the wait ended without a response"),
        }
    }

    /// Whether its answer has begun already.
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Feed { .. } | Self::History { .. } | Self::Log(_))
    }

    /// Which tasks would do; nothing for a wish of another kind.
    pub fn want(&self) -> Option<&Want> {
        match self {
            Self::Next(want) | Self::Claim { want, .. } => Some(want),
            Self::Answered { .. } | Self::Feed { .. } | Self::History { .. } | Self::Log(_) => None,
        }
    }
}

/// What two wants have in common when the same tasks would do for both.
pub fn group(want: &Want) -> String {
    format!("{}\n{}", want.lanes.join("\n"), want.filter.describe())
}

/// A request that waits.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whose it is.
    pub ticket: Ticket,
    /// For what.
    pub wish: Wish,
    /// At most until then.
    pub until: Option<Instant>,
    /// For the log.
    pub trace: Trace,
    /// A thread is claiming for it right now.
    is_busy: bool,
    /// Something came up for it meanwhile.
    again: bool,
}

impl Entry {
    /// A request that begins to wait.
    pub fn new(ticket: Ticket, wish: Wish, until: Option<Instant>, trace: Trace) -> Self {
        Self { ticket, wish, until, trace, is_busy: false, again: false }
    }
}

#[derive(Default)]
struct Inner {
    /// In the order of their coming.
    entries: BTreeMap<u64, Entry>,
    numbers: HashMap<Ticket, u64>,
    last: u64,
    signals: Option<Sender<Signal>>,
}

/// All requests that wait. Its lock is never held while the store or a socket is used.
#[derive(Default)]
pub struct Parked(Mutex<Inner>);

impl Parked {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the watcher.
    pub fn connect(&self) -> (Sender<Signal>, Receiver<Signal>) {
        let (signals, inbox) = channel();
        self.inner().signals = Some(signals.clone());
        (signals, inbox)
    }

    /// Takes a request in. `false`: there are too many, or nobody would wake it.
    pub fn add(&self, entry: Entry) -> bool {
        let mut inner = self.inner();
        if inner.entries.len() >= MOST || inner.signals.is_none() {
            return false;
        }
        inner.last += 1;
        let number = inner.last;
        inner.numbers.insert(entry.ticket, number);
        inner.entries.insert(number, entry);
        inner.signal(Signal::Parked(number));
        true
    }

    /// Lets the watcher answer all, and takes nothing more in.
    pub fn stop(&self) {
        let mut inner = self.inner();
        inner.signal(Signal::Stop);
        inner.signals = None;
    }

    /// The client of a request has gone.
    pub fn forget(&self, ticket: Ticket) {
        let mut inner = self.inner();
        if let Some(number) = inner.numbers.remove(&ticket) {
            inner.entries.remove(&number);
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.inner().entries.len()
    }

    /// Shows every request that no thread is busy with, in the order of their coming.
    pub fn visit(&self, mut visit: impl FnMut(u64, &Entry)) {
        for (number, entry) in self.inner().entries.iter().filter(|(_, entry)| !entry.is_busy) {
            visit(*number, entry);
        }
    }

    /// Shows every request.
    pub fn visit_all(&self, visit: impl FnMut(&Entry)) {
        self.inner().entries.values().for_each(visit);
    }

    /// Takes a request out to answer it; `None` when somebody else has it.
    pub fn take(&self, number: u64) -> Option<Entry> {
        let mut inner = self.inner();
        if inner.entries.get(&number)?.is_busy {
            return None;
        }
        inner.remove(number)
    }

    /// Notes how far a stream has come.
    pub fn update(&self, number: u64, wish: Wish) {
        if let Some(entry) = self.inner().entries.get_mut(&number) {
            entry.wish = wish;
        }
    }

    /// Sends up to `most` of those who want to claim tasks of a group to do so, the longest waiting
    /// first. When all of them are at it already, one of them looks again afterwards.
    pub fn wake_claims(&self, app: &App, wanted: &str, most: usize) {
        let mut woken = Vec::new();
        {
            let mut inner = self.inner();
            let mut of_group = inner
                .entries
                .values_mut()
                .filter(|entry| matches!(&entry.wish, Wish::Claim { want, .. } if group(want) == wanted));
            let mut first_busy = None;
            while woken.len() < most
                && let Some(entry) = of_group.next()
            {
                if entry.is_busy {
                    first_busy = first_busy.or(Some(entry));
                } else {
                    entry.is_busy = true;
                    woken.push(entry.ticket);
                }
            }
            if woken.is_empty()
                && let Some(entry) = first_busy
            {
                entry.again = true;
            }
        }
        for ticket in woken {
            app.sockets.resume(ticket);
        }
    }

    /// Claims for one request that was woken. `None`: there was nothing, and it waits on.
    pub fn try_claim(&self, app: &App, ticket: Ticket) -> Option<(Entry, Answer)> {
        loop {
            let (number, wish) = {
                let mut inner = self.inner();
                let number = *inner.numbers.get(&ticket)?;
                let entry = inner.entries.get_mut(&number)?;
                entry.again = false;
                (number, entry.wish.clone())
            };
            let looked = wish.look(app, ticket);
            let is_found = matches!(looked, Ok(Some(_)));
            let answer = match looked {
                Ok(Some(answer)) => Some(answer),
                Ok(None) => app.is_stopping().then(|| wish.in_vain(true)),
                Err(error) => Some(error.into()),
            };
            if let Some(answer) = answer {
                let entry = self.inner().remove(number)?;
                // Where there was one there may be more.
                if let (true, Some(want)) = (is_found, wish.want()) {
                    self.wake_claims(app, &group(want), 1);
                }
                return Some((entry, answer));
            }
            if !app.sockets.is_here(ticket) {
                // Its turn is somebody else's.
                let entry = self.inner().remove(number)?;
                self.wake_claims(app, &entry.wish.want().map(group).unwrap_or_default(), 1);
                return None;
            }
            let mut inner = self.inner();
            let entry = inner.entries.get_mut(&number)?;
            if !entry.again {
                entry.is_busy = false;
                return None;
            }
        }
    }
}

impl Inner {
    fn signal(&self, signal: Signal) {
        if let Some(signals) = &self.signals {
            // Without a watcher nobody waits.
            let _ = signals.send(signal);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.numbers.remove(&entry.ticket);
        Some(entry)
    }
}
