//! The settings that are in effect, and where each comes from.

use std::path::Path;

use serde_json::Value;
use serde_yaml::Value as YamlValue;

use super::context::CommandContext;
use super::env;
use crate::bridge::config::{bridges, default_values as bridge_defaults};
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::default_values::default_values;
use crate::dispatch::config::load::load_files;
use crate::dispatch::config::settings_files::SettingsFiles;
use crate::error::{Error, Result, printable};
use crate::model::duration;
use crate::model::json::Object;
use crate::model::task::object;
use crate::store::Store;
use crate::workspace::{Config, SourceText, schedules};

/// What is shown in place of a secret.
const HIDDEN: &str = "(not shown)";

/// A setting, its value and its origin.
pub(super) struct ConfigValue {
    /// Its keys, separated by dots.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Where it comes from.
    pub origin: ConfigValueOrigin,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConfigValueOrigin {
    /// A file, and the line if it is known.
    File(String, Option<usize>),
    /// A flag of the command.
    Flag(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
    /// A search in the current directory and above it.
    Search,
    /// It is set nowhere.
    Default,
}

impl ConfigValueOrigin {
    /// Describes it for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::File(file, Some(line)) => format!("{file}:{line}"),
            Self::File(file, None) => file.clone(),
            Self::Flag(name) | Self::Variable(name) => (*name).to_string(),
            Self::Search => "search".to_string(),
            Self::Default => "default".to_string(),
        }
    }

    fn to_object(&self) -> Object {
        let kind = match self {
            Self::File(..) => "file",
            Self::Flag(_) => "flag",
            Self::Variable(_) => "variable",
            Self::Search => "search",
            Self::Default => "default",
        };
        let mut origin = object([("kind", kind.into())]);
        match self {
            Self::File(file, line) => {
                origin.insert("file".into(), file.clone().into());
                origin.insert("line".into(), (*line).into());
            }
            Self::Flag(name) | Self::Variable(name) => drop(origin.insert("name".into(), (*name).into())),
            Self::Search | Self::Default => {}
        }
        origin
    }
}

impl ConfigValue {
    /// Returns the setting as JSON.
    pub(super) fn to_object(&self) -> Object {
        object([("key", self.key.clone().into()), ("origin", Value::Object(self.origin.to_object()))])
            .into_iter()
            .chain([("value".to_string(), self.value.clone())])
            .collect()
    }
}

/// Returns the settings in effect: the place of the queue, those of handoff.yaml, of the files next to it, and the defaults
/// of dispatchers, bridges and schedules.
///
/// # Errors
/// `Config`, `Io` or `Corrupt` for a file that cannot be read.
pub(super) fn config_values(context: &CommandContext, config: &Config) -> Result<Vec<ConfigValue>> {
    let text = match config.path() {
        Some(path) => std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?,
        None => String::new(),
    };
    let file = config.path().map(|path| printable(&path.to_string_lossy())).unwrap_or_default();
    let source = SourceText { file: &file, text: &text };
    let mut values = of_workspace(context, config, source)?;
    let sections = [("dispatch", &config.dispatch), ("agents", &config.agents), ("bridges", &config.bridges)];
    for (name, section) in sections {
        if let Some(section) = section {
            add_leaves(&mut values, source, &mut vec![name.to_string()], section);
        }
    }
    for (name, section) in [("notify", &config.notify), ("schedules", &config.schedules)] {
        if let Some(section) = section {
            // JSON is YAML.
            let section = serde_yaml::from_str(&section.to_string()).unwrap_or(YamlValue::Null);
            add_leaves(&mut values, source, &mut vec![name.to_string()], &section);
        }
    }
    let store = Some(&config.store_root).filter(|root| root.is_dir());
    let store = store.and_then(|root| Store::open_to_read(root, context.store_options().ok()?).ok());
    let files = SettingsFiles::read(config, store.as_ref())?;
    for file in [&files.routes, &files.stored_agents, &files.imported_agents].into_iter().flatten() {
        let name = printable(&file.path.to_string_lossy());
        let parsed = serde_yaml::from_str(&file.text).unwrap_or(YamlValue::Null);
        add_leaves(&mut values, SourceText { file: &name, text: &file.text }, &mut Vec::new(), &parsed);
    }
    add_defaults(&mut values, config, store.as_ref());
    Ok(values)
}

