//! A sorted set of task ids on disk, for the index.
//!
//! A shelf is a directory of *chunks*, small text files named after the lowest key they may hold.
//! Adding and taking away append one line to one chunk; a chunk that has grown is rewritten, and
//! split when it is full. So the cost of every operation depends on the size of a chunk, hardly on
//! how much is on the shelf. Writers hold the store lock; readers take none and may see an entry
//! twice or see one that is gone, which is why an entry is only a hint to look at the task. A chunk that
//! somebody else removes is noticed by the modification time of the directory, which we set after
//! every change of names in it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use super::atomic;
use super::index::{is_sealed, seal};
use super::layout::Dir;
use super::read;
use crate::error::{Error, Result, printable};

/// A chunk that is larger than this is rewritten, in bytes.
const REWRITE: u64 = 24 * 1024;

/// A chunk whose live lines are longer than this is split, in bytes.
const SPLIT: usize = 12 * 1024;

const MAX_CHUNK: u64 = 64 * 1024 * 1024;

/// Stands for the end of a lease that is not known by the uptime.
pub(super) const NO_LEASE: i64 = i64::MAX;

/// One task on a shelf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The position: lower is earlier.
    pub(super) key: i64,
    /// The task.
    pub(super) id: String,
    /// Its position among the tasks that can be claimed.
    pub(super) rank: i64,
    /// The end of its lease by the uptime, in microseconds; [`NO_LEASE`] when there is none.
    pub(super) lease_until: i64,
    /// Its metadata as one line of JSON, or `?` when that is too long to keep here.
    pub(super) metadata: String,
}

impl Entry {
    fn line(&self) -> String {
        let Self { key, id, rank, lease_until, metadata } = self;
        format!("{key}\t{id}\t{rank}\t{lease_until}\t{metadata}\n")
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(5, '\t');
        Some(Self {
            key: words.next()?.parse().ok()?,
            id: words.next()?.to_string(),
            rank: words.next()?.parse().ok()?,
            lease_until: words.next()?.parse().ok()?,
            metadata: words.next()?.to_string(),
        })
    }
}

/// The line that takes an entry away: `-`, its key, its id.
fn parse_removal(line: &str) -> Option<(i64, String)> {
    let (key, id) = line.strip_prefix("-\t")?.split_once('\t')?;
    Some((key.parse().ok()?, id.to_string()))
}

/// The error that tells that a part of the index cannot be what was written there. Whoever gets it
/// has the index built anew.
pub(super) fn damaged(path: &Path) -> Error {
    Error::corrupt(format!("{} is damaged", printable(&path.to_string_lossy())))
}

/// A sorted set of tasks.
pub(super) struct Shelf {
    dir: Dir,
}

/// The name of the chunk that starts at `key`; names sort as keys do.
fn chunk_name(key: i64) -> String {
    format!("{:020}", (key as u64) ^ (1 << 63))
}

impl Shelf {
    pub(super) fn new(dir: Dir) -> Self {
        Self { dir }
    }

    /// Notes that the names on the shelf are those that we gave. The caller holds the store lock.
    pub(super) fn seal(&self) -> Result<()> {
        seal(&self.dir)
    }

    /// Whether nobody else has removed or added chunks. `false` as well while one of us does.
    pub(super) fn is_sealed(&self) -> Result<bool> {
        is_sealed(&self.dir)
    }

    /// Adds or removes chunks. What somebody else has done before must not be hidden by it.
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

    /// The chunk that a key belongs to, and whether it exists.
    fn chunk_for(&self, key: i64) -> Result<(String, bool)> {
        let wanted = chunk_name(key);
        let chunks = self.chunks()?;
        let at = chunks.partition_point(|name| *name <= wanted);
        Ok(match at {
            0 => (chunk_name(i64::MIN), false),
            at => (chunks[at - 1].clone(), true),
        })
    }

    fn read_chunk(&self, name: &str) -> Result<(Vec<Entry>, u64)> {
        let Some(content) = read::file(&self.dir, name, MAX_CHUNK)? else {
            return Ok((Vec::new(), 0));
        };
        let text = String::from_utf8_lossy(&content.bytes);
        let mut entries: Vec<Option<Entry>> = Vec::new();
        let mut places: HashMap<(i64, String), usize> = HashMap::new();
        for line in text.split_inclusive('\n') {
            let whole = line.strip_suffix('\n');
            if let Some((key, id)) = whole.and_then(parse_removal) {
                if let Some(place) = places.remove(&(key, id)) {
                    entries[place] = None;
                }
            } else if let Some(entry) = whole.and_then(Entry::parse) {
                match places.get(&(entry.key, entry.id.clone())) {
                    Some(place) => entries[*place] = Some(entry),
                    None => {
                        places.insert((entry.key, entry.id.clone()), entries.len());
                        entries.push(Some(entry));
                    }
                }
            } else {
                return Err(damaged(&self.dir.path().join(name)));
            }
        }
        let mut entries: Vec<Entry> = entries.into_iter().flatten().collect();
        entries.sort_by(|a, b| (a.key, &a.id).cmp(&(b.key, &b.id)));
        Ok((entries, content.bytes.len() as u64))
    }

