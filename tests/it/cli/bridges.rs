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
    let fails = "board team has been unreachable since 2026-11-21T07:00:00.000000Z: connection refused";
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

const PYPROJECT: &str = r#"
[tool.artificer-dispatcher]
max_concurrent_agents = 2
[tool.artificer-dispatcher.backend]
type = "json"
url = "board.json"
[tool.artificer-dispatcher.routing."My Queue"]
command = "./agent.sh"
args = ["--task", "{task_id}", "it's"]
in_progress_queue = "Doing"
"#;

#[test]
fn settings_of_artificer_dispatcher_work_here() {
    let sandbox = Sandbox::new();
    sandbox.write("handoff/handoff.yaml", "workspace_id: w # mine");
    sandbox.write("pyproject.toml", PYPROJECT);
    let printed = sandbox.run(&["bridge", "import", "pyproject.toml"]);
    assert_eq!(printed.code, 0, "{printed}");
    assert!(printed.stdout.starts_with("bridges:\n  board:\n    adapter: json\n"), "{printed}");
    assert!(
        printed.stderr.contains("lanes: agents call the API at 127.0.0.1:8000: run `lanes serve"),
        "{printed}"
    );

    let written = sandbox.json(&["bridge", "import", "pyproject.toml", "--write"]);
    assert_eq!(written["status"], "written");
    let text = sandbox
        .read("handoff/handoff.yaml")
        .replace(sandbox.path("").to_str().unwrap().trim_end_matches('/'), "$DIR/project");
    assert_eq!(text, format!("workspace_id: w # mine\n\n{}", printed.stdout), "what was there stays");
    sandbox.run(&["bridge", "import", "pyproject.toml", "--write"]).refused(1, "has `bridges` already");

    sandbox.write("agent.sh", "#!/bin/sh\necho \"got $*\"\n");
    std::fs::set_permissions(sandbox.path("agent.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let id = sandbox.submit("my-queue", &[]);
    let mut dispatch = sandbox.live_command(&["dispatch", "--once"]);
    let outcome = sandbox.outcome(dispatch.env("PATH", "/usr/bin:/bin").output().unwrap());
    assert_eq!(outcome.code, 0, "{outcome}");
    assert_eq!(sandbox.ok(&["wait", &id]), format!("got --task {id} it's"));
}

#[test]
fn a_file_that_cannot_be_translated_is_refused_in_one_line() {
    let sandbox = Sandbox::new();
    let import = |words: &[&str]| sandbox.run(&[&["bridge", "import"], words].concat());
    import(&["none.toml"]).refused(1, "none.toml does not exist");
    sandbox.write("pyproject.toml", "[project]\n");
    import(&["pyproject.toml"]).refused(1, "has no table [tool.artificer-dispatcher]");
    sandbox.write("pyproject.toml", "[tool\n");
    import(&["pyproject.toml"]).refused(1, "pyproject.toml line 1 column ");
    sandbox.write("pyproject.toml", PYPROJECT);
    sandbox.write("handoff/handoff.yaml", r#"{"workspace_id": "w"}"#);
    import(&["pyproject.toml", "--write"]).refused(1, "nothing can be appended to");
    assert_eq!(sandbox.read("handoff/handoff.yaml"), r#"{"workspace_id": "w"}"#);
}

#[test]
fn check_names_what_a_bridge_cannot_reach() {
    let sandbox = Sandbox::new();
    sandbox.write("handoff/handoff.yaml", SETTINGS);
    let check = || sandbox.run(&["bridge", "check", "team"]);
    let missing = check();
    assert_eq!(missing.code, 1, "{missing}");
    assert!(missing.stdout.starts_with("FAILED  ") && missing.stdout.contains("board.json"), "{missing}");

    sandbox.write("board.json", r#"{"queues": {"Todo": [{"id": 1}], "Done": []}}"#);
    let good = check();
    assert_eq!(good.code, 0, "{good}");
    assert!(good.stdout.starts_with("ok      connected to json"), "{good}");
    assert!(good.stdout.contains("ok      queue Todo → lane work: 1 card\n"), "{good}");
    let report = sandbox.json(&["bridge", "check", "team"]);
    assert_eq!((&report["status"], &report["bridge"]), (&json!("ok"), &json!("team")));
    let found = diagnoses(&sandbox);
    assert!(
        found.iter().any(|(level, message)| level == "ok" && message.contains("team can work")),
        "{found:?}"
    );
    assert!(found.iter().any(|(_, message)| message.contains("is not running")), "{found:?}");

    sandbox.write("board.json", r#"{"queues": {"Todo": []}}"#);
    let gone = check();
    assert_eq!(gone.code, 1, "{gone}");
    assert!(gone.stdout.contains("FAILED  queue Todo: done: "), "{gone}");
    sandbox.write("board.json", "{\"queues\": {\n\"Todo\": [");
    let broken = check();
    assert!(broken.code == 1 && broken.stdout.contains("line 2"), "{broken}");
    sandbox.run(&["bridge", "check", "taem"]).refused(1, "did you mean team?");
}
