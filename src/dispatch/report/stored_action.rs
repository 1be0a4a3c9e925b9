//! The form of a report's action in `report.json`.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::ReportAction;
use crate::model::json::Object;
use crate::model::{FailureClass, Verdict, duration};

/// A [`ReportAction`] as `report.json` contains it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum StoredAction {
    /// Responds to the task.
    Respond {
        /// Whether the task is completed; otherwise it has failed.
        completed: bool,
        /// Class of a failure; written as an empty string after success.
        #[serde(serialize_with = "write_class", deserialize_with = "read_class")]
        class: Option<FailureClass>,
        /// The answer, or the reason of the failure.
        body: String,
        /// Verdict of the agent; an unknown one, which a later version may write, is read as `None`.
        #[serde(default, deserialize_with = "read_verdict")]
        verdict: Option<Verdict>,
        /// Metadata about the run.
        metadata: Object,
    },
    /// Returns the task to its lane.
    Release {
        /// Reason, for the task's history.
        reason: String,
        /// Time until it can be claimed again.
        #[serde(
            rename = "delay_seconds",
            serialize_with = "write_seconds",
            deserialize_with = "read_seconds"
        )]
        delay: Duration,
        /// Class of the failure, if the attempt counts.
        spent: Option<FailureClass>,
    },
    /// Asks a question about the task.
    Ask {
        /// The question.
        question: String,
    },
    /// Does nothing: the agent answered the task itself.
    Nothing,
}

impl From<ReportAction> for StoredAction {
    fn from(action: ReportAction) -> Self {
        match action {
            ReportAction::Complete { body, verdict, metadata } => {
                Self::Respond { completed: true, class: None, body, verdict, metadata }
            }
            ReportAction::Fail { class, body, metadata } => {
                Self::Respond { completed: false, class: Some(class), body, verdict: None, metadata }
            }
            ReportAction::Release { reason, delay, spent } => Self::Release { reason, delay, spent },
            ReportAction::Ask { question } => Self::Ask { question },
            ReportAction::Nothing => Self::Nothing,
        }
    }
}

impl From<StoredAction> for ReportAction {
    fn from(stored: StoredAction) -> Self {
        match stored {
            StoredAction::Respond { completed: true, body, verdict, metadata, .. } => {
                Self::Complete { body, verdict, metadata }
            }
            StoredAction::Respond { class, body, metadata, .. } => {
                Self::Fail { class: class.unwrap_or(FailureClass::Error), body, metadata }
            }
            StoredAction::Release { reason, delay, spent } => Self::Release { reason, delay, spent },
            StoredAction::Ask { question } => Self::Ask { question },
            StoredAction::Nothing => Self::Nothing,
        }
    }
}

fn write_class<S: Serializer>(class: &Option<FailureClass>, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(class.as_ref().map_or("", FailureClass::as_str))
}

fn read_class<'de, D: Deserializer<'de>>(value: D) -> Result<Option<FailureClass>, D::Error> {
    let class = String::deserialize(value)?;
    Ok((!class.is_empty()).then(|| FailureClass::parse(&class)))
}

fn read_verdict<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Verdict>, D::Error> {
    Ok(Option::<String>::deserialize(value)?.as_deref().and_then(Verdict::parse))
}

fn write_seconds<S: Serializer>(length: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_f64(duration::seconds(*length))
}

/// Reads a number of seconds; a negative one is 0, and one that is too large is the longest duration. Inside an enum
/// with a tag, `f64` itself cannot be read while serde_json keeps numbers as they are written.
fn read_seconds<'de, D: Deserializer<'de>>(value: D) -> Result<Duration, D::Error> {
    let seconds = Value::deserialize(value)?.as_f64();
    let seconds = seconds.ok_or_else(|| D::Error::custom("not a number of seconds"))?;
    Ok(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}
