//! What waits for a person: open questions, and dead letters that nobody has retried.

use super::id::TaskId;
use super::json::Object;
use super::lane::LaneName;
use super::question::Question;
use super::task::{FailureClass, Status};
use super::task_text::TaskText;
use super::time::Time;

/// One thing that waits for a person.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InboxItem {
    /// Since when it waits.
    pub since: Time,
    /// The task that it is about.
    pub task_id: TaskId,
    /// The lane of the task.
    pub lane: LaneName,
    /// What a person has to do.
    pub matter: InboxMatter,
}

/// What a person has to do about a task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum InboxMatter {
    /// Answer this question.
    Question(Question),
    /// Retry or leave a task whose attempts are spent, for this reason.
    Dead(String),
}

impl InboxItem {
    /// Returns what waits for a person in a task, which is shown in the state `status`.
    pub(crate) fn of(task: &TaskText<'_>, status: &Status, now: Time) -> Vec<Self> {
        let item = |since, matter| Self {
            since,
            task_id: task.id.clone(),
            lane: LaneName::stored(task.spec.lane.decode()),
            matter,
        };
        match status {
            Status::Failed { at, class: FailureClass::Dead, reason, .. } if task.retried_as.is_none() => {
                return vec![item(*at, InboxMatter::Dead(reason.clone()))];
            }
            status if status.is_terminal() => return Vec::new(),
            _ => {}
        }
        let open = task.questions().into_iter().filter(|question| question.is_open(now));
        open.map(|question| item(question.asked_at, InboxMatter::Question(question))).collect()
    }

    /// Returns the item as other programs see it.
    pub(crate) fn to_object(&self) -> Object {
        let mut object = match &self.matter {
            InboxMatter::Question(question) => question.to_object(),
            InboxMatter::Dead(reason) => {
                let mut object = Object::new();
                object.insert("reason".into(), reason.clone().into());
                object
            }
        };
        object.insert("kind".into(), self.kind().into());
        object.insert("task_id".into(), self.task_id.as_str().into());
        object.insert("lane".into(), (&self.lane).into());
        object.insert("since".into(), self.since.to_string().into());
        object
    }

    /// Returns the word for what a person has to do.
    pub(crate) fn kind(&self) -> &'static str {
        match self.matter {
            InboxMatter::Question(_) => "question",
            InboxMatter::Dead(_) => "dead",
        }
    }

    /// Returns the text that a person reads.
    pub(crate) fn text(&self) -> &str {
        match &self.matter {
            InboxMatter::Question(question) => &question.text,
            InboxMatter::Dead(reason) => reason,
        }
    }
}
