//! `ask` and `answer`, and what other commands tell of questions.

use insta::assert_snapshot;

use crate::testkit::sandbox::{Outcome, Running, Sandbox, text, words};
use crate::testkit::wait::eventually;

/// A task that is held: its id and its token.
fn held(sandbox: &Sandbox) -> (String, String) {
    sandbox.submit("l", &[]);
    sandbox.claim("l")
}

fn ask(sandbox: &Sandbox, more: &[&str]) -> (String, String) {
    let (id, token) = held(sandbox);
    let asked = ["ask", &id, "--claim-token", &token, "--question", "Which one?"];
    sandbox.ok(&[&asked[..], more].concat());
    (id, token)
}

fn state(sandbox: &Sandbox, id: &str) -> String {
    text(&sandbox.peek(&["status", id])["task"]["state"])
}

#[test]
fn a_question_frees_the_worker_and_its_answer_queues_the_task_again() {
    let sandbox = Sandbox::new();
    let (id, token) = ask(&sandbox, &["--choice", "a", "--choice", "b"]);
    let younger = sandbox.submit("l", &[]);
    let task = sandbox.peek(&["status", &id])["task"].clone();
    assert_eq!((text(&task["state"]), task["attempt"].as_u64()), ("input_required".into(), Some(0)));
    assert!(task["claim_token"].is_null());
    sandbox.run(&["claim", &id]).refused(1, "its question 1 waits for an answer; `lanes answer");
    for words in [&["renew", &id, "--claim-token", &token][..], &["release", &id, "--claim-token", &token]] {
        sandbox.run(words).refused(1, "task is input_required; once its question is answered");
    }
    let late = ["respond", &id, "--claim-token", &token, "--body", "x"];
    sandbox.run(&late).refused(1, "the task is input_required; once its question is answered");
    let next = sandbox.ok(&["next", "--lane", "l", "--timeout", "0"]);
    assert!(next.contains(&younger) && !next.contains(&id), "{next}");
    let why = sandbox.ok(&["why", &id]);
    assert!(
        why.starts_with("waiting for an answer to question 1 of worker: Which one?; `lanes answer"),
        "{why}"
    );
    assert_eq!(sandbox.ok(&["list", "--state", "input_required"]).lines().count(), 2);
    assert!(sandbox.ok(&["status"]).contains("1 waiting for input"));
    assert!(sandbox.ok(&["status", "--all"]).contains("1 input_required"));

    assert_eq!(sandbox.ok(&["answer", &id, "--choice", "b", "--by", "eve"]), id);
    assert_eq!(state(&sandbox, &id), "queued");
    // In its old place, ahead of the younger one, and with the answer.
    let claim = sandbox.json(&["claim", "--lane", "l"]);
    assert_eq!(text(&claim["task_id"]), id);
    let question = &claim["task"]["questions"][0];
    assert_eq!((text(&question["answer"]), text(&question["answered_by"])), ("b".into(), "eve".into()));
    let token = text(&claim["claim_token"]);
    sandbox.ok(&["respond", &id, "--claim-token", &token, "--body", "done"]);
    let shown = sandbox.ok(&["show", &id]);
    assert!(shown.contains("question 1 of worker") && shown.contains("answered by eve"), "{shown}");
    assert_eq!(sandbox.run(&["fsck"]).code, 0);
}

