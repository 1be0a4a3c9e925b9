//! Checks everything outside the tasks: staging, workers, and the files at the root of the store.

use std::ffi::OsStr;
use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType};
use rustix::path::Arg;
use rustix::process::{Pid, test_kill_process};

use super::Checker;
use super::report::Severity;
use crate::error::{Error, ErrorKind, Result};
use crate::model::json::raw::{Raw, members};
use crate::os::{machine, process_table};
use crate::store::dir::Dir;
use crate::store::history::open_read;
use crate::store::layout::{
    AGENTS, BELLS, BOARD, BRIDGES, BUDGET, CACHE, CONVERSATIONS, FEED, INDEXES, LANES, LOCK, NOTICES,
    OLD_USAGE, OUTBOX, QUARANTINE, ROUTES, SCHEDULES, SERVER_TOKEN, TMP, USAGE, VENDORS, WORKERS,
};
use crate::store::scan::map_in_order;
use crate::store::worker_registry::is_dispatcher_registration;
use crate::store::{FileStore, answer_cache, atomic, feed, lock, notice_state};

/// How long an entry of `tmp/` that names no process is left alone.
const UNKNOWN_OWNER_GRACE: Duration = Duration::from_secs(3600);

/// How long an unlocked registration is left alone. A worker locks its own within microseconds.
const REGISTRATION_GRACE: Duration = Duration::from_secs(10);

/// The directories at the root of a store, except that of the tasks.
const DIRECTORIES: &[(&str, FileType)] = &[
    (BELLS, FileType::Directory),
    (BRIDGES, FileType::Directory),
    (CACHE, FileType::Directory),
    (CONVERSATIONS, FileType::Directory),
    (INDEXES, FileType::Directory),
    (NOTICES, FileType::Directory),
    (OUTBOX, FileType::Directory),
    (QUARANTINE, FileType::Directory),
    (TMP, FileType::Directory),
    (WORKERS, FileType::Directory),
];

/// The files at the root of a store, except format.json.
const FILES: &[(&str, FileType)] = &[
    (BOARD, FileType::RegularFile),
    (BUDGET, FileType::RegularFile),
    (FEED, FileType::RegularFile),
    (LANES, FileType::RegularFile),
    (LOCK, FileType::RegularFile),
    (OLD_USAGE, FileType::RegularFile),
    (ROUTES, FileType::RegularFile),
    (AGENTS, FileType::RegularFile),
    (SCHEDULES, FileType::RegularFile),
    (SERVER_TOKEN, FileType::RegularFile),
    (USAGE, FileType::RegularFile),
    (VENDORS, FileType::RegularFile),
];

const INDEX_ENTRIES: &[(&str, FileType)] = &[
    ("correlations", FileType::Directory),
    ("dependents", FileType::Directory),
    ("keys", FileType::Directory),
    ("lanes", FileType::Directory),
    ("releasing", FileType::Directory),
    ("state", FileType::RegularFile),
];

/// Returns code and message of a finding when the entry `name` exists and has another type than expected.
pub(crate) fn misplaced(
    dir: &Dir,
    name: impl Arg,
    expected: FileType,
) -> Option<(&'static str, &'static str)> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    match FileType::from_raw_mode(stat.st_mode) {
        kind if kind == expected => None,
        FileType::Symlink => Some(("link", "a symbolic link is where the store keeps its own files")),
        _ if expected == FileType::Directory => Some(("not-a-directory", "expected a directory here")),
        _ => Some(("not-a-file", "expected a file here")),
    }
}

