//! When the dependencies of a task are satisfied, and when they have failed.

use super::dependency::{Dependency, DependencyCondition, DependencyOutcome};
use super::id::TaskId;
use super::task::{FailureClass, Status};
use crate::error::Result;

/// Returns the outcome of dependencies; `None` while one of them is open and none has failed. `status` returns the
/// state of a task, `None` when it is not in the store any more.
///
/// # Errors
/// Those of `status`.
pub(crate) fn outcome(
    dependencies: &[Dependency],
    mut status: impl FnMut(&TaskId) -> Result<Option<Status>>,
) -> Result<Option<DependencyOutcome>> {
    let mut is_open = false;
    for Dependency { task, on } in dependencies {
        let reason = match (status(task)?, on) {
            (Some(Status::Completed { .. }), _)
            | (Some(Status::Failed { .. }) | None, DependencyCondition::Ended) => {
                continue;
            }
            (Some(Status::Failed { class, .. }), DependencyCondition::Completed) => match class {
                FailureClass::Cancelled => "was cancelled".to_string(),
                FailureClass::Error => "failed".to_string(),
                class => format!("failed with class {}", class.as_str()),
            },
            (None, DependencyCondition::Completed) => "is not in the store any more".to_string(),
            (Some(_), _) => {
                is_open = true;
                continue;
            }
        };
        return Ok(Some(DependencyOutcome::Failed { task: task.clone(), reason }));
    }
    Ok((!is_open).then_some(DependencyOutcome::Satisfied))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;

    fn failed(class: FailureClass) -> Status {
        Status::Failed { at: Time::from_micros(0), claim: None, reason: "no".to_string(), class }
    }

    fn id(name: &str) -> TaskId {
        TaskId::parse(name).unwrap()
    }

    /// Returns the outcome for dependencies in these states.
    fn outcome_of(states: &[(DependencyCondition, Option<Status>)]) -> Option<DependencyOutcome> {
        let name = |n: usize| id(&format!("t-{n}"));
        let dependencies: Vec<Dependency> =
            states.iter().enumerate().map(|(n, (on, _))| Dependency { task: name(n), on: *on }).collect();
        let status = |task: &TaskId| {
            let n = (0..states.len()).find(|n| name(*n) == *task).unwrap();
            Ok(states[n].1.clone())
        };
        outcome(&dependencies, status).unwrap()
    }

    #[test]
    fn dependencies_are_satisfied_by_the_ends_they_ask_for() {
        use DependencyCondition::{Completed, Ended};
        let done = || Some(Status::Completed { at: Time::from_micros(0), claim: None });
        let satisfied = Some(DependencyOutcome::Satisfied);
        assert_eq!(outcome_of(&[]), satisfied);
        assert_eq!(outcome_of(&[(Completed, done()), (Ended, done())]), satisfied);
        assert_eq!(outcome_of(&[(Ended, Some(failed(FailureClass::Dead))), (Ended, None)]), satisfied);
        assert_eq!(outcome_of(&[(Completed, done()), (Completed, Some(Status::Queued))]), None);
        assert_eq!(outcome_of(&[(Ended, Some(Status::Unknown("newer".to_string())))]), None);
        for (status, reason) in [
            (Some(failed(FailureClass::Cancelled)), "was cancelled"),
            (Some(failed(FailureClass::Error)), "failed"),
            (Some(failed(FailureClass::Upstream)), "failed with class upstream"),
            (None, "is not in the store any more"),
        ] {
            // One that failed decides, whatever is still open.
            let outcome = outcome_of(&[(Completed, Some(Status::Queued)), (Completed, status)]);
            let expected = DependencyOutcome::Failed { task: id("t-1"), reason: reason.to_string() };
            assert_eq!(outcome, Some(expected));
        }
    }
}
