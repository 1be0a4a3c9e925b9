//! `verify`, `verify_timeout` and `verify_rounds` of a route: how the work of its agents is checked.

use std::time::Duration;

use serde_yaml::Value;

use crate::Result;
use crate::model::Task;
use crate::model::command_list::{COMMAND_LIST, command_list};
use crate::workspace::Section;

/// The largest number of rounds after failures, each of which costs what a run costs.
const MAX_ROUNDS: u32 = 20;

/// How the work of the agents of a route is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VerifySettings {
    /// Commands that must succeed after the agent, before its answer counts.
    pub commands: Vec<Vec<String>>,
    /// How long they may take together; `None` means no limit.
    pub timeout: Option<Duration>,
    /// How often the agent is told that they failed and continues, in one attempt.
    pub rounds: u32,
}

impl Default for VerifySettings {
    fn default() -> Self {
        Self { commands: Vec::new(), timeout: Some(Duration::from_secs(600)), rounds: 2 }
    }
}

impl VerifySettings {
    /// Returns the commands that verify the work for a task: these, then its own.
    pub(crate) fn commands_for(&self, task: &Task) -> Vec<Vec<String>> {
        self.commands.iter().chain(&task.spec.verify).cloned().collect()
    }
}

/// Reads the settings of a route.
///
/// # Errors
/// `Config`, with file, line and key.
pub(super) fn read_verify(section: &Section<'_>, inherited: VerifySettings) -> Result<VerifySettings> {
    let VerifySettings { commands, timeout, rounds } = inherited;
    let rounds = section.count("verify_rounds")?.or_inherit(Some(rounds)).unwrap_or(0);
    if rounds > MAX_ROUNDS {
        let text = format!("is at most {MAX_ROUNDS}: each round is a paid run of the agent");
        return Err(section.error("verify_rounds", &text));
    }
    Ok(VerifySettings {
        commands: section.read("verify", read_commands)?.or_inherit(Some(commands)).unwrap_or_default(),
        timeout: section.limit("verify_timeout")?.or_inherit(timeout),
        rounds,
    })
}

/// Reads a list of command lines, each a list of words or a text for a shell.
///
/// # Errors
/// What was expected, for people.
pub(super) fn read_commands(value: &Value) -> std::result::Result<Vec<Vec<String>>, String> {
    let items = serde_json::to_value(value).ok();
    let commands = items.as_ref().and_then(serde_json::Value::as_array).and_then(|items| command_list(items));
    commands.ok_or_else(|| format!("expected {COMMAND_LIST}"))
}
