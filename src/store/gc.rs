//! Removes tasks that ended long ago.
//!
//! Only ended tasks are removed, by the time they ended. A task stays while an open task depends on it, retries it or
//! continues it (`parent_task_id`), and while the task that it retries stays, so that no reference dangles. The idempotency key
//! of a task is removed with it; its correlation then leads to the newest task that stays.
//!
//! The archive is written first, and only archived tasks are removed. It gets its name when all of it is on the
//! disk; a task that changes after that stays.
//!
//! A task is removed by one rename into `tmp/` and deleted there: a reader sees it or not, and a full disk is
//! no obstacle. Changes older than the given age are removed from the feed (unless only one lane is cleaned),
//! so that it does not grow forever; [`Store::feed_start`](super::Store::feed_start) returns where it begins.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use serde_json::Value;

use super::atomic::Archive;
use super::correlation_file::correlation_name;
use super::dir::Dir;
use super::index::Index;
use super::layout::FEED;
use super::lock::TaskLock;
use super::task_files::LoadedTask;
use super::transfer::export_line;
use super::{FileStore, atomic, bounded_file, feed, task_files};
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::{Sha256, Status, Task, TaskId, TaskSpec, Time};

/// The number of tasks that are removed with one sync.
const GROUP_SIZE: usize = 32;

/// How long ago the tasks ended that a `gc` removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GcAge {
    /// At least this long ago. An age of 0 is refused, because it is more often a mistake than a request to remove
    /// every ended task.
    OlderThan(Duration),
    /// However recently.
    AllEnded,
}

impl Default for GcAge {
    /// Returns an age of 0, which [`Store::gc`](super::Store::gc) refuses: nothing is removed unless an age is given.
    fn default() -> Self {
        Self::OlderThan(Duration::ZERO)
    }
}

/// The plan of a `gc`: which tasks to remove.
#[derive(Clone, Debug, Default)]
pub struct GcPlan {
    /// How long ago the tasks ended.
    pub age: GcAge,
    /// Only tasks of this lane.
    pub lane: Option<String>,
    /// Report what would be removed, and change nothing.
    pub dry_run: bool,
    /// Write each task to a new file in this directory before it is removed, as
    /// [`Store::export`](super::Store::export) does.
    pub archive: Option<PathBuf>,
}

/// What [`Store::gc`](super::Store::gc) removed, or would remove.
#[derive(Clone, Debug, Default)]
pub struct GcReport {
    /// The removed tasks, the one that ended first at the head.
    pub removed: Vec<TaskId>,
    /// The number of tasks that are old enough but stay, since a task that stays refers to them or another process
    /// is changing them.
    pub kept: u64,
    /// The file that the removed tasks were written to.
    pub archive: Option<PathBuf>,
    /// The number of entries removed from the feed.
    pub feed_dropped: u64,
    /// Failures that did not stop the removal, one sentence each.
    pub notes: Vec<String>,
}

/// A task that is old enough.
struct GcCandidate {
    ended: Time,
    id: TaskId,
    retry_of: Option<String>,
    created: Time,
    /// The name of the file of its correlation.
    correlation: String,
    /// The SHA-256 of the archived task.json.
    archived: Option<Sha256>,
}

/// The newest task that stays, for the file of each correlation.
type Successors = HashMap<String, (Time, TaskId)>;

fn record_successor(successors: &mut Successors, correlation: String, created: Time, id: &TaskId) {
    let task = (created, id.clone());
    let newest = successors.entry(correlation).or_insert_with(|| task.clone());
    if *newest < task {
        *newest = task;
    }
}

impl FileStore {
    pub(crate) fn gc(&self, plan: &GcPlan) -> Result<GcReport> {
        let least_age = match plan.age {
            GcAge::OlderThan(Duration::ZERO) => {
                return Err(Error::invalid("an age of 0 removes every task that has ended")
                    .with_hint("give --all-ended if that is meant"));
            }
            GcAge::OlderThan(age) => age,
            GcAge::AllEnded => Duration::ZERO,
        };
        if let Some(archive) = &plan.archive
            && let (Ok(archive), Ok(root)) = (std::path::absolute(archive), self.root().canonicalize())
            // The directory may have to be made first.
            && archive.ancestors().find_map(|part| part.canonicalize().ok()).is_some_and(|part| part.starts_with(&root))
        {
            return Err(Error::invalid_here("an archive inside the state directory would be lost with it")
                .with_hint("name a directory outside of it with --archive"));
        }
        if !plan.dry_run {
            self.check_writable()?;
        }
        let cutoff = self.now().wall - least_age;
        let mut report = GcReport::default();
        let (mut candidates, successors) = self.candidates(plan, cutoff, &mut report)?;
        if plan.dry_run {
            report.removed = candidates.into_iter().map(|candidate| candidate.id).collect();
            if plan.lane.is_none() {
                report.feed_dropped = feed::older_than(&self.layout.root, cutoff)?.1;
            }
            return Ok(report);
        }
        if let Some(directory) = &plan.archive {
            self.archive(&mut candidates, directory, cutoff, &mut report)?;
        }
        for (n, group) in candidates.chunks(GROUP_SIZE).enumerate() {
            self.layout.progress.report(n * GROUP_SIZE, candidates.len());
            let removed = self.remove_group(group, &successors, cutoff, &mut report);
            removed.map_err(|error| match &report.archive {
                Some(path) => error.with_hint(format!(
                    "what was removed until then is in {}",
                    printable(&path.to_string_lossy())
                )),
                None => error,
            })?;
        }
        self.layout.progress.report(candidates.len(), candidates.len());
        if plan.lane.is_none()
            && let Err(error) = self.remove_old_changes(cutoff, &mut report)
        {
            report.notes.push(format!("the feed was not shortened: {}", error.message()));
        }
        if let Err(error) = self.remove_stale_answers() {
            report.notes.push(format!("the answer cache was not cleaned: {}", error.message()));
        }
        Ok(report)
    }

