//! Waits until tasks are answered or can be claimed, with heartbeats.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::args::WaitTiming;
use super::context::CommandContext;
use super::table::shorten;
use super::view::{lease_expired, next_action};
use crate::error::{Error, Result, printable};
use crate::model::{LaneName, Now, Question, Response, Status, Task, TaskId, Time};
use crate::store::Store;

/// A task that was answered.
pub(super) struct AnsweredTask {
    /// The task.
    pub task: Task,
    /// Its answer.
    pub response: Response,
}

/// What a wait for answers waits for.
#[derive(Clone, Copy)]
pub(super) struct WaitGoal {
    /// One of the tasks suffices.
    pub any: bool,
    /// An open question of one of them ends the wait too.
    pub or_question: bool,
}

/// The end of a wait for answers.
pub(super) struct WaitedAnswers {
    /// The tasks that were answered, in the order in which they were given.
    pub answered: Vec<AnsweredTask>,
    /// The tasks that were not.
    pub pending: Vec<TaskId>,
    /// The task whose open question ended the wait, and the question.
    pub asking: Option<(TaskId, Question)>,
}

/// Waits until all of `ids` are answered, or any one of them, or, if that is wanted, one has an open question. At the
/// timeout, returns the answers so far and the ids that are not answered. `verb` names the command in heartbeats.
pub(super) fn wait_for_answers(
    context: &CommandContext,
    store: &Store,
    ids: &[TaskId],
    goal: WaitGoal,
    verb: &str,
    mut timing: WaitTiming,
) -> Result<WaitedAnswers> {
    let mut watch = store.watch_tasks_until_exit(ids);
    let mut pending: Vec<TaskId> = ids.to_vec();
    let mut answered = Vec::new();
    let mut asking = None;
    let mut noted_unserved = false;
    let mut noted_questions = BTreeSet::new();
    loop {
        let mut open = Vec::new();
        for id in std::mem::take(&mut pending) {
            let task = store.read_settled(&id)?;
            if task.status.is_terminal() {
                answered.push(with_response(store, task)?);
            } else {
                open.push(task);
            }
        }
        pending.extend(open.iter().map(|task| task.id.clone()));
        if pending.is_empty() || (goal.any && !answered.is_empty()) {
            break;
        }
        let questions = open_questions(&open, &store.now());
        if goal.or_question {
            asking = questions.into_iter().next().map(|(id, question)| (id.clone(), question.clone()));
            if asking.is_some() {
                break;
            }
        } else {
            note_questions(context, verb, &questions, &mut noted_questions);
        }
        if !noted_unserved {
            noted_unserved = note_if_unserved(context, store, verb, &open)?;
        }
        let over = timing.is_over();
        // The last heartbeat reports the state at the timeout.
        if timing.heartbeat_due() || (over && timing.has_heartbeat()) {
            for task in &open {
                context.out.note(&format!("lanes {verb}: {}", heartbeat(context, store, task)));
            }
        }
        if over {
            break;
        }
        watch.wait(timing.sleep_until(next_due(&open, &store.now())));
    }
    answered.sort_by_key(|answer| ids.iter().position(|id| *id == answer.task.id));
    Ok(WaitedAnswers { answered, pending, asking })
}

/// Returns the open questions of the tasks.
fn open_questions<'a>(open: &'a [Task], now: &Now) -> Vec<(&'a TaskId, &'a Question)> {
    let wall = now.wall;
    open.iter().flat_map(|task| task.open_questions(wall).map(|question| (&task.id, question))).collect()
}

/// Prints a line for each question that was not noted before.
fn note_questions(
    context: &CommandContext,
    verb: &str,
    questions: &[(&TaskId, &Question)],
    noted: &mut BTreeSet<(TaskId, u32)>,
) {
    for (id, question) in questions {
        if noted.insert(((*id).clone(), question.number)) {
            context.out.note(&format!(
                "lanes {verb}: {id} asks: {}; `lanes answer {id}` answers it",
                printable(&shorten(&question.text, 200))
            ));
        }
    }
}

fn with_response(store: &Store, task: Task) -> Result<AnsweredTask> {
    match store.response(&task)? {
        Some(response) => Ok(AnsweredTask { task, response }),
        None => {
            Err(Error::corrupt(format!("{} is {}, but its answer is gone", task.id, task.status.as_str()))
                .with_hint("`lanes fsck` shows what is left"))
        }
    }
}

