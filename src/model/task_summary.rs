//! A task in brief: what lists show of it, and what they select it by.

use std::sync::Arc;

use serde_json::Value;

use super::json::Object;
use super::json::raw::RawString;
use super::question::Question;
use super::task::Status;
use super::task_text::TaskText;
use super::task_title::title;
use super::time::Time;

/// The longest metadata that a summary keeps, in bytes.
const MAX_KEPT_METADATA: usize = 2048;

/// A task in brief.
///
/// A server keeps one of every task of a store, so equal names are shared ([`TaskSummary::share_names`]), and the long
/// texts can be given up ([`TaskSummary::forget_texts`]).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskSummary {
    /// The id.
    pub id: Arc<str>,
    /// Its name, or else the first line of its prompt, or else the end of its id.
    pub title: Box<str>,
    /// The lane.
    pub lane: Arc<str>,
    /// The name of its state.
    pub state: Arc<str>,
    /// The class of its failure, if it has failed.
    pub failure_class: Option<Arc<str>>,
    /// The number of attempts so far.
    pub attempt: u32,
    /// The number of attempts allowed, if there is a limit.
    pub max_attempts: Option<u32>,
    /// The priority.
    pub priority: i32,
    /// The worker that holds it or held it last.
    pub owner: Option<Arc<str>>,
    /// The vendor of its last run, as far as task.json tells it.
    pub vendor: Option<Arc<str>>,
    /// The labels.
    pub labels: Box<[Arc<str>]>,
    /// The group.
    pub group: Option<Arc<str>>,
    /// The time of the submit.
    pub created_at: Time,
    /// The time of the last change.
    pub updated_at: Time,
    /// The time of its last claim, if it is or ended under one.
    pub claimed_at: Option<Time>,
    /// The time of its end.
    pub ended_at: Option<Time>,
    /// The end of its lease, while it is claimed.
    pub lease_expires_at: Option<Time>,
    /// The first time at which it can be claimed, while it waits for that.
    pub not_before: Option<Time>,
    /// When the default of each question without an answer counts; `None` for a question without a default.
    pub questions: Box<[Option<Time>]>,
    /// The cost of its last run in US dollars, as far as task.json tells it.
    pub cost_usd: Option<f64>,
    /// The verdict of its answer.
    pub verdict: Option<Arc<str>>,
    /// The idempotency key.
    pub key: Option<Arc<str>>,
    /// Whether another task retries it.
    pub is_retried: bool,
    /// When its state may change by itself.
    pub changes_at: Option<Time>,
    /// Whether its state depends on what other tasks hold.
    pub waits_for_key: bool,
    /// Its name and its prompt in lower case; `None` if they are not kept.
    pub search_text: Option<Box<str>>,
    /// Its metadata as JSON text, empty without any; `None` if it is not kept.
    pub metadata: Option<Box<str>>,
}

impl TaskSummary {
    /// Returns a task in brief, which is shown in the state `status`.
    pub(crate) fn of(task: &TaskText<'_>, status: &Status) -> Self {
        let ended_at = match status {
            Status::Completed { at, .. } | Status::Failed { at, .. } => Some(*at),
            _ => None,
        };
        let not_before = match status {
            Status::Scheduled { until } | Status::Blocked { until: Some(until) } => Some(*until),
            _ => None,
        };
        let failure_class = match status {
            Status::Failed { class, .. } => Some(class.as_str().into()),
            _ => None,
        };
        let lease_expires_at = match status {
            Status::Claimed(claim) => Some(claim.lease_expires_at),
            _ => None,
        };
        let spec = &task.spec;
        let (name, prompt) = (spec.name.map(RawString::decode), spec.prompt.decode());
        let search_text = match &name {
            Some(name) => format!("{name}\n{prompt}").to_lowercase(),
            None => prompt.to_lowercase(),
        };
        let metadata = spec.metadata_text().filter(|text| *text != "{}").unwrap_or_default();
        let open = |question: &Question| {
            question.answer.is_none().then(|| question.default.as_ref().map(|default| default.expires_at))
        };
        let questions: Box<[Option<Time>]> = match status.is_terminal() {
            true => Box::default(),
            false => task.questions().iter().filter_map(open).collect(),
        };
        let deadline = spec.deadline.filter(|_| task.fence == 0 && !status.is_terminal());
        let expiry = questions.iter().flatten().max().copied().filter(|_| *status == Status::InputRequired);
        let run = task.run_facts();
        let shared = |text: RawString<'_>| Arc::from(&*text.decode());
        Self {
            id: task.id.as_str().into(),
            title: title(name.as_deref(), &prompt, task.id.as_str()).into(),
            lane: shared(spec.lane),
            state: status.as_str().into(),
            failure_class,
            attempt: task.attempt,
            max_attempts: spec.max_attempts,
            priority: spec.priority,
            owner: status.claim().map(|claim| claim.owner.as_str().into()),
            vendor: run.vendor.map(Into::into),
            labels: spec.label_texts().into_iter().map(Into::into).collect(),
            group: spec.group.map(shared),
            created_at: task.created_at,
            updated_at: task.updated_at,
            claimed_at: status.claim().map(|claim| claim.claimed_at),
            ended_at,
            lease_expires_at,
            not_before,
            questions,
            cost_usd: run.cost_usd,
            verdict: run.verdict.map(Into::into),
            key: spec.key.map(shared),
            is_retried: task.retried_as.is_some(),
            changes_at: [deadline, lease_expires_at, expiry].into_iter().flatten().min(),
            waits_for_key: spec.has_keys() && matches!(&*task.state(), "queued" | "blocked"),
            search_text: Some(search_text.into()),
            metadata: (metadata.len() <= MAX_KEPT_METADATA).then(|| metadata.into()),
        }
    }