#[test]
fn an_answer_is_given_once() {
    let sandbox = Sandbox::new();
    let (id, _) = ask(&sandbox, &["--choice", "a"]);
    sandbox
        .run(&["answer", &id, "--choice", "c"])
        .refused(1, "'c' is not a choice of question 1; choose 'a', or");
    sandbox
        .run(&["answer", &id, "--question", "2", "--body", "x"])
        .refused(1, "there is none with this number");
    sandbox.run(&["answer", &id, "--body", " "]).refused(2, "the answer is empty");
    sandbox.run(&["answer", &id, "--body", &"x".repeat(65 * 1024)]).refused(2, "at most 65536");
    assert_eq!(sandbox.run_with(&["answer", &id], "free text\n").code, 0);
    let again = sandbox.json(&["answer", &id, "--body", "free text"]);
    assert_eq!(again["changed"], false);
    sandbox.run(&["answer", &id, "--body", "other"]).refused(1, "question 1 of");
    sandbox.run(&["answer", &id, "--body", "other"]).refused(1, "tester answered it at");
    let silent = sandbox.submit("l", &[]);
    sandbox.run(&["answer", &silent, "--body", "x"]).refused(1, "it has none");
    let ended = sandbox.answered("m", "completed", "x");
    sandbox.run(&["answer", &ended, "--body", "x"]).refused(1, "task is completed");
}

#[test]
fn questions_keep_to_their_limits() {
    let sandbox = Sandbox::new();
    let (id, token) = held(&sandbox);
    let ends_with = |code: i32, more: &[&str], words: &str| {
        let line = ["ask", &id, "--claim-token", &token];
        sandbox.run(&[&line[..], more].concat()).refused(code, words);
    };
    let refused = |more: &[&str], words: &str| ends_with(2, more, words);
    refused(&["--question", ""], "the question is empty");
    refused(&["--question", &"x".repeat(16 * 1024 + 1)], "the question is 16385 bytes long");
    refused(&["--question", "q", "--choice", "a\nb"], "a choice");
    refused(&["--question", "q", "--choice", "a", "--choice", "a"], "the choice 'a' is given twice");
    let many: Vec<String> = (0..21).map(|n| format!("--choice={n}")).collect();
    let many: Vec<&str> = ["--question", "q"].into_iter().chain(many.iter().map(String::as_str)).collect();
    refused(&many, "21 choices are too many");
    refused(
        &["--question", "q", "--choice", "a", "--default", "c", "--expires", "1h"],
        "the default 'c' is none of the choices",
    );
    refused(&["--question", "q", "--default", "c", "--expires", "0"], "out of range");
    let line = ["ask", &id, "--claim-token", &token, "--question", "q"];
    assert_eq!(sandbox.run(&[&line[..], &["--default", "c"]].concat()).code, 2);
    assert_eq!(sandbox.run(&[&line[..], &["--expires", "1h"]].concat()).code, 2);
    assert_eq!(sandbox.run(&[&line[..], &["--timeout", "1"]].concat()).code, 2);
    sandbox.run(&["ask", &id, "--claim-token", "other", "--question", "q"]).refused(1, "not the current one");
    assert_eq!(state(&sandbox, &id), "claimed");
    for _ in 0..100 {
        let asked = sandbox.run(&[&line[..], &["--wait", "--timeout", "0", "--quiet"]].concat());
        assert_eq!(asked.code, 2, "{asked}");
    }
    ends_with(1, &["--question", "q"], "has 100 questions, and no task may have more than 100");
    sandbox.run(&["answer", &id, "--body", "x"]).refused(1, "99 and 100 are open; name one with --question");
}

#[test]
fn a_default_counts_when_its_time_has_come() {
    let sandbox = Sandbox::new();
    let (id, _) = ask(&sandbox, &["--default", "the first", "--expires", "1h"]);
    assert_eq!(sandbox.run(&["claim", "--lane", "l"]).code, 4);
    sandbox.pass(3600);
    sandbox.run(&["answer", &id, "--body", "late"]).refused(1, "its default has counted since");
    let claim = sandbox.json(&["claim", "--lane", "l"]);
    assert_eq!(text(&claim["task_id"]), id);
    let question = &claim["task"]["questions"][0];
    assert_eq!(text(&question["answer"]), "the first");
    assert!(question.get("answered_by").is_none(), "{question}");
    // A wait for the task writes it too.
    let (id, _) = ask(&sandbox, &["--default", "yes", "--expires", "60"]);
    sandbox.pass(60);
    assert_eq!(sandbox.run(&["wait", &id, "--timeout", "0", "-q"]).code, 2);
    assert_eq!(state(&sandbox, &id), "queued");
}

