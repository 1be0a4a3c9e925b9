//! Statistics over the usage log: number, duration, cost and tokens of runs, by lane, vendor and model.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::output::{Tokens, plus_cost};
use super::usage_record::{RecordedOutcome, UsageRecord, by_model};
use crate::model::{Time, duration};

/// The period that statistics cover.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Period {
    /// Runs that ended before this time are excluded.
    pub since: Option<Time>,
    /// The present, up to which days without runs are listed too; `None`: only days with runs are listed.
    pub now: Option<Time>,
}

impl Period {
    /// Returns the period of the last `days` days before `now`.
    pub(crate) fn last_days(days: u32, now: Time) -> Self {
        Self { since: Some(now.plus_seconds(-86_400.0 * f64::from(days))), now: Some(now) }
    }

    /// Returns the period that has no beginning and ends `now`.
    pub(crate) fn until(now: Time) -> Self {
        Self { since: None, now: Some(now) }
    }

    fn includes(self, record: &UsageRecord) -> bool {
        self.since.is_none_or(|since| record.ended_at.is_some_and(|ended| ended >= since))
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
    /// Totals by day, oldest first.
    #[serde(skip)]
    pub days: Vec<DayTotals>,
}

/// Totals of the runs that ended on a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct DayTotals {
    /// The day in UTC: `2026-11-21`.
    pub day: String,
    /// Number of runs.
    pub runs: u64,
    /// Number of runs that answered their task.
    pub completed: u64,
    /// Number of runs that failed.
    pub failed: u64,
    /// Total cost of the runs whose cost is known, in US dollars.
    pub cost_usd: Option<f64>,
    /// Number of runs whose cost is not known.
    pub runs_without_cost: u64,
}

/// Statistics of a set of runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct UsageTotals {
    /// Number of runs.
    pub runs: u64,
    /// Number of runs that answered their task.
    pub completed: u64,
    /// Number of runs that failed. The others were refused by their vendor, have asked a question, or their attempt was
    /// not spent.
    pub failed: u64,
    /// Number of runs by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Median duration of the runs that answered their task.
    #[serde(rename = "median_seconds", serialize_with = "write_seconds")]
    pub median: Option<Duration>,
    /// 90th percentile of the durations of the runs that answered their task.
    #[serde(rename = "p90_seconds", serialize_with = "write_seconds")]
    pub p90: Option<Duration>,
    /// Total cost of the runs whose cost is known, in US dollars.
    pub cost_usd: Option<f64>,
    /// Number of runs whose cost is known.
    pub runs_with_cost: u64,
    /// Number of runs whose cost is not known.
    pub runs_without_cost: u64,
    /// Median cost of the runs whose cost is known, in US dollars.
    pub median_usd: Option<f64>,
    /// 90th percentile of these costs.
    pub p90_usd: Option<f64>,
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
    #[serde(rename = "runs_untold")]
    pub runs_without_usage: u64,
    /// Number of runs that reported their tokens but no cost.
    pub runs_unpriced: u64,
    /// Number of runs whose work was verified.
    pub verified: u64,
    /// Number of runs whose work did not stand its verification.
    pub unverified: u64,
    #[serde(skip)]
    durations: Vec<Duration>,
    #[serde(skip)]
    costs: Vec<f64>,
}

impl UsageTotals {
    fn add(&mut self, record: &UsageRecord) {
        self.runs += 1;
        *self.outcomes.entry(record.outcome.as_str().to_string()).or_default() += 1;
        if record.outcome == RecordedOutcome::Completed {
            self.completed += 1;
            self.durations.extend(record.duration.duration());
        }
        self.failed += u64::from(matches!(record.outcome, RecordedOutcome::Failed(_)));
        self.verified += u64::from(record.verified == Some(true));
        self.unverified += u64::from(record.verified == Some(false));
        let (exact, least) = (record.tokens, record.at_least_tokens);
        self.spent(record.cost_usd, exact, record.at_least_cost_usd, least);
        if !record.not_started {
            let has_usage = record.cost_usd.is_some() || exact.is_some();
            self.runs_at_least += u64::from(least.is_some());
            self.runs_without_usage += u64::from(!has_usage && least.is_none());
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
            self.costs.push(cost);
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
            let is_least = self.runs_at_least + self.runs_without_usage + self.runs_unpriced > 0;
            (known.into_iter().flatten().sum(), is_least)
        })
    }

    /// Returns the known tokens of the runs, and whether the actual number is higher.
    pub(crate) fn known_tokens(&self) -> Option<(Tokens, bool)> {
        let known = [self.tokens, self.at_least_tokens];
        known.iter().any(Option::is_some).then(|| {
            let is_least = self.runs_at_least + self.runs_without_usage > 0;
            (known.into_iter().flatten().fold(Tokens::default(), Tokens::plus), is_least)
        })
    }

    /// Returns the number of runs that could have answered their task: all but those that have asked a question.
    pub(crate) fn runs_without_question(&self) -> u64 {
        self.runs - self.outcomes.get(RecordedOutcome::Asked.as_str()).copied().unwrap_or(0)
    }

    fn finish(&mut self) {
        self.durations.sort_unstable();
        self.median = percentile(&self.durations, 50);
        self.p90 = percentile(&self.durations, 90);
        self.durations = Vec::new();
        self.runs_without_cost = self.runs - self.runs_with_cost;
        self.costs.sort_unstable_by(f64::total_cmp);
        self.median_usd = percentile(&self.costs, 50);
        self.p90_usd = percentile(&self.costs, 90);
        self.costs = Vec::new();
    }
}

