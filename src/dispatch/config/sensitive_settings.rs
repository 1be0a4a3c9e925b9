//! Collects the settings that need consent: those that choose which programs run, their prompts, permissions and
//! budgets, and the boards to which a bridge carries work and secrets.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::follow_ups::{MOVE_TO, RULE_KEYS, RULES_KEYS};
use super::settings_files::{SettingsFile, SettingsFiles};
use crate::model::json::Object;
use crate::workspace::{Config, ConfigFile, SensitiveSettings, is_in_repository, real_path};

/// Settings for the time, order or number of runs, which do not affect what runs or its prompts, permissions and
/// budgets. All other settings need consent, also those that later versions add.
const HARMLESS: [&str; 33] = [
    // Of an agent; as little as the descriptions of lanes.
    "description",
    "priority",
    "timeout",
    "silence_timeout",
    "poll_interval",
    "max_retries",
    "retry_delay",
    "retry_delay_max",
    "resume_on",
    "dead_letter_lane",
    "on_success",
    "on_failure",
    "on_outcome",
    "on_verdict",
    "max_hops",
    "in_progress",
    "concurrency",
    "exclusive",
    "effort",
    "wants_json",
    "permission_expires",
    "verify_timeout",
    "verify_rounds",
    "max_concurrent",
    "lease_seconds",
    "owner",
    "grace",
    "drain",
    "lanes",
    "linger",
    "prices",
    // Their settings are checked one by one.
    "routes",
    "vendors",
];

/// Settings of a bridge and of its queues for the time and order of what it does. All others choose programs, files and
/// servers, or which cards become work.
const HARMLESS_OF_BRIDGE: [&str; 6] =
    ["poll_interval", "requests_per_second", "move_on", "retry", "gone", "moved_away"];

/// The settings of a file that need consent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SensitiveFile {
    /// Real path of the file.
    pub path: PathBuf,
    /// Path of the configuration that it belongs to, which `lanes trust` takes.
    pub config: PathBuf,
    /// Settings that need consent.
    pub settings: SensitiveSettings,
    /// Whether consent is required before anything is run.
    pub needs_consent: bool,
}

/// Collects the settings that need consent from the configuration and the files beside it. Omits files without such
/// settings.
pub(crate) fn sensitive_files(workspace: &Config, beside: &SettingsFiles) -> Vec<SensitiveFile> {
    let mut files = Vec::new();
    let is_found = workspace.is_found();
    if let Some(file) = workspace.file() {
        let path = &file.path;
        let mut sensitive = directories_outside(workspace, file);
        let dispatch = workspace.dispatch.as_ref().map(to_json).unwrap_or_default();
        sensitive.extend(sensitive_in_section(&dispatch, "dispatch"));
        collect_agents(&workspace.agents.as_ref().map(to_json).unwrap_or_default(), &mut sensitive);
        collect_bridges(&workspace.bridges.as_ref().map(to_json).unwrap_or_default(), &mut sensitive);
        if let Some(notify) = &workspace.notify {
            sensitive.insert("notify".to_string(), notify.clone());
        }
        // A schedule makes work without anybody's doing.
        match &workspace.schedules {
            None => {}
            Some(Value::Object(schedules)) => {
                let named = |(name, value): (&String, &Value)| (format!("schedules.{name}"), value.clone());
                sensitive.extend(schedules.iter().map(named));
            }
            Some(other) => drop(sensitive.insert("schedules".to_string(), other.clone())),
        }
        if let Some(file) = &workspace.agents_from {
            sensitive.insert("agents_from".to_string(), file.to_string_lossy().into());
        }
        files.push(SensitiveFile {
            path: path.clone(),
            config: path.clone(),
            settings: sensitive,
            needs_consent: is_found && is_in_repository(path),
        });
    }
    let config = workspace.path().map(Path::to_path_buf).unwrap_or_default();
    if let Some(SettingsFile { path, text }) = &beside.imported_agents {
        let content: serde_yaml::Value = serde_yaml::from_str(text).unwrap_or_default();
        let needs_consent = is_found && is_in_repository(path);
        let settings = sensitive_in_imported(&to_json(&content));
        files.push(SensitiveFile { path: path.clone(), config: config.clone(), settings, needs_consent });
    }
    for (key, SettingsFile { path, text }) in beside.in_store() {
        let mut sensitive = SensitiveSettings::new();
        match serde_json::from_str(text).unwrap_or_default() {
            Value::Object(file) => {
                let content = file.get(key).unwrap_or(&Value::Null);
                collect_named(content, key, "", &mut sensitive);
            }
            other => drop(sensitive.insert(format!("{key}.json"), other)),
        }
        let needs_consent = is_found && !workspace.store_is_named() && is_in_repository(path);
        let (path, config) = (path.clone(), config.clone());
        files.push(SensitiveFile { path, config, settings: sensitive, needs_consent });
    }
    files.retain(|file| !file.settings.is_empty());
    files
}

