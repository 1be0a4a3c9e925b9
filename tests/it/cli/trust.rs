//! What a configuration in a repository may run, and who agreed to it.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::testkit::command::{LANES, clean_with_path};
use crate::testkit::sandbox::{Outcome, Running, Sandbox};
use crate::testkit::skip::skipped;
use crate::testkit::wait::eventually;

/// A workspace in a repository, with a home directory for what is agreed to.
struct Clone {
    sandbox: Sandbox,
    home: tempfile::TempDir,
}

impl Clone {
    /// A repository whose handoff.yaml came with this `dispatch:` section.
    fn new(dispatch: &str) -> Self {
        let sandbox = Sandbox::empty();
        std::fs::create_dir(sandbox.path(".git")).unwrap();
        sandbox.ok(&["init"]);
        let clone = Self { sandbox, home: tempfile::tempdir().unwrap() };
        clone.says(dispatch);
        clone
    }

    /// Changes the `dispatch:` section, as a pull does.
    fn says(&self, dispatch: &str) {
        self.sandbox.write("handoff/handoff.yaml", format!("workspace_id: w\ndispatch:\n{dispatch}"));
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.live_command(args);
        command.env("HOME", self.home.path()).env("PATH", "/usr/bin:/bin");
        command
    }

    fn run(&self, args: &[&str]) -> Outcome {
        self.sandbox.outcome(self.command(args).output().unwrap())
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let outcome = self.run(args);
        assert_eq!(outcome.code, 0, "{args:?}\n{outcome}");
        outcome.stdout
    }

    fn ran(&self, name: &str) -> bool {
        self.sandbox.path(name).exists()
    }

    fn record(&self) -> PathBuf {
        self.home.path().join(".local/state/lanes/trust")
    }
}

/// A program that leaves a file behind.
fn touches(name: &str) -> String {
    format!("  routes: {{l: {{command: touch, args: [{name}]}}}}\n")
}

#[test]
fn a_clone_runs_nothing_before_somebody_agrees() {
    let clone = Clone::new(&touches("ran"));
    let id = clone.sandbox.submit("l", &[]);
    let refused = clone.run(&["dispatch", "--once"]);
    refused.refused(1, "$DIR/project/handoff/handoff.yaml is in a repository and chooses what runs");
    refused.refused(1, "dispatch.routes.l.args: [\"ran\"], dispatch.routes.l.command: \"touch\"; review it");
    refused.refused(1, "agree with `lanes trust $DIR/project/handoff/handoff.yaml`");
    let preview = clone.run(&["dispatch", "--dry-run"]);
    assert!(preview.code == 0 && preview.stderr.contains("which you have not agreed to"), "{preview}");
    assert!(!clone.ran("ran") && !clone.record().exists());
    assert_eq!(clone.sandbox.json(&["status", &id])["task"]["attempt"], 0);
    assert!(clone.ok(&["doctor"]).contains("which you have not agreed to"));

    let printed = clone.ok(&["trust", "handoff/handoff.yaml"]);
    assert!(
        printed.ends_with("handoff.yaml: dispatch.routes.l.args, dispatch.routes.l.command\n"),
        "{printed}"
    );
    clone.ok(&["dispatch", "--once"]);
    assert!(clone.ran("ran"));
    assert!(clone.ok(&["doctor"]).contains("you have agreed to what"));
}

#[test]
fn a_pull_that_changes_what_runs_is_asked_about_again() {
    let clone = Clone::new(&touches("first"));
    clone.ok(&["trust", "."]);
    clone.says(&format!("  timeout: 5m\n{}", touches("first")));
    clone.sandbox.submit("l", &[]);
    clone.ok(&["dispatch", "--once"]);
    assert!(clone.ran("first"), "when something runs needs no consent");
    clone.says(&touches("second"));
    clone.sandbox.submit("l", &[]);
    let refused = clone.run(&["dispatch", "--once"]);
    refused.refused(
        1,
        "has changed what runs since you agreed to it: dispatch.routes.l.args: [\"second\"]; review",
    );
    assert!(!clone.ran("second"));
    clone.ok(&["dispatch", "--once", "--trust"]);
    assert!(clone.ran("second"));
    clone.ok(&["dispatch", "--once"]);
    clone.ok(&["trust", "--revoke"]);
    clone.run(&["dispatch", "--once"]).refused(1, "which you have not agreed to");
}

