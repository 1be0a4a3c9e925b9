//! Exclusive keys from the command line.

use std::fs;
use std::path::Path;

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
    // Nobody has its keys, so it is shown as what can be claimed; in the file it stays blocked.
    assert_eq!(sandbox.json(&["show", &line])["task"]["state"], "queued");
    let file = sandbox.root().join("handoff/state/tasks").join(&line).join("task.json");
    let file: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(file["state"], "blocked");
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
        sandbox.run(&words).refused(2, says);
    }
    sandbox
        .run(&["submit", "--lane", "l", "--prompt", "x", "--exclusive=-k"])
        .refused(2, "starts with a dash");
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

#[test]
fn a_task_is_shown_as_blocked_only_while_another_one_has_a_key_of_it() {
    let sandbox = Sandbox::new();
    let (first, second) = (submit(&sandbox, "l", &["db"]), submit(&sandbox, "l", &["db", "host"]));
    let free = submit(&sandbox, "l", &["port"]);
    let later = sandbox.ok(&["submit", "--lane", "l", "--prompt", "x", "--exclusive", "db", "--delay", "1h"]);
    let after =
        sandbox.ok(&["submit", "--lane", "l", "--prompt", "x", "--exclusive", "port", "--after", &first]);
    let shown = |expected: [&str; 5]| {
        let ids = [&first, &second, &free, &later, &after];
        let rows = sandbox.ok(&["list"]);
        for (id, expected) in ids.into_iter().zip(expected) {
            assert_eq!(sandbox.json(&["show", id])["task"]["state"], expected);
            assert_eq!(sandbox.json(&["why", id])["state"], expected);
            let row = rows.lines().find(|row| row.starts_with(id.as_str())).unwrap();
            assert!(row.contains(&format!(" {expected}")), "{row}");
        }
        let status = sandbox.json(&["status"]);
        for state in ["queued", "scheduled", "blocked", "claimed", "completed"] {
            let count = expected.iter().filter(|it| **it == state).count();
            assert_eq!(status["lanes"]["l"][state], count, "{state}");
            assert_eq!(status["summary"][state], count, "{state}");
            assert_eq!(sandbox.json(&["list", "--state", state])["count"], count, "{state}");
        }
    };
    shown(["queued", "queued", "queued", "scheduled", "blocked"]);
    assert_eq!(sandbox.json(&["next", "--lane", "l"])["task"]["state"], "queued");
    let claim = sandbox.json(&["claim", &first]);
    shown(["claimed", "blocked", "queued", "scheduled", "blocked"]);
    let next = text(&sandbox.json(&["status", &free])["task"]["next_action"]);
    assert!(next.starts_with("worker: claim it with"), "{next}");
    let token = text(&claim["claim_token"]);
    let released = sandbox.json(&["release", &first, "--claim-token", &token]);
    assert_eq!(released["task"]["state"], "queued");
    shown(["queued", "queued", "queued", "scheduled", "blocked"]);
    // A key is free when the lease of the task that has it is over.
    sandbox.json(&["claim", &first, "--lease-seconds", "60"]);
    sandbox.pass(61);
    shown(["claimed", "queued", "queued", "scheduled", "blocked"]);
    sandbox.pass(3600);
    shown(["claimed", "queued", "queued", "queued", "blocked"]);
}

#[test]
fn a_question_that_gets_its_default_while_the_key_is_held_waits_for_the_key() {
    let sandbox = Sandbox::new();
    let (first, second) = (submit(&sandbox, "l", &["k"]), submit(&sandbox, "m", &["k"]));
    let (_, token) = sandbox.claim("l");
    let question = ["--question", "Which?", "--default", "both", "--expires", "30s"];
    sandbox.ok(&[&["ask", &first, "--claim-token", &token][..], &question].concat());
    let (_, other) = sandbox.claim("m");
    sandbox.pass(31);
    assert_eq!(sandbox.ok(&["next", "--lane", "l", "--timeout", "0"]), "", "nobody else may have its key");
    assert_eq!(sandbox.run(&["claim", "--lane", "l"]).code, 4);
    let task = sandbox.json(&["show", &first])["task"].clone();
    assert_eq!((&task["state"], &task["questions"][0]["answer"]), (&"blocked".into(), &"both".into()));
    sandbox.ok(&["release", &second, "--claim-token", &other]);
    assert_eq!(sandbox.ok(&["next", "--lane", "l", "--timeout", "0"]), first);
    assert_eq!(sandbox.claim("l").0, first);
}

