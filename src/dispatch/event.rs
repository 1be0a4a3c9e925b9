//! Events of a dispatcher: a line for people, an object for programs.

use std::time::Duration;

use serde_json::Value;

use super::output::ClosingStatus;
use crate::model::duration;
use crate::model::json::Object;
use crate::model::spending::LaneOverBudget;
use crate::model::task::object;
use crate::model::{Cooldown, LaneName, Owner, TaskId};

/// An event of a dispatcher, printed by `lanes dispatch` and written to its log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DispatchEvent {
    /// The dispatcher has started.
    Ready {
        /// Owner name in its claims.
        owner: Owner,
        /// Lanes that it serves.
        lanes: Vec<LaneName>,
    },
    /// A task was claimed.
    Claimed {
        /// Id of the task.
        task_id: TaskId,
        /// Lane of the task.
        lane: LaneName,
        /// Name of the vendor.
        vendor: String,
        /// Number of the attempt, from 1.
        attempt: u32,
    },
    /// The agent of a task was started.
    Started {
        /// Id of the task.
        task_id: TaskId,
        /// Process id of the agent.
        pid: u32,
    },
    /// The agent of a task reported progress.
    Progress {
        /// Id of the task.
        task_id: TaskId,
        /// One line for people.
        text: String,
    },
    /// A task was answered.
    Answered {
        /// Id of the task.
        task_id: TaskId,
        /// Duration of the run.
        duration: Duration,
        /// Cost of the run in US dollars.
        cost_usd: Option<f64>,
        /// `done`, `partial` or `blocked`, if the answer says so.
        outcome: Option<ClosingStatus>,
    },
    /// A run failed, and its task will be retried.
    Retry {
        /// Id of the task.
        task_id: TaskId,
        /// Reason of the failure.
        message: String,
        /// Time until the next attempt.
        delay: Duration,
    },
    /// A task failed permanently.
    Failed {
        /// Id of the task.
        task_id: TaskId,
        /// Reason of the failure.
        message: String,
    },
    /// The agent of a task has asked a question, and the task waits for the answer.
    Asks {
        /// Id of the task.
        task_id: TaskId,
        /// The beginning of the question, in one line.
        question: String,
    },
    /// A task was returned to its lane without an answer, or its claim has ended.
    Returned {
        /// Id of the task.
        task_id: TaskId,
        /// Reason.
        message: String,
    },
    /// A vendor, or one of its models, is not used for a while.
    CooldownStarted(Cooldown),
    /// A lane starts no run because a budget is spent.
    OverBudget {
        /// Name of the lane.
        lane: LaneName,
        /// The budget.
        over: LaneOverBudget,
    },
    /// A lane is not served because something that all its runs need is missing.
    LaneUnready {
        /// Name of the lane.
        lane: LaneName,
        /// What is missing.
        message: String,
    },
    /// A lane that was unready is served again.
    LaneReady {
        /// Name of the lane.
        lane: LaneName,
    },
    /// The configuration has changed; new runs use it.
    Reloaded {
        /// Lanes that are served from now on.
        lanes: Vec<LaneName>,
    },
    /// A task of a dispatcher that died was recovered.
    Recovered {
        /// Id of the task.
        task_id: TaskId,
        /// What was done with the task.
        message: String,
    },
    /// A schedule has submitted a task.
    Scheduled {
        /// Id of the task.
        task_id: TaskId,
        /// Name of the schedule.
        schedule: String,
    },
    /// A problem that does not stop the dispatcher.
    Warning {
        /// Description for people.
        message: String,
    },
    /// The dispatcher does not claim any more tasks.
    Draining {
        /// Number of agents that are still running.
        running: usize,
    },
    /// The dispatcher has ended.
    Done {
        /// Number of tasks answered.
        answered: u64,
        /// Number of runs that failed.
        failed: u64,
        /// Number of tasks that failed.
        failed_tasks: u64,
        /// Number of runs that asked a question.
        asked: u64,
    },
}