#[test]
fn a_worker_that_waits_keeps_its_claim_and_gets_the_answer() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["submit", "--lane", "l", "--prompt", "x"]);
    let live = |line: &[&str]| sandbox.outcome(sandbox.live_command(line).output().unwrap());
    let claim = live(&["claim", &id, "--json", "--lease-seconds", "6"]).json();
    let token = text(&claim["claim_token"]);
    let asking = ["ask", &id, "--claim-token", &token, "--question", "Which one?", "--wait"];
    let running = Running::start(sandbox.live_command(&asking));
    eventually("the question is asked", || sandbox.peek(&["status", &id])["task"]["questions"][0]["n"] == 1);
    // It renews.
    eventually("the lease is renewed", || live(&["show", &id]).stdout.contains("renewed"));
    assert_eq!(state(&sandbox, &id), "claimed");
    assert_eq!(live(&["answer", &id, "--body", "the second"]).code, 0);
    let ended = running.finish(&sandbox);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "the second\n"), "{ended}");
    assert_eq!(live(&["respond", &id, "--claim-token", &token, "--body", "done"]).code, 0);
}

#[test]
fn a_lost_claim_leaves_the_question_to_be_answered_first() {
    let sandbox = Sandbox::new();
    let (id, token) = held(&sandbox);
    let line = ["ask", &id, "--claim-token", &token, "--question", "q", "--wait", "--timeout", "0"];
    assert_eq!(sandbox.run(&line).code, 2);
    sandbox.pass(3 * 3600);
    for words in ["next --lane l --timeout 0", "claim --lane l"] {
        let outcome = sandbox.run(&crate::testkit::sandbox::words(words));
        assert!(!outcome.stdout.contains(&id), "{outcome}");
    }
    assert_eq!(state(&sandbox, &id), "input_required");
    sandbox.ok(&["answer", &id, "--body", "x"]);
    assert_eq!(sandbox.claim("l").0, id);
}

