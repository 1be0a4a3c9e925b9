//! Waits until tasks are answered or can be claimed, with heartbeats.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::args::WaitTiming;
use super::context::CommandContext;
use super::output::{Output, WaitLine};
use super::text_format::{SHORTEST_ID, count, end_of_id, format_duration, shorten, with_short_ids};
use super::view::{lease_expired, next_action};
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::{LaneName, Now, Question, Response, Status, Task, TaskId, Time};
use crate::store::{Store, Watch};
use crate::workspace::{DISPATCHER_GONE, DeadDispatchers, why};

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
    /// A task that is retried during the wait is replaced by its newest successor.
    pub follows_retries: bool,
}

impl WaitGoal {
    /// Returns whether enough of the tasks are answered.
    fn is_reached(self, pending: &[TaskId], answered: &[AnsweredTask]) -> bool {
        pending.is_empty() || (self.any && !answered.is_empty())
    }
}

/// Returns whether an error means that the server of the store cannot be reached at the moment.
fn is_outage(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable
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

/// Reading more tasks than this is not repeated for each of them that ends.
const MANY_TASKS: usize = 100;
/// The part of its time that such a wait spends reading is one in this many at most.
const READING_SHARE: u32 = 5;
/// With more open tasks than this, heartbeats tell how many are in which state.
const MAX_HEARTBEATS: usize = 20;

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
    let mut places: HashMap<TaskId, usize> =
        ids.iter().enumerate().map(|(at, id)| (id.clone(), at)).collect();
    let mut pending: Vec<TaskId> = ids.to_vec();
    let mut answered = Vec::new();
    let mut asking = None;
    let mut noted_unserved = false;
    let mut noted_questions = BTreeSet::new();
    let line = WaitLine::new(&context.out);
    let mut outage = Outage::default();
    loop {
        let begun = Instant::now();
        let open = match read_pending(store, &mut pending, &mut answered) {
            Ok(open) => open,
            Err(error) => {
                if !outage.sleep(context, verb, error, &line, &mut watch, &timing)? {
                    break;
                }
                continue;
            }
        };
        outage.end(context, verb);
        if goal.is_reached(&pending, &answered) {
            if goal.follows_retries {
                pending.extend(take_retried(store, &mut answered, &mut places)?);
            }
            if goal.is_reached(&pending, &answered) {
                break;
            }
            watch = store.watch_tasks_until_exit(&pending);
            continue;
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
        let over = timing.is_over();
        let mut until = timing.sleep_until(next_due(&open, &store.now()));
        if line.is_shown() {
            until = until.min(Instant::now() + LINE_SECONDS);
        } else {
            if !noted_unserved {
                // An outage of the server is noted by the next read.
                noted_unserved = note_if_unserved(context, store, verb, &open)
                    .or_else(|error| if is_outage(&error) { Ok(false) } else { Err(error) })?;
            }
            // The last heartbeat reports the state at the timeout.
            if timing.heartbeat_due() || (over && timing.has_heartbeat()) {
                print_heartbeats(context, store, verb, &open);
            }
        }
        if over {
            break;
        }
        let took = begun.elapsed();
        let mut reason = None;
        line.sleep(&mut watch, until, |lasted| {
            let reason = reason.get_or_insert_with(|| shown_reason(store, &open));
            format!("waiting for {}", shown_wait(store, &open, reason, lasted))
        });
        let next = begun + least_interval(open.len(), took);
        std::thread::sleep(next.min(until).saturating_duration_since(Instant::now()));
    }
    answered.sort_by_key(|answer| places.get(&answer.task.id).copied());
    Ok(WaitedAnswers { answered, pending, asking })
}

/// Returns the least time from one reading of so many tasks to the next, when it took so long. The answer to a few tasks is
/// never late, however long a busy machine takes to read them.
fn least_interval(tasks: usize, took: Duration) -> Duration {
    if tasks > MANY_TASKS { took * READING_SHARE } else { Duration::ZERO }
}

/// Removes the answers of the tasks that were retried meanwhile, and returns those of their newest successors that have
/// no place in the wait yet; they get the last ones.
fn take_retried(
    store: &Store,
    answered: &mut Vec<AnsweredTask>,
    places: &mut HashMap<TaskId, usize>,
) -> Result<Vec<TaskId>> {
    let mut successors = Vec::new();
    for answer in std::mem::take(answered) {
        let id = &answer.task.id;
        let has_failed = matches!(answer.task.status, Status::Failed { .. });
        let newest = if has_failed { store.newest_successor(id)? } else { id.clone() };
        if newest == *id {
            answered.push(answer);
        } else if !places.contains_key(&newest) {
            places.insert(newest.clone(), places.len());
            successors.push(newest);
        }
    }
    Ok(successors)
}

/// Reads the tasks that are waited for, and moves those that have ended to `answered`. Returns the others.
fn read_pending(
    store: &Store,
    pending: &mut Vec<TaskId>,
    answered: &mut Vec<AnsweredTask>,
) -> Result<Vec<Task>> {
    let mut open = Vec::new();
    let mut rest = std::mem::take(pending).into_iter();
    while let Some(id) = rest.next() {
        let read = store.read_settled(&id).and_then(|task| {
            if task.status.is_terminal() {
                answered.push(with_response(store, task)?);
            } else {
                open.push(task);
            }
            Ok(())
        });
        if let Err(error) = read {
            // Nothing is lost if the store cannot be reached in the middle.
            pending.extend(open.into_iter().map(|task| task.id).chain([id]).chain(rest));
            return Err(error);
        }
    }
    pending.extend(open.iter().map(|task| task.id.clone()));
    Ok(open)
}

/// The time in which a wait cannot reach the server of its store. It goes on waiting, since the work goes on.
#[derive(Default)]
struct Outage {
    is_noted: bool,
}

impl Outage {
    /// Sleeps a moment, if the error is that of an outage, and says once what is wrong. Returns whether to try again.
    ///
    /// # Errors
    /// Any other error.
    fn sleep(
        &mut self,
        context: &CommandContext,
        verb: &str,
        error: Error,
        line: &WaitLine,
        watch: &mut Watch,
        timing: &WaitTiming,
    ) -> Result<bool> {
        if !is_outage(&error) {
            return Err(error);
        }
        if !self.is_noted && !line.is_shown() {
            context.out.note(&format!("lanes {verb}: {}; still waiting", error.message()));
        }
        self.is_noted = true;
        if timing.is_over() {
            return Ok(false);
        }
        line.sleep(watch, timing.sleep_until(Some(OUTAGE_SLEEP)), |lasted| {
            format!("{} · {}", error.message(), format_duration(lasted.as_secs_f64()))
        });
        Ok(true)
    }

    /// Says that the server is reached again.
    fn end(&mut self, context: &CommandContext, verb: &str) {
        if std::mem::take(&mut self.is_noted) {
            context.out.note(&format!("lanes {verb}: the store is reached again"));
        }
    }
}

/// How long a wait sleeps while the server of its store cannot be reached.
const OUTAGE_SLEEP: Duration = Duration::from_secs(2);

/// Prints a heartbeat for each open task, or, if there are many, one for all of them.
fn print_heartbeats(context: &CommandContext, store: &Store, verb: &str, open: &[Task]) {
    if open.len() > MAX_HEARTBEATS {
        let tasks = count(open.len() as u64, "task");
        context.out.note(&format!("lanes {verb}: waiting for {tasks}: {}", shown_reason(store, open)));
        return;
    }
    for task in open {
        context.out.note(&format!("lanes {verb}: {}", heartbeat(context, store, task)));
    }
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

/// How old what the line on a terminal says about a task may be, except for the time.
const LINE_SECONDS: Duration = Duration::from_secs(5);

/// What is said of tasks whose dispatcher has died.
pub(super) const LEFT: &str = "left by a dead dispatcher";

/// Returns why a task is still open, for the line on a terminal; of several, how many are in which state.
fn shown_reason(store: &Store, open: &[Task]) -> String {
    let shown = store.shown_states();
    match open {
        // The reason is worth a line, not an error.
        [task] => why(store, task).map_or_else(|_| String::new(), |reason| short_reason(&reason.sentence)),
        tasks => {
            let dead = DeadDispatchers::of(store).ok();
            let mut states: BTreeMap<String, u64> = BTreeMap::new();
            for task in tasks {
                let state = match (&task.status, &dead) {
                    (Status::Claimed(claim), Some(dead)) if dead.had(claim) => LEFT.to_string(),
                    _ => shown.status(task).as_str().to_string(),
                };
                *states.entry(state).or_default() += 1;
            }
            states.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ")
        }
    }
}

/// Returns what follows the words that the line on a terminal has already.
fn short_reason(sentence: &str) -> String {
    let rest = sentence.strip_prefix("waiting for a worker: ").unwrap_or(sentence);
    with_short_ids(rest.split(", under a lease until ").next().unwrap_or_default())
}

/// Returns what a wait waits for, and since when, for the line on a terminal.
fn shown_wait(store: &Store, open: &[Task], reason: &str, lasted: Duration) -> String {
    let [task] = open else {
        let lasted = format_duration(lasted.as_secs_f64());
        return format!("{} · {lasted} · {reason}", count(open.len() as u64, "task"));
    };
    let since = task.status.claim().map_or(task.created_at, |claim| claim.claimed_at);
    let state = store.shown_states().status(task).as_str().to_string();
    let age = format_duration(store.now().wall.seconds_since(since).max(0.0));
    format!("{} · {state} {age} · {reason}", end_of_id(task.id.as_str(), SHORTEST_ID))
}

/// The line on a terminal of a command that follows a task and prints what is new.
pub(super) struct FollowedTaskLine {
    line: WaitLine,
    /// Why the task is open, and when that was found out.
    reason: Option<(Instant, String)>,
}

impl FollowedTaskLine {
    /// Makes the line of a command that begins.
    pub(super) fn new(out: &Output) -> Self {
        Self { line: WaitLine::new(out), reason: None }
    }

    /// Notes that something was printed: the line is shown when nothing has been for a while.
    pub(super) fn begin_again(&mut self) {
        self.line.begin_again();
    }

    /// Sleeps until the task may have changed, at the latest until `until`, and shows the line meanwhile.
    pub(super) fn sleep(&mut self, store: &Store, task: &Task, watch: &mut Watch, until: Instant) {
        let reason = &mut self.reason;
        self.line.sleep(watch, until, |lasted| {
            let is_old = |(at, _): &(Instant, String)| at.elapsed() >= LINE_SECONDS;
            if reason.as_ref().is_none_or(is_old) {
                *reason = Some((Instant::now(), shown_reason(store, std::slice::from_ref(task))));
            }
            let reason = reason.as_ref().map_or("", |(_, reason)| reason);
            format!("waiting for {}", shown_wait(store, std::slice::from_ref(task), reason, lasted))
        });
    }
}

/// How often a wait for tasks that wait for others looks whether these are overdue, in seconds.
const UPSTREAM_SECONDS: f64 = 30.0;

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
    // What they wait for may come due in a lane where nobody looks for work.
    let upstream =
        tasks.iter().any(Task::waits_for_dependencies).then(|| now.wall.plus_seconds(UPSTREAM_SECONDS));
    let next =
        tasks.iter().filter_map(due).chain(deadlines).chain(upstream).filter(|due| *due > now.wall).min()?;
    // One millisecond later, so that the task is due when it is read.
    Some(Duration::from_secs_f64(next.seconds_since(now.wall)) + Duration::from_millis(1))
}

/// Prints a note if a task that can be claimed waits in a lane without a worker; returns whether it did.
fn note_if_unserved(context: &CommandContext, store: &Store, verb: &str, open: &[Task]) -> Result<bool> {
    let shown = store.shown_states();
    let Some(task) = open.iter().find(|task| shown.can_be_claimed(task)) else { return Ok(false) };
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
        let state = store.shown_states().status(task);
        let reason = match state {
            // What agent-lanes prints in every lane.
            Status::Queued if task.spec.lane.as_str() == "review" => "awaiting reviewer claim".to_string(),
            // A heartbeat is worth a line, not an error.
            _ => why(store, task).map_or_else(|error| error.to_string(), |reason| reason.sentence),
        };
        return format!("task_id={id}; state={}; {reason}", state.as_str());
    };
    let last = context.last_event(store, task);
    let next = match why(store, task) {
        Ok(reason) if reason.code == DISPATCHER_GONE => reason.sentence,
        _ => next_action(task, &now, last.as_ref(), false),
    };
    let last_event =
        last.as_ref().map_or("none".to_string(), |event| format!("{}@{}", event.kind, event.created_at));
    format!(
        "task_id={id}; state={}; claim_owner={}; claimed_age_seconds={}; lease_expires_at={}; \
         lease_expired={}; response_path={}; response_exists={}; last_event={last_event}; next_action={next}",
        task.status.as_str(),
        claim.owner,
        now.wall.seconds_since(claim.claimed_at) as i64,
        claim.lease_expires_at,
        lease_expired(task, &now),
        task.response_path,
        store.response_exists(task),
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
    let line = WaitLine::new(&context.out);
    let names = lanes.join(", ");
    let mut outage = Outage::default();
    loop {
        match find_task() {
            Ok(Some(task)) => return Ok(Some(task)),
            Err(error) if is_outage(&error) => {
                if !outage.sleep(context, verb, error, &line, &mut watch, &timing)? {
                    return Ok(None);
                }
                continue;
            }
            outcome => {
                // A task directory that has been moved or replaced never shows a new task.
                store.check_in_place()?;
                outcome?;
            }
        }
        outage.end(context, verb);
        if timing.is_over() {
            return Ok(None);
        }
        if timing.heartbeat_due() && !line.is_shown() {
            context.out.note(&format!("lanes {verb}: waiting for lane {names}"));
        }
        let now = store.now().wall;
        let due = store
            .next_due(lanes)
            .filter(|due| *due > now)
            .map(|due| Duration::from_secs_f64(due.seconds_since(now)) + Duration::from_millis(1));
        let (begin, until) = (Instant::now(), timing.sleep_until(due));
        let woken = line.sleep(&mut watch, until, |lasted| {
            format!("waiting for lane {names} · {}", format_duration(lasted.as_secs_f64()))
        });
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

    #[test]
    fn only_the_reading_of_many_tasks_is_put_off() {
        let took = Duration::from_millis(40);
        assert_eq!(least_interval(1, took), Duration::ZERO);
        assert_eq!(least_interval(MANY_TASKS, took), Duration::ZERO);
        assert_eq!(least_interval(MANY_TASKS + 1, took), Duration::from_millis(200));
    }
}
