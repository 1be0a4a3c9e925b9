//! Reports the agents of a workspace: their settings as they take effect, whether they can work, and their usual runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::agent_rights::bypass;
use super::agent_sections::AGENT_KEY_NAMES;
use super::load::read_settings;
use super::options::ProcessContext;
use super::route::{Route, Runner};
use super::served_lane::{ServedLane, SettingSources};
use super::settings_files::SettingsFiles;
use super::{DispatchConfig, vendor_match};
use crate::Result;
use crate::dispatch::usage_record::UsageRecord;
use crate::dispatch::usage_stats::{Period, UsageTotals, stats};
use crate::dispatch::vendor::Vendor;
use crate::model::AgentName;
use crate::store::Store;
use crate::workspace::{Agent, AgentReport, AgentSource, Config, TypicalRun, agents, describe_directory};

/// How many runs make up usual ones.
const MIN_RUNS: u64 = 3;

/// Returns the vendor that serves a route; `None` if none is configured.
///
/// # Errors
/// `Config` for an unknown vendor.
pub(super) fn vendor_of(config: &DispatchConfig, route: &Route) -> Result<Option<Vendor>> {
    Ok(match &route.runner {
        None => None,
        Some(Runner::Vendor(name)) => Some(config.vendors.get(name)?.clone()),
        Some(Runner::Command { program, .. }) => Some(Vendor::command(program, &[])),
    })
}

/// Reports all agents of a workspace, by name.
///
/// # Errors
/// `Config`, `Corrupt` or `Io` when the settings cannot be used.
pub(crate) fn inspect_agents(
    workspace: &Config,
    store: Option<&Store>,
    process: &ProcessContext,
) -> Result<BTreeMap<AgentName, AgentReport>> {
    let config = read_settings(workspace, &SettingsFiles::read(workspace, store)?)?;
    let base = workspace.path().and_then(Path::parent).unwrap_or(&process.cwd);
    let agents = agents(workspace, store)?;
    let reports = agents.into_values().map(|agent| {
        let report = report(agent, &config, base, process);
        (report.name.clone(), report)
    });
    Ok(reports.collect())
}

/// Adds the usual runs of an agent to its report, if there were enough.
///
/// # Errors
/// `Corrupt` or `Io` when the usage log cannot be read.
pub(crate) fn add_typical_run(report: &mut AgentReport, store: &Store) -> Result<()> {
    let usage = store.usage_log_text()?;
    let lane = report.name.lane();
    let own = usage.lines().filter_map(UsageRecord::from_line).filter(|record| record.lane == *lane);
    report.typical = typical_run(&stats(own, Period::default()).all);
    Ok(())
}

fn typical_run(runs: &UsageTotals) -> Option<TypicalRun> {
    let mean = |sum: f64| sum / runs.runs_with_cost.max(1) as f64;
    Some(TypicalRun {
        runs: Some(runs.completed).filter(|count| *count >= MIN_RUNS)?,
        median: runs.median?,
        p90: runs.p90?,
        mean_cost_usd: runs.cost_usd.map(mean),
    })
}

fn report(agent: Agent, config: &DispatchConfig, base: &Path, process: &ProcessContext) -> AgentReport {
    let route = config.route(agent.name.lane());
    let own = |key: &str| agent.settings.get(key).filter(|value| !value.is_null()).cloned();
    let (mut bypass_right, mut problem, mut directory) = (None, None, None);
    let vendor = vendor_of(config, &route).ok().flatten();
    if let Some(vendor) = &vendor {
        bypass_right = bypass(&route, vendor);
    }
    let sources = SettingSources {
        config_dir: base,
        is_runner_from_command_line: false,
        is_cwd_from_command_line: false,
    };
    let served = ServedLane::new(route.clone(), config, sources, process).and_then(|served| {
        let path = served.route.cwd.as_ref().map(PathBuf::from);
        directory = path.map(|path| path.canonicalize().unwrap_or(path));
        vendor_match::check_settings(config, &served.route, &served.vendor, false)?;
        served.check_ready().map(|()| served)
    });
    match served {
        Err(error) => problem = Some(error.to_string()),
        Ok(served) if served.disabled_at().is_some() => {
            problem = Some("it may not run: its number of concurrent runs is 0".to_string());
        }
        Ok(_) => {}
    }
    let description = match agent.description.trim() {
        "" => directory.as_deref().map(describe_directory).unwrap_or_default(),
        own => own.to_string(),
    };
    let keys =
        ["effort", "timeout", "max_budget_usd", "permission_mode", "allowed_tools", "disallowed_tools"];
    let keys = keys.into_iter().chain(["max_concurrent", "instructions", "args", "mcp", "allow_cycles"]);
    let settings = keys.filter_map(|key| {
        let route_key =
            AGENT_KEY_NAMES.iter().find(|(_, written)| *written == key).map_or(key, |(name, _)| *name);
        let key_there = if agent.source == AgentSource::Route { route_key } else { key };
        Some((key.to_string(), own(key_there)?))
    });
    AgentReport {
        description,
        directory,
        vendor: route.runner.as_ref().map(|runner| runner.name().to_string()),
        model: route.model.clone().or_else(|| vendor.as_ref()?.model.clone()),
        settings: settings.collect(),
        bypass: bypass_right,
        problem,
        typical: None,
        source: agent.source,
        name: agent.name,
    }
}
