//! Which task counts in place of one that was retried.
//!
//! A task that failed stays as it is when it is retried, and names the task that retries it, its successor. For its
//! group and for tasks that are submitted to wait for it, the newest successor takes its place, so that a failure that
//! was made good is none. Who waits for the task itself, by its id, has its answer: it failed.

use std::collections::HashSet;

use super::id::TaskId;
use crate::error::Result;

/// Follows the retries of a task to its newest successor, which is the task itself if it was not retried. `successor`
/// returns the task that retries one; `None` when there is none in the store.
///
/// # Errors
/// Those of `successor`.
pub(crate) fn newest_successor(
    id: &TaskId,
    mut successor: impl FnMut(&TaskId) -> Result<Option<TaskId>>,
) -> Result<TaskId> {
    let mut newest = id.clone();
    // Files that were tampered with may lead in a circle.
    let mut seen = HashSet::from([newest.clone()]);
    while let Some(next) = successor(&newest)? {
        if !seen.insert(next.clone()) {
            break;
        }
        newest = next;
    }
    Ok(newest)
}

/// Returns whether a task of a group counts for its end: unless it was retried as another task of the group, which
/// counts for it. `is_member` tells whether a task is in the group.
pub(crate) fn counts_in_group(retried_as: Option<&str>, is_member: impl FnOnce(&str) -> bool) -> bool {
    !retried_as.is_some_and(is_member)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest_of(id: &str, retries: &[(&str, &str)]) -> String {
        let successor = |id: &TaskId| {
            let found = retries.iter().find(|(old, _)| *old == id.as_str());
            Ok(found.map(|(_, new)| TaskId::parse(new).unwrap()))
        };
        newest_successor(&TaskId::parse(id).unwrap(), successor).unwrap().to_string()
    }

    #[test]
    fn the_newest_successor_is_at_the_end_of_all_retries() {
        let retries = [("a-1", "a-2"), ("a-2", "a-3"), ("b-1", "b-2")];
        for (id, newest) in [("a-1", "a-3"), ("a-2", "a-3"), ("a-3", "a-3"), ("b-1", "b-2"), ("c-1", "c-1")] {
            assert_eq!(newest_of(id, &retries), newest);
        }
        assert_eq!(newest_of("a-1", &[("a-1", "a-2"), ("a-2", "a-1")]), "a-2", "a circle ends");
        assert_eq!(newest_of("a-1", &[("a-1", "a-1")]), "a-1");
    }

    #[test]
    fn a_task_of_a_group_counts_unless_another_one_there_retries_it() {
        assert!(counts_in_group(None, |_| true));
        assert!(!counts_in_group(Some("a-2"), |id| id == "a-2"));
        assert!(counts_in_group(Some("a-2"), |_| false), "its successor is gone");
    }
}
