//! Which tasks a list selects, and in which order it shows them.

use super::filter::Filter;
use super::json::parse_object;
use super::task_summary::TaskSummary;
use super::time::Time;

/// Conditions on tasks; all must hold. A list without values holds for every task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TaskSelection {
    /// Their lanes.
    pub lanes: Vec<String>,
    /// Their states.
    pub states: Vec<String>,
    /// Their groups.
    pub groups: Vec<String>,
    /// The classes of their failures.
    pub failure_classes: Vec<String>,
    /// Labels, of which they have at least one.
    pub labels: Vec<String>,
    /// Their owners.
    pub owners: Vec<String>,
    /// Their idempotency key.
    pub key: Option<String>,
    /// Conditions on their metadata.
    pub metadata: Filter,
    /// Text that their title, prompt, id, labels or owner contain, in lower case.
    pub text: String,
}

/// The order of a list of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TaskOrder {
    /// By the time of the submit, oldest first.
    #[default]
    Oldest,
    /// By the time of the submit, newest first.
    Newest,
    /// By the time of the last change, latest first.
    Updated,
}

/// Whether a task is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// That depends on a text which its summary does not keep.
    Unknown,
}

impl TaskOrder {
    /// The names of the orders.
    pub(crate) const NAMES: [&'static str; 3] = ["oldest", "newest", "updated"];

    /// Parses the name of an order.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Oldest, Self::Newest, Self::Updated].into_iter().find(|order| order.as_str() == name)
    }

    /// Returns its name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Newest => "newest",
            Self::Updated => "updated",
        }
    }

    /// Returns the time by which it orders a task.
    pub(crate) fn time_of(self, task: &TaskSummary) -> Time {
        if self == Self::Updated { task.updated_at } else { task.created_at }
    }
}

impl TaskSelection {
    /// Returns whether every task is selected, even one that cannot be read.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether only lanes and states decide.
    pub(crate) fn is_by_place(&self) -> bool {
        let place = Self { lanes: self.lanes.clone(), states: self.states.clone(), ..Self::default() };
        *self == place
    }

    /// Returns whether tasks of this lane in this state may be selected.
    pub(crate) fn accepts_place(&self, lane: &str, state: &str) -> bool {
        is_one_of(&self.lanes, lane) && is_one_of(&self.states, state)
    }

    /// Returns whether a task is selected.
    pub(crate) fn accepts(&self, task: &TaskSummary) -> Match {
        let is_one = |wanted: &[String], have: Option<&str>| {
            wanted.is_empty() || have.is_some_and(|have| is_one_of(wanted, have))
        };
        if !self.accepts_place(&task.lane, &task.state)
            || !is_one(&self.groups, task.group.as_deref())
            || !is_one(&self.failure_classes, task.failure_class.as_deref())
            || !is_one(&self.owners, task.owner.as_deref())
            || !(self.labels.is_empty() || task.labels.iter().any(|label| is_one_of(&self.labels, label)))
            || self.key.as_deref().is_some_and(|key| task.key.as_deref() != Some(key))
        {
            return Match::No;
        }
        match (self.accepts_metadata(task), self.finds_text(task)) {
            (Match::No, _) | (_, Match::No) => Match::No,
            (Match::Yes, Match::Yes) => Match::Yes,
            _ => Match::Unknown,
        }
    }

    fn accepts_metadata(&self, task: &TaskSummary) -> Match {
        if self.metadata.is_empty() {
            return Match::Yes;
        }
        let Some(text) = &task.metadata else { return Match::Unknown };
        let metadata = parse_object(text.as_bytes()).unwrap_or_default();
        if self.metadata.accepts(&metadata) { Match::Yes } else { Match::No }
    }

    fn finds_text(&self, task: &TaskSummary) -> Match {
        let wanted = self.text.as_str();
        let contains = |text: &str| text.to_lowercase().contains(wanted);
        if wanted.is_empty()
            || task.search_text.as_ref().is_some_and(|text| text.contains(wanted))
            || contains(&task.id)
            || task.labels.iter().any(|label| contains(label))
            || task.owner.as_deref().is_some_and(contains)
        {
            return Match::Yes;
        }
        if task.search_text.is_some() { Match::No } else { Match::Unknown }
    }

