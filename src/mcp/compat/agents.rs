//! The tools about agents.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::reply;
use crate::mcp::agents::unknown_agent;
use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolResult};
use crate::mcp::failure::ToolFailure;
use crate::model::AgentName;
use crate::model::json::Object;
use crate::model::task::object;
use crate::workspace::{AgentChange, AgentReport, mcp_servers, preview, stacks};

/// The lines of a project's own texts that are shown by default.
const PREVIEW_LINES: i64 = 40;
/// The most lines of each.
const MAX_PREVIEW_LINES: i64 = 200;
/// The settings that are texts.
const TEXTS: [&str; 5] = ["directory", "description", "model", "permission_mode", "instructions"];
/// The settings that are lists, which are given as a text with commas.
const LISTS: [&str; 2] = ["allowed_tools", "disallowed_tools"];
/// The word that removes a setting.
const NONE: &str = "none";

/// Lists the agents.
pub(super) async fn list(call: ToolCall) -> ToolResult {
    let registry = call.agents.clone();
    call.with_queue(move |queue| {
        let agents = registry.inspect_all(&queue.config_now()?, &queue.store)?;
        if agents.is_empty() {
            let what = "there are no agents";
            let remedy = "a person adds one with `lanes agents add NAME --directory DIR`";
            return Err(ToolFailure { kind: "not_found", ..ToolFailure::invalid(what, remedy) });
        }
        Ok(reply(agents.iter().map(|agent| Value::Object(listed(agent))).collect::<Vec<_>>()))
    })
    .await
}

/// Shows an agent, with the beginnings of its project's own texts.
pub(super) async fn inspect(call: ToolCall, old: &Arguments) -> ToolResult {
    let name = AgentName::new(old.needed_text("name")?)?;
    let lines = old.integer("preview_lines").unwrap_or(PREVIEW_LINES).clamp(0, MAX_PREVIEW_LINES);
    let lines = usize::try_from(lines).unwrap_or_default();
    let registry = call.agents.clone();
    call.with_queue(move |queue| {
        let config = queue.config_now()?;
        match registry.inspect(&config, &queue.store, &name)? {
            Some(agent) => Ok(reply(inspected(&agent, lines))),
            None => {
                let known = registry.inspect_all(&config, &queue.store)?;
                Err(unknown_agent(&name, known.iter().map(|agent| &agent.name)).into())
            }
        }
    })
    .await
}

/// Adds an agent.
pub(super) async fn add(call: ToolCall, old: &Arguments) -> ToolResult {
    let (name, settings, _) = change(old)?;
    let registry = call.agents.clone();
    call.with_queue(move |queue| {
        let config = queue.config_now()?;
        registry.change(&config, &queue.store, &name, &AgentChange::Add(settings.clone()))?;
        let added = registry.inspect(&config, &queue.store, &name)?;
        let shown = |key: &str| settings.get(key).cloned().unwrap_or_default();
        let directory = added.as_ref().and_then(|agent| agent.directory.as_deref()).map(text_of);
        Ok(reply(object([
            ("added", name.as_str().into()),
            ("directory", directory.into()),
            ("description", added.as_ref().map(|agent| agent.description.clone()).into()),
            ("permission_mode", shown("permission_mode")),
            ("allowed_tools", shown("allowed_tools")),
            ("disallowed_tools", shown("disallowed_tools")),
        ])))
    })
    .await
}

/// Changes an agent.
pub(super) async fn update(call: ToolCall, old: &Arguments) -> ToolResult {
    let (name, settings, unset) = change(old)?;
    let fields: Vec<String> = settings.keys().chain(&unset).cloned().collect();
    if fields.is_empty() {
        return Err(ToolFailure::invalid("nothing to change", "give a setting that is not empty"));
    }
    let registry = call.agents.clone();
    call.with_queue(move |queue| {
        let change = AgentChange::Set { settings, unset };
        registry.change(&queue.config_now()?, &queue.store, &name, &change)?;
        Ok(reply(object([("updated", name.as_str().into()), ("fields", fields.into())])))
    })
    .await
}

