//! Counters and histograms in the text format of Prometheus.
//!
//! What happened to tasks is counted from the store's feed when the metrics are read, so that changes made by the
//! command line count as well. Counters start at zero with the server.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::model::{LaneName, TaskId, Time};
use crate::store::{FeedCursor, FeedEntry, Store};

/// Upper bounds of the histograms for requests, and for tasks, in seconds.
const REQUEST_BOUNDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];
const TASK_BOUNDS: [f64; 10] = [0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];
/// Methods that are counted by name; all others count as `other`, since clients may invent any number of them.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT"];
/// The maximum number of unfinished tasks whose times are kept.
const MAX_OPEN_TASKS: usize = 100_000;

#[derive(Clone, Default)]
struct Histogram {
    buckets: [u64; 10],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn add(&mut self, bounds: &[f64; 10], seconds: f64) {
        for (bucket, bound) in self.buckets.iter_mut().zip(bounds) {
            *bucket += u64::from(seconds <= *bound);
        }
        self.count += 1;
        self.sum += seconds;
    }

    fn write(&self, out: &mut String, name: &str, labels: &str, bounds: &[f64; 10]) {
        let comma = if labels.is_empty() { "" } else { "," };
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {bucket}");
        }
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(out, "{name}_sum{braces} {}", self.sum);
        let _ = writeln!(out, "{name}_count{braces} {}", self.count);
    }
}

/// The times of a task that has not ended yet.
#[derive(Clone, Copy, Default)]
struct TaskTimes {
    available_since: Option<Time>,
    claimed_at: Option<Time>,
}

#[derive(Default)]
struct Counters {
    requests: BTreeMap<(&'static str, &'static str, u16), u64>,
    latency: BTreeMap<&'static str, Histogram>,
    cursor: FeedCursor,
    submitted: BTreeMap<LaneName, u64>,
    claims: BTreeMap<LaneName, u64>,
    expired: BTreeMap<LaneName, u64>,
    ended: BTreeMap<(LaneName, &'static str), u64>,
    wait: Histogram,
    run: Histogram,
    open: HashMap<TaskId, TaskTimes>,
}

/// All counters of one server.
pub(crate) struct Metrics(Mutex<Counters>);

impl Metrics {
    /// Makes counters at zero, which count changes of the store from sequence number `seq` + 1 on.
    pub(crate) fn new(seq: u64) -> Self {
        Self(Mutex::new(Counters { cursor: FeedCursor::after(seq), ..Counters::default() }))
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a response.
    pub(crate) fn count_request(&self, method: &str, route: &'static str, status: u16, took: Duration) {
        let method = METHODS.into_iter().find(|name| *name == method).unwrap_or("other");
        let mut counters = self.counters();
        *counters.requests.entry((method, route, status)).or_default() += 1;
        counters.latency.entry(route).or_default().add(&REQUEST_BOUNDS, took.as_secs_f64());
    }

    /// Writes all counters, those of tasks up to the newest change in the store.
    ///
    /// # Errors
    /// Any error of the store.
    pub(crate) fn write(&self, store: &Store, out: &mut String) -> Result<()> {
        self.read(store)?;
        self.counters().write(out);
        Ok(())
    }

    fn read(&self, store: &Store) -> Result<()> {
        let mut counters = self.counters();
        loop {
            let entries = store.feed_after(&mut counters.cursor, 1000)?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                counters.count(store, entry);
            }
        }
    }
}

impl Counters {
    fn count(&mut self, store: &Store, entry: FeedEntry) {
        let at = entry.event.created_at;
        if self.open.len() > MAX_OPEN_TASKS {
            self.open.clear();
        }
        let open = self.open.entry(entry.task_id.clone()).or_default();
        match entry.event.kind.as_str() {
            "created" => {
                open.available_since = Some(at);
                *self.submitted.entry(entry.lane).or_default() += 1;
            }
            "due" => open.available_since = Some(at),
            "released" => *open = TaskTimes { available_since: Some(at), claimed_at: None },
            "claimed" => {
                let expired = entry.event.data.contains_key("previous_owner");
                if !expired {
                    let created = || store.task(&entry.task_id).ok().map(|task| task.created_at);
                    if let Some(since) = open.available_since.or_else(created) {
                        self.wait.add(&TASK_BOUNDS, at.seconds_since(since).max(0.0));
                    }
                }
                *open = TaskTimes { available_since: None, claimed_at: Some(at) };
                *self.expired.entry(entry.lane.clone()).or_default() += u64::from(expired);
                *self.claims.entry(entry.lane).or_default() += 1;
            }
            kind @ ("response" | "cancelled" | "dead") => {
                if let (Some(claimed_at), "response") = (open.claimed_at, kind) {
                    self.run.add(&TASK_BOUNDS, at.seconds_since(claimed_at).max(0.0));
                }
                let lost = kind == "dead" && open.claimed_at.is_some();
                *self.expired.entry(entry.lane.clone()).or_default() += u64::from(lost);
                let failed =
                    entry.event.data.get("status").and_then(|status| status.as_str()) == Some("failed");
                let outcome = match kind {
                    "cancelled" => "cancelled",
                    "dead" => "dead",
                    _ if failed => "failed",
                    _ => "completed",
                };
                *self.ended.entry((entry.lane, outcome)).or_default() += 1;
                self.open.remove(&entry.task_id);
            }
            _ => {}
        }
    }
}

impl Counters {
    fn write(&self, out: &mut String) {
        let by_lane = |out: &mut String, name: &str, about: &str, counts: &BTreeMap<LaneName, u64>| {
            write_help(out, name, "counter", about);
            for (lane, n) in counts {
                let _ = writeln!(out, "{name}{{lane=\"{}\"}} {n}", label(lane.as_str()));
            }
        };
        by_lane(out, "lanes_submitted_total", "Tasks submitted.", &self.submitted);
        by_lane(out, "lanes_claims_total", "Claims.", &self.claims);
        by_lane(
            out,
            "lanes_lease_expiries_total",
            "Claims that were lost because their lease ended.",
            &self.expired,
        );
        write_help(out, "lanes_ended_total", "counter", "Tasks that ended, by outcome.");
        for ((lane, outcome), n) in &self.ended {
            let _ = writeln!(
                out,
                "lanes_ended_total{{lane=\"{}\",outcome=\"{outcome}\"}} {n}",
                label(lane.as_str())
            );
        }
        write_help(
            out,
            "lanes_wait_seconds",
            "histogram",
            "Time from when a task could be claimed to its claim.",
        );
        self.wait.write(out, "lanes_wait_seconds", "", &TASK_BOUNDS);
        write_help(out, "lanes_run_seconds", "histogram", "Time from a claim to the response.");
        self.run.write(out, "lanes_run_seconds", "", &TASK_BOUNDS);
        write_help(out, "lanes_http_requests_total", "counter", "Responses by method, route and status.");
        for ((method, route, status), n) in &self.requests {
            let _ = writeln!(
                out,
                "lanes_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {n}"
            );
        }
        write_help(
            out,
            "lanes_http_seconds",
            "histogram",
            "Time from the complete request to its response, by route.",
        );
        for (route, histogram) in &self.latency {
            histogram.write(out, "lanes_http_seconds", &format!("route=\"{route}\""), &REQUEST_BOUNDS);
        }
    }
}

/// Writes the description and the type of a metric.
pub(super) fn write_help(out: &mut String, name: &str, kind: &str, about: &str) {
    let _ = writeln!(out, "# HELP {name} {about}\n# TYPE {name} {kind}");
}

/// Escapes the value of a label.
pub(super) fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
