//! `lanes`, `config` and `completions --install`: what is configured, and where it comes from.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::testkit::sandbox::{Outcome, Sandbox, text};

const CONFIG: &str = "workspace_id: demo\nlanes:\n  review: Reviews of plans.\ndispatch:\n  vendor: claude\n  routes:\n    \
                      build: {command: make, env: {API_TOKEN: hush}}\n";

fn configured() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("handoff/handoff.yaml", CONFIG);
    sandbox
}

fn lane<'a>(reply: &'a Value, name: &str) -> &'a Value {
    reply["lanes"].as_array().unwrap().iter().find(|lane| lane["lane"] == name).unwrap()
}

#[test]
fn lanes_lists_what_is_configured_and_what_is_in_use() {
    let sandbox = configured();
    let before = sandbox.json(&["lanes"]);
    assert_eq!(before["count"], 2);
    for _ in 0..3 {
        sandbox.submit("review", &[]);
    }
    sandbox.claim("review");
    sandbox.submit("other", &["--delay", "1h"]);
    sandbox.ok(&["pause", "build", "--reason", "upgrade"]);
    let reply = sandbox.json(&["lanes"]);
    let review = lane(&reply, "review");
    assert_eq!((&review["ready"], &review["running"], &review["workers"]), (&2.into(), &1.into(), &0.into()));
    assert_eq!(
        (text(&review["vendor"]), text(&review["description"])),
        ("claude".to_string(), "Reviews of plans.".to_string())
    );
    let build = lane(&reply, "build");
    assert_eq!((&build["vendor"], text(&build["command"])), (&Value::Null, "make".to_string()));
    assert_eq!((&build["paused"], text(&build["pause_reason"])), (&true.into(), "upgrade".to_string()));
    let other = lane(&reply, "other");
    assert_eq!((&other["configured"], &other["ready"]), (&false.into(), &0.into()));
    // A lane whose tasks ended long ago, of which the feed says nothing any more.
    let id = sandbox.submit("long-ago", &[]);
    sandbox.ok(&["cancel", &id]);
    std::fs::remove_file(sandbox.path("handoff/state/feed.jsonl")).unwrap();
    let old = sandbox.json(&["lanes"]);
    assert_eq!(lane(&old, "long-ago")["configured"], false, "{old}");
    let shown = sandbox.ok(&["lanes"]);
    assert!(shown.starts_with("LANE ") && shown.contains("not configured"), "{shown}");
    assert!(shown.contains("upgrade") && shown.contains("make"), "{shown}");
    let empty = Sandbox::empty();
    empty.run(&["lanes"]).refused(1, "no workspace found");
}

#[test]
fn config_show_names_the_origin_of_each_setting() {
    let sandbox = configured();
    let reply = sandbox.json(&["config", "show"]);
    let setting = |key: &str| {
        let all = reply["settings"].as_array().unwrap();
        all.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("{key}: {reply}")).clone()
    };
    let vendor = setting("dispatch.vendor");
    assert_eq!((text(&vendor["value"]), &vendor["origin"]["line"]), ("claude".to_string(), &5.into()));
    for (key, value) in [
        ("dispatch.max_concurrent", "3"),
        ("dispatch.timeout", "\"6h\""),
        ("dispatch.silence_timeout", "\"30m\""),
        ("dispatch.lease_seconds", "\"15m\""),
        ("dispatch.max_retries", "0"),
        ("dispatch.mcp", "\"off\""),
        ("dispatch.setting_sources", "[\"user\"]"),
        ("allow_network_fs", "false"),
    ] {
        assert_eq!(
            (setting(key)["value"].to_string().as_str(), setting(key)["origin"]["kind"].as_str()),
            (value, Some("default")),
            "{key}"
        );
    }
    assert_eq!(setting("workspace_root")["origin"]["kind"], "default");
    assert_eq!(setting("lanes.review")["origin"]["line"], 3);
    assert_eq!(setting("config")["origin"]["kind"], "search");
    assert!(!reply.to_string().contains("hush"), "{reply}");
    // Each setting stands once, with its value in the file instead of the default.
    let mut keys: Vec<&str> = reply["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|setting| setting["key"].as_str().unwrap())
        .collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count, "{reply}");
    let store = sandbox.path("handoff/state");
    let flags = ["config", "show", "--lock-timeout", "3", "--config", "handoff/handoff.yaml"];
    let shown = sandbox.ok(&flags);
    assert!(shown.contains("lock_timeout = 3s  # --lock-timeout") && shown.contains("# --config"), "{shown}");
    assert!(shown.contains("handoff.yaml:5") && !shown.contains("hush"), "{shown}");
    sandbox.submit("l", &[]);
    let shown = sandbox.ok(&["config", "show", "--store", store.to_str().unwrap()]);
    assert!(
        shown.lines().any(|line| line.starts_with("queue_root = ") && line.ends_with("# --store")),
        "{shown}"
    );
}

