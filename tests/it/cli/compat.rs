//! Comparison with agent-lanes 0.1: the same commands print the same keys and exit with the same codes.
//!
//! Skipped, with a line that reports it, unless `agent-lanes` is on PATH (`.ci/run` installs it).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::testkit::command::{LANES, clean_with_path};
use crate::testkit::sandbox::{Sandbox, text, words};
use crate::testkit::skip::agent_lanes;

/// One of the two implementations on a workspace of its own.
struct Side {
    program: PathBuf,
    sandbox: Sandbox,
}

impl Side {
    fn new(program: &Path) -> Self {
        let side = Self { program: program.to_path_buf(), sandbox: Sandbox::empty() };
        assert_eq!(side.run(&["init"]).0, 0);
        side.sandbox.write("request.md", "please review\n");
        side
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = clean_with_path(&self.program);
        command.env("USER", "tester").args(args).current_dir(self.sandbox.root());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, stdout, stderr) = self.run(&[&["--json"], args].concat());
        assert_eq!(code, 0, "{args:?}\n{stderr}");
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{args:?}: {error}\n{stdout}"))
    }

    fn submit(&self, name: &str) -> String {
        let args = [
            "submit",
            "--lane",
            "l",
            "--request-from",
            "request.md",
            "--response-to",
            "out.md",
            "--task-id",
            name,
        ];
        text(&self.json(&args)["task_id"])
    }
}

/// The keys of a JSON value, nested ones with their path, lists by their first element, each with
/// the type of its value. A null may stand where the other side has a value.
fn shape(value: &Value, path: &str, out: &mut BTreeSet<(String, &'static str)>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    out.insert((path.to_string(), kind));
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| shape(value, &format!("{path}.{key}"), out))
        }
        Value::Array(items) => items.iter().take(1).for_each(|item| shape(item, &format!("{path}[]"), out)),
        _ => {}
    }
}

/// Asserts that everything the reference prints is printed by us too, with the same types.
fn covers(what: &str, ours: &Value, theirs: &Value) {
    let (mut have, mut want) = (BTreeSet::new(), BTreeSet::new());
    shape(ours, "", &mut have);
    shape(theirs, "", &mut want);
    // The token is its holder's alone; agent-lanes prints it in `status`, too.
    let is_known =
        |(path, kind): &(String, &str)| what == "status ID" && path == ".task.claim_token" && *kind == "text";
    let missing: Vec<_> = want.difference(&have).filter(|key| !is_known(key)).collect();
    assert!(missing.is_empty(), "{what}: missing {missing:?} in\n{ours:#}");
}

#[test]
fn the_same_keys_as_agent_lanes() {
    let Some(reference) = agent_lanes() else { return };
    let (we, they) = (Side::new(LANES.as_ref()), Side::new(&reference));
    let (mut ours, mut theirs) = (Names::default(), Names::default());
    for line in [
        "init sub",
        "init-pool pool",
        "next --lane l --timeout 0",
        "submit --lane l --request-from request.md --response-to out.md --metadata k=v",
        "next --lane l --timeout 0",
        "watch --lane l --timeout 0",
        "wait --lane l --timeout 0",
        "status ID",
        "claim ID --owner me",
        "next --lane l --timeout 0",
        "renew ID --claim-token TOKEN",
        "status ID",
        "event ID --message m --data k=v",
        "release ID --claim-token TOKEN --reason r",
        "list --active-only",
        "respond ID --body b --verdict accept --blocking-count 0",
        "wait ID --timeout 0",
        "status ID",
        "status --all --lane l",
    ] {
        covers(line, &ours.run(&we, line), &theirs.run(&they, line));
    }
}

/// The names of a side's task and claim.
#[derive(Default)]
struct Names {
    id: String,
    token: String,
}

impl Names {
    /// Runs a command line with the side's own names in it, and learns new ones from the reply.
    fn run(&mut self, side: &Side, line: &str) -> Value {
        let line = line.replace("ID", &self.id).replace("TOKEN", &self.token);
        let answer = side.json(&words(&line));
        if let Some(id) = answer["task_id"].as_str() {
            self.id = id.to_string();
        }
        if let Some(token) = answer["claim_token"].as_str() {
            self.token = token.to_string();
        }
        answer
    }
}

#[test]
fn the_same_exit_codes_as_agent_lanes() {
    let Some(reference) = agent_lanes() else { return };
    let (we, they) = (Side::new(LANES.as_ref()), Side::new(&reference));
    for line in [
        "",
        "--help",
        "fly",
        "init",
        "submit --lane l --request-from nowhere.md --response-to out.md",
        "submit --lane l --request-from /etc/hostname --response-to out.md",
        "submit --lane l --request-from request.md --response-to /etc/x",
        "submit --task nowhere.yaml",
        "claim nope",
        "claim ../x",
        "claim",
        "claim nope --lease-seconds soon",
        "renew nope",
        "respond nope --body x",
        "respond nope --verdict maybe",
        "status nope",
        "wait nope --timeout 0",
        "next",
        "next --lane l --timeout 0",
        "watch --lane l --timeout 0",
        "list --lane x",
        "status --all",
        "status --rack",
        "--config nowhere.yaml list",
        "self-test",
    ] {
        assert_eq!(we.run(&words(line)).0, they.run(&words(line)).0, "{line}");
    }
    // Bad usage always ends with 2 here; there only what the parser of the flags finds.
    for line in [
        "submit --lane l --request-from request.md --response-to o.md --metadata x",
        "submit --request-from request.md --response-to out.md",
    ] {
        assert_eq!((we.run(&words(line)).0, they.run(&words(line)).0), (2, 1), "{line}");
    }
    let (ours, theirs) = (we.submit("t"), they.submit("t"));
    let wait = |side: &Side, id: &str| side.run(&["wait", id, "--timeout", "0.1"]).0;
    assert_eq!(wait(&we, &ours), wait(&they, &theirs));
}

#[test]
fn odd_text_crosses_unharmed() {
    let Some(reference) = agent_lanes() else { return };
    let we = Side::new(LANES.as_ref());
    let they = |args: &[&str]| -> Value {
        let args = [&["--config", "handoff/handoff.yaml", "--json"], args].concat();
        let output = Command::new(&reference).args(args).current_dir(we.sandbox.root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    // Python breaks lines at these; in events.jsonl they must not stand as they are.
    let odd = "a\u{2028}b\u{2029}c\u{85}d \u{1f600}";
    let id = we.submit("ours");
    we.json(&["event", &id, "--message", odd]);
    assert_eq!(text(&they(&["status", &id])["task"]["last_event"]["message"]), odd);
    they(&["event", &id, "--message", odd, "--type", "theirs"]);
    let last = we.json(&["status", &id])["task"]["last_event"].clone();
    assert_eq!((text(&last["message"]).as_str(), text(&last["type"]).as_str()), (odd, "theirs"));
    we.json(&["respond", &id, "--body", odd]);
    assert_eq!(text(&they(&["wait", &id, "--timeout", "5"])["response"]["body"]), odd);
    assert_eq!(we.sandbox.read("out.md"), odd);
}