/// Collects the settings of a file of agent-dispatch that need consent: those of its agents, and its defaults for them.
fn sensitive_in_imported(file: &Value) -> SensitiveSettings {
    let mut sensitive = SensitiveSettings::new();
    match file {
        Value::Null => {}
        Value::Object(content) => {
            collect_agents(content.get("agents").unwrap_or(&Value::Null), &mut sensitive);
            match content.get("settings") {
                None | Some(Value::Null) => {}
                Some(settings) => drop(sensitive.insert("settings".to_string(), settings.clone())),
            }
        }
        other => drop(sensitive.insert("agents".to_string(), other.clone())),
    }
    sensitive
}

/// Returns the settings that name directories outside the parent of the file's own directory: agents work there.
fn directories_outside(workspace: &Config, file: &ConfigFile) -> SensitiveSettings {
    let home = file.path.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let places = [
        ("workspace_root", Some(workspace.workspace_root.clone())),
        ("queue_root", Some(resolve(&file.queue_root))),
        ("worktree_path", workspace.worktree_path.clone()),
    ];
    // Without a list of its own, that is the workspace root.
    let roots = workspace.agent_roots.iter().filter(|root| **root != workspace.workspace_root);
    let roots = roots.map(|root| (format!("agent_roots.{}", root.to_string_lossy()), Some(root.clone())));
    let places = places.into_iter().map(|(key, place)| (key.to_string(), place)).chain(roots);
    let outside = places.filter_map(|(key, place)| {
        let place = place.filter(|place| !place.starts_with(home))?;
        Some((key, place.to_string_lossy().into()))
    });
    outside.collect()
}

/// Resolves the existing part of a path. Returns a path that cannot be inspected as it is written; it then counts
/// as outside.
fn resolve(path: &Path) -> PathBuf {
    real_path(Path::new("/"), path).unwrap_or_else(|_| path.to_path_buf())
}

fn to_json(value: &serde_yaml::Value) -> Value {
    // YAML values without a JSON equivalent are compared as text.
    serde_json::to_value(value)
        .unwrap_or_else(|_| Value::String(serde_yaml::to_string(value).unwrap_or_default()))
}

/// Collects the settings of a `dispatch:` section that need consent.
fn sensitive_in_section(section: &Value, prefix: &str) -> SensitiveSettings {
    let mut sensitive = SensitiveSettings::new();
    match section {
        Value::Null => {}
        Value::Object(settings) => {
            collect_settings(settings.iter(), prefix, &mut sensitive);
            if let Some(routes) = settings.get("routes") {
                collect_named(routes, "routes", &format!("{prefix}."), &mut sensitive);
            }
            match settings.get("vendors") {
                Some(Value::Object(vendors)) => {
                    for (name, vendor) in vendors {
                        sensitive.insert(format!("{prefix}.vendors.{name}"), vendor.clone());
                    }
                }
                None | Some(Value::Null) => {}
                Some(other) => drop(sensitive.insert(format!("{prefix}.vendors"), other.clone())),
            }
        }
        other => drop(sensitive.insert(prefix.to_string(), other.clone())),
    }
    sensitive
}

/// Collects the settings of bridges that need consent.
fn collect_bridges(bridges: &Value, sensitive: &mut SensitiveSettings) {
    let mut collect = |settings: &Value, place: &str, harmless: &dyn Fn(&str) -> bool| match settings {
        Value::Object(settings) => {
            for (key, value) in settings.iter().filter(|(key, _)| !harmless(key)) {
                sensitive.insert(format!("{place}.{key}"), value.clone());
            }
        }
        Value::Null => {}
        other => drop(sensitive.insert(place.to_string(), other.clone())),
    };
    let is_harmless = |key: &str| HARMLESS_OF_BRIDGE.contains(&key);
    let Value::Object(all) = bridges else { return collect(bridges, "bridges", &|_| false) };
    for (name, bridge) in all {
        let place = format!("bridges.{name}");
        // The queues are checked one by one.
        match bridge.get("queues") {
            Some(Value::Object(queues)) => {
                collect(bridge, &place, &|key| is_harmless(key) || key == "queues");
                for (queue, settings) in queues {
                    collect(settings, &format!("{place}.queues.{queue}"), &is_harmless);
                }
            }
            _ => collect(bridge, &place, &is_harmless),
        }
    }
}

/// Collects the settings of agents that need consent.
fn collect_agents(agents: &Value, sensitive: &mut SensitiveSettings) {
    collect_named(agents, "agents", "", sensitive);
}

