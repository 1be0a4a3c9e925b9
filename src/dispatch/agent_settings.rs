//! What the answers of an agent depend on besides the request: its settings and the version of its program.

use std::path::Path;

use super::config::load::load;
use super::config::options::ProcessContext;
use super::config::served_lane::{ServedLane, SettingSources};
use crate::Result;
use crate::model::LaneName;
use crate::model::answer_cache::AgentSettings;
use crate::sha256::sha256_bytes;
use crate::store::{FileVersion, Store};
use crate::workspace::Config;

/// Returns the settings of the agent that serves a lane, or `None` if the configuration names none.
///
/// # Errors
/// As [`load`], and `Config` for a path that cannot be made absolute.
pub(crate) fn agent_settings(
    workspace: &Config,
    store: &Store,
    lane: &LaneName,
    process: &ProcessContext,
) -> Result<Option<AgentSettings>> {
    let config = load(workspace, store, &process.consent)?;
    let route = config.route(lane);
    if route.runner.is_none() {
        return Ok(None);
    }
    let sources = SettingSources {
        config_dir: workspace.path().and_then(Path::parent).unwrap_or(&process.cwd),
        is_runner_from_command_line: false,
        is_cwd_from_command_line: false,
    };
    let served = ServedLane::new(route, &config, sources, process)?;
    let program = served.program();
    // The program file stands for its version, which only running it would tell. These texts have every field, also
    // those that are added later.
    let text = format!(
        "{:?}\n{:?}\n{:?}",
        served.route,
        served.vendor,
        program.map(|path| (path, FileVersion::at(path)))
    );
    Ok(Some(AgentSettings {
        digest: sha256_bytes(text.as_bytes()),
        vendor: served.vendor.name.clone(),
        max_budget_usd: served.route.max_budget_usd,
    }))
}
