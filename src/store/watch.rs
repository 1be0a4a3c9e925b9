//! Sleeping until something changes.
//!
//! A wait arms its watch, then looks, then sleeps, so that no change falls between looking and
//! sleeping. What is watched is small and never touched by the waiter itself: the directory of a
//! task for its answer, and a *doorbell* for a lane, an empty file whose time every change of the
//! lane sets. Nobody rings a bell that nobody has hung up.
//!
//! Doorbells are rung by `lanes` alone, and inotify has limits, so every sleep also ends after a
//! while for a look. Where inotify is not to be had, that is all there is.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::layout::{BELLS, lane_key};
use super::{Store, atomic};
use crate::model::TaskId;

/// The slow look, for changes that no notification tells of.
const FALLBACK: Duration = Duration::from_secs(2);

/// The look when there are no notifications at all.
const POLL: Duration = Duration::from_millis(250);

/// The doorbell that every change rings.
const ANY: &str = "any";

/// Something to sleep on; see the module's own words.
pub struct Watch {
    // Dropping it ends the notifications.
    _watcher: Option<RecommendedWatcher>,
    changes: Option<Receiver<()>>,
}

impl Store {
    /// Whether waits are woken by notifications, or have to look again and again.
    pub fn can_watch(&self) -> bool {
        Watch::on(vec![self.root().to_path_buf()]).changes.is_some()
    }

    /// A watch that wakes when one of these tasks changes.
    pub fn watch_tasks(&self, ids: &[TaskId]) -> Watch {
        Watch::on(ids.iter().map(|id| self.layout.tasks.path().join(id.as_str())).collect())
    }

    /// A watch that wakes when something in one of these lanes may have become claimable.
    pub fn watch_lanes(&self, lanes: &[String]) -> Watch {
        self.watch_bells(&lanes.iter().map(|lane| lane_key(lane)).collect::<Vec<_>>())
    }

    /// A watch that wakes when anything changes.
    pub fn watch_feed(&self) -> Watch {
        self.watch_bells(&[ANY.to_string()])
    }

    fn watch_bells(&self, names: &[String]) -> Watch {
        let Ok(bells) = self.check_writable().and_then(|()| self.layout.root.open_or_make(BELLS)) else {
            return Watch::polling();
        };
        for name in names {
            // Fails when it hangs there already, which is as good.
            let _ = atomic::create_plain(&bells, name, b"");
        }
        Watch::on(names.iter().map(|name| bells.path().join(name)).collect())
    }

    /// Wakes who waits for these lanes although nothing has changed: a process that ends wakes its own
    /// threads so.
    pub fn nudge(&self, lanes: &[String]) {
        self.ring(&lanes.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Wakes who waits for these lanes, and who follows everything.
    pub(super) fn ring(&self, lanes: &[&str]) {
        let Ok(Some(bells)) = self.layout.root.open_existing(BELLS) else {
            return;
        };
        for lane in lanes {
            atomic::ring(&bells, &lane_key(lane));
        }
        atomic::ring(&bells, ANY);
    }
}

impl Watch {
    fn polling() -> Self {
        Self { _watcher: None, changes: None }
    }

    fn on(paths: Vec<PathBuf>) -> Self {
        Self::try_on(&paths).unwrap_or_else(|_| Self::polling())
    }

    fn try_on(paths: &[PathBuf]) -> notify::Result<Self> {
        let (sender, changes) = mpsc::sync_channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own looking opens files, which must not wake us.
            let matters = event.map_or(true, |event| match event.kind {
                EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_)) => false,
                EventKind::Any
                | EventKind::Create(_)
                | EventKind::Modify(_)
                | EventKind::Remove(_)
                | EventKind::Other => true,
            });
            if matters {
                // A full channel has a wake-up in it already.
                let _ = sender.try_send(());
            }
        })?;
        for path in paths {
            watcher.watch(Path::new(path), RecursiveMode::NonRecursive)?;
        }
        Ok(Self { _watcher: Some(watcher), changes: Some(changes) })
    }

    /// Sleeps until something may have changed, at the latest until `until`. `true`: look again;
    /// `false`: `until` has come.
    pub fn wait(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let Some(changes) = &self.changes else {
            std::thread::sleep(left.min(POLL));
            return true;
        };
        match changes.recv_timeout(left.min(FALLBACK)) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => left > FALLBACK || Instant::now() < until,
            Err(RecvTimeoutError::Disconnected) => {
                self.changes = None;
                true
            }
        }
    }
}
