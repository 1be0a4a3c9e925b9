//! The cursor of a page: where in which list the next page begins.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::Time;
use crate::model::task_selection::{TaskOrder, TaskSelection};
use crate::sha256::sha256_bytes;

/// The number of characters of a hash that tell lists apart.
const HASH_LENGTH: usize = 12;

/// The place of a task in an order: the time by which it is ordered, then its id.
pub(super) type PagePosition = (Time, Arc<str>);

/// Returns the cursor of the page after the task at `last`.
pub(super) fn write(order: TaskOrder, selection: &TaskSelection, last: &PagePosition) -> String {
    format!("{}-{}-{}-{}", order.as_str(), hash(selection), last.0.micros(), last.1)
}

/// Returns the place that a cursor names.
///
/// # Errors
/// `Invalid` when it is not a cursor, or one of a list with another order or selection.
pub(super) fn read(order: TaskOrder, selection: &TaskSelection, cursor: &str) -> Result<PagePosition> {
    let mut parts = cursor.splitn(4, '-');
    let mut next = || parts.next().unwrap_or_default();
    let (word, hashed, micros, id) = (next(), next(), next(), next());
    match micros.parse() {
        Ok(micros) if !id.is_empty() && word == order.as_str() && hashed == hash(selection) => {
            Ok((Time::from_micros(micros), id.into()))
        }
        _ => Err(Error::invalid("'cursor' is not the next_cursor of a page with this order and selection")
            .with_hint("ask for the first page, without a cursor")),
    }
}

fn hash(selection: &TaskSelection) -> String {
    let mut hash = sha256_bytes(selection.describe().as_bytes()).as_str().to_string();
    hash.truncate(HASH_LENGTH);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_belongs_to_one_list() {
        let all = TaskSelection::default();
        let some = TaskSelection { text: "x".to_string(), ..TaskSelection::default() };
        let last = (Time::from_micros(1_764_000_000_000_000), "20261121T070000123456Z-a-b-c".into());
        let cursor = write(TaskOrder::Newest, &all, &last);
        assert_eq!(read(TaskOrder::Newest, &all, &cursor).unwrap(), last);
        assert!(read(TaskOrder::Oldest, &all, &cursor).is_err());
        assert!(read(TaskOrder::Newest, &some, &cursor).is_err());
        for wrong in ["", "newest", "20261121T070000123456Z-a-b-c", "..", cursor.split_at(30).0] {
            assert!(read(TaskOrder::Newest, &all, wrong).is_err(), "{wrong}");
        }
    }
}
