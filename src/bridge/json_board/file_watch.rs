//! Waits until a file is no longer what was read from it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::store::{FileVersion, SharedFile};

/// How often the file is looked at in any case: notifications have limits.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// What is known of a file, and who tells of its changes.
#[derive(Default)]
pub(super) struct FileWatch {
    known: KnownVersion,
    bell: Option<DirectoryBell>,
}

/// Which version of a file has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum KnownVersion {
    /// None since the last wait.
    #[default]
    Nothing,
    /// This one alone, or it was written by the reader itself.
    Version(FileVersion),
    /// Several, so that what was read of the first ones may be out of date.
    Several,
}

/// The notifications of the directories of a file.
struct DirectoryBell {
    _watcher: RecommendedWatcher,
    directories: Vec<PathBuf>,
    rings: Receiver<()>,
}

impl FileWatch {
    /// Notes that a version was read.
    pub(super) fn note(&mut self, version: FileVersion) {
        self.known = match self.known {
            KnownVersion::Nothing => KnownVersion::Version(version),
            KnownVersion::Version(known) if known == version => self.known,
            KnownVersion::Version(_) | KnownVersion::Several => KnownVersion::Several,
        };
    }

    /// Notes that the version that was noted last was replaced by this one, whose content is known as well.
    pub(super) fn note_own(&mut self, written: Option<FileVersion>) {
        if let (KnownVersion::Version(_), Some(written)) = (self.known, written) {
            self.known = KnownVersion::Version(written);
        }
    }

    /// Sleeps until the file is no longer the version that was noted, or `timeout` is over. Returns whether it is not.
    pub(super) fn wait(&mut self, file: &SharedFile, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        self.listen(file);
        loop {
            if !matches!(self.known, KnownVersion::Version(known) if file.version() == Some(known)) {
                self.known = KnownVersion::Nothing;
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.sleep(left.min(CHECK_INTERVAL));
        }
    }

    fn sleep(&mut self, time: Duration) {
        let Some(bell) = &self.bell else { return std::thread::sleep(time) };
        if bell.rings.recv_timeout(time) == Err(RecvTimeoutError::Disconnected) {
            self.bell = None;
            std::thread::sleep(time);
        }
    }

    /// Watches the directories of the file and of the link to it.
    fn listen(&mut self, file: &SharedFile) {
        let parent = |path: &Path| path.parent().map(Path::to_path_buf);
        let mut directories: Vec<PathBuf> = parent(file.path()).into_iter().collect();
        directories.extend(file.target().as_deref().and_then(parent));
        directories.dedup();
        if self.bell.as_ref().is_none_or(|bell| bell.directories != directories) {
            // Where there are no notifications, looking at the file is all there is.
            self.bell = DirectoryBell::on(directories).ok();
        }
    }
}

impl DirectoryBell {
    fn on(directories: Vec<PathBuf>) -> notify::Result<Self> {
        let (sender, rings) = mpsc::sync_channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| matters(event.kind)) {
                // A full channel already contains a ring.
                let _ = sender.try_send(());
            }
        })?;
        for directory in &directories {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { _watcher: watcher, directories, rings })
    }
}

/// Returns whether a file may have been replaced, or written to the end: while it is being written, it is no board yet.
fn matters(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Data(_)) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}
