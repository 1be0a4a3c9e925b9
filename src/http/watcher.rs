//! The one thread that wakes every request that waits.
//!
//! It follows the store's feed, so that a change costs a look at those it concerns and no others.
//! What no bell tells of (another implementation's changes) is found by a slow look at a few of
//! them at a time; what time brings about (leases that end, delays that are over) by an alarm.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use super::context::App;
use super::handlers::events::Streams;
use super::long_poll::{Entry, Signal, Wish, group};
use super::response::Answer;
use super::transport::catch_panic::{contain, internal};
use crate::error::Result;
use crate::model::json::Object;
use crate::model::{TaskId, Time};
use crate::store::{FeedCursor, FeedEntry, Registration, WorkerInfo};

/// How often some requests are looked at though nothing rang for them.
const SLOW_LOOK: Duration = Duration::from_secs(2);
/// How many looks that may take.
const SLOW_LOOKS: usize = 100;
/// An alarm never rings sooner than this after the last look.
const ALARM_PAUSE: Duration = Duration::from_millis(50);
/// How often the bell's thread looks whether the server ends.
const BELL_PATIENCE: Duration = Duration::from_millis(250);

/// Passes the store's bell on to the watcher until the server ends.
pub fn ring_for(app: &App, signals: &Sender<Signal>) {
    let mut watch = app.store.watch_feed();
    while !app.is_stopping() {
        if watch.wait(Instant::now() + BELL_PATIENCE) && signals.send(Signal::Bell).is_err() {
            return;
        }
    }
}

/// What has happened since the last round.
#[derive(Default)]
pub struct News {
    /// The changes.
    pub entries: Vec<FeedEntry>,
    /// The number of the newest change there is.
    pub latest: u64,
    /// Changes for each lane; at least 1 for lanes in which something may be had.
    lanes: HashMap<String, usize>,
    /// Requests that have just begun to wait.
    parked: BTreeSet<u64>,
    /// Whether it is time for the slow look.
    pub is_slow: bool,
}

impl News {
    /// Whether a stream of this task's history may have something to send.
    pub fn concerns(&self, number: u64, id: &TaskId) -> bool {
        self.is_slow || self.parked.contains(&number) || self.entries.iter().any(|entry| entry.task_id == *id)
    }
}

/// See the module's own words.
pub struct Watcher<'a> {
    app: &'a App,
    inbox: Receiver<Signal>,
    cursor: FeedCursor,
    paused: BTreeSet<String>,
    /// When something comes due by itself in each lane that is waited for.
    due: BTreeMap<String, Option<Time>>,
    alarm_after: Instant,
    slow_at: Instant,
    /// The last request that the slow look has come to.
    looked_at: u64,
    streams: Streams,
    card: Option<(BTreeSet<String>, Registration)>,
}

impl<'a> Watcher<'a> {
    /// A watcher of what happens from now on.
    pub fn new(app: &'a App, inbox: Receiver<Signal>) -> Result<Self> {
        Ok(Self {
            app,
            inbox,
            cursor: FeedCursor::after(app.store.feed_end()?),
            paused: app.store.paused()?.into_keys().collect(),
            due: BTreeMap::new(),
            alarm_after: Instant::now(),
            slow_at: Instant::now() + SLOW_LOOK,
            looked_at: 0,
            streams: Streams::default(),
            card: None,
        })
    }

    /// Wakes until the server ends, then answers everyone.
    pub fn run(&mut self) {
        loop {
            let patience = self.wake_at().saturating_duration_since(Instant::now());
            let first = self.inbox.recv_timeout(patience).ok();
            let mut news = News::default();
            let mut has_rung = false;
            for signal in first.into_iter().chain(self.inbox.try_iter()) {
                match signal {
                    Signal::Bell => has_rung = true,
                    Signal::Parked(number) => drop(news.parked.insert(number)),
                    Signal::Stop => return self.dismiss(),
                }
            }
            news.is_slow = Instant::now() >= self.slow_at;
            if news.is_slow {
                self.slow_at = Instant::now() + SLOW_LOOK;
            }
            if has_rung || news.is_slow {
                self.read(&mut news);
            }
            news.latest = self.cursor.seq();
            self.round(news);
        }
    }