impl Checker<'_> {
    /// Checks everything that does not grow with the number of tasks.
    pub(crate) fn check_layout(&mut self) -> Result<()> {
        self.check_types()?;
        let root = &self.store.layout.root;
        if root.is_open_to_others()? {
            let path = root.path().to_path_buf();
            let message = "other users can read the store";
            self.found("mode", Severity::Leftover, path, message, "run `chmod 700` on it", false);
        }
        self.check_token()?;
        self.check_staging()?;
        self.check_registrations()?;
        self.check_pauses()?;
        self.check_cooldowns()?;
        #[cfg(feature = "cli")]
        self.check_spending()?;
        self.check_schedules()?;
        self.check_notices()?;
        self.check_answer_cache()?;
        self.check_feed_end()
    }

    /// Finds entries whose type differs from what the store created.
    fn check_types(&mut self) -> Result<()> {
        let store = self.store;
        let root = &store.layout.root;
        self.check_types_in(root, &[DIRECTORIES, FILES].concat())?;
        match root.open_existing(INDEXES) {
            Ok(Some(indexes)) => self.check_types_in(&indexes, INDEX_ENTRIES),
            _ => Ok(()),
        }
    }

    fn check_types_in(&mut self, dir: &Dir, places: &[(&'static str, FileType)]) -> Result<()> {
        for (name, expected) in places {
            let Some((code, message)) = misplaced(dir, *name, *expected) else { continue };
            let (path, remedy) = (dir.path().join(name), "repair moves it to the quarantine");
            let repaired = self.try_repair(|check| check.move_to_quarantine(dir, OsStr::new(name)))?;
            self.found(code, Severity::Blocking, path, message, remedy, repaired);
        }
        Ok(())
    }

    /// Removes a token that other users may have read.
    fn check_token(&mut self) -> Result<()> {
        if !self.store.is_server_token_open() {
            return Ok(());
        }
        let root = &self.store.layout.root;
        let repaired = self.try_repair(|_| atomic::remove(root, SERVER_TOKEN))?;
        let path = root.path().join(SERVER_TOKEN);
        let message = "other users can read the token of `lanes serve`";
        let remedy = "repair removes it, and the next server makes another one";
        self.found("token-open", Severity::Leftover, path, message, remedy, repaired);
        Ok(())
    }

    fn check_staging(&mut self) -> Result<()> {
        let store = self.store;
        let Ok(Some(tmp)) = store.layout.root.open_existing(TMP) else { return Ok(()) };
        for (name, _) in tmp.entries()? {
            let age = age_of(&tmp, &name);
            let owner = name.to_str().and_then(StagingProcess::parse);
            let path = tmp.path().join(&name);
            let old = age.map_or_else(String::new, |age| format!(", {} seconds ago", age.as_secs()));
            match owner {
                Some(owner) if owner.is_alive() => {}
                Some(owner) => {
                    let repaired = self.try_repair(|_| atomic::remove_tree(&tmp, &name))?;
                    let message = format!("left by process {}, which has ended{old}", owner.pid);
                    let severity = Severity::Leftover;
                    self.found("staged", severity, path, message, "repair removes it", repaired);
                }
                _ if age.is_none_or(|age| age < UNKNOWN_OWNER_GRACE) => {}
                _ => {
                    let repaired = self.try_repair(|check| check.move_to_quarantine(&tmp, &name))?;
                    let message =
                        format!("its owner is unknown; last changed{}", old.trim_start_matches(','));
                    let remedy = "repair moves it to the quarantine";
                    self.found("stranger", Severity::Leftover, path, message, remedy, repaired);
                }
            }
        }
        Ok(())
    }

    fn check_registrations(&mut self) -> Result<()> {
        let Ok(Some(workers)) = self.store.layout.root.open_existing(WORKERS) else { return Ok(()) };
        for name in workers.names()? {
            let fresh = age_of(&workers, OsStr::new(&name)).is_none_or(|age| age < REGISTRATION_GRACE);
            if fresh || lock::is_held(&workers, &name)? {
                continue;
            }
            let path = workers.path().join(&name);
            if is_dispatcher_registration(&workers, &name) {
                // Its claims can only be identified by this registration: the next dispatcher needs it.
                let message = "the registration of a dispatcher that has died";
                let remedy = "the next `lanes dispatch` recovers its tasks and removes it";
                self.found("dead-dispatcher", Severity::Leftover, path, message, remedy, false);
                continue;
            }
            let repaired = self.try_repair(|_| atomic::remove(&workers, &name))?;
            let message = "the registration of a worker that has ended";
            self.found("dead-worker", Severity::Leftover, path, message, "repair removes it", repaired);
        }
        Ok(())
    }

    fn check_pauses(&mut self) -> Result<()> {
        let read = |store: &FileStore| store.paused().map(drop);
        let message = "it cannot be read, so no lane hands out anything";
        let remedy = "repair moves it to the quarantine, which resumes every lane";
        self.check_readable(LANES, read, "pauses-unreadable", message, remedy)
    }

    fn check_cooldowns(&mut self) -> Result<()> {
        let read = |store: &FileStore| store.cooldowns().map(drop);
        let message = "it cannot be read, so nothing is claimed for any vendor";
        let remedy = "repair moves it to the quarantine, which ends the pauses of all vendors";
        self.check_readable(VENDORS, read, "vendors-unreadable", message, remedy)
    }

    #[cfg(feature = "cli")]
    fn check_spending(&mut self) -> Result<()> {
        let read = |store: &FileStore| store.recorded_spending().map(drop);
        let message = "it cannot be read, so nothing is claimed for a lane with a budget";
        let remedy =
            "repair moves it to the quarantine; what was spent is then counted again from the usage log";
        self.check_readable(BUDGET, read, "budget-unreadable", message, remedy)
    }

    fn check_schedules(&mut self) -> Result<()> {
        let read = |store: &FileStore| store.schedule_records().map(drop);
        let message = "it cannot be read, so no schedule submits anything";
        let remedy = "repair moves it to the quarantine; every schedule then begins with its next time";
        self.check_readable(SCHEDULES, read, "schedules-unreadable", message, remedy)
    }

    fn check_notices(&mut self) -> Result<()> {
        let Ok(Some(notices)) = self.store.layout.root.open_existing(NOTICES) else { return Ok(()) };
        for name in notices.names()?.into_iter().filter(|name| name.ends_with(".json")) {
            if notice_state::is_readable(&notices, &name) {
                continue;
            }
            let repaired = self.try_repair(|check| check.move_to_quarantine(&notices, OsStr::new(&name)))?;
            let (path, message) =
                (notices.path().join(&name), "it cannot be read, so no notices are delivered");
            let remedy = "repair moves it to the quarantine; notices then begin with what happens next";
            self.found("notices-unreadable", Severity::Damage, path, message, remedy, repaired);
        }
        Ok(())
    }

    /// Removes what is not an entry of the cache. Entries that have expired are removed by those who use it.
    fn check_answer_cache(&mut self) -> Result<()> {
        let Ok(Some(cache)) = self.store.layout.root.open_existing(CACHE) else { return Ok(()) };
        for (name, _) in cache.entries()? {
            if name.to_str().is_some_and(|name| answer_cache::read_entry(&cache, name).is_some()) {
                continue;
            }
            let repaired = self.try_repair(|_| atomic::remove_tree(&cache, &name))?;
            let (path, message) = (cache.path().join(&name), "it is not an entry of the answer cache");
            self.found("cache-entry", Severity::Leftover, path, message, "repair removes it", repaired);
        }
        Ok(())
    }

    /// Reports and moves a file that stops the queue because `read` cannot use it.
    fn check_readable(
        &mut self,
        name: &str,
        read: fn(&FileStore) -> Result<()>,
        code: &'static str,
        message: &str,
        remedy: &'static str,
    ) -> Result<()> {
        let store = self.store;
        let root = &store.layout.root;
        if misplaced(root, name, FileType::RegularFile).is_some() {
            return Ok(());
        }
        match read(store) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let repaired = self.try_repair(|check| check.move_to_quarantine(root, OsStr::new(name)))?;
                self.found(code, Severity::Blocking, root.path().join(name), message, remedy, repaired);
                Ok(())
            }
            result => result,
        }
    }

    fn check_feed_end(&mut self) -> Result<()> {
        let store = self.store;
        let root = &store.layout.root;
        if misplaced(root, FEED, FileType::RegularFile).is_some() || feed::ends_with_complete_line(root)? {
            return Ok(());
        }
        let repaired = match store.lock_store() {
            Ok(_lock) => {
                if feed::ends_with_complete_line(root)? {
                    return Ok(());
                }
                self.try_repair(|_| feed::cut_incomplete_line(root))?
            }
            Err(error) if !self.repair && error.kind() == ErrorKind::Io => false,
            Err(error) => return Err(error),
        };
        let path = root.path().join(FEED);
        let message = "the last line is incomplete";
        self.found("feed-torn", Severity::Leftover, path, message, "repair cuts it off", repaired);
        Ok(())
    }

    /// Reads the whole feed and reports broken lines and disorder.
    pub(crate) fn check_feed(&mut self) -> Result<()> {
        let root = &self.store.layout.root;
        if misplaced(root, FEED, FileType::RegularFile).is_some() {
            return Ok(());
        }
        let Some(file) = open_read(root, FEED)? else { return Ok(()) };
        let fail = |error| Error::io("read", root.path().join(FEED), error);
        let size = file.metadata().map_err(fail)?.len();
        let parts: Vec<FeedPart> =
            (0..size).step_by(FEED_PART_BYTES as usize).map(|start| start..start + FEED_PART_BYTES).collect();
        let read = |_: &mut (), part: &FeedPart| FeedNumbers::read(&file, part, 0);
        let mut all = FeedNumbers::default();
        let mut result = Ok(());
        let _ = map_in_order(&parts, &|| (), &read, &mut |part, numbers| {
            result = numbers.and_then(|numbers| {
                // The result of a part is valid when all of it is newer than what comes before.
                let is_newer = numbers.lowest.is_none_or(|lowest| lowest > all.newest);
                all.add(if is_newer { numbers } else { FeedNumbers::read(&file, part, all.newest)? });
                Ok(())
            });
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        result.map_err(fail)?;
        let FeedNumbers { broken, backwards, .. } = all;
        for (code, count, what) in
            [("feed-broken", broken, "cannot be read"), ("feed-disordered", backwards, "are out of order")]
        {
            if count > 0 {
                let message = format!("{count} lines of the feed {what}");
                let remedy = "nothing; readers skip them";
                self.found(code, Severity::Leftover, root.path().join(FEED), message, remedy, false);
            }
        }
        Ok(())
    }

    /// Reports and removes temporary files that a process left in a directory of derived files when it ended
    /// before the rename. Returns the names of all other files.
    pub(crate) fn remove_partial_files(&mut self, dir: &Dir) -> Result<Vec<String>> {
        let (left, others): (Vec<_>, Vec<_>) =
            dir.names()?.into_iter().partition(|name| name.starts_with('.'));
        for name in &left {
            let owner = name.rsplit('.').next().and_then(StagingProcess::parse);
            if owner.is_some_and(|owner| owner.is_alive()) {
                continue;
            }
            let repaired = self.try_repair(|_| atomic::remove(dir, name))?;
            let message = "a partial file of a process that ended while writing it";
            let path = dir.path().join(name);
            self.found("half-written", Severity::Leftover, path, message, "repair removes it", repaired);
        }
        Ok(others)
    }
}

/// A part of the feed, as a range of offsets in bytes.
type FeedPart = Range<u64>;

/// How much of the feed is read at once, in bytes.
const FEED_PART_BYTES: u64 = 128 * 1024;

/// The broken and the disordered numbers in a part of the feed.
#[derive(Default)]
struct FeedNumbers {
    broken: u64,
    backwards: u64,
    lowest: Option<u64>,
    newest: u64,
}

impl FeedNumbers {
    /// Reads a part of the feed; `newest` is the highest number before it.
    fn read(file: &File, part: &FeedPart, newest: u64) -> std::io::Result<Self> {
        let mut found = Self { newest, ..Self::default() };
        feed::each_line_in(file, part.clone(), |line| match number_of(line) {
            Some(seq) => {
                found.backwards += u64::from(seq <= found.newest);
                found.newest = found.newest.max(seq);
                found.lowest = Some(found.lowest.map_or(seq, |lowest| lowest.min(seq)));
            }
            None => found.broken += 1,
        })?;
        Ok(found)
    }

    fn add(&mut self, part: Self) {
        self.broken += part.broken;
        self.backwards += part.backwards;
        self.newest = self.newest.max(part.newest);
    }
}

/// Returns the number of a line of the feed.
fn number_of(line: &[u8]) -> Option<u64> {
    let mut seq = None;
    let note = |key: &str, raw: Raw<'_>| {
        if key == "seq" {
            seq = raw.integer();
        }
    };
    members(std::str::from_utf8(line).ok()?, note)?;
    seq
}