/// Collects the settings that need consent from routes by lane or agents by name, under the key `kind`.
fn collect_named(named: &Value, kind: &str, prefix: &str, sensitive: &mut SensitiveSettings) {
    match named {
        Value::Null => {}
        Value::Object(all) => {
            for (name, settings) in all {
                let place = format!("{prefix}{kind}.{name}");
                match settings {
                    Value::Object(settings) => collect_settings(settings.iter(), &place, sensitive),
                    // `null` in routes.json removes the route of the file.
                    other => drop(sensitive.insert(place, other.clone())),
                }
            }
        }
        other => drop(sensitive.insert(format!("{prefix}{kind}"), other.clone())),
    }
}

fn collect_settings<'a>(
    settings: impl Iterator<Item = (&'a String, &'a Value)>,
    prefix: &str,
    sensitive: &mut SensitiveSettings,
) {
    for (key, value) in settings {
        let place = format!("{prefix}.{key}");
        match value {
            Value::Object(rule) if RULE_KEYS.contains(&key.as_str()) => {
                collect_rule(rule, &place, sensitive);
            }
            Value::Object(rules) if RULES_KEYS.contains(&key.as_str()) => {
                for (name, rule) in rules {
                    match rule {
                        Value::Object(rule) => collect_rule(rule, &format!("{place}.{name}"), sensitive),
                        other => drop(sensitive.insert(format!("{place}.{name}"), other.clone())),
                    }
                }
            }
            _ if HARMLESS.contains(&key.as_str()) => {}
            value => drop(sensitive.insert(place, value.clone())),
        }
    }
}

