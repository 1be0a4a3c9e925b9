//! Commands that only read create nothing, whether or not the store exists.

use std::path::Path;

use crate::testkit::command::listed_commands;
use crate::testkit::sandbox::{Outcome, Sandbox, words};

/// Commands that read, and the code with which they end for an empty queue.
const READERS: [(&str, i32); 52] = [
    ("status", 0),
    ("status --all", 0),
    ("status --json", 0),
    ("status --all --json", 0),
    ("status 20261121", 1),
    ("list", 0),
    ("list --json", 0),
    ("list --lane l --active-only", 0),
    ("show 20261121", 1),
    ("lanes", 0),
    ("lanes --json", 0),
    ("config show", 0),
    ("config check", 0),
    ("top --once", 0),
    ("why 20261121", 1),
    ("inbox", 0),
    ("inbox --lane l --json", 0),
    ("schedules", 0),
    ("schedules --json", 0),
    ("budget", 0),
    ("budget --json", 0),
    ("stats", 0),
    ("stats --json", 0),
    ("events", 0),
    ("events 20261121", 1),
    ("logs 20261121", 1),
    ("diff 20261121", 1),
    ("worktrees", 0),
    ("worktrees --stale --json", 0),
    ("workers", 0),
    ("workers --json", 0),
    ("doctor", 0),
    ("doctor --json", 0),
    ("fsck", 0),
    ("fsck --json", 0),
    ("gc --all-ended --dry-run", 0),
    ("export", 0),
    ("graph", 0),
    ("graph --format dot", 0),
    ("next --lane l --timeout 0", 0),
    ("watch --lane l --timeout 0", 0),
    ("wait 20261121 --timeout 0", 1),
    ("claim --lane l", 4),
    ("dispatch --dry-run --lane l --command -- true", 0),
    ("agents", 0),
    ("agents --json", 0),
    ("agents show x", 1),
    ("trust --list", 0),
    ("prompt worker --lane l", 0),
    ("prompt submitter --json", 0),
    ("completions bash", 0),
    ("man", 0),
];

/// Commands that change something, which may create the store.
const WRITERS: [&str; 25] = [
    "init",
    "init-pool",
    "submit",
    "call",
    "renew",
    "release",
    "event",
    "ask",
    "answer",
    "tell",
    "messages",
    "respond",
    "cancel",
    "retry",
    "redrive",
    "edit",
    "move",
    "pause",
    "resume",
    "import",
    "bridge",
    "serve",
    "mcp",
    "setup",
    "self-test",
];

/// Everything below a directory.
fn tree(path: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut left = vec![path.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            all.push(path.display().to_string());
            if path.is_dir() && !path.is_symlink() {
                left.push(path);
            }
        }
    }
    all.sort();
    all
}

fn read(sandbox: &Sandbox, line: &str) -> Outcome {
    sandbox.outcome(sandbox.command(&words(line)).env("HOME", sandbox.root()).output().unwrap())
}

/// Returns everything that a command printed.
fn comparable(outcome: &Outcome) -> (i32, String, String) {
    (outcome.code, outcome.stdout.clone(), outcome.stderr.clone())
}

#[test]
fn readers_make_nothing_and_see_an_empty_queue() {
    for queue_root in ["state", "../elsewhere/deep/state", "none/state"] {
        let sandbox = Sandbox::empty();
        sandbox.write("handoff/handoff.yaml", format!("workspace_id: w\nqueue_root: {queue_root}\n"));
        let before = tree(&sandbox.root());
        let mut printed = Vec::new();
        for (line, code) in READERS {
            let outcome = read(&sandbox, line);
            assert_eq!(outcome.code, code, "{line}\n{outcome}");
            assert_eq!(tree(&sandbox.root()), before, "{line} made something");
            printed.push(comparable(&outcome));
        }
        // An existing empty queue gives the same reply; only `doctor` distinguishes them.
        let made = Sandbox::empty();
        made.write("handoff/handoff.yaml", format!("workspace_id: w\nqueue_root: {queue_root}\n"));
        made.ok(&["pause", "l"]);
        made.ok(&["resume", "l"]);
        made.pass(-2);
        for ((line, _), printed) in READERS.iter().zip(printed) {
            let outcome = read(&made, line);
            if !line.starts_with("doctor") {
                assert_eq!(comparable(&outcome), printed, "{line}");
            }
        }
    }
}

#[test]
fn what_init_made_is_left_as_it_is() {
    let sandbox = Sandbox::new();
    let before = tree(&sandbox.root());
    for (line, _) in READERS {
        read(&sandbox, line);
        assert_eq!(tree(&sandbox.root()), before, "{line} made something");
    }
}

#[test]
fn a_queue_that_is_named_and_not_there_is_an_error() {
    let sandbox = Sandbox::new();
    let before = tree(&sandbox.root());
    let of_the_store = READERS.iter().filter(|(line, _)| {
        let apart = ["doctor", "trust", "prompt", "completions", "man"];
        !apart.iter().any(|name| line.starts_with(name))
    });
    for (line, _) in of_the_store {
        let outcome = sandbox.run(&[&["--store", "mistyped"][..], &words(line)].concat());
        outcome.refused(1, "there is no store at $DIR/project/mistyped");
        let mut variable = sandbox.command(&words(line));
        let outcome = sandbox.outcome(variable.env("LANES_STORE", "mistyped").output().unwrap());
        outcome.refused(1, "there is no store at $DIR/project/mistyped");
    }
    let doctor = sandbox.run(&["doctor", "--store", "mistyped"]);
    assert!(doctor.code == 1 && doctor.stdout.contains("blocking there is no store at"), "{doctor}");
    assert_eq!(tree(&sandbox.root()), before);
}

#[test]
fn every_command_is_a_reader_or_a_writer() {
    let help = Sandbox::empty().ok(&["help"]);
    let mut count = 0;
    for name in listed_commands(&help) {
        let reads = READERS.iter().any(|(line, _)| line.split(' ').next() == Some(name));
        assert!(reads != WRITERS.contains(&name), "{name}: does it read, or may it make a queue?");
        count += 1;
    }
    assert!(count > 30, "{help}");
}