    /// Returns the tasks to remove, the one that ended first at the head.
    fn candidates(
        &self,
        plan: &GcPlan,
        cutoff: Time,
        report: &mut GcReport,
    ) -> Result<(Vec<GcCandidate>, Successors)> {
        let mut old = Vec::new();
        let mut successors = Successors::new();
        let mut referred: HashMap<String, Vec<String>> = HashMap::new();
        let mut wanted: Vec<String> = Vec::new();
        let mut all: HashSet<String> = HashSet::new();
        let mut blind = None;
        self.scan(&mut |name, task| {
            let task = match task {
                Ok(task) => task,
                // The tasks that it refers to are unknown, because this process cannot open files now.
                Err(error) if bounded_file::is_transient(&error) => return blind = Some(error),
                Err(error) => {
                    let name = printable(name);
                    return report.notes.push(format!("{name} stays: {}", error.message()));
                }
            };
            all.insert(task.id.to_string());
            let references = references(&task);
            if !task.status.is_terminal() {
                wanted.extend(references);
                // Its worker gets their answers.
                wanted.extend(task.spec.after.iter().map(|dependency| dependency.task.to_string()));
            } else if !references.is_empty() {
                referred.insert(task.id.to_string(), references);
            }
            if let Some(ended) = ended_at(&task)
                && ended <= cutoff
                && plan.lane.as_ref().is_none_or(|lane| task.spec.lane == lane.as_str())
            {
                let correlation = correlation_name(&task.spec.workspace_id, &task.spec.correlation_id);
                let Task { id, spec: TaskSpec { retry_of, .. }, created_at: created, .. } = task;
                old.push(GcCandidate { ended, id, retry_of, created, correlation, archived: None });
            } else {
                let correlation = correlation_name(&task.spec.workspace_id, &task.spec.correlation_id);
                record_successor(&mut successors, correlation, task.created_at, &task.id);
            }
        })?;
        if let Some(error) = blind {
            return Err(error);
        }
        let mut needed = HashSet::new();
        while let Some(id) = wanted.pop() {
            if needed.insert(id.clone()) {
                wanted.extend(referred.remove(&id).unwrap_or_default());
            }
        }
        old.sort_by(|a, b| (a.ended, &a.id).cmp(&(b.ended, &b.id)));
        let before = old.len();
        old.retain(|candidate| {
            let source_stays = candidate.retry_of.as_ref().is_some_and(|source| all.contains(source));
            let goes = !needed.contains(candidate.id.as_str()) && !source_stays;
            if goes {
                all.remove(candidate.id.as_str());
            } else {
                record_successor(
                    &mut successors,
                    candidate.correlation.clone(),
                    candidate.created,
                    &candidate.id,
                );
            }
            goes
        });
        report.kept += (before - old.len()) as u64;
        Ok((old, successors))
    }