    /// Returns a text that differs for selections that differ.
    pub(crate) fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// Returns whether a value is one of those wanted; without any, every value is.
fn is_one_of(wanted: &[String], have: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted == have)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TaskText;

    fn task() -> TaskSummary {
        let text = r#"{"id": "20261121T070000123456Z-work-abc-d64cf2", "correlation_id": "c", "workspace_id": "w",
            "workspace_root": "/", "lane": "work", "request_path": "", "request_sha256": "", "response_path": "",
            "state": "claimed", "labels": ["red", "Blue"], "created_at": "2026-11-21T07:00:00Z",
            "updated_at": "2026-11-21T07:00:00Z", "prompt": "Fix the ÄRGER", "metadata": {"card": 7},
            "claim_owner": "Ann", "claim_token": "t", "claimed_at": "2026-11-21T07:00:00Z",
            "lease_expires_at": "2026-11-21T08:00:00Z", "idempotency_key": "k1", "group": "g"}"#;
        TaskText::read(text.as_bytes(), |task| TaskSummary::of(task, &task.status())).unwrap()
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| text.to_string()).collect()
    }

    #[test]
    fn all_conditions_must_hold() {
        let none = TaskSelection::default();
        let fits = TaskSelection {
            lanes: texts(&["other", "work"]),
            states: texts(&["claimed"]),
            groups: texts(&["g"]),
            labels: texts(&["Blue", "x"]),
            owners: texts(&["Ann"]),
            key: Some("k1".to_string()),
            metadata: Filter::parse(&["card=6,7"]).unwrap(),
            text: "ärger".to_string(),
            ..none.clone()
        };
        assert_eq!((none.accepts(&task()), fits.accepts(&task())), (Match::Yes, Match::Yes));
        for wrong in [
            TaskSelection { lanes: texts(&["other"]), ..fits.clone() },
            TaskSelection { states: texts(&["queued"]), ..fits.clone() },
            TaskSelection { groups: texts(&["h"]), ..fits.clone() },
            TaskSelection { failure_classes: texts(&["dead"]), ..fits.clone() },
            TaskSelection { labels: texts(&["blue"]), ..fits.clone() },
            TaskSelection { owners: texts(&["ann"]), ..fits.clone() },
            TaskSelection { key: Some("k".to_string()), ..fits.clone() },
            TaskSelection { metadata: Filter::parse(&["card=6"]).unwrap(), ..fits.clone() },
            TaskSelection { text: "green".to_string(), ..fits.clone() },
        ] {
            assert_eq!(wrong.accepts(&task()), Match::No, "{wrong:?}");
            assert_ne!(wrong.describe(), fits.describe());
        }
    }

    #[test]
    fn text_is_found_in_labels_owners_and_ids() {
        for text in ["d64cf2", "blue", "ann", "fix"] {
            let selection = TaskSelection { text: text.to_string(), ..TaskSelection::default() };
            assert_eq!(selection.accepts(&task()), Match::Yes, "{text}");
        }
    }

    #[test]
    fn what_is_not_kept_leaves_the_answer_open() {
        let mut task = task();
        task.forget_texts();
        let text = |text: &str| TaskSelection { text: text.to_string(), ..TaskSelection::default() };
        assert_eq!(text("fix").accepts(&task), Match::Unknown);
        assert_eq!(text("ann").accepts(&task), Match::Yes);
        let metadata = Filter::parse(&["card=7"]).unwrap();
        let selection = TaskSelection { metadata, ..TaskSelection::default() };
        assert_eq!(selection.accepts(&task), Match::Unknown);
        assert_eq!(TaskSelection { lanes: texts(&["x"]), ..selection }.accepts(&task), Match::No);
    }

    #[test]
    fn orders_have_names() {
        for name in TaskOrder::NAMES {
            assert_eq!(TaskOrder::parse(name).map(TaskOrder::as_str), Some(name));
        }
        assert_eq!(TaskOrder::parse("random"), None);
    }
}
