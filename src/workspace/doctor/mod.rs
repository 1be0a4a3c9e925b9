//! `doctor`: looks at everything that `lanes` needs, from the binary to the workers.
//!
//! Nothing is changed by it, but for what any command does on the way: an index that is out of date
//! is brought up to date, and the cards of dead workers are cleared away.

mod installation;
mod state;

use std::ffi::OsString;
use std::path::PathBuf;

use super::discover::{Locate, locate};
use super::paths::show;
use crate::error::Error;
use crate::model::json::Object;
use crate::model::task::object;
use crate::store::StoreOptions;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiagnosisLevel {
    /// As it should be.
    Ok,
    /// Works, but somebody should know.
    Warning,
    /// Does not work until this is put right.
    Blocking,
}

impl DiagnosisLevel {
    /// The word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Blocking => "blocking",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What it belongs to: `installation`, `configuration`, `store` or `workers`.
    pub area: &'static str,
    /// A stable word for programs, such as `inotify`.
    pub code: &'static str,
    /// How it came out.
    pub level: DiagnosisLevel,
    /// What was seen, in one sentence.
    pub message: String,
    /// What to do; none when all is well.
    pub remedy: Option<String>,
}

impl Diagnosis {
    /// The diagnosis for programs.
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

/// What the doctor is to look at.
#[derive(Clone, Debug)]
pub struct DoctorOptions<'a> {
    /// Which workspace.
    pub locate: Locate<'a>,
    /// How the store is used.
    pub options: StoreOptions,
    /// The directories that a shell looks for programs in (`PATH`).
    pub search_path: Option<OsString>,
    /// The program that runs.
    pub program: Option<PathBuf>,
}

/// The diagnoses so far.
struct Chart {
    area: &'static str,
    entries: Vec<Diagnosis>,
}

impl Chart {
    fn ok(&mut self, code: &'static str, message: impl Into<String>) {
        self.add(code, DiagnosisLevel::Ok, message, None);
    }

    fn warn(&mut self, code: &'static str, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(code, DiagnosisLevel::Warning, message, Some(remedy.into()));
    }

    fn block(&mut self, code: &'static str, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(code, DiagnosisLevel::Blocking, message, Some(remedy.into()));
    }

    /// What an error says; its hint is the remedy.
    fn error(&mut self, code: &'static str, error: &Error, otherwise: &str) {
        self.block(code, error.message(), error.hint().unwrap_or(otherwise));
    }

    fn add(
        &mut self,
        code: &'static str,
        level: DiagnosisLevel,
        message: impl Into<String>,
        remedy: Option<String>,
    ) {
        self.entries.push(Diagnosis { area: self.area, code, level, message: message.into(), remedy });
    }
}

/// Looks at everything, in the order installation, configuration, store, workers. `progress` hears
/// how many of how many tasks have been looked at.
pub fn doctor(wish: &DoctorOptions<'_>, progress: &mut dyn FnMut(u64, u64)) -> Vec<Diagnosis> {
    let mut chart = Chart { area: "installation", entries: Vec::new() };
    installation::check(&mut chart, wish);
    chart.area = "configuration";
    match locate(&wish.locate) {
        Ok(config) => {
            let from = match &config.path {
                Some(path) => format!("{} is used", show(path)),
                None => "no configuration, only a store".to_string(),
            };
            chart.ok("configuration", from);
            for warning in &config.warnings {
                chart.warn("configuration-warning", warning, "correct the configuration file");
            }
            if !config.workspace_root.is_dir() {
                let message = format!("workspace_root {} is no directory", show(&config.workspace_root));
                chart.warn(
                    "workspace-root",
                    message,
                    "correct the configuration file, or make the directory",
                );
            }
            chart.area = "store";
            let (root, is_named) = (&config.store_root, config.store_is_named);
            if let Some(store) = state::check(&mut chart, root, is_named, &wish.options, progress) {
                chart.area = "workers";
                state::check_workers(&mut chart, &store);
            }
        }
        Err(error) => {
            chart.error("configuration", &error, "correct the configuration file");
            // A store that is named can be looked at all the same.
            if let Some(store) = wish.locate.store {
                chart.area = "store";
                match wish.locate.base.absolute(store) {
                    Ok(store) => drop(state::check(&mut chart, &store, true, &wish.options, progress)),
                    Err(error) => chart.error("store", &error, "name the store with an absolute path"),
                }
            }
        }
    }
    chart.entries
}
