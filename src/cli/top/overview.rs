//! What `lanes top` shows of a queue, read once and then kept up to date.
//!
//! All tasks are read at the beginning. After that, the feed names those that have changed. Other implementations
//! leave no entry in it, and time alone changes a task too, so that open tasks are also read again now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::{FailureClass, Now, Status, TaskId, TaskText, Time};
use crate::store::{FeedCursor, RegisteredRun, ShownStates, Store};
use crate::workspace::{AttentionItem, AttentionKind, TaskConcern, TaskConcerns, attention};

/// How many of the ended tasks are shown.
const MOST_ENDED: usize = 200;

/// About how many entries of the feed are read at once.
const FEED_BATCH: usize = 1000;

/// How long the open tasks are left alone at least, by which factor of the time that reading them takes, and at most: a
/// terminal that is left open costs next to nothing.
const MIN_REREAD_INTERVAL: Duration = Duration::from_secs(2);
const REREAD_FACTOR: u32 = 4000;
const MAX_REREAD_INTERVAL: Duration = Duration::from_secs(60);

/// A queue as it is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct QueueOverview {
    /// What needs a person, by kind, and the oldest of a kind at the top.
    pub attention: Vec<AttentionRow>,
    /// The claimed tasks, the one that was claimed first at the top.
    pub running: Vec<RunningRow>,
    /// The lanes with tasks, workers or a pause, by name.
    pub lanes: Vec<LaneRow>,
    /// The tasks that ended last, the newest at the top.
    pub ended: Vec<EndedRow>,
}

/// A lane as it is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LaneRow {
    pub name: String,
    pub queued: u64,
    pub scheduled: u64,
    pub blocked: u64,
    pub asking: u64,
    pub running: u64,
    pub completed: u64,
    pub failed: u64,
    pub workers: u64,
    pub is_paused: bool,
}

/// A claimed task as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RunningRow {
    pub id: String,
    pub lane: String,
    pub title: String,
    /// The vendor of the run, or else the owner of the claim.
    pub worker: String,
    pub attempt: u32,
    pub max_attempts: Option<u32>,
    pub since: Time,
    pub lease_expires_at: Time,
}

/// Something that needs a person.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AttentionRow {
    /// The task that it is about, or the last one of several, if any.
    pub id: Option<String>,
    /// The lane that it is about, if any.
    pub lane: Option<String>,
    /// What it is, in a few words.
    pub kind: &'static str,
    pub text: String,
    /// Since when, if that is known.
    pub since: Option<Time>,
}

/// A task that has ended, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EndedRow {
    pub id: String,
    pub lane: String,
    pub title: String,
    /// Its state, for a failed task with the class of the failure.
    pub outcome: String,
    pub is_failed: bool,
    pub at: Time,
}

/// A task as it was read last.
struct FollowedTask {
    lane: String,
    state: String,
    status: FollowedStatus,
    concern: Option<TaskConcern>,
}

/// What is shown of a task in its state, and else only counted.
enum FollowedStatus {
    Running(RunningRow),
    Ended(EndedRow),
    Waiting,
}

impl FollowedTask {
    fn of(task: &TaskText<'_>, shown: &ShownStates<'_>, now: &Now) -> Self {
        let (id, lane) = (task.id.to_string(), task.spec.lane.decode().into_owned());
        let shown_status = shown.status_of(task);
        let concern = TaskConcern::of(task, &shown_status, now);
        let state = match task.is_cancelled() {
            true => FailureClass::Cancelled.as_str().to_string(),
            false => shown_status.as_str().to_string(),
        };
        let status = match shown_status {
            Status::Claimed(claim) => {
                let whole = task.to_task();
                FollowedStatus::Running(RunningRow {
                    id,
                    lane: lane.clone(),
                    title: task.title(),
                    worker: claim.owner.to_string(),
                    attempt: whole.attempt,
                    max_attempts: whole.spec.max_attempts,
                    since: claim.claimed_at,
                    lease_expires_at: claim.lease_expires_at,
                })
            }
            Status::Completed { at, .. } => FollowedStatus::Ended(EndedRow {
                id,
                lane: lane.clone(),
                title: task.title(),
                outcome: "completed".to_string(),
                is_failed: false,
                at,
            }),
            Status::Failed { at, class, .. } => {
                let outcome = match class.as_str() {
                    "error" => "failed".to_string(),
                    class => format!("failed ({class})"),
                };
                FollowedStatus::Ended(EndedRow {
                    id,
                    lane: lane.clone(),
                    title: task.title(),
                    outcome,
                    is_failed: true,
                    at,
                })
            }
            _ => FollowedStatus::Waiting,
        };
        Self { lane, state, status, concern }
    }

    fn is_open(&self) -> bool {
        !matches!(self.status, FollowedStatus::Ended(_))
    }
}

/// The tasks of a store, followed.
pub(super) struct FollowedQueue {
    tasks: BTreeMap<String, FollowedTask>,
    cursor: FeedCursor,
    reread_at: Instant,
}

