//! Files of a task whose store is on another machine: requests travel by their content, answers are written here.

use super::{Laptop, stderr, stdout};
use crate::testkit::server::Server;

#[test]
fn a_request_travels_by_its_content_and_the_answer_is_written_here() {
    let server = Server::with_token();
    let (asker, worker) = (Laptop::of(&server), Laptop::of(&server));
    std::fs::write(asker.work().join("plan.md"), "the plan\n").unwrap();
    let submit = [
        "submit",
        "--lane",
        "l",
        "--request-from",
        "plan.md",
        "--prompt",
        "be brief",
        "--response-to",
        "answer.md",
    ];
    let id = asker.lanes(&submit);
    let claimed = worker.lanes(&["claim", &id, "--with-prompt"]);
    let value =
        |key: &str| claimed.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    assert!(claimed.contains("be brief"), "{claimed}");
    assert!(value("request_path").starts_with(&*worker.home().to_string_lossy()), "{claimed}");
    assert_eq!(std::fs::read_to_string(value("request_path")).unwrap(), "the plan\n");
    worker.lanes(&["respond", &id, "--claim-token", value("claim_token"), "--body", "fine"]);
    // Only the machine that has asked for a file gets one.
    assert_eq!(worker.lanes(&["wait", &id]), "fine");
    std::fs::create_dir(asker.work().join("handoff")).unwrap();
    std::fs::write(asker.work().join("handoff/handoff.yaml"), "workspace_id: w\n").unwrap();
    assert_eq!(asker.lanes(&["wait", &id]), id);
    assert_eq!(std::fs::read_to_string(asker.work().join("answer.md")).unwrap(), "fine");
    assert!(!worker.work().join("answer.md").exists() && !server.root().join("answer.md").exists());
}

#[test]
fn a_long_prompt_arrives_whole() {
    let server = Server::with_token();
    let laptop = Laptop::of(&server);
    let text = "0123456789".repeat(100_000);
    std::fs::write(laptop.work().join("long"), &text).unwrap();
    let id = laptop.lanes(&["submit", "--lane", "l", "--prompt-file", "long"]);
    let claimed = laptop.lanes(&["claim", &id]);
    let path = claimed.lines().find_map(|line| line.strip_prefix("request_path=")).unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), text);
}

#[test]
fn what_cannot_be_sent_is_refused_in_one_line_and_nothing_is_submitted() {
    let server = Server::with_token();
    let laptop = Laptop::of(&server);
    std::fs::write(laptop.work().join("large"), "x".repeat(9 << 20)).unwrap();
    std::fs::write(laptop.work().join("binary"), [0xff, 0xfe]).unwrap();
    std::fs::write(laptop.work().join("small"), "x").unwrap();
    for (args, words) in [
        (&["--request-from", "large"][..], "is larger than 8 MiB"),
        (&["--request-from", "binary"], "is not UTF-8 text"),
        (&["--prompt", "x", "--supporting", "small"], "supporting files cannot be sent"),
    ] {
        let output = laptop.run(&[&["submit", "--lane", "l"], args].concat());
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(
            stderr(&output).contains(words) && stderr(&output).lines().count() == 1,
            "{}",
            stderr(&output)
        );
    }
    let id = laptop.lanes(&["submit", "--lane", "l", "--prompt", "x"]);
    let output = laptop.run(&["respond", &id, "--file", "large"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("8 MiB"), "{}", stderr(&output));
    assert_eq!(laptop.lanes(&["list", "--json"]).matches("\"id\"").count(), 1);
}

#[test]
fn many_tasks_are_submitted_and_listed_in_pages() {
    let server = Server::with_token();
    let laptop = Laptop::of(&server);
    let lines: String = (0..450)
        .map(|n| format!("{{\"lane\": \"l\", \"prompt\": \"task {n}\", \"priority\": {}}}\n", n % 3))
        .collect();
    std::fs::write(laptop.work().join("batch.jsonl"), lines).unwrap();
    laptop.lanes(&["submit", "--batch", "batch.jsonl"]);
    let listed = laptop.run(&["list", "--limit", "1000", "--json"]);
    assert_eq!(stdout(&listed).matches("\"id\"").count(), 450, "{}", stderr(&listed));
}
