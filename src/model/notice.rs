//! Notices: what people want to be told about without asking.

use std::time::Duration;

use super::event::Event;
use super::time::Time;

/// How long a notice that cannot be delivered is tried again.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The delay after the first failed delivery, and the longest one.
const FIRST_DELAY: Duration = Duration::from_secs(10);
const LONGEST_DELAY: Duration = Duration::from_secs(3600);

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NoticeKind {
    /// A task was answered.
    Completed,
    /// A task failed.
    Failed,
    /// A task failed because its attempts are spent.
    Dead,
    /// A worker asks a question.
    InputRequired,
    /// A vendor, or one of its models, is not used for a while.
    Parked,
    /// A lane starts no run because a budget is spent.
    Budget,
    /// All tasks of a group have ended.
    GroupDone,
}

impl NoticeKind {
    /// All kinds, by name.
    pub(crate) const NAMES: [(&'static str, Self); 7] = [
        ("completed", Self::Completed),
        ("failed", Self::Failed),
        ("dead", Self::Dead),
        ("input_required", Self::InputRequired),
        ("parked", Self::Parked),
        ("budget", Self::Budget),
        ("group_done", Self::GroupDone),
    ];

    /// Returns the kind with this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind)
    }

    /// Returns its name.
    pub(crate) fn as_str(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, kind)| *kind == self).map_or("failed", |(name, _)| name)
    }

    /// Returns the kind of notice that an event of a task makes, if any. What a person cancels is no news.
    pub(crate) fn of_event(event: &Event) -> Option<Self> {
        match event.kind.as_str() {
            "dead" => Some(Self::Dead),
            // A task that never ran: a dependency has failed, or its deadline has passed.
            "upstream_failed" | "expired" => Some(Self::Failed),
            "asked" => Some(Self::InputRequired),
            "response" => match event.data.get("status").and_then(serde_json::Value::as_str) {
                Some("completed") => Some(Self::Completed),
                Some("failed") => Some(Self::Failed),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Returns whether an event of a task is its end, after which nothing happens to it by itself.
pub(crate) fn is_end(event: &Event) -> bool {
    ["response", "dead", "upstream_failed", "expired", "cancelled"].contains(&event.kind.as_str())
}

/// Returns when a notice is delivered again whose delivery has failed `failures` times, the first at `since`; `None`
/// to give it up.
pub(crate) fn retry_time(failures: u32, since: Time, now: Time) -> Option<Time> {
    let factor = 1_u32 << failures.saturating_sub(1).min(16);
    let delay = FIRST_DELAY.saturating_mul(factor).min(LONGEST_DELAY);
    (now < since + KEPT).then(|| now + delay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::Object;
    use crate::model::task::object;

    #[test]
    fn delays_grow_and_end() {
        let since = Time::from_micros(0);
        let delay = |failures| retry_time(failures, since, since).expect("again").seconds_since(since);
        assert_eq!([1, 2, 3, 9, 10, 50].map(delay), [10.0, 20.0, 40.0, 2560.0, 3600.0, 3600.0]);
        assert_eq!(retry_time(1, since, since + KEPT), None);
        assert!(retry_time(1, since + KEPT, since).is_some(), "the clock was set back");
    }

    #[test]
    fn ends_of_tasks_are_news_and_nothing_else_is() {
        let kind = |kind: &str, data: Object| {
            let (created_at, message) = (Time::from_micros(0), String::new());
            NoticeKind::of_event(&Event { n: None, created_at, kind: kind.into(), message, data })
        };
        let status = |status: &str| object([("status", status.into())]);
        assert_eq!(kind("response", status("completed")), Some(NoticeKind::Completed));
        assert_eq!(kind("response", status("failed")), Some(NoticeKind::Failed));
        assert_eq!(kind("dead", Object::new()), Some(NoticeKind::Dead));
        assert_eq!(kind("upstream_failed", Object::new()), Some(NoticeKind::Failed));
        assert_eq!(kind("asked", Object::new()), Some(NoticeKind::InputRequired));
        for other in ["cancelled", "created", "claimed", "note", "released"] {
            assert_eq!(kind(other, status("failed")), None, "{other}");
        }
        for (name, kind) in NoticeKind::NAMES {
            assert_eq!((NoticeKind::parse(name), kind.as_str()), (Some(kind), name));
        }
    }
}
