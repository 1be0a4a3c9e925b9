//! The rows of the list: one of every task, in the orders in which pages show them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::cursor::PagePosition;
use crate::model::Time;
use crate::model::task_selection::{Match, TaskOrder, TaskSelection};
use crate::model::task_summary::TaskSummary;
use crate::store::TaskStamp;

/// How many bytes of prompts and metadata all rows keep together. The texts of further tasks are read when a
/// selection depends on them.
const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;

/// One entry of the task directory.
#[derive(Clone, Debug)]
pub(super) enum ListedEntry {
    /// A task.
    Task(Box<TaskSummary>),
    /// An entry that cannot be read as a task, and the time by which it is ordered.
    Unreadable(Time),
}

/// The entries of a page: their names, in its order; tasks with their summaries.
pub(super) type Found = Vec<(PagePosition, Option<TaskSummary>)>;

/// The tasks of one lane in one state, in two orders.
#[derive(Default)]
struct Place {
    by_creation: BTreeSet<PagePosition>,
    by_update: BTreeSet<PagePosition>,
}

/// All rows.
#[derive(Default)]
pub(super) struct Rows {
    rows: HashMap<Arc<str>, (TaskStamp, ListedEntry)>,
    /// By lane and state.
    places: BTreeMap<(Arc<str>, Arc<str>), Place>,
    unreadable: Place,
    /// The tasks whose state depends on what other tasks hold.
    keyed: BTreeSet<Arc<str>>,
    /// The tasks whose state may change by itself, by the time of that.
    timed: BTreeSet<(Time, Arc<str>)>,
    /// Every name that a row has, once.
    names: HashSet<Arc<str>>,
    kept_bytes: usize,
}

impl Rows {
    /// Returns all entries with their stamps.
    pub(super) fn stamps(&self) -> Vec<(Arc<str>, TaskStamp)> {
        self.rows.iter().map(|(name, (stamp, _))| (Arc::clone(name), *stamp)).collect()
    }

    /// Returns the tasks whose state may have changed by `now` although their files have not: it depends on what other tasks
    /// hold, or on the time.
    pub(super) fn unsteady(&self, now: Time) -> Vec<String> {
        let timed = self.timed.iter().take_while(|(at, _)| *at <= now).map(|(_, name)| name);
        self.keyed.iter().chain(timed).map(ToString::to_string).collect()
    }

    /// Returns the stamp of an entry; `None` when there is no such row.
    pub(super) fn stamp(&self, name: &str) -> Option<TaskStamp> {
        self.rows.get(name).map(|(stamp, _)| *stamp)
    }

    /// Adds or replaces the row of a task.
    pub(super) fn put(&mut self, stamp: TaskStamp, mut task: TaskSummary) {
        self.remove(&task.id.clone());
        task.share_names(&mut |name| match self.names.get(name) {
            Some(shared) => *name = Arc::clone(shared),
            None => drop(self.names.insert(Arc::clone(name))),
        });
        if self.kept_bytes + task.kept_bytes() > MAX_KEPT_BYTES {
            task.forget_texts();
        }
        self.kept_bytes += task.kept_bytes();
        if task.waits_for_key {
            self.keyed.insert(Arc::clone(&task.id));
        }
        if let Some(at) = task.changes_at {
            self.timed.insert((at, Arc::clone(&task.id)));
        }
        let place = self.places.entry((Arc::clone(&task.lane), Arc::clone(&task.state))).or_default();
        place.by_creation.insert((task.created_at, Arc::clone(&task.id)));
        place.by_update.insert((task.updated_at, Arc::clone(&task.id)));
        self.rows.insert(Arc::clone(&task.id), (stamp, ListedEntry::Task(Box::new(task))));
    }

    /// Adds or replaces the row of an entry that cannot be read as a task.
    pub(super) fn put_unreadable(&mut self, stamp: TaskStamp, name: &str) {
        self.remove(name);
        let (time, name) = (time_of_name(name), Arc::<str>::from(name));
        for set in [&mut self.unreadable.by_creation, &mut self.unreadable.by_update] {
            set.insert((time, Arc::clone(&name)));
        }
        self.rows.insert(name, (stamp, ListedEntry::Unreadable(time)));
    }

    /// Removes the row of an entry, if there is one.
    pub(super) fn remove(&mut self, name: &str) {
        match self.rows.remove_entry(name) {
            Some((name, (_, ListedEntry::Unreadable(time)))) => {
                self.unreadable.by_creation.remove(&(time, Arc::clone(&name)));
                self.unreadable.by_update.remove(&(time, name));
            }
            Some((name, (_, ListedEntry::Task(task)))) => {
                self.kept_bytes -= task.kept_bytes();
                self.keyed.remove(&name);
                if let Some(at) = task.changes_at {
                    self.timed.remove(&(at, Arc::clone(&name)));
                }
                let key = (task.lane, task.state);
                if let Some(place) = self.places.get_mut(&key) {
                    place.by_creation.remove(&(task.created_at, Arc::clone(&name)));
                    place.by_update.remove(&(task.updated_at, name));
                    if place.by_creation.is_empty() {
                        self.places.remove(&key);
                    }
                }
            }
            None => {}
        }
    }

