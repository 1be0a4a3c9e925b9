//! Reads many tasks of a store.
//!
//! The cost is mostly system calls, so the usual case takes three for each task: one open that goes straight
//! to task.json and refuses every link on its way, one read, one close. Everything unusual is read again by
//! `task_files.rs`, which reports what is wrong. Large stores are read by several threads; results come in
//! order, and only a few are buffered.

use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;

#[cfg(feature = "cli")]
use rustix::fs::{AtFlags, Stat};

use super::dir::Dir;
use super::layout::{Layout, TASK_FILE};
use super::{FileStore, ShownStates, task_files};
use crate::error::{Error, Result, printable};
use crate::model::transition::check_redrive;
use crate::model::{GroupName, Task, TaskId, TaskText};
use crate::os::directory;

/// Files up to this size are read by one call, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// The number of results that a thread passes on at once: few at first, for callers that need few, then more,
/// since waking the receiver costs as much as reading several tasks.
const FIRST_GROUP: usize = 8;
const LAST_GROUP: usize = 128;

/// The maximum number of buffered groups of a thread.
const MAX_BUFFERED_GROUPS: usize = 2;

/// The number of reading threads. More than most machines have processors: files not in the page cache are read
/// from the disk, which handles many requests at a time.
const MAX_THREADS: usize = 8;

/// Up to this many tasks are read without threads.
const MAX_WITHOUT_THREADS: usize = 256;

/// What changes whenever a task.json does, whoever writes it: drawn from its inode, size and time of change. `None` when
/// there is no such file.
#[cfg(feature = "cli")]
pub(crate) type TaskStamp = Option<u64>;

/// What looks at many tasks needs of an engine.
pub(super) trait TaskScan {
    /// Returns the names of all tasks, sorted.
    fn names(&self) -> Result<Vec<String>>;

    /// Returns the names of tasks among which are all of a group.
    fn names_of_group(&self, group: &GroupName) -> Result<Vec<String>>;

    /// Reads tasks as [`Store::scan_names`](super::Store::scan_names) does.
    fn each<T: Send>(
        &self,
        names: &[String],
        extract: impl Fn(&TaskText<'_>) -> T + Sync,
        visit: &mut dyn FnMut(&str, Result<T>) -> ControlFlow<()>,
    );
}

/// Reads tasks as [`TaskScan::each`] does where a part of them would be taken for all: ends when the store is lost meanwhile.
///
/// # Errors
/// That of the store.
pub(super) fn all<T: Send>(
    store: &impl TaskScan,
    names: &[String],
    extract: impl Fn(&TaskText<'_>) -> T + Sync,
    visit: &mut dyn FnMut(Result<T>) -> ControlFlow<()>,
) -> Result<()> {
    let mut lost = None;
    store.each(names, extract, &mut |_, seen| match seen {
        Err(error) if error.is_of_whole_store() => {
            lost = Some(error);
            ControlFlow::Break(())
        }
        seen => visit(seen),
    });
    lost.map_or(Ok(()), Err)
}

impl TaskScan for FileStore {
    fn names(&self) -> Result<Vec<String>> {
        self.task_names()
    }

    fn names_of_group(&self, group: &GroupName) -> Result<Vec<String>> {
        self.task_names_of_group(group)
    }

    fn each<T: Send>(
        &self,
        names: &[String],
        extract: impl Fn(&TaskText<'_>) -> T + Sync,
        visit: &mut dyn FnMut(&str, Result<T>) -> ControlFlow<()>,
    ) {
        scan_with_progress(&self.layout, names, &extract, visit);
    }
}

/// Returns the dead tasks of a lane that were not retried yet, oldest first.
pub(super) fn dead_tasks(
    store: &impl TaskScan,
    shown: &ShownStates<'_>,
    lane: &str,
    unreadable: &mut dyn FnMut(Error),
) -> Result<Vec<TaskId>> {
    let dead = |task: &TaskText<'_>| {
        let is_candidate =
            task.spec.lane.is(lane) && task.retried_as.is_none() && shown.status_of(task).is_terminal();
        let is_dead = is_candidate && check_redrive(&shown.shown(task.to_task())).is_ok();
        is_dead.then(|| (task.created_at, task.id.clone()))
    };
    let mut found = Vec::new();
    all(store, &store.names()?, dead, &mut |seen| {
        match seen {
            Ok(seen) => found.extend(seen),
            Err(error) => unreadable(error),
        }
        ControlFlow::Continue(())
    })?;
    found.sort();
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

/// Reads small files with few system calls.
pub(super) struct FastReader {
    buffer: Vec<u8>,
    path: String,
}

impl FastReader {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; BUFFER_BYTES], path: String::new() }
    }

