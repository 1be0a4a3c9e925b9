//! `fsck`: compares everything in a store with what it should be, and puts right what can be.
//!
//! Without repair nothing is changed. With it, derived files are rebuilt, leftovers of dead
//! processes are removed, and what cannot be read is moved to `quarantine/<time>/…`, never removed.
//!
//! The store stays in use meanwhile: whatever looks wrong is looked at again under the locks before
//! it is reported, so that a change under way is no finding.

pub(crate) mod derived_check;
pub(crate) mod events_check;
pub(crate) mod expected;
pub(crate) mod fast_path;
pub(crate) mod layout_check;
pub(crate) mod preflight;
pub(crate) mod task_check;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::path::PathBuf;

use rustix::fs::FileType;
use rustix::io::Errno;

use serde_json::Value;

use self::expected::Expected;
use self::fast_path::FastChecker;
use super::layout::{Dir, QUARANTINE};
use super::scan::map_in_order;
use super::{Store, atomic, reader};
use crate::error::{ErrorKind, Result, printable};
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{TaskId, Time};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Harmless: a trace of something that ended in the middle; nothing that counts is wrong.
    Leftover,
    /// Something is lost, hidden or wrong; the rest of the store works.
    Damage,
    /// Part of the queue refuses to work until this is put right.
    Blocking,
}

impl Severity {
    /// The word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leftover => "leftover",
            Self::Damage => "damage",
            Self::Blocking => "blocking",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable word for programs, such as `task-unreadable`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The file or directory in question.
    pub path: PathBuf,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What repair does about it, or did.
    pub remedy: String,
    /// Whether it has been put right.
    pub repaired: bool,
}

impl Finding {
    /// The finding for programs.
    pub fn to_object(&self) -> Object {
        object([
            ("code", self.code.into()),
            ("severity", self.severity.as_str().into()),
            ("path", self.path.to_string_lossy().into()),
            ("message", self.message.clone().into()),
            ("remedy", self.remedy.clone().into()),
            ("repaired", self.repaired.into()),
        ])
    }
}

/// At most this many findings of one code are kept; the rest is only counted.
const KEPT_PER_CODE: u64 = 1000;

/// What [`Store::fsck`] found.
#[derive(Clone, Debug, Default)]
pub struct FsckReport {
    /// How many tasks were looked at, those that cannot be read included.
    pub tasks: u64,
    /// What is not as it should be, at most a thousand findings of each code.
    pub findings: Vec<Finding>,
    /// How many findings there are of each code.
    pub counts: BTreeMap<&'static str, u64>,
    /// Where unreadable files were moved, if any were.
    pub quarantine: Option<PathBuf>,
}

impl FsckReport {
    fn add(&mut self, finding: Finding) {
        let count = self.counts.entry(finding.code).or_default();
        *count += 1;
        if *count <= KEPT_PER_CODE {
            self.findings.push(finding);
        }
    }

    /// The worst of what has not been put right; `None` when all is well.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().filter(|finding| !finding.repaired).map(|finding| finding.severity).max()
    }

    /// The report for programs.
    pub fn to_object(&self) -> Object {
        let counts: Object = self.counts.iter().map(|(code, n)| (code.to_string(), (*n).into())).collect();
        let findings: Vec<Value> =
            self.findings.iter().map(|finding| Value::Object(finding.to_object())).collect();
        let quarantine = self.quarantine.as_ref().map(|path| path.to_string_lossy().into_owned());
        let mut report = object([
            ("tasks", self.tasks.into()),
            ("counts", Value::Object(counts)),
            ("findings", findings.into()),
        ]);
        report.insert("worst".into(), self.worst().map(Severity::as_str).into());
        report.insert("quarantine".into(), quarantine.into());
        report
    }
}

impl Store {
    /// Checks the whole store, and with `repair` puts right what can be. `progress` is told how
    /// many of how many tasks have been looked at.
    ///
    /// # Errors
    /// `Io` when the store cannot be read at all, or a repair cannot be written; `Locked`; `Config`
    /// for a repair of a store that a newer version wrote. What is wrong with a single task is a
    /// finding, not an error.
    pub fn fsck(&self, repair: bool, progress: &mut dyn FnMut(u64, u64)) -> Result<FsckReport> {
        self.check(repair, progress, FsckReport::default(), None)
    }