    /// Returns the first `limit` selected entries after a position, and how many are selected in all. `read` reads a
    /// task whose row does not keep all of its texts.
    pub(super) fn page(
        &self,
        selection: &TaskSelection,
        order: TaskOrder,
        after: Option<&PagePosition>,
        limit: usize,
        read: &dyn Fn(&str) -> Option<TaskSummary>,
    ) -> (Found, usize) {
        let (positions, total) = match selection.is_by_place() {
            true => self.page_by_place(selection, order, after, limit),
            false => self.page_by_search(selection, order, after, limit, read),
        };
        let with_row = |position: PagePosition| {
            let task = match self.rows.get(&position.1) {
                Some((_, ListedEntry::Task(task))) => Some((**task).clone()),
                _ => None,
            };
            (position, task)
        };
        (positions.into_iter().map(with_row).collect(), total)
    }

    /// Merges the places that are selected; its cost does not depend on the number of tasks.
    fn page_by_place(
        &self,
        selection: &TaskSelection,
        order: TaskOrder,
        after: Option<&PagePosition>,
        limit: usize,
    ) -> (Vec<PagePosition>, usize) {
        let selected = self.places.iter().filter(|((lane, state), _)| selection.accepts_place(lane, state));
        let unreadable = selection.is_empty().then_some(&self.unreadable);
        let places: Vec<&Place> = selected.map(|(_, place)| place).chain(unreadable).collect();
        let total = places.iter().map(|place| place.by_creation.len()).sum();
        let sets = places.into_iter().map(|place| place.in_order(order));
        let found = match order {
            TaskOrder::Oldest => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                merge(sets.map(|set| set.range((from, Bound::Unbounded)).map(Reverse)), limit)
                    .map(|Reverse(position)| position.clone())
                    .collect()
            }
            TaskOrder::Newest | TaskOrder::Updated => {
                let to = after.map_or(Bound::Unbounded, Bound::Excluded);
                merge(sets.map(|set| set.range((Bound::Unbounded, to)).rev()), limit).cloned().collect()
            }
        };
        (found, total)
    }

    /// Looks at every row.
    fn page_by_search(
        &self,
        selection: &TaskSelection,
        order: TaskOrder,
        after: Option<&PagePosition>,
        limit: usize,
        read: &dyn Fn(&str) -> Option<TaskSummary>,
    ) -> (Vec<PagePosition>, usize) {
        let is_selected = |task: &TaskSummary| match selection.accepts(task) {
            Match::Yes => true,
            Match::No => false,
            Match::Unknown => read(&task.id).is_some_and(|task| selection.accepts(&task) == Match::Yes),
        };
        let (mut total, mut found) = (0, Vec::new());
        for (_, row) in self.rows.values() {
            let ListedEntry::Task(task) = row else { continue };
            if !is_selected(task) {
                continue;
            }
            total += 1;
            let position = (order.time_of(task), &task.id);
            let is_after = after.is_none_or(|(time, id)| {
                let after = (*time, id);
                if order == TaskOrder::Oldest { position > after } else { position < after }
            });
            if is_after {
                found.push(position);
            }
        }
        if order == TaskOrder::Oldest {
            found.sort_unstable();
        } else {
            found.sort_unstable_by(|a, b| b.cmp(a));
        }
        found.truncate(limit);
        (found.into_iter().map(|(time, id)| (time, Arc::clone(id))).collect(), total)
    }
}

impl Place {
    fn in_order(&self, order: TaskOrder) -> &BTreeSet<PagePosition> {
        if order == TaskOrder::Updated { &self.by_update } else { &self.by_creation }
    }
}

/// Returns the first `limit` items of sorted iterators, the greatest first.
fn merge<T: Ord>(
    sorted: impl Iterator<Item = impl Iterator<Item = T>>,
    limit: usize,
) -> impl Iterator<Item = T> {
    let mut rest: Vec<_> = sorted.collect();
    let mut heads: BinaryHeap<(T, usize)> = BinaryHeap::new();
    for (number, iterator) in rest.iter_mut().enumerate() {
        heads.extend(iterator.next().map(|first| (first, number)));
    }
    let next = move || {
        let (item, number) = heads.pop()?;
        heads.extend(rest[number].next().map(|following| (following, number)));
        Some(item)
    };
    std::iter::from_fn(next).take(limit)
}