    /// Writes the candidates to a new file in `directory`. Those that cannot be written stay.
    fn archive(
        &self,
        candidates: &mut Vec<GcCandidate>,
        directory: &Path,
        cutoff: Time,
        report: &mut GcReport,
    ) -> Result<()> {
        let directory =
            std::path::absolute(directory).map_err(|error| Error::io("find", directory, error))?;
        let mut archive = None;
        for candidate in candidates.iter_mut() {
            let Some(dir) = self.layout.task(&candidate.id)? else { continue };
            let loaded = read_or_report(&dir, &candidate.id, report)?;
            let Some(loaded) = loaded.filter(|loaded| ended_at(&loaded.task).is_some_and(|at| at <= cutoff))
            else {
                continue;
            };
            let line = match export_line(&dir, &loaded) {
                // Another gc is deleting it.
                Err(_) if self.layout.task(&candidate.id)?.is_none() => continue,
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    report.notes.push(format!("{} stays: {}", candidate.id, error.message()));
                    continue;
                }
                line => line?,
            };
            if loaded.is_current(&dir)? {
                let file = match &mut archive {
                    Some(file) => file,
                    None => archive.insert(Archive::create(&directory)?),
                };
                file.write(&line.text)?;
                report.notes.extend(line.left_out);
                candidate.archived = Some(loaded.sha256());
            }
        }
        if let Some(archive) = archive {
            let time = self.now().wall.compact();
            let numbered = (2..).map(|n| format!("lanes-{time}-{n}.jsonl"));
            let names = [format!("lanes-{time}.jsonl")].into_iter().chain(numbered);
            report.archive = Some(archive.publish(names)?);
        }
        let before = candidates.len();
        candidates.retain(|candidate| candidate.archived.is_some());
        report.kept += (before - candidates.len()) as u64;
        Ok(())
    }

    fn remove_group(
        &self,
        group: &[GcCandidate],
        successors: &Successors,
        cutoff: Time,
        report: &mut GcReport,
    ) -> Result<()> {
        let mut held: Vec<(Dir, TaskLock, LoadedTask, &GcCandidate)> = Vec::with_capacity(group.len());
        for candidate in group {
            // Gone already: another gc removed it.
            let Some(dir) = self.layout.task(&candidate.id)? else { continue };
            let lock = TaskLock::try_acquire(&dir)?;
            let loaded = read_or_report(&dir, &candidate.id, report)?;
            let goes = |loaded: &LoadedTask| {
                ended_at(&loaded.task).is_some_and(|at| at <= cutoff)
                    && candidate.archived.as_ref().is_none_or(|archived| *archived == loaded.sha256())
            };
            match (lock, loaded) {
                (Some(lock), Some(loaded)) if goes(&loaded) => held.push((dir, lock, loaded, candidate)),
                _ => report.kept += 1,
            }
        }
        let tmp = self.layout.tmp().ok();
        let (before, mut discarded) = (report.removed.len(), Vec::new());
        for (dir, lock, loaded, candidate) in held {
            let id = loaded.task.id.clone();
            let successor = successors.get(&candidate.correlation).map(|(_, id)| id);
            if self.remove_one(&dir, &loaded, successor, tmp.as_ref(), &mut discarded)? {
                report.removed.push(id);
            } else {
                report.kept += 1;
            }
            drop(lock);
        }
        if report.removed.len() > before {
            // Before they are deleted: a power cut must not bring back a part of one.
            atomic::sync_dir(&self.layout.tasks)?;
        }
        for gone in discarded {
            if let Some(tmp) = &tmp
                && let Err(error) = atomic::remove_tree(tmp, &gone)
            {
                report.notes.push(error.message().to_string());
            }
        }
        Ok(())
    }

    /// Moves one task out of the queue, and adds its directory in `tmp`, which is left to delete, to `discarded`.
    /// Returns `false` when another process changed the task meanwhile.
    fn remove_one(
        &self,
        dir: &Dir,
        loaded: &LoadedTask,
        successor: Option<&TaskId>,
        tmp: Option<&Dir>,
        discarded: &mut Vec<String>,
    ) -> Result<bool> {
        let task = &loaded.task;
        let index = Index::open(&self.layout)?;
        let successor = successor.and_then(|id| self.scan_one(id).ok().flatten());
        let lock = self.lock_store()?;
        if !loaded.is_current(dir)? {
            return Ok(false);
        }
        // An outdated index stays outdated: rebuilding it would need disk space.
        let state = index.state_if_current()?;
        match tmp {
            Some(tmp) => match atomic::discard(&self.layout.tasks, task.id.as_str(), tmp) {
                Ok(name) => discarded.push(name),
                // Another gc has removed the task since it was read.
                Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => return Ok(false),
                Err(error) => return Err(error),
            },
            // There is no space even for the staging directory.
            None => atomic::remove_tree(&self.layout.tasks, task.id.as_str())?,
        }
        match &state {
            Some(state) => index.removed(&lock, state, task, successor.as_ref())?,
            None => index.forget(task, successor.as_ref())?,
        }
        Ok(true)
    }

    fn remove_old_changes(&self, cutoff: Time, report: &mut GcReport) -> Result<()> {
        let root = &self.layout.root;
        let (bytes, count) = feed::older_than(root, cutoff)?;
        if count > 0 {
            atomic::drop_head(&self.layout.tmp()?, root, FEED, bytes, || self.lock_store())?;
            report.feed_dropped = count;
        }
        Ok(())
    }
}

/// Reads a task. One that cannot be read stays, which is added to the report.
fn read_or_report(dir: &Dir, id: &TaskId, report: &mut GcReport) -> Result<Option<LoadedTask>> {
    match task_files::task(dir, id) {
        Err(error) if !bounded_file::is_transient(&error) => {
            report.notes.push(format!("{id} stays: {}", error.message()));
            Ok(None)
        }
        read => read,
    }
}

/// Returns when a task ended; `None` while it is open.
fn ended_at(task: &Task) -> Option<Time> {
    match &task.status {
        Status::Completed { at, .. } | Status::Failed { at, .. } => Some(*at),
        Status::Queued
        | Status::Scheduled { .. }
        | Status::Blocked { .. }
        | Status::Claimed(_)
        | Status::InputRequired
        | Status::Unknown(_) => None,
    }
}

/// Returns the ids of the tasks that this one repeats or continues.
fn references(task: &Task) -> Vec<String> {
    let parent = task.spec.metadata.get("parent_task_id").and_then(Value::as_str).map(str::to_string);
    task.spec.retry_of.iter().cloned().chain(parent).collect()
}