/// Collects what a rule for the next task has in addition to its lane: its prompt.
fn collect_rule(rule: &Object, place: &str, sensitive: &mut SensitiveSettings) {
    let others = rule.iter().filter(|(key, _)| *key != MOVE_TO);
    sensitive.extend(others.map(|(key, value)| (format!("{place}.{key}"), value.clone())));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::config::PROCESS_KEYS;
    use crate::dispatch::config::agent_sections::{AGENT_KEY_NAMES, DESCRIPTION};
    use crate::dispatch::config::route::ROUTE_KEYS;
    use crate::dispatch::testing::found_in_repository as found;

    /// All other settings. Each affects a program or its prompt, environment, working directory, permissions or
    /// budget.
    const NEED_CONSENT: [&str; 24] = [
        "worktree",
        "verify",
        "vendor",
        "command",
        "args",
        "format",
        "prompt",
        "env",
        "cwd",
        "model",
        "permission_mode",
        "permission_prompts",
        "allowed_tools",
        "disallowed_tools",
        "max_budget_usd",
        "budget",
        "mcp_config",
        "add_dirs",
        "max_depth",
        "allow_cycles",
        "mcp",
        "worktree_roots",
        "setting_sources",
        "git_writable",
    ];

    #[test]
    fn every_setting_either_needs_consent_or_is_harmless() {
        for key in PROCESS_KEYS.iter().chain(&ROUTE_KEYS) {
            let (harmless, needs) = (HARMLESS.contains(key), NEED_CONSENT.contains(key));
            assert!(
                harmless != needs,
                "{key}: decide whether it chooses what runs (NEED_CONSENT), or only when (HARMLESS)"
            );
        }
        // An agent has a key of its own, and no name of a key that needs consent may be harmless.
        for (key, written) in AGENT_KEY_NAMES {
            assert_eq!(HARMLESS.contains(key), HARMLESS.contains(written), "{written}");
        }
        for key in HARMLESS.iter().chain(&NEED_CONSENT) {
            assert!(
                PROCESS_KEYS.contains(key) || ROUTE_KEYS.contains(key) || *key == DESCRIPTION,
                "{key} is not a setting any more"
            );
        }
    }

    #[test]
    fn the_contract_lists_what_needs_no_consent() {
        let contract = include_str!("../../../docs/commands.md");
        let section =
            contract.split("### `trust`").nth(1).and_then(|rest| rest.split("\n### ").next()).unwrap();
        for key in HARMLESS.iter().filter(|key| !["routes", "vendors"].contains(key)) {
            let key = match *key {
                key if RULE_KEYS.contains(&key) => format!("{key}.move_to"),
                key if RULES_KEYS.contains(&key) => format!("{key}.*.move_to"),
                key => key.to_string(),
            };
            assert!(section.contains(&format!("`{key}`")), "{key} is missing in the section on trust");
        }
        for key in HARMLESS_OF_BRIDGE {
            assert!(section.contains(&format!("`{key}`")), "{key} is missing in the section on trust");
        }
        for key in NEED_CONSENT {
            assert!(!section.contains(&format!("`{key}`")), "{key} is listed as harmless");
        }
    }

    fn keys(sensitive: &SensitiveSettings) -> Vec<&str> {
        sensitive.keys().map(String::as_str).collect()
    }

    #[test]
    fn settings_that_choose_what_runs_are_found_at_every_level() {
        let text = "\
max_concurrent: 2
env: {A: 1}
unheard_of: x
routes:
  build: {command: ./x, timeout: 5, on_success: {move_to: a, run: b}}
  plain: {priority: 1}
  none:
vendors: {claude: {args: [a]}}
";
        let section: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
        assert_eq!(
            keys(&sensitive_in_section(&to_json(&section), "dispatch")),
            [
                "dispatch.env",
                "dispatch.routes.build.command",
                "dispatch.routes.build.on_success.run",
                "dispatch.routes.none",
                "dispatch.unheard_of",
                "dispatch.vendors.claude",
            ]
        );
        assert!(sensitive_in_section(&Value::Null, "dispatch").is_empty());
        for odd in ["5", "[a]", "{routes: 5}", "{vendors: 5}"] {
            let odd: serde_yaml::Value = serde_yaml::from_str(odd).unwrap();
            assert_eq!(sensitive_in_section(&to_json(&odd), "dispatch").len(), 1, "{odd:?}");
        }
    }

    #[test]
    fn agents_choose_what_runs_wherever_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let text = "agents_from: ../agents.yaml\nagent_roots: [.., /srv]\nagents:\n  \
                    a: {directory: ., description: x, max_concurrent: 1, timeout: 5, instructions: Be brief., b: 1}\n  n:\n";
        let config = found(dir.path(), text);
        let holder = dir.path().canonicalize().unwrap();
        let imported =
            "settings: {default_permission_mode: plan}\nagents: {c: {directory: /c, description: y}}\n";
        let file =
            |name: &str, text: &str| Some(SettingsFile { path: holder.join(name), text: text.to_string() });
        let beside = SettingsFiles {
            routes: None,
            imported_agents: file("agents.yaml", imported),
            stored_agents: file("handoff/state/agents.json", r#"{"agents": {"d": {"directory": "/d"}}}"#),
        };
        let files = sensitive_files(&config, &beside);
        assert_eq!(
            keys(&files[0].settings),
            [
                "agent_roots./srv",
                "agents.a.b",
                "agents.a.directory",
                "agents.a.instructions",
                "agents.n",
                "agents_from"
            ]
        );
        assert_eq!(keys(&files[1].settings), ["agents.c.directory", "settings"]);
        assert_eq!(keys(&files[2].settings), ["agents.d.directory"]);
        assert!(files.iter().all(|file| file.needs_consent));
        for odd in ["agents: 5\n", "agents: [a]\n"] {
            let config = found(dir.path(), odd);
            assert_eq!(keys(&sensitive_files(&config, &SettingsFiles::default())[0].settings), ["agents"]);
        }
    }

    #[test]
    fn boards_and_what_is_done_there_need_consent_and_times_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let text = "\
bridges:
  team:
    adapter: planka
    url: https://x
    poll_interval: 5
    queues: {A.B.C: {lane: a, done: D, retry: move, unheard_of: 1}}
  mine: {adapter: [./x], queues: 5}
  none:
";
        let files = sensitive_files(&found(dir.path(), text), &SettingsFiles::default());
        assert_eq!(
            keys(&files[0].settings),
            [
                "bridges.mine.adapter",
                "bridges.mine.queues",
                "bridges.team.adapter",
                "bridges.team.queues.A.B.C.done",
                "bridges.team.queues.A.B.C.lane",
                "bridges.team.queues.A.B.C.unheard_of",
                "bridges.team.url",
            ]
        );
        assert!(files[0].needs_consent);
        let odd = sensitive_files(&found(dir.path(), "bridges: 5\n"), &SettingsFiles::default());
        assert_eq!(keys(&odd[0].settings), ["bridges"]);
    }

    #[test]
    fn directories_outside_the_project_need_consent() {
        let dir = tempfile::tempdir().unwrap();
        let inside = found(dir.path(), "workspace_root: ../src\nworktree_path: ../wt\n");
        assert!(sensitive_files(&inside, &SettingsFiles::default()).is_empty());
        let outside = found(dir.path(), "workspace_root: /\nqueue_root: ../../q\nworktree_path: /tmp\n");
        let files = sensitive_files(&outside, &SettingsFiles::default());
        assert_eq!(keys(&files[0].settings), ["queue_root", "workspace_root", "worktree_path"]);
        assert!(files[0].needs_consent);
    }
}