#[test]
fn config_check_prints_a_line_for_each_fault() {
    let sandbox = configured();
    let fine = sandbox.run(&["config", "check"]);
    assert_eq!(fine.code, 0, "{fine}");
    assert!(fine.stdout.contains("has no faults"), "{fine}");
    sandbox.write("handoff/handoff.yaml", format!("{CONFIG}  timeout: never\nworkspaceid: x\n"));
    let faulty = sandbox.run(&["config", "check"]);
    assert_eq!((faulty.code, faulty.stdout.lines().count()), (1, 2), "{faulty}");
    assert!(
        faulty.stdout.contains("workspaceid") && faulty.stdout.contains("line 8: dispatch.timeout"),
        "{faulty}"
    );
    let faulty = sandbox.run(&["config", "check", "--json"]);
    assert_eq!((faulty.code, &faulty.json()["count"]), (1, &2.into()), "{faulty}");
    sandbox.write("handoff/handoff.yaml", "lanes: [\n");
    let broken = sandbox.run(&["config", "check"]);
    assert_eq!((broken.code, broken.stdout.lines().count()), (1, 1), "{broken}");
    Sandbox::empty().run(&["config", "check"]).refused(1, "no workspace found");
}

/// Runs `config edit` with a script as the editor.
fn edit(sandbox: &Sandbox, script: &str) -> Outcome {
    sandbox.write("editor", format!("#!/bin/sh\n{script}\n"));
    let path = sandbox.path("editor");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    sandbox.outcome(sandbox.command(&["config", "edit"]).env("EDITOR", path).output().unwrap())
}

/// The files in the directory of the configuration that an edit has left.
fn left(sandbox: &Sandbox) -> Vec<String> {
    let names = std::fs::read_dir(sandbox.path("handoff")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("edit")).collect()
}

#[test]
fn config_edit_saves_what_has_no_faults() {
    let sandbox = configured();
    let mut without = sandbox.command(&["config", "edit"]);
    let outcome = without.env_remove("EDITOR").env_remove("VISUAL").output().unwrap();
    sandbox.outcome(outcome).refused(2, "there is no terminal to edit on; set VISUAL or EDITOR");
    assert_eq!(left(&sandbox), Vec::<String>::new());
    let saved = edit(&sandbox, "sed -i s/claude/codex/ \"$1\"");
    assert_eq!(saved.code, 0, "{saved}");
    assert!(saved.stdout.starts_with("saved "), "{saved}");
    assert_eq!(sandbox.read("handoff/handoff.yaml"), CONFIG.replace("claude", "codex"));
    let unchanged = edit(&sandbox, ":");
    assert_eq!((unchanged.code, unchanged.stdout.as_str()), (0, ""), "{unchanged}");
    assert!(unchanged.stderr.contains("was not changed"), "{unchanged}");
    assert_eq!(left(&sandbox), Vec::<String>::new());
}

