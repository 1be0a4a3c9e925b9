//! The environment of an agent: that of the dispatcher, without the variables that bind a process to another
//! session or directory. All other variables were chosen by a person and are kept.
//!
//! A dispatcher is often started from an agent's shell, a git hook, a build or a service manager. These set
//! variables for their children that would make the agent act as a nested one, or commit to the repository of
//! the hook. The session variables of each vendor are listed in its profile (`session_env`); the ones below are
//! removed for every vendor.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Variables removed for every agent. A final `*` matches any ending.
const BOUND_VARIABLES: &[&str] = &[
    // Variables that git calls local to a repository and sets for hooks and aliases: the output of
    // `git rev-parse --local-env-vars` in git 2.47, and related ones.
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_KEY_*",
    "GIT_CONFIG_VALUE_*",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_QUARANTINE_PATH",
    // The previous directory, and where `cd NAME` in a shell looks first. PWD is set to the agent's directory.
    "OLDPWD",
    "CDPATH",
    // The package in which `npm run` or `cargo run` was started.
    "INIT_CWD",
    "npm_config_local_prefix",
    "npm_lifecycle_*",
    "npm_package_*",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_*",
    // The unit of a service manager: only its main process may report to it.
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    // The task of an enclosing run. The dispatcher sets the agent's own.
    "LANES_ATTEMPT",
    "LANES_CHAIN",
    "LANES_CLAIM_TOKEN",
    "LANES_COMPLETE",
    "LANES_CONFIG",
    // The key to the queue of a server, with which more can be done than the agent's own task needs.
    "LANES_TOKEN",
    "LANES_DEPTH",
    "LANES_FENCE",
    "LANES_LANE",
    "LANES_MCP",
    "LANES_RUN_ID",
    "LANES_STORE",
    "LANES_TASK_ID",
    "LANES_TEST_*",
];

/// Variables that `make` sets for its recipes: its flags (such as -n), the variables of its command line, and
/// its job server, whose descriptors the agent does not inherit. Removed only if [`UNDER_MAKE`] is set;
/// otherwise a person set them.
const SET_BY_MAKE: &[&str] =
    &["MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MAKE_TERMOUT", "MAKE_TERMERR"];
/// The variable that shows that a `make` is running above this process.
const UNDER_MAKE: &str = "MAKELEVEL";