#[test]
fn what_is_named_by_hand_or_outside_a_repository_needs_no_consent() {
    let clone = Clone::new(&touches("named"));
    clone.sandbox.submit("l", &[]);
    let file = clone.sandbox.path("handoff/handoff.yaml");
    clone.ok(&["dispatch", "--once", "--config", file.to_str().unwrap()]);
    assert!(clone.ran("named"));
    clone.says(&touches("variable"));
    clone.sandbox.submit("l", &[]);
    let output = clone.command(&["dispatch", "--once"]).env("LANES_CONFIG", &file).output().unwrap();
    assert!(output.status.success() && clone.ran("variable"));
    std::fs::remove_dir(clone.sandbox.path(".git")).unwrap();
    clone.says(&touches("pool"));
    clone.sandbox.submit("l", &[]);
    clone.ok(&["dispatch", "--once"]);
    assert!(clone.ran("pool") && !clone.record().exists());
}

#[test]
fn what_init_writes_is_agreed_to() {
    let clone = Clone::new("  {}\n");
    clone.ok(&["init", "inner", "--queue-root", "../../elsewhere"]);
    assert!(clone.record().exists());
    let mut inside = clone.command(&["dispatch", "--once", "--lane", "l", "--command", "--", "true"]);
    let outcome = clone.sandbox.outcome(inside.current_dir(clone.sandbox.path("inner")).output().unwrap());
    assert_eq!(outcome.code, 0, "{outcome}");
    let listed = clone.ok(&["trust", "--list"]);
    assert!(listed.contains("$DIR/project/inner/handoff/handoff.yaml"), "{listed}");
    // Somebody else's queue outside the project is not.
    clone.sandbox.write("handoff/handoff.yaml", "workspace_id: w\nqueue_root: ../../elsewhere\n");
    let refused = clone.run(&["dispatch", "--once", "--lane", "l", "--command", "--", "true"]);
    refused.refused(1, "queue_root: \"$DIR/elsewhere\"");
}

#[test]
fn routes_in_a_cloned_queue_are_asked_about_too() {
    let clone = Clone::new("  {}\n");
    clone.sandbox.submit("l", &[]);
    let routes = json!({"routes": {"l": {"command": "touch", "args": ["routed"]}}});
    clone.sandbox.write("handoff/state/routes.json", routes.to_string());
    let refused = clone.run(&["dispatch", "--once"]);
    refused.refused(1, "handoff/state/routes.json is in a repository and chooses");
    refused.refused(1, "agree with `lanes trust $DIR/project/handoff/handoff.yaml`");
    let printed = clone.ok(&["trust", "--yes", "--json"]);
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["files"][0]["settings"]["routes.l.command"], "touch", "{printed}");
    clone.ok(&["dispatch", "--once"]);
    assert!(clone.ran("routed"));
    // A queue that is named is the caller's own choice.
    std::fs::remove_dir_all(clone.record()).unwrap();
    clone.sandbox.submit("l", &[]);
    let state = clone.sandbox.path("handoff/state");
    clone.ok(&["dispatch", "--once", "--store", state.to_str().unwrap()]);
    // It chooses what runs, so other users must not be able to write it.
    std::fs::set_permissions(state.join("routes.json"), PermissionsExt::from_mode(0o666)).unwrap();
    let open = clone.run(&["dispatch", "--once", "--store", state.to_str().unwrap()]);
    open.refused(1, "routes.json can be changed by another user");
}