/// Returns the settings of the workspace, of which the paths are resolved.
fn of_workspace(
    context: &CommandContext,
    config: &Config,
    source: SourceText<'_>,
) -> Result<Vec<ConfigValue>> {
    let (given_config, given_store) = context.explicit_paths();
    let in_file = |key: &str| match source.line(&[key.to_string()]) {
        Some(line) if has_key(source.text, key) => {
            ConfigValueOrigin::File(source.file.to_string(), Some(line))
        }
        _ => ConfigValueOrigin::Default,
    };
    let path = |path: &Path| Value::from(path.to_string_lossy());
    let mut values = Vec::new();
    let mut add = |key: &str, value: Value, origin: ConfigValueOrigin| {
        values.push(ConfigValue { key: key.to_string(), value, origin });
    };
    if let Some(file) = config.path() {
        let origin = match (&context.global.config, given_config) {
            (Some(_), _) => ConfigValueOrigin::Flag("--config"),
            (None, Some(_)) => ConfigValueOrigin::Variable("LANES_CONFIG"),
            (None, None) => ConfigValueOrigin::Search,
        };
        add("config", path(file), origin);
    }
    let origin = match (&context.global.store, given_store) {
        (Some(_), _) => ConfigValueOrigin::Flag("--store"),
        (None, Some(_)) => ConfigValueOrigin::Variable("LANES_STORE"),
        (None, None) => in_file("queue_root"),
    };
    add("queue_root", path(&config.store_root), origin);
    let timeout = context.store_options()?.lock_timeout;
    let origin = match context.global.lock_timeout {
        Some(_) => ConfigValueOrigin::Flag("--lock-timeout"),
        None if env::has_lock_timeout() => ConfigValueOrigin::Variable("LANES_LOCK_TIMEOUT"),
        None => ConfigValueOrigin::Default,
    };
    add("lock_timeout", duration::format_coarse(timeout).into(), origin);
    let options = context.store_options()?;
    let origin = match options.allow_network_fs {
        true => ConfigValueOrigin::Variable("LANES_ALLOW_NETWORK_FS"),
        false => ConfigValueOrigin::Default,
    };
    add("allow_network_fs", options.allow_network_fs.into(), origin);
    add("workspace_id", config.workspace_id.clone().into(), in_file("workspace_id"));
    add("workspace_root", path(&config.workspace_root), in_file("workspace_root"));
    add("worktree_path", config.worktree_path.as_deref().map(path).into(), in_file("worktree_path"));
    add("expected_branch", config.expected_branch.clone().into(), in_file("expected_branch"));
    add("agents_from", config.agents_from.as_deref().map(path).into(), in_file("agents_from"));
    let roots: Value = config.agent_roots.iter().map(|root| path(root)).collect();
    add("agent_roots", roots, in_file("agent_roots"));
    for (lane, description) in &config.lanes {
        let line = source.line(&["lanes".to_string(), lane.to_string()]);
        let origin = ConfigValueOrigin::File(source.file.to_string(), line);
        add(&format!("lanes.{}", printable(lane.as_str())), description.clone().into(), origin);
    }
    Ok(values)
}

/// Returns whether a file sets a key at its top.
fn has_key(text: &str, key: &str) -> bool {
    let top: YamlValue = serde_yaml::from_str(text).unwrap_or(YamlValue::Null);
    top.get(key).is_some()
}

/// Adds the values below `path`, each with the line of its key.
fn add_leaves(
    values: &mut Vec<ConfigValue>,
    source: SourceText<'_>,
    path: &mut Vec<String>,
    value: &YamlValue,
) {
    match value {
        YamlValue::Mapping(mapping) if !mapping.is_empty() => {
            for (key, value) in mapping {
                path.push(key.as_str().map_or_else(|| text_of(key), str::to_string));
                add_leaves(values, source, path, value);
                path.pop();
            }
        }
        YamlValue::Null if path.is_empty() => {}
        value => {
            let is_secret = path.iter().any(|key| key == "env")
                || path.last().is_some_and(|key| {
                    ["password", "token", "secret", "key"].iter().any(|end| key.to_lowercase().ends_with(end))
                });
            let shown = if is_secret { HIDDEN.into() } else { json_of(value) };
            let key = path.iter().map(|key| printable(key)).collect::<Vec<_>>().join(".");
            let origin = ConfigValueOrigin::File(source.file.to_string(), source.line(path));
            values.push(ConfigValue { key, value: shown, origin });
        }
    }
}

/// Adds the settings of dispatchers, bridges and schedules that have an effect although no file sets them.
fn add_defaults(values: &mut Vec<ConfigValue>, config: &Config, store: Option<&Store>) {
    let mut add = |key: String, value: Value| {
        let below = format!("{key}.");
        if !values.iter().any(|value| value.key == key || value.key.starts_with(&below)) {
            values.push(ConfigValue { key, value, origin: ConfigValueOrigin::Default });
        }
    };
    // What is wrong with a section is for `config check` to say.
    for (key, value) in load_files(config, store, &ConsentPolicy::AllowAll)
        .map(|dispatch| default_values(&dispatch))
        .unwrap_or_default()
    {
        add(format!("dispatch.{key}"), value);
    }
    for bridge in bridges(config).unwrap_or_default() {
        for (key, value) in bridge_defaults() {
            add(format!("bridges.{}.{key}", printable(&bridge.name)), value);
        }
    }
    for schedule in schedules(config).unwrap_or_default() {
        let name = printable(&schedule.name);
        add(format!("schedules.{name}.catch_up"), schedule.catch_up.as_str().into());
        add(format!("schedules.{name}.timezone"), schedule.rule.zone_name().unwrap_or("local").into());
    }
}

fn json_of(value: &YamlValue) -> Value {
    serde_json::to_value(value).unwrap_or_else(|_| text_of(value).into())
}

fn text_of(value: &YamlValue) -> String {
    serde_yaml::to_string(value).unwrap_or_default().trim_end().to_string()
}
