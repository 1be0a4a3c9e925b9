//! Determines the version of a vendor's program, once for each state of the program file, because agents are
//! updated while a dispatcher runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::dispatch::agent::StopHandle;
use crate::dispatch::agent::log::CappedLog;
use crate::dispatch::agent::reaper::GuardPool;
use crate::dispatch::agent::{self, AgentSpec};
use crate::dispatch::config::options::ProcessContext;
use crate::dispatch::config::served_lane::ServedLane;
use crate::dispatch::output::{Baseline, Format, StreamParser, one_line};
use crate::model::RunId;
use crate::store::FileVersion;

/// Maximum time for a program to print its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// The version that a program printed when its file was in the state `stamp`.
#[derive(Debug)]
struct CachedVersion {
    stamp: Option<FileVersion>,
    version: Option<String>,
}

/// Known versions, by program path.
#[derive(Debug, Default)]
pub(crate) struct VersionCache(Mutex<BTreeMap<PathBuf, CachedVersion>>);

impl VersionCache {
    /// Returns the version of the program that serves a lane, or `None` if it does not print one. Programs
    /// that print their version in every run are not asked.
    pub(crate) fn of(
        &self,
        served: &ServedLane,
        program: &Path,
        process: &ProcessContext,
        guard_pool: &GuardPool,
    ) -> Option<String> {
        let vendor = &served.vendor;
        if vendor.version.is_empty() || vendor.format == Format::ClaudeStream {
            return None;
        }
        // Locked while the program runs, because other runs that start now need the same version.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = FileVersion::at(program);
        if let Some(cached) = known.get(program).filter(|cached| cached.stamp == stamp) {
            return cached.version.clone();
        }
        let version = ask(served, program, process, guard_pool);
        known.insert(program.to_path_buf(), CachedVersion { stamp, version: version.clone() });
        version
    }
}

fn ask(
    served: &ServedLane,
    program: &Path,
    process: &ProcessContext,
    guard_pool: &GuardPool,
) -> Option<String> {
    let vendor = &served.vendor;
    let no_log = || Some(CappedLog::new(File::options().write(true).open("/dev/null").ok()?, 0, 0));
    let spec = AgentSpec {
        program: program.into(),
        args: vendor.version.clone(),
        cwd: process.cwd.clone(),
        env: served.environment(process, &BTreeMap::new()),
        run: RunId::from_random(0),
        stdin: "/dev/null".into(),
        lock: None,
        stdout: no_log()?,
        log: None,
        stderr: no_log()?,
        parser: StreamParser::new(Format::Text),
        cost_limit: None,
        timeout: Some(VERSION_TIMEOUT),
        silence_timeout: None,
        grace: Duration::from_millis(500),
        linger: VERSION_TIMEOUT,
        expected_session: None,
    };
    let finished = agent::run(spec, guard_pool, &StopHandle::new().ok()?, &mut |_| {}).ok()?;
    let text = finished.parser.finish(&Baseline::Fresh).text;
    let version = one_line(text.lines().next()?, 80);
    (!version.is_empty()).then_some(version)
}
