//! Help, versions, bad usage, completions, man pages, ways to name the workspace.

use crate::testkit::sandbox::{Sandbox, text, words};

const COMMANDS: &str = "init init-pool submit call wait next watch claim renew release event respond cancel retry \
    redrive move pause resume status list show why graph dispatch stats events logs workers doctor fsck gc export import \
    serve self-test completions man";

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
        sandbox.run(args).refused(2, "; `lanes help");
    }
    sandbox.run(&["--config", "wait", "list", "--limit", "-1"]).refused(2, "`lanes help list`");
    sandbox.run(&["respond", "x", "--blocking-count", "-1"]).refused(2, "expected a whole number from 0");
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
fn a_store_that_is_not_there_is_made_by_who_brings_work() {
    let sandbox = Sandbox::new();
    let missing = sandbox.path("mistyped");
    let named = missing.to_str().unwrap();
    let commands: [&[&str]; 8] = [
        &["list"],
        &["status"],
        &["show", "x"],
        &["claim", "--lane", "l"],
        &["wait", "x", "--timeout", "0"],
        &["gc", "--all-ended"],
        &["fsck", "--repair"],
        &["export"],
    ];
    for words in commands {
        let outcome = sandbox.run(&[&["--store", named], words].concat());
        assert_eq!(outcome.code, 1, "{words:?}: {outcome}");
        assert!(outcome.stderr.contains("there is no store at "), "{words:?}: {outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{words:?}: {outcome}");
        assert!(!missing.exists(), "{words:?}");
    }
    // A directory with other content is not a store either.
    let other = sandbox.path("handoff");
    assert_eq!(sandbox.run(&["--store", other.to_str().unwrap(), "list"]).code, 1);
    assert!(!other.join("tasks").exists());
    sandbox.run(&["--store", named, "submit", "--lane", "l", "--prompt", "x"]);
    assert!(missing.join("tasks").is_dir());
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
    // A flag overrides the environment.
    let other = away.path().join("other");
    std::fs::create_dir_all(other.join("tasks")).unwrap();
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
        assert!(script.contains("LANES_COMPLETE"), "{shell}");
    }
}

#[test]
fn lanes_and_ids_are_completed() {
    let sandbox = Sandbox::new();
    let first = sandbox.submit("review", &[]);
    let second = sandbox.submit("$(touch owned)", &[]);
    let offered = |words: &[&str]| {
        let mut command = sandbox.command(&[&["--", "lanes"], words].concat());
        let index = words.len().to_string();
        command.env("LANES_COMPLETE", "fish").env("_CLAP_COMPLETE_INDEX", index);
        let outcome = sandbox.outcome(command.output().unwrap());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome}");
        let lines = outcome.stdout.lines().map(|line| line.split('\t').next().unwrap().to_string());
        lines.filter(|word| !word.starts_with('-')).collect::<Vec<String>>()
    };
    // What a shell would run is not offered.
    assert_eq!(offered(&["claim", "--lane", ""]), ["questions", "review", "work"]);
    assert_eq!(offered(&["pause", "r"]), ["review"]);
    assert_eq!(offered(&["wait", ""]), [second.as_str(), &first]);
    assert_eq!(offered(&["show", &first[first.len() - 6..]]), [first.as_str()]);
    assert_eq!(offered(&["pau"]), ["pause"]);
    // A task that ended long ago is offered if nothing else matches.
    let old = sandbox.answered("old-lane", "completed", "x");
    std::fs::remove_file(sandbox.path("handoff/state/feed.jsonl")).unwrap();
    assert_eq!(offered(&["show", ""]), [second.as_str(), &first]);
    assert_eq!(offered(&["show", &old[old.len() - 6..]]), [old.as_str()]);
    assert_eq!(offered(&["claim", "--lane", ""]), ["questions", "review", "work"]);
    assert!(!sandbox.path("owned").exists());
    let left_behind = sandbox.command(&["list"]).env("LANES_COMPLETE", "bash").output().unwrap();
    assert!(sandbox.outcome(left_behind).stdout.contains(&first));
    std::fs::remove_dir_all(sandbox.path("handoff")).unwrap();
    assert!(offered(&["show", ""]).is_empty());
}

#[test]
fn man_pages_for_every_command() {
    let sandbox = Sandbox::empty();
    assert!(sandbox.ok(&["man"]).contains(".TH lanes"));
    sandbox.ok(&["man", "pages"]);
    let mut pages = 0;
    for page in std::fs::read_dir(sandbox.path("pages")).unwrap() {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        for part in
            [".SH NAME", ".SH EXAMPLES", ".SH \"EXIT STATUS\"", concat!("lanes ", env!("CARGO_PKG_VERSION"))]
        {
            assert!(text.contains(part), "no {part} in {}", page.display());
        }
        pages += 1;
    }
    assert!(words(COMMANDS).iter().all(|name| sandbox.path(&format!("pages/lanes-{name}.1")).exists()));
    // Those of the commands, of the commands inside a command, and of `lanes` itself.
    let listed = |arguments: &[&str]| {
        let help = sandbox.ok(arguments);
        let rows = help.lines().skip_while(|line| *line != "Commands:").take_while(|line| !line.is_empty());
        rows.filter(|line| line.starts_with("  ") && !line.starts_with("   ") && !line.starts_with("  help "))
            .count()
    };
    let inner = ["agents", "bridge", "budget", "worktrees"]
        .iter()
        .map(|name| listed(&[name, "--help"]))
        .sum::<usize>()
        + if cfg!(feature = "mcp") { listed(&["mcp", "--help"]) } else { 0 };
    assert_eq!(pages, listed(&["--help"]) + inner + 1);
}
