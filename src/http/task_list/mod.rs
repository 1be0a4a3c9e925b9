//! The list of all tasks in brief, kept in memory, so that a page of a lane or of states costs the same however many tasks
//! there are.
//!
//! A thread of its own reads all tasks when a page is first requested. From then on the list follows the feed: a request
//! reads again what has changed since the last one, and the rows that it shows are compared with the files, so no page
//! shows what is no longer so. Other implementations leave nothing in the feed; the thread therefore compares all files
//! with the rows every two seconds, or less often in a large store, while pages are requested. A request that comes when
//! the last comparison is too old is deferred until the next one, and no thread of the server waits for it.

mod cursor;
mod rows;

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::rows::Rows;
use super::responder::{DeferredRequest, Responder};
use super::transport::catch_panic::catch_panic;
use super::transport::response::HttpResponse;
use super::transport::service::Reply;
use crate::error::Result;
use crate::model::TaskText;
use crate::model::task_selection::{TaskOrder, TaskSelection};
use crate::model::task_summary::TaskSummary;
use crate::store::{FeedCursor, Store};

/// The time between two comparisons of all files, at least.
const COMPARE_INTERVAL: Duration = Duration::from_millis(1500);
/// The age of a comparison on which a page may rely, at least.
const MAX_AGE: Duration = Duration::from_secs(2);
/// At most this part of the time is spent comparing: one in this many.
const COMPARE_SHARE: u32 = 20;
/// How long after the last page files are compared.
const USE_TIME: Duration = Duration::from_secs(30);
/// How long after the last page the list is kept.
const KEEP_TIME: Duration = Duration::from_secs(15 * 60);
/// How many changed tasks a request reads itself; more are left to the thread of the list.
const MAX_CHANGES: usize = 500;
/// How often a page is put together again when its tasks change meanwhile.
const MAX_TRIES: usize = 3;
/// The maximum number of requests that wait for the list.
const MAX_WAITING: usize = 1000;

/// A page that a client requests.
#[derive(Clone, Debug)]
pub(crate) struct PageQuery {
    /// Which tasks.
    pub selection: TaskSelection,
    /// In which order.
    pub order: TaskOrder,
    /// The cursor from the previous page.
    pub cursor: Option<String>,
    /// The maximum number of tasks.
    pub limit: usize,
}

/// A page.
pub(crate) struct TaskPage {
    /// Its entries: their names, and the summary of each that is a task.
    pub entries: Vec<(Arc<str>, Option<TaskSummary>)>,
    /// How many tasks are selected, on all pages.
    pub total: usize,
    /// The cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
}

/// Makes the response from a page.
type PageAnswer = Box<dyn FnOnce(&Store, TaskPage) -> HttpResponse + Send>;

/// A request that waits for the list.
struct WaitingPage {
    query: PageQuery,
    request: DeferredRequest,
    answer: PageAnswer,
}

/// The rows, and how far they follow the store.
struct Followed {
    rows: Rows,
    feed: FeedCursor,
    /// The stamp of the task directory when its entries were last listed.
    names_stamp: Option<u64>,
    /// When the last comparison began, and how long it took.
    compared_at: Instant,
    took: Duration,
}

#[derive(Default)]
struct ListState {
    followed: Option<Followed>,
    waiting: Vec<WaitingPage>,
    /// When a page was last requested; `None` also after an error.
    used_at: Option<Instant>,
    is_closed: bool,
}

/// The list of all tasks.
#[derive(Default)]
pub(crate) struct TaskList {
    state: Mutex<ListState>,
    wake: Condvar,
}

impl TaskList {
    fn state(&self) -> MutexGuard<'_, ListState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Responds with what `answer` makes of a page: at once if the list is up to date, and as soon as it is otherwise.
    ///
    /// # Errors
    /// The response to a cursor of another list, to an error of the store, or when too many requests wait.
    pub(crate) fn answer(
        &self,
        store: &Store,
        query: PageQuery,
        defer: impl FnOnce() -> DeferredRequest,
        answer: impl FnOnce(&Store, TaskPage) -> HttpResponse + Send + 'static,
    ) -> std::result::Result<Reply, HttpResponse> {
        let mut state = self.state();
        state.used_at = Some(Instant::now());
        if let Some(followed) = &mut state.followed
            && followed.is_fresh()
            && followed.catch_up(store, MAX_CHANGES)?
        {
            let page = followed.page(store, &query)?;
            drop(state);
            return Ok(answer(store, page).into());
        }
        if state.is_closed {
            return Err(HttpResponse::stopping());
        }
        if state.waiting.len() >= MAX_WAITING {
            let text = "too many requests are waiting for the list of tasks";
            return Err(HttpResponse::error(503, "too_many_waits", text).with_header("Retry-After", "5"));
        }
        state.waiting.push(WaitingPage { query, request: defer(), answer: Box::new(answer) });
        self.wake.notify_all();
        Ok(Reply::Deferred)
    }