    fn wake_at(&self) -> Instant {
        if self.app.parked.len() == 0 {
            return Instant::now() + SLOW_LOOK;
        }
        let now = self.app.store.now().wall;
        let alarm = self.due.values().flatten().min().map(|due| {
            let left = Duration::from_secs_f64(due.seconds_since(now).clamp(0.0, 3600.0));
            (Instant::now() + left).max(self.alarm_after)
        });
        let mut wake = self.slow_at;
        // A request that a thread is busy with may be over by then, or will have to be looked at again.
        let soonest = Instant::now() + ALARM_PAUSE / 10;
        self.app
            .parked
            .visit_all(|entry| wake = wake.min(entry.until.map_or(wake, |until| until.max(soonest))));
        [alarm, self.streams.wake_at()].into_iter().flatten().fold(wake, Instant::min)
    }

    /// Reads what the feed says.
    fn read(&mut self, news: &mut News) {
        // What cannot be read now is read at the next bell or slow look.
        while let Ok(batch) = self.app.store.feed_after(&mut self.cursor, 1000)
            && !batch.is_empty()
        {
            news.entries.extend(batch);
        }
        for entry in &news.entries {
            *news.lanes.entry(entry.lane.clone()).or_default() += 1;
        }
        // A lane that was opened again has rung, but left no line in the feed.
        if let Ok(paused) = self.app.store.paused() {
            let paused: BTreeSet<String> = paused.into_keys().collect();
            for lane in self.paused.difference(&paused) {
                news.lanes.insert(lane.clone(), usize::MAX);
            }
            self.paused = paused;
        }
    }

    fn round(&mut self, mut news: News) {
        self.alarm(&mut news);
        let concerned = self.concerned(&news);
        let mut claims: BTreeMap<String, usize> = BTreeMap::new();
        let mut looked: HashMap<String, Option<Answer>> = HashMap::new();
        for (number, entry) in concerned {
            let answer = match &entry.wish {
                Wish::Claim { want, .. } => {
                    let changes = want.lanes.iter().filter_map(|lane| news.lanes.get(lane));
                    let most = changes.fold(1, |sum: usize, n| sum.saturating_add(*n));
                    claims.insert(group(want), most);
                    continue;
                }
                // What one of a group sees, all of it see.
                Wish::Next(want) => looked.entry(group(want)).or_insert_with(|| self.look(&entry)).clone(),
                _ => self.look(&entry),
            };
            if let Some(answer) = answer {
                self.answer(number, answer);
            }
        }
        for (group, most) in claims {
            self.app.parked.wake_claims(self.app, &group, most);
        }
        self.streams.round(self.app, &news);
        self.expire();
        self.learn_due(&news);
        self.show_card();
    }

    /// What a request gets now, if anything.
    fn look(&self, entry: &Entry) -> Option<Answer> {
        match contain(|| entry.wish.look(self.app, entry.ticket)) {
            Some(looked) => looked.unwrap_or_else(|error| Some(error.into())),
            None => Some(internal()),
        }
    }

