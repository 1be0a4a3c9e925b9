//! What a dispatcher tells about itself while it works: for people a line, for programs an object.

use std::time::Duration;

use serde_json::Value;

use super::output::ClosingStatus;
use crate::model::Parked;
use crate::model::duration;
use crate::model::json::Object;
use crate::model::task::object;

/// Something worth telling.
#[derive(Clone, Debug, PartialEq)]
pub enum DispatchEvent {
    /// The dispatcher is at work.
    Ready {
        /// Under which name.
        owner: String,
        /// For which lanes.
        lanes: Vec<String>,
    },
    /// A task was taken.
    Claimed {
        /// The task.
        task_id: String,
        /// Its lane.
        lane: String,
        /// Who works on it.
        vendor: String,
        /// Which attempt this is.
        attempt: u32,
    },
    /// Its agent runs.
    Started {
        /// The task.
        task_id: String,
        /// The agent's process.
        pid: u32,
    },
    /// Its agent said something.
    Progress {
        /// The task.
        task_id: String,
        /// What.
        text: String,
    },
    /// It was answered.
    Answered {
        /// The task.
        task_id: String,
        /// How long the run took.
        duration: Duration,
        /// What it cost, in dollars.
        cost_usd: Option<f64>,
        /// How far the work came, if that is known.
        outcome: Option<&'static str>,
    },
    /// It failed and will be tried again.
    Retry {
        /// The task.
        task_id: String,
        /// What happened.
        message: String,
        /// When, from now.
        delay: Duration,
    },
    /// It failed for good.
    Failed {
        /// The task.
        task_id: String,
        /// What happened.
        message: String,
    },
    /// It went back, or was left to others, without an answer.
    Returned {
        /// The task.
        task_id: String,
        /// Why.
        message: String,
    },
    /// A vendor, or one of its models, is left alone.
    CooldownStarted(Parked),
    /// A lane is left alone because something that all its runs need is missing.
    LaneNotReady {
        /// The lane.
        lane: String,
        /// What is missing.
        message: String,
    },
    /// What was missing is there again.
    LaneReady {
        /// The lane.
        lane: String,
    },
    /// The settings have changed; new runs use them.
    Reloaded {
        /// The lanes that are served now.
        lanes: Vec<String>,
    },
    /// What a dead dispatcher left behind was put in order.
    Recovered {
        /// The task.
        task_id: String,
        /// How.
        message: String,
    },
    /// Something is not as it should be; the work goes on.
    Warning {
        /// What.
        message: String,
    },
    /// Nothing new is taken any more.
    Draining {
        /// How many agents are still at work.
        running: usize,
    },
    /// The dispatcher ends.
    Done {
        /// Tasks answered.
        answered: u64,
        /// Runs that failed.
        failed: u64,
    },
}

