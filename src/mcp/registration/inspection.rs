//! Finds the registrations of the server, and what is wrong with them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::client_app::{ClientApp, ClientHomes, RegistrationScope, is_ours, started_words};
use crate::mcp::{ToolSet, tools_to_approve};
use crate::store::ForeignFile;

/// The shortest time limit of a call, in seconds, with which a client still sees the end of most waits.
const MIN_TOOL_TIMEOUT_SECONDS: f64 = 60.0;

/// A registration in the settings of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundRegistration {
    /// The client.
    pub client: ClientApp,
    /// Where it counts.
    pub scope: RegistrationScope,
    /// The settings file.
    pub path: PathBuf,
    /// The tools that Codex refuses where it cannot ask anybody.
    pub refused_tools: Vec<String>,
    /// What is wrong with it.
    pub faults: Vec<RegistrationFault>,
}

/// What can be wrong with a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RegistrationFault {
    /// It starts this program, which does not exist.
    ProgramMissing(String),
    /// It starts this program instead of the one that is running now.
    OtherProgram(String),
    /// Codex does not wait for the server when it starts.
    NotRequired,
    /// Codex ends calls after less than a minute.
    ShortTimeout,
}

/// Returns all registrations of `lanes mcp` for this user and this directory. Settings that cannot be read are
/// skipped.
pub(crate) fn find_registrations(
    homes: &ClientHomes,
    directory: &Path,
    program: &Path,
) -> Vec<FoundRegistration> {
    let mut found: Vec<FoundRegistration> = Vec::new();
    for client in ClientApp::ALL {
        for scope in [RegistrationScope::User, RegistrationScope::Project] {
            let Ok(path) = client.settings_path(scope, homes, directory) else { continue };
            // In the home directory, both scopes may be the same file.
            if found.iter().any(|other| other.path == path) {
                continue;
            }
            let Ok(file) = ForeignFile::read(&path) else { continue };
            let entry = client.format().entry(file.text().unwrap_or_default(), client.entry_path());
            let Ok(Some(entry)) = entry else { continue };
            if is_ours(&entry, &program.to_string_lossy()) {
                let mut faults: Vec<RegistrationFault> = program_fault(&entry, program).into_iter().collect();
                faults.extend(codex_faults(client, &entry));
                let refused_tools = tools_that_codex_refuses(client, &entry);
                found.push(FoundRegistration { client, scope, path, refused_tools, faults });
            }
        }
    }
    found
}

fn program_fault(entry: &Value, program: &Path) -> Option<RegistrationFault> {
    let started = *started_words(entry).first()?;
    // The client looks up a name without a directory on its own PATH.
    match Path::new(started).canonicalize() {
        Ok(real) => {
            let is_same = program.canonicalize().is_ok_and(|program| program == real);
            (!is_same).then(|| RegistrationFault::OtherProgram(started.to_string()))
        }
        Err(_) => started.starts_with('/').then(|| RegistrationFault::ProgramMissing(started.to_string())),
    }
}

/// Returns what is wrong with an entry of Codex, which by default begins without a slow server and ends calls
/// early.
fn codex_faults(client: ClientApp, entry: &Value) -> Vec<RegistrationFault> {
    if client != ClientApp::Codex {
        return Vec::new();
    }
    let is_required = entry.get("required") == Some(&Value::Bool(true));
    let timeout = entry.get("tool_timeout_sec").and_then(Value::as_f64);
    let is_short = timeout.is_some_and(|seconds| seconds < MIN_TOOL_TIMEOUT_SECONDS);
    let faults =
        [(!is_required, RegistrationFault::NotRequired), (is_short, RegistrationFault::ShortTimeout)];
    faults.into_iter().filter(|(is_so, _)| *is_so).map(|(_, fault)| fault).collect()
}

/// Returns the offered tools that Codex asks about, and refuses where it cannot: those that are not approved.
fn tools_that_codex_refuses(client: ClientApp, entry: &Value) -> Vec<String> {
    if client != ClientApp::Codex {
        return Vec::new();
    }
    let words = started_words(entry);
    let sets = words.iter().position(|word| *word == "--tools").and_then(|at| words.get(at + 1));
    let sets: Vec<ToolSet> = match sets {
        Some(&"all") => ToolSet::ALL.to_vec(),
        Some(sets) => sets.split(',').filter_map(|set| set.parse().ok()).collect(),
        None => ToolSet::DEFAULT.to_vec(),
    };
    let is_approved = |tool: &String| {
        let mode = entry.get("tools").and_then(|tools| tools.get(tool)?.get("approval_mode"));
        mode.and_then(Value::as_str) == Some("approve")
    };
    let mut tools = tools_to_approve(&sets).unwrap_or_default();
    tools.retain(|tool| !is_approved(tool));
    tools
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_codex_needs_is_checked_for_codex_only() {
        use RegistrationFault::{NotRequired, ShortTimeout};
        for (entry, expected) in [
            (json!({}), vec![NotRequired]),
            (json!({"required": true}), vec![]),
            (json!({"required": true, "tool_timeout_sec": 60}), vec![]),
            (json!({"required": false, "tool_timeout_sec": 59.5}), vec![NotRequired, ShortTimeout]),
        ] {
            assert_eq!(codex_faults(ClientApp::Codex, &entry), expected, "{entry}");
            assert!(codex_faults(ClientApp::Claude, &entry).is_empty());
        }
    }

    #[test]
    fn tools_that_are_offered_and_not_approved_are_refused_by_codex() {
        let approved =
            json!({"delegate": {"approval_mode": "approve"}, "cancel": {"approval_mode": "prompt"}});
        for (entry, expected) in [
            (json!({"args": ["mcp"]}), vec!["delegate", "dialogue", "cancel"]),
            (json!({"args": ["mcp"], "tools": approved}), vec!["dialogue", "cancel"]),
            (json!({"args": ["mcp", "--tools", "worker"]}), vec![]),
            (json!({"args": ["mcp", "--tools", "worker,admin"]}), vec!["edit_agent", "upkeep"]),
        ] {
            assert_eq!(tools_that_codex_refuses(ClientApp::Codex, &entry), expected, "{entry}");
            assert!(tools_that_codex_refuses(ClientApp::Cursor, &entry).is_empty());
        }
    }

    #[test]
    fn the_program_must_be_there_and_this_one() {
        let program = std::env::current_exe().unwrap();
        let fault = |command: &str| program_fault(&json!({"command": command}), &program);
        assert_eq!(fault(program.to_str().unwrap()), None);
        assert_eq!(fault("/no/lanes"), Some(RegistrationFault::ProgramMissing("/no/lanes".to_string())));
        assert_eq!(fault("/bin/sh"), Some(RegistrationFault::OtherProgram("/bin/sh".to_string())));
        assert_eq!(fault("lanes-of-path"), None);
    }
}
