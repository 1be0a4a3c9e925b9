//! Help, versions, bad usage, completions, man pages, ways to name the workspace.

use crate::sandbox::{Sandbox, text, words};

const COMMANDS: &str = "init init-pool submit call wait next watch claim renew release event respond cancel retry \
    redrive move pause resume status list show logs events why workers self-test completions man";

#[test]
fn every_command_has_help() {
    let sandbox = Sandbox::empty();
    for command in words(COMMANDS) {
        let outcome = sandbox.run(&[command, "--help"]);
        assert_eq!(outcome.code, 0, "{command}: {outcome}");
        assert!(outcome.stdout.contains("Usage: lanes"), "{command}: {outcome}");
        assert_eq!(outcome.stderr, "", "{command}");
        assert!(sandbox.ok(&["help", command]).contains("Usage: lanes"), "{command}");
    }
}

#[test]
fn without_a_command_help_is_shown() {
    let sandbox = Sandbox::empty();
    let outcome = sandbox.run(&[]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome}");
    for command in words(COMMANDS) {
        assert!(outcome.stdout.contains(command), "{command} is not in the help:\n{outcome}");
    }
    assert!(sandbox.ok(&["--version"]).starts_with("lanes "));
}

#[test]
fn bad_usage_ends_with_2_and_touches_nothing() {
    let sandbox = Sandbox::empty();
    for args in [
        &["fly"][..],
        &["--fly"],
        &["claim"],
        &["list", "extra"],
        &["submit", "--priority", "high"],
        &["completions", "cmd.exe"],
        &["events", "--since", "-1"],
    ] {
        let outcome = sandbox.run(args);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{args:?}: {outcome}");
        assert!(outcome.stderr.starts_with("lanes: "), "{args:?}: {outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{args:?}: {outcome}");
    }
    assert_eq!(std::fs::read_dir(sandbox.root()).unwrap().count(), 0);
}

#[test]
fn arguments_that_are_no_text_are_bad_usage() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new();
    let odd = OsStr::from_bytes(b"a\xffb");
    for before in [&["status"][..], &["claim", "--lane"], &["submit", "--lane", "l", "--prompt"], &[]] {
        let outcome = sandbox.outcome(sandbox.command(before).arg(odd).output().unwrap());
        assert_eq!(outcome.code, 2, "{before:?}: {outcome}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
    }
}

#[test]
fn json_is_accepted_before_and_after_the_command() {
    let sandbox = Sandbox::new();
    let before = sandbox.run(&["--json", "list"]).stdout;
    assert_eq!(before, sandbox.run(&["list", "--json"]).stdout);
    assert_eq!(before, "{\n  \"count\": 0,\n  \"status\": \"ok\",\n  \"tasks\": []\n}\n");
}

#[test]
fn the_workspace_can_be_named() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let away = tempfile::tempdir().unwrap();
    let config = sandbox.path("handoff/handoff.yaml");
    let store = sandbox.path("handoff/state");
    let (config, store) = (config.to_str().unwrap(), store.to_str().unwrap());
    let count = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = sandbox.command(&[args, &["list", "--json"]].concat());
        let output = command.current_dir(away.path()).envs(env.iter().copied()).output().unwrap();
        let outcome = sandbox.outcome(output);
        assert_eq!(outcome.code, 0, "{outcome}");
        outcome.json()["count"].as_u64().unwrap()
    };
    assert_eq!(count(&["--config", config], &[]), 1);
    assert_eq!(count(&["--store", store], &[]), 1);
    assert_eq!(count(&[], &[("LANES_CONFIG", config)]), 1);
    assert_eq!(count(&[], &[("LANES_STORE", store)]), 1);
    // A flag beats the environment.
    let other = away.path().join("other");
    let other = other.to_str().unwrap();
    assert_eq!(count(&["--store", other], &[("LANES_STORE", store)]), 0);
    assert_eq!(count(&["--config", config], &[("LANES_STORE", other)]), 1);
    assert_eq!(count(&["--config", config, "--store", other], &[]), 0);
    assert_eq!(text(&sandbox.json(&["--store", "handoff/state", "status", &id])["task"]["id"]), id);
}

#[test]
fn of_a_flag_given_twice_the_last_one_counts() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("first", &["--lane", "second", "--json", "--json"]);
    let id = &serde_json::from_str::<serde_json::Value>(&id).unwrap()["task_id"];
    assert_eq!(text(&sandbox.json(&["status", &text(id), "--json"])["task"]["lane"]), "second");
    let nowhere = ["--config", "nowhere.yaml", "--config", "handoff/handoff.yaml", "list"];
    assert_eq!(sandbox.json(&nowhere)["count"], 1);
}

#[test]
fn odd_environments_are_named() {
    let sandbox = Sandbox::new();
    for (name, value) in [
        ("LANES_LOCK_TIMEOUT", "soon"),
        ("LANES_LOCK_TIMEOUT", "-1"),
        ("LANES_LOCK_TIMEOUT", "nan"),
        ("LANES_TEST_NOW", "noon"),
        ("LANES_TEST_SEED", "x"),
    ] {
        let outcome = sandbox.outcome(sandbox.command(&["list"]).env(name, value).output().unwrap());
        outcome.refused(1, name);
    }
    sandbox.run(&["list", "--lock-timeout", "-1"]).refused(1, "--lock-timeout");
    let outcome =
        sandbox.outcome(sandbox.command(&["list"]).env("LANES_CONFIG", "/nowhere.yaml").output().unwrap());
    outcome.refused(1, "/nowhere.yaml");
}

#[test]
fn completions_for_every_shell() {
    let sandbox = Sandbox::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = sandbox.ok(&["completions", shell]);
        assert!(script.contains("init-pool"), "{shell}");
    }
}

#[test]
fn man_pages_for_every_command() {
    let sandbox = Sandbox::empty();
    assert!(sandbox.ok(&["man"]).contains(".TH lanes"));
    sandbox.ok(&["man", "pages"]);
    for command in words(COMMANDS) {
        let page = sandbox.read(format!("pages/lanes-{command}.1"));
        assert!(page.contains(".SH NAME"), "{command}");
    }
    assert!(sandbox.path("pages/lanes.1").exists());
}
