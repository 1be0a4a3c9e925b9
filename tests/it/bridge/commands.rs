//! What the command prints and refuses.

use serde_json::json;

use super::desk::{Desk, stderr};
use crate::testkit::pool::Dispatcher;
use crate::testkit::sandbox::Sandbox;
use crate::testkit::wait::eventually;

#[test]
fn a_dry_run_shows_what_would_be_done() {
    let desk = Desk::new("");
    desk.add(json!("1"), "result Yes");
    let before = std::fs::read(desk.board_file()).unwrap();
    let shown = desk.pool.ok(&["bridge", "team", "--dry-run"]);
    assert!(shown.contains("team: card 1: would be submitted to work"), "{shown}");
    assert_eq!(std::fs::read(desk.board_file()).unwrap(), before);
    assert!(!desk.pool.path("state").exists());
}

#[test]
fn its_log_may_be_json() {
    let desk = Desk::new("");
    desk.add(json!("1"), "result Yes");
    let printed = desk.pool.ok(&["bridge", "--all", "--once", "--json"]);
    let lines: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["connected", "submitted", "moved"], "{printed}");
    assert_eq!((&lines[1]["bridge"], &lines[1]["card"]), (&json!("team"), &json!("1")));
    assert_eq!(lines[1]["task_id"], desk.tasks()[0]["id"]);
}

#[test]
fn the_status_counts_the_bridges() {
    let desk = Desk::new("");
    let counts = || desk.pool.json(&["status"])["bridges"].clone();
    desk.round();
    assert_eq!(counts(), json!({"running": 0, "failing": 0, "stopped": 1}));
    let bridge = Dispatcher::of(&mut desk.bridge(&["team"]));
    eventually("it runs", || counts() == json!({"running": 1, "failing": 0, "stopped": 0}));
    std::fs::remove_file(desk.board_file()).unwrap();
    eventually("its board fails", || counts() == json!({"running": 1, "failing": 1, "stopped": 0}));
    let shown = desk.pool.ok(&["status"]);
    let has_line = shown.lines().any(|line| line == "bridges: 1 running, 1 cannot reach its board");
    assert!(has_line, "{shown}");
    bridge.signal(rustix::process::Signal::TERM);
    assert!(bridge.wait().success());
}

#[test]
fn paths_are_shown_without_detours() {
    let desk = Desk::new("");
    let file = desk.pool.path("handoff.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::create_dir(desk.pool.path("plans")).unwrap();
    std::fs::write(&file, text.replace("path: board.json", "path: plans/../other.json")).unwrap();
    let output = desk.bridge(&["team", "--once"]).output().unwrap();
    let line = stderr(&output);
    let shown = desk.pool.path("other.json").canonicalize().unwrap_or(desk.pool.path("other.json"));
    assert!(line.contains(&*shown.to_string_lossy()) && !line.contains(".."), "{line}");
}

#[test]
fn mistakes_are_reported_in_one_line() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["bridge", "--all"])
        .refused(1, "the configuration has no bridges; add them under `bridges`");
    sandbox.run(&["bridge", "team"]).refused(1, "there is no bridge 'team' in");
    let desk = Desk::new("");
    let refused = |words: &[&str]| {
        let output = desk.bridge(words).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let line = stderr(&output);
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    assert!(refused(&["tem"]).contains("did you mean team?"));
    desk.write(&json!({"queues": {"Todo": []}}));
    let line = refused(&["team"]);
    assert!(line.starts_with("lanes: bridge team: ") && line.contains("In Progress"), "{line}");
    std::fs::write(desk.board_file(), "{\"queues\": {\"Todo\": [}").unwrap();
    let line = refused(&["team", "--once"]);
    assert!(line.contains("line 1"), "{line}");
    std::fs::remove_file(desk.board_file()).unwrap();
    let line = refused(&["team", "--once"]);
    assert!(line.contains("board.json"), "{line}");
    assert!(desk.tasks().is_empty());
}

/// Adds a section to the configuration of a desk.
fn configure(desk: &Desk, section: &str) {
    let file = desk.pool.path("handoff.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, format!("{text}{section}")).unwrap();
}

#[test]
fn a_bridge_delivers_notices() {
    let desk = Desk::new("");
    configure(&desk, "notify: [{on: [failed], command: [[sh, -c, 'cat >> told']]}]\n");
    let bridge = Dispatcher::of(&mut desk.bridge(&["team"]));
    eventually("it runs", || desk.pool.json(&["status"])["bridges"]["running"] == 1);
    let id = desk.pool.submit("result never", &[]);
    desk.pool.ok(&["respond", &id, "--status", "failed", "--body", "no"]);
    eventually("the notice is delivered", || {
        std::fs::read_to_string(desk.pool.path("told")).is_ok_and(|told| told.contains(&id))
    });
    bridge.signal(rustix::process::Signal::TERM);
    assert!(bridge.wait().success());
}

#[test]
fn a_bridge_submits_the_tasks_of_schedules() {
    let desk = Desk::new("");
    configure(
        &desk,
        "schedules: {nightly: {cron: '0 3 * * *', timezone: UTC, lane: nights, prompt: Tidy up}}\n",
    );
    let run = |now: &str, flag: &str| {
        let output = desk.bridge(&["team", flag]).env("LANES_TEST_NOW", now).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    run("2026-11-21T07:00:00Z", "--once");
    assert_eq!(desk.pool.json(&["list", "--lane", "nights"])["count"], 0);
    run("2026-11-22T07:00:00Z", "--dry-run");
    assert_eq!(desk.pool.json(&["list", "--lane", "nights"])["count"], 0);
    let log = run("2026-11-22T07:00:00Z", "--once");
    assert!(log.contains("lanes: schedule nightly submitted "), "{log}");
    let tasks = desk.pool.json(&["list", "--lane", "nights"]);
    assert_eq!(tasks["tasks"][0]["metadata"]["scheduled_for"], "2026-11-22T03:00:00Z");
}

#[test]
fn unknown_keys_of_the_configuration_are_reported() {
    let desk = Desk::new("");
    let file = desk.pool.path("handoff.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\nno_such_key: 1\n")).unwrap();
    let output = desk.bridge(&["team", "--dry-run"]).output().unwrap();
    assert!(output.status.success() && stderr(&output).contains("no_such_key"), "{output:?}");
}
