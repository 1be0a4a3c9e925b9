//! One broken task among good ones: it is reported and skipped, and the others are not affected.

use std::fs;
use std::path::Path;

use crate::testkit::sandbox::{Sandbox, text};

type Breakage = (&'static str, fn(&Path));

/// Ways to break the directory of a task.
const BREAKAGES: [Breakage; 13] = [
    ("empty", |dir| fs::write(dir.join("task.json"), "").unwrap()),
    ("cut off", |dir| {
        let text = fs::read(dir.join("task.json")).unwrap();
        fs::write(dir.join("task.json"), &text[..text.len() / 2]).unwrap();
    }),
    ("zeros", |dir| fs::write(dir.join("task.json"), [0; 4096]).unwrap()),
    ("not UTF-8", |dir| fs::write(dir.join("task.json"), b"{\"id\": \"\xff\"}").unwrap()),
    ("a list", |dir| fs::write(dir.join("task.json"), "[]").unwrap()),
    ("no fields", |dir| fs::write(dir.join("task.json"), "{}").unwrap()),
    ("wrong types", |dir| {
        let text = fs::read_to_string(dir.join("task.json")).unwrap();
        fs::write(dir.join("task.json"), text.replace("\"lane\": \"l\"", "\"lane\": 7")).unwrap();
    }),
    ("very deep", |dir| {
        fs::write(dir.join("task.json"), format!("{{\"a\": {}", "[".repeat(200_000))).unwrap()
    }),
    ("very large", |dir| fs::File::create(dir.join("task.json")).unwrap().set_len(100 << 20).unwrap()),
    ("somebody else's id", |dir| {
        let text = fs::read_to_string(dir.join("task.json")).unwrap();
        let id = dir.file_name().unwrap().to_str().unwrap();
        fs::write(dir.join("task.json"), text.replace(id, "20260101T000000000000Z-other-000000000000"))
            .unwrap();
    }),
    ("missing", |dir| fs::remove_file(dir.join("task.json")).unwrap()),
    ("a directory", |dir| {
        fs::remove_file(dir.join("task.json")).unwrap();
        fs::create_dir(dir.join("task.json")).unwrap();
    }),
    ("a FIFO", |dir| {
        fs::remove_file(dir.join("task.json")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("task.json"), mode).unwrap();
    }),
];

#[test]
fn a_broken_task_is_reported_and_passed_over() {
    for (name, break_it) in BREAKAGES {
        let sandbox = Sandbox::new();
        let broken = sandbox.submit("l", &[]);
        let good = sandbox.submit("l", &[]);
        break_it(&sandbox.task_dir(&broken));
        for args in [&["list", "--json"][..], &["status", "--all", "--json"]] {
            let listed = sandbox.run(args);
            assert_eq!(listed.code, 0, "{name}: {listed}");
            assert_eq!(listed.json()["count"], 1, "{name}: {listed}");
            assert_eq!(listed.stderr.lines().count(), 1, "{name}: {listed}");
            assert!(listed.stderr.starts_with("lanes: warning: "), "{name}: {listed}");
        }
        assert_eq!(sandbox.run(&["status"]).code, 0, "{name}");
        let status = sandbox.run(&["status", &broken]);
        assert_eq!(status.code, 1, "{name}: {status}");
        assert_eq!(
            text(&sandbox.json(&["wait", "--lane", "l", "--timeout", "0"])["task"]["id"]),
            good,
            "{name}"
        );
        assert_eq!(sandbox.claim("l").0, good, "{name}");
        assert_eq!(sandbox.run(&["claim", "--lane", "l"]).code, 4, "{name}");
        let more = sandbox.submit("l", &[]);
        assert_eq!(sandbox.claim("l").0, more, "{name}");
    }
}

#[test]
fn strangers_in_the_task_directory_are_reported() {
    let sandbox = Sandbox::new();
    let good = sandbox.submit("l", &[]);
    let tasks = sandbox.path("handoff/state/tasks");
    fs::write(tasks.join("notes.txt"), "x").unwrap();
    fs::create_dir(tasks.join(".hidden")).unwrap();
    fs::create_dir(tasks.join("with space")).unwrap();
    std::os::unix::fs::symlink("/etc", tasks.join("link")).unwrap();
    let listed = sandbox.run(&["list", "--json"]);
    assert_eq!((listed.code, listed.json()["count"].as_u64()), (0, Some(1)), "{listed}");
    assert!(listed.stderr.lines().all(|line| line.starts_with("lanes: warning: ")), "{listed}");
    assert_eq!(sandbox.claim("l").0, good);
}

#[test]
fn a_broken_history_does_not_hide_a_task() {
    let sandbox = Sandbox::new();
    let good = sandbox.submit("l", &[]);
    let broken = sandbox.submit("l", &[]);
    let events = sandbox.task_dir(&broken).join("events.jsonl");
    for content in [&b"{\"half\": "[..], b"", b"\xff\xfe\n\n[]\n{}\n", &[0; 100]] {
        fs::write(&events, content).unwrap();
        for args in [&["list", "--json"][..], &["status", &broken], &["show", &broken], &["events", &broken]]
        {
            assert_eq!(sandbox.run(args).code, 0, "{args:?}");
        }
    }
    fs::remove_file(&events).unwrap();
    fs::create_dir(&events).unwrap();
    let listed = sandbox.run(&["list", "--json"]);
    assert_eq!(listed.code, 0, "{listed}");
    let ids: Vec<String> =
        listed.json()["tasks"].as_array().unwrap().iter().map(|task| text(&task["id"])).collect();
    assert!(ids.contains(&good), "{listed}");
}

#[test]
fn a_lost_answer_is_reported() {
    let sandbox = Sandbox::new();
    let body = "x".repeat(100_000);
    let lost = sandbox.submit("l", &[]);
    sandbox.run_with(&["respond", &lost], &body);
    fs::remove_file(sandbox.task_dir(&lost).join("response.json")).unwrap();
    let all = sandbox.json(&["status", "--all"]);
    assert_eq!(all["summary"]["missing_response"], 1);
    assert_eq!(all["tasks"][0]["missing_response"], true);
    let waited = sandbox.run(&["wait", &lost, "--timeout", "0"]);
    waited.refused(1, "answer");
}

#[test]
fn what_python_writes_is_read_and_shown() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let path = sandbox.task_dir(&id).join("task.json");
    let text = fs::read_to_string(&path).unwrap();
    let odd = "\"metadata\": {\"n\": NaN, \"big\": 123456789012345678901234567890, \"s\": \"\\ud800\"}";
    fs::write(&path, text.replacen("\"metadata\": {}", odd, 1)).unwrap();
    for args in [&["list", "--json"][..], &["status", &id, "--json"], &["next", "--lane", "l", "--json"]] {
        let outcome = sandbox.run(args);
        assert_eq!(outcome.code, 0, "{outcome}");
        for part in ["NaN", "123456789012345678901234567890", "\\ud800"] {
            assert!(outcome.stdout.contains(part), "{part}: {outcome}");
        }
    }
    sandbox.ok(&["claim", &id]);
    assert!(fs::read_to_string(&path).unwrap().contains("123456789012345678901234567890"));
}