#[test]
fn a_holder_that_cannot_be_read_keeps_its_key_until_it_is_repaired() {
    type Breakage = (&'static str, fn(&Path));
    let breakages: [Breakage; 4] = [
        ("cut off", |file| {
            let text = fs::read(file).unwrap();
            fs::write(file, &text[..text.len() / 2]).unwrap();
        }),
        ("missing", |file| fs::remove_file(file).unwrap()),
        ("a directory", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
        ("a link", |file| {
            fs::remove_file(file).unwrap();
            std::os::unix::fs::symlink("/nowhere", file).unwrap();
        }),
    ];
    for (what, break_it) in breakages {
        let sandbox = Sandbox::new();
        let (first, second) = (submit(&sandbox, "l", &["k"]), submit(&sandbox, "m", &["k"]));
        let other = submit(&sandbox, "m", &["free"]);
        assert_eq!(sandbox.claim("l").0, first);
        break_it(&sandbox.task_dir(&first).join("task.json"));
        let indexes = sandbox.path("handoff/state/indexes");
        let is_held = |when: &str| {
            let sentence = format!(
                "waiting for the key 'k', which {first} may hold, but cannot be read; `lanes fsck` shows what can be done"
            );
            assert_eq!(sandbox.ok(&["why", &second]), sentence, "{what}, {when}");
            let refusal = format!("cannot claim {second}; {first} may hold its key 'k', but cannot be read");
            sandbox.run(&["claim", &second]).refused(1, &refusal);
            let next = sandbox.run(&["claim", "--lane", "m"]);
            assert!(next.code == 4 || next.stdout.contains(&other), "{what}, {when}: {next}");
        };
        is_held("with its index");
        // The rebuild cannot read the task either.
        fs::remove_file(indexes.join("state")).unwrap();
        is_held("after a rebuild");
        fs::remove_dir_all(indexes.join("lanes")).unwrap();
        is_held("after another one");
        assert_eq!(sandbox.json(&["show", &other])["task"]["state"], "claimed", "{what}");
        assert_ne!(sandbox.run(&["fsck"]).code, 0, "{what}");
        is_held("after a check");
        sandbox.run(&["fsck", "--repair"]);
        assert!(!sandbox.task_dir(&first).exists(), "{what}");
        assert_eq!(sandbox.claim("m").0, second, "{what}");
        sandbox.ok(&["fsck"]);
    }
}

#[test]
fn who_holds_a_key_is_known_after_a_power_cut_before_anything_changes() {
    for command in ["list", "why"] {
        let sandbox = Sandbox::new();
        let (first, second) = (submit(&sandbox, "l", &["k"]), submit(&sandbox, "l", &["k"]));
        sandbox.claim("l");
        // The file of the key was not on the disk yet, and the machine starts anew.
        let indexes = sandbox.path("handoff/state/indexes");
        let state = fs::read_to_string(indexes.join("state")).unwrap();
        let boot = state.split(' ').nth(1).unwrap().to_string();
        fs::write(indexes.join("state"), state.replace(&boot, &"0".repeat(boot.len()))).unwrap();
        fs::remove_dir_all(indexes.join("exclusive")).unwrap();
        match command {
            "list" => {
                let listed = sandbox.json(&["list", "--state", "blocked"]);
                assert_eq!(listed["tasks"][0]["id"], second.as_str());
            }
            _ => assert!(sandbox.ok(&["why", &second]).contains(&first)),
        }
    }
}

#[test]
fn a_task_that_cannot_be_read_and_was_not_claimed_keeps_no_key() {
    let sandbox = Sandbox::new();
    let (first, second) = (submit(&sandbox, "l", &["k"]), submit(&sandbox, "l", &["k"]));
    fs::write(sandbox.task_dir(&first).join("task.json"), "{").unwrap();
    assert_eq!(sandbox.claim("l").0, second);
}