impl DispatchEvent {
    /// The moment's name for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Claimed { .. } => "claimed",
            Self::Started { .. } => "started",
            Self::Progress { .. } => "progress",
            Self::Answered { .. } => "answered",
            Self::Retry { .. } => "retry",
            Self::Failed { .. } => "failed",
            Self::Returned { .. } => "returned",
            Self::CooldownStarted(_) => "parked",
            Self::LaneNotReady { .. } => "lane_unready",
            Self::LaneReady { .. } => "lane_back",
            Self::Reloaded { .. } => "reloaded",
            Self::Recovered { .. } => "recovered",
            Self::Warning { .. } => "warning",
            Self::Draining { .. } => "draining",
            Self::Done { .. } => "done",
        }
    }

    /// The task it is about.
    pub fn task_id(&self) -> Option<&str> {
        match self {
            Self::Claimed { task_id, .. }
            | Self::Started { task_id, .. }
            | Self::Progress { task_id, .. }
            | Self::Answered { task_id, .. }
            | Self::Retry { task_id, .. }
            | Self::Failed { task_id, .. }
            | Self::Returned { task_id, .. }
            | Self::Recovered { task_id, .. } => Some(task_id),
            Self::Ready { .. }
            | Self::CooldownStarted(_)
            | Self::LaneNotReady { .. }
            | Self::LaneReady { .. }
            | Self::Reloaded { .. }
            | Self::Warning { .. }
            | Self::Draining { .. }
            | Self::Done { .. } => None,
        }
    }

    /// The moment in a person's words, without the task.
    pub fn words(&self) -> String {
        match self {
            Self::Ready { owner, lanes } => format!("{owner} serves {}", lanes.join(", ")),
            Self::Claimed { lane, vendor, attempt, .. } => match attempt {
                0 | 1 => format!("claimed from {lane} for {vendor}"),
                _ => format!("claimed from {lane} for {vendor}, attempt {attempt}"),
            },
            Self::Started { pid, .. } => format!("agent runs as process {pid}"),
            Self::Progress { text, .. } => text.clone(),
            Self::Answered { duration, cost_usd, outcome, .. } => {
                let cost = cost_usd.map(|cost| format!(", ${cost:.2}")).unwrap_or_default();
                // An answer that is done is what everybody expects.
                let outcome = outcome.filter(|outcome| *outcome != ClosingStatus::Done.as_str());
                let outcome = outcome.map(|outcome| format!(" ({outcome})")).unwrap_or_default();
                format!("answered after {}{cost}{outcome}", duration::words(*duration))
            }
            Self::Retry { message, delay, .. } => {
                format!("{message}; next attempt in {}", duration::words(*delay))
            }
            Self::Failed { message, .. }
            | Self::Returned { message, .. }
            | Self::Recovered { message, .. }
            | Self::Warning { message } => message.clone(),
            Self::CooldownStarted(parked) => parked.words(),
            Self::LaneNotReady { lane, message } => format!("lane {lane} is left alone: {message}"),
            Self::LaneReady { lane } => format!("lane {lane} is served again"),
            Self::Reloaded { lanes } => format!("the settings have changed; serves {}", lanes.join(", ")),
            Self::Draining { running } => {
                format!("taking nothing new; {running} at work; once more to stop them")
            }
            Self::Done { answered, failed } => format!("done: {answered} answered, {failed} runs failed"),
        }
    }

    /// The moment as an object for programs.
    pub fn to_object(&self) -> Object {
        let mut all = object([
            ("event", self.kind().into()),
            ("task_id", self.task_id().into()),
            ("message", self.words().into()),
        ]);
        all.extend(match self {
            Self::Ready { owner, lanes } => {
                object([("owner", owner.clone().into()), ("lanes", lanes.clone().into())])
            }
            Self::Claimed { lane, vendor, attempt, .. } => object([
                ("lane", lane.clone().into()),
                ("vendor", vendor.clone().into()),
                ("attempt", (*attempt).into()),
            ]),
            Self::Started { pid, .. } => object([("pid", (*pid).into())]),
            Self::Answered { duration, cost_usd, outcome, .. } => object([
                ("seconds", duration.as_secs_f64().into()),
                ("cost_usd", (*cost_usd).into()),
                ("outcome", (*outcome).into()),
            ]),
            Self::Retry { delay, .. } => object([("delay_seconds", delay.as_secs_f64().into())]),
            Self::CooldownStarted(parked) => parked.to_object(),
            Self::LaneNotReady { lane, .. } | Self::LaneReady { lane } => {
                object([("lane", lane.clone().into())])
            }
            Self::Reloaded { lanes } => object([("lanes", lanes.clone().into())]),
            Self::Draining { running } => object([("running", (*running).into())]),
            Self::Done { answered, failed } => {
                object([("answered", (*answered).into()), ("failed", (*failed).into())])
            }
            Self::Progress { .. }
            | Self::Failed { .. }
            | Self::Returned { .. }
            | Self::Recovered { .. }
            | Self::Warning { .. } => Object::new(),
        });
        all.retain(|_, value| !matches!(value, Value::Null));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_as_a_line_and_as_an_object() {
        let moment = DispatchEvent::Answered {
            task_id: "t1".to_string(),
            duration: Duration::from_secs(61),
            cost_usd: Some(0.25),
            outcome: Some("done"),
        };
        assert_eq!(moment.words(), "answered after 1m 1s, $0.25");
        let object = moment.to_object();
        assert_eq!(object["event"], "answered");
        assert_eq!(object["task_id"], "t1");
        assert_eq!(object["cost_usd"], 0.25);
        let done = DispatchEvent::Done { answered: 1, failed: 0 }.to_object();
        assert!(!done.contains_key("task_id"));
    }
}
