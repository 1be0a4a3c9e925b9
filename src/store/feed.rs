//! The feed: every change of the store, in the order of the commits.
//!
//! Like the histories it is a copy: appended after the commit under the store lock, without a sync. After a
//! power cut, the rebuild of the index adds the missing entries.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use serde_json::Value;

use super::atomic;
use super::dir::Dir;
use super::file_tail::{FileTail, lines};
use super::history::open_read;
use super::layout::FEED;
use crate::error::{Error, Result};
use crate::model::json::raw::{RawString, read_object};
use crate::model::{Event, LaneName, Task, TaskId, Time, json};

/// The type of the event of a submit.
const CREATED: &str = "created";

/// One change of the store.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedEntry {
    /// Its number: grows with every change of the store and is never used twice.
    pub seq: u64,
    /// The task that changed.
    pub task_id: TaskId,
    /// The lane of the task after the change.
    pub lane: LaneName,
    /// The event that was recorded.
    pub event: Event,
    /// The name of the task's state after the change; `None` in an entry of an older version, as for the next two.
    pub state: Option<String>,
    /// The number of its attempts after the change.
    pub attempt: Option<u32>,
    /// Its title, if it was submitted by this change.
    pub title: Option<String>,
}

impl FeedEntry {
    /// Returns the entry as an object, the form in which it is written.
    pub fn to_object(&self) -> json::Object {
        let mut object = self.event.to_object();
        object.insert("seq".into(), self.seq.into());
        object.insert("task_id".into(), self.task_id.as_str().into());
        object.insert("lane".into(), (&self.lane).into());
        let more = [
            ("state", self.state.clone().map(Value::from)),
            ("attempt", self.attempt.map(Value::from)),
            ("title", self.title.clone().map(Value::from)),
        ];
        object.extend(more.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?))));
        object
    }

    pub(super) fn from_line(line: &[u8]) -> Option<Self> {
        read_object(line, |raw| {
            let (mut seq, mut task_id, mut lane) = (None, None, None);
            let (mut state, mut attempt, mut title) = (None, None, None);
            raw.members(|key, raw| match key {
                "seq" => seq = raw.integer(),
                "task_id" => task_id = raw.text(),
                "lane" => lane = raw.text(),
                "state" => state = raw.text(),
                "attempt" => attempt = raw.integer(),
                "title" => title = raw.text(),
                _ => {}
            });
            let text = |text: Option<RawString<'_>>| text.map(|text| text.decode().into_owned());
            Some(Self {
                seq: seq?,
                task_id: TaskId::parse(&task_id?.decode()).ok()?,
                lane: LaneName::stored(lane?.decode()),
                event: Event::from_raw(raw)?,
                state: text(state),
                attempt,
                title: text(title),
            })
        })
        .ok()?
    }
}

/// Appends events of a task to the feed, as [`append_all`] does.
pub(super) fn append(root: &Dir, task: &Task, events: &[Event], seq: u64) -> Result<u64> {
    if events.is_empty() { Ok(seq) } else { append_all(root, &[(task, events)], seq) }
}

/// Appends events of tasks to the feed and returns the last number. They are numbered from `seq + 1`, or from the end
/// of the feed: a writer may have been killed before `seq` was updated.
pub(super) fn append_all<E: AsRef<[Event]>>(root: &Dir, events: &[(&Task, E)], mut seq: u64) -> Result<u64> {
    let path = root.path().join(FEED);
    let mut file = atomic::open_for_append(root, FEED)?;
    let end = FileTail::of_whole_lines(&file, &path)?;
    seq = seq.max(end_number(&file, end).map_err(|error| Error::io("read", &path, error))?);
    let mut lines = String::new();
    for (task, events) in events {
        for event in events.as_ref() {
            seq = seq.saturating_add(1);
            let (task_id, lane) = (task.id.clone(), task.spec.lane.clone());
            let entry = FeedEntry {
                seq,
                task_id,
                lane,
                event: event.clone(),
                state: Some(task.status.as_str().to_string()),
                attempt: Some(task.attempt),
                title: (event.kind == CREATED).then(|| task.title()),
            };
            lines.push_str(&json::to_ascii_line(&entry.to_object()));
        }
    }
    file.write_all(lines.as_bytes()).map_err(|error| Error::io("write", path, error))?;
    Ok(seq)
}

/// Returns the last number in use; `end` is the part of the end that was read already.
fn end_number(file: &File, mut end: FileTail) -> std::io::Result<u64> {
    loop {
        if let Some(number) = end.lines().rev().find_map(number) {
            return Ok(number);
        }
        if end.is_all() {
            return Ok(0);
        }
        end.read_more(file)?;
    }
}

