//! The log of runs: one line for each run, and statistics over these lines.
//!
//! Advice about timeouts and cost is based on measured runs. An unknown number is omitted, never estimated.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::output::{ModelUsage, RunReport, Tokens, Usage, plus_cost};
use crate::model::Time;

/// One run, as a line of `usage.jsonl`. Fields of later versions are ignored when reading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct UsageRecord {
    /// Start of the run, RFC 3339.
    pub started_at: String,
    /// End of the run, RFC 3339.
    pub ended_at: String,
    /// Id of the task.
    pub task_id: String,
    /// Id of the run; a line that was written twice is counted once.
    #[serde(default)]
    pub run: String,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Lane of the task.
    pub lane: String,
    /// Vendor of the agent.
    pub vendor: String,
    /// `completed`, a failure class, or `withheld`.
    pub outcome: String,
    /// Duration of the run, in seconds.
    pub seconds: f64,
    /// Model that did the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Version of the agent program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cli_version: Option<String>,
    /// Id of the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Whether the conversation started with this run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begins_session: bool,
    /// Cost of this run, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// `reported` by the vendor, or `computed` from tokens and the prices of handoff.yaml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_source: Option<String>,
    /// Cost of the conversation so far, in US dollars; the baseline of its next run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_cost_usd: Option<f64>,
    /// Tokens of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// Tokens of the conversation so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_tokens: Option<Tokens>,
    /// Tokens and US dollars of this run, by model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_usage: Option<Usage>,
    /// Tokens of the conversation so far, by model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_model_usage: Option<Usage>,
    /// Minimum cost in US dollars of a run that was interrupted before it reported its total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least_cost_usd: Option<f64>,
    /// Minimum tokens of such a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least_tokens: Option<Tokens>,
    /// Minimum tokens and US dollars of such a run, by model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least_model_usage: Option<Usage>,
    /// Whether no agent was started, so that nothing was used.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_started: bool,
    /// Number of turns of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<u64>,
    /// Number of tool calls that were denied.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub denied: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl UsageRecord {
    /// Copies the usage that a run reported into this record.
    pub(crate) fn take(self, report: &RunReport) -> Self {
        let known = |usage: &Usage| Some(usage.clone()).filter(|usage| !usage.0.is_empty());
        let least = report.lower_bound.as_ref();
        Self {
            model: report.models.first().cloned(),
            begins_session: !report.continues_session && self.session_id.is_some(),
            cost_usd: report.cost_usd,
            cost_source: report.cost_source.map(|source| source.as_str().to_string()),
            session_cost_usd: report.totals.cost_usd,
            tokens: report.tokens,
            session_tokens: report.totals.tokens,
            model_usage: known(&report.usage),
            session_model_usage: report.totals.usage.clone(),
            at_least_cost_usd: least.and_then(|least| least.cost_usd),
            at_least_tokens: least.map(|least| least.tokens),
            at_least_model_usage: least.and_then(|least| known(&least.usage)),
            turns: report.turns,
            denied: report.denials.len() as u64,
            ..self
        }
    }

    /// Returns the line to append, with its line break.
    pub(crate) fn to_line(&self) -> String {
        // Only non-finite numbers cannot be serialized; they are removed here.
        let mut record = self.clone();
        let finite = |number: &f64| number.is_finite();
        record.cost_usd = record.cost_usd.filter(finite);
        record.session_cost_usd = record.session_cost_usd.filter(finite);
        record.at_least_cost_usd = record.at_least_cost_usd.filter(finite);
        let usages =
            [&mut record.model_usage, &mut record.session_model_usage, &mut record.at_least_model_usage];
        for used in usages.into_iter().flatten().flat_map(|usage| usage.0.values_mut()) {
            used.cost_usd = used.cost_usd.filter(finite);
        }
        let mut line = serde_json::to_string(&record).unwrap_or_default();
        line.push('\n');
        line
    }

    /// Parses a line. Returns `None` for an incomplete line, as the last one may be.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

/// The period that statistics cover.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Period {
    /// Runs that ended before this time are excluded.
    pub since: Option<Time>,
}

impl Period {
    /// Returns the period of the last `days` days before `now`.
    pub(crate) fn last_days(days: u32, now: Time) -> Self {
        Self { since: Some(now.plus_seconds(-86_400.0 * f64::from(days))) }
    }

    fn holds(self, record: &UsageRecord) -> bool {
        match (self.since, Time::parse(&record.ended_at)) {
            (None, _) => true,
            (Some(since), Ok(ended)) => ended >= since,
            (Some(_), Err(_)) => false,
        }
    }
}

/// Statistics of all runs and of each lane, vendor and model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Stats {
    /// Statistics of all runs.
    pub all: UsageTotals,
    /// Statistics by lane.
    pub lanes: BTreeMap<String, UsageTotals>,
    /// Statistics by vendor.
    pub vendors: BTreeMap<String, UsageTotals>,
    /// Statistics by model, without runs whose model is unknown.
    pub models: BTreeMap<String, UsageTotals>,
}

