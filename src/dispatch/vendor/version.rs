//! Asking a vendor's program for its version, once, when a dispatcher starts.

use std::fs::File;
use std::time::Duration;

use crate::dispatch::agent::household::Household;
use crate::dispatch::agent::log::CappedLog;
use crate::dispatch::agent::stop::StopHandle;
use crate::dispatch::agent::tree::RunId;
use crate::dispatch::agent::{self, AgentSpec};
use crate::dispatch::plan::{Service, Surroundings};
use crate::dispatch::stream::{Baseline, Format, StreamParser, one_line};
use crate::dispatch::vendor::agent_environment;

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(10);

/// The version of the program behind a service; nothing if it does not say. Programs that tell it in
/// every run are not asked.
pub fn version_of(service: &Service, around: &Surroundings, household: &Household) -> Option<String> {
    let vendor = &service.vendor;
    if vendor.version.is_empty() || vendor.format == Format::ClaudeStream {
        return None;
    }
    let no_log = || Some(CappedLog::new(File::options().write(true).open("/dev/null").ok()?, 0, 0));
    let spec = AgentSpec {
        program: service.program.clone().into_os_string(),
        args: vendor.version.clone(),
        cwd: around.cwd.clone(),
        env: agent_environment(around.environment.clone(), &[&vendor.env, &service.route.env]),
        run: RunId::from_random(0),
        stdin: "/dev/null".into(),
        lock: None,
        stdout: no_log()?,
        stderr: no_log()?,
        parser: StreamParser::new(Format::Text),
        timeout: Some(PATIENCE),
        grace: Duration::from_millis(500),
        linger: PATIENCE,
        expected_session: None,
    };
    let finished = agent::run(spec, household, &StopHandle::new().ok()?, &mut |_| {}).ok()?;
    let text = finished.parser.finish(&Baseline::Fresh).text;
    let version = one_line(text.lines().next()?, 80);
    (!version.is_empty()).then_some(version)
}
