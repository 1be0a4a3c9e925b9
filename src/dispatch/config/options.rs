//! What the command line asks for, and where the dispatcher runs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::consent::Gate;
use crate::model::duration::Limit;

/// What the command line asks for; it wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only these lanes.
    pub lanes: Vec<String>,
    /// Vendor for lanes whose route names none.
    pub vendor: Option<String>,
    /// Program and arguments for lanes whose route names no vendor.
    pub command: Vec<OsString>,
    /// Most agents at once.
    pub max_concurrent: Option<u32>,
    /// Owner name in claims.
    pub owner: Option<String>,
    /// Length of a lease, in seconds.
    pub lease_seconds: Option<f64>,
    /// How long one run may take.
    pub timeout: Option<Limit>,
    /// How long a run may print nothing.
    pub silence_timeout: Option<Limit>,
    /// How many more attempts follow the first.
    pub max_retries: Option<u32>,
    /// Working directory of the agents.
    pub cwd: Option<PathBuf>,
    /// Directories outside the workspace below which tasks may have agents work.
    pub worktree_roots: Vec<PathBuf>,
    /// Time between the polite and the final signal.
    pub grace: Option<Duration>,
    /// How long agents may go on after the first request to end.
    pub drain: Option<Duration>,
    /// End when the lanes are empty.
    pub once: bool,
}

/// Where the dispatcher itself runs.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its current directory.
    pub cwd: PathBuf,
    /// Its process number.
    pub pid: u32,
    /// Which settings may choose what runs.
    pub gate: Gate,
}

impl Surroundings {
    /// A variable's text; nothing when it is unset, empty or no text.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let value = self.environment.iter().find(|(key, _)| key == name)?.1.to_str()?;
        (!value.is_empty()).then_some(value)
    }
}