#[test]
fn config_edit_keeps_a_text_with_faults_for_the_person() {
    let sandbox = configured();
    let faulty = edit(&sandbox, "echo 'no_such_key: 1' >> \"$1\"");
    assert_eq!(faulty.code, 1, "{faulty}");
    assert!(faulty.stderr.contains("no_such_key") && faulty.stderr.contains("your text is in"), "{faulty}");
    assert_eq!(sandbox.read("handoff/handoff.yaml"), CONFIG);
    let kept = left(&sandbox);
    assert_eq!(kept.len(), 1);
    assert!(sandbox.read(format!("handoff/{}", kept[0])).ends_with("no_such_key: 1\n"));
    std::fs::remove_file(sandbox.path(&format!("handoff/{}", kept[0]))).unwrap();
    let failed = edit(&sandbox, "exit 7");
    failed.refused(1, "ended with exit code 7; nothing was changed");
    // Another program writes the file meanwhile.
    let file = sandbox.path("handoff/handoff.yaml");
    let raced = edit(&sandbox, &format!("echo '# mine' >> \"$1\"; echo '# theirs' >> '{}'", file.display()));
    raced.refused(1, "has just been changed");
    assert!(sandbox.read("handoff/handoff.yaml").ends_with("# theirs\n"));
    Sandbox::empty().run(&["config", "edit"]).refused(1, "no handoff.yaml to edit");
}

/// Runs a command in an empty home.
fn at_home(sandbox: &Sandbox, words: &[&str]) -> Outcome {
    let mut command = sandbox.command(words);
    command.env("HOME", sandbox.path("home")).env("SHELL", "/bin/zsh");
    sandbox.outcome(command.output().unwrap())
}

#[test]
fn completions_are_installed_once_and_removed() {
    let sandbox = Sandbox::new();
    let mine = "# mine\nalias l=lanes";
    sandbox.write("home/.zshrc", mine);
    let files = [
        ("bash", "home/.local/share/bash-completion/completions/lanes"),
        ("fish", "home/.config/fish/completions/lanes.fish"),
        ("zsh", "home/.zshrc"),
    ];
    for (shell, file) in files {
        let done = at_home(&sandbox, &["completions", shell, "--install", "-q"]);
        assert_eq!(done.code, 0, "{done}");
        assert!(done.stdout.starts_with("installed: ") && done.stdout.contains("--uninstall"), "{done}");
        let written = sandbox.read(file);
        assert!(written.contains(&format!("lanes completions {shell}")), "{written}");
        let again = at_home(&sandbox, &["completions", shell, "--install", "-q"]);
        assert!(again.stdout.starts_with("installed already: "), "{again}");
        assert_eq!(sandbox.read(file), written);
        let removed = at_home(&sandbox, &["completions", shell, "--uninstall"]);
        assert!(removed.code == 0 && removed.stdout.starts_with("removed: "), "{removed}");
        let nothing = at_home(&sandbox, &["completions", shell, "--uninstall", "--json"]);
        assert_eq!(text(&nothing.json()["change"]), "unchanged", "{nothing}");
    }
    assert_eq!(sandbox.read("home/.zshrc"), format!("{mine}\n"));
    assert!(!sandbox.path(files[0].1).exists() && !sandbox.path(files[1].1).exists());
    // The shell of the person is the default.
    assert!(at_home(&sandbox, &["completions", "--install"]).stdout.contains(".zshrc"));
}

#[test]
fn completions_of_others_are_left_alone() {
    let sandbox = Sandbox::new();
    sandbox.write("home/.config/fish/completions/lanes.fish", "complete -c lanes\n");
    for flag in ["--install", "--uninstall"] {
        at_home(&sandbox, &["completions", "fish", flag])
            .refused(1, "was not written by `lanes completions --install`");
    }
    at_home(&sandbox, &["completions", "elvish", "--install"]).refused(2, "elvish");
    at_home(&sandbox, &["completions"]).refused(2, "SHELL");
    sandbox.run(&["completions", "bash", "--install"]).refused(1, "HOME");
}

#[test]
fn the_section_of_zshrc_completes() {
    let sandbox = Sandbox::new();
    sandbox.submit("a-lane", &[]);
    at_home(&sandbox, &["completions", "zsh", "--install"]);
    let Ok(zsh) = std::process::Command::new("zsh").arg("--version").output() else {
        return crate::testkit::skip::skipped("zsh");
    };
    assert!(zsh.status.success());
    let bin = std::path::Path::new(crate::testkit::command::LANES).parent().unwrap();
    let shell = sandbox.command(&[]);
    let mut zsh = std::process::Command::new("zsh");
    crate::testkit::command::with_variables_of(&mut zsh, &shell);
    zsh.env("HOME", sandbox.path("home")).env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let output = zsh.args(["-i", "-c", "print -r -- $_comps[lanes]"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "_clap_dynamic_completer_lanes", "{output:?}");
}
