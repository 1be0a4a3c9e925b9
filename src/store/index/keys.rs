//! Which task holds an idempotency key.
//!
//! A submit stores its key in a file of its own. A rebuild of the index may find very many keys at once, and
//! creating a file costs more than reading a task, so it writes them sorted into one *packed* file, which is
//! searched by bisection. A key's own file takes precedence over the packed one.

use std::collections::{BTreeMap, HashSet};
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use super::super::dir::Dir;
use super::super::history::open_read;
use super::super::layout::{Layout, idempotency_key};
use super::super::lock::StoreLock;
use super::super::scan::{FastReader, map_in_order};
use super::seal::{is_sealed, seal};
use super::sorted_set::damaged;
use super::{Index, KEYS, self_heal};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{IdempotencyKey, Task, TaskId};
use crate::store::file_tail::lines;
use crate::store::{atomic, bounded_file};

/// The packed file: a line with its size, then a line for each key with its name and its task.
const PACKED: &str = "packed";

/// The length of the first line, in bytes.
const SIZE_LINE_BYTES: u64 = 26;

fn size_line(size: u64) -> String {
    format!("size {size:020}\n")
}

/// Up to this many keys always get files of their own.
const MAX_UNPACKED: usize = 64;

/// An upper bound for the length of a line, in bytes: a name, a space, an id, a line end.
const MAX_LINE_BYTES: u64 = 300;

/// The keys in the index.
pub(in crate::store) struct KeyIndex<'a> {
    layout: &'a Layout,
    dir: Dir,
}

/// A key in the packed file, and the offsets of the id of its task.
struct PackedKey {
    id: Option<TaskId>,
    at: Range<u64>,
}

