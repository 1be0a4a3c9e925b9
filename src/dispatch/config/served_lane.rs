//! A lane that is served: its route, the vendor, and whether all that its runs need is there.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::DispatchConfig;
use super::options::Surroundings;
use super::route::{Route, Runner};
use crate::dispatch::task_metadata::metadata_text;
use crate::dispatch::vendor::{COMMAND, Vendor, agent_environment};
use crate::error::printable;
use crate::model::{Filter, Task};
use crate::workspace::absolute;
use crate::{Error, Result};

/// Where relative paths count from.
#[derive(Clone, Copy, Debug)]
pub struct Bases<'a> {
    /// Those of the file.
    pub file: &'a Path,
    /// The program, which the command line may name.
    pub program: &'a Path,
    /// Whether the command line names the program.
    pub asked: bool,
    /// Whether the command line names the working directory.
    pub cwd_asked: bool,
}

/// One lane and what serves it.
#[derive(Clone, Debug)]
pub struct Service {
    /// The lane's route, its paths made absolute.
    pub route: Route,
    /// How to run the agent.
    pub vendor: Vendor,
    /// Under which name a usage limit is remembered.
    pub account: String,
    /// Which tasks it takes.
    pub filter: Filter,
    /// Where the program may be; the first that can be executed is taken.
    candidates: Vec<PathBuf>,
    /// Where the program is named, for messages, and what to do when it is missing.
    program_place: Option<String>,
    program_hint: String,
    /// Where the working directory is named.
    cwd_place: String,
    /// What agents' programs set for what they start.
    session_env: Vec<String>,
    /// Where the number of runs at once is named.
    concurrency_place: String,
}

impl Service {
    /// A route with what serves it.
    ///
    /// # Errors
    /// `Config` for an unknown vendor and for a path that cannot be made absolute.
    pub fn new(
        mut route: Route,
        config: &DispatchConfig,
        bases: Bases<'_>,
        surroundings: &Surroundings,
    ) -> Result<Self> {
        let (vendor, account) = match &route.runner {
            Some(Runner::Vendor(name)) => (config.vendors.get(name)?.clone(), name.clone()),
            Some(Runner::Command { program, format }) => {
                let args = std::mem::take(&mut route.args);
                let vendor = Vendor {
                    format: *format,
                    notices: config.vendors.every(),
                    ..Vendor::command(program, &args)
                };
                (vendor, format!("{COMMAND}:{program}"))
            }
            None => return Err(Error::config(format!("nothing serves lane {}", printable(&route.lane)))),
        };
        make_absolute(&mut route, config, bases.file)?;
        let is_named = vendor.name != COMMAND;
        let program_hint = match (is_named, bases.asked) {
            (true, _) => format!("install it, or name another with dispatch.vendors.{}.command", vendor.name),
            (false, true) => "check the name after `--command --`".to_string(),
            (false, false) => "install it, or name another".to_string(),
        };
        let program_place = (!is_named && !bases.asked).then(|| config.place(&route, "command"));
        let cwd_place = if bases.cwd_asked { "--cwd".to_string() } else { config.place(&route, "cwd") };
        let filter = Filter::parse(&[format!("required_vendor={},any", vendor.name)])?;
        let session_env = config.vendors.session_env().to_vec();
        let concurrency_place = config.place(&route, "concurrency");
        let candidates = Vec::new();
        let mut service = Self {
            route,
            vendor,
            account,
            filter,
            candidates,
            program_place,
            program_hint,
            cwd_place,
            session_env,
            concurrency_place,
        };
        service.candidates = service.find_candidates(bases.program, surroundings);
        Ok(service)
    }

    /// Where it is said that the lane gets no run at all, if it is.
    pub fn closed(&self) -> Option<&str> {
        (self.route.concurrency == Some(0)).then_some(self.concurrency_place.as_str())
    }