    /// Adds an entry; `false` when it is there already.
    pub(super) fn insert(&self, entry: &Entry) -> Result<bool> {
        self.insert_after(entry, &mut || Ok(()))
    }

    /// The same, with something to be done before the shelf is changed, if it is.
    pub(super) fn insert_after(&self, entry: &Entry, before: &mut dyn FnMut() -> Result<()>) -> Result<bool> {
        let (name, exists) = self.chunk_for(entry.key)?;
        if exists {
            let (entries, size) = self.read_chunk(&name)?;
            if entries.contains(entry) {
                return Ok(false);
            }
            before()?;
            if size > REWRITE {
                self.rewrite(&name, entries)?;
                // A split may have moved the place of the new entry.
                let (name, _) = self.chunk_for(entry.key)?;
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

    /// Takes the entry of `id` at `key` away; `false` when it is not there.
    pub(super) fn remove(&self, key: i64, id: &str) -> Result<bool> {
        self.remove_after(key, id, &mut || Ok(()))
    }

    /// The same, with something to be done before the shelf is changed, if it is.
    pub(super) fn remove_after(
        &self,
        key: i64,
        id: &str,
        before: &mut dyn FnMut() -> Result<()>,
    ) -> Result<bool> {
        let (name, exists) = self.chunk_for(key)?;
        if !exists {
            return Ok(false);
        }
        let (entries, _) = self.read_chunk(&name)?;
        if !entries.iter().any(|entry| entry.key == key && entry.id == id) {
            return Ok(false);
        }
        before()?;
        if entries.len() == 1 {
            self.change_names(|| atomic::remove(&self.dir, &name))?;
        } else {
            self.append(&name, &format!("-\t{key}\t{id}\n"))?;
        }
        Ok(true)
    }

    /// Whether the entry of `id` at `key` is there.
    pub(super) fn contains(&self, key: i64, id: &str) -> Result<bool> {
        let (name, exists) = self.chunk_for(key)?;
        Ok(exists && self.read_chunk(&name)?.0.iter().any(|entry| entry.key == key && entry.id == id))
    }

    /// Shows every entry in order until `visit` breaks.
    pub(super) fn visit(&self, mut visit: impl FnMut(&Entry) -> Result<ControlFlow<()>>) -> Result<()> {
        for name in self.chunks()? {
            for entry in self.read_chunk(&name)?.0 {
                if visit(&entry)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The lowest key.
    pub(super) fn first_key(&self) -> Result<Option<i64>> {
        let mut first = None;
        self.visit(|entry| {
            first = Some(entry.key);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(first)
    }

    /// Writes a new shelf; `entries` are sorted here.
    pub(super) fn fill(&self, mut entries: Vec<Entry>) -> Result<()> {
        entries.sort_by(|a, b| (a.key, &a.id).cmp(&(b.key, &b.id)));
        if entries.is_empty() { Ok(()) } else { self.rewrite(&chunk_name(i64::MIN), entries) }
    }

    fn append(&self, name: &str, line: &str) -> Result<()> {
        use std::io::Write;
        let mut file = atomic::open_for_append(&self.dir, name)?;
        file.write_all(line.as_bytes()).map_err(|error| Error::io("write", self.dir.path().join(name), error))
    }

    /// Writes the live entries of a chunk anew, split into several where they are too many.
    fn rewrite(&self, name: &str, entries: Vec<Entry>) -> Result<()> {
        let mut parts: Vec<(String, String)> = vec![(name.to_string(), String::new())];
        let mut last_key = None;
        for entry in entries {
            let line = entry.line();
            let (part_name, text) = parts.last_mut().expect("there is a first part");
            let next_name = chunk_name(entry.key);
            // Entries of one key stay together, since the key alone leads to their chunk.
            if text.len() + line.len() > SPLIT && last_key != Some(entry.key) && next_name > *part_name {
                parts.push((next_name, line));
            } else {
                text.push_str(&line);
            }
            last_key = Some(entry.key);
        }
        // The later parts first: a reader may see an entry twice, but never miss one that stays.
        let write =
            |(name, text): &(String, String)| atomic::replace_derived(&self.dir, name, text.as_bytes());
        self.change_names(|| parts.iter().rev().try_for_each(write))
    }
}
