//! The history of each task, events.jsonl.
//!
//! It is a copy: events are committed with task.json, which holds the newest ones itself. They are appended
//! after the commit under the store lock, without a sync; the next writer adds what is missing after a crash.

use std::fs::File;
use std::io::{Result as IoResult, Write};
use std::path::Path;

use serde_json::Value;

use super::atomic;
use super::bounded_file;
use super::dir::Dir;
use super::file_tail::{FIRST_READ, FileTail, lines};
use super::layout::EVENTS_FILE;
use crate::error::{Error, Result};
use crate::model::{Event, Task, json};

/// How many events task.json holds before events.jsonl is synced and they are removed from task.json.
pub(super) const MAX_RECENT_EVENTS: usize = 16;

/// The largest events.jsonl or feed read at once, in bytes.
const MAX_READ: u64 = 1024 * 1024 * 1024;

/// Appends the events in task.json that are missing in events.jsonl.
pub(super) fn append(dir: &Dir, task: &Task) -> Result<()> {
    let mut file = atomic::open_for_append(dir, EVENTS_FILE)?;
    let path = dir.path().join(EVENTS_FILE);
    let mut tail = FileTail::of_whole_lines(&file, &path)?;
    cut_uncommitted(&file, &path, task, &mut tail)?;
    let written = last_number(&file, task, &mut tail).map_err(|error| Error::io("read", &path, error))?;
    let lines: String = task
        .bookkeeping
        .recent
        .iter()
        .filter(|event| event.n.is_some_and(|n| n > written))
        .map(|event| json::to_ascii_line(&event.to_object()))
        .collect();
    file.write_all(lines.as_bytes()).map_err(|error| Error::io("write", &path, error))
}

/// Makes events.jsonl durable, so that its events can be removed from task.json.
pub(super) fn sync(dir: &Dir) -> Result<()> {
    let file = atomic::open_for_append(dir, EVENTS_FILE)?;
    atomic::sync_file(&file, &dir.path().join(EVENTS_FILE))
}

/// Cuts off our newest lines that task.json does not confirm: after a power cut the copy of an event may
/// exist without its commit. Events in task.json are written again.
fn cut_uncommitted(file: &File, path: &Path, task: &Task, tail: &mut FileTail) -> Result<()> {
    loop {
        let uncommitted: usize = tail
            .bytes
            .split_inclusive(|byte| *byte == b'\n')
            .rev()
            .take_while(|line| is_uncommitted(line, task))
            .map(<[u8]>::len)
            .sum();
        let keep = tail.bytes.len() - uncommitted;
        // The bytes may begin in the middle of a line, which cannot be judged.
        if !tail.is_all() && tail.bytes[..keep].iter().filter(|byte| **byte == b'\n').count() < 2 {
            tail.read_more(file).map_err(|error| Error::io("read", path, error))?;
            continue;
        }
        return match uncommitted {
            0 => Ok(()),
            _ => tail.cut(file, keep).map_err(|error| Error::io("write", path, error)),
        };
    }
}

/// Returns whether a line has one of our numbers but differs from the event of that number in task.json.
fn is_uncommitted(line: &[u8], task: &Task) -> bool {
    let Some(n) = json::parse_object(line).ok().and_then(|object| object.get("n")?.as_u64()) else {
        return false;
    };
    match task.bookkeeping.recent.iter().find(|event| event.n == Some(n)) {
        Some(event) => json::to_ascii_line(&event.to_object()).as_bytes() != line,
        None => n > task.bookkeeping.last_event,
    }
}

/// Returns the number of our newest event in the file. Lines of other writers have no number, or one that we
/// have not assigned yet.
fn last_number(file: &File, task: &Task, tail: &mut FileTail) -> IoResult<u64> {
    loop {
        let newest = tail.lines().rev().find_map(|line| {
            let object = json::parse_object(line).ok()?;
            object.get("n").and_then(Value::as_u64).filter(|n| *n <= task.bookkeeping.last_event)
        });
        match newest {
            Some(n) => return Ok(n),
            None if tail.is_all() => return Ok(0),
            None => tail.read_more(file)?,
        }
    }
}

/// Returns the whole history of a task: the events in events.jsonl, and those that are only in task.json yet.
/// Lines that are not events are skipped.
pub(super) fn events(dir: &Dir, task: &Task) -> Result<Vec<Event>> {
    let content = bounded_file::read(dir, EVENTS_FILE, MAX_READ)?;
    let mut events: Vec<Event> =
        content.iter().flat_map(|content| lines(&content.bytes)).filter_map(Event::parse).collect();
    let numbers = events.iter().filter_map(|event| event.n);
    let written = numbers.filter(|n| *n <= task.bookkeeping.last_event).max().unwrap_or(0);
    events.extend(task.bookkeeping.recent.iter().filter(|event| event.n > Some(written)).cloned());
    Ok(events)
}

/// Returns the newest event of a task.
pub(super) fn last_event(dir: &Dir, task: &Task) -> Result<Option<Event>> {
    let newest = task.bookkeeping.recent.last();
    let Some(file) = open_read(dir, EVENTS_FILE)? else {
        return Ok(newest.cloned());
    };
    let path = dir.path().join(EVENTS_FILE);
    let fail = |error| Error::io("read", &path, error);
    let mut tail = FileTail::read(&file, FIRST_READ).map_err(fail)?;
    let last = loop {
        // Where another writer has dropped our keys, every number is accepted.
        let end = task.bookkeeping.last_event;
        let counts = |event: &Event| end == 0 || event.n.is_none_or(|n| n <= end);
        let last = tail.lines().rev().filter_map(Event::parse).find(counts);
        if last.is_some() || tail.is_all() {
            break last;
        }
        tail.read_more(&file).map_err(fail)?;
    };
    Ok(match (last, newest) {
        (Some(last), Some(newest)) if last.n.is_some_and(|n| Some(n) < newest.n) => Some(newest.clone()),
        (Some(last), _) => Some(last),
        (None, newest) => newest.cloned(),
    })
}

pub(super) fn open_read(dir: &Dir, name: &str) -> Result<Option<File>> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("open", dir.path().join(name), errno)),
    }
}

/// How many numbers may be missing between two lines of one history.
const MAX_NUMBER_GAP: u64 = 10_000;

/// Returns the number of our newest event from a history, for a task.json that lacks it. A number far beyond
/// the one before it is not ours.
pub(super) fn newest_number(events: &[Event]) -> u64 {
    let numbers = events.iter().filter_map(|event| event.n);
    numbers.fold(0, |end, n| if n <= end.saturating_add(MAX_NUMBER_GAP) { end.max(n) } else { end })
}

/// Returns the number of claims in a history, and of releases and questions that gave the attempt back.
pub(super) fn count_claims(events: &[Event]) -> (u64, u64) {
    let claims = events.iter().filter(|event| event.kind == "claimed").count() as u64;
    let gives_back = |event: &&Event| match event.kind.as_str() {
        "released" => !event.data.contains_key("spent"),
        "asked" => !event.data.contains_key("kept_claim"),
        _ => false,
    };
    (claims, events.iter().filter(gives_back).count() as u64)
}