/// Returns the environment of an agent, sorted by name: `parent` without the variables that bind to a directory or
/// a session (`session` lists those of the vendors' programs), overridden by each of `layers` in order. `None` in a
/// layer removes a variable.
pub(crate) fn agent_environment(
    parent: &[(OsString, OsString)],
    session: &[String],
    layers: &[&BTreeMap<String, Option<String>>],
) -> BTreeMap<OsString, OsString> {
    let is_under_make = parent.iter().any(|(name, _)| name == UNDER_MAKE);
    let set_by_make = if is_under_make { SET_BY_MAKE } else { &[] };
    let dropped: Vec<&str> = BOUND_VARIABLES
        .iter()
        .chain(set_by_make)
        .copied()
        .chain(session.iter().map(String::as_str))
        .collect();
    let mut environment: BTreeMap<OsString, OsString> = parent
        .iter()
        .filter(|(name, _)| !dropped.iter().any(|pattern| matches(pattern, name.as_bytes())))
        .cloned()
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
    use super::super::Vendors;
    use super::*;

    /// Sets all of `names` and returns those that an agent inherits.
    fn inherited(names: &[&str]) -> Vec<String> {
        let parent: Vec<(OsString, OsString)> = names.iter().map(|name| (name.into(), "1".into())).collect();
        let vendors = Vendors::built_in().expect("built-in profiles");
        let environment = agent_environment(&parent, vendors.session_env(), &[]);
        environment.into_keys().map(|name| name.into_string().expect("text")).collect()
    }

    #[test]
    fn variables_that_a_person_chose_are_kept() {
        let mut chosen = [
            "ANTHROPIC_API_KEY",
            "BASH_ENV",
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CLAUDE_CODE_CERT_STORE",
            "CLAUDE_CODE_EFFORT_LEVEL",
            "CLAUDE_CODE_OAUTH_REFRESH_TOKEN",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "CLAUDE_CODE_PRINT_BG_WAIT_CEILING_MS",
            "CLAUDE_CODE_SUBPROCESS_ENV_SCRUB",
            "CLAUDE_CODE_USE_BEDROCK",
            "CLAUDE_CODE_WHAT_COMES_NEXT",
            "CLAUDE_CONFIG_DIR",
            "CODEX_API_KEY",
            "CODEX_CA_CERTIFICATE",
            "CODEX_HOME",
            "GEMINI_API_KEY",
            "GEMINI_CLI_HOME",
            "GEMINI_CLI_TRUST_WORKSPACE",
            "GIT_AUTHOR_EMAIL",
            "GIT_COMMITTER_NAME",
            "GIT_CONFIG_GLOBAL",
            "GIT_EDITOR",
            "GIT_SSH",
            "GIT_SSH_COMMAND",
            "GIT_TERMINAL_PROMPT",
            "LANES_ALLOW_NETWORK_FS",
            "LANES_BIN",
            "LANES_LOCK_TIMEOUT",
            "MAKEFLAGS",
            "NODE_OPTIONS",
            "OPENCODE_CONFIG",
            "PATH",
            "VIRTUAL_ENV",
            "npm_config_registry",
        ];
        chosen.sort_unstable();
        assert_eq!(inherited(&chosen), chosen);
    }

    #[test]
    fn variables_that_bind_to_another_session_or_directory_are_removed() {
        let bound = [
            "AGENT",
            "AI_AGENT",
            "CARGO_MANIFEST_DIR",
            "CDPATH",
            "CLAUDECODE",
            "CLAUDE_CODE_CHILD_SESSION",
            "CLAUDE_CODE_ENTRYPOINT",
            "CLAUDE_CODE_MESSAGING_TOKEN",
            "CLAUDE_CODE_SESSION_ID",
            "CLAUDE_PROJECT_DIR",
            "CODEX_SANDBOX",
            "CODEX_SANDBOX_NETWORK_DISABLED",
            "CODEX_THREAD_ID",
            "GEMINI_CLI",
            "GEMINI_SESSION_ID",
            "GIT_CONFIG_KEY_0",
            "GIT_DIR",
            "GIT_INDEX_FILE",
            "LANES_CLAIM_TOKEN",
            "LANES_TEST_NOW",
            "MAKEFLAGS",
            "MAKELEVEL",
            "NOTIFY_SOCKET",
            "OPENCODE",
            "OPENCODE_PID",
            "npm_package_json",
        ];
        assert_eq!(inherited(&bound), [] as [&str; 0]);
    }

    #[test]
    fn variables_that_git_calls_local_are_removed() {
        let git = std::process::Command::new("git").args(["rev-parse", "--local-env-vars"]).output();
        let output = String::from_utf8(git.expect("git is installed").stdout).expect("text");
        let names: Vec<&str> = output.lines().collect();
        assert!(names.contains(&"GIT_DIR"), "{output}");
        assert_eq!(inherited(&names), [] as [&str; 0]);
    }

    #[test]
    fn layers_override_in_order() {
        let parent = [("PATH", "/bin"), ("GIT_DIR", "/hook")].map(|(n, v)| (n.into(), v.into()));
        let vendor = BTreeMap::from([("A".to_string(), Some("1".to_string())), ("PATH".to_string(), None)]);
        let route = BTreeMap::from([
            ("A".to_string(), Some("2".to_string())),
            ("GIT_DIR".to_string(), Some("/chosen".to_string())),
        ]);
        let environment = agent_environment(&parent, &[], &[&vendor, &route]);
        let all: Vec<(&str, &str)> =
            environment.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?))).collect();
        assert_eq!(all, [("A", "2"), ("GIT_DIR", "/chosen")]);
    }
}