#[test]
fn agents_of_a_clone_need_the_same_consent_wherever_they_are_written() {
    let clone = Clone::new("  {}\n");
    clone.sandbox.submit("agent/a", &[]);
    let agent = |mark: &str| json!({"a": {"directory": ".", "command": "touch", "args": [mark]}});
    let handoff = |more: serde_json::Value| {
        let mut file = json!({"workspace_id": "w"});
        file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        clone.sandbox.write("handoff/handoff.yaml", file.to_string());
    };
    let dispatch = ["dispatch", "--once"];
    handoff(json!({"agents": agent("first")}));
    let refused = clone.run(&dispatch);
    refused.refused(
        1,
        "is in a repository and chooses what runs, which you have not agreed to: agents.a.args: ",
    );
    refused.refused(1, "agents.a.directory: \".\"; review it, then agree with `lanes trust $DIR/project/");
    clone.ok(&["trust", "--yes"]);
    clone.ok(&dispatch);
    assert!(clone.sandbox.path("handoff/first").exists());
    // A pull changes the program; a description and a limit of the number of runs change nothing of that kind.
    let mut described = agent("first");
    described["a"]["description"] = "Builds".into();
    described["a"]["max_concurrent"] = 1.into();
    handoff(json!({"agents": described}));
    clone.ok(&dispatch);
    clone.sandbox.submit("agent/a", &[]);
    handoff(json!({"agents": agent("second")}));
    clone
        .run(&dispatch)
        .refused(1, "has changed what runs since you agreed to it: agents.a.args: [\"second\"]");
    assert!(!clone.sandbox.path("handoff/second").exists());
    // A file of agents in the clone needs an agreement of its own, in addition to the one to its name.
    handoff(json!({"agents_from": "agents.yaml"}));
    let imported = |directory: &str| {
        let agents = json!({"agents": {"a": {"directory": directory}}});
        clone.sandbox.write("handoff/agents.yaml", agents.to_string());
    };
    imported("..");
    clone.run(&dispatch).refused(1, "agents_from: \"$DIR/project/handoff/agents.yaml\"");
    clone.ok(&["trust", "--yes"]);
    clone.ok(&["dispatch", "--dry-run"]);
    imported("/");
    clone.run(&dispatch).refused(1, "handoff/agents.yaml is in a repository and has changed what runs");
    clone.run(&dispatch).refused(1, "agents.a.directory: \"/\"");
    // So does agents.json in a state directory that came with the clone.
    handoff(json!({}));
    clone.sandbox.write("handoff/state/agents.json", json!({"agents": agent("stored")}).to_string());
    clone.run(&dispatch).refused(1, "handoff/state/agents.json is in a repository and chooses");
    assert!(!clone.sandbox.path("handoff/stored").exists());
    clone.ok(&["trust", "--yes"]);
    clone.ok(&dispatch);
    assert!(clone.sandbox.path("handoff/stored").exists());
    let state = clone.sandbox.path("handoff/state");
    std::fs::set_permissions(state.join("agents.json"), PermissionsExt::from_mode(0o666)).unwrap();
    clone.run(&dispatch).refused(1, "agents.json can be changed by another user");
}

#[test]
fn an_agent_that_a_person_adds_is_agreed_to_and_nothing_else() {
    let touch = "  vendor: t\n  vendors: {t: {command: /bin/true, like: claude}}\n";
    let add = |clone: &Clone, name: &str| {
        clone.ok(&["agents", "add", name, "--directory", ".", "--model", "x"]);
    };
    let clone = Clone::new(touch);
    clone.ok(&["trust", "--yes"]);
    add(&clone, "mine");
    clone.ok(&["dispatch", "--once"]);
    add(&clone, "second");
    clone.ok(&["dispatch", "--once"]);
    // What is changed by another hand is asked about.
    let file = "handoff/state/agents.json";
    let changed = clone.sandbox.read(file).replace("\"model\": \"x\"", "\"model\": \"y\"");
    clone.sandbox.write(file, changed);
    clone.run(&["dispatch", "--once"]).refused(1, "agents.json is in a repository and has changed what runs");
    // Adding an agent is no agreement to those that came with a clone.
    let clone = Clone::new(touch);
    clone.ok(&["trust", "--yes"]);
    clone.sandbox.write(file, json!({"agents": {"theirs": {"directory": "/"}}}).to_string());
    add(&clone, "mine");
    clone.run(&["dispatch", "--once"]).refused(1, "agents.json is in a repository and chooses what runs");
}

#[test]
fn a_clone_reaches_no_file_outside_its_project() {
    let clone = Clone::new("  {}\n");
    let outside = clone.sandbox.path("../thesis.md");
    std::fs::write(&outside, "mine").unwrap();
    clone.sandbox.write("handoff/handoff.yaml", "workspace_id: w\nworkspace_root: /\n");
    let submit = ["submit", "--lane", "l", "--prompt", "p", "--response-to", outside.to_str().unwrap()];
    let id = clone.ok(&submit);
    clone.ok(&["respond", id.trim(), "--body", "theirs"]);
    let refused = clone.run(&["wait", id.trim()]);
    assert_eq!((refused.code, refused.stdout.trim()), (1, "theirs"), "{}", refused.stderr);
    assert!(refused.stderr.contains("name its configuration with --config"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "mine");
    clone.run(&["serve", "--port", "0"]).refused(1, "workspace_root leads out of the repository");
    let named = clone.sandbox.path("handoff/handoff.yaml");
    clone.ok(&["--config", named.to_str().unwrap(), "wait", id.trim()]);
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "theirs");
}