/// Withdraws entries among the newest `length` bytes for which `happened` returns `false`, each in place:
/// readers skip the line that replaces it, and the numbers of the others stay.
pub(super) fn withdraw(
    root: &Dir,
    length: u64,
    mut happened: impl FnMut(&FeedEntry, &[FeedEntry]) -> Result<bool>,
) -> Result<()> {
    let Some(file) = open_read(root, FEED)? else {
        return Ok(());
    };
    let fail = |error| Error::io("read", root.path().join(FEED), error);
    let tail = FileTail::read(&file, length).map_err(fail)?;
    let all: Vec<FeedEntry> = tail.lines().filter_map(FeedEntry::from_line).collect();
    let mut at = tail.start();
    for line in tail.bytes.split_inclusive(|byte| *byte == b'\n') {
        if let Some(entry) = FeedEntry::from_line(line).filter(|_| line.ends_with(b"\n"))
            && !happened(&entry, &all)?
        {
            let start = format!("{{\"seq\": {}, \"withdrawn\": true", entry.seq);
            let text = format!("{start:<width$}}}\n", width = line.len().saturating_sub(2));
            if text.len() == line.len() {
                let file = atomic::open_for_update(root, FEED)?;
                file.write_all_at(text.as_bytes(), at)
                    .map_err(|error| Error::io("write", root.path().join(FEED), error))?;
            }
        }
        at += line.len() as u64;
    }
    Ok(())
}

/// Returns whether the feed ends with a complete line.
pub(super) fn ends_with_complete_line(root: &Dir) -> Result<bool> {
    let Some(file) = open_read(root, FEED)? else {
        return Ok(true);
    };
    let fail = |error| Error::io("read", root.path().join(FEED), error);
    Ok(FileTail::read(&file, 1).map_err(fail)?.bytes.last().is_none_or(|last| *last == b'\n'))
}

/// Cuts an incomplete line off the end of the feed. The caller holds the store lock.
pub(super) fn cut_incomplete_line(root: &Dir) -> Result<()> {
    FileTail::of_whole_lines(&atomic::open_for_append(root, FEED)?, &root.path().join(FEED)).map(drop)
}

/// Passes every complete line of the feed to `visit`.
pub(super) fn each_line(root: &Dir, visit: impl FnMut(&[u8])) -> Result<()> {
    match open_read(root, FEED)? {
        Some(file) => each_line_in(&file, 0..u64::MAX, visit)
            .map_err(|error| Error::io("read", root.path().join(FEED), error)),
        None => Ok(()),
    }
}

/// Passes the lines that begin within a part of the open feed to `visit`.
pub(super) fn each_line_in(
    file: &File,
    part: Range<u64>,
    mut visit: impl FnMut(&[u8]),
) -> std::io::Result<()> {
    let mut line = Vec::new();
    // The line end before the part shows whether a line begins with it.
    let mut at = part.start.saturating_sub(1);
    let mut reader = BufReader::with_capacity(64 * 1024, ReadFrom { file, at });
    if part.start > 0 {
        at += reader.read_until(b'\n', &mut line)? as u64;
    }
    while at < part.end {
        line.clear();
        at += reader.read_until(b'\n', &mut line)? as u64;
        if line.last() != Some(&b'\n') {
            break;
        }
        visit(&line);
    }
    Ok(())
}

/// Reads on from an offset of a file that others read as well.
struct ReadFrom<'a> {
    file: &'a File,
    at: u64,
}

impl Read for ReadFrom<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.file.read_at(buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

/// Returns the number of bytes and of lines at the head of the feed that are about changes before `cutoff`.
/// The newest line always stays, so that numbering continues from it.
pub(super) fn older_than(root: &Dir, cutoff: Time) -> Result<(u64, u64)> {
    let (mut bytes, mut count, mut last, mut done) = (0, 0, 0, false);
    each_line(root, |line| {
        let old = FeedEntry::from_line(line).is_none_or(|entry| entry.event.created_at < cutoff);
        done |= !old;
        if !done {
            last = line.len() as u64;
            bytes += last;
            count += 1;
        }
    })?;
    Ok(if done { (bytes, count) } else { (bytes - last, count.max(1) - 1) })
}

/// Returns the number of the oldest entry; `None` when the feed is empty.
pub(super) fn first_number(root: &Dir) -> Result<Option<u64>> {
    let mut first = None;
    for entry in since(root, 0, 1)? {
        first = Some(entry.seq);
    }
    Ok(first)
}

/// Returns the last entries of the feed: `length` bytes of them, or more where that is less than one entry.
pub(super) fn newest_entries(root: &Dir, length: u64) -> Result<Vec<FeedEntry>> {
    let Some(file) = open_read(root, FEED)? else {
        return Ok(Vec::new());
    };
    let fail = |error| Error::io("read", root.path().join(FEED), error);
    let mut tail = FileTail::read(&file, length).map_err(fail)?;
    loop {
        let entries: Vec<FeedEntry> = tail.lines().filter_map(FeedEntry::from_line).collect();
        if !entries.is_empty() || tail.is_all() {
            return Ok(entries);
        }
        tail.read_more(&file).map_err(fail)?;
    }
}

/// Returns the last number in use at the end of the feed, that of a withdrawn entry included.
pub(super) fn last_number(root: &Dir) -> Result<u64> {
    let Some(file) = open_read(root, FEED)? else {
        return Ok(0);
    };
    let fail = |error| Error::io("read", root.path().join(FEED), error);
    let end = FileTail::read(&file, 64 * 1024).map_err(fail)?;
    Ok(end.lines().filter_map(number).max().unwrap_or(0))
}

fn number(line: &[u8]) -> Option<u64> {
    read_object(line, |raw| {
        let mut seq = None;
        raw.members(|key, raw| {
            if key == "seq" {
                seq = raw.integer();
            }
        });
        seq
    })
    .ok()?
}

/// Returns the entries after number `since`, at most `limit` of them.
pub(super) fn since(root: &Dir, since: u64, limit: usize) -> Result<Vec<FeedEntry>> {
    let Some(mut file) = open_read(root, FEED)? else {
        return Ok(Vec::new());
    };
    let fail = |error| Error::io("read", root.path().join(FEED), error);
    let size = file.metadata().map_err(fail)?.len();
    let start = seek_entry(&file, size, since).map_err(fail)?;
    file.seek(SeekFrom::Start(start)).map_err(fail)?;
    let mut entries = Vec::new();
    let mut rest: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while entries.len() < limit {
        let read = file.read(&mut buffer).map_err(fail)?;
        if read == 0 {
            break;
        }
        rest.extend_from_slice(&buffer[..read]);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
            continue;
        };
        let whole: Vec<u8> = rest.drain(..=end).collect();
        entries.extend(lines(&whole).filter_map(FeedEntry::from_line).filter(|entry| entry.seq > since));
    }
    entries.truncate(limit);
    Ok(entries)
}

