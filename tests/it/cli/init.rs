//! `init`, `init-pool` and `self-test`.

use insta::assert_snapshot;

use crate::testkit::sandbox::{Sandbox, text, words};

#[test]
fn init_makes_a_workspace_that_works() {
    let sandbox = Sandbox::empty();
    assert_snapshot!(sandbox.run(&["init", "--json"]), @r#"
        {
          "handoff": "$DIR/project/handoff",
          "next_steps": [
            "submit a task: lanes submit --lane review --prompt 'What does this project do?'",
            "start a worker: ./handoff/dispatcher.sh --lane review",
            "or give a chat what `lanes prompt worker` prints; `lanes setup` tells this project's agents",
            "see handoff/README.md for the rest"
          ],
          "queue_root": "state",
          "status": "initialized",
          "workspace_id": "project",
          "workspace_root": ".."
        }
        --- exit 0
    "#);
    let id = sandbox.submit("review", &[]);
    assert!(sandbox.task_dir(&id).join("task.json").exists());
    assert!(sandbox.read("handoff/handoff.yaml").contains("project"));
}

#[test]
fn init_prints_what_it_created() {
    assert_snapshot!(Sandbox::empty().run(&["init", "--workspace-id", "a: b"]), @r"
        $DIR/project/handoff
        --- exit 0
    ");
}

#[test]
fn init_keeps_the_paths_it_was_given() {
    let sandbox = Sandbox::empty();
    let made = sandbox.json(&words("init sub/dir --workspace-id w --workspace-root ../.. --queue-root q"));
    assert_eq!(text(&made["workspace_id"]), "w");
    assert_eq!(text(&made["workspace_root"]), "../..");
    assert_eq!(text(&made["queue_root"]), "q");
    assert!(sandbox.path("sub/dir/handoff/handoff.yaml").exists());
    // Found from below the directory that holds it.
    std::fs::create_dir_all(sandbox.path("sub/dir/deep/er")).unwrap();
    let output = sandbox.command(&["status"]).current_dir(sandbox.path("sub/dir/deep/er")).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn init_into_a_file_reports_that_it_is_a_file() {
    let sandbox = Sandbox::empty();
    sandbox.write("notes.md", "mine");
    for command in ["init", "init-pool"] {
        for path in ["notes.md", "notes.md/project"] {
            sandbox.run(&[command, path]).refused(1, "/notes.md is a file, not a directory");
        }
    }
    assert_eq!(sandbox.read("notes.md"), "mine");
}

#[test]
fn init_never_touches_what_is_there() {
    let sandbox = Sandbox::new();
    let before = sandbox.read("handoff/handoff.yaml");
    sandbox.run(&["init", "--workspace-id", "other"]).refused(1, "already exists");
    assert_eq!(sandbox.read("handoff/handoff.yaml"), before);
}

#[test]
fn init_pool_makes_a_pool() {
    let sandbox = Sandbox::empty();
    assert_snapshot!(sandbox.run(&["init-pool", "pool", "--json"]), @r#"
        {
          "config": "$DIR/project/pool/.agent-lanes-queue/handoff.yaml",
          "dispatchers": [
            {
              "vendor": "claude",
              "wrapper": "$DIR/project/pool/dispatchers/claude.sh"
            },
            {
              "vendor": "codex",
              "wrapper": "$DIR/project/pool/dispatchers/codex.sh"
            }
          ],
          "polling_prompt": "$DIR/project/pool/dispatchers/POLLING-CHAT-PROMPT.md",
          "queue": "$DIR/project/pool/.agent-lanes-queue",
          "status": "initialized",
          "store": "$DIR/project/pool/.agent-lanes-queue/state",
          "workspace_id": "pool"
        }
        --- exit 0
    "#);
    for file in ["dispatchers/claude.sh", "dispatchers/codex.sh", ".agent-lanes-queue/handoff.yaml"] {
        assert!(sandbox.path("pool").join(file).exists(), "{file}");
    }
    sandbox.run(&["init-pool", "pool"]).refused(1, "already exists");
    assert_snapshot!(sandbox.run(&["init-pool", "other"]), @r"
        $DIR/project/other/.agent-lanes-queue
        --- exit 0
    ");
}

#[test]
fn a_queue_that_hides_another_warns_and_doctor_names_both() {
    let check = |sandbox: &Sandbox, dir: &str| {
        let mut doctor = sandbox.command(&["doctor", "--json"]);
        let outcome = sandbox.outcome(doctor.current_dir(sandbox.path(dir)).output().unwrap());
        let checks = outcome.json()["checks"].as_array().unwrap().clone();
        let found = checks.into_iter().find(|check| check["code"] == "hidden-queue")?;
        Some((text(&found["level"]), text(&found["message"])))
    };
    let sandbox = Sandbox::empty();
    assert_eq!(sandbox.run(&["init-pool", "."]).stderr, "");
    assert_eq!(check(&sandbox, ""), None);
    let outcome = sandbox.run(&["init", "app"]);
    let pool = "$DIR/project/.agent-lanes-queue/handoff.yaml";
    let expected = "lanes: warning: in $DIR/project/app and below, this queue hides that of";
    assert_eq!(outcome.code, 0, "{outcome}");
    assert!(
        outcome.stderr.starts_with(&format!("{expected} {pool}; reach the other with --config {pool}")),
        "{outcome}"
    );
    let message = format!("$DIR/project/app/handoff/handoff.yaml hides the queue of {pool}");
    assert_eq!(check(&sandbox, "app"), Some(("ok".to_string(), message)));
    // In one directory: `handoff/` takes precedence, whichever came first.
    assert!(sandbox.run(&["init", "-q"]).stderr.contains("this queue hides that of"));
    assert_eq!(check(&sandbox, "").unwrap().0, "warning");
    sandbox.ok(&["init", "other"]);
    let outcome = sandbox.run(&["init-pool", "other"]);
    assert!(outcome.stderr.contains("other/handoff/handoff.yaml hides this queue"), "{outcome}");
    // What is named hides nothing.
    let named = sandbox.json(&["doctor", "--config", "handoff/handoff.yaml"]);
    assert!(!named.to_string().contains("hidden-queue"), "{named}");
}

#[test]
fn init_pool_without_a_place_is_bad_usage() {
    assert_eq!(Sandbox::empty().run(&["init-pool"]).code, 2);
}

#[test]
fn self_test_passes_and_leaves_nothing() {
    let sandbox = Sandbox::empty();
    let outcome = sandbox.run(&["self-test"]);
    assert_eq!(outcome.code, 0, "{outcome}");
    assert!(outcome.stdout.starts_with("self-test passed: 2026"), "{outcome}");
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome}");
    assert_eq!(std::fs::read_dir(sandbox.root()).unwrap().count(), 0);
}

#[test]
fn without_a_workspace_the_way_to_one_is_named() {
    for args in [&["list"][..], &["submit", "--lane", "l", "--prompt", "x"], &["wait", "abc"]] {
        Sandbox::empty().run(args).refused(1, "lanes init");
    }
}
