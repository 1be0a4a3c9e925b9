//! `GET /metrics`: what a Prometheus server reads.
//!
//! What happened to tasks is counted from the store's feed at the time of asking, so that changes
//! by the command line count as well. Counters begin when the server does.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::http::context::{Call, Outcome};
use crate::http::response::Answer;
use crate::model::{TaskId, Time};
use crate::store::{FeedCursor, FeedEntry, Store};

/// Upper bounds of the histograms for requests, and for tasks, in seconds.
const REQUEST_BOUNDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];
const TASK_BOUNDS: [f64; 10] = [0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];
/// Methods that are counted by name; others are what anybody may invent.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT"];
/// Tasks whose times are remembered at most, for what no end was seen of.
const MOST_OPEN: usize = 100_000;

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

/// What is known of a task between two of its changes.
#[derive(Clone, Copy, Default)]
struct Open {
    available_since: Option<Time>,
    claimed_at: Option<Time>,
}

#[derive(Default)]
struct Counted {
    requests: BTreeMap<(&'static str, &'static str, u16), u64>,
    latency: BTreeMap<&'static str, Histogram>,
    cursor: FeedCursor,
    submitted: BTreeMap<String, u64>,
    claims: BTreeMap<String, u64>,
    expired: BTreeMap<String, u64>,
    ended: BTreeMap<(String, &'static str), u64>,
    wait: Histogram,
    run: Histogram,
    open: HashMap<TaskId, Open>,
}

/// Everything that is counted.
pub struct Metrics(Mutex<Counted>);

impl Metrics {
    /// Nothing yet; changes of the store count after number `seq`.
    pub fn new(seq: u64) -> Self {
        Self(Mutex::new(Counted { cursor: FeedCursor::after(seq), ..Counted::default() }))
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an answer.
    pub fn count_request(&self, method: &str, route: &'static str, status: u16, took: Duration) {
        let method = METHODS.into_iter().find(|name| *name == method).unwrap_or("other");
        let mut counted = self.counted();
        *counted.requests.entry((method, route, status)).or_default() += 1;
        counted.latency.entry(route).or_default().add(&REQUEST_BOUNDS, took.as_secs_f64());
    }

    fn read(&self, store: &Store) -> Result<()> {
        let mut counted = self.counted();
        loop {
            let entries = store.feed_after(&mut counted.cursor, 1000)?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                counted.count(store, entry);
            }
        }
    }
}

impl Counted {
    fn count(&mut self, store: &Store, entry: FeedEntry) {
        let at = entry.event.created_at;
        if self.open.len() > MOST_OPEN {
            self.open.clear();
        }
        let open = self.open.entry(entry.task_id.clone()).or_default();
        match entry.event.kind.as_str() {
            "created" => {
                open.available_since = Some(at);
                *self.submitted.entry(entry.lane).or_default() += 1;
            }
            "due" => open.available_since = Some(at),
            "released" => *open = Open { available_since: Some(at), claimed_at: None },
            "claimed" => {
                let expired = entry.event.data.contains_key("previous_owner");
                if !expired {
                    let created = || store.task(&entry.task_id).ok().map(|task| task.created_at);
                    if let Some(since) = open.available_since.or_else(created) {
                        self.wait.add(&TASK_BOUNDS, at.seconds_since(since).max(0.0));
                    }
                }
                *open = Open { available_since: None, claimed_at: Some(at) };
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

/// `GET /metrics`
pub fn show(call: &Call<'_>) -> Outcome {
    let app = call.app;
    app.metrics.read(&app.store)?;
    let counts = app.census.take(&app.store)?;
    let mut out = String::new();
    let now = "gauge";
    head(&mut out, "lanes_tasks", now, "Tasks by lane and state.");
    for (lane, states) in counts.iter() {
        for (state, n) in states {
            let _ = writeln!(out, "lanes_tasks{{lane=\"{}\",state=\"{}\"}} {n}", label(lane), label(state));
        }
    }
    head(&mut out, "lanes_waiting_requests", now, "Requests that wait for something to happen.");
    let _ = writeln!(out, "lanes_waiting_requests {}", app.parked.len());
    head(&mut out, "lanes_connections", now, "Open connections.");
    let _ = writeln!(out, "lanes_connections {}", app.sockets.count());
    head(&mut out, "lanes_http_body_bytes", now, "What bodies take that are on their way or being answered.");
    let _ = writeln!(out, "lanes_http_body_bytes {}", app.sockets.body_bytes());
    head(&mut out, "lanes_http_answer_bytes", now, "What answers take that are not sent yet.");
    let _ = writeln!(out, "lanes_http_answer_bytes {}", app.sockets.answer_bytes());
    head(&mut out, "lanes_log_dropped_total", "counter", "Lines of the access log that nobody read in time.");
    let _ = writeln!(out, "lanes_log_dropped_total {}", app.dropped_lines());
    head(&mut out, "lanes_uptime_seconds", now, "Time since the server started.");
    let _ = writeln!(out, "lanes_uptime_seconds {}", app.started.elapsed().as_secs_f64());
    app.metrics.counted().write(&mut out);
    Ok(Answer::text("text/plain; version=0.0.4; charset=utf-8", out).into())
}

impl Counted {
    fn write(&self, out: &mut String) {
        let by_lane = |out: &mut String, name: &str, about: &str, counts: &BTreeMap<String, u64>| {
            head(out, name, "counter", about);
            for (lane, n) in counts {
                let _ = writeln!(out, "{name}{{lane=\"{}\"}} {n}", label(lane));
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
        head(out, "lanes_ended_total", "counter", "Tasks that ended, by outcome.");
        for ((lane, outcome), n) in &self.ended {
            let _ = writeln!(out, "lanes_ended_total{{lane=\"{}\",outcome=\"{outcome}\"}} {n}", label(lane));
        }
        head(out, "lanes_wait_seconds", "histogram", "From when a task could be claimed to its claim.");
        self.wait.write(out, "lanes_wait_seconds", "", &TASK_BOUNDS);
        head(out, "lanes_run_seconds", "histogram", "From a claim to the response.");
        self.run.write(out, "lanes_run_seconds", "", &TASK_BOUNDS);
        head(out, "lanes_http_requests_total", "counter", "Answers by method, route and status.");
        for ((method, route, status), n) in &self.requests {
            let _ = writeln!(
                out,
                "lanes_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {n}"
            );
        }
        head(out, "lanes_http_seconds", "histogram", "From the whole request to its answer, by route.");
        for (route, histogram) in &self.latency {
            histogram.write(out, "lanes_http_seconds", &format!("route=\"{route}\""), &REQUEST_BOUNDS);
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, about: &str) {
    let _ = writeln!(out, "# HELP {name} {about}\n# TYPE {name} {kind}");
}

/// Text as the value of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