/// Returns how long ago an entry was last changed.
fn age_of(dir: &Dir, name: &OsStr) -> Option<Duration> {
    let changed = std::fs::symlink_metadata(dir.path().join(name)).ok()?.modified().ok()?;
    Some(changed.elapsed().unwrap_or_default())
}

/// The process that a temporary name was made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StagingProcess {
    pid: u32,
    /// The machine's uptime when the name was made, in seconds; `None` when the name does not contain it.
    uptime: Option<i64>,
}

impl StagingProcess {
    /// Parses `<pid>-<uptime in nanoseconds>-<count>` or `lanes-<pid>`.
    fn parse(name: &str) -> Option<Self> {
        if let Some(pid) = name.strip_prefix("lanes-") {
            return Some(Self { pid: pid.parse().ok()?, uptime: None });
        }
        let mut parts = name.split('-');
        let pid = parts.next()?.parse().ok()?;
        let nanos: i64 = parts.next()?.parse().ok()?;
        parts.next()?.parse::<u64>().ok()?;
        parts.next().is_none().then_some(Self { pid, uptime: Some(nanos / 1_000_000_000) })
    }

    /// Returns whether the process that made the name still runs. Process ids are reused, so the process that has
    /// the id now must have been running then.
    fn is_alive(self) -> bool {
        let now = i64::try_from(machine::uptime().as_secs()).unwrap_or(i64::MAX);
        if self.uptime.is_some_and(|then| then > now) {
            return false;
        }
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return false };
        if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            return false;
        }
        match (self.uptime, started(self.pid)) {
            (Some(then), Some(started)) => started <= then + 1,
            _ => true,
        }
    }
}

/// Returns the uptime at which a process started, in seconds.
fn started(pid: u32) -> Option<i64> {
    let uptime = process_table::stat(pid.cast_signed())?.start.uptime();
    i64::try_from(uptime.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_owners_are_distinguished_from_dead_ones() {
        let us = std::process::id();
        let now = i64::try_from(machine::uptime().as_secs()).unwrap_or(i64::MAX);
        let name = |pid: u32, uptime: i64| format!("{pid}-{uptime}000000000-0");
        assert!(StagingProcess::parse(&name(us, now)).unwrap().is_alive());
        assert!(StagingProcess::parse(&format!("lanes-{us}")).unwrap().is_alive());
        let since = started(us).unwrap();
        assert!(
            !StagingProcess::parse(&name(us, since - 10)).unwrap().is_alive(),
            "the id was another's then"
        );
        assert!(!StagingProcess::parse(&name(us, now + 1000)).unwrap().is_alive(), "from an earlier boot");
        assert!(!StagingProcess::parse(&name(u32::MAX, now)).unwrap().is_alive());
        for foreign in ["x", "12", "12-13", "12-13-14-15", "lanes-x", "12-x-1"] {
            assert_eq!(StagingProcess::parse(foreign), None, "{foreign}");
        }
    }
}
