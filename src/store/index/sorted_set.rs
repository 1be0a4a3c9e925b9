//! A sorted set of task ids on disk, for the index.
//!
//! A sorted set is a directory of *chunks*, small text files named after the lowest key they may contain.
//! Adding and removing append one line to one chunk; a chunk that has grown is rewritten, and split when it
//! is full. So the cost of every operation depends on the size of a chunk and hardly on the size of the set.
//! Writers hold the store lock. Readers take none and may see an entry twice or one that is gone, which is
//! why an entry is only a hint to look at the task. A chunk that somebody else removes is noticed by the
//! modification time of the directory, which `lanes` sets after every change of names in it.

use std::collections::HashSet;
use std::mem::replace;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::seal::{is_sealed, seal};
use crate::error::{Error, Result, printable};
use crate::store::atomic;
use crate::store::bounded_file;
use crate::store::dir::Dir;

/// The size above which a chunk is rewritten, in bytes.
const REWRITE_ABOVE_BYTES: usize = 24 * 1024;

/// The size of the live lines above which a chunk is split, in bytes.
const SPLIT_ABOVE_BYTES: usize = 12 * 1024;

/// The size up to which the last chunk stays when its last entry is removed, in bytes: the next entry goes
/// there, and creating a file costs more than writing a line.
const KEEP_BELOW_BYTES: usize = 4 * 1024;

const MAX_CHUNK: u64 = 64 * 1024 * 1024;

/// Replaces the end of a lease that is not known by the uptime.
pub(crate) const NO_LEASE: i64 = i64::MAX;

/// One task in a sorted set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// The sort key: lower is earlier.
    pub(crate) key: i64,
    /// The id of the task.
    pub(crate) id: String,
    /// The sort key of the task among those that can be claimed.
    pub(crate) rank: i64,
    /// The end of its lease by the uptime, in microseconds; [`NO_LEASE`] when there is none.
    pub(crate) lease_until: i64,
    /// Its metadata as one line of JSON, or `?` when that is too long to keep here.
    pub(crate) metadata: String,
}

impl IndexEntry {
    /// Returns what orders the entries of a set.
    pub(crate) fn place(&self) -> (i64, &str) {
        (self.key, &self.id)
    }

    fn line(&self) -> String {
        let Self { key, id, rank, lease_until, metadata } = self;
        format!("{key}\t{id}\t{rank}\t{lease_until}\t{metadata}\n")
    }
}

/// A parsed line of a chunk, which adds or removes an entry.
struct ChunkLine<'a> {
    key: i64,
    id: &'a str,
    added: Option<AddedEntry<'a>>,
}

/// The fields of a line that adds an entry.
#[derive(Clone, Copy)]
struct AddedEntry<'a> {
    rank: i64,
    lease_until: i64,
    metadata: &'a str,
}

impl<'a> ChunkLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        if let Some(gone) = line.strip_prefix("-\t") {
            let (key, id) = gone.split_once('\t')?;
            return Some(Self { key: key.parse().ok()?, id, added: None });
        }
        let mut words = line.splitn(5, '\t');
        let (key, id) = (words.next()?.parse().ok()?, words.next()?);
        let (rank, lease_until) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { key, id, added: Some(AddedEntry { rank, lease_until, metadata: words.next()? }) })
    }

    fn is(&self, key: i64, id: &str) -> bool {
        self.key == key && self.id == id
    }

    fn to_entry(&self) -> Option<IndexEntry> {
        let AddedEntry { rank, lease_until, metadata } = self.added?;
        Some(IndexEntry { key: self.key, id: self.id.into(), rank, lease_until, metadata: metadata.into() })
    }
}

/// Returns the lines that add entries not removed since, in order.
fn live<'a>(text: &'a str, path: &Path) -> Result<Vec<ChunkLine<'a>>> {
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        lines.push(line.strip_suffix('\n').and_then(ChunkLine::parse).ok_or_else(|| damaged(path))?);
    }
    // Lines of one entry keep the order in which they were written, and the last of them counts.
    lines.sort_by(|a, b| (a.key, a.id).cmp(&(b.key, b.id)));
    lines.reverse();
    lines.dedup_by(|earlier, later| earlier.is(later.key, later.id));
    lines.reverse();
    lines.retain(|line| line.added.is_some());
    Ok(lines)
}

