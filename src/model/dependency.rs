//! Dependencies: the tasks that must end before another one may be claimed.

use serde_json::{Value, json};

use super::group::GroupName;
use super::id::TaskId;
use super::idempotency_key::IdempotencyKey;
use super::json::raw::Raw;
use crate::error::{Error, Result};

/// The largest number of dependencies of a task.
pub(crate) const MAX_DEPENDENCIES: usize = 1000;

/// Which end of a dependency satisfies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DependencyCondition {
    /// It must complete; any other end fails the dependent.
    Completed,
    /// It must end, whatever the outcome.
    Ended,
}

impl DependencyCondition {
    /// The names of the conditions in files.
    pub(crate) const NAMES: [&'static str; 2] = ["completed", "ended"];

    /// Returns the name used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Ended => "ended",
        }
    }

    /// Parses the name of a condition.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Completed, Self::Ended].into_iter().find(|condition| condition.as_str() == word)
    }
}

/// A task that must end before another one, its dependent, may be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The id of the task.
    pub task: TaskId,
    /// Which end satisfies it.
    pub on: DependencyCondition,
}

impl Dependency {
    /// Parses a dependency of a task.json; `None` if it is not one.
    pub(super) fn from_raw(raw: Raw<'_>) -> Option<Self> {
        let (mut task, mut on) = (None, None);
        raw.members(|key, raw| match key {
            "task" => task = raw.text(),
            "on" => on = raw.text(),
            _ => {}
        });
        Some(Self {
            task: TaskId::parse(&task?.decode()).ok()?,
            on: DependencyCondition::parse(&on?.decode())?,
        })
    }

    pub(super) fn to_value(&self) -> Value {
        json!({"on": self.on.as_str(), "task": self.task.as_str()})
    }
}

/// What a submit names as a dependency; the store finds the tasks that are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyRef {
    /// The tasks that are meant.
    pub target: DependencyTarget,
    /// Which end satisfies the dependency.
    pub on: DependencyCondition,
}

impl DependencyRef {
    /// Names a task that must complete, by its id or a unique part of it.
    pub fn completed(id: impl Into<String>) -> Self {
        Self { target: DependencyTarget::Task(id.into()), on: DependencyCondition::Completed }
    }

    /// Names a task that must end, by its id or a unique part of it.
    pub fn ended(id: impl Into<String>) -> Self {
        Self { target: DependencyTarget::Task(id.into()), on: DependencyCondition::Ended }
    }
}

/// The tasks that a dependency names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DependencyTarget {
    /// The task with this id, or with an id that begins or ends with this.
    Task(String),
    /// All tasks that are in a group when the dependent is submitted.
    Group(GroupName),
    /// The task that has this idempotency key in the workspace.
    Key(IdempotencyKey),
    /// The task of an earlier line of the same batch, by its number from 1.
    Line(u64),
}

/// The outcome of all dependencies of a task together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DependencyOutcome {
    /// All are satisfied.
    Satisfied,
    /// One cannot be satisfied any more.
    Failed {
        /// The id of that dependency.
        task: TaskId,
        /// How it ended, for people.
        reason: String,
    },
}

/// Checks the number of dependencies of a task.
///
/// # Errors
/// `Invalid` if there are more than [`MAX_DEPENDENCIES`].
pub(crate) fn check_count(count: usize) -> Result<()> {
    if count <= MAX_DEPENDENCIES {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{count} dependencies are too many; a task can have at most {MAX_DEPENDENCIES}"
    ))
    .with_hint("make a task that depends on some of them, and depend on that one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_dependencies_are_accepted_and_no_more() {
        assert!(check_count(MAX_DEPENDENCIES).is_ok());
        let error = check_count(MAX_DEPENDENCIES + 1).unwrap_err();
        assert!(error.to_string().starts_with("1001 dependencies are too many"), "{error}");
    }
}
