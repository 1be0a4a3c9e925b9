//! The environment of an agent: the dispatcher's own, without what belongs to a session around it.
//!
//! A dispatcher is often started from inside an agent's shell. The variables of that session would
//! make the new agent believe it is nested, resume a foreign conversation or run in a foreign
//! sandbox. Keys and settings that a person chose are kept.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Variables of a surrounding session; a final `*` matches any ending.
const SCRUBBED: [&str; 12] = [
    "CLAUDECODE",
    "CLAUDE_CODE_*",
    "CLAUDE_PROJECT_DIR",
    "CLAUDE_PLUGIN_*",
    "CLAUDE_AGENT_SDK_*",
    "CODEX_*",
    "GEMINI_CLI*",
    "GEMINI_SESSION_ID",
    "OPENCODE",
    "OPENCODE_PID",
    "OPENCODE_SESSION*",
    "LANES_*",
];

/// Exceptions from [`SCRUBBED`]: credentials, the choice of a provider, and settings.
const KEPT: [&str; 17] = [
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_*",
    "CLAUDE_CODE_SKIP_*",
    "CLAUDE_CODE_API_*",
    "CLAUDE_CODE_CLIENT_*",
    "CLAUDE_CODE_MAX_*",
    "CLAUDE_CODE_EFFORT_LEVEL",
    "CLAUDE_CODE_SUBAGENT_MODEL",
    "CLAUDE_CODE_DISABLE_*",
    "CLAUDE_CODE_ENABLE_TELEMETRY",
    "CLAUDE_CODE_TMPDIR",
    "CODEX_HOME",
    "CODEX_API_KEY",
    "CODEX_ACCESS_TOKEN",
    "GEMINI_CLI_HOME",
    "GEMINI_CLI_TRUST_WORKSPACE",
    "GEMINI_CLI_SYSTEM_*",
];

/// The variables of an agent, sorted: `parent` without those of a surrounding session, then the
/// `layers` in turn, where a missing value removes a variable. `LANES_…` variables of the parent go
/// as well: they describe another task, and the caller sets the right ones in a layer.
pub fn agent_environment(
    parent: impl IntoIterator<Item = (OsString, OsString)>,
    layers: &[&BTreeMap<String, Option<String>>],
) -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<OsString, OsString> = parent
        .into_iter()
        .filter(|(name, _)| {
            let name = name.as_bytes();
            !SCRUBBED.iter().any(|pattern| matches(pattern, name))
                || KEPT.iter().any(|pattern| matches(pattern, name))
        })
        .collect();
    for (name, value) in layers.iter().flat_map(|layer| layer.iter()) {
        match value {
            Some(value) => environment.insert(name.into(), value.into()),
            None => environment.remove(&OsString::from(name)),
        };
    }
    environment
}

fn matches(pattern: &str, name: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == pattern.as_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surrounding_session_goes_and_keys_stay() {
        let parent = [
            ("PATH", "/bin"),
            ("ANTHROPIC_API_KEY", "k"),
            ("CLAUDECODE", "1"),
            ("CLAUDE_CODE_SESSION_ID", "s"),
            ("CLAUDE_CODE_OAUTH_TOKEN", "o"),
            ("CLAUDE_CODE_USE_BEDROCK", "1"),
            ("CODEX_HOME", "/c"),
            ("CODEX_SANDBOX", "seatbelt"),
            ("GEMINI_CLI", "1"),
            ("GEMINI_API_KEY", "g"),
            ("LANES_CLAIM_TOKEN", "t"),
        ];
        let parent = parent.map(|(name, value)| (name.into(), value.into()));
        let vendor = BTreeMap::from([("A".to_string(), Some("1".to_string())), ("PATH".to_string(), None)]);
        let route = BTreeMap::from([("A".to_string(), Some("2".to_string()))]);
        let environment = agent_environment(parent, &[&vendor, &route]);
        let names: Vec<&str> = environment.keys().filter_map(|name| name.to_str()).collect();
        assert_eq!(
            names,
            [
                "A",
                "ANTHROPIC_API_KEY",
                "CLAUDE_CODE_OAUTH_TOKEN",
                "CLAUDE_CODE_USE_BEDROCK",
                "CODEX_HOME",
                "GEMINI_API_KEY"
            ]
        );
        assert_eq!(environment[&OsString::from("A")], "2");
    }
}
