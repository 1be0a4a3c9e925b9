//! What needs a person: questions, dead letters, and whatever keeps tasks from being worked on.
//!
//! The sentences are those of `why`, so that an overview and a task say the same.

use std::collections::BTreeMap;

use serde_json::Value;

use super::why;
use crate::error::{Result, shell_word};
use crate::model::inbox::{InboxItem, InboxMatter};
use crate::model::json::Object;
use crate::model::{FailureClass, LaneName, Now, Status, TaskId, TaskText, Time};
use crate::store::{ReadyTasks, Store, WorkerInfo, WorkerKind};

/// What kind of thing needs a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AttentionKind {
    /// A question of a worker is open.
    Question,
    /// Tasks are dead, and nobody has retried them.
    DeadLetter,
    /// A vendor, or one of its models, is not used for a while.
    Cooldown,
    /// A lane is paused.
    PausedLane,
    /// Tasks of a lane can be claimed, and nobody claims them.
    UnservedLane,
    /// A dispatcher skips a lane, because something is missing.
    UnreadyProgram,
    /// A lane waits for a budget.
    Budget,
    /// Tasks were not started by their deadline.
    ExpiredWait,
}

/// One thing that needs a person.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AttentionItem {
    /// Its kind.
    pub kind: AttentionKind,
    /// What it is, in the words of `lanes why`.
    pub text: String,
    /// The command that a person may run.
    pub command: Option<String>,
    /// The task, or the last one of several.
    pub task_id: Option<TaskId>,
    /// The lane.
    pub lane: Option<LaneName>,
    /// The vendor.
    pub vendor: Option<String>,
    /// The group of the task.
    pub group: Option<String>,
    /// The number of tasks.
    pub count: u64,
    /// Since when.
    pub since: Option<Time>,
    /// Until when, if it ends by itself.
    pub until: Option<Time>,
}

/// What the tasks of a store need a person for: each question, and for every lane the tasks that are dead or expired.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskConcerns {
    questions: Vec<TaskConcern>,
    ended: BTreeMap<(AttentionKind, LaneName), EndedTasks>,
}

/// The tasks of a lane that have ended in the same way.
#[derive(Clone, Debug)]
struct EndedTasks {
    count: u64,
    /// When the first of them ended.
    since: Time,
    last: TaskConcern,
}

/// A task that needs a person.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskConcern {
    kind: AttentionKind,
    text: String,
    task_id: TaskId,
    lane: LaneName,
    group: Option<String>,
    count: u64,
    since: Time,
    until: Option<Time>,
}

impl AttentionKind {
    /// Returns the word in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::DeadLetter => "dead_letter",
            Self::Cooldown => "cooldown",
            Self::PausedLane => "paused_lane",
            Self::UnservedLane => "unserved_lane",
            Self::UnreadyProgram => "unready_program",
            Self::Budget => "budget",
            Self::ExpiredWait => "expired_wait",
        }
    }
}

impl TaskConcern {
    /// Returns what a task, which is shown in the state `status`, needs a person for, if anything.
    pub(crate) fn of(task: &TaskText<'_>, status: &Status, now: &Now) -> Option<Self> {
        let group = task.spec.group.map(|group| group.decode().into_owned());
        let concern = |kind, text, count, since, until| Self {
            kind,
            text,
            task_id: task.id.clone(),
            lane: task.spec.lane_name(),
            group,
            count,
            since,
            until,
        };
        if status.is_terminal() {
            let Status::Failed { at, class, reason, .. } = status else { return None };
            let kind = match class {
                FailureClass::Dead => AttentionKind::DeadLetter,
                FailureClass::Expired => AttentionKind::ExpiredWait,
                _ => return None,
            };
            let sentence = || why::failed_sentence(reason, None, &task.id);
            return task.retried_as.is_none().then(|| concern(kind, sentence(), 1, *at, None));
        }
        let items = InboxItem::of(task, status, now.wall);
        if let Some(first) = items.first() {
            let text = why::input_reason(&task.to_task(), now.wall).sentence;
            let until = match &first.matter {
                InboxMatter::Question(question) => {
                    question.default.as_ref().map(|default| default.expires_at)
                }
                InboxMatter::Dead(_) => None,
            };
            return Some(concern(AttentionKind::Question, text, items.len() as u64, first.since, until));
        }
        None
    }
}

impl AttentionItem {
    fn new(kind: AttentionKind, text: String) -> Self {
        Self {
            kind,
            text,
            command: None,
            task_id: None,
            lane: None,
            vendor: None,
            group: None,
            count: 1,
            since: None,
            until: None,
        }
    }