impl FollowedQueue {
    /// Reads all tasks.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn read(store: &Store) -> Result<Self> {
        let cursor = FeedCursor::after(store.feed_end()?);
        let mut followed = Self { tasks: BTreeMap::new(), cursor, reread_at: Instant::now() };
        followed.read_tasks(store, &store.task_names()?);
        Ok(followed)
    }

    /// Reads what has changed.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn follow(&mut self, store: &Store) -> Result<()> {
        let mut changed = BTreeSet::new();
        loop {
            let missed = store.feed_start()?.is_some_and(|start| start > self.cursor.seq() + 1);
            let entries = store.feed_after(&mut self.cursor, FEED_BATCH)?;
            if missed && !entries.is_empty() {
                *self = Self::read(store)?;
                return Ok(());
            }
            if entries.is_empty() {
                break;
            }
            changed.extend(entries.into_iter().map(|entry| entry.task_id.to_string()));
        }
        if Instant::now() >= self.reread_at {
            let begin = Instant::now();
            let names = store.task_names()?;
            // A new task, and one that was removed, shows in the names.
            let there: BTreeSet<&String> = names.iter().collect();
            self.tasks.retain(|name, _| there.contains(name));
            changed.extend(names.iter().filter(|name| !self.tasks.contains_key(*name)).cloned());
            changed
                .extend(self.tasks.iter().filter(|(_, task)| task.is_open()).map(|(name, _)| name.clone()));
            self.read_tasks(store, &changed.into_iter().collect::<Vec<_>>());
            let interval = begin.elapsed() * REREAD_FACTOR;
            self.reread_at = Instant::now() + interval.clamp(MIN_REREAD_INTERVAL, MAX_REREAD_INTERVAL);
        } else {
            self.read_tasks(store, &changed.into_iter().collect::<Vec<_>>());
        }
        Ok(())
    }

    /// Reads these tasks. One that is gone or cannot be read is left out; `lanes fsck` reports it.
    fn read_tasks(&mut self, store: &Store, names: &[String]) {
        let (now, shown) = (store.now(), store.shown_states());
        for name in names {
            self.tasks.remove(name);
        }
        store.scan_names(names, |task| FollowedTask::of(task, &shown, &now), &mut |name, task| {
            if let Ok(task) = task {
                self.tasks.insert(name.to_string(), task);
            }
            ControlFlow::Continue(())
        });
    }

    /// Returns what is shown now.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn overview(&self, store: &Store) -> Result<QueueOverview> {
        let workers = store.live_workers()?;
        let runs: BTreeMap<TaskId, RegisteredRun> = workers.iter().flat_map(|worker| worker.runs()).collect();
        let mut lanes: BTreeMap<String, LaneRow> = BTreeMap::new();
        let (mut overview, mut ended) = (QueueOverview::default(), Vec::new());
        let mut concerns = TaskConcerns::default();
        for task in self.tasks.values() {
            match lanes.get_mut(&task.lane) {
                Some(lane) => lane.add(&task.state),
                None => lanes.entry(task.lane.clone()).or_default().add(&task.state),
            }
            match &task.status {
                FollowedStatus::Running(row) => overview.running.push(with_vendor(row, &runs)),
                FollowedStatus::Ended(row) => ended.push(row),
                FollowedStatus::Waiting => {}
            }
            task.concern.iter().for_each(|concern| concerns.add(concern.clone()));
        }
        ended.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
        overview.ended = ended.into_iter().take(MOST_ENDED).cloned().collect();
        for lane in workers.iter().flat_map(|worker| &worker.lanes) {
            lanes.entry(lane.to_string()).or_default().workers += 1;
        }
        for lane in store.paused()?.keys() {
            lanes.entry(lane.to_string()).or_default().is_paused = true;
        }
        for (name, lane) in &mut lanes {
            lane.name.clone_from(name);
        }
        overview.attention = attention(store, &concerns)?.iter().map(attention_row).collect();
        overview.lanes = lanes.into_values().collect();
        overview.running.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        Ok(overview)
    }
}

impl LaneRow {
    fn add(&mut self, state: &str) {
        let count = match state {
            "queued" => &mut self.queued,
            "scheduled" => &mut self.scheduled,
            "blocked" => &mut self.blocked,
            "input_required" => &mut self.asking,
            "claimed" => &mut self.running,
            "completed" => &mut self.completed,
            "failed" => &mut self.failed,
            // A cancelled task, or a state of a newer version.
            _ => return,
        };
        *count += 1;
    }
}

/// Returns a running task with the vendor of its run, if a dispatcher runs it.
fn with_vendor(row: &RunningRow, runs: &BTreeMap<TaskId, RegisteredRun>) -> RunningRow {
    let run = TaskId::parse(&row.id).ok().and_then(|id| runs.get(&id));
    RunningRow { worker: run.map_or_else(|| row.worker.clone(), |run| run.vendor.clone()), ..row.clone() }
}

fn attention_row(item: &AttentionItem) -> AttentionRow {
    AttentionRow {
        id: item.task_id.as_ref().map(TaskId::to_string),
        lane: item.lane.as_ref().map(|lane| lane.to_string()),
        kind: match item.kind {
            AttentionKind::Question => "question",
            AttentionKind::DeadLetter => "dead",
            AttentionKind::Cooldown => "cooldown",
            AttentionKind::PausedLane => "paused",
            AttentionKind::UnservedLane => "unserved",
            AttentionKind::UnreadyProgram => "unready",
            AttentionKind::Budget => "budget",
            AttentionKind::ExpiredWait => "expired",
        },
        text: item.text.clone(),
        since: item.since,
    }
}
