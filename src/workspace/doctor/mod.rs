//! `doctor`: checks everything that `lanes` needs, from the binary to the workers.
//!
//! It changes nothing except what every command does: an outdated index is updated, and the records of dead
//! workers are removed.

mod installation;
mod state;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::discover::{LocateOptions, locate, visible_from};
use super::paths::show;
use crate::error::Error;
use crate::model::json::Object;
use crate::model::task::object;
use crate::store::StoreOptions;

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiagnosisLevel {
    /// No problem.
    Ok,
    /// It works, with a problem to be aware of.
    Warning,
    /// It does not work until this is fixed.
    Blocking,
}

impl DiagnosisLevel {
    /// Returns the name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Blocking => "blocking",
        }
    }
}

/// The result of one check of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The group of the check: such as `configuration`, `store` or `bridges`.
    pub area: &'static str,
    /// A stable name for programs, such as `inotify`.
    pub code: &'static str,
    /// The outcome.
    pub level: DiagnosisLevel,
    /// The finding, in one sentence.
    pub message: String,
    /// What to do; `None` if there is no problem.
    pub remedy: Option<String>,
}

impl Diagnosis {
    /// Makes a diagnosis of something that is as it should be.
    pub fn ok(area: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { area, code, level: DiagnosisLevel::Ok, message: message.into(), remedy: None }
    }

    /// Makes a diagnosis of something that needs attention.
    pub fn warning(
        area: &'static str,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (message, remedy) = (message.into(), Some(remedy.into()));
        Self { area, code, level: DiagnosisLevel::Warning, message, remedy }
    }

    /// Makes a diagnosis of something that does not work at all.
    pub fn blocking(
        area: &'static str,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: DiagnosisLevel::Blocking, ..Self::warning(area, code, message, remedy) }
    }

    /// Returns the diagnosis as JSON.
    pub fn to_object(&self) -> Object {
        let mut diagnosis = object([
            ("area", self.area.into()),
            ("code", self.code.into()),
            ("level", self.level.as_str().into()),
            ("message", self.message.clone().into()),
        ]);
        diagnosis.insert("remedy".into(), self.remedy.clone().into());
        diagnosis
    }
}

/// What `doctor` checks.
#[derive(Clone, Debug)]
pub struct DoctorOptions<'a> {
    /// The workspace.
    pub locate: LocateOptions<'a>,
    /// The options for opening the store.
    pub options: StoreOptions,
    /// The directories in which a shell looks for programs (`PATH`).
    pub search_path: Option<OsString>,
    /// The path of the running program.
    pub program: Option<PathBuf>,
}

/// The diagnoses so far.
struct DiagnosisList {
    area: &'static str,
    entries: Vec<Diagnosis>,
}

impl DiagnosisList {
    fn ok(&mut self, code: &'static str, message: impl Into<String>) {
        self.entries.push(Diagnosis::ok(self.area, code, message));
    }

    fn warn(&mut self, code: &'static str, message: impl Into<String>, remedy: impl Into<String>) {
        self.entries.push(Diagnosis::warning(self.area, code, message, remedy));
    }

    fn block(&mut self, code: &'static str, message: impl Into<String>, remedy: impl Into<String>) {
        self.entries.push(Diagnosis::blocking(self.area, code, message, remedy));
    }

    /// Adds the message of an error; its hint is the remedy.
    fn error(&mut self, code: &'static str, error: &Error, otherwise: &str) {
        self.block(code, error.message(), error.hint().unwrap_or(otherwise));
    }
}

/// Checks everything, in the order installation, configuration, store, workers. `progress` is called with the
/// number of checked tasks and the number of all tasks.
pub fn doctor(settings: &DoctorOptions<'_>, progress: &mut dyn FnMut(u64, u64)) -> Vec<Diagnosis> {
    let mut diagnoses = DiagnosisList { area: "installation", entries: Vec::new() };
    installation::check(&mut diagnoses, settings);
    diagnoses.area = "configuration";
    match locate(&settings.locate) {
        Ok(config) => {
            let from = match config.path() {
                Some(path) => format!("{} is used", show(path)),
                None => "no configuration, only a store".to_string(),
            };
            diagnoses.ok("configuration", from);
            check_hidden(&mut diagnoses, settings, config.path());
            for warning in &config.warnings {
                diagnoses.warn("configuration-warning", warning, "correct the configuration file");
            }
            if !config.workspace_root.is_dir() {
                let message = format!("workspace_root {} is not a directory", show(&config.workspace_root));
                diagnoses.warn(
                    "workspace-root",
                    message,
                    "correct the configuration file, or create the directory",
                );
            }
            diagnoses.area = "store";
            let (root, is_named) = (&config.store_root, config.store_is_named());
            if let Some(store) = state::check(&mut diagnoses, root, is_named, &settings.options, progress) {
                diagnoses.area = "workers";
                state::check_workers(&mut diagnoses, &store);
                state::check_automation(&mut diagnoses, &config, &store);
            }
        }
        Err(error) => {
            diagnoses.error("configuration", &error, "correct the configuration file");
            // A store that is given explicitly can be checked nevertheless.
            if let Some(store) = settings.locate.store {
                diagnoses.area = "store";
                match settings.locate.base.absolute(store) {
                    Ok(store) => {
                        drop(state::check(&mut diagnoses, &store, true, &settings.options, progress))
                    }
                    Err(error) => diagnoses.error("store", &error, "name the store with an absolute path"),
                }
            }
        }
    }
    diagnoses.entries
}

/// Names the queue that a configuration found by the search hides: commands that are meant for it go elsewhere.
fn check_hidden(diagnoses: &mut DiagnosisList, settings: &DoctorOptions<'_>, used: Option<&Path>) {
    let (None, Some(used), Ok(cwd)) = (settings.locate.config, used, settings.locate.base.directory()) else {
        return;
    };
    let mut files = visible_from(cwd);
    let (Some((holder, _)), Some((other_holder, other))) = (files.next(), files.next()) else { return };
    let message = format!("{} hides the queue of {}", show(used), show(&other));
    // A project in a pool may well have a queue of its own.
    if holder == other_holder {
        let remedy = format!("remove one of the two, or name the other with --config {}", show(&other));
        diagnoses.warn("hidden-queue", message, remedy);
    } else {
        diagnoses.ok("hidden-queue", message);
    }
}