    /// Returns it as other programs see it.
    pub(crate) fn to_object(&self) -> Object {
        let time = |time: Option<Time>| time.map_or(Value::Null, |time| time.to_string().into());
        let pairs: [(&str, Value); 10] = [
            ("kind", self.kind.as_str().into()),
            ("text", self.text.clone().into()),
            ("command", self.command.clone().into()),
            ("task_id", self.task_id.as_ref().map(TaskId::as_str).into()),
            ("lane", self.lane.as_ref().map(LaneName::as_str).into()),
            ("vendor", self.vendor.clone().into()),
            ("group", self.group.clone().into()),
            ("count", self.count.into()),
            ("since", time(self.since)),
            ("until", time(self.until)),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
    }
}

/// Returns everything that needs a person, by kind, and within a kind what has waited longest first. `concerns` are those
/// of all tasks. A file of pauses or budgets that cannot be read is an item itself: it keeps tasks from being claimed.
///
/// # Errors
/// The error of the store, when its workers or its index cannot be read.
pub(crate) fn attention(store: &Store, concerns: &TaskConcerns) -> Result<Vec<AttentionItem>> {
    let mut items: Vec<AttentionItem> = concerns.items().collect();
    let cooldowns = readable(&mut items, AttentionKind::Cooldown, store.active_cooldowns());
    for cooldown in cooldowns.values() {
        items.push(AttentionItem {
            command: why::resume_command(cooldown),
            vendor: Some(cooldown.scope.account_key.to_string()),
            since: Some(cooldown.since),
            until: why::end_of(cooldown),
            ..AttentionItem::new(AttentionKind::Cooldown, why::cooldown_sentence(cooldown, ""))
        });
    }
    // A store that cannot be written may have no index that counts; the rest is useful without it.
    let ready = store.lanes_with_ready_tasks().unwrap_or_default();
    let paused = readable(&mut items, AttentionKind::PausedLane, store.paused());
    for (lane, pause) in &paused {
        items.push(AttentionItem {
            command: Some(format!("lanes resume {}", shell_word(lane.as_str()))),
            lane: Some(lane.clone()),
            count: count_of(&ready, lane),
            since: Some(pause.since),
            ..AttentionItem::new(AttentionKind::PausedLane, why::paused_sentence(lane, pause))
        });
    }
    let workers = store.live_workers()?;
    for (lane, tasks) in ready.iter().filter(|(lane, tasks)| tasks.count > 0 && !paused.contains_key(*lane)) {
        // A worker that is stopped or leaves needs what its sentence says.
        let (text, command) = match store.lane_is_served(lane)? {
            true => (why::nobody_claims(store, lane)?.map(|reason| reason.sentence), None),
            false => (Some(why::unserved_sentence(lane)), Some(why::worker_command(lane))),
        };
        items.extend(text.map(|text| AttentionItem {
            command,
            lane: Some(lane.clone()),
            count: tasks.count,
            since: Some(tasks.since),
            ..AttentionItem::new(AttentionKind::UnservedLane, text)
        }));
    }
    items.extend(unready_lanes(&workers, &ready));
    let now = store.now().wall;
    let spending = readable(&mut items, AttentionKind::Budget, store.recorded_spending());
    for (lane, over) in spending.over.into_iter().filter(|(_, over)| over.until > now) {
        let lane = LaneName::stored(lane);
        let text = why::budget_sentence(&lane, &over);
        items.push(AttentionItem {
            until: over.is_spent.then_some(over.until),
            count: count_of(&ready, &lane),
            lane: Some(lane),
            ..AttentionItem::new(AttentionKind::Budget, text)
        });
    }
    items.sort_by_key(|item| (item.kind, item.since.is_none(), item.since));
    Ok(items)
}

/// Returns the number of claimable tasks of a lane.
fn count_of(ready: &BTreeMap<LaneName, ReadyTasks>, lane: &LaneName) -> u64 {
    ready.get(lane).map_or(0, |tasks| tasks.count)
}

/// Returns what was read; what could not be read becomes an item.
fn readable<T: Default>(items: &mut Vec<AttentionItem>, kind: AttentionKind, read: Result<T>) -> T {
    read.unwrap_or_else(|error| {
        items.push(AttentionItem::new(kind, error.to_string()));
        T::default()
    })
}

impl TaskConcerns {
    /// Adds a task.
    pub(crate) fn add(&mut self, concern: TaskConcern) {
        if concern.kind == AttentionKind::Question {
            return self.questions.push(concern);
        }
        match self.ended.get_mut(&(concern.kind, concern.lane.clone())) {
            None => {
                let tasks = EndedTasks { count: 1, since: concern.since, last: concern.clone() };
                self.ended.insert((concern.kind, concern.lane), tasks);
            }
            Some(tasks) => {
                tasks.count += 1;
                tasks.since = tasks.since.min(concern.since);
                if concern.since >= tasks.last.since {
                    tasks.last = concern;
                }
            }
        }
    }

