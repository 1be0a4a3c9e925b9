//! Checks the store, its file system, and its workers.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::config::Config;
use super::super::paths::show;
use super::DiagnosisList;
use crate::error::{printable, shell_word};
use crate::model::CooldownCause;
use crate::os::machine;
use crate::store::{FORMAT_VERSION, Severity, Store, StoreOptions, WorkerInfo};
use crate::workspace::why;

/// Free space below this triggers a warning, in bytes.
const LOW_SPACE_BYTES: u64 = 100 * 1024 * 1024;

/// A number of free inodes below this triggers a warning.
const LOW_FREE_FILES: u64 = 10_000;

/// How far a task may appear to lie in the future before the clock is suspected, in seconds.
const CLOCK_SLACK_SECONDS: f64 = 60.0;

/// Checks the store, given explicitly or by the configuration, and returns it if it can be used.
pub(super) fn check(
    diagnoses: &mut DiagnosisList,
    root: &Path,
    is_named: bool,
    options: &StoreOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Option<Store> {
    if !Store::exists(root) && (root.is_dir() || !root.exists()) {
        if is_named {
            let message = format!("there is no store at {}", show(root));
            diagnoses.block(
                "store",
                message,
                "check --store and LANES_STORE; the first submit creates a store",
            );
        } else if root.is_dir() {
            diagnoses.ok("store", format!("{} can be opened; nothing was submitted yet", show(root)));
        } else {
            let message = format!("{} does not exist yet", show(root));
            diagnoses.warn("store", message, "nothing to do: the first submit creates it");
        }
        return None;
    }
    let store = match Store::open(root, options.clone()) {
        Ok(store) => store,
        Err(error) => {
            diagnoses.error("store", &error, "make it readable and writable for this user");
            return None;
        }
    };
    diagnoses.ok("store", format!("{} can be opened", show(root)));
    match store.format_version() {
        0 => diagnoses.ok("format", "no format yet: empty, or made by agent-lanes"),
        version if store.is_writable_version() => diagnoses.ok("format", format!("format {version}")),
        version => diagnoses.block(
            "format",
            format!("format {version} is newer than {FORMAT_VERSION}, the newest that this program writes"),
            "use a newer lanes; with this one the store can only be read",
        ),
    }
    match store.try_lock() {
        Ok(()) => diagnoses.ok("lock", "the lock can be acquired"),
        Err(error) => diagnoses.error("lock", &error, "make the store writable for this user"),
    }
    space(diagnoses, &store);
    watching(diagnoses, &store);
    clock(diagnoses, &store);
    findings(diagnoses, &store, progress);
    Some(store)
}

fn space(diagnoses: &mut DiagnosisList, store: &Store) {
    let space = match store.disk_space() {
        Ok(space) => space,
        Err(error) => return diagnoses.error("space", &error, "check the file system"),
    };
    let free = format!("{} MiB of {} MiB are free", space.free_bytes >> 20, space.total_bytes >> 20);
    let few_files = space.total_files > 0 && space.free_files < LOW_FREE_FILES;
    let remedy = "free space; `lanes gc` deletes old finished tasks";
    if space.free_bytes == 0 || (few_files && space.free_files == 0) {
        diagnoses.block(
            "space",
            format!("the disk is full: {free}, {} more files", space.free_files),
            remedy,
        );
    } else if space.free_bytes < LOW_SPACE_BYTES || few_files {
        diagnoses.warn("space", format!("{free}, {} more files can be created", space.free_files), remedy);
    } else {
        diagnoses.ok("space", free);
    }
}

fn watching(diagnoses: &mut DiagnosisList, store: &Store) {
    let (instances, watches) = machine::watch_limits();
    let shown = |limit: Option<String>| limit.unwrap_or_else(|| "unknown".to_string());
    let limits = format!("{} instances and {} watches per user", shown(instances), shown(watches));
    if store.can_watch() {
        diagnoses.ok("inotify", format!("waits are woken by inotify ({limits})"));
    } else {
        diagnoses.warn(
            "inotify",
            format!("file notifications are not available ({limits}), so waits poll every quarter second"),
            "raise fs.inotify.max_user_instances, or end programs that watch many files",
        );
    }
}

fn clock(diagnoses: &mut DiagnosisList, store: &Store) {
    let now = store.now().wall;
    match store.newest_change() {
        Ok(Some(newest)) if newest.seconds_since(now) > CLOCK_SLACK_SECONDS => diagnoses.warn(
            "clock",
            format!("system clock: {now}, but the newest task was changed at {newest}: one of the clocks was wrong"),
            "set the machine's clock",
        ),
        Ok(_) => diagnoses.ok("clock", format!("system clock: {now}")),
        Err(error) => diagnoses.error("clock", &error, "check the store with `lanes fsck`"),
    }
}

fn findings(diagnoses: &mut DiagnosisList, store: &Store, progress: &mut dyn FnMut(u64, u64)) {
    let report = match store.fsck(progress) {
        Ok(report) => report,
        Err(error) => return diagnoses.error("fsck", &error, "check the store with `lanes fsck`"),
    };
    if report.findings.is_empty() {
        return diagnoses.ok(
            "fsck",
            match report.tasks {
                1 => "1 task checked, no problems".to_string(),
                tasks => format!("{tasks} tasks checked, no problems"),
            },
        );
    }
    for (code, count) in &report.counts {
        let Some(first) = report.findings.iter().find(|finding| finding.code == *code) else { continue };
        let more = if *count > 1 { format!(" ({count} such)") } else { String::new() };
        let message = format!("{code}: {}: {}{more}", show(&first.path), first.message);
        let remedy = match first.remedy.strip_prefix("repair ") {
            Some(does) => format!("`lanes fsck --repair` {does}"),
            None => first.remedy.clone(),
        };
        if first.severity == Severity::Blocking {
            diagnoses.block("fsck", message, remedy);
        } else {
            diagnoses.warn("fsck", message, remedy);
        }
    }
}

/// Reports the on-demand dispatcher, and a process that keeps others from becoming it.
fn check_on_demand_dispatcher(diagnoses: &mut DiagnosisList, store: &Store, workers: &[WorkerInfo]) {
    const START_TIME: Duration = Duration::from_secs(2);
    const CHECK_INTERVAL: Duration = Duration::from_millis(50);
    if let Some(dispatcher) = workers.iter().find(|worker| worker.is_on_demand()) {
        let draining = if dispatcher.is_draining() { ", draining" } else { "" };
        let what = format!("on-demand dispatcher running: process {}{draining}", dispatcher.pid);
        return diagnoses.ok("on-demand", what);
    }
    // One that starts or ends has the lock for a moment without a registration.
    let is_stuck = || {
        store.spool().on_demand_is_locked().unwrap_or(false)
            && store.on_demand_dispatcher().is_ok_and(|one| one.is_none())
    };
    let start = Instant::now();
    while is_stuck() {
        if start.elapsed() > START_TIME {
            let lock = show(&store.spool().on_demand_lock_path());
            return diagnoses.warn(
                "on-demand-stuck",
                format!("a process holds {lock} and does not serve: no on-demand dispatcher can start"),
                format!("find it with `fuser {}`, and end it", shell_word(&lock)),
            );
        }
        std::thread::sleep(CHECK_INTERVAL);
    }
}

/// Reports schedules and notices that nobody runs.
pub(super) fn check_automation(diagnoses: &mut DiagnosisList, config: &Config, store: &Store) {
    let is_set = |value: &Option<Value>| match value {
        Some(Value::Array(all)) => !all.is_empty(),
        Some(Value::Object(all)) => !all.is_empty(),
        _ => false,
    };
    let parts = [("schedules", is_set(&config.schedules)), ("notices", is_set(&config.notify))];
    let parts: Vec<&str> = parts.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
    if parts.is_empty() {
        return;
    }
    let parts = parts.join(" and ");
    match store.automation_is_running(&config.workspace_id) {
        Ok(true) => diagnoses.ok("automation", format!("{parts} are run")),
        Ok(false) => diagnoses.warn(
            "automation",
            format!("{parts} are configured, and nothing runs them"),
            "start a dispatcher, `lanes dispatch`, a server, `lanes serve`, or a bridge, `lanes bridge`",
        ),
        Err(error) => diagnoses.error("automation", &error, "check the store with `lanes fsck`"),
    }
}

/// Checks the workers, and reports lanes without a worker.
pub(super) fn check_workers(diagnoses: &mut DiagnosisList, store: &Store) {
    let workers = match store.live_workers() {
        Ok(workers) => workers,
        Err(error) => return diagnoses.error("workers", &error, "check the store with `lanes fsck`"),
    };
    diagnoses.ok("workers", format!("workers running: {}", workers.len()));
    check_on_demand_dispatcher(diagnoses, store, &workers);
    for worker in workers.iter().filter(|worker| worker.is_stopped()) {
        let (owner, pid) = (printable(worker.owner.as_str()), worker.pid);
        diagnoses.warn(
            "worker-stopped",
            format!("{owner} is stopped (process {pid}): it keeps its claims and does nothing"),
            format!("continue it with `kill -CONT {pid}`, or end it with `kill -9 {pid}`"),
        );
    }
    // What cannot be read is reported by fsck.
    let paused = store.paused().unwrap_or_default();
    for (lane, pause) in &paused {
        let why = pause.reason.as_ref().map_or_else(String::new, |why| format!(": {}", printable(why)));
        diagnoses.warn(
            "paused",
            format!("lane {} has been paused since {}{why}", printable(lane.as_str()), pause.since),
            format!("run `lanes resume {}` to reopen it", shell_word(lane.as_str())),
        );
    }
    for cooldown in store.active_cooldowns().unwrap_or_default().values() {
        let vendor = shell_word(cooldown.scope.account_key.as_str());
        let resume = match cooldown.scope.model() {
            Some(model) => format!("`lanes resume --vendor {vendor} --model {}`", shell_word(model)),
            None => format!("`lanes resume --vendor {vendor}`"),
        };
        let (code, remedy) = match cooldown.cause {
            CooldownCause::Account => (
                "vendor-unready",
                format!("log in as the dispatcher's user, or repair the key; then {resume}"),
            ),
            _ => ("vendor-parked", format!("nothing to do, or {resume} to try at once")),
        };
        diagnoses.warn(code, printable(&cooldown.describe()), remedy);
    }
    match store.lanes_with_ready_tasks() {
        Ok(lanes) => {
            for (lane, ready) in lanes.iter().filter(|(lane, _)| !paused.contains_key(*lane)) {
                if !workers.iter().any(|worker| worker.lanes.contains(lane)) {
                    let or = if lane.agent().is_none() { ", or a dispatcher" } else { "" };
                    diagnoses.warn(
                        "unserved",
                        format!("lane {} has work ({}) and no worker", printable(lane.as_str()), ready.count),
                        format!("start one: `{}`{or}", why::worker_command(lane)),
                    );
                }
            }
        }
        Err(error) => diagnoses.error("unserved", &error, "check the store with `lanes fsck`"),
    }
}
