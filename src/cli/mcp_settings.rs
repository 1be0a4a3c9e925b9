//! The settings of agents for the tools of a chat: connects `mcp`, which asks, with `dispatch`, which knows.

use std::path::Path;
use std::sync::Arc;

use super::context::CommandContext;
use super::env;
use crate::dispatch::agent_settings::agent_settings;
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::options::ProcessContext;
use crate::mcp::SettingsReader;

/// Returns what reads the settings of an agent, as a dispatcher in this process would.
pub(super) fn settings_reader(context: &CommandContext) -> SettingsReader {
    let process = ProcessContext {
        environment: env::all_variables(),
        // Without one, relative paths of a configuration that has no file are not found, and nothing is cached.
        cwd: context.base.directory().map(Path::to_path_buf).unwrap_or_default(),
        pid: std::process::id(),
        program: env::own_program(),
        consent: ConsentPolicy::new(env::trust_records()),
    };
    Arc::new(move |config, store, lane| agent_settings(config, store, lane, &process))
}