    /// Returns the number of questions that have no answer at `now`.
    pub(crate) fn open_questions(&self, now: Time) -> usize {
        self.questions.iter().filter(|expires_at| expires_at.is_none_or(|at| now < at)).count()
    }

    /// Replaces each of its names by the equal one that `share` returns.
    pub(crate) fn share_names(&mut self, share: &mut dyn FnMut(&mut Arc<str>)) {
        share(&mut self.lane);
        share(&mut self.state);
        let some =
            [&mut self.failure_class, &mut self.owner, &mut self.vendor, &mut self.group, &mut self.verdict];
        some.into_iter().flatten().chain(&mut self.labels).for_each(share);
    }

    /// Returns how many bytes of long texts it keeps.
    pub(crate) fn kept_bytes(&self) -> usize {
        [&self.search_text, &self.metadata].into_iter().flatten().map(|text| text.len()).sum()
    }

    /// Gives up the long texts.
    pub(crate) fn forget_texts(&mut self) {
        (self.search_text, self.metadata) = (None, None);
    }

    /// Returns the summary as other programs see it.
    pub(crate) fn to_object(&self, now: Time) -> Object {
        let text = |text: &Option<Arc<str>>| text.as_deref().map_or(Value::Null, Value::from);
        let time = |time: Option<Time>| time.map_or(Value::Null, |time| time.to_string().into());
        let pairs: [(&str, Value); 21] = [
            ("id", (&*self.id).into()),
            ("title", (&*self.title).into()),
            ("lane", (&*self.lane).into()),
            ("state", (&*self.state).into()),
            ("failure_class", text(&self.failure_class)),
            ("attempt", self.attempt.into()),
            ("max_attempts", self.max_attempts.into()),
            ("priority", self.priority.into()),
            ("owner", text(&self.owner)),
            ("vendor", text(&self.vendor)),
            ("labels", self.labels.iter().map(|label| &**label).collect()),
            ("group", text(&self.group)),
            ("created_at", time(Some(self.created_at))),
            ("updated_at", time(Some(self.updated_at))),
            ("claimed_at", time(self.claimed_at)),
            ("ended_at", time(self.ended_at)),
            ("lease_expires_at", time(self.lease_expires_at)),
            ("not_before", time(self.not_before)),
            ("open_questions", self.open_questions(now).into()),
            ("cost_usd", self.cost_usd.into()),
            ("verdict", text(&self.verdict)),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_null() {
        let text = r#"{"id": "a", "correlation_id": "c", "workspace_id": "w", "workspace_root": "/", "lane": "l",
            "request_path": "", "request_sha256": "", "response_path": "", "state": "queued", "labels": ["x"],
            "created_at": "2026-11-21T07:00:00Z", "updated_at": "2026-11-21T07:00:00Z", "prompt": "Fix IT",
            "metadata": {"a": 1}}"#;
        let summary = TaskText::read(text.as_bytes(), |task| TaskSummary::of(task, &task.status())).unwrap();
        let object = summary.to_object(Time::from_micros(0));
        let keys: Vec<&str> =
            object.iter().filter(|(_, value)| value.is_null()).map(|(key, _)| &**key).collect();
        let unknown = [
            "claimed_at",
            "cost_usd",
            "ended_at",
            "failure_class",
            "group",
            "lease_expires_at",
            "max_attempts",
            "not_before",
            "owner",
            "vendor",
            "verdict",
        ];
        assert_eq!(keys, unknown);
        assert_eq!((&object["title"], &object["open_questions"]), (&"Fix IT".into(), &0.into()));
        assert_eq!(summary.search_text.as_deref(), Some("fix it"));
        assert_eq!(summary.metadata.as_deref(), Some("{\"a\": 1}"));
    }
}
