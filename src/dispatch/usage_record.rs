//! The lines of the usage log, `usage.jsonl`: one for each run. The file itself is written and rotated by the store.
//!
//! An unknown number is omitted, never estimated.

use serde::{Deserialize, Serialize};

use super::output::{ModelUsage, RunReport, Tokens, Usage};
use super::stored_time;
use crate::model::{StoredDuration, Time};

/// A line of the usage log: one run. Unknown fields, which later versions may add, are ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct UsageRecord {
    /// Start of the run, if the line holds a time.
    #[serde(with = "stored_time")]
    pub started_at: Option<Time>,
    /// End of the run, if the line holds a time.
    #[serde(with = "stored_time")]
    pub ended_at: Option<Time>,
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
    /// Duration of the run.
    #[serde(rename = "seconds")]
    pub duration: StoredDuration,
    /// Model that did the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Version of the agent program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cli_version: Option<String>,
    /// Id of the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The session of the chat that has delegated the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_session: Option<String>,
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
    /// Returns this record with the usage that a run reported.
    pub(crate) fn with_usage(self, report: &RunReport) -> Self {
        let least = report.usage.lower_bound();
        Self {
            model: report.models.first().cloned(),
            begins_session: !report.continues_session && self.session_id.is_some(),
            cost_usd: report.cost_usd(),
            cost_source: report.usage.cost().map(|cost| cost.source.as_str().to_string()),
            session_cost_usd: report.totals.cost_usd,
            tokens: report.usage.tokens(),
            session_tokens: report.totals.tokens,
            model_usage: report.usage.by_model().cloned(),
            session_model_usage: report.totals.usage.clone(),
            at_least_cost_usd: least.and_then(|least| least.cost_usd),
            at_least_tokens: least.map(|least| least.tokens),
            at_least_model_usage: least
                .map(|least| &least.usage)
                .filter(|usage| !usage.0.is_empty())
                .cloned(),
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

/// Splits a run by model: each record has the tokens and US dollars of its model, if they are known by model.
pub(crate) fn by_model(record: &UsageRecord) -> Vec<(String, UsageRecord)> {
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

    #[test]
    fn lines_come_back_and_broken_ones_are_skipped() {
        let mut record = UsageRecord { duration: StoredDuration::stored(1.5), ..UsageRecord::default() };
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
    fn a_line_of_an_earlier_version_is_read_and_written_byte_for_byte() {
        let line = concat!(
            r#"{"started_at":"2026-11-28T20:35:07.320660Z","ended_at":"2026-11-28T20:35:07.337883Z","task_id":"t-1","#,
            r#""run":"49d3","attempt":1,"lane":"work","vendor":"command","outcome":"completed","seconds":0.017223847}"#,
            "\n"
        );
        let record = UsageRecord::from_line(line).expect("a record");
        assert_eq!(record.ended_at.map(Time::micros), record.started_at.map(|time| time.micros() + 17_223));
        assert_eq!(record.to_line(), line);
    }

    #[test]
    fn a_time_that_cannot_be_read_costs_the_time_and_not_the_line() {
        let line = UsageRecord { duration: StoredDuration::stored(1.5), ..UsageRecord::default() }.to_line();
        assert!(line.starts_with(r#"{"started_at":"","ended_at":"","#), "{line}");
        let read = |text: &str| UsageRecord::from_line(&line.replacen(r#""started_at":"""#, text, 1));
        for text in [r#""started_at":"""#, r#""started_at":"yesterday""#] {
            let record = read(text).expect("a record");
            assert_eq!((record.started_at, record.duration.as_secs_f64()), (None, 1.5), "{text}");
        }
        let offset = read(r#""started_at":"2026-11-28T21:35:07+01:00""#).expect("a record");
        assert_eq!(offset.started_at, Time::parse("2026-11-28T20:35:07Z").ok());
        assert_eq!(read(r#""started_at":5"#), None, "not text");
        assert_eq!(read(r#""began_at":"""#), None, "no start");
    }
}
