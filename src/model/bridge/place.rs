//! Decides in which queue of its board the card of a task belongs.
//!
//! It follows from the task alone, so that it can be worked out again at any time: after a restart there is nothing to
//! be made up for.

use serde_json::Value;

use super::CARD_MOVE;
use crate::model::event::Event;
use crate::model::task::{FailureClass, Status, Task};

/// A queue, by what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CardPlace {
    /// Where the card was found.
    Source,
    /// The queue for work in progress.
    InProgress,
    /// The queue for completed tasks.
    Done,
    /// The queue for failed tasks.
    Failed,
    /// The queue for tasks that were given up.
    DeadLetter,
    /// The queue that the agent has asked for.
    Named(String),
    /// Wherever it is.
    Stay,
}

/// The settings of a watched queue on which the place depends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlaceRules {
    /// A card leaves its queue when its task is claimed, not when it is submitted.
    pub leave_when_claimed: bool,
    /// A card goes back into its queue between two attempts.
    pub back_for_retry: bool,
}

impl PlaceRules {
    /// Returns the rules for a task that continues another one: its card is in progress all the time.
    pub(crate) const fn of_continuation() -> Self {
        Self { leave_when_claimed: false, back_for_retry: false }
    }
}

/// Returns where the card of a task belongs, by its history.
pub(crate) fn card_place(task: &Task, events: &[Event], rules: PlaceRules) -> CardPlace {
    let last = |kind: &str| events.iter().rposition(|event| event.kind == kind);
    let text = |at: usize, key: &str| events[at].data.get(key).and_then(Value::as_str);
    let (claimed, released) = (last("claimed"), last("released"));
    // What the agent has asked for in its last attempt.
    let named = last(CARD_MOVE).filter(|at| claimed.is_none_or(|claimed| claimed < *at));
    let named = named.and_then(|at| text(at, "queue")).map(|name| CardPlace::Named(name.to_string()));
    match &task.status {
        Status::Completed { .. } => named.unwrap_or(CardPlace::Done),
        Status::Failed { class: FailureClass::Dead | FailureClass::Permanent, .. } => {
            named.unwrap_or(CardPlace::DeadLetter)
        }
        Status::Failed { .. } => named.unwrap_or(CardPlace::Failed),
        Status::Claimed(_) => named.unwrap_or(CardPlace::InProgress),
        Status::Blocked { .. } if task.waits_for_dependencies() => CardPlace::Stay,
        Status::InputRequired | Status::Unknown(_) => CardPlace::Stay,
        Status::Queued | Status::Scheduled { .. } | Status::Blocked { .. } => match released {
            Some(released) if text(released, "spent").is_some() => match rules.back_for_retry {
                true => CardPlace::Source,
                false => named.unwrap_or(CardPlace::InProgress),
            },
            // It waits for its vendor.
            Some(_) => CardPlace::Stay,
            None if named.is_some() => named.unwrap_or(CardPlace::Stay),
            None if rules.leave_when_claimed && task.spec.retry_of.is_none() => CardPlace::Source,
            None => CardPlace::InProgress,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NewTask, TaskId, Time, json};

    fn event(kind: &str, data: &str) -> Event {
        Event {
            n: None,
            created_at: Time::from_micros(0),
            kind: kind.to_string(),
            message: String::new(),
            data: json::parse_object(data.as_bytes()).unwrap(),
        }
    }

    fn task(status: Status) -> Task {
        let spec = NewTask::prompt(crate::model::LaneName::stored("work"), "x").spec;
        Task {
            id: TaskId::parse("t-1").unwrap(),
            spec,
            request_path: String::new(),
            request_sha256: crate::model::Sha256::stored(""),
            response_path: String::new(),
            status,
            created_at: Time::from_micros(0),
            updated_at: Time::from_micros(0),
            attempt: 1,
            fence: 1,
            retried_as: None,
            questions: Vec::new(),
            messages: Vec::new(),
            bookkeeping: crate::model::Bookkeeping::default(),
            extra: json::Object::new(),
        }
    }

    fn failed(class: FailureClass) -> Status {
        Status::Failed { at: Time::from_micros(0), claim: None, reason: "boom".to_string(), class }
    }

    #[test]
    fn a_card_lies_where_its_task_belongs() {
        use CardPlace::{DeadLetter, Done, Failed, InProgress, Named, Source, Stay};
        let at = Time::from_micros(0);
        let claimed = || event("claimed", "{}");
        let spent = || event("released", r#"{"spent": "timeout"}"#);
        let parked = || event("released", r#"{"reason": "the vendor's usage limit is reached"}"#);
        let asked = || event(CARD_MOVE, r#"{"queue": "Review"}"#);
        let done = || Status::Completed { at, claim: None };
        let submit = PlaceRules::default();
        let claim = PlaceRules { leave_when_claimed: true, ..submit };
        let back = PlaceRules { back_for_retry: true, ..submit };
        let review = || Named("Review".to_string());
        let rows: Vec<(Status, Vec<Event>, PlaceRules, CardPlace)> = vec![
            (Status::Queued, vec![], submit, InProgress),
            (Status::Queued, vec![], claim, Source),
            (Status::Queued, vec![claimed(), spent()], submit, InProgress),
            (Status::Queued, vec![claimed(), spent()], claim, InProgress),
            (Status::Scheduled { until: at }, vec![claimed(), spent()], back, Source),
            (Status::Queued, vec![claimed(), spent(), claimed(), parked()], back, Stay),
            (Status::Queued, vec![claimed(), parked()], submit, Stay),
            (done(), vec![claimed()], submit, Done),
            (done(), vec![claimed(), asked()], submit, review()),
            (done(), vec![asked(), claimed()], submit, Done),
            (failed(FailureClass::Error), vec![claimed()], submit, Failed),
            (failed(FailureClass::Cancelled), vec![], submit, Failed),
            (failed(FailureClass::Timeout), vec![claimed(), asked()], submit, review()),
            (failed(FailureClass::Dead), vec![claimed()], submit, DeadLetter),
            (failed(FailureClass::Permanent), vec![claimed()], submit, DeadLetter),
            (Status::Unknown("later".to_string()), vec![], submit, Stay),
        ];
        for (number, (status, events, rules, expected)) in rows.into_iter().enumerate() {
            assert_eq!(card_place(&task(status), &events, rules), expected, "row {number}");
        }
        let mut again = task(Status::Queued);
        again.spec.retry_of = Some("t-0".to_string());
        assert_eq!(card_place(&again, &[], claim), InProgress, "it was redriven");
    }
}