    fn items(&self) -> impl Iterator<Item = AttentionItem> {
        let questions = self.questions.iter().map(|concern| AttentionItem {
            command: Some(format!("lanes answer {}", concern.task_id)),
            count: concern.count,
            until: concern.until,
            ..of_task(concern)
        });
        questions.chain(self.ended.iter().map(|((kind, lane), tasks)| of_ended(*kind, lane, tasks)))
    }
}

/// Returns the item about the tasks of a lane that are dead or expired.
fn of_ended(kind: AttentionKind, lane: &LaneName, tasks: &EndedTasks) -> AttentionItem {
    let EndedTasks { count, since, last } = tasks;
    let one = of_task(last);
    if *count == 1 {
        return AttentionItem { command: Some(format!("lanes retry {}", last.task_id)), ..one };
    }
    let (what, command) = match kind {
        AttentionKind::DeadLetter => {
            ("are dead", Some(format!("lanes redrive --lane {}", shell_word(lane.as_str()))))
        }
        _ => ("were not started by their deadlines", None),
    };
    AttentionItem {
        text: format!("{count} tasks of lane {lane} {what}; the last of them {}", last.text),
        command,
        group: None,
        count: *count,
        since: Some(*since),
        ..one
    }
}

fn of_task(concern: &TaskConcern) -> AttentionItem {
    AttentionItem {
        task_id: Some(concern.task_id.clone()),
        lane: Some(concern.lane.clone()),
        group: concern.group.clone(),
        since: Some(concern.since),
        ..AttentionItem::new(concern.kind, concern.text.clone())
    }
}

/// Returns what each dispatcher needs for the lanes that it skips.
fn unready_lanes<'a>(
    workers: &'a [WorkerInfo],
    ready: &'a BTreeMap<LaneName, ReadyTasks>,
) -> impl Iterator<Item = AttentionItem> + 'a {
    workers.iter().filter(|worker| worker.kind == WorkerKind::Dispatcher).flat_map(move |worker| {
        worker.unready_lanes().into_iter().map(move |(lane, missing)| AttentionItem {
            vendor: worker.vendors_for_lane(&lane, None).into_iter().next().map(|(vendor, _)| vendor),
            count: count_of(ready, &lane),
            since: ready.get(&lane).map(|tasks| tasks.since),
            lane: Some(lane.clone()),
            ..AttentionItem::new(
                AttentionKind::UnreadyProgram,
                why::unready_sentence(&worker.owner, &lane, &missing),
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concern(kind: AttentionKind, id: &str, lane: &str, second: i64) -> TaskConcern {
        TaskConcern {
            kind,
            text: format!("failed ({id})"),
            task_id: TaskId::parse(id).unwrap(),
            lane: LaneName::stored(lane),
            group: Some("g".to_string()),
            count: 1,
            since: Time::from_micros(second * 1_000_000),
            until: None,
        }
    }

    #[test]
    fn dead_letters_of_a_lane_are_one_item_and_questions_are_each_their_own() {
        let mut concerns = TaskConcerns::default();
        let all = [
            concern(AttentionKind::Question, "q1", "work", 1),
            concern(AttentionKind::Question, "q2", "work", 2),
            concern(AttentionKind::DeadLetter, "d1", "a lane", 3),
            concern(AttentionKind::DeadLetter, "d3", "a lane", 5),
            concern(AttentionKind::DeadLetter, "d2", "a lane", 4),
            concern(AttentionKind::DeadLetter, "e1", "work", 6),
            concern(AttentionKind::ExpiredWait, "x1", "work", 7),
        ];
        all.into_iter().for_each(|concern| concerns.add(concern));
        let items: Vec<AttentionItem> = concerns.items().collect();
        let brief: Vec<(&str, Option<&str>, u64)> =
            items.iter().map(|item| (item.text.as_str(), item.command.as_deref(), item.count)).collect();
        assert_eq!(
            brief,
            [
                ("failed (q1)", Some("lanes answer q1"), 1),
                ("failed (q2)", Some("lanes answer q2"), 1),
                (
                    "3 tasks of lane a lane are dead; the last of them failed (d3)",
                    Some("lanes redrive --lane 'a lane'"),
                    3
                ),
                ("failed (e1)", Some("lanes retry e1"), 1),
                ("failed (x1)", Some("lanes retry x1"), 1),
            ]
        );
        assert_eq!(items[2].since, Some(Time::from_micros(3_000_000)));
        assert_eq!((items[2].group.as_deref(), items[3].group.as_deref()), (None, Some("g")));
    }

    #[test]
    fn json_has_every_key() {
        let object = AttentionItem::new(AttentionKind::Budget, "t".to_string()).to_object();
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        let mut expected =
            ["kind", "text", "command", "task_id", "lane", "vendor", "group", "count", "since", "until"];
        expected.sort_unstable();
        let mut sorted = keys;
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
    }
}