/// The number of characters of a time that name its day.
const DAY_LENGTH: usize = 10;

fn day_of(time: Time) -> String {
    let mut text = time.to_string();
    text.truncate(DAY_LENGTH);
    text
}

/// Returns the totals of each day of a period, days without runs included; without a beginning, from the first day with
/// a run.
fn by_day(days: BTreeMap<String, UsageTotals>, period: Period) -> Vec<DayTotals> {
    const DAY_SECONDS: f64 = 86_400.0;
    let first = period.since.map(day_of).or_else(|| days.keys().next().cloned());
    let mut all: BTreeMap<String, UsageTotals> = BTreeMap::new();
    if let (Some(first), Some(now)) = (first, period.now) {
        let day_before = |at: &Time| Some(at.plus_seconds(-DAY_SECONDS));
        // Whatever the log contains, this ends.
        let back = std::iter::successors(Some(now), day_before).take(MAX_DAYS).map(day_of);
        all.extend(back.take_while(|day| *day >= first).map(|day| (day, UsageTotals::default())));
    }
    all.extend(days);
    let totals = |(day, totals): (String, UsageTotals)| DayTotals {
        day,
        runs: totals.runs,
        completed: totals.completed,
        failed: totals.failed,
        cost_usd: totals.cost_usd,
        runs_without_cost: totals.runs_without_cost,
    };
    all.into_iter().map(totals).collect()
}

/// The maximum number of days without runs that are listed.
const MAX_DAYS: usize = 3660;

fn write_seconds<S: Serializer>(length: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
    length.map(duration::seconds).serialize(out)
}

