//! What commands say of bridges: their settings, whether they may be used, and boards that cannot be reached.

use lanes::internals::store::{Store, StoreOptions, WorkerInfo, WorkerKind};
use serde_json::json;

use crate::testkit::sandbox::Sandbox;
use crate::testkit::store::owner;

const SETTINGS: &str = "workspace_id: w
bridges:
  team:
    adapter: json
    path: ../board.json
    queues:
      Todo: {lane: work, done: Done}
";

/// Returns the diagnoses of `doctor` about bridges: the level, and the message with the remedy.
fn diagnoses(sandbox: &Sandbox) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
    let report = sandbox.run(&["doctor", "--json"]).json();
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["area"] == "bridges");
    checks
        .map(|check| {
            (text(&check["level"]), format!("{}: {}", text(&check["message"]), text(&check["remedy"])))
        })
        .collect()
}

#[test]
fn doctor_names_the_mistakes_in_the_settings() {
    let sandbox = Sandbox::new();
    assert_eq!(diagnoses(&sandbox), []);
    sandbox.write("handoff/handoff.yaml", SETTINGS.replace("done: Done", "doen: Done"));
    let [(level, message)] = &diagnoses(&sandbox)[..] else { panic!("one diagnosis") };
    assert_eq!(level, "blocking");
    assert!(
        message
            .contains("handoff.yaml line 7: bridges.team.queues.Todo.doen: unknown key: did you mean done?"),
        "{message}"
    );
}

#[test]
fn bridges_in_a_repository_need_consent() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path(".git")).unwrap();
    sandbox.write("handoff/handoff.yaml", SETTINGS);
    let found = diagnoses(&sandbox);
    let is_asked = |(level, message): &(String, String)| {
        level == "blocking" && message.contains("you have not agreed to: bridges.team.adapter: \"json\"")
    };
    assert!(found.iter().any(is_asked), "{found:?}");
    assert!(found.iter().any(|(_, message)| message.contains("HOME or XDG_STATE_HOME")), "{found:?}");
}

#[test]
fn a_board_that_cannot_be_reached_is_named() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&[
        "submit",
        "--lane",
        "work",
        "--prompt",
        "x",
        "--metadata",
        "bridge=team",
        "--metadata",
        "card=7",
    ]);
    let other = sandbox.submit("work", &[]);
    let why = |id: &str| sandbox.ok(&["why", id]);
    let waiting = "waiting for a worker: nobody serves lane work";
    assert_eq!(why(&id), format!("{waiting}; its card is not updated: `lanes bridge team` is not running"));
    assert_eq!(why(&other), waiting);

    let store = Store::open(&sandbox.path("handoff/state"), StoreOptions::default()).unwrap();
    let data = json!({"bridge": "team", "adapter": "json", "queues": ["Todo"]});
    let mut worker = WorkerInfo {
        kind: WorkerKind::parse("bridge"),
        owner: owner("bridge team"),
        pid: std::process::id(),
        lanes: Vec::new(),
        filter: String::new(),
        since: store.now().wall,
        data: data.as_object().unwrap().clone(),
    };
    let registration = store.register(&worker).unwrap();
    assert_eq!(why(&id), waiting);
    let workers = sandbox.ok(&["workers"]);
    assert!(workers.contains("cards of Todo (json)") && !workers.contains("cannot be reached"), "{workers}");

    worker.data.insert("failing_since".into(), "2026-11-21T07:00:00Z".into());
    worker.data.insert("error".into(), "connection refused".into());
    registration.update(&worker).unwrap();
    let fails = "board team cannot be reached since 2026-11-21T07:00:00.000000Z: connection refused";
    assert_eq!(why(&id), format!("{waiting}; {fails}"));
    assert_eq!(why(&other), waiting);
    for command in ["workers", "status"] {
        let text = sandbox.ok(&[command]);
        assert!(text.contains(fails), "{command}: {text}");
    }
    drop(registration);
    sandbox.ok(&["cancel", &id]);
    assert!(!why(&id).contains("card"), "an ended task waits for nothing");
}
