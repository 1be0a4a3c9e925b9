//! Answers that are given again to equal requests: for each such request, the task that answered it.
//!
//! An entry is a hint that may be lost at any time: its reader reads the task and checks that it is an answer
//! to the request. A reader removes an entry that cannot be read or is too old.

use super::dir::Dir;
use super::layout::CACHE;
use super::{FileStore, atomic, bounded_file};
use crate::error::Result;
use crate::model::answer_cache::CachedAnswer;
#[cfg(feature = "mcp")]
use crate::model::answer_cache::MAX_CACHED_ANSWERS;
use crate::model::{Sha256, json};

/// The largest entry that is read, in bytes.
const MAX_ENTRY_BYTES: u64 = 4096;

/// How many entries make room for new ones at a time.
#[cfg(feature = "mcp")]
const MADE_ROOM: usize = MAX_CACHED_ANSWERS / 10;

impl FileStore {
    #[cfg(feature = "mcp")]
    pub(crate) fn cached_answer(&self, request: &Sha256) -> Result<Option<CachedAnswer>> {
        let Some(dir) = self.layout.root.open_existing(CACHE)? else { return Ok(None) };
        Ok(read_entry(&dir, request.as_str()).filter(|entry| entry.is_valid(self.now().wall)))
    }

    #[cfg(feature = "mcp")]
    pub(crate) fn cache_answer(&self, request: &Sha256, entry: &CachedAnswer) -> Result<()> {
        self.check_writable()?;
        let tmp = self.layout.tmp()?;
        let dir = self.layout.root.open_or_make(CACHE)?;
        let text = json::to_text(&entry.to_object());
        let mut staged = atomic::StagedEntry::copy(&tmp, text.as_bytes())?;
        let _lock = self.lock_store()?;
        if dir.names()?.len() >= MAX_CACHED_ANSWERS {
            self.remove_stale_answers_in(&dir)?;
            let mut entries: Vec<(CachedAnswer, String)> =
                dir.names()?.into_iter().filter_map(|name| Some((read_entry(&dir, &name)?, name))).collect();
            if entries.len() >= MAX_CACHED_ANSWERS {
                entries.sort_by_key(|(entry, _)| entry.expires_at);
                let surplus = entries.len() - MAX_CACHED_ANSWERS + MADE_ROOM;
                entries.iter().take(surplus).try_for_each(|(_, name)| atomic::remove(&dir, name))?;
            }
        }
        staged.publish_copy(&dir, request.as_str())
    }

    #[cfg(feature = "mcp")]
    pub(crate) fn forget_cached_answer(&self, request: &Sha256) -> Result<()> {
        self.check_writable()?;
        match self.layout.root.open_existing(CACHE)? {
            Some(dir) => atomic::remove(&dir, request.as_str()),
            None => Ok(()),
        }
    }

    #[cfg(feature = "mcp")]
    pub(crate) fn count_cached_answers(&self) -> Result<usize> {
        let Some(dir) = self.layout.root.open_existing(CACHE)? else { return Ok(0) };
        let now = self.now().wall;
        let is_valid = |name: &String| read_entry(&dir, name).is_some_and(|entry| entry.is_valid(now));
        Ok(dir.names()?.iter().filter(|name| is_valid(name)).count())
    }

    #[cfg(feature = "mcp")]
    pub(crate) fn clear_answer_cache(&self) -> Result<usize> {
        self.check_writable()?;
        let Some(dir) = self.layout.root.open_existing(CACHE)? else { return Ok(0) };
        let names = dir.names()?;
        names.iter().try_for_each(|name| atomic::remove_tree(&dir, name))?;
        Ok(names.len())
    }

    /// Removes the entries that are not valid now, and those of tasks that are gone.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn remove_stale_answers(&self) -> Result<()> {
        match self.layout.root.open_existing(CACHE)? {
            Some(dir) => self.remove_stale_answers_in(&dir),
            None => Ok(()),
        }
    }

    fn remove_stale_answers_in(&self, dir: &Dir) -> Result<()> {
        let now = self.now().wall;
        for name in dir.names()? {
            let is_current = match read_entry(dir, &name) {
                Some(entry) => entry.is_valid(now) && self.layout.task(&entry.task_id)?.is_some(),
                None => false,
            };
            if !is_current {
                atomic::remove_tree(dir, &name)?;
            }
        }
        Ok(())
    }
}

/// Reads an entry; `None` for what is not one.
pub(super) fn read_entry(dir: &Dir, name: &str) -> Option<CachedAnswer> {
    Sha256::new(name).ok()?;
    let content = bounded_file::read(dir, name, MAX_ENTRY_BYTES).ok()??;
    CachedAnswer::from_object(&json::parse_object(&content.bytes).ok()?)
}

#[cfg(all(test, feature = "mcp"))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::model::answer_cache::CACHE_LIFETIME;
    use crate::model::{NewTask, TaskId, Time};
    use crate::store::{Clock, StoreOptions};

    /// 2026-11-21T07:00:00Z.
    const START: i64 = 1_795_244_400_000_000;

    fn request(number: usize) -> Sha256 {
        crate::sha256::sha256_bytes(number.to_string().as_bytes())
    }

    #[test]
    fn entries_expire_and_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let wall = Arc::new(AtomicI64::new(START));
        let options = StoreOptions { clock: Clock::settable(Arc::clone(&wall)), ..StoreOptions::default() };
        let store = FileStore::open(&dir.path().join("state"), options).unwrap();
        let task_id =
            store.submit(NewTask::prompt(crate::model::LaneName::stored("a"), "x")).unwrap().task.id;
        let entry = |second: i64| CachedAnswer {
            task_id: task_id.clone(),
            expires_at: Time::from_micros(START + second * 1_000_000),
        };
        let count = || store.count_cached_answers().unwrap();
        assert_eq!((count(), store.clear_answer_cache().unwrap()), (0, 0));
        let lifetime = i64::try_from(CACHE_LIFETIME.as_secs()).unwrap();
        store.cache_answer(&request(0), &entry(lifetime)).unwrap();
        assert_eq!(store.cached_answer(&request(0)).unwrap(), Some(entry(lifetime)));
        assert_eq!(store.cached_answer(&request(1)).unwrap(), None);
        // Also when the clock is set back, and forward again.
        for (second, expected) in [(lifetime, 0), (-1, 0), (lifetime - 1, 1)] {
            wall.store(START + second * 1_000_000, Ordering::SeqCst);
            assert_eq!(count(), expected, "{second}");
        }
        wall.store(START, Ordering::SeqCst);
        for number in 1..MAX_CACHED_ANSWERS {
            store.cache_answer(&request(number), &entry(1)).unwrap();
        }
        assert_eq!(count(), MAX_CACHED_ANSWERS);
        store.cache_answer(&request(MAX_CACHED_ANSWERS), &entry(2)).unwrap();
        assert_eq!(count(), MAX_CACHED_ANSWERS - MADE_ROOM + 1);
        assert!(store.cached_answer(&request(0)).unwrap().is_some(), "it expires last");
        let gone = CachedAnswer { task_id: TaskId::parse("t-1").unwrap(), ..entry(3) };
        store.cache_answer(&request(0), &gone).unwrap();
        wall.store(START + 1_000_000, Ordering::SeqCst);
        store.remove_stale_answers().unwrap();
        assert_eq!(count(), 1, "the others have expired, and the task of one is gone");
        store.forget_cached_answer(&request(MAX_CACHED_ANSWERS)).unwrap();
        store.forget_cached_answer(&request(MAX_CACHED_ANSWERS)).unwrap();
        assert_eq!(count(), 0);
    }
}