    /// The same with what has been found and set aside before.
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
        check.outside()?;
        let names = self.layout.tasks.entries()?;
        let total = names.len() as u64;
        let mut expected = Expected::default();
        let sound =
            |checker: &mut FastChecker, (name, kind): &(OsString, FileType)| checker.sound(self, name, *kind);
        let is_task = |name: &OsStr, kind: FileType| {
            kind == FileType::Directory && name.to_str().is_some_and(TaskId::is_valid)
        };
        let (mut done, mut tasks, mut result) = (0, 0, Ok(()));
        let _ = map_in_order(&names, &FastChecker::new, &sound, &mut |(name, kind), found| {
            match found {
                Some(found) => expected.add(found),
                None => result = check.entry(name, *kind, &mut expected),
            }
            done += 1;
            tasks += u64::from(is_task(name, *kind));
            progress(done, total);
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        result?;
        check.report.tasks = tasks;
        check.derived(&expected)?;
        Ok(check.report)
    }
}

/// A check under way.
struct Checker<'a> {
    store: &'a Store,
    repair: bool,
    report: FsckReport,
    /// The name of this run's quarantine.
    quarantine: Option<String>,
    /// Why what is about to be reported could not be put right.
    failure: Option<String>,
}

impl Checker<'_> {
    /// Puts something right if this is a repair. Whether it has been: a failure is told by the finding
    /// that follows, and keeps nothing else from being put right.
    ///
    /// # Errors
    /// What every other repair would meet as well: `Locked`, and a disk that is full or fails.
    fn attempt(&mut self, repair: impl FnOnce(&mut Self) -> Result<()>) -> Result<bool> {
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

    /// Moves `name` out of `from`, to the same place below this run's quarantine.
    fn set_aside(&mut self, from: &Dir, name: &OsStr) -> Result<()> {
        let root = &self.store.layout.root;
        let time = self.store.now().wall;
        self.report.quarantine = Some(set_aside_in(root, &mut self.quarantine, time, from, name)?);
        Ok(())
    }

    /// The same with a copy of a file, where the repaired one is to take its place in one step.
    fn copy_aside(&mut self, from: &Dir, name: &str) -> Result<()> {
        let root = &self.store.layout.root;
        let time = self.store.now().wall;
        let (run, dir) = quarantine_for(root, &mut self.quarantine, time, from)?;
        self.report.quarantine = Some(run);
        let content = reader::file(from, name, u64::MAX)?.map(|content| content.bytes).unwrap_or_default();
        atomic::replace_durably(&self.store.layout.tmp()?, &dir, name, &content)
    }
}

/// Moves `name` out of `from`, a directory of the store in `root`, to the same place below the
/// quarantine of this run, which gets its name from `time` the first time; returns the path of that.
pub(in crate::store) fn set_aside_in(
    root: &Dir,
    run: &mut Option<String>,
    time: Time,
    from: &Dir,
    name: &OsStr,
) -> Result<PathBuf> {
    let (path, dir) = quarantine_for(root, run, time, from)?;
    atomic::set_aside(from, name, &dir)?;
    Ok(path)
}

fn quarantine_for(root: &Dir, run: &mut Option<String>, time: Time, from: &Dir) -> Result<(PathBuf, Dir)> {
    let all = root.open_or_make(QUARANTINE)?;
    let name = match run {
        Some(name) => name.clone(),
        None => {
            let time = time.compact();
            let mut candidate = time.clone();
            let mut n = 1;
            while all.open_existing(&candidate)?.is_some() {
                n += 1;
                candidate = format!("{time}-{n}");
            }
            run.insert(candidate).clone()
        }
    };
    let mut dir = all.open_or_make(&name)?;
    let path = dir.path().to_path_buf();
    for part in from.path().strip_prefix(root.path()).unwrap_or(from.path()) {
        dir = dir.open_or_make(&part.to_string_lossy())?;
    }
    Ok((path, dir))
}