#[test]
fn waits_tell_of_a_question_and_end_with_it_if_that_is_wanted() {
    let sandbox = Sandbox::new();
    let (id, _) = ask(&sandbox, &["--choice", "a"]);
    let waited = sandbox.run(&["wait", &id, "--timeout", "0", "--heartbeat-seconds", "0"]);
    assert_eq!(waited.code, 2);
    assert!(waited.stderr.contains("asks: Which one?; `lanes answer"), "{waited}");
    assert_snapshot!(sandbox.run(&["wait", &id, "--or-question", "-q"]), @r"
    Which one?
    - a
    --- exit 5
    ");
    let waited: Outcome = sandbox.run(&["wait", &id, "--or-question", "--json"]);
    assert_eq!((waited.code, waited.json()["question"]["n"].as_u64()), (5, Some(1)), "{waited}");
    let called = sandbox.run(&words("call --lane m --prompt x --or-question --timeout 0 -q"));
    assert_eq!(called.code, 2, "{called}");
}

#[test]
fn a_task_that_asks_can_be_cancelled_moved_answered_directly_and_carried_elsewhere() {
    let sandbox = Sandbox::new();
    let (id, _) = ask(&sandbox, &[]);
    sandbox.ok(&["move", &id, "--to", "other"]);
    assert_eq!(state(&sandbox, &id), "input_required");
    let exported = sandbox.command(&["export"]).output().unwrap().stdout;
    sandbox.write("all.jsonl", exported);
    let elsewhere = |line: &[&str]| sandbox.run(&[&["--store", "elsewhere"], line].concat());
    assert_eq!(elsewhere(&["import", "all.jsonl"]).code, 0);
    assert_eq!(elsewhere(&["claim", "--lane", "other"]).code, 4);
    assert_eq!(elsewhere(&["answer", &id, "--body", "x"]).code, 0);
    assert_eq!(elsewhere(&["claim", "--lane", "other"]).code, 0);
    sandbox.ok(&["respond", &id, "--body", "by hand"]);
    let (id, _) = ask(&sandbox, &[]);
    sandbox.ok(&["cancel", &id]);
    assert_eq!(state(&sandbox, &id), "failed");
    assert_eq!(sandbox.run(&["fsck"]).code, 0);
}

#[test]
fn what_another_implementation_makes_of_a_task_that_asks_does_not_lose_the_question() {
    let sandbox = Sandbox::new();
    let (id, _) = ask(&sandbox, &[]);
    let file = sandbox.task_dir(&id).join("task.json");
    let json = std::fs::read_to_string(&file).unwrap();
    // It was claimed by its id, and released.
    std::fs::write(&file, json.replace("\"input_required\"", "\"queued\"")).unwrap();
    assert_eq!(state(&sandbox, &id), "input_required");
    sandbox.run(&["claim", &id]).refused(1, "its question 1 waits for an answer");
    assert_eq!(sandbox.run(&["claim", "--lane", "l"]).code, 4);
    assert_eq!(sandbox.run(&["fsck"]).code, 0);
    // A question that is none makes the task unusable, and no other one.
    std::fs::write(&file, json.replace("\"n\": 1", "\"n\": \"one\"")).unwrap();
    sandbox.run(&["show", &id]).refused(1, "'questions' must be a list of questions");
    let other = sandbox.submit("l", &[]);
    assert_eq!(sandbox.claim("l").0, other);
}

#[test]
fn the_inbox_lists_what_waits_for_a_person() {
    let sandbox = Sandbox::new();
    assert!(sandbox.run(&["inbox"]).stderr.contains("nothing waits for a person"));
    let (id, _) = ask(&sandbox, &["--choice", "a"]);
    sandbox.submit("m", &["--max-attempts", "1"]);
    let (dead, token) = sandbox.claim("m");
    sandbox.ok(&["release", &dead, "--claim-token", &token, "--spent", "--reason", "no network"]);
    let all = sandbox.json(&["inbox"]);
    assert_eq!(
        (&all["count"], text(&all["items"][0]["task_id"]), text(&all["items"][0]["kind"])),
        (&2.into(), id.clone(), "question".into())
    );
    assert_eq!(
        (text(&all["items"][1]["task_id"]), text(&all["items"][1]["kind"])),
        (dead.clone(), "dead".into())
    );
    let table = sandbox.ok(&["inbox", "--lane", "l"]);
    assert!(table.contains("Which one?") && !table.contains(&dead), "{table}");
    sandbox.ok(&["answer", &id, "--choice", "a"]);
    sandbox.ok(&["retry", &dead]);
    assert_eq!(sandbox.json(&["inbox"])["count"], 0);
}

#[test]
fn failed_tasks_are_named_where_only_dead_ones_are_listed() {
    let sandbox = Sandbox::new();
    let note = |args: &[&str]| sandbox.run(args).stderr;
    assert_eq!(note(&["inbox"]), "lanes: nothing waits for a person\n");
    let id = sandbox.answered("work", "failed", "broken");
    sandbox.answered("other", "failed", "broken");
    let cancelled = sandbox.submit("work", &[]);
    sandbox.ok(&["cancel", &cancelled]);
    let of_lane = "1 task has failed: `lanes list --lane work --state failed` shows it, `lanes retry ID` submits one again\n";
    assert_eq!(note(&["inbox", "--lane", "work"]), format!("lanes: nothing waits for a person; {of_lane}"));
    assert_eq!(note(&["redrive", "--lane", "work"]), format!("lanes: no dead tasks to redrive; {of_lane}"));
    assert!(note(&["inbox"]).contains("2 tasks have failed: `lanes list --state failed` shows them"));
    sandbox.ok(&["retry", &id]);
    assert_eq!(note(&["redrive", "--lane", "work"]), "lanes: no dead tasks to redrive\n");
}