/// Returns the time at the beginning of a generated id, 1970 for any other name.
fn time_of_name(name: &str) -> Time {
    let digits: Option<&str> = name.get(..22).filter(|text| {
        text.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            21 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
    });
    let parse = |text: &str| {
        let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default().to_string();
        Time::parse(&format!(
            "{}-{}-{}T{}:{}:{}.{}Z",
            part(0..4),
            part(4..6),
            part(6..8),
            part(9..11),
            part(11..13),
            part(13..15),
            part(15..21)
        ))
        .ok()
    };
    digits.and_then(parse).unwrap_or(Time::from_micros(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TaskText;

    fn task(id: &str, lane: &str, state: &str, created: u32, updated: u32, prompt: &str) -> TaskSummary {
        let time = |second: u32| format!("2026-11-21T07:00:{second:02}Z");
        let text = format!(
            r#"{{"id": "{id}", "correlation_id": "c", "workspace_id": "w", "workspace_root": "/", "lane": "{lane}",
                "request_path": "", "request_sha256": "", "response_path": "", "state": "{state}",
                "created_at": "{}", "updated_at": "{}", "prompt": "{prompt}"}}"#,
            time(created),
            time(updated)
        );
        TaskText::read(text.as_bytes(), |task| TaskSummary::of(task, &task.status())).unwrap()
    }

    fn rows() -> Rows {
        let mut rows = Rows::default();
        rows.put(Some(1), task("a", "work", "queued", 1, 9, "red"));
        rows.put(Some(2), task("b", "work", "completed", 2, 5, "blue"));
        rows.put(Some(3), task("c", "play", "queued", 3, 7, "red"));
        rows.put(Some(4), task("d", "play", "failed", 4, 4, "green"));
        rows.put_unreadable(Some(5), "20261121T070002500000Z-x");
        rows
    }

    fn pages(rows: &Rows, selection: &TaskSelection, order: TaskOrder, limit: usize) -> (String, usize) {
        let (mut names, mut after) = (String::new(), None);
        loop {
            let (found, total) = rows.page(selection, order, after.as_ref(), limit, &|_| None);
            for (position, _) in &found {
                names.push_str(position.1.split('-').next_back().unwrap());
            }
            match found.last() {
                Some((last, _)) => after = Some(last.clone()),
                None => return (names, total),
            }
        }
    }

    #[test]
    fn pages_of_any_size_show_every_task_once_and_in_order() {
        let rows = rows();
        let all = TaskSelection::default();
        let queued = TaskSelection { states: vec!["queued".to_string()], ..all.clone() };
        let red = TaskSelection { text: "red".to_string(), ..all.clone() };
        for limit in 1..7 {
            for (selection, order, names, count) in [
                (&all, TaskOrder::Oldest, "abxcd", 5),
                (&all, TaskOrder::Newest, "dcxba", 5),
                (&all, TaskOrder::Updated, "acbdx", 5),
                (&queued, TaskOrder::Oldest, "ac", 2),
                (&queued, TaskOrder::Updated, "ac", 2),
                (&red, TaskOrder::Oldest, "ac", 2),
                (&red, TaskOrder::Newest, "ca", 2),
            ] {
                assert_eq!(
                    pages(&rows, selection, order, limit),
                    (names.to_string(), count),
                    "{order:?} {limit}"
                );
            }
        }
    }

    #[test]
    fn a_changed_row_leaves_nothing_behind() {
        let mut rows = rows();
        rows.put(Some(6), task("a", "work", "completed", 1, 10, "white"));
        rows.put_unreadable(Some(7), "b");
        rows.remove("20261121T070002500000Z-x");
        rows.remove("nobody");
        assert_eq!(pages(&rows, &TaskSelection::default(), TaskOrder::Oldest, 2), ("bacd".to_string(), 4));
        assert_eq!((rows.rows.len(), rows.stamp("a"), rows.stamp("x")), (4, Some(Some(6)), None));
        for name in ["a", "b", "c", "d"] {
            rows.remove(name);
        }
        assert_eq!((rows.rows.len(), rows.places.len(), rows.kept_bytes), (0, 0, 0));
    }

    #[test]
    fn a_text_that_is_not_kept_is_read() {
        let mut rows = rows();
        let mut bare = task("e", "work", "queued", 5, 5, "red");
        bare.forget_texts();
        rows.put(Some(8), bare);
        let red = TaskSelection { text: "red".to_string(), ..TaskSelection::default() };
        let read = |id: &str| Some(task(id, "work", "queued", 5, 5, "red"));
        assert_eq!(rows.page(&red, TaskOrder::Oldest, None, 9, &read).1, 3);
        assert_eq!(rows.page(&red, TaskOrder::Oldest, None, 9, &|_| None).1, 2);
    }
}
