//! A served lane: its route, its vendor, and whether its program and working directory exist.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::DispatchConfig;
use super::options::ProcessContext;
use super::route::{Route, Runner};
use crate::dispatch::task_metadata::metadata_text;
use crate::dispatch::vendor::{COMMAND, Vendor, agent_environment};
use crate::error::printable;
use crate::model::{CooldownKey, Filter, Task};
use crate::workspace::absolute;
use crate::{Error, Result};

/// Where the settings of a lane come from, which decides how relative paths are resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SettingSources<'a> {
    /// The directory that paths in the configuration file are relative to.
    pub config_dir: &'a Path,
    /// Whether the command line, not the file, names the vendor or program.
    pub is_runner_from_command_line: bool,
    /// Whether the command line, not the file, names the working directory.
    pub is_cwd_from_command_line: bool,
}

/// Where the program of a lane is named.
#[derive(Clone, Debug)]
enum ProgramSource {
    /// The profile of the vendor.
    Profile,
    /// The command line, after `--command --`.
    CommandLine,
    /// The route or the defaults, at this file and line.
    File(String),
}

/// A lane and the vendor that serves it.
#[derive(Clone, Debug)]
pub(crate) struct ServedLane {
    /// The route, with absolute paths.
    pub route: Route,
    /// The vendor that serves it.
    pub vendor: Vendor,
    /// The key of the cooldown of all its runs.
    pub cooldown_key: CooldownKey,
    /// The tasks that may be claimed for it.
    pub filter: Filter,
    /// Possible paths of the program; the first executable one is used.
    candidates: Vec<PathBuf>,
    program_source: ProgramSource,
    /// Where the working directory is configured.
    cwd_location: String,
    /// Session variables of all vendors.
    session_env: Vec<String>,
    /// Where `concurrency` is configured.
    concurrency_location: String,
}

impl ServedLane {
    /// Creates a served lane from its route.
    ///
    /// # Errors
    /// `Config` for an unknown vendor and for a path that cannot be made absolute.
    pub(crate) fn new(
        mut route: Route,
        config: &DispatchConfig,
        sources: SettingSources<'_>,
        process: &ProcessContext,
    ) -> Result<Self> {
        let (vendor, cooldown_vendor) = match &route.runner {
            Some(Runner::Vendor(name)) => (config.vendors.get(name)?.clone(), name.clone()),
            Some(Runner::Command { program, format }) => {
                let args = std::mem::take(&mut route.args);
                let vendor = Vendor {
                    format: *format,
                    messages: config.vendors.common_messages(),
                    ..Vendor::command(program, &args)
                };
                (vendor, format!("{COMMAND}:{program}"))
            }
            None => {
                return Err(Error::config(format!(
                    "no vendor is configured for lane {}",
                    printable(route.lane.as_str())
                )));
            }
        };
        make_absolute(&mut route, config, sources.config_dir)?;
        let (program_source, program_base) = match (&route.runner, sources.is_runner_from_command_line) {
            (Some(Runner::Command { .. }), true) => (ProgramSource::CommandLine, process.cwd.as_path()),
            (Some(Runner::Command { .. }), false) => {
                (ProgramSource::File(config.location(&route, "command")), sources.config_dir)
            }
            _ => (ProgramSource::Profile, sources.config_dir),
        };
        let cwd_location = match sources.is_cwd_from_command_line {
            true => "--cwd".to_string(),
            false => config.location(&route, "cwd"),
        };
        let mut served = Self {
            cooldown_key: CooldownKey::of_vendor(cooldown_vendor),
            filter: Filter::parse(&[format!("required_vendor={},any", vendor.name)])?,
            candidates: Vec::new(),
            program_source,
            cwd_location,
            session_env: config.vendors.session_env().to_vec(),
            concurrency_location: config.location(&route, "concurrency"),
            route,
            vendor,
        };
        served.candidates = served.find_candidates(program_base, process);
        Ok(served)
    }

    /// Returns where the lane is disabled with `concurrency: 0`, or `None` if it is not.
    pub(crate) fn disabled_at(&self) -> Option<&str> {
        (self.route.concurrency == Some(0)).then_some(self.concurrency_location.as_str())
    }

    /// Returns the environment of processes started for the lane; `last` overrides everything else.
    pub(crate) fn environment(
        &self,
        process: &ProcessContext,
        last: &BTreeMap<String, Option<String>>,
    ) -> BTreeMap<OsString, OsString> {
        let defaults = self.vendor.unset_defaults(&process.environment);
        let layers = [&defaults, &self.vendor.env, &self.route.env, last];
        agent_environment(&process.environment, &self.session_env, &layers)
    }

    fn find_candidates(&self, base: &Path, process: &ProcessContext) -> Vec<PathBuf> {
        let name = OsStr::new(&self.vendor.command);
        if name.as_bytes().contains(&b'/') {
            return vec![absolute(base, Path::new(name)).unwrap_or_else(|_| base.join(name))];
        }
        let environment = self.environment(process, &BTreeMap::new());
        let path = environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        std::env::split_paths(&path).map(|dir| base.join(dir).join(name)).collect()
    }

    /// Returns the model for a run of `task`, and a warning if its model class is unknown. Without a model the
    /// vendor's program uses its default.
    pub(crate) fn model_for(&self, task: &Task) -> (Option<String>, Option<String>) {
        let class = metadata_text(task, "model_class").map(|class| self.vendor.model_for_class(class));
        let (model, warning) = match class {
            Some(Ok(model)) => (model, None),
            Some(Err(warning)) => (None, Some(warning)),
            None => (None, None),
        };
        let usual = || self.route.model.clone().or_else(|| self.vendor.model.clone());
        (model.or_else(usual), warning)
    }

    /// Returns the path of the program that would be started now; `None` if there is none.
    pub(crate) fn program(&self) -> Option<&Path> {
        self.candidates
            .iter()
            .find(|path| {
                path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
            })
            .map(PathBuf::as_path)
    }

    /// Returns the maximum time without output; `None` is unlimited.
    pub(crate) fn silence_timeout(&self) -> Option<Duration> {
        self.route.effective_silence_timeout(self.vendor.format)
    }

    /// Checks that the program and the working directory exist. Without them no task of the lane can run, through no
    /// fault of the task.
    ///
    /// # Errors
    /// `Config`, naming what is missing and where it is configured.
    pub(crate) fn check_ready(&self) -> Result<()> {
        if self.program().is_none() {
            let program = printable(&self.vendor.command);
            let name = &self.vendor.name;
            let (message, hint) = match &self.program_source {
                ProgramSource::Profile => (
                    format!("{program} (vendor {name}) is not installed"),
                    format!("install it, or name another with dispatch.vendors.{name}.command"),
                ),
                ProgramSource::CommandLine => {
                    (format!("{program} is not installed"), "check the name after `--command --`".to_string())
                }
                ProgramSource::File(location) => (
                    format!("{location}: {program} is not installed"),
                    "install it, or name another".to_string(),
                ),
            };
            return Err(Error::config(message).with_hint(hint));
        }
        match &self.route.cwd {
            Some(cwd) if !Path::new(cwd).is_dir() => {
                let cwd = printable(cwd);
                Err(Error::config(format!("{}: directory {cwd} does not exist", self.cwd_location)))
            }
            _ => Ok(()),
        }
    }
}

/// Resolves the paths in the file against its directory, wherever the dispatcher was started.
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
