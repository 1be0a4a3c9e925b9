//! Asking a vendor's program for its version: once for each state of the program's file, since agents
//! are updated while a dispatcher runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::dispatch::agent::log::CappedLog;
use crate::dispatch::agent::process_tree::RunId;
use crate::dispatch::agent::reaper::Household;
use crate::dispatch::agent::stop::StopHandle;
use crate::dispatch::agent::{self, AgentSpec};
use crate::dispatch::config::plan::Surroundings;
use crate::dispatch::config::served_lane::Service;
use crate::dispatch::output::{Baseline, Format, StreamParser, one_line};
use crate::store::Stamp;

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a program said when its file was in this state.
#[derive(Debug)]
struct Said {
    stamp: Option<Stamp>,
    version: Option<String>,
}

/// Versions that were asked for, by program.
#[derive(Debug, Default)]
pub struct Versions(Mutex<BTreeMap<PathBuf, Said>>);

impl Versions {
    /// The version of the program behind a service; nothing if it does not say. Programs that tell it
    /// in every run are not asked.
    pub fn of(
        &self,
        service: &Service,
        program: &Path,
        around: &Surroundings,
        household: &Household,
    ) -> Option<String> {
        let vendor = &service.vendor;
        if vendor.version.is_empty() || vendor.format == Format::ClaudeStream {
            return None;
        }
        // Held while the program is asked: the runs that start with it need the same answer.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::at(program);
        if let Some(said) = known.get(program).filter(|said| said.stamp == stamp) {
            return said.version.clone();
        }
        let version = ask(service, program, around, household);
        known.insert(program.to_path_buf(), Said { stamp, version: version.clone() });
        version
    }
}

fn ask(service: &Service, program: &Path, around: &Surroundings, household: &Household) -> Option<String> {
    let vendor = &service.vendor;
    let no_log = || Some(CappedLog::new(File::options().write(true).open("/dev/null").ok()?, 0, 0));
    let spec = AgentSpec {
        program: program.into(),
        args: vendor.version.clone(),
        cwd: around.cwd.clone(),
        env: service.environment(around, &BTreeMap::new()),
        run: RunId::from_random(0),
        stdin: "/dev/null".into(),
        lock: None,
        stdout: no_log()?,
        log: None,
        stderr: no_log()?,
        parser: StreamParser::new(Format::Text),
        timeout: Some(PATIENCE),
        silence: None,
        grace: Duration::from_millis(500),
        linger: PATIENCE,
        expected_session: None,
    };
    let finished = agent::run(spec, household, &StopHandle::new().ok()?, &mut |_| {}).ok()?;
    let text = finished.parser.finish(&Baseline::Fresh).text;
    let version = one_line(text.lines().next()?, 80);
    (!version.is_empty()).then_some(version)
}
