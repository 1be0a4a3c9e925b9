//! The commands that agents of a dispatcher may not run.

use crate::testkit::sandbox::{Outcome, Sandbox};

/// What a command does to the process of an agent.
fn in_a_run(sandbox: &Sandbox, words: &[&str]) -> Outcome {
    let mut command = sandbox.command(words);
    command.env("HOME", sandbox.root());
    command.env("LANES_RUN_ID", "0123456789abcdef0123456789abcdef");
    sandbox.outcome(command.output().unwrap())
}

#[test]
fn what_decides_what_runs_is_for_people() {
    let sandbox = Sandbox::new();
    let id = sandbox.answered("l", "completed", "x");
    let refused: [&[&str]; 20] = [
        &["trust", "handoff"],
        &["dispatch", "--once", "--command", "--", "/bin/true"],
        &["serve", "--port", "0"],
        &["bridge", "test", "--", "/bin/true"],
        &["bridge", "--all", "--once"],
        &["bridge", "check", "team"],
        &["bridge", "import", "--write", "pyproject.toml"],
        &["init", "other"],
        &["init-pool", "pool"],
        &["import", "-"],
        &["fsck", "--repair"],
        &["gc", "--all-ended"],
        &["setup"],
        &["config", "edit"],
        &["completions", "bash", "--install"],
        &["agents", "add", "x", "--directory", "."],
        &["agents", "remove", "x"],
        &["budget", "add", "5"],
        &["worktrees", "remove", "x"],
        &["--quiet", "dispatch", "--vendor", "claude"],
    ];
    for words in refused {
        let ended = in_a_run(&sandbox, words);
        ended.refused(1, "is not for agents, and LANES_RUN_ID shows");
        assert!(ended.stderr.contains("--inside-run"), "{ended}");
    }
    assert!(!sandbox.path("other").exists() && !sandbox.path("pool").exists());
    // What an agent works with, and what changes nothing.
    let harmless: [&[&str]; 15] = [
        &["show", &id],
        &["why", &id],
        &["graph"],
        &["submit", "--lane", "l", "--prompt", "more", "--group", "g"],
        &["tell", "--group", "g", "and this"],
        &["edit", &id, "--name", "Done"],
        &["fsck"],
        &["setup", "--print"],
        &["config", "show"],
        &["lanes"],
        &["prompt", "worker"],
        &["agents"],
        &["worktrees"],
        &["gc", "--all-ended", "--dry-run"],
        &["dispatch", "--dry-run", "--lane", "l", "--command", "--", "/bin/true"],
    ];
    for words in harmless {
        let ended = in_a_run(&sandbox, words);
        assert_eq!(ended.code, 0, "{words:?}: {ended}");
    }
    // A person allows it.
    assert_eq!(in_a_run(&sandbox, &["gc", "--all-ended", "--inside-run"]).code, 0);
    assert_eq!(in_a_run(&sandbox, &["--inside-run", "init", "other"]).code, 0);
    assert!(sandbox.path("other/handoff").exists());
}