impl<'a> Index<'a> {
    /// Returns the keys, if any were ever stored.
    pub(in crate::store) fn keys(&self) -> Result<Option<KeyIndex<'a>>> {
        Ok(self.dir().open_existing(KEYS)?.map(|dir| KeyIndex { layout: self.layout, dir }))
    }

    /// Returns the keys for writing.
    pub(in crate::store) fn keys_or_make(&self) -> Result<KeyIndex<'a>> {
        self.dir().open_or_make_derived(KEYS).map(|dir| KeyIndex { layout: self.layout, dir })
    }

    /// Returns the task that holds an idempotency key, as far as the index shows.
    ///
    /// # Errors
    /// `Corrupt` when the key's file names no task: then a task may hold the key nevertheless.
    pub(in crate::store) fn key_holder(
        &self,
        workspace_id: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<TaskId>> {
        match self.keys()? {
            Some(keys) => keys.holder(&idempotency_key(workspace_id, key)),
            None => Ok(None),
        }
    }

    /// Returns the task that holds a key, where a damaged file is about to be rewritten and counts as absent.
    pub(in crate::store) fn known_holder(
        &self,
        workspace_id: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<TaskId>> {
        match self.key_holder(workspace_id, key) {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            known => known,
        }
    }

    /// Repairs the entry of a key if it is damaged. Returns whether it was.
    pub(in crate::store) fn heal_key(
        &self,
        lock: &StoreLock,
        workspace_id: &str,
        key: &IdempotencyKey,
    ) -> Result<bool> {
        let damaged = match self.key_holder(workspace_id, key) {
            Err(error) if error.kind() == ErrorKind::Corrupt => true,
            known => known.map(|_| false)?,
        };
        if damaged {
            // The keys are not complete without it, so the index is rebuilt.
            self.keys_or_make()?.discard(&idempotency_key(workspace_id, key))?;
            self.ensure(lock)?;
        }
        Ok(damaged)
    }

    /// Stores which task holds its idempotency key.
    pub(in crate::store) fn set_key(&self, task: &Task) -> Result<()> {
        // A task that was retried has passed its key to the new one.
        let Some(key) = task.spec.key.as_ref().filter(|_| task.retried_as.is_none()) else { return Ok(()) };
        let keys = self.keys_or_make()?;
        // A change by others that came before must stay visible.
        let was_whole = is_sealed(keys.dir())?;
        keys.set(&idempotency_key(&task.spec.workspace_id, key), &task.id)?;
        if was_whole { seal(keys.dir()) } else { Ok(()) }
    }
}

impl KeyIndex<'_> {
    /// Returns the directory of the keys.
    pub(in crate::store) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Returns the task that a key leads to.
    ///
    /// # Errors
    /// `Corrupt` when the entry names no task.
    pub(in crate::store) fn holder(&self, name: &str) -> Result<Option<TaskId>> {
        let Some(content) = bounded_file::read(&self.dir, name, 4096)? else {
            return Ok(self.find(name)?.and_then(|place| place.id));
        };
        let holder = TaskId::parse(String::from_utf8_lossy(&content.bytes).trim());
        holder.map(Some).map_err(|_| damaged(&self.dir.path().join(name)))
    }

    /// Makes a key lead to a task.
    pub(in crate::store) fn set(&self, name: &str, id: &TaskId) -> Result<()> {
        self.put(name, &format!("{id}\n"))
    }

    fn put(&self, name: &str, text: &str) -> Result<()> {
        let write = || atomic::replace_derived(&self.dir, name, text.as_bytes());
        self_heal::put(self.layout, &self.dir, name, write)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self_heal::clear(self.layout, &self.dir, name)
    }

    /// Makes a key lead to no task.
    pub(in crate::store) fn forget(&self, name: &str) -> Result<()> {
        // First in the packed file: the key's own file must not be gone while an older task is there.
        if let Some(place) = self.find(name)? {
            let path = self.dir.path().join(PACKED);
            let blank = vec![b'-'; (place.at.end - place.at.start) as usize];
            atomic::open_for_update(&self.dir, PACKED)?
                .write_all_at(&blank, place.at.start)
                .map_err(|error| Error::io("write", path, error))?;
        }
        self.remove(name)
    }

    /// Removes the damaged files of a key.
    pub(in crate::store) fn discard(&self, name: &str) -> Result<()> {
        match self.find(name) {
            Err(error) if error.kind() == ErrorKind::Corrupt => self.remove(PACKED)?,
            found => drop(found?),
        }
        self.remove(name)
    }

    /// Returns the names of the keys that have files of their own.
    pub(in crate::store) fn own_names(&self) -> Result<HashSet<String>> {
        let names = self.dir.names()?.into_iter();
        Ok(names.filter(|name| !name.starts_with('.') && name != PACKED).collect())
    }

    /// Returns the keys in the packed file, with their tasks.
    pub(in crate::store) fn packed(&self) -> Result<Vec<(String, TaskId)>> {
        let Some(content) = bounded_file::read(&self.dir, PACKED, u64::MAX)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut before = String::new();
        let keys = content.bytes.strip_prefix(size_line(content.bytes.len() as u64).as_bytes());
        for line in lines(keys.ok_or_else(|| self.damage())?) {
            let parsed = parse(line).filter(|(name, _)| **name > *before);
            let (name, id) = parsed.ok_or_else(|| self.damage())?;
            before = name.to_string();
            found.extend(id.map(|id| (name.to_string(), id)));
        }
        Ok(found)
    }

    /// Makes each key lead to its task; most may do so already.
    pub(super) fn fill(&self, holders: &BTreeMap<String, TaskId>) -> Result<()> {
        let own = self.own_names()?;
        let (own, others): (Vec<_>, Vec<_>) = holders.iter().partition(|(name, _)| own.contains(*name));
        let is_right = |reader: &mut FastReader, (name, id): &(&String, &TaskId)| {
            reader
                .read_small(&self.dir, "", name)
                .is_some_and(|content| content == format!("{id}\n").as_bytes())
        };
        let mut result = Ok(());
        let _ = map_in_order(&own, &FastReader::new, &is_right, &mut |(name, id), is_right| {
            if !is_right {
                result = self.set(name, id);
            }
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        result?;
        if others.len() <= MAX_UNPACKED {
            others.iter().try_for_each(|(name, id)| self.set(name, id))?;
            return self.remove(PACKED);
        }
        let keys: String = others.iter().map(|(name, id)| format!("{name} {id}\n")).collect();
        let text = size_line(SIZE_LINE_BYTES + keys.len() as u64) + &keys;
        let known = bounded_file::read(&self.dir, PACKED, text.len() as u64);
        if known.is_ok_and(|known| known.is_some_and(|known| known.bytes == text.as_bytes())) {
            return Ok(());
        }
        self.remove(PACKED)?;
        self.put(PACKED, &text)
    }

    fn damage(&self) -> Error {
        damaged(&self.dir.path().join(PACKED))
    }

    /// Finds a key in the packed file.
    fn find(&self, wanted: &str) -> Result<Option<PackedKey>> {
        let file = match open_read(&self.dir, PACKED) {
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                return Err(self.damage());
            }
            opened => opened?,
        };
        let Some(file) = file else { return Ok(None) };
        let fail = |error| Error::io("read", self.dir.path().join(PACKED), error);
        let read = |from: u64, length: u64| -> Result<Vec<u8>> {
            let mut bytes = vec![0; length as usize];
            file.read_exact_at(&mut bytes, from).map_err(fail)?;
            Ok(bytes)
        };
        // Both are always at the beginning of a line, or at the end.
        let about = file.metadata().map_err(fail)?;
        let (mut low, mut high) = (SIZE_LINE_BYTES, about.len());
        if !about.is_file()
            || high < SIZE_LINE_BYTES
            || read(0, SIZE_LINE_BYTES)? != size_line(high).as_bytes()
        {
            return Err(self.damage());
        }
        while high - low > 16 * MAX_LINE_BYTES {
            let middle = low + (high - low) / 2;
            let bytes = read(middle, 2 * MAX_LINE_BYTES)?;
            let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
            let (Some(first), Some(second)) = (ends.next(), ends.next()) else { return Err(self.damage()) };
            let (name, _) = parse(&bytes[first + 1..second]).ok_or_else(|| self.damage())?;
            let start = middle + first as u64 + 1;
            if name <= wanted { low = start } else { high = start }
        }
        let bytes = read(low, high - low)?;
        let mut start = low;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let end = start + line.len() as u64;
            let whole = line.strip_suffix(b"\n").and_then(parse);
            let (name, id) = whole.ok_or_else(|| self.damage())?;
            if name == wanted {
                let at = start + name.len() as u64 + 1..end - 1;
                return Ok(Some(PackedKey { id, at }));
            }
            start = end;
        }
        Ok(None)
    }
}

/// Parses a line into the name of a key and its task; no task when it was removed.
fn parse(line: &[u8]) -> Option<(&str, Option<TaskId>)> {
    let (name, id) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let is_name = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_gone = !id.is_empty() && id.bytes().all(|byte| byte == b'-');
    let id = if is_gone { None } else { Some(TaskId::parse(id).ok()?) };
    is_name.then_some((name, id))
}