    /// Returns a page, after bringing the list up to date on this thread if necessary.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; any error of the store.
    pub(crate) fn page_now(&self, store: &Store, query: &PageQuery) -> Result<TaskPage> {
        loop {
            {
                let mut state = self.state();
                state.used_at = Some(Instant::now());
                if let Some(followed) = &mut state.followed
                    && followed.is_fresh()
                {
                    followed.catch_up(store, usize::MAX)?;
                    return followed.page(store, query);
                }
            }
            self.refresh(store)?;
        }
    }

    /// Keeps the list up to date and answers the requests that wait for it, until the list is closed.
    pub(crate) fn run(&self, store: &Store, responder: &dyn Responder) {
        loop {
            let mut state = self.state();
            let is_due = loop {
                if state.is_closed {
                    break false;
                }
                let unused = state.used_at.map_or(Duration::MAX, |used| used.elapsed());
                if unused >= KEEP_TIME {
                    state.followed = None;
                }
                let timeout = state.followed.as_ref().map(|followed| match unused < USE_TIME {
                    true => followed.due_at().saturating_duration_since(Instant::now()),
                    false => KEEP_TIME - unused,
                });
                if !state.waiting.is_empty() || (unused < USE_TIME && timeout == Some(Duration::ZERO)) {
                    break true;
                }
                state = match timeout {
                    Some(timeout) => {
                        self.wake.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                };
            };
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            if !is_due {
                waiting
                    .into_iter()
                    .for_each(|page| page.request.respond(responder, HttpResponse::stopping()));
                return;
            }
            let refreshed = match catch_panic(|| self.refresh(store)) {
                Some(refreshed) => refreshed.map_err(|error| HttpResponse::from_error(&error)),
                None => Err(HttpResponse::internal_error()),
            };
            if refreshed.is_err() {
                // The next request tries again.
                self.state().used_at = None;
            }
            for page in waiting {
                let response = match &refreshed {
                    Ok(()) => catch_panic(|| self.respond(store, &page.query, page.answer))
                        .unwrap_or_else(HttpResponse::internal_error),
                    Err(response) => response.clone(),
                };
                page.request.respond(responder, response);
            }
        }
    }

    fn respond(&self, store: &Store, query: &PageQuery, answer: PageAnswer) -> HttpResponse {
        let page = match &mut self.state().followed {
            Some(followed) => followed.page(store, query),
            None => return HttpResponse::internal_error(),
        };
        match page {
            Ok(page) => answer(store, page),
            Err(error) => error.into(),
        }
    }

    /// Answers no more requests; [`TaskList::run`] returns.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.wake.notify_all();
    }

    /// Reads all tasks, or compares all files with the rows. The lock is held only where rows change.
    fn refresh(&self, store: &Store) -> Result<()> {
        let begun = Instant::now();
        let known =
            self.state().followed.as_ref().map(|followed| (followed.rows.stamps(), followed.names_stamp));
        let Some((known, names_stamp)) = known else {
            let followed = Followed::read(store)?;
            self.state().followed = Some(followed);
            return Ok(());
        };
        let new_stamp = store.task_names_stamp();
        let listed = match new_stamp == names_stamp {
            true => Vec::new(),
            false => store.task_names()?,
        };
        let changed: BTreeSet<String> = {
            let differs = |(name, stamp): &&(Arc<str>, _)| store.task_stamp(name) != *stamp;
            let changed: BTreeSet<String> =
                known.iter().filter(differs).map(|(name, _)| name.to_string()).collect();
            let mut state = self.state();
            let rows = state.followed.as_mut().map(|followed| &followed.rows);
            let is_new = |name: &String| rows.is_some_and(|rows| rows.stamp(name).is_none());
            let unsteady = rows.map(|rows| rows.unsteady(store.now().wall)).unwrap_or_default();
            changed.into_iter().chain(unsteady).chain(listed.into_iter().filter(is_new)).collect()
        };
        let names: Vec<String> = changed.into_iter().collect();
        let read = read_rows(store, &names);
        let mut state = self.state();
        if let Some(followed) = &mut state.followed {
            followed.put_all(read);
            followed.names_stamp = new_stamp;
            if store.feed_end()? < followed.feed.seq() {
                // Another store is here now.
                followed.feed = FeedCursor::after(store.feed_end()?);
            }
            followed.catch_up(store, usize::MAX)?;
            (followed.compared_at, followed.took) = (begun, begun.elapsed());
        }
        Ok(())
    }
}

/// An entry of the task directory that was read: its name, its stamp, and the task; `None` when it is gone.
type ReadRow = (String, Option<u64>, Option<Result<TaskSummary>>);