/// Returns the time until the first of the tasks comes due by itself.
fn next_due(tasks: &[Task], now: &Now) -> Option<Duration> {
    let due = |task: &Task| -> Option<Time> {
        match &task.status {
            Status::Scheduled { until } => Some(*until),
            Status::Claimed(claim) => Some(
                task.questions_expire_at()
                    .map_or(claim.lease_expires_at, |at| at.min(claim.lease_expires_at)),
            ),
            Status::InputRequired => task.questions_expire_at(),
            _ => None,
        }
    };
    let deadlines = tasks.iter().filter_map(Task::start_deadline);
    let next = tasks.iter().filter_map(due).chain(deadlines).filter(|due| *due > now.wall).min()?;
    // One millisecond later, so that the task is due when it is read.
    Some(Duration::from_secs_f64(next.seconds_since(now.wall)) + Duration::from_millis(1))
}

/// Prints a note if a queued task waits in a lane without a worker; returns whether it did.
fn note_if_unserved(context: &CommandContext, store: &Store, verb: &str, open: &[Task]) -> Result<bool> {
    let Some(task) = open.iter().find(|task| task.status == Status::Queued) else { return Ok(false) };
    if store.lane_is_served(&task.spec.lane)? {
        return Ok(false);
    }
    context.out.note(&format!(
        "lanes {verb}: no live worker serves lane {}; {} waits until one claims it",
        task.spec.lane, task.id
    ));
    Ok(true)
}

/// Returns the heartbeat line of a waiting task, in the form that the protocol promises.
fn heartbeat(context: &CommandContext, store: &Store, task: &Task) -> String {
    let id = &task.id;
    let now = store.now();
    let Status::Claimed(claim) = &task.status else {
        return format!("task_id={id}; state={}; awaiting reviewer claim", task.status.as_str());
    };
    let last = context.last_event(store, task);
    let last_event =
        last.as_ref().map_or("none".to_string(), |event| format!("{}@{}", event.kind, event.created_at));
    format!(
        "task_id={id}; state={}; claim_owner={}; claimed_age_seconds={}; lease_expires_at={}; \
         lease_expired={}; response_path={}; response_exists={}; last_event={last_event}; next_action={}",
        task.status.as_str(),
        claim.owner,
        now.wall.seconds_since(claim.claimed_at) as i64,
        claim.lease_expires_at,
        lease_expired(task, &now),
        task.response_path,
        store.response_exists(task),
        next_action(task, &now, last.as_ref(), false),
    )
}

/// A wait that has slept this long checks immediately when it is woken.
const LONG_SLEEP: Duration = Duration::from_millis(100);

/// The longest delay between a wake-up and the check.
const MAX_CHECK_DELAY: Duration = Duration::from_millis(200);

/// Returns how long a wait delays its check when it is woken after having slept for `slept`; `last` is the
/// previous delay. Many processes that wait for other tasks of a busy lane and check after every change would take
/// processor time from the workers, so a wait that is woken repeatedly without success checks less often.
fn check_delay(last: Duration, slept: Duration) -> Duration {
    match slept < LONG_SLEEP {
        true => (last * 2).clamp(Duration::from_millis(1), MAX_CHECK_DELAY),
        false => Duration::ZERO,
    }
}

/// Waits until `find_task` returns a task of the lanes, or the wait times out.
pub(super) fn wait_for_task(
    context: &CommandContext,
    store: &Store,
    lanes: &[LaneName],
    verb: &str,
    mut timing: WaitTiming,
    mut find_task: impl FnMut() -> Result<Option<Task>>,
) -> Result<Option<Task>> {
    // A wait without time does not set up a watch.
    if timing.is_over() {
        return find_task();
    }
    let mut watch = store.watch_lanes_until_exit(lanes);
    let mut delay = Duration::ZERO;
    loop {
        match find_task() {
            Ok(Some(task)) => return Ok(Some(task)),
            outcome => {
                // A task directory that has been moved or replaced never shows a new task.
                store.check_in_place()?;
                outcome?;
            }
        }
        if timing.is_over() {
            return Ok(None);
        }
        if timing.heartbeat_due() {
            context.out.note(&format!("lanes {verb}: waiting for lane {}", lanes.join(", ")));
        }
        let now = store.now().wall;
        let due = store
            .next_due(lanes)
            .filter(|due| *due > now)
            .map(|due| Duration::from_secs_f64(due.seconds_since(now)) + Duration::from_millis(1));
        let (begin, until) = (Instant::now(), timing.sleep_until(due));
        let woken = watch.wait(until);
        delay = if woken { check_delay(delay, begin.elapsed()) } else { Duration::ZERO };
        std::thread::sleep(delay.min(until.saturating_duration_since(Instant::now())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_woken_without_success_checks_less_often_until_it_has_slept_long() {
        let mut delay = Duration::ZERO;
        let delays = [0, 0, 5, 99, 20, 0, 0, 0, 0, 0].map(|slept| {
            delay = check_delay(delay, Duration::from_millis(slept));
            delay.as_millis()
        });
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 200, 200]);
        assert_eq!(check_delay(delay, LONG_SLEEP), Duration::ZERO);
    }
}