    /// The requests for which something may have come up.
    fn concerned(&mut self, news: &News) -> Vec<(u64, Entry)> {
        let tasks: BTreeSet<_> = news.entries.iter().map(|entry| &entry.task_id).collect();
        let mut groups = BTreeSet::new();
        let mut slow_left = if news.is_slow { SLOW_LOOKS } else { 0 };
        let (mut found, mut slow) = (Vec::new(), None);
        self.app.parked.visit(|number, entry| {
            let is_touched = match &entry.wish {
                Wish::Next(want) | Wish::Claim { want, .. } => {
                    want.lanes.iter().any(|lane| news.lanes.contains_key(lane))
                }
                Wish::Answered { ids, .. } => ids.iter().any(|id| tasks.contains(id)),
                Wish::Feed { .. } | Wish::History { .. } | Wish::Log(_) => return,
            };
            let mut is_concerned = is_touched || news.parked.contains(&number);
            if !is_concerned && slow_left > 0 && number > self.looked_at {
                // Those of a group that is looked at anyway cost nothing.
                let is_new = entry.wish.want().is_none_or(|want| groups.insert(group(want)));
                slow_left -= usize::from(is_new);
                slow = Some(number);
                is_concerned = true;
            }
            if is_concerned {
                found.push((number, entry.clone()));
            }
        });
        if news.is_slow {
            // From the beginning once the end is reached.
            self.looked_at = slow.filter(|_| slow_left == 0).unwrap_or(0);
        }
        found
    }

    fn answer(&self, number: u64, answer: Answer) {
        if let Some(entry) = self.app.parked.take(number) {
            self.app.answer(&entry, answer);
        }
    }

    fn expire(&self) {
        let now = Instant::now();
        let mut over = Vec::new();
        self.app.parked.visit(|number, entry| {
            if entry.until.is_some_and(|until| until <= now) {
                over.push((number, entry.wish.in_vain(false)));
            }
        });
        for (number, answer) in over {
            self.answer(number, answer);
        }
    }

    /// Adds the lanes in which something has come due.
    fn alarm(&mut self, news: &mut News) {
        if Instant::now() < self.alarm_after {
            return;
        }
        let now = self.app.store.now().wall;
        for (lane, due) in &self.due {
            if due.is_some_and(|due| due <= now) {
                news.lanes.entry(lane.clone()).or_insert(1);
                self.alarm_after = Instant::now() + ALARM_PAUSE;
            }
        }
    }

    /// Sets the alarm for the lanes that are waited for.
    fn learn_due(&mut self, news: &News) {
        let lanes = self.lanes();
        self.due.retain(|lane, _| lanes.contains(lane));
        for lane in lanes {
            if !self.due.contains_key(&lane) || news.lanes.contains_key(&lane) {
                let due = self.app.store.next_due(std::slice::from_ref(&lane));
                self.due.insert(lane, due);
            }
        }
    }

    fn lanes(&self) -> BTreeSet<String> {
        let mut lanes = BTreeSet::new();
        self.app.parked.visit_all(|entry| {
            for lane in entry.wish.want().into_iter().flat_map(|want| &want.lanes) {
                if !lanes.contains(lane) {
                    lanes.insert(lane.clone());
                }
            }
        });
        lanes
    }

    /// Lets others see that somebody waits for these lanes.
    fn show_card(&mut self) {
        let lanes: BTreeSet<String> = self.due.keys().cloned().collect();
        if self.card.as_ref().map(|(shown, _)| shown).unwrap_or(&BTreeSet::new()) == &lanes {
            return;
        }
        let info = WorkerInfo {
            kind: "serve".to_string(),
            owner: "serve".to_string(),
            pid: std::process::id(),
            lanes: lanes.iter().cloned().collect(),
            filter: String::new(),
            since: self.app.store.now().wall,
            data: Object::new(),
        };
        // A card that cannot be written is missed by nobody but a hint.
        self.card = match self.card.take() {
            _ if lanes.is_empty() => None,
            Some((_, card)) => card.update(&info).ok().map(|()| (lanes, card)),
            None => self.app.store.register(&info).ok().map(|card| (lanes, card)),
        };
    }

    /// Answers everyone, for the server ends.
    fn dismiss(&mut self) {
        let mut all = Vec::new();
        self.app.parked.visit(|number, entry| all.push((number, entry.wish.in_vain(true))));
        for (number, answer) in all {
            if let Some(entry) = self.app.parked.take(number) {
                if entry.wish.is_stream() {
                    self.app.sockets.finish(entry.ticket);
                }
                self.app.answer(&entry, answer);
            }
        }
    }
}
