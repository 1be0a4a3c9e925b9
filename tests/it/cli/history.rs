//! `show`, `events`, `logs`.

use std::io::{BufRead, BufReader, Read};

use insta::assert_snapshot;

use crate::testkit::sandbox::{Running, Sandbox, text};

#[test]
fn show_prints_the_whole_history() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &["--name", "A title", "--metadata", "effort=high", "--label", "x"]);
    let (_, token) = sandbox.claim("l");
    sandbox.ok(&["event", &id, "--message", "half\u{1b}[2J way"]);
    sandbox.pass(90);
    sandbox.ok(&[
        "respond",
        &id,
        "--claim-token",
        &token,
        "--body",
        "first\n\u{7}second",
        "--verdict",
        "accept",
    ]);
    assert_snapshot!(sandbox.run(&["show", &id]), @r#"
        task        20261121T070002000000Z-l-f51c362d5cc7-209633
        name        A title
        lane        l
        state       completed
        submitted   2026-11-21T07:00:02.000000Z (94s ago) by orchestrator
        attempts    1
        claimed by  worker since 2026-11-21T07:00:03.000000Z
        metadata    {"effort":"high"}
        labels      x
        workspace   $DIR/project
        request     $DIR/project/handoff/state/tasks/20261121T070002000000Z-l-f51c362d5cc7-209633/request.md
        answer to   $DIR/project/handoff/state/tasks/20261121T070002000000Z-l-f51c362d5cc7-209633/response.md

        prompt
          do it

        history
          2026-11-21T07:00:02.000000Z   94s ago  created      submitted to l
          2026-11-21T07:00:03.000000Z   93s ago  claimed      claimed by worker
          2026-11-21T07:00:04.000000Z   92s ago  note         half\u{1b}[2J way
          2026-11-21T07:01:35.000000Z    1s ago  response     completed by worker

        answer (completed, accept by worker)
          first
          \u{7}second
        --- exit 0
    "#);
    let json = sandbox.json(&["show", &id]);
    assert_eq!(json["events"].as_array().unwrap().len(), 4);
    assert_eq!(text(&json["response"]["body"]), "first\n\u{7}second");
    assert_eq!(text(&json["task"]["id"]), id);
}

#[test]
fn events_of_one_task() {
    let sandbox = Sandbox::new();
    let id = sandbox.answered("l", "completed", "x");
    assert_snapshot!(sandbox.run(&["events", &id]), @r"
        2026-11-21T07:00:02.000000Z  created      submitted to l
        2026-11-21T07:00:03.000000Z  claimed      claimed by worker
        2026-11-21T07:00:04.000000Z  response     completed by worker
        --- exit 0
    ");
    assert_eq!(sandbox.json(&["events", &id, "--limit", "1"])["events"].as_array().unwrap().len(), 1);
}

#[test]
fn events_of_the_queue_are_numbered() {
    let sandbox = Sandbox::new();
    sandbox.answered("l", "completed", "x");
    sandbox.submit("m", &[]);
    assert_snapshot!(sandbox.run(&["events"]), @r"
        1  2026-11-21T07:00:02.000000Z  20261121T070002000000Z-l-f51c362d5cc7-209633  l  created      submitted to l
        2  2026-11-21T07:00:03.000000Z  20261121T070002000000Z-l-f51c362d5cc7-209633  l  claimed      claimed by worker
        3  2026-11-21T07:00:04.000000Z  20261121T070002000000Z-l-f51c362d5cc7-209633  l  response     completed by worker
        4  2026-11-21T07:00:05.000000Z  20261121T070005000000Z-m-f51c362d5cc7-8aa04b  m  created      submitted to m
        --- exit 0
    ");
    assert_snapshot!(sandbox.run(&["events", "--since", "3", "--json"]), @r#"
        {"attempt":0,"created_at":"2026-11-21T07:00:05.000000Z","data":{"lane":"m","source_agent":"orchestrator"},"lane":"m","message":"submitted to m","n":1,"seq":4,"state":"queued","task_id":"20261121T070005000000Z-m-f51c362d5cc7-8aa04b","title":"do it","type":"created"}
        --- exit 0
    "#);
    assert_eq!(sandbox.run(&["events", "--since", "1", "--limit", "2"]).stdout.lines().count(), 2);
    assert_eq!(sandbox.run(&["events", "--since", "99"]).stdout, "");
}

#[test]
fn events_can_be_followed() {
    let sandbox = Sandbox::new();
    let first = sandbox.submit("l", &[]);
    let mut follow = Running::start(sandbox.live_command(&["events", "--follow", "--json"]));
    let mut lines = BufReader::new(follow.child().stdout.take().unwrap()).lines();
    let mut next = || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(text(&next()["task_id"]), first);
    let second = sandbox.submit("l", &[]);
    let entry = next();
    assert_eq!(text(&entry["task_id"]), second);
    assert_eq!(entry["seq"], 2);
}

#[test]
fn the_events_of_a_task_are_followed_to_its_end() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let mut follow = Running::start(sandbox.live_command(&["events", &id, "-f"]));
    let mut lines = BufReader::new(follow.child().stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().ends_with("submitted to l"));
    sandbox.ok(&["event", &id, "--message", "half way"]);
    assert!(next().ends_with("half way"));
    sandbox.ok(&["respond", &id, "--body", "x"]);
    assert!(next().ends_with("completed by worker"));
    assert_eq!(follow.finish(&sandbox).code, 0);
}

#[test]
fn logs_of_a_run() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    sandbox.run(&["logs", &id]).refused(1, "no run");
    let runs = sandbox.task_dir(&id).join("attempts");
    for n in ["1", "2", "10"] {
        std::fs::create_dir_all(runs.join(n)).unwrap();
        std::fs::write(runs.join(n).join("stdout.log"), format!("run {n}\n")).unwrap();
    }
    std::fs::write(runs.join("10/stderr.log"), "oops\n").unwrap();
    assert_eq!(sandbox.ok(&["logs", &id]), "run 10");
    assert_eq!(sandbox.ok(&["logs", &id, "--attempt", "2"]), "run 2");
    assert_eq!(sandbox.ok(&["logs", &id, "--stderr"]), "oops");
    sandbox.run(&["logs", &id, "--attempt", "7"]).refused(1, "7");
}

#[test]
fn logs_stay_within_the_store() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    sandbox.write("secret", "secret");
    let runs = sandbox.task_dir(&id).join("attempts");
    std::fs::create_dir_all(runs.join("1")).unwrap();
    std::os::unix::fs::symlink(sandbox.path("secret"), runs.join("1/stdout.log")).unwrap();
    let fifo = runs.join("1/stderr.log");
    rustix::fs::mkfifoat(rustix::fs::CWD, fifo, rustix::fs::Mode::RUSR).unwrap();
    std::os::unix::fs::symlink(sandbox.root(), runs.join("2")).unwrap();
    sandbox.run(&["logs", &id, "--attempt", "1"]).refused(1, "not a file of the store");
    sandbox.run(&["logs", &id, "--attempt", "1", "--stderr"]).refused(1, "not a file of the store");
    sandbox.run(&["logs", &id, "--attempt", "2"]).refused(1, "not a directory of the store");
}

#[test]
fn logs_are_followed_to_the_end_of_the_task() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let run = sandbox.task_dir(&id).join("attempts/1");
    let mut follow = Running::start(sandbox.live_command(&["logs", &id, "-f"]));
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("stdout.log"), "one\n").unwrap();
    let mut first = [0; 4];
    follow.child().stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"one\n");
    std::fs::write(run.join("stdout.log"), "one\ntwo\n").unwrap();
    sandbox.ok(&["respond", &id, "--body", "x"]);
    let outcome = follow.finish(&sandbox);
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("two\n", 0), "{outcome}");
}