/// Returns the error for a part of the index that is not what was written; the caller rebuilds the index.
pub(crate) fn damaged(path: &Path) -> Error {
    Error::corrupt(format!("{} is damaged", printable(&path.to_string_lossy())))
}

/// A sorted set of tasks.
pub(crate) struct SortedSet {
    dir: Dir,
}

/// The chunk that a key belongs to.
struct Chunk {
    name: String,
    exists: bool,
    is_last: bool,
}

/// Reads the entries of a set one after the other.
pub(crate) struct Cursor<'a> {
    set: &'a SortedSet,
    chunks: std::vec::IntoIter<String>,
    entries: std::vec::IntoIter<IndexEntry>,
}

impl Cursor<'_> {
    /// Returns the next entry, as [`SortedSet::visit`] passes it.
    pub(crate) fn next(&mut self) -> Result<Option<IndexEntry>> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Ok(Some(entry));
            }
            let Some(name) = self.chunks.next() else { return Ok(None) };
            let text = self.set.text(&name)?;
            let entries: Vec<IndexEntry> =
                live(&text, &self.set.path(&name))?.iter().filter_map(ChunkLine::to_entry).collect();
            self.entries = entries.into_iter();
        }
    }
}

/// Returns the name of the chunk that starts at `key`; names sort as keys do.
fn chunk_name(key: i64) -> String {
    format!("{:020}", (key as u64) ^ (1 << 63))
}

impl SortedSet {
    pub(crate) fn new(dir: Dir) -> Self {
        Self { dir }
    }

    /// Records that the chunks are those that `lanes` wrote. The caller holds the store lock.
    pub(crate) fn seal(&self) -> Result<()> {
        seal(&self.dir)
    }

    /// Returns whether no one else has removed or added chunks. `false` as well while one of our processes does.
    pub(crate) fn is_sealed(&self) -> Result<bool> {
        is_sealed(&self.dir)
    }

    /// Adds or removes chunks. A change by others that came before must stay visible.
    fn change_names(&self, change: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.is_sealed()? {
            return Err(damaged(self.dir.path()));
        }
        change()?;
        self.seal()
    }

