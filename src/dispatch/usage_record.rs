//! The lines of the usage log, `usage.jsonl`: one for each run. The file itself is written and rotated by the store.
//!
//! An unknown number is omitted, never estimated.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::output::{CostSource, ModelUsage, RunReport, Tokens, Usage};
use super::task_metadata::mcp_session;
use super::{stored_lane, stored_time};
use crate::model::{CooldownCause, FailureClass, LaneName, RunId, StoredDuration, Task, TaskId, Time};

/// How a run ended, in the usage log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) enum RecordedOutcome {
    /// The task was answered.
    Completed,
    /// The vendor refused the run.
    Refused(CooldownCause),
    /// The run failed, or was lost with its dispatcher. An outcome that only another version knows is a class of its own
    /// here.
    Failed(FailureClass),
    /// Its agent has asked a question, and the task waits for the answer; the attempt was not spent.
    Asked,
    /// The task went back, and the attempt was not spent.
    Withheld,
}

impl RecordedOutcome {
    /// Returns the name in the usage log.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Completed => "completed",
            Self::Refused(cause) => cause.as_str(),
            Self::Failed(class) => class.as_str(),
            Self::Asked => "asked",
            Self::Withheld => "withheld",
        }
    }
}

impl From<String> for RecordedOutcome {
    fn from(name: String) -> Self {
        match name.as_str() {
            "completed" => Self::Completed,
            "asked" => Self::Asked,
            "withheld" => Self::Withheld,
            // The limit of a vendor is a cause and a class by the same name. The log means the cause.
            name => CooldownCause::parse(name)
                .map_or_else(|| Self::Failed(FailureClass::parse(name)), Self::Refused),
        }
    }
}

impl From<RecordedOutcome> for String {
    fn from(outcome: RecordedOutcome) -> Self {
        outcome.as_str().to_string()
    }
}

/// A line of the usage log: one run. Unknown fields, which later versions may add, are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct UsageRecord {
    /// Start of the run, if the line holds a time.
    #[serde(with = "stored_time")]
    pub started_at: Option<Time>,
    /// End of the run, if the line holds a time.
    #[serde(with = "stored_time")]
    pub ended_at: Option<Time>,
    /// Id of the task.
    pub task_id: TaskId,
    /// Id of the run; a line that was written twice is counted once. `None` in lines of early versions, written as an
    /// empty text.
    #[serde(default, deserialize_with = "read_run", serialize_with = "write_run")]
    pub run: Option<RunId>,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Lane of the task.
    #[serde(deserialize_with = "stored_lane::deserialize")]
    pub lane: LaneName,
    /// Vendor of the agent.
    pub vendor: String,
    /// How it ended.
    pub outcome: RecordedOutcome,
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
    /// Where the cost comes from; `None` also for a source of another version.
    #[serde(default, deserialize_with = "read_cost_source", skip_serializing_if = "Option::is_none")]
    pub cost_source: Option<CostSource>,
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
    /// Whether its work was verified; `None` if it did not have to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn read_run<'de, D: Deserializer<'de>>(value: D) -> Result<Option<RunId>, D::Error> {
    Ok(RunId::parse(&String::deserialize(value)?))
}

fn write_run<S: Serializer>(run: &Option<RunId>, out: S) -> Result<S::Ok, S::Error> {
    run.as_ref().map_or("", RunId::as_str).serialize(out)
}

fn read_cost_source<'de, D: Deserializer<'de>>(value: D) -> Result<Option<CostSource>, D::Error> {
    Ok(Option::<String>::deserialize(value)?.as_deref().and_then(CostSource::parse))
}

