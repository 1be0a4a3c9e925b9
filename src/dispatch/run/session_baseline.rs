//! Computes the recorded totals of a conversation, and the part of them that is already charged to runs.
//!
//! A vendor that reports totals per conversation includes the usage of a run that was interrupted before it reported a
//! total. The next run with a reported total is charged with that remainder, so that the runs of a conversation add up
//! to the vendor's total.

use std::collections::HashSet;

use crate::dispatch::output::{Baseline, Tokens, Totals, Usage, UsageLowerBound};
use crate::dispatch::usage_record::{UsageRecord, by_model};

/// Returns the baseline for the next run of `session` from the usage log. The totals are unknown while no run has reported
/// them and the run that started the conversation is not in that log.
pub(crate) fn baseline(log: &str, session: &str) -> Baseline {
    let mut so_far = SessionSums::default();
    let mut seen = HashSet::new();
    for record in log.lines().filter(|line| line.contains(session)).filter_map(UsageRecord::from_line) {
        let is_other = record.session_id.as_deref() != Some(session) || record.not_started;
        if is_other || record.run.as_ref().is_some_and(|run| !seen.insert(run.clone())) {
            continue;
        }
        so_far.add(&record);
    }
    let SessionSums { totals, counted, is_incomplete } = so_far;
    if is_incomplete { Baseline::AfterInterruption { totals, counted } } else { Baseline::Resumed(totals) }
}

/// The last reported totals, and the usage counted since.
#[derive(Default)]
struct SessionSums {
    totals: Totals,
    counted: UsageLowerBound,
    /// Whether the usage since the last totals is not known in full.
    is_incomplete: bool,
}

impl SessionSums {
    fn add(&mut self, record: &UsageRecord) {
        if record.begins_session {
            let nothing = Totals {
                cost_usd: Some(0.0),
                tokens: Some(Tokens::default()),
                usage: Some(Usage::default()),
            };
            *self = Self { totals: nothing, ..Self::default() };
        }
        self.add_cost(record);
        self.add_tokens(record);
        self.add_usage(record);
        let has_totals = record.session_cost_usd.is_some() || record.session_tokens.is_some();
        self.is_incomplete = !has_totals || record.at_least_tokens.is_some();
    }

    fn add_cost(&mut self, record: &UsageRecord) {
        let counted = self.counted.cost_usd.unwrap_or(0.0);
        let least = record.at_least_cost_usd.filter(|cost| cost.is_finite());
        let Some(total) = record.session_cost_usd.filter(|total| total.is_finite()) else {
            let spent = record.cost_usd.filter(|cost| cost.is_finite()).or(least);
            self.counted.cost_usd = Some(counted + spent.unwrap_or(0.0));
            return;
        };
        let before = self.totals.cost_usd.replace(total);
        self.counted.cost_usd = before.zip(least).map(|(before, least)| {
            // A total below the previous one starts with this run.
            let earlier = if total >= before { before + counted } else { 0.0 };
            (earlier + least - total).max(0.0)
        });
    }

    fn add_tokens(&mut self, record: &UsageRecord) {
        let Some(total) = record.session_tokens else {
            let spent = record.tokens.or(record.at_least_tokens).unwrap_or_default();
            self.counted.tokens = self.counted.tokens.plus(spent);
            return;
        };
        self.totals.tokens = Some(total);
        self.counted.tokens = Tokens::default();
    }

