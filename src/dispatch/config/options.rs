//! The options of a dispatcher's command line, and the properties of its own process.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::consent::ConsentPolicy;
use super::route::Runner;
use crate::dispatch::output::Format;
use crate::model::duration::TimeLimit;
use crate::model::{LaneName, Owner};

/// The options of the command line, which override the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct DispatchOptions {
    /// Serve only these lanes.
    pub lanes: Vec<LaneName>,
    /// The runner of lanes whose route does not name one.
    pub runner: Option<CommandLineRunner>,
    /// Maximum number of concurrent agents.
    pub max_concurrent: Option<u32>,
    /// The owner name in claims.
    pub owner: Option<Owner>,
    /// The length of a lease.
    pub lease: Option<Duration>,
    /// The maximum duration of a run.
    pub timeout: Option<TimeLimit>,
    /// The maximum time without output.
    pub silence_timeout: Option<TimeLimit>,
    /// The number of attempts after the first.
    pub max_retries: Option<u32>,
    /// The working directory of agents.
    pub cwd: Option<PathBuf>,
    /// Directories outside the workspace in which tasks may let agents work.
    pub worktree_roots: Vec<PathBuf>,
    /// The time between SIGTERM and SIGKILL.
    pub grace: Option<Duration>,
    /// How long running agents may continue after the first request to stop.
    pub drain: Option<Duration>,
    /// How long it runs.
    pub lifetime: Lifetime,
}

/// How long a dispatcher that was started on demand stays without work, unless it is told otherwise.
pub(crate) const DEFAULT_IDLE_EXIT: Duration = Duration::from_secs(60);

/// How long a dispatcher runs, and for whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until it is stopped.
    #[default]
    UntilStopped,
    /// Until its lanes are empty.
    Once,
    /// Until it has been idle for this long. It serves the lanes of agents, except for those that another dispatcher
    /// serves at the moment.
    OnDemand {
        /// How long it may be idle.
        idle_exit: Duration,
    },
}

impl Lifetime {
    /// Returns how long the dispatcher may be idle, if it is started on demand.
    pub(crate) fn idle_exit(self) -> Option<Duration> {
        match self {
            Self::OnDemand { idle_exit } => Some(idle_exit),
            Self::UntilStopped | Self::Once => None,
        }
    }
}

/// A runner that the command line names: `--vendor NAME`, or `--command -- PROGRAM ARGUMENT…`.
#[derive(Clone, Debug)]
pub(crate) struct CommandLineRunner {
    /// The vendor or program.
    pub runner: Runner,
    /// The arguments of the program; empty for a vendor.
    pub args: Vec<String>,
}

impl CommandLineRunner {
    /// Returns the vendor called `name`.
    pub(crate) fn vendor(name: &str) -> Self {
        Self { runner: Runner::Vendor(name.to_string()), args: Vec::new() }
    }

    /// Returns the program and the arguments of `command`, or `None` if it is empty.
    pub(crate) fn program(command: &[OsString]) -> Option<Self> {
        let mut args = command.iter().map(|arg| arg.to_string_lossy().into_owned());
        let program = args.next()?;
        Some(Self { runner: Runner::Command { program, format: Format::Text }, args: args.collect() })
    }
}
/// The dispatcher's own process.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessContext {
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Its process id.
    pub pid: u32,
    /// The path of its program, if it is known.
    pub program: Option<PathBuf>,
    /// Which configuration files may choose what runs.
    pub consent: ConsentPolicy,
}

impl ProcessContext {
    /// Returns the value of an environment variable; `None` if it is unset, empty or not UTF-8.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.environment.iter().find(|(key, _)| key == name)?.1.to_str()?;
        (!value.is_empty()).then_some(value)
    }
}