/// Returns the smallest of the sorted values that at least `percent` percent of them do not exceed.
fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// Computes the statistics of the runs in `period`.
pub(crate) fn stats(records: impl IntoIterator<Item = UsageRecord>, period: Period) -> Stats {
    let mut stats = Stats::default();
    let mut days: BTreeMap<String, UsageTotals> = BTreeMap::new();
    let mut seen = HashSet::new();
    for record in records.into_iter().filter(|record| period.includes(record)) {
        if record.run.as_ref().is_some_and(|run| !seen.insert(run.clone())) {
            continue;
        }
        stats.all.add(&record);
        if let Some(ended) = record.ended_at {
            days.entry(day_of(ended)).or_default().add(&record);
        }
        stats.lanes.entry(record.lane.to_string()).or_default().add(&record);
        stats.vendors.entry(record.vendor.clone()).or_default().add(&record);
        for (model, record) in by_model(&record) {
            stats.models.entry(model).or_default().add(&record);
        }
    }
    let groups = [&mut stats.lanes, &mut stats.vendors, &mut stats.models, &mut days];
    groups.into_iter().flat_map(BTreeMap::values_mut).for_each(UsageTotals::finish);
    stats.all.finish();
    stats.days = by_day(days, period);
    stats
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::output::Usage;
    use crate::dispatch::testing;
    use crate::model::{RunId, StoredDuration};

    fn now() -> Time {
        Time::parse("2026-11-22T00:00:00Z").expect("a time")
    }

    fn record(seconds: f64, outcome: &str) -> UsageRecord {
        let ended = Time::parse("2026-11-21T12:00:00Z").expect("a time");
        let run = RunId::from_random(1);
        let outcome = RecordedOutcome::from(outcome.to_string());
        let record = UsageRecord::new(&testing::task(), &run, "claude", outcome, (ended, ended));
        // Runs without an id are all counted.
        UsageRecord { run: None, duration: StoredDuration::stored(seconds), ..record }
    }

    #[test]
    fn durations_count_answers_only() {
        let mut records: Vec<UsageRecord> = (1..=10).map(|n| record(f64::from(n), "completed")).collect();
        records.push(record(1000.0, "timeout"));
        let stats = stats(records, Period::default());
        assert_eq!(stats.all.runs, 11);
        assert_eq!(stats.all.completed, 10);
        assert_eq!(stats.all.outcomes["timeout"], 1);
        assert_eq!(stats.all.median, Some(Duration::from_secs(5)));
        assert_eq!(stats.all.p90, Some(Duration::from_secs(9)));
        assert_eq!(stats.lanes["work"].runs, 11);
    }

    #[test]
    fn unknown_figures_stay_unknown() {
        let stats = stats([record(1.0, "error")], Period::default());
        assert_eq!(stats.all.cost_usd, None);
        assert_eq!(stats.all.median, None);
        assert!(stats.models.is_empty());
    }

    #[test]
    fn interrupted_runs_count_with_their_lower_bound_and_the_rest_is_reported() {
        let tokens = |input| Some(Tokens { input, ..Tokens::default() });
        let reported = UsageRecord { cost_usd: Some(1.0), tokens: tokens(10), ..record(1.0, "completed") };
        let cut = UsageRecord {
            at_least_cost_usd: Some(0.5),
            at_least_tokens: tokens(4),
            ..record(1.0, "timeout")
        };
        let silent = record(1.0, "withheld");
        let never = UsageRecord { not_started: true, ..record(0.0, "withheld") };
        let unpriced = UsageRecord { tokens: tokens(3), ..record(1.0, "completed") };
        let all = stats([reported.clone(), cut, silent, never, unpriced], Period::default()).all;
        assert_eq!((all.cost_usd, all.at_least_cost_usd), (Some(1.0), Some(0.5)));
        assert_eq!((all.tokens, all.at_least_tokens), (tokens(13), tokens(4)));
        assert_eq!((all.runs_at_least, all.runs_without_usage, all.runs_unpriced), (1, 1, 1));
        assert_eq!(all.known_cost(), Some((1.5, true)));
        assert_eq!(all.known_tokens().map(|(tokens, least)| (tokens.input, least)), Some((17, true)));
        let all = stats([reported], Period::default()).all;
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
        old.ended_at = Time::parse("2026-11-01T00:00:00Z").ok();
        old.cost_usd = Some(1.0);
        let mut new = record(2.0, "completed");
        new.cost_usd = Some(0.5);
        let undated = UsageRecord { ended_at: None, ..record(1.0, "error") };
        let stats = stats([old, new, record(1.0, "error"), undated], Period::last_days(7, now()));
        assert_eq!((stats.all.runs, stats.all.runs_with_cost), (2, 1));
        assert_eq!(stats.all.cost_usd, Some(0.5));
    }

    #[test]
    fn days_are_listed_without_a_gap() {
        let on = |day: &str, cost| UsageRecord {
            ended_at: Time::parse(&format!("2026-11-{day}T12:00:00Z")).ok(),
            cost_usd: cost,
            ..record(1.0, "completed")
        };
        let records = [on("18", Some(1.0)), on("20", Some(0.5)), on("20", None), record(1.0, "withheld")];
        let brief = |stats: &Stats| -> Vec<(String, u64, Option<f64>, u64)> {
            let brief = |day: &DayTotals| (day.day.clone(), day.runs, day.cost_usd, day.runs_without_cost);
            stats.days.iter().map(brief).collect()
        };
        let day = |day: &str, runs, cost, without| (format!("2026-11-{day}"), runs, cost, without);
        let all = stats(records.clone(), Period::until(now()));
        let expected = [
            day("18", 1, Some(1.0), 0),
            day("19", 0, None, 0),
            day("20", 2, Some(0.5), 1),
            day("21", 1, None, 1),
            day("22", 0, None, 0),
        ];
        assert_eq!(brief(&all), expected);
        assert_eq!((all.all.median_usd, all.all.p90_usd, all.all.failed), (Some(0.5), Some(1.0), 0));
        assert_eq!(brief(&stats(records, Period::last_days(2, now()))), expected[2..]);
        assert!(stats([], Period::until(now())).days.is_empty());
        let with_runs = stats([on("18", None), on("20", None)], Period::default());
        assert_eq!(brief(&with_runs), [day("18", 1, None, 1), day("20", 1, None, 1)]);
    }
}
