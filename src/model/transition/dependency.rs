//! What becomes of a task with dependencies when these end.

use super::end::{expire, fail};
use super::{Effect, TransitionContext};
use crate::model::dependency::DependencyOutcome;
use crate::model::json::Object;
use crate::model::task::{Availability, FailureClass, Status, Task, object};

/// Applies the outcome of the dependencies: the task can be claimed in its own place, or fails. A task that another
/// implementation has claimed in spite of them keeps its claim.
pub(super) fn unblock(
    task: &mut Task,
    context: &TransitionContext<'_>,
    outcome: &DependencyOutcome,
) -> Effect {
    if !task.waits_for_dependencies() || task.lease_is_live(context.now) {
        return Effect::Unchanged;
    }
    match outcome {
        DependencyOutcome::Satisfied => {
            task.bookkeeping.dependencies_met = true;
            task.record(context.now.wall, "unblocked", "its dependencies are satisfied", Object::new());
            // It may be too late; then nobody sees it as waiting for a worker.
            if task.availability(context.now) == Availability::Expired {
                expire(task, context);
            } else if let Status::Blocked { until } = task.status {
                task.status = task.waiting_status(until, context.now.wall);
            }
        }
        DependencyOutcome::Failed { task: dependency, reason } => {
            let reason = format!("its dependency {dependency} {reason}");
            let data = object([("dependency", dependency.as_str().into())]);
            task.record(context.now.wall, "upstream_failed", reason.clone(), data);
            fail(task, context, reason, FailureClass::Upstream);
            if let Some(response) = &mut task.bookkeeping.response {
                response.metadata.insert("dependency".to_string(), dependency.as_str().into());
            }
        }
    }
    Effect::Changed
}