#[test]
fn a_dispatcher_at_work_keeps_what_was_agreed_to() {
    let clone = Clone::new(&touches("before"));
    clone.ok(&["trust", "."]);
    let log = clone.sandbox.path("log");
    let printed = || std::fs::read_to_string(&log).unwrap_or_default();
    let file = std::fs::File::create(&log).unwrap();
    let mut dispatch = clone.command(&["dispatch"]);
    dispatch.stdout(file.try_clone().unwrap()).stderr(file);
    let dispatcher = Running::start(dispatch);
    eventually("it serves", || printed().contains("serves"));
    clone.says(&touches("after"));
    let is_refused = || printed().matches("has changed what runs since you agreed to it").count();
    eventually("it says so", || is_refused() == 1);
    let submit = || clone.ok(&["submit", "--lane", "l", "--prompt", "do it"]);
    submit();
    eventually("what was agreed to runs", || clone.ran("before"));
    assert!(!clone.ran("after"), "{}", printed());
    assert_eq!(is_refused(), 1, "{}", printed());
    clone.ok(&["trust", "."]);
    eventually("it follows", || printed().contains("the settings have changed"));
    submit();
    eventually("what is agreed to now runs", || clone.ran("after"));
    drop(dispatcher);
}

#[test]
fn agreeing_needs_a_name_or_a_person() {
    let clone = Clone::new(&touches("x"));
    clone.run(&["trust"]).refused(1, "there is no terminal to ask on; name the file, or give --yes");
    clone.run(&["trust"]).refused(1, "chooses: `lanes trust $DIR/project/handoff/handoff.yaml`");
    clone.run(&["trust", "handoff/state"]).refused(1, "no handoff.yaml found in $DIR/project/handoff/state");
    clone.run(&["trust", "--revoke"]).refused(1, "is not trusted");
    clone.ok(&["trust", "handoff"]);
    let printed = clone.ok(&["trust", "--revoke", "--json", "handoff/handoff.yaml"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap()["status"], "revoked");
    clone.says("  timeout: 5\n");
    assert!(clone.ok(&["trust", "."]).starts_with("nothing to trust: "));
    let homeless = clone.sandbox.run(&["trust", "."]);
    homeless.refused(1, "set HOME or XDG_STATE_HOME, or name the file with --config");
    clone.says(&touches("x"));
    clone.sandbox.run(&["dispatch", "--once"]).refused(1, "set HOME or XDG_STATE_HOME");
}

#[test]
fn a_record_that_others_can_write_is_not_believed() {
    use std::os::unix::fs::PermissionsExt;
    let clone = Clone::new(&touches("x"));
    clone.ok(&["trust", "."]);
    let record = std::fs::read_dir(clone.record()).unwrap().next().unwrap().unwrap().path();
    std::fs::set_permissions(&record, std::fs::Permissions::from_mode(0o666)).unwrap();
    clone.run(&["dispatch", "--once"]).refused(1, "can be changed by another user; remove it");
    // A command that runs nothing does not ask.
    let id = clone.sandbox.submit("l", &[]);
    clone.ok(&["claim", &id]);
    clone.ok(&["status"]);
}

#[test]
fn a_person_is_shown_the_settings_and_asked() {
    let clone = Clone::new(&touches("x"));
    let trust = |answer: &str| {
        let mut script = clean_with_path("script");
        let line = format!("{LANES} trust; echo code=$?");
        script.args(["-qec", &line, "/dev/null"]).current_dir(clone.sandbox.root());
        script.env("HOME", clone.home.path());
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = script.spawn().ok()?;
        // The input stays open until the answer was read: its end is a hang-up.
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, answer.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(input);
        Some(String::from_utf8(output.stdout).unwrap())
    };
    let Some(refused) = trust("\n") else { return skipped("script") };
    assert!(refused.contains("dispatch.routes.l.command: \"touch\""), "{refused}");
    assert!(refused.contains("nothing was agreed to") && refused.contains("code=1"), "{refused}");
    assert!(!clone.record().exists());
    let agreed = trust("y\n").unwrap();
    assert!(agreed.contains("trusted: ") && agreed.contains("code=0"), "{agreed}");
}