impl DispatchEvent {
    /// Returns the event of a run whose agent has asked a question.
    pub(crate) fn asks(task_id: TaskId, question: &str) -> Self {
        let first = question.lines().next().unwrap_or_default();
        Self::Asks { task_id, question: first.chars().take(200).collect() }
    }

    /// Returns the name of the event for programs, the `event` key of its object.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Claimed { .. } => "claimed",
            Self::Started { .. } => "started",
            Self::Progress { .. } => "progress",
            Self::Answered { .. } => "answered",
            Self::Retry { .. } => "retry",
            Self::Failed { .. } => "failed",
            Self::Asks { .. } => "asks",
            Self::Returned { .. } => "returned",
            Self::CooldownStarted(_) => "parked",
            Self::OverBudget { .. } => "over_budget",
            Self::LaneUnready { .. } => "lane_unready",
            Self::LaneReady { .. } => "lane_back",
            Self::Reloaded { .. } => "reloaded",
            Self::Recovered { .. } => "recovered",
            Self::Scheduled { .. } => "scheduled",
            Self::Warning { .. } => "warning",
            Self::Draining { .. } => "draining",
            Self::Done { .. } => "done",
        }
    }

    /// Returns the id of the task that the event is about, if any.
    pub(crate) fn task_id(&self) -> Option<&TaskId> {
        match self {
            Self::Claimed { task_id, .. }
            | Self::Started { task_id, .. }
            | Self::Progress { task_id, .. }
            | Self::Answered { task_id, .. }
            | Self::Retry { task_id, .. }
            | Self::Failed { task_id, .. }
            | Self::Asks { task_id, .. }
            | Self::Returned { task_id, .. }
            | Self::Recovered { task_id, .. }
            | Self::Scheduled { task_id, .. } => Some(task_id),
            Self::Ready { .. }
            | Self::CooldownStarted(_)
            | Self::OverBudget { .. }
            | Self::LaneUnready { .. }
            | Self::LaneReady { .. }
            | Self::Reloaded { .. }
            | Self::Warning { .. }
            | Self::Draining { .. }
            | Self::Done { .. } => None,
        }
    }

    /// Describes the event in one line for people, without the task.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Ready { owner, lanes } => format!("{owner} serves {}", lanes.join(", ")),
            Self::Claimed { lane, vendor, attempt, .. } => match attempt {
                0 | 1 => format!("claimed from {lane} for {vendor}"),
                _ => format!("claimed from {lane} for {vendor}, attempt {attempt}"),
            },
            Self::Started { pid, .. } => format!("agent started as process {pid}"),
            Self::Progress { text, .. } => text.clone(),
            Self::Answered { duration, cost_usd, outcome, .. } => {
                let cost = cost_usd.map(|cost| format!(", ${cost:.2}")).unwrap_or_default();
                // `done` is the normal case and is not shown.
                let outcome = outcome.filter(|outcome| *outcome != ClosingStatus::Done);
                let outcome = outcome.map(|outcome| format!(" ({})", outcome.as_str())).unwrap_or_default();
                format!("answered after {}{cost}{outcome}", duration::format_coarse(*duration))
            }
            Self::Retry { message, delay, .. } => {
                format!("{message}; next attempt in {}", duration::format_coarse(*delay))
            }
            Self::Failed { message, .. }
            | Self::Returned { message, .. }
            | Self::Recovered { message, .. }
            | Self::Warning { message } => message.clone(),
            Self::Asks { task_id, question } => {
                format!("asks: {question}; `lanes answer {task_id}` answers it")
            }
            Self::Scheduled { schedule, .. } => format!("submitted by schedule {schedule}"),
            Self::CooldownStarted(cooldown) => cooldown.describe(),
            Self::OverBudget { lane, over } => {
                format!("lane {lane} waits until {}: {}", over.until, over.message)
            }
            Self::LaneUnready { lane, message } => format!("lane {lane} is not served: {message}"),
            Self::LaneReady { lane } => format!("lane {lane} is served again"),
            Self::Reloaded { lanes } => format!("the settings have changed; serves {}", lanes.join(", ")),
            Self::Draining { running } => match running {
                0 => "draining: nothing is running".to_string(),
                1 => "draining: 1 running; signal again to stop it now".to_string(),
                _ => format!("draining: {running} running; signal again to stop them now"),
            },
            Self::Done { answered, failed, asked, .. } => {
                let runs = if *failed == 1 { "run" } else { "runs" };
                let asked = match asked {
                    0 => String::new(),
                    1 => ", 1 run asked a question".to_string(),
                    asked => format!(", {asked} runs asked a question"),
                };
                format!("done: {answered} answered, {failed} {runs} failed{asked}")
            }
        }
    }

    /// Returns the event as a JSON object for programs.
    pub(crate) fn to_object(&self) -> Object {
        let mut all = object([
            ("event", self.kind().into()),
            ("task_id", self.task_id().map(TaskId::as_str).into()),
            ("message", self.message().into()),
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
                ("outcome", outcome.map(ClosingStatus::as_str).into()),
            ]),
            Self::Retry { delay, .. } => object([("delay_seconds", delay.as_secs_f64().into())]),
            Self::Scheduled { schedule, .. } => object([("schedule", schedule.clone().into())]),
            Self::CooldownStarted(cooldown) => cooldown.to_object(),
            Self::OverBudget { lane, over } => {
                let mut all = over.to_object();
                all.insert("lane".to_string(), lane.clone().into());
                all
            }
            Self::LaneUnready { lane, .. } | Self::LaneReady { lane } => {
                object([("lane", lane.clone().into())])
            }
            Self::Reloaded { lanes } => object([("lanes", lanes.clone().into())]),
            Self::Draining { running } => object([("running", (*running).into())]),
            Self::Asks { question, .. } => object([("question", question.clone().into())]),
            Self::Done { answered, failed, failed_tasks, asked } => object([
                ("asked", (*asked).into()),
                ("answered", (*answered).into()),
                ("failed", (*failed).into()),
                ("failed_tasks", (*failed_tasks).into()),
            ]),
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
    fn an_event_reads_as_a_line_and_as_an_object() {
        let event = DispatchEvent::Answered {
            task_id: TaskId::parse("t1").expect("an id"),
            duration: Duration::from_secs(61),
            cost_usd: Some(0.25),
            outcome: Some(ClosingStatus::Done),
        };
        assert_eq!(event.message(), "answered after 1m 1s, $0.25");
        let object = event.to_object();
        assert_eq!(object["event"], "answered");
        assert_eq!(object["task_id"], "t1");
        assert_eq!(object["cost_usd"], 0.25);
        let done = DispatchEvent::Done { answered: 1, failed: 0, failed_tasks: 0, asked: 0 }.to_object();
        assert!(!done.contains_key("task_id"));
    }

    #[test]
    fn counts_agree_with_their_nouns() {
        let done =
            |failed| DispatchEvent::Done { answered: 0, failed, failed_tasks: failed, asked: 0 }.message();
        assert_eq!(
            [0, 1, 2].map(done),
            ["0 runs", "1 run", "2 runs"].map(|runs| format!("done: 0 answered, {runs} failed"))
        );
        let asked = |asked| DispatchEvent::Done { answered: 2, failed: 0, failed_tasks: 0, asked }.message();
        assert_eq!(asked(1), "done: 2 answered, 0 runs failed, 1 run asked a question");
        assert_eq!(asked(2), "done: 2 answered, 0 runs failed, 2 runs asked a question");
        let draining = |running| DispatchEvent::Draining { running }.message();
        assert_eq!(draining(0), "draining: nothing is running");
        assert_eq!(draining(1), "draining: 1 running; signal again to stop it now");
        assert_eq!(draining(2), "draining: 2 running; signal again to stop them now");
    }
}