/// Statistics of a set of runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct UsageTotals {
    /// Number of runs.
    pub runs: u64,
    /// Number of runs that answered their task.
    pub completed: u64,
    /// Number of runs by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Median duration of the runs that answered their task, in seconds.
    pub median_seconds: Option<f64>,
    /// 90th percentile of the durations of the runs that answered their task, in seconds.
    pub p90_seconds: Option<f64>,
    /// Total cost of the runs whose cost is known, in US dollars.
    pub cost_usd: Option<f64>,
    /// Number of runs whose cost is known.
    pub runs_with_cost: u64,
    /// Total tokens of the runs that reported them.
    pub tokens: Option<Tokens>,
    /// Minimum cost in US dollars of the runs that were interrupted before they reported their total; not part of
    /// `cost_usd`.
    pub at_least_cost_usd: Option<f64>,
    /// Minimum tokens of such runs; not part of `tokens`.
    pub at_least_tokens: Option<Tokens>,
    /// Number of such runs.
    pub runs_at_least: u64,
    /// Number of runs of agents that reported no usage.
    pub runs_untold: u64,
    /// Number of runs that reported their tokens but no cost.
    pub runs_unpriced: u64,
    #[serde(skip)]
    durations: Vec<f64>,
}

impl UsageTotals {
    fn add(&mut self, record: &UsageRecord) {
        self.runs += 1;
        *self.outcomes.entry(record.outcome.clone()).or_default() += 1;
        if record.outcome == "completed" {
            self.completed += 1;
            if record.seconds.is_finite() && record.seconds >= 0.0 {
                self.durations.push(record.seconds);
            }
        }
        let (exact, least) = (record.tokens, record.at_least_tokens);
        self.spent(record.cost_usd, exact, record.at_least_cost_usd, least);
        if !record.not_started {
            let is_told = record.cost_usd.is_some() || exact.is_some();
            self.runs_at_least += u64::from(least.is_some());
            self.runs_untold += u64::from(!is_told && least.is_none());
            self.runs_unpriced += u64::from(exact.is_some() && record.cost_usd.is_none());
        }
    }

    fn spent(
        &mut self,
        cost: Option<f64>,
        tokens: Option<Tokens>,
        least_cost: Option<f64>,
        least_tokens: Option<Tokens>,
    ) {
        let finite = |cost: &f64| cost.is_finite();
        if let Some(cost) = cost.filter(finite) {
            self.cost_usd = Some(plus_cost(self.cost_usd, cost));
            self.runs_with_cost += 1;
        }
        if let Some(cost) = least_cost.filter(finite) {
            self.at_least_cost_usd = Some(plus_cost(self.at_least_cost_usd, cost));
        }
        let plus = |sum: Option<Tokens>, more: Option<Tokens>| match more {
            Some(more) => Some(sum.unwrap_or_default().plus(more)),
            None => sum,
        };
        self.tokens = plus(self.tokens, tokens);
        self.at_least_tokens = plus(self.at_least_tokens, least_tokens);
    }

    /// Returns the known cost of the runs in US dollars, and whether the actual cost is higher.
    pub(crate) fn known_cost(&self) -> Option<(f64, bool)> {
        let known = [self.cost_usd, self.at_least_cost_usd];
        known.iter().any(Option::is_some).then(|| {
            let is_least = self.runs_at_least + self.runs_untold + self.runs_unpriced > 0;
            (known.into_iter().flatten().sum(), is_least)
        })
    }

    /// Returns the known tokens of the runs, and whether the actual number is higher.
    pub(crate) fn known_tokens(&self) -> Option<(Tokens, bool)> {
        let known = [self.tokens, self.at_least_tokens];
        known.iter().any(Option::is_some).then(|| {
            let is_least = self.runs_at_least + self.runs_untold > 0;
            (known.into_iter().flatten().fold(Tokens::default(), Tokens::plus), is_least)
        })
    }

    fn finish(&mut self) {
        self.durations.sort_by(f64::total_cmp);
        self.median_seconds = percentile(&self.durations, 50);
        self.p90_seconds = percentile(&self.durations, 90);
        self.durations = Vec::new();
    }
}

/// Returns the smallest of the sorted values that at least `percent` percent of them do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// Computes the statistics of the runs in `period`.
pub(crate) fn stats(records: impl IntoIterator<Item = UsageRecord>, period: Period) -> Stats {
    let mut stats = Stats::default();
    let mut seen = HashSet::new();
    for record in records.into_iter().filter(|record| period.holds(record)) {
        if !record.run.is_empty() && !seen.insert(record.run.clone()) {
            continue;
        }
        stats.all.add(&record);
        stats.lanes.entry(record.lane.clone()).or_default().add(&record);
        stats.vendors.entry(record.vendor.clone()).or_default().add(&record);
        for (model, record) in by_model(&record) {
            stats.models.entry(model).or_default().add(&record);
        }
    }
    let groups = [&mut stats.lanes, &mut stats.vendors, &mut stats.models];
    groups.into_iter().flat_map(BTreeMap::values_mut).for_each(UsageTotals::finish);
    stats.all.finish();
    stats
}