#[test]
fn values_that_readers_refuse_hide_nothing() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    sandbox.submit("l", &[]);
    let digits = "7".repeat(5000);
    let file = sandbox.task_dir(&id).join("task.json");
    let task = fs::read_to_string(&file).unwrap();
    let theirs = format!("\"theirs\": [{digits}, 1e999, NaN, -Infinity, \"\\ud800\", 1.10]");
    let task = task.replacen('{', &format!("{{\n{theirs},"), 1);
    fs::write(&file, task.replace("\"metadata\": {}", "\"metadata\": {\"n\": NaN}")).unwrap();
    let expected = serde_json::json!([digits, "1e+999", "NaN", "-Infinity", "\\ud800"]);
    for args in [
        &["list"][..],
        &["show", &id],
        &["status", "--all"],
        &["events", &id],
        &["event", &id, "--type", "note", "--message", "m"],
    ] {
        let outcome = sandbox.run(&[&["--json"], args].concat());
        assert_eq!(outcome.code, 0, "{outcome}");
        // The reader refuses names of numbers and halves of pairs; of the others only text is left.
        let unquoted = |value: &str| outcome.stdout.contains(&format!(" {value}"));
        assert!(outcome.json().is_object() && !unquoted(&digits) && !unquoted("1e"), "{args:?}");
    }
    let listed = sandbox.json(&["list"]);
    assert_eq!(listed["count"], 2);
    let task = listed["tasks"].as_array().unwrap().iter().find(|task| task["id"] == id.as_str()).unwrap();
    let theirs = task["theirs"].as_array().unwrap();
    assert_eq!(serde_json::json!(theirs[..5]), expected);
    assert_eq!(theirs[5].to_string(), "1.10");
    let export = sandbox.ok(&["export"]);
    assert!(export.contains(&digits) && export.contains("NaN"), "an export carries it as it is");
}
