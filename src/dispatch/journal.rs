//! The usage journal: one line for every run, and the statistics made from it.
//!
//! Runs are counted where they happened, so that advice about timeouts and cost comes from what was
//! measured. An unknown figure is left out, never guessed.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::stream::Tokens;
use crate::model::Time;

/// One run, as a line of `usage.jsonl`. Fields of later versions are ignored when reading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When the run started, RFC 3339.
    pub started_at: String,
    /// When it ended, RFC 3339.
    pub ended_at: String,
    /// The task.
    pub task_id: String,
    /// The run's name; a line that was written twice is counted once.
    #[serde(default)]
    pub run: String,
    /// Which attempt at the task.
    pub attempt: u32,
    /// Lane of the task.
    pub lane: String,
    /// Vendor of the agent.
    pub vendor: String,
    /// `completed`, a failure class, or `withheld`.
    pub outcome: String,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// Model that did the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Version of the agent program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cli_version: Option<String>,
    /// The conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Dollars for this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Dollars of the conversation so far, the starting point of its next run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_cost_usd: Option<f64>,
    /// Tokens of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// Tokens of the conversation so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_tokens: Option<Tokens>,
    /// Turns of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<u64>,
    /// How many tool calls were not permitted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub denied: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record {
    /// The line to append, with its end.
    pub fn to_line(&self) -> String {
        // Only numbers that are not finite could fail, and those are left out here.
        let mut record = self.clone();
        let finite = |number: &f64| number.is_finite();
        record.cost_usd = record.cost_usd.filter(finite);
        record.session_cost_usd = record.session_cost_usd.filter(finite);
        let mut line = serde_json::to_string(&record).unwrap_or_default();
        line.push('\n');
        line
    }

    /// The run on this line; nothing for a line that is broken, as the last one may be.
    pub fn from_line(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

/// What to count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Period {
    /// Runs that ended before this instant are left out.
    pub since: Option<Time>,
}

impl Period {
    /// The last `days` days before `now`.
    pub fn last_days(days: u32, now: Time) -> Self {
        Self { since: Some(now.plus_seconds(-86_400.0 * f64::from(days))) }
    }

    fn holds(self, record: &Record) -> bool {
        match (self.since, Time::parse(&record.ended_at)) {
            (None, _) => true,
            (Some(since), Ok(ended)) => ended >= since,
            (Some(_), Err(_)) => false,
        }
    }
}

/// Statistics of all runs and of each lane, vendor and model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// All runs together.
    pub all: Group,
    /// By lane.
    pub lanes: BTreeMap<String, Group>,
    /// By vendor.
    pub vendors: BTreeMap<String, Group>,
    /// By model, runs with an unknown model left out.
    pub models: BTreeMap<String, Group>,
}

/// Statistics of some runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Group {
    /// How many runs.
    pub runs: u64,
    /// How many of them answered their task.
    pub completed: u64,
    /// Runs by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Half of the runs that answered took no longer than this, in seconds.
    pub median_seconds: Option<f64>,
    /// Nine of ten runs that answered took no longer than this, in seconds.
    pub p90_seconds: Option<f64>,
    /// Dollars of the runs whose cost is known.
    pub cost_usd: Option<f64>,
    /// How many runs have a known cost.
    pub runs_with_cost: u64,
    /// Tokens of the runs that told them.
    pub tokens: Option<Tokens>,
    #[serde(skip)]
    durations: Vec<f64>,
}

impl Group {
    fn add(&mut self, record: &Record) {
        self.runs += 1;
        *self.outcomes.entry(record.outcome.clone()).or_default() += 1;
        if record.outcome == "completed" {
            self.completed += 1;
            if record.seconds.is_finite() && record.seconds >= 0.0 {
                self.durations.push(record.seconds);
            }
        }
        if let Some(cost) = record.cost_usd.filter(|cost| cost.is_finite()) {
            self.cost_usd = Some(self.cost_usd.unwrap_or(0.0) + cost);
            self.runs_with_cost += 1;
        }
        if let Some(tokens) = record.tokens {
            self.tokens = Some(self.tokens.unwrap_or_default().plus(tokens));
        }
    }

