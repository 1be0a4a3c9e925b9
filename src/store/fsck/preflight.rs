//! Checks what prevents a store from being opened at all.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::layout_check::misplaced;
use super::report::{Finding, FsckReport, Severity};
use crate::error::{Error, ErrorKind, Result};
use crate::store::dir::Dir;
use crate::store::layout::{FORMAT, LOCK, Layout, QUARANTINE, TASKS};
use crate::store::lock::StoreLock;
use crate::store::{FORMAT_VERSION, FileStore, StoreOptions, atomic, format_version, lock, quarantine};

impl FileStore {
    pub(crate) fn fsck_at(
        root: &Path,
        options: StoreOptions,
        repair: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<FsckReport> {
        let path = std::path::absolute(root).map_err(|error| Error::io("find", root, error))?;
        let dir = match Dir::open_root(&path) {
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                let store = Self::open_existing(root, options)?;
                return if repair { store.repair(progress) } else { store.fsck(progress) };
            }
            dir => dir?,
        };
        let mut quarantine = None;
        let mut report = FsckReport::default();
        // Without these nothing else can be moved.
        for (name, expected) in [(QUARANTINE, FileType::Directory), (LOCK, FileType::RegularFile)] {
            let Some((code, message)) = misplaced(&dir, name, expected).filter(|_| repair) else { continue };
            let remedy = if name == QUARANTINE {
                atomic::set_aside(&dir, OsStr::new(name), &dir)?;
                "repair gives it another name"
            } else {
                let time = options.clock.now().wall;
                report.quarantine = Some(quarantine::move_to_quarantine(
                    &dir,
                    &mut quarantine,
                    time,
                    &dir,
                    OsStr::new(name),
                )?);
                "repair moves it to the quarantine"
            };
            report.add(Finding {
                code,
                severity: Severity::Blocking,
                path: path.join(name),
                message: message.to_string(),
                remedy: remedy.to_string(),
                repaired: true,
            });
        }
        let mut aside = |name: &str, report: &mut FsckReport| -> Result<()> {
            if repair {
                let _lock = StoreLock::acquire(&dir, options.lock_timeout)?;
                let time = options.clock.now().wall;
                report.quarantine = Some(quarantine::move_to_quarantine(
                    &dir,
                    &mut quarantine,
                    time,
                    &dir,
                    OsStr::new(name),
                )?);
            }
            Ok(())
        };
        if let Ok(stat) = rustix::fs::statat(&dir, TASKS, AtFlags::SYMLINK_NOFOLLOW)
            && FileType::from_raw_mode(stat.st_mode) != FileType::Directory
        {
            aside(TASKS, &mut report)?;
            report.add(Finding {
                code: "not-a-directory",
                severity: Severity::Blocking,
                path: path.join(TASKS),
                message: "something else is where the tasks should be".to_string(),
                remedy: "repair moves it to the quarantine; put the directory of the tasks in its place"
                    .to_string(),
                repaired: repair,
            });
            if !repair {
                return Ok(report);
            }
        }
        let layout = Layout { progress: options.progress.clone(), ..Layout::open(&path)? };
        if !options.allow_network_fs {
            lock::refuse_network_file_system(&layout.root)?;
        }
        let version = match format_version(&layout) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                aside(FORMAT, &mut report)?;
                report.add(Finding {
                    code: "format-unreadable",
                    severity: Severity::Blocking,
                    path: path.join(FORMAT),
                    message: "it does not name a version, so no command uses the store".to_string(),
                    remedy: "repair moves it to the quarantine; the next submit rewrites it".to_string(),
                    repaired: repair,
                });
                FORMAT_VERSION
            }
            version => version?,
        };
        let store = Self { layout, options, version, releases_are_due: AtomicBool::new(false) };
        store.check(repair, progress, report, quarantine)
    }
}
