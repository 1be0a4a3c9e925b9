//! Exclusive keys from the command line.

use crate::testkit::sandbox::{Running, Sandbox, text};
use crate::testkit::wait::until_a_lane_is_waited_for;

fn submit(sandbox: &Sandbox, lane: &str, keys: &[&str]) -> String {
    let mut words = vec!["submit", "--lane", lane, "--prompt", "x"];
    words.extend(keys.iter().flat_map(|key| ["--exclusive", key]));
    sandbox.ok(&words)
}

#[test]
fn why_names_the_key_and_who_has_held_it_since_when() {
    let sandbox = Sandbox::new();
    let (first, second) = (submit(&sandbox, "l", &["db", "host a"]), submit(&sandbox, "l", &["host a"]));
    assert!(sandbox.ok(&["why", &first]).starts_with("waiting for a worker"));
    let claim = sandbox.json(&["claim", "--lane", "l"]);
    assert_eq!(claim["task_id"], first.as_str());
    let since = text(&claim["task"]["claimed_at"]);
    let sentence = format!("waiting for the key 'host a', which {first} has held since {since}");
    assert_eq!(sandbox.ok(&["why", &second]), sentence);
    assert_eq!(sandbox.json(&["why", &second])["reason"], "key_held");
    sandbox.run(&["claim", &second]).refused(1, "has held its key 'host a'");
    assert_eq!(sandbox.run(&["claim", "--lane", "l"]).code, 4);
    let shown = sandbox.ok(&["show", &first]);
    assert!(shown.lines().any(|line| line == "exclusive   db, host a"), "{shown}");
    let next = text(&sandbox.json(&["status", &second])["task"]["next_action"]);
    assert!(next.ends_with("takes it when its exclusive keys are free"), "{next}");
    assert_eq!(sandbox.json(&["status"])["lanes"]["l"]["blocked"], 1);
    assert_eq!(sandbox.json(&["list", "--state", "blocked"])["tasks"][0]["exclusive"][0], "host a");
    sandbox.ok(&["release", &first, "--claim-token", &text(&claim["claim_token"]), "--delay", "1h"]);
    assert_eq!(sandbox.json(&["claim", "--lane", "l"])["task_id"], second.as_str());
    sandbox.ok(&["fsck"]);
    sandbox.ok(&["doctor"]);
}

#[test]
fn task_files_and_batches_have_keys_and_bad_ones_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", "lane: l\nprompt: a\nexclusive: [db, 7, db]\n");
    let task = sandbox.ok(&["submit", "--task", "task.yaml"]);
    assert_eq!(sandbox.json(&["show", &task])["task"]["exclusive"], serde_json::json!(["db", "7"]));
    sandbox.write("batch.jsonl", "{\"lane\": \"l\", \"prompt\": \"b\", \"exclusive\": [\"db\"]}\n");
    let line = sandbox.ok(&["submit", "--batch", "batch.jsonl"]);
    assert_eq!(sandbox.json(&["show", &line])["task"]["state"], "blocked");
    let nine: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    let nine: Vec<&str> = nine.iter().map(String::as_str).collect();
    let long = "x".repeat(1001);
    for (keys, says) in [
        (&nine[..], "9 exclusive keys are too many; a task can have at most 8"),
        (&[" "], "the exclusive key is empty"),
        (&["a\nb"], "the exclusive key has control characters"),
        (&[&long], "the exclusive key is 1001 bytes long; give at most 1000"),
    ] {
        let mut words = vec!["submit", "--lane", "l", "--prompt", "x"];
        words.extend(keys.iter().flat_map(|key| ["--exclusive", key]));
        sandbox.run(&words).refused(1, says);
    }
    sandbox
        .run(&["submit", "--lane", "l", "--prompt", "x", "--exclusive=-k"])
        .refused(1, "starts with a dash");
    sandbox.write("task.yaml", "lane: l\nprompt: a\nexclusive: db\n");
    sandbox.run(&["submit", "--task", "task.yaml"]).refused(1, "'exclusive' must be a list");
    assert_eq!(sandbox.json(&["list"])["count"], 2);
}

#[test]
fn a_worker_of_another_lane_is_woken_when_the_key_is_free() {
    let sandbox = Sandbox::new();
    // The lease must be live by the clock of the process that waits.
    let live = |words: &[&str]| sandbox.outcome(sandbox.live_command(words).output().unwrap());
    let submit = |lane| {
        live(&["submit", "--lane", lane, "--prompt", "x", "--exclusive", "k"]).stdout.trim().to_string()
    };
    let (first, second) = (submit("l"), submit("m"));
    let token = text(&live(&["claim", "--lane", "l", "--json"]).json()["claim_token"]);
    let waiting = Running::start(sandbox.live_command(&["claim", "--lane", "m", "--wait", "--json"]));
    until_a_lane_is_waited_for(&sandbox.path("handoff/state"));
    assert_eq!(live(&["respond", &first, "--claim-token", &token, "--body", "done"]).code, 0);
    let claim = waiting.finish(&sandbox).json();
    assert_eq!(claim["task_id"], second.as_str());
}

#[test]
fn a_question_frees_the_key_and_an_answer_does_not_take_it() {
    let sandbox = Sandbox::new();
    let (first, second) = (submit(&sandbox, "l", &["k"]), submit(&sandbox, "l", &["k"]));
    let (_, token) = sandbox.claim("l");
    sandbox.ok(&["ask", &first, "--claim-token", &token, "--question", "Now?"]);
    let (held, token) = sandbox.claim("l");
    assert_eq!(held, second);
    sandbox.ok(&["answer", &first, "--body", "yes"]);
    assert_eq!(sandbox.json(&["show", &first])["task"]["state"], "blocked");
    assert_eq!(sandbox.run(&["claim", "--lane", "l"]).code, 4);
    sandbox.ok(&["respond", &second, "--claim-token", &token, "--body", "done"]);
    assert_eq!(sandbox.claim("l").0, first);
}