    /// The environment of what is started for the lane; `last` has the last word.
    pub fn environment(
        &self,
        around: &Surroundings,
        last: &BTreeMap<String, Option<String>>,
    ) -> BTreeMap<OsString, OsString> {
        let defaults = self.vendor.unset_defaults(&around.environment);
        let layers = [&defaults, &self.vendor.env, &self.route.env, last];
        agent_environment(&around.environment, &self.session_env, &layers)
    }

    fn find_candidates(&self, base: &Path, around: &Surroundings) -> Vec<PathBuf> {
        let name = OsStr::new(&self.vendor.command);
        if name.as_bytes().contains(&b'/') {
            return vec![absolute(base, Path::new(name)).unwrap_or_else(|_| base.join(name))];
        }
        let environment = self.environment(around, &BTreeMap::new());
        let path = environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        std::env::split_paths(&path).map(|dir| base.join(dir).join(name)).collect()
    }

    /// The model that a run for `task` asks for, and a line about a class that means nothing; no model is
    /// the default of the vendor's program.
    pub fn model_for(&self, task: &Task) -> (Option<String>, Option<String>) {
        let class = metadata_text(task, "model_class").map(|class| self.vendor.model_for_class(class));
        let (model, warning) = match class {
            Some(Ok(model)) => (model, None),
            Some(Err(warning)) => (None, Some(warning)),
            None => (None, None),
        };
        let usual = || self.route.model.clone().or_else(|| self.vendor.model.clone());
        (model.or_else(usual), warning)
    }

    /// The program as it would be started now; nothing when it is not there.
    pub fn program(&self) -> Option<&Path> {
        self.candidates
            .iter()
            .find(|path| {
                path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
            })
            .map(PathBuf::as_path)
    }

    /// How long a run may print nothing; nothing means without limit.
    pub fn silence_limit(&self) -> Option<Duration> {
        self.route.silence_limit(self.vendor.format)
    }

    /// What is missing, if anything is: then no task of the lane can be run, and none is to blame.
    ///
    /// # Errors
    /// One line that names what is missing and where it is set.
    pub fn check_ready(&self) -> Result<()> {
        if self.program().is_none() {
            let program = printable(&self.vendor.command);
            let message = match (&self.program_place, self.vendor.name.as_str()) {
                (Some(place), _) => format!("{place}: {program} is not installed"),
                (None, COMMAND) => format!("{program} is not installed"),
                (None, name) => format!("{program} (vendor {name}) is not installed"),
            };
            return Err(Error::config(message).with_hint(self.program_hint.clone()));
        }
        match &self.route.cwd {
            Some(cwd) if !Path::new(cwd).is_dir() => {
                Err(Error::config(format!("{}: there is no directory {}", self.cwd_place, printable(cwd))))
            }
            _ => Ok(()),
        }
    }
}

/// Paths of the file count from its directory, wherever the dispatcher was started.
fn make_absolute(route: &mut Route, config: &DispatchConfig, base: &Path) -> Result<()> {
    let place = |path: &str| absolute(base, Path::new(path)).map(|path| path.to_string_lossy().into_owned());
    let refuse = |key: &str, error: &Error| config.error(route, key, &error.to_string());
    let cwd = route.cwd.as_deref().map(place).transpose().map_err(|error| refuse("cwd", &error))?;
    let add_dirs: Result<Vec<String>> = route.add_dirs.iter().map(|dir| place(dir)).collect();
    let add_dirs = add_dirs.map_err(|error| refuse("add_dirs", &error))?;
    let is_file = |text: &&str| !text.trim_start().starts_with('{');
    let mcp_config = route.mcp_config.as_deref().filter(is_file).map(place).transpose();
    let mcp_config = mcp_config.map_err(|error| refuse("mcp_config", &error))?;
    route.cwd = cwd;
    route.add_dirs = add_dirs;
    route.mcp_config = mcp_config.or(route.mcp_config.take());
    Ok(())
}