    fn chunks(&self) -> Result<Vec<String>> {
        let mut names = self.dir.names()?;
        names.retain(|name| name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()));
        names.sort_unstable();
        Ok(names)
    }

    fn chunk_for(&self, key: i64) -> Result<Chunk> {
        let wanted = chunk_name(key);
        let mut chunks = self.chunks()?;
        let at = chunks.partition_point(|name| *name <= wanted);
        let is_last = at == chunks.len();
        Ok(match at {
            0 => Chunk { name: chunk_name(i64::MIN), exists: false, is_last },
            at => Chunk { name: chunks.swap_remove(at - 1), exists: true, is_last },
        })
    }

    /// Returns the text of a chunk; empty when it has just been removed.
    fn text(&self, name: &str) -> Result<String> {
        match bounded_file::read(&self.dir, name, MAX_CHUNK)? {
            Some(content) => String::from_utf8(content.bytes).map_err(|_| damaged(&self.path(name))),
            None => Ok(String::new()),
        }
    }

    fn path(&self, chunk: &str) -> PathBuf {
        self.dir.path().join(chunk)
    }

    /// Adds an entry; `false` when it is there already.
    pub(crate) fn insert(&self, entry: &IndexEntry) -> Result<bool> {
        self.insert_after(entry, &mut || Ok(()))
    }

    /// Adds an entry as [`SortedSet::insert`] does, and calls `before` first if the set changes.
    pub(crate) fn insert_after(
        &self,
        entry: &IndexEntry,
        before: &mut dyn FnMut() -> Result<()>,
    ) -> Result<bool> {
        let Chunk { name, exists, .. } = self.chunk_for(entry.key)?;
        if exists {
            let text = self.text(&name)?;
            let lines = live(&text, &self.path(&name))?;
            let there = lines.iter().find(|line| line.is(entry.key, &entry.id));
            if there.and_then(ChunkLine::to_entry).as_ref() == Some(entry) {
                return Ok(false);
            }
            before()?;
            if text.len() > REWRITE_ABOVE_BYTES {
                self.rewrite(&name, lines.iter().filter_map(ChunkLine::to_entry))?;
                // A split may have moved the new entry to another chunk.
                let Chunk { name, .. } = self.chunk_for(entry.key)?;
                self.append(&name, &entry.line())?;
                return Ok(true);
            }
        }
        if exists {
            self.append(&name, &entry.line())?;
        } else {
            before()?;
            self.change_names(|| self.append(&name, &entry.line()))?;
        }
        Ok(true)
    }

    /// Removes the entry of `id` at `key`; `false` when it is not there.
    pub(crate) fn remove(&self, key: i64, id: &str) -> Result<bool> {
        self.remove_after(key, id, &mut || Ok(()))
    }

    /// Removes an entry as [`SortedSet::remove`] does, and calls `before` first if the set changes.
    pub(crate) fn remove_after(
        &self,
        key: i64,
        id: &str,
        before: &mut dyn FnMut() -> Result<()>,
    ) -> Result<bool> {
        let Chunk { name, exists, is_last } = self.chunk_for(key)?;
        if !exists {
            return Ok(false);
        }
        let text = self.text(&name)?;
        let lines = live(&text, &self.path(&name))?;
        if !lines.iter().any(|line| line.is(key, id)) {
            return Ok(false);
        }
        before()?;
        if lines.len() == 1 && !(is_last && text.len() <= KEEP_BELOW_BYTES) {
            self.change_names(|| atomic::remove(&self.dir, &name))?;
        } else {
            self.append(&name, &format!("-\t{key}\t{id}\n"))?;
        }
        Ok(true)
    }

    /// Adds many entries, which are in order. Each chunk that changes is written once.
    pub(crate) fn insert_many(&self, entries: &[IndexEntry]) -> Result<()> {
        let mut left = entries;
        while let Some(first) = left.first() {
            let (name, mut live_entries, count) = self.chunk_of_run(first, left)?;
            let new: HashSet<&str> = left[..count].iter().map(|entry| entry.id.as_str()).collect();
            live_entries.retain(|entry| !new.contains(entry.id.as_str()));
            live_entries.extend_from_slice(&left[..count]);
            live_entries.sort_by(|a, b| a.place().cmp(&b.place()));
            self.rewrite(&name, live_entries.into_iter())?;
            left = &left[count..];
        }
        Ok(())
    }

    /// Removes many entries, which are in order. Each chunk that changes is written once.
    pub(crate) fn remove_many(&self, entries: &[IndexEntry]) -> Result<()> {
        let mut left = entries;
        while let Some(first) = left.first() {
            let (name, mut live_entries, count) = self.chunk_of_run(first, left)?;
            let gone: HashSet<&str> = left[..count].iter().map(|entry| entry.id.as_str()).collect();
            live_entries.retain(|entry| !gone.contains(entry.id.as_str()));
            if live_entries.is_empty() {
                self.change_names(|| atomic::remove(&self.dir, &name))?;
            } else {
                self.rewrite(&name, live_entries.into_iter())?;
            }
            left = &left[count..];
        }
        Ok(())
    }

    /// Returns the ids of those of some entries, which are in order, that are there.
    pub(crate) fn ids_of(&self, entries: &[IndexEntry]) -> Result<HashSet<String>> {
        let (mut left, mut found) = (entries, HashSet::new());
        while let Some(first) = left.first() {
            let (_, live_entries, count) = self.chunk_of_run(first, left)?;
            let there: HashSet<(i64, &str)> = live_entries.iter().map(IndexEntry::place).collect();
            let is_there = |entry: &&IndexEntry| there.contains(&entry.place());
            found.extend(left[..count].iter().filter(is_there).map(|entry| entry.id.clone()));
            left = &left[count..];
        }
        Ok(found)
    }

    /// Returns the chunk that the first of some entries belongs to, its entries, and how many of the given ones belong to
    /// it.
    fn chunk_of_run(
        &self,
        first: &IndexEntry,
        entries: &[IndexEntry],
    ) -> Result<(String, Vec<IndexEntry>, usize)> {
        let wanted = chunk_name(first.key);
        let chunks = self.chunks()?;
        let at = chunks.partition_point(|name| *name <= wanted);
        let name = if at == 0 { chunk_name(i64::MIN) } else { chunks[at - 1].clone() };
        let count = match chunks.get(at) {
            Some(next) => entries.partition_point(|entry| chunk_name(entry.key) < *next),
            None => entries.len(),
        };
        let text = self.text(&name)?;
        let entries = live(&text, &self.path(&name))?.iter().filter_map(ChunkLine::to_entry).collect();
        Ok((name, entries, count))
    }

    /// Returns whether the entry of `id` at `key` is there.
    pub(crate) fn contains(&self, key: i64, id: &str) -> Result<bool> {
        let Chunk { name, exists, .. } = self.chunk_for(key)?;
        Ok(exists && live(&self.text(&name)?, &self.path(&name))?.iter().any(|line| line.is(key, id)))
    }

    /// Passes every entry in order to `visit` until it breaks.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&IndexEntry) -> Result<ControlFlow<()>>) -> Result<()> {
        for name in self.chunks()? {
            for entry in live(&self.text(&name)?, &self.path(&name))?.iter().filter_map(ChunkLine::to_entry) {
                if visit(&entry)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Returns a reader of the entries in order, for sets that are read together.
    pub(crate) fn cursor(&self) -> Result<Cursor<'_>> {
        Ok(Cursor { set: self, chunks: self.chunks()?.into_iter(), entries: Vec::new().into_iter() })
    }

    /// Returns the lowest key.
    pub(crate) fn first_key(&self) -> Result<Option<i64>> {
        let mut first = None;
        self.visit(|entry| {
            first = Some(entry.key);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(first)
    }

    /// Writes the entries of a new sorted set, in any order.
    pub(crate) fn fill(&self, mut entries: Vec<IndexEntry>) -> Result<()> {
        entries.sort_by(|a, b| a.place().cmp(&b.place()));
        if entries.is_empty() { Ok(()) } else { self.rewrite(&chunk_name(i64::MIN), entries.into_iter()) }
    }

    fn append(&self, name: &str, line: &str) -> Result<()> {
        use std::io::Write;
        let mut file = atomic::open_for_append(&self.dir, name)?;
        file.write_all(line.as_bytes()).map_err(|error| Error::io("write", self.path(name), error))
    }

    /// Rewrites a chunk with its live entries, split into several chunks where they are too many.
    fn rewrite(&self, name: &str, entries: impl Iterator<Item = IndexEntry>) -> Result<()> {
        let (mut part_name, mut text) = (name.to_string(), String::new());
        let mut parts = Vec::new();
        let mut last_key = None;
        for entry in entries {
            let line = entry.line();
            let next_name = chunk_name(entry.key);
            // Entries of one key stay together, since the key alone leads to their chunk.
            if text.len() + line.len() > SPLIT_ABOVE_BYTES
                && last_key != Some(entry.key)
                && next_name > part_name
            {
                parts.push((replace(&mut part_name, next_name), replace(&mut text, line)));
            } else {
                text.push_str(&line);
            }
            last_key = Some(entry.key);
        }
        parts.push((part_name, text));
        // The later chunks first: a reader may see an entry twice, but never miss one that stays.
        let write =
            |(name, text): &(String, String)| atomic::replace_derived(&self.dir, name, text.as_bytes());
        self.change_names(|| parts.iter().rev().try_for_each(write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        let lines = live(text, Path::new("chunk")).unwrap();
        lines
            .iter()
            .filter_map(ChunkLine::to_entry)
            .map(|entry| format!("{} {}", entry.id, entry.rank))
            .collect()
    }

    #[test]
    fn the_last_line_of_an_entry_counts() {
        let added = "5\tb\t1\t0\t{}\n3\tc\t1\t0\t{}\n5\ta\t1\t0\t{}\n";
        assert_eq!(ids(added), ["c 1", "a 1", "b 1"]);
        assert_eq!(ids(&format!("{added}-\t5\ta\n-\t9\tb\n")), ["c 1", "b 1"]);
        assert_eq!(ids(&format!("{added}-\t5\ta\n5\ta\t2\t0\t{{}}\n")), ["c 1", "a 2", "b 1"]);
        assert_eq!(ids(&format!("{added}5\tb\t7\t0\t{{}}\n-\t3\tc\n-\t3\tc\n")), ["a 1", "b 7"]);
        assert!(ids("").is_empty());
    }

    #[test]
    fn what_nobody_wrote_is_damage() {
        for text in ["5\ta\t1\t0\n", "5\ta\t1\t0\t{}", "x\ta\t1\t0\t{}\n", "-\t5\n", "\n"] {
            assert!(live(text, Path::new("chunk")).is_err(), "{text:?}");
        }
    }
}
