//! `fsck`: compares everything in a store with what it should be, and repairs what it can.
//!
//! Without `repair` nothing is changed. With it, derived files are rebuilt, leftovers of dead processes are
//! removed, and files that cannot be read are moved to `quarantine/<time>/…`, never deleted.
//!
//! The store stays in use meanwhile: anything that looks wrong is checked again under the locks before it is
//! reported, so that a change in progress is not a finding.

pub(crate) mod derived_check;
pub(crate) mod events_check;
pub(crate) mod expected;
pub(crate) mod fast_path;
pub(crate) mod fault;
pub(crate) mod layout_check;
pub(crate) mod preflight;
pub(crate) mod report;
pub(crate) mod task_check;

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::path::PathBuf;

use rustix::fs::FileType;
use rustix::io::Errno;

use self::expected::StoreExpectations;
use self::fast_path::FastChecker;
pub use self::report::{Finding, FsckReport, Severity};
use super::dir::Dir;
use super::scan::map_in_order;
use super::{FileStore, atomic, bounded_file, quarantine};
use crate::error::{ErrorKind, Result, printable};
use crate::model::TaskId;

impl FileStore {
    pub(crate) fn fsck(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<FsckReport> {
        self.check(false, progress, FsckReport::default(), None)
    }

    pub(crate) fn repair(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<FsckReport> {
        self.check(true, progress, FsckReport::default(), None)
    }

    /// Continues a check with the findings and the quarantine of the preflight.
    fn check(
        &self,
        repair: bool,
        progress: &mut dyn FnMut(u64, u64),
        report: FsckReport,
        quarantine: Option<String>,
    ) -> Result<FsckReport> {
        if repair {
            self.check_writable()?;
        }
        let mut check = Checker { store: self, repair, report, quarantine, failure: None };
        check.check_layout()?;
        let names = self.layout.tasks.entries()?;
        let total = names.len() as u64;
        let mut expected = StoreExpectations::default();
        let sound = |checker: &mut FastChecker, (name, kind): &(OsString, FileType)| {
            checker.expected_if_sound(self, name, *kind)
        };
        let is_task = |name: &OsStr, kind: FileType| {
            kind == FileType::Directory && name.to_str().is_some_and(TaskId::is_valid)
        };
        let (mut done, mut tasks, mut result) = (0, 0, Ok(()));
        let _ = map_in_order(&names, &FastChecker::new, &sound, &mut |(name, kind), found| {
            match found {
                Some(found) => expected.add(found),
                None => result = check.check_entry(name, *kind, &mut expected),
            }
            done += 1;
            tasks += u64::from(is_task(name, *kind));
            progress(done, total);
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        result?;
        check.report.tasks = tasks;
        check.check_derived(&expected)?;
        Ok(check.report)
    }
}

/// A check in progress.
struct Checker<'a> {
    store: &'a FileStore,
    repair: bool,
    report: FsckReport,
    /// The name of the quarantine of this run, once something was moved there.
    quarantine: Option<String>,
    /// Why the repair of the next finding failed.
    failure: Option<String>,
}

impl Checker<'_> {
    /// Runs a repair if this check repairs; returns whether it succeeded. A failure is reported with the next
    /// finding and does not stop other repairs.
    ///
    /// # Errors
    /// Those that every other repair would meet as well: `Locked`, and a disk that is full or fails.
    fn try_repair(&mut self, repair: impl FnOnce(&mut Self) -> Result<()>) -> Result<bool> {
        if !self.repair {
            return Ok(false);
        }
        let disk = [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS].map(Errno::raw_os_error);
        match repair(self) {
            Err(error) if error.kind() == ErrorKind::Locked => Err(error),
            Err(error) if error.raw_os_error().is_some_and(|number| disk.contains(&number)) => Err(error),
            Err(error) => {
                self.failure = Some(error.message().to_string());
                Ok(false)
            }
            Ok(()) => Ok(true),
        }
    }

    fn found(
        &mut self,
        code: &'static str,
        severity: Severity,
        path: PathBuf,
        message: impl Into<String>,
        remedy: &str,
        repaired: bool,
    ) {
        let message = message.into();
        let (severity, remedy) = match self.failure.take() {
            Some(why) => (severity.max(Severity::Damage), format!("repair failed: {why}")),
            None => (severity, remedy.to_string()),
        };
        // Errors name their file, which the finding does already.
        let shown = printable(&path.to_string_lossy());
        let message = match message.strip_prefix(&format!("{shown} ")) {
            Some(rest) => rest.to_string(),
            None => message,
        };
        self.report.add(Finding { code, severity, path, message, remedy, repaired });
    }

    /// Moves `name` out of `from`, to the same place below the quarantine of this run.
    fn move_to_quarantine(&mut self, from: &Dir, name: &OsStr) -> Result<()> {
        let root = &self.store.layout.root;
        let time = self.store.now().wall;
        self.report.quarantine =
            Some(quarantine::move_to_quarantine(root, &mut self.quarantine, time, from, name)?);
        Ok(())
    }

    /// Copies a file to the quarantine of this run, for a repaired file that replaces it in one step.
    fn copy_to_quarantine(&mut self, from: &Dir, name: &str) -> Result<()> {
        let root = &self.store.layout.root;
        let time = self.store.now().wall;
        let (run, dir) = quarantine::directory_for(root, &mut self.quarantine, time, from)?;
        self.report.quarantine = Some(run);
        let content =
            bounded_file::read(from, name, u64::MAX)?.map(|content| content.bytes).unwrap_or_default();
        atomic::replace_durably(&self.store.layout.tmp()?, &dir, name, &content)
    }
}