/// Removes an agent.
pub(super) async fn remove(call: ToolCall, old: &Arguments) -> ToolResult {
    let name = AgentName::new(old.needed_text("name")?)?;
    let registry = call.agents.clone();
    call.with_queue(move |queue| {
        registry.change(&queue.config_now()?, &queue.store, &name, &AgentChange::Remove)?;
        Ok(reply(object([("removed", name.as_str().into())])))
    })
    .await
}

/// Reads the name of an agent, the settings that are given, and those that are to be removed.
fn change(old: &Arguments) -> Result<(AgentName, Object, Vec<String>), ToolFailure> {
    let name = AgentName::new(old.needed_text("name")?)?;
    let (mut settings, mut unset) = (Object::new(), Vec::new());
    for key in TEXTS.into_iter().chain(LISTS) {
        match old.text(key).map(str::trim).filter(|text| !text.is_empty()) {
            None => {}
            Some(text) if text.eq_ignore_ascii_case(NONE) => unset.push(key.to_string()),
            Some(text) if LISTS.contains(&key) => {
                let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                settings.insert(key.to_string(), words.collect::<Vec<_>>().into());
            }
            Some(text) => drop(settings.insert(key.to_string(), text.into())),
        }
    }
    if let Some(seconds) = old.count("timeout")?.filter(|seconds| *seconds > 0) {
        settings.insert("timeout".to_string(), seconds.into());
    }
    match old.number("max_budget_usd").unwrap_or_default() {
        0.0 => {}
        dollars if dollars < 0.0 => unset.push("max_budget_usd".to_string()),
        dollars => drop(settings.insert("max_budget_usd".to_string(), dollars.into())),
    }
    Ok((name, settings, unset))
}

/// Returns what a list shows of an agent.
fn listed(agent: &AgentReport) -> Object {
    let mut shown = object([
        ("name", agent.name.as_str().into()),
        ("directory", agent.directory.as_deref().map(text_of).into()),
        ("description", agent.description.clone().into()),
        ("problem", agent.problem.clone().into()),
    ]);
    shown.extend(project(agent));
    for key in ["permission_mode", "allowed_tools", "disallowed_tools"] {
        shown.extend(agent.settings.get(key).map(|value| (key.to_string(), value.clone())));
    }
    shown
}

/// Returns everything about an agent.
fn inspected(agent: &AgentReport, lines: usize) -> Object {
    let mut shown = listed(agent);
    for key in ["timeout", "max_budget_usd", "instructions"] {
        shown.extend(agent.settings.get(key).map(|value| (key.to_string(), value.clone())));
    }
    shown.extend(object([("vendor", agent.vendor.clone().into()), ("model", agent.model.clone().into())]));
    let Some(directory) = agent.directory.as_deref() else { return shown };
    for (prefix, file) in [("claude_md", "CLAUDE.md"), ("readme", "README.md")] {
        let path = directory.join(file);
        shown.insert(format!("has_{prefix}"), path.is_file().into());
        if let Some(text) = Some(path).filter(|_| lines > 0).and_then(|path| preview(&path, lines)) {
            shown.insert(format!("{prefix}_preview"), text.into());
        }
    }
    shown
}

/// Returns what the directory of an agent shows.
fn project(agent: &AgentReport) -> Object {
    let Some(directory) = agent.directory.as_deref() else { return object([("healthy", true.into())]) };
    let list = |words: Vec<String>| if words.is_empty() { Value::Null } else { words.into() };
    let healthy: Value = match std::fs::metadata(directory) {
        Ok(metadata) => metadata.is_dir().into(),
        Err(error) if error.kind() == ErrorKind::NotFound => false.into(),
        Err(_) => "UNREADABLE".into(),
    };
    object([
        ("healthy", healthy),
        ("has_claude_md", directory.join("CLAUDE.md").is_file().into()),
        ("has_mcp_config", directory.join(".mcp.json").is_file().into()),
        ("mcp_servers", list(mcp_servers(directory))),
        ("stacks", list(stacks(directory))),
    ])
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
