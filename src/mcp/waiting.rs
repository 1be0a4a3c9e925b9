//! Waits until tasks end.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::call::ToolCall;
use super::coordination::go_on;
use super::coordinator::is_coordinated;
use super::failure::ToolFailure;
use super::given_results::GivenResult;
use super::report_text::TaskReport;
use super::summary::{activity, report_of, reported_state};
use super::watched_tasks::WatchedTasks;
use crate::model::{LaneName, Status, Task, TaskId};
use crate::store::Store;

/// How long a call waits before it returns a task of the protocol to a client that accepts one in place of a
/// result.
const HAND_OFF_AFTER: Duration = Duration::from_secs(5);

/// Time between two checks whether the tasks of agents still have a dispatcher: its death is in no feed.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Time after which a dispatcher that could not be started is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Longer than any call waits.
const NEVER: Duration = Duration::from_secs(7 * 86_400);

/// Waits until all of the tasks have ended (or one of them, with `any`) or one waits for an answer, at most `seconds`, and never longer than the
/// client does. Returns a report of each, in the same order.
///
/// # Errors
/// Whatever the store reports.
pub(super) async fn wait_for_ends(
    call: &mut ToolCall,
    ids: &[TaskId],
    any: bool,
    seconds: u64,
) -> Result<Vec<TaskReport>, ToolFailure> {
    let longest = Duration::from_secs(seconds.min(call.limits.wait_seconds));
    let hands_off = call.takes_tasks && ids.len() == 1 && longest > HAND_OFF_AFTER;
    let deadline = Instant::now() + if hands_off { HAND_OFF_AFTER } else { longest };
    let mut changes = call.with_queue(|queue| Ok(queue.changes()?)).await?;
    changes.borrow_and_update();
    let wanted = ids.to_vec();
    let mut watched = call.with_queue(move |queue| Ok(WatchedTasks::read(&queue.store, &wanted)?)).await?;
    if watched.tasks().iter().any(is_coordinated) {
        go_on(&call.open_queue().await?, watched.tasks());
    }
    let mut attendance = Attendance { due: Instant::now(), failures: BTreeMap::new() };
    loop {
        attendance.check(call, watched.tasks()).await?;
        let tasks = watched.tasks();
        let ended = tasks.iter().filter(|task| task.status.is_terminal()).count();
        // The caller may know the answer to a question, without which nothing goes on.
        let asks = tasks.iter().any(|task| task.status == Status::InputRequired);
        let is_enough = ended == tasks.len() || (any && ended > 0) || asks;
        if is_enough || Instant::now() >= deadline || call.end.is_over() {
            call.handed_off = ids.first().filter(|_| hands_off && !is_enough).cloned();
            return reports_of(call, watched, attendance.failures).await;
        }
        let is_claimed = tasks.iter().any(|task| task.status.claim().is_some());
        let mut wake = deadline.min(attendance.due);
        if call.progress.is_some() {
            watched = report_progress(call, watched).await?;
        }
        if let Some(progress) = &call.progress
            && is_claimed
        {
            // Progress of a worker is not in the feed, so it is checked at intervals.
            wake = wake.min(progress.next_check());
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep_until(wake) => {}
            () = call.end.wait() => {}
        }
        changes.borrow_and_update();
        watched = call
            .with_queue(move |queue| {
                watched.update(&queue.store)?;
                Ok(watched)
            })
            .await?;
    }
}

/// Reports the progress of the tasks.
async fn report_progress(call: &mut ToolCall, watched: WatchedTasks) -> Result<WatchedTasks, ToolFailure> {
    let (watched, text) = call
        .with_queue(move |queue| {
            let text = progress_text(&queue.store, watched.tasks());
            Ok((watched, text))
        })
        .await?;
    if let Some(progress) = &mut call.progress {
        progress.report(text).await;
    }
    Ok(watched)
}

/// Whether somebody serves the agents whose tasks are waited for.
struct Attendance {
    /// When it is checked next.
    due: Instant,
    /// The lanes that nobody serves, each with the reason.
    failures: BTreeMap<LaneName, String>,
}

impl Attendance {
    /// Starts a dispatcher if one of the tasks needs it, unless that was checked just now.
    async fn check(&mut self, call: &ToolCall, tasks: &[Task]) -> Result<(), ToolFailure> {
        if Instant::now() < self.due {
            return Ok(());
        }
        let open = tasks.iter().filter(|task| !task.status.is_terminal() && task.spec.lane.agent().is_some());
        let open: Vec<Task> = open.cloned().collect();
        if open.is_empty() {
            self.due = Instant::now() + NEVER;
            return Ok(());
        }
        self.failures = call.with_queue(move |queue| Ok(queue.attend(&open)?)).await?;
        self.due = Instant::now() + if self.failures.is_empty() { CHECK_INTERVAL } else { RETRY_INTERVAL };
        Ok(())
    }
}

/// Returns the reports of tasks. Those that have ended count as answered, unless the client
/// does not wait for the reports any more.
async fn reports_of(
    call: &ToolCall,
    watched: WatchedTasks,
    unattended: BTreeMap<LaneName, String>,
) -> Result<Vec<TaskReport>, ToolFailure> {
    let (reports, answered) = call
        .with_queue(move |queue| {
            let (mut reports, mut answered) = (Vec::with_capacity(watched.tasks().len()), Vec::new());
            for task in watched.tasks() {
                let mut report = report_of(queue, task)?;
                if let Some(reason) = unattended.get(&task.spec.lane).filter(|_| !report.state.is_over()) {
                    report.note = format!("{}; {reason}", report.note);
                }
                reports.push(report);
                if task.status.is_terminal() {
                    queue.single_flight.answered(&task.id);
                    answered.push(task.id.clone());
                }
            }
            Ok((reports, answered))
        })
        .await?;
    if !answered.is_empty() {
        call.give(GivenResult::Answers(answered)).await?;
    }
    Ok(reports)
}

/// Returns the text of a progress notification; it names the ids, in case the client gives up on the call.
fn progress_text(store: &Store, tasks: &[Task]) -> String {
    const MOST_NAMED: usize = 5;
    let open: Vec<&Task> = tasks.iter().filter(|task| !task.status.is_terminal()).collect();
    let line = |task: &&Task| {
        let line = format!("{} {}", reported_state(&task.status).as_str(), task.id);
        activity(store, task).map_or(line.clone(), |last| format!("{line}: {last}"))
    };
    let mut lines: Vec<String> = open.iter().take(MOST_NAMED).map(line).collect();
    if tasks.len() > 1 {
        lines.insert(0, format!("{} of {} ended", tasks.len() - open.len(), tasks.len()));
    }
    lines.join("; ")
}
