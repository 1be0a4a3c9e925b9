//! Sleeps until something changes.
//!
//! A wait arms its watch, then checks, then sleeps, so that no change is missed between the check and the
//! sleep. The watched directories are small and never touched by the waiter itself: the directory of a task
//! for its response, and a *doorbell* for a lane, an empty directory whose time every change of the lane sets
//! (a directory, because only directories can be watched by a signal). A doorbell that no waiter has made is
//! not rung.
//!
//! Only `lanes` rings doorbells, and notifications have limits, so every sleep also ends after a while for a
//! check. Where there are no notifications, that is all there is.

mod dnotify;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use self::dnotify::DirectoryWatch;
use super::layout::{BELLS, lane_key};
use super::{FileStore, atomic};
use crate::model::{LaneName, TaskId};

/// The interval of the periodic check, for changes without a notification.
const FALLBACK_INTERVAL: Duration = Duration::from_secs(2);

/// The interval of the check when there are no notifications at all.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The doorbell that every change rings.
const ANY_CHANGE: &str = "any";

/// A watch to sleep on; see the module's documentation.
pub struct Watch(WakeSource);

/// Sleeps at most that long until a store on another machine may have changed, and returns whether to look.
#[cfg(feature = "remote")]
pub(super) type RemoteSleep = dyn FnMut(Duration) -> bool + Send;

/// The source of a watch's wake-ups.
enum WakeSource {
    /// inotify: for many watches in a long-lived process. Dropping the watcher ends it.
    Channel { _watcher: RecommendedWatcher, changes: Receiver<()> },
    /// dnotify: for a process that waits once and ends.
    Signal(DirectoryWatch),
    /// The server of a store on another machine.
    #[cfg(feature = "remote")]
    Server(Box<RemoteSleep>),
    /// None: checking repeatedly.
    Nothing,
}

impl FileStore {
    pub(crate) fn can_watch(&self) -> bool {
        !matches!(Watch::on(vec![self.root().to_path_buf()]).0, WakeSource::Nothing)
    }

    pub(crate) fn watch_tasks(&self, ids: &[TaskId]) -> Watch {
        Watch::on(self.task_paths(ids))
    }

    pub(crate) fn watch_tasks_until_exit(&self, ids: &[TaskId]) -> Watch {
        Watch::until_exit(self.task_paths(ids))
    }

    fn task_paths(&self, ids: &[TaskId]) -> Vec<PathBuf> {
        ids.iter().map(|id| self.layout.tasks.path().join(id.as_str())).collect()
    }

    pub(crate) fn watch_lanes(&self, lanes: &[LaneName]) -> Watch {
        self.make_doorbells(&lane_keys(lanes)).map_or_else(Watch::polling, Watch::on)
    }

    pub(crate) fn watch_lanes_until_exit(&self, lanes: &[LaneName]) -> Watch {
        self.make_doorbells(&lane_keys(lanes)).map_or_else(Watch::polling, Watch::until_exit)
    }

    pub(crate) fn watch_feed(&self) -> Watch {
        self.make_doorbells(&[ANY_CHANGE.to_string()]).map_or_else(Watch::polling, Watch::on)
    }

    /// Makes doorbells and returns their paths; `None` in a store that is not writable.
    fn make_doorbells(&self, names: &[String]) -> Option<Vec<PathBuf>> {
        self.check_writable().ok()?;
        let bells = self.layout.root.open_or_make(BELLS).ok()?;
        for name in names {
            // A doorbell that cannot be made cannot be watched either, which is noticed then.
            let _ = atomic::make_dir_derived(&bells, name);
        }
        Some(names.iter().map(|name| bells.path().join(name)).collect())
    }

    pub(crate) fn wake_waiters(&self, lanes: &[LaneName]) {
        self.ring(lanes);
    }

    /// Wakes the waiters of these lanes, and those of the feed.
    pub(super) fn ring<'l>(&self, lanes: impl IntoIterator<Item = &'l LaneName>) {
        let Ok(Some(bells)) = self.layout.root.open_existing(BELLS) else {
            return;
        };
        for lane in lanes {
            atomic::ring(&bells, &lane_key(lane.as_str()));
        }
        atomic::ring(&bells, ANY_CHANGE);
    }
}

fn lane_keys(lanes: &[LaneName]) -> Vec<String> {
    lanes.iter().map(|lane| lane_key(lane.as_str())).collect()
}

impl Watch {
    /// Makes a watch on a server.
    #[cfg(feature = "remote")]
    pub(super) fn remote(sleep: Box<RemoteSleep>) -> Self {
        Self(WakeSource::Server(sleep))
    }

    fn polling() -> Self {
        Self(WakeSource::Nothing)
    }

    fn on(paths: Vec<PathBuf>) -> Self {
        Self::try_on(&paths).unwrap_or_else(|_| Self::polling())
    }

    fn until_exit(paths: Vec<PathBuf>) -> Self {
        match DirectoryWatch::watch(&paths) {
            Ok(directories) => Self(WakeSource::Signal(directories)),
            Err(_) => Self::on(paths),
        }
    }

    fn try_on(paths: &[PathBuf]) -> notify::Result<Self> {
        let (sender, changes) = mpsc::sync_channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own checks open files, which must not wake us.
            let matters = event.map_or(true, |event| match event.kind {
                EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_)) => false,
                EventKind::Any
                | EventKind::Create(_)
                | EventKind::Modify(_)
                | EventKind::Remove(_)
                | EventKind::Other => true,
            });
            if matters {
                // A full channel already contains a wake-up.
                let _ = sender.try_send(());
            }
        })?;
        for path in paths {
            watcher.watch(Path::new(path), RecursiveMode::NonRecursive)?;
        }
        Ok(Self(WakeSource::Channel { _watcher: watcher, changes }))
    }

    /// Sleeps until something may have changed, at the latest until `until`. Returns `true` to check again,
    /// `false` when `until` has come.
    pub fn wait(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let woken = match &mut self.0 {
            WakeSource::Nothing => {
                std::thread::sleep(left.min(POLL_INTERVAL));
                return true;
            }
            #[cfg(feature = "remote")]
            WakeSource::Server(sleep) => sleep(left),
            WakeSource::Signal(directories) => directories.wait(left.min(FALLBACK_INTERVAL)),
            WakeSource::Channel { changes, .. } => match changes.recv_timeout(left.min(FALLBACK_INTERVAL)) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => {
                    self.0 = WakeSource::Nothing;
                    true
                }
            },
        };
        woken || left > FALLBACK_INTERVAL || Instant::now() < until
    }
}