    fn finish(&mut self) {
        self.durations.sort_by(f64::total_cmp);
        self.median_seconds = percentile(&self.durations, 50);
        self.p90_seconds = percentile(&self.durations, 90);
        self.durations = Vec::new();
    }
}

/// The smallest value that at least `percent` of the sorted values do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// Statistics of the runs of `period`.
pub fn stats(records: impl IntoIterator<Item = Record>, period: Period) -> Stats {
    let mut stats = Stats::default();
    let mut seen = HashSet::new();
    for record in records.into_iter().filter(|record| period.holds(record)) {
        if !record.run.is_empty() && !seen.insert(record.run.clone()) {
            continue;
        }
        stats.all.add(&record);
        stats.lanes.entry(record.lane.clone()).or_default().add(&record);
        stats.vendors.entry(record.vendor.clone()).or_default().add(&record);
        if let Some(model) = &record.model {
            stats.models.entry(model.clone()).or_default().add(&record);
        }
    }
    let groups = [&mut stats.lanes, &mut stats.vendors, &mut stats.models];
    groups.into_iter().flat_map(BTreeMap::values_mut).for_each(Group::finish);
    stats.all.finish();
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seconds: f64, outcome: &str) -> Record {
        Record {
            ended_at: "2026-11-21T12:00:00.000000Z".to_string(),
            lane: "review".to_string(),
            vendor: "claude".to_string(),
            outcome: outcome.to_string(),
            seconds,
            ..Record::default()
        }
    }

    #[test]
    fn lines_come_back_and_broken_ones_are_skipped() {
        let mut record = record(1.5, "completed");
        record.cost_usd = Some(0.25);
        record.tokens = Some(Tokens { input: 3, ..Tokens::default() });
        let line = record.to_line();
        assert!(line.ends_with("}\n") && !line.contains("model"), "{line}");
        assert_eq!(Record::from_line(&line), Some(record.clone()));
        assert_eq!(Record::from_line(&line[..20]), None);
        record.cost_usd = Some(f64::NAN);
        let back = Record::from_line(&record.to_line()).expect("readable");
        assert_eq!(back.cost_usd, None);
    }

    #[test]
    fn durations_count_answers_only() {
        let mut records: Vec<Record> = (1..=10).map(|n| record(f64::from(n), "completed")).collect();
        records.push(record(1000.0, "timeout"));
        let stats = stats(records, Period::default());
        assert_eq!(stats.all.runs, 11);
        assert_eq!(stats.all.completed, 10);
        assert_eq!(stats.all.outcomes["timeout"], 1);
        assert_eq!(stats.all.median_seconds, Some(5.0));
        assert_eq!(stats.all.p90_seconds, Some(9.0));
        assert_eq!(stats.lanes["review"].runs, 11);
    }

    #[test]
    fn unknown_figures_stay_unknown() {
        let stats = stats([record(1.0, "error")], Period::default());
        assert_eq!(stats.all.cost_usd, None);
        assert_eq!(stats.all.median_seconds, None);
        assert!(stats.models.is_empty());
    }

    #[test]
    fn a_period_leaves_older_runs_out() {
        let mut old = record(1.0, "completed");
        old.ended_at = "2026-11-01T00:00:00Z".to_string();
        old.cost_usd = Some(1.0);
        let mut new = record(2.0, "completed");
        new.cost_usd = Some(0.5);
        let now = Time::parse("2026-11-22T00:00:00Z").expect("a time");
        let stats = stats([old, new, record(1.0, "error")], Period::last_days(7, now));
        assert_eq!((stats.all.runs, stats.all.runs_with_cost), (2, 1));
        assert_eq!(stats.all.cost_usd, Some(0.5));
    }
}