/// A reader's position in the feed, so that following it costs only the new entries.
#[derive(Clone, Debug, Default)]
pub struct FeedCursor {
    seq: u64,
    /// The offset of the entry after `seq`, in bytes; `None` when it is not known.
    offset: Option<u64>,
}

impl FeedCursor {
    /// Returns the position after change number `seq`.
    pub fn after(seq: u64) -> Self {
        Self { seq, offset: None }
    }

    /// Returns the number of the last change that was read.
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// Returns the entries after a cursor, about `limit` at most, and advances the cursor.
pub(super) fn after(root: &Dir, cursor: &mut FeedCursor, limit: usize) -> Result<Vec<FeedEntry>> {
    const BLOCK: usize = 256 * 1024;
    if let Some(offset) = cursor.offset
        && let Some(file) = open_read(root, FEED)?
    {
        let fail = |error| Error::io("read", root.path().join(FEED), error);
        let mut block = vec![0; BLOCK];
        let read = file.read_at(&mut block, offset).map_err(fail)?;
        let whole = block[..read].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole == 0 && read < BLOCK && file.metadata().map_err(fail)?.len() >= offset {
            return Ok(Vec::new());
        }
        let entries: Option<Vec<_>> = lines(&block[..whole]).map(FeedEntry::from_line).collect();
        // On anything unexpected (another file under this name, an entry larger than a block), search for the
        // position.
        if let Some(entries) = entries
            && entries.first().is_some_and(|first| first.seq == cursor.seq + 1)
        {
            cursor.offset = Some(offset + whole as u64);
            cursor.seq = entries.last().map_or(cursor.seq, |last| last.seq);
            return Ok(entries);
        }
    }
    cursor.offset = None;
    let entries = since(root, cursor.seq, limit)?;
    match entries.last() {
        Some(last) => cursor.seq = last.seq,
        None => cursor.offset = size_at(root, cursor.seq)?,
    }
    Ok(entries)
}

/// Returns the size of the feed, if the entry `seq` is the last in it.
fn size_at(root: &Dir, seq: u64) -> Result<Option<u64>> {
    let Some(file) = open_read(root, FEED)? else {
        return Ok((seq == 0).then_some(0));
    };
    let fail = |error| Error::io("read", root.path().join(FEED), error);
    let tail = FileTail::read(&file, 64 * 1024).map_err(fail)?;
    let is_last = tail.bytes.is_empty() || tail.bytes.ends_with(b"\n");
    let last = tail.lines().next_back().and_then(FeedEntry::from_line).map_or(0, |entry| entry.seq);
    Ok((is_last && last == seq).then_some(tail.end()))
}

/// Returns an offset at or before the first entry after `since`, found by binary search.
fn seek_entry(file: &File, size: u64, since: u64) -> std::io::Result<u64> {
    let (mut low, mut high) = (0, size);
    while high - low > 64 * 1024 {
        let middle = low + (high - low) / 2;
        let mut block = vec![0; 32 * 1024];
        let read = file.read_at(&mut block, middle)?;
        let first = block[..read]
            .split(|byte| *byte == b'\n')
            .skip(1)
            .find_map(|line| FeedEntry::from_line(line).map(|entry| entry.seq));
        match first {
            Some(seq) if seq <= since => low = middle,
            _ => high = middle,
        }
    }
    // `low` may be in the middle of a line that ends before the first wanted entry.
    Ok(low)
}