    /// Returns the content of the regular file `name` in the directory `inside` of `dir`, or in `dir` itself.
    /// `None` for anything unusual, which needs a closer look.
    pub(super) fn read_small(&mut self, dir: &Dir, inside: &str, name: &str) -> Option<&[u8]> {
        self.path.clear();
        for part in [inside, name] {
            if !self.path.is_empty() {
                self.path.push('/');
            }
            self.path.push_str(part);
        }
        let fd = directory::open_beneath(dir, &self.path).ok()?;
        // Pipes refuse a read at an offset.
        let length = rustix::io::pread(&fd, &mut self.buffer, 0).ok()?;
        // If the buffer is full, there may be more.
        (length < self.buffer.len()).then(|| &self.buffer[..length])
    }
}

/// Applies `extract` to each name and passes the results to `take` in the order of the names, until that breaks.
/// Each thread has a scratch value of its own.
pub(super) fn map_in_order<N, D, T>(
    names: &[N],
    scratch: &(impl Fn() -> D + Sync),
    extract: &(impl Fn(&mut D, &N) -> T + Sync),
    take: &mut dyn FnMut(&N, T) -> ControlFlow<()>,
) -> ControlFlow<()>
where
    N: Sync,
    T: Send,
{
    if names.len() <= MAX_WITHOUT_THREADS {
        let mut scratch = scratch();
        return names.iter().try_for_each(|name| take(name, extract(&mut scratch, name)));
    }
    let groups = &groups(names);
    std::thread::scope(|scope| {
        let mut queues = Vec::with_capacity(MAX_THREADS);
        for thread in 0..MAX_THREADS {
            let (sender, receiver) = sync_channel::<Vec<T>>(MAX_BUFFERED_GROUPS);
            let work = move || {
                let mut scratch = scratch();
                for group in groups.iter().skip(thread).step_by(MAX_THREADS) {
                    let results = group.iter().map(|name| extract(&mut scratch, name)).collect();
                    if sender.send(results).is_err() {
                        return;
                    }
                }
            };
            let spawned = std::thread::Builder::new().spawn_scoped(scope, work);
            queues.push(spawned.ok().map(|_| receiver));
        }
        let mut scratch = scratch();
        for (number, group) in groups.iter().enumerate() {
            // A thread that ends early has panicked, which ends the process.
            let results: Vec<T> = match &queues[number % MAX_THREADS] {
                Some(queue) => queue.recv().unwrap_or_default(),
                // Without a thread it is done here.
                None => group.iter().map(|name| extract(&mut scratch, name)).collect(),
            };
            for (name, result) in group.iter().zip(results) {
                take(name, result)?;
            }
        }
        ControlFlow::Continue(())
    })
}

/// Returns the names in groups, which are dealt to the threads in turn.
fn groups<N>(mut names: &[N]) -> Vec<&[N]> {
    let mut groups = Vec::new();
    while !names.is_empty() {
        let size = FIRST_GROUP << (groups.len() / MAX_THREADS).min(8);
        let (group, rest) = names.split_at(size.min(LAST_GROUP).min(names.len()));
        groups.push(group);
        names = rest;
    }
    groups
}