impl UsageRecord {
    /// Creates the record of a run of `task` from `started` to `ended`, without any figures.
    pub(crate) fn new(
        task: &Task,
        run: &RunId,
        vendor: &str,
        outcome: RecordedOutcome,
        (started, ended): (Time, Time),
    ) -> Self {
        Self {
            started_at: Some(started),
            ended_at: Some(ended),
            task_id: task.id.clone(),
            run: Some(run.clone()),
            attempt: task.attempt,
            lane: task.spec.lane.clone(),
            vendor: vendor.to_string(),
            outcome,
            duration: StoredDuration::stored(ended.seconds_since(started)),
            model: None,
            cli_version: None,
            session_id: None,
            mcp_session: mcp_session(task),
            begins_session: false,
            cost_usd: None,
            cost_source: None,
            session_cost_usd: None,
            tokens: None,
            session_tokens: None,
            model_usage: None,
            session_model_usage: None,
            at_least_cost_usd: None,
            at_least_tokens: None,
            at_least_model_usage: None,
            not_started: false,
            turns: None,
            denied: 0,
            verified: None,
        }
    }

    /// Returns this record with the usage that a run reported.
    pub(crate) fn with_usage(self, report: &RunReport) -> Self {
        let least = report.usage.lower_bound();
        Self {
            model: report.models.first().cloned(),
            begins_session: !report.continues_session && self.session_id.is_some(),
            cost_usd: report.cost_usd(),
            cost_source: report.usage.cost().map(|cost| cost.source),
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
    use crate::dispatch::testing;

    fn record() -> UsageRecord {
        let (run, outcome, time) = (RunId::from_random(1), RecordedOutcome::Completed, Time::from_micros(0));
        let record = UsageRecord::new(&testing::task(), &run, "claude", outcome, (time, time));
        UsageRecord { duration: StoredDuration::stored(1.5), ..record }
    }

    #[test]
    fn outcomes_have_names() {
        let refused = [CooldownCause::UsageLimit, CooldownCause::Overloaded, CooldownCause::Account];
        let failed =
            [FailureClass::Error, FailureClass::Timeout, FailureClass::Permanent, FailureClass::Lost];
        let other = FailureClass::Other("of a later version".to_string());
        let outcomes = [RecordedOutcome::Completed, RecordedOutcome::Asked, RecordedOutcome::Withheld]
            .into_iter()
            .chain(refused.map(RecordedOutcome::Refused))
            .chain(failed.map(RecordedOutcome::Failed))
            .chain([RecordedOutcome::Failed(other)]);
        for outcome in outcomes {
            let text = serde_json::to_string(&outcome).expect("JSON");
            assert_eq!(text, format!("\"{}\"", outcome.as_str()));
            assert_eq!(serde_json::from_str::<RecordedOutcome>(&text).ok(), Some(outcome));
        }
    }

    #[test]
    fn what_a_later_version_calls_otherwise_costs_the_value_and_not_the_line() {
        let line = UsageRecord { cost_source: Some(CostSource::Reported), ..record() }.to_line();
        let read = |old: &str, new: &str| {
            assert!(line.contains(old), "{line}");
            UsageRecord::from_line(&line.replacen(old, new, 1)).expect("a record")
        };
        assert_eq!(read(r#""reported""#, r#""guessed""#).cost_source, None);
        assert_eq!(read(r#""reported""#, r#""computed""#).cost_source, Some(CostSource::Computed));
        assert_eq!(read(&RunId::from_random(1).as_str()[..8], "a longer").run, None);
        assert_eq!(read("completed", "abandoned").outcome.as_str(), "abandoned");
    }

    #[test]
    fn lines_come_back_and_broken_ones_are_skipped() {
        let mut record = record();
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
            r#""run":"49d389f364dae87579ef0370e4aae2a0","attempt":1,"lane":"work","vendor":"command","outcome":"completed","seconds":0.017223847}"#,
            "\n"
        );
        let record = UsageRecord::from_line(line).expect("a record");
        assert_eq!(record.ended_at.map(Time::micros), record.started_at.map(|time| time.micros() + 17_223));
        assert_eq!(record.to_line(), line);
    }

    #[test]
    fn a_time_that_cannot_be_read_costs_the_time_and_not_the_line() {
        let line = UsageRecord { started_at: None, ended_at: None, ..record() }.to_line();
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
