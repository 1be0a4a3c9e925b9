//! What `lanes doctor` reports of the bridges: whether their settings can be used, whether each can work, and whether
//! it runs.

use std::sync::Arc;
use std::time::Duration;

use super::bridge_check::BoardCheck;
use super::bridge_settings::configured_bridges;
use super::context::CommandContext;
use crate::bridge::check::{BoardFinding, check_all};
use crate::bridge::settings::BridgeSettings;
use crate::bridge::stop::StopFlag;
use crate::error::{printable, shell_word};
use crate::store::{BridgeInfo, Store, WorkerInfo};
use crate::workspace::Diagnosis;

/// The group of these checks.
const AREA: &str = "bridges";
/// How long the boards are waited for, all at the same time.
const LIMIT: Duration = Duration::from_secs(10);

/// Returns the diagnoses about bridges; none if the configuration has none, or cannot be read, which has a diagnosis of
/// its own.
pub(super) fn diagnoses(context: &CommandContext) -> Vec<Diagnosis> {
    let Ok(config) = context.config() else { return Vec::new() };
    if config.bridges.is_none() {
        return Vec::new();
    }
    let bridges = match configured_bridges(context) {
        Ok((_, bridges)) => bridges,
        Err(error) => {
            let remedy = error.hint().unwrap_or("correct it; until then no bridge runs").to_string();
            let message = error.message().to_string();
            return vec![Diagnosis::blocking(AREA, "bridges", message, remedy)];
        }
    };
    let store = Some(&config.store_root).filter(|root| root.is_dir());
    let store = store.and_then(|root| Store::open_to_read(root, context.store_options().ok()?).ok());
    let workers = store.and_then(|store| store.live_workers().ok()).unwrap_or_default();
    let running: Vec<BridgeInfo> = workers.iter().filter_map(WorkerInfo::bridge).collect();
    let checks = bridges.iter().map(|bridge| {
        let check = BoardCheck::new(context, &config, bridge);
        move |stop: &Arc<StopFlag>| check.map(|check| check.run(stop)).unwrap_or_default()
    });
    let found = check_all(checks, LIMIT);
    bridges.iter().zip(found).flat_map(|(bridge, found)| of_bridge(bridge, found, &running)).collect()
}

/// Returns the diagnoses of one bridge; `checks` is `None` if its board did not answer in time.
fn of_bridge(
    bridge: &BridgeSettings,
    checks: Option<Vec<BoardFinding>>,
    running: &[BridgeInfo],
) -> Vec<Diagnosis> {
    let name = printable(&bridge.name);
    let mut found = Vec::new();
    if checks.is_none() {
        let message = format!("bridge {name}: its board did not answer within {} s", LIMIT.as_secs());
        let remedy = format!("`lanes bridge check {}` waits longer", shell_word(&bridge.name));
        found.push(Diagnosis::warning(AREA, "bridge-check", message, remedy));
    }
    let checks = checks.unwrap_or_default();
    for check in checks.iter().filter(|check| !check.is_ok) {
        let message = format!("bridge {name}: {}", printable(&check.message));
        let remedy = format!("`lanes bridge check {}` checks it again", shell_word(&bridge.name));
        found.push(Diagnosis::warning(AREA, "bridge-check", message, remedy));
    }
    if found.is_empty()
        && let Some(first) = checks.first()
    {
        let message = format!("bridge {name} can work: {}", printable(&first.message));
        found.push(Diagnosis::ok(AREA, "bridge-check", message));
    }
    match running.iter().find(|info| info.name == bridge.name) {
        Some(BridgeInfo { failure: Some((since, error)), .. }) => {
            let message = format!("board {name} has been unreachable since {since}: {}", printable(error));
            let remedy = "existing tasks continue; the bridge keeps trying to reconnect".to_string();
            found.push(Diagnosis::warning(AREA, "bridge-failing", message, remedy));
        }
        Some(_) => {}
        None => {
            let message = format!("bridge {name} is not running, so its cards do not become tasks");
            let remedy = format!("start it: `lanes bridge {}`", shell_word(&bridge.name));
            found.push(Diagnosis::warning(AREA, "bridge-stopped", message, remedy));
        }
    }
    found
}