/// Reads some tasks and passes what `extract` returns for each to `visit`, in the order given, until that
/// breaks.
pub(super) fn scan_names<T: Send>(
    layout: &Layout,
    names: &[String],
    extract: &(impl Fn(&TaskText<'_>) -> T + Sync),
    visit: &mut dyn FnMut(&str, Result<T>) -> ControlFlow<()>,
) {
    let extract = |reader: &mut FastReader, name: &String| scan_name(layout, reader, name, extract);
    let _ = map_in_order(names, &FastReader::new, &extract, &mut |name, seen| match seen.transpose() {
        Some(seen) => visit(name, seen),
        // Removed between the listing and the read: as if it had never been listed.
        None => ControlFlow::Continue(()),
    });
}

/// Reads some tasks as [`scan_names`] does, and reports the progress.
pub(super) fn scan_with_progress<T: Send>(
    layout: &Layout,
    names: &[String],
    extract: &(impl Fn(&TaskText<'_>) -> T + Sync),
    visit: &mut dyn FnMut(&str, Result<T>) -> ControlFlow<()>,
) {
    let mut done = 0;
    scan_names(layout, names, extract, &mut |name, seen| {
        done += 1;
        layout.progress.report(done, names.len());
        visit(name, seen)
    });
    layout.progress.report(names.len(), names.len());
}

/// Reads the task in one entry of the task directory; `None` when it is gone.
pub(super) fn scan_name<T>(
    layout: &Layout,
    reader: &mut FastReader,
    name: &str,
    extract: &impl Fn(&TaskText<'_>) -> T,
) -> Result<Option<T>> {
    if TaskId::is_valid(name)
        && let Some(bytes) = reader.read_small(&layout.tasks, name, TASK_FILE)
        && let Ok(text) = std::str::from_utf8(bytes)
        && let Some(Ok(task)) = TaskText::parse(text)
        && task.id.as_str() == name
    {
        return Ok(Some(extract(&task)));
    }
    let shown = || printable(&layout.tasks.path().join(name).to_string_lossy());
    let Ok(id) = TaskId::parse(name) else {
        return Err(Error::corrupt(format!("{} is not the directory of a task", shown())));
    };
    let Some(dir) = layout.task(&id)? else { return Ok(None) };
    match task_files::with_task(&dir, &id, extract)? {
        Some(seen) => Ok(Some(seen)),
        None => Err(Error::corrupt(format!("{} has no task.json", shown()))),
    }
}

#[cfg(feature = "cli")]
fn stamp_of(tasks: &Dir, path: &str) -> TaskStamp {
    let stat: Stat = rustix::fs::statat(tasks, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let parts = [stat.st_ino as u64, stat.st_size as u64, stat.st_ctime as u64, stat.st_ctime_nsec as u64];
    // Mixed as FNV-1a mixes bytes.
    Some(parts.iter().fold(0xcbf2_9ce4_8422_2325, |mixed: u64, part| {
        (mixed ^ part).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
    }))
}

#[cfg(feature = "cli")]
impl FileStore {
    pub(crate) fn scan_stamped<T: Send>(
        &self,
        names: &[String],
        extract: impl Fn(&TaskText<'_>) -> T + Sync,
        visit: &mut dyn FnMut(&str, TaskStamp, Result<T>),
    ) {
        let read = |reader: &mut FastReader, name: &String| {
            let stamp = self.task_stamp(name);
            (stamp, scan_name(&self.layout, reader, name, &extract))
        };
        let _ = map_in_order(names, &FastReader::new, &read, &mut |name, (stamp, seen)| {
            if let Some(seen) = seen.transpose() {
                visit(name, stamp, seen);
            }
            ControlFlow::Continue(())
        });
    }

    pub(crate) fn task_stamp(&self, name: &str) -> TaskStamp {
        stamp_of(&self.layout.tasks, &format!("{name}/{TASK_FILE}"))
    }

    pub(crate) fn task_names_stamp(&self) -> TaskStamp {
        stamp_of(&self.layout.tasks, ".")
    }
}

impl FileStore {
    pub(crate) fn task_names(&self) -> Result<Vec<String>> {
        let mut names = self.layout.tasks.names()?;
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) fn scan_names<T: Send>(
        &self,
        names: &[String],
        extract: impl Fn(&TaskText<'_>) -> T + Sync,
        visit: &mut dyn FnMut(&str, Result<T>) -> ControlFlow<()>,
    ) {
        scan_names(&self.layout, names, &extract, visit);
    }

    pub(crate) fn scan(&self, visit: &mut dyn FnMut(&str, Result<Task>)) -> Result<()> {
        scan_with_progress(
            &self.layout,
            &self.task_names()?,
            &|task| self.with_current_paths(task.to_task()),
            &mut |name, task| {
                visit(name, task);
                ControlFlow::Continue(())
            },
        );
        Ok(())
    }

    pub(crate) fn dead_tasks(&self, lane: &str, unreadable: &mut dyn FnMut(Error)) -> Result<Vec<TaskId>> {
        dead_tasks(self, &self.shown_states(), lane, unreadable)
    }

    /// Reads one task; `None` when it is gone.
    pub(super) fn scan_one(&self, id: &TaskId) -> Result<Option<Task>> {
        scan_name(&self.layout, &mut FastReader::new(), id.as_str(), &|task: &TaskText<'_>| {
            self.with_current_paths(task.to_task())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_only_as_many_as_wanted() {
        let names: Vec<usize> = (0..10 * LAST_GROUP + 7).collect();
        for enough in [0, 1, FIRST_GROUP, 5 * LAST_GROUP + 3, names.len()] {
            let mut seen = Vec::new();
            let _ = map_in_order(&names, &|| 1, &|one, name| name + *one, &mut |name, result| {
                assert_eq!(result, name + 1);
                seen.push(*name);
                if seen.len() < enough { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            assert_eq!(seen, names[..enough.max(1)]);
        }
    }
}