fn read_rows(store: &Store, names: &[String]) -> Vec<ReadRow> {
    let mut read: Vec<ReadRow> = Vec::with_capacity(names.len());
    let shown = store.shown_states();
    let summary = |task: &TaskText<'_>| TaskSummary::of(task, &shown.status_of(task));
    store.scan_stamped(names, summary, &mut |name, stamp, seen| {
        read.push((name.to_string(), stamp, Some(seen)));
    });
    let seen: BTreeSet<&String> = read.iter().map(|(name, ..)| name).collect();
    let gone: Vec<ReadRow> =
        names.iter().filter(|name| !seen.contains(name)).map(|name| (name.clone(), None, None)).collect();
    read.extend(gone);
    read
}

impl Followed {
    /// Reads all tasks.
    fn read(store: &Store) -> Result<Self> {
        let begun = Instant::now();
        // In this order, so that no change is missed.
        let (feed, names_stamp) = (FeedCursor::after(store.feed_end()?), store.task_names_stamp());
        let names = store.task_names()?;
        let mut followed =
            Self { rows: Rows::default(), feed, names_stamp, compared_at: begun, took: Duration::ZERO };
        let rows = &mut followed.rows;
        let shown = store.shown_states();
        let summary = |task: &TaskText<'_>| TaskSummary::of(task, &shown.status_of(task));
        store.scan_stamped(&names, summary, &mut |name, stamp, seen| match seen {
            Ok(task) => rows.put(stamp, task),
            Err(_) => rows.put_unreadable(stamp, name),
        });
        followed.catch_up(store, usize::MAX)?;
        (followed.compared_at, followed.took) = (Instant::now(), begun.elapsed() / COMPARE_SHARE);
        Ok(followed)
    }

    /// Returns when all files are to be compared again.
    fn due_at(&self) -> Instant {
        self.compared_at + COMPARE_INTERVAL.max(self.took * COMPARE_SHARE)
    }

    /// Returns whether the last comparison is recent enough.
    fn is_fresh(&self) -> bool {
        let age = self.compared_at.elapsed();
        age < MAX_AGE.max(self.took * (COMPARE_SHARE + 2))
    }

    /// Reads what has changed according to the feed. Returns `false` when it is more than `most` tasks; then the rest
    /// stays to be read.
    fn catch_up(&mut self, store: &Store, most: usize) -> Result<bool> {
        let mut left = most;
        let mut has_changed = false;
        loop {
            let entries = store.feed_after(&mut self.feed, 1000)?;
            if entries.is_empty() {
                let unsteady = if has_changed { self.rows.unsteady(store.now().wall) } else { Vec::new() };
                if unsteady.len() > left {
                    return Ok(false);
                }
                self.put_all(read_rows(store, &unsteady));
                return Ok(true);
            }
            has_changed = true;
            let names: BTreeSet<String> =
                entries.into_iter().map(|entry| entry.task_id.to_string()).collect();
            let names: Vec<String> = names.into_iter().collect();
            left = left.saturating_sub(names.len());
            self.put_all(read_rows(store, &names));
            if left == 0 {
                return Ok(false);
            }
        }
    }

    fn put_all(&mut self, read: Vec<ReadRow>) {
        for (name, stamp, seen) in read {
            match seen {
                Some(Ok(task)) => self.rows.put(stamp, task),
                Some(Err(_)) => self.rows.put_unreadable(stamp, &name),
                None => self.rows.remove(&name),
            }
        }
    }

    /// Puts a page together from rows that are as their files are.
    fn page(&mut self, store: &Store, query: &PageQuery) -> Result<TaskPage> {
        let PageQuery { selection, order, limit, .. } = query;
        let after =
            query.cursor.as_deref().map(|cursor| cursor::read(*order, selection, cursor)).transpose()?;
        let read = |name: &str| {
            let read = read_rows(store, &[name.to_string()]);
            read.into_iter().find_map(|(_, _, seen)| seen?.ok())
        };
        let mut tries = 0;
        let (mut found, total) = loop {
            let (found, total) = self.rows.page(selection, *order, after.as_ref(), limit + 1, &read);
            let names = found.iter().map(|((_, name), _)| name);
            let changed: Vec<String> = names
                .filter(|name| self.rows.stamp(name) != Some(store.task_stamp(name)))
                .map(ToString::to_string)
                .collect();
            tries += 1;
            if changed.is_empty() || tries == MAX_TRIES {
                break (found, total);
            }
            self.put_all(read_rows(store, &changed));
        };
        let has_more = found.len() > *limit;
        found.truncate(*limit);
        let last = found.last().filter(|_| has_more);
        let next_cursor = last.map(|(position, _)| cursor::write(*order, selection, position));
        let entries = found.into_iter().map(|((_, name), task)| (name, task)).collect();
        Ok(TaskPage { entries, total, next_cursor })
    }
}