    fn add_usage(&mut self, record: &UsageRecord) {
        let mut spent = Usage::default();
        for (model, own) in by_model(record) {
            let tokens = own.tokens.or(own.at_least_tokens).unwrap_or_default();
            spent.add(&model, tokens, own.cost_usd.or(own.at_least_cost_usd));
        }
        let Some(total) = record.session_model_usage.clone() else {
            self.counted.usage.add_all(&spent);
            return;
        };
        let before = self.totals.usage.replace(total.clone());
        let counted = std::mem::take(&mut self.counted.usage);
        if let (Some(before), true) = (before, record.at_least_tokens.is_some()) {
            let mut all = spent;
            if total.is_at_least(&before) {
                all.add_all(&before);
                all.add_all(&counted);
            }
            self.counted.usage = all.without(&total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> String {
        let run = r#""started_at":"","ended_at":"","task_id":"t","attempt":1,"lane":"l","vendor":"v","outcome":"o","seconds":1,"session_id":"s""#;
        format!("{{{run},{json}}}\n")
    }

    const BEGUN: &str = r#""run":"0000000000000000000000000000000a","begins_session":true,"at_least_cost_usd":0.25,"at_least_tokens":{"input":4},"at_least_model_usage":{"m":{"input":4}}"#;

    /// Returns the dollars reported and counted, whether a run was interrupted, and the tokens reported and counted by
    /// model.
    fn read(lines: &[&str]) -> (Option<f64>, Option<f64>, bool, Option<u64>, u64) {
        let log: String = lines.iter().map(|line| record(line)).collect();
        let (totals, counted, is_incomplete) = match baseline(&log, "s") {
            Baseline::AfterInterruption { totals, counted } => (totals, counted, true),
            Baseline::Resumed(totals) => (totals, UsageLowerBound::default(), false),
            Baseline::Fresh => panic!("a conversation that goes on"),
        };
        let reported = totals.usage.map(|usage| usage.tokens().input);
        (totals.cost_usd, counted.cost_usd, is_incomplete, reported, counted.usage.tokens().input)
    }

    #[test]
    fn runs_without_a_reported_total_count_with_their_lower_bound() {
        assert_eq!(read(&[BEGUN]), (Some(0.0), Some(0.25), true, Some(0), 4));
        assert_eq!(
            read(&[BEGUN, BEGUN]),
            (Some(0.0), Some(0.25), true, Some(0), 4),
            "one run, written twice"
        );
        let silent = r#""run":"0000000000000000000000000000000b""#;
        assert_eq!(read(&[BEGUN, silent]), (Some(0.0), Some(0.25), true, Some(0), 4));
        let never = r#""run":"0000000000000000000000000000000c","not_started":true,"at_least_cost_usd":1"#;
        assert_eq!(read(&[BEGUN, never]), (Some(0.0), Some(0.25), true, Some(0), 4));
        // Without the run that started the conversation, the totals are unknown.
        assert_eq!(read(&[silent]), (None, Some(0.0), true, None, 0));
        assert_eq!(read(&[]), (None, None, false, None, 0));
    }

    #[test]
    fn a_total_takes_the_place_of_what_was_counted() {
        let reported = r#""run":"0000000000000000000000000000000b","cost_usd":0.75,"session_cost_usd":1,"tokens":{"input":6},"session_model_usage":{"m":{"input":10}}"#;
        assert_eq!(read(&[BEGUN, reported]), (Some(1.0), None, false, Some(10), 0));
        assert_eq!(read(&[reported]), (Some(1.0), None, false, Some(10), 0), "started by another program");
        // Interrupted after a result: the usage after the result is counted in addition to the total.
        let more = r#""run":"0000000000000000000000000000000c","session_cost_usd":2,"session_model_usage":{"m":{"input":20}},"at_least_cost_usd":1.5,"at_least_tokens":{"input":13},"at_least_model_usage":{"m":{"input":13}}"#;
        assert_eq!(read(&[BEGUN, reported, more]), (Some(2.0), Some(0.5), true, Some(20), 3));
        // A smaller total starts with its run.
        let smaller = more.replace(r#"_usd":2"#, r#"_usd":0.5"#).replace(r#"input":20"#, r#"input":9"#);
        assert_eq!(read(&[BEGUN, reported, &smaller]), (Some(0.5), Some(1.0), true, Some(9), 4));
    }
}
