//! Waits until tasks end.

use std::time::Duration;

use tokio::time::Instant;

use super::call::ToolCall;
use super::failure::ToolFailure;
use super::report_text::TaskReport;
use super::summary::{activity, report_of, reported_state};
use crate::model::{Task, TaskId};

/// How long a client waits that accepts a task of the protocol in place of a result.
const HAND_OFF_AFTER: Duration = Duration::from_secs(5);

/// Waits until all of the tasks have ended (or one of them, with `any`), at most `seconds`, and never longer than the
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
    loop {
        changes.borrow_and_update();
        let wanted = ids.to_vec();
        let with_activity = call.progress.is_some();
        let tasks = call
            .with_queue(move |queue| {
                let read = |id: &TaskId| -> crate::Result<(Task, Option<String>)> {
                    let task = queue.store.read_settled(id)?;
                    let last = if with_activity { activity(&queue.store, &task) } else { None };
                    Ok((task, last))
                };
                Ok(wanted.iter().map(read).collect::<crate::Result<Vec<_>>>()?)
            })
            .await?;
        let ended = tasks.iter().filter(|(task, _)| task.status.is_terminal()).count();
        let is_enough = ended == tasks.len() || (any && ended > 0);
        if is_enough || Instant::now() >= deadline || call.end.has_come() {
            call.handed_off = ids.first().filter(|_| hands_off && !is_enough).cloned();
            return reports_of(call, tasks.into_iter().map(|(task, _)| task).collect()).await;
        }
        let mut wake = deadline;
        if let Some(progress) = &mut call.progress {
            progress.report(progress_text(&tasks, ended)).await;
            // What a worker does last is in no feed; before there is one, the store tells of every change.
            if tasks.iter().any(|(task, _)| task.status.claim().is_some()) {
                wake = wake.min(progress.next_check());
            }
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep_until(wake) => {}
            () = call.end.come() => {}
        }
    }
}

/// Returns the reports of tasks. Those that have ended count as answered, unless the client is gone.
async fn reports_of(call: &ToolCall, tasks: Vec<Task>) -> Result<Vec<TaskReport>, ToolFailure> {
    let end = call.end.clone();
    call.with_queue(move |queue| {
        let mut reports = Vec::with_capacity(tasks.len());
        for task in &tasks {
            reports.push(report_of(queue, task)?);
            if task.status.is_terminal() && !end.has_come() {
                queue.single_flight.answered(&task.id);
            }
        }
        Ok(reports)
    })
    .await
}

/// Returns the text of a progress notification; it names the ids, in case the client gives up on the call.
fn progress_text(tasks: &[(Task, Option<String>)], ended: usize) -> String {
    const MOST_NAMED: usize = 5;
    let open: Vec<&(Task, Option<String>)> =
        tasks.iter().filter(|(task, _)| !task.status.is_terminal()).collect();
    let line = |(task, last): &(Task, Option<String>)| {
        let line = format!("{} {}", reported_state(&task.status).as_str(), task.id);
        last.as_ref().map_or(line.clone(), |last| format!("{line}: {last}"))
    };
    let mut lines: Vec<String> = open.iter().take(MOST_NAMED).map(|task| line(task)).collect();
    if tasks.len() > 1 {
        lines.insert(0, format!("{ended} of {} ended", tasks.len()));
    }
    lines.join("; ")
}
