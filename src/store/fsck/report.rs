//! The findings of a check of the store.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::model::json::Object;
use crate::model::task::object;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Harmless: a trace of an interrupted operation; nothing that counts is wrong.
    Leftover,
    /// Something is lost, hidden or wrong; the rest of the store works.
    Damage,
    /// Part of the queue refuses to work until this is repaired.
    Blocking,
}

impl Severity {
    /// Returns the name for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leftover => "leftover",
            Self::Damage => "damage",
            Self::Blocking => "blocking",
        }
    }
}

/// One fault of the store, as a report lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable code for programs, such as `task-unreadable`.
    pub code: &'static str,
    /// Its severity.
    pub severity: Severity,
    /// The file or directory that is affected.
    pub path: PathBuf,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What repair does about it, or has done.
    pub remedy: String,
    /// Whether it was repaired.
    pub repaired: bool,
}

impl Finding {
    /// Returns the finding as JSON for programs.
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

/// How many findings of one code are kept; further ones are only counted.
const MAX_FINDINGS_PER_CODE: u64 = 1000;

/// What `Store::fsck` found.
#[derive(Clone, Debug, Default)]
pub struct FsckReport {
    /// How many tasks were checked, unreadable ones included.
    pub tasks: u64,
    /// The findings, at most a thousand of each code.
    pub findings: Vec<Finding>,
    /// The number of findings of each code.
    pub counts: BTreeMap<&'static str, u64>,
    /// The directory that files were moved to, if any were.
    pub quarantine: Option<PathBuf>,
}

impl FsckReport {
    pub(super) fn add(&mut self, finding: Finding) {
        let count = self.counts.entry(finding.code).or_default();
        *count += 1;
        if *count <= MAX_FINDINGS_PER_CODE {
            self.findings.push(finding);
        }
    }

    /// Returns the worst severity that was not repaired; `None` when all is well.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().filter(|finding| !finding.repaired).map(|finding| finding.severity).max()
    }

    /// Returns the report as JSON for programs.
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