/// Splits a run by model: each record has the tokens and US dollars of its model, if they are known by model.
pub(super) fn by_model(record: &UsageRecord) -> Vec<(String, UsageRecord)> {
    let (exact, least) = (record.model_usage.as_ref(), record.at_least_model_usage.as_ref());
    let Some(usage) = exact.or(least) else {
        return record.model.iter().map(|model| (model.clone(), record.clone())).collect();
    };
    let is_only = usage.0.len() == 1;
    let of_model = |(model, used): (&String, &ModelUsage)| {
        let mut own = record.clone();
        if exact.is_some() {
            own.tokens = Some(used.tokens);
            own.cost_usd = used.cost_usd.or(record.cost_usd.filter(|_| is_only));
        } else {
            own.at_least_tokens = Some(used.tokens);
            own.at_least_cost_usd = used.cost_usd.or(record.at_least_cost_usd.filter(|_| is_only));
        }
        (model.clone(), own)
    };
    usage.0.iter().map(of_model).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seconds: f64, outcome: &str) -> UsageRecord {
        UsageRecord {
            ended_at: "2026-11-21T12:00:00.000000Z".to_string(),
            lane: "review".to_string(),
            vendor: "claude".to_string(),
            outcome: outcome.to_string(),
            seconds,
            ..UsageRecord::default()
        }
    }

    #[test]
    fn lines_come_back_and_broken_ones_are_skipped() {
        let mut record = record(1.5, "completed");
        record.cost_usd = Some(0.25);
        record.tokens = Some(Tokens { input: 3, ..Tokens::default() });
        let line = record.to_line();
        assert!(line.ends_with("}\n") && !line.contains("model"), "{line}");
        assert_eq!(UsageRecord::from_line(&line), Some(record.clone()));
        assert_eq!(UsageRecord::from_line(&line[..20]), None);
        record.cost_usd = Some(f64::NAN);
        let back = UsageRecord::from_line(&record.to_line()).expect("readable");
        assert_eq!(back.cost_usd, None);
    }

    #[test]
    fn durations_count_answers_only() {
        let mut records: Vec<UsageRecord> = (1..=10).map(|n| record(f64::from(n), "completed")).collect();
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
    fn runs_that_were_cut_short_count_with_the_least_and_the_rest_is_told() {
        let tokens = |input| Some(Tokens { input, ..Tokens::default() });
        let told = UsageRecord { cost_usd: Some(1.0), tokens: tokens(10), ..record(1.0, "completed") };
        let cut = UsageRecord {
            at_least_cost_usd: Some(0.5),
            at_least_tokens: tokens(4),
            ..record(1.0, "timeout")
        };
        let silent = record(1.0, "withheld");
        let never = UsageRecord { not_started: true, ..record(0.0, "withheld") };
        let unpriced = UsageRecord { tokens: tokens(3), ..record(1.0, "completed") };
        let all = stats([told.clone(), cut, silent, never, unpriced], Period::default()).all;
        assert_eq!((all.cost_usd, all.at_least_cost_usd), (Some(1.0), Some(0.5)));
        assert_eq!((all.tokens, all.at_least_tokens), (tokens(13), tokens(4)));
        assert_eq!((all.runs_at_least, all.runs_untold, all.runs_unpriced), (1, 1, 1));
        assert_eq!(all.known_cost(), Some((1.5, true)));
        assert_eq!(all.known_tokens().map(|(tokens, least)| (tokens.input, least)), Some((17, true)));
        let all = stats([told], Period::default()).all;
        assert_eq!(all.known_cost(), Some((1.0, false)));
        assert_eq!(stats([record(1.0, "error")], Period::default()).all.known_cost(), None);
    }

    #[test]
    fn each_model_counts_what_it_did_itself() {
        let mut usage = Usage::default();
        usage.add("opus", Tokens { input: 7, ..Tokens::default() }, Some(0.75));
        usage.add("haiku", Tokens { input: 1, ..Tokens::default() }, Some(0.25));
        let run = UsageRecord {
            model: Some("opus".to_string()),
            cost_usd: Some(1.0),
            model_usage: Some(usage),
            ..record(1.0, "completed")
        };
        let stats = stats([run], Period::default());
        let of = |model: &str| (stats.models[model].cost_usd, stats.models[model].tokens.map(|t| t.input));
        assert_eq!(of("opus"), (Some(0.75), Some(7)));
        assert_eq!(of("haiku"), (Some(0.25), Some(1)));
        assert_eq!(stats.all.cost_usd, Some(1.0));
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
