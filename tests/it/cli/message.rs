//! `tell`, what workers get of messages, and what other commands tell of them.

use crate::testkit::sandbox::{Running, Sandbox, text};
use crate::testkit::wait::eventually;

/// A task that is held by `worker`: its id and its token.
fn held(sandbox: &Sandbox) -> (String, String) {
    sandbox.submit("l", &[]);
    sandbox.claim("l")
}

/// Who has read each message of a task.
fn readers(sandbox: &Sandbox, id: &str) -> Vec<Option<String>> {
    let task = sandbox.peek(&["status", id])["task"].clone();
    let messages = task["messages"].as_array().cloned().unwrap_or_default();
    messages.iter().map(|message| message["read_by"].as_str().map(str::to_string)).collect()
}

fn worker() -> Option<String> {
    Some("worker".to_string())
}

#[test]
fn the_holder_gets_each_message_once_with_what_it_does_next() {
    let sandbox = Sandbox::new();
    let (id, token) = held(&sandbox);
    let told = sandbox.run(&["tell", &id, "Use the new one.\nNot the old.", "--by", "eve"]);
    assert_eq!(told.stdout, format!("task_id={id}\nmessage=1\ndelivery=holder\nread=no\n"));
    assert!(told.stderr.contains("worker reads it with its next renewal, event or question"), "{told}");
    // What does not prove the claim reads nothing.
    let noted = sandbox.run(&["event", &id, "--message", "from outside"]);
    assert!(!noted.stderr.contains("message"), "{noted}");
    assert_eq!(readers(&sandbox, &id), [None]);

    let renewed = sandbox.run(&["renew", &id, "--claim-token", &token, "--quiet"]);
    assert_eq!(renewed.stdout.trim(), id);
    let lines: Vec<&str> = renewed.stderr.lines().collect();
    assert!(lines[0].starts_with(&format!("lanes: message 1 to {id} from eve (")), "{renewed}");
    assert_eq!(lines[1..], ["  Use the new one.", "  Not the old."], "{renewed}");
    assert_eq!(readers(&sandbox, &id), [worker()]);
    assert_eq!(sandbox.run(&["renew", &id, "--claim-token", &token]).stderr, "");

    let told = sandbox.json(&["tell", &id, "And the tests."]);
    assert_eq!((text(&told["status"]), told["message"]["n"].as_u64()), ("told".into(), Some(2)));
    assert!(told["message"]["read_at"].is_null(), "{told}");
    assert_eq!((text(&told["delivery"]), text(&told["state"])), ("holder".into(), "claimed".into()));
    let noted = sandbox.json(&["event", &id, "--message", "half way", "--claim-token", &token]);
    assert_eq!(text(&noted["messages"][0]["message"]), "And the tests.");
    assert_eq!(readers(&sandbox, &id), [worker(), worker()]);
    let noted = sandbox.json(&["event", &id, "--message", "more", "--claim-token", &token]);
    assert!(noted.get("messages").is_none(), "{noted}");

    let shown = sandbox.ok(&["show", &id]);
    assert!(shown.contains("message 1 from eve") && shown.contains("read by worker at"), "{shown}");
    assert!(shown.contains("message 2 from") && shown.contains("message 2 read by worker"), "{shown}");
    sandbox.ok(&["respond", &id, "--claim-token", &token, "--body", "done"]);
    sandbox
        .run(&["tell", &id, "One more thing."])
        .refused(1, "task is completed; submit a task for it, which gets this one's answer with `lanes submit --after-ended");
    assert_eq!(sandbox.run(&["fsck"]).code, 0);
}

#[test]
fn a_claim_gets_all_messages() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let told = sandbox.run(&["tell", &id, "first"]);
    assert!(told.stdout.contains("delivery=claim") && told.stderr.contains("the next claim"), "{told}");
    let claim = sandbox.run(&["claim", "--lane", "l", "--owner", "ada"]);
    assert!(claim.stdout.contains("messages=1") && claim.stderr.contains("\n  first"), "{claim}");
    assert_eq!(readers(&sandbox, &id), [Some("ada".to_string())]);
    let (_, token) = claim.stdout.split_once("claim_token=").unwrap();
    let token = token.lines().next().unwrap();
    sandbox.ok(&["tell", &id, "second"]);
    sandbox.ok(&["release", &id, "--claim-token", token]);
    let claim = sandbox.json(&["claim", &id, "--owner", "bob"]);
    let texts: Vec<String> =
        claim["messages"].as_array().unwrap().iter().map(|message| text(&message["message"])).collect();
    assert_eq!(texts, ["first", "second"]);
    assert_eq!(readers(&sandbox, &id), [Some("ada".to_string()), Some("bob".to_string())]);
}

#[test]
fn a_question_and_its_answer_come_with_messages() {
    let sandbox = Sandbox::new();
    let (id, token) = held(&sandbox);
    sandbox.ok(&["tell", &id, "first"]);
    let waiting = [
        "ask",
        &id,
        "--claim-token",
        &token,
        "--question",
        "Which one?",
        "--wait",
        "--timeout",
        "60",
        "--json",
    ];
    let asking = Running::start(sandbox.command(&waiting));
    eventually("the question is there", || sandbox.peek(&["status", &id])["task"]["questions"].is_array());
    sandbox.ok(&["tell", &id, "second"]);
    sandbox.ok(&["answer", &id, "--body", "This one."]);
    let asked = asking.finish(&sandbox);
    assert_eq!(asked.code, 0, "{asked}");
    let reply: serde_json::Value = serde_json::from_str(&asked.stdout).unwrap();
    assert_eq!(
        (text(&reply["answer"]), reply["messages"].as_array().unwrap().len()),
        ("This one.".into(), 2)
    );
    assert_eq!(readers(&sandbox, &id), [worker(), worker()]);
    // A question that gives the claim up leaves them to the next worker.
    sandbox.ok(&["tell", &id, "third"]);
    let asked = sandbox.run(&["ask", &id, "--claim-token", &token, "--question", "And now?"]);
    assert!(asked.stderr.contains("\n  third"), "{asked}");
    assert_eq!(readers(&sandbox, &id), [worker(), worker(), None]);
}

#[test]
fn a_wait_ends_when_a_message_is_read() {
    let sandbox = Sandbox::new();
    let (id, token) = held(&sandbox);
    sandbox.run(&["wait", &id, "--read", "1"]).refused(1, "has no message 1; `lanes show");
    sandbox.ok(&["tell", &id, "first"]);
    let waited = sandbox.run(&["wait", &id, "--read", "1", "--timeout", "0"]);
    assert_eq!(waited.code, 2, "{waited}");
    assert!(waited.stderr.contains("nobody has read message 1 of"), "{waited}");
    let waiting = Running::start(sandbox.command(&["wait", &id, "--read", "1", "--timeout", "60"]));
    sandbox.ok(&["renew", &id, "--claim-token", &token]);
    let waited = waiting.finish(&sandbox);
    assert_eq!(waited.code, 0, "{waited}");
    assert!(waited.stdout.contains("message=1\nread_by=worker\nread_at=20"), "{waited}");
    let waited = sandbox.json(&["wait", &id, "--read", "1"]);
    assert_eq!(
        (text(&waited["status"]), text(&waited["message"]["read_by"])),
        ("read".into(), "worker".into())
    );
    sandbox.ok(&["tell", &id, "second"]);
    sandbox.ok(&["cancel", &id]);
    sandbox.run(&["wait", &id, "--read", "2"]).refused(1, "is failed, and nobody has read message 2");
    for more in [&["--any"][..], &["--body"], &["--or-question"], &["--group", "g"], &["--lane", "l"]] {
        assert_eq!(sandbox.run(&[&["wait", &id, "--read", "1"], more].concat()).code, 2, "{more:?}");
    }
    sandbox.run(&["wait", &id, &id, "--read", "1"]).refused(2, "--read is about one task");
}

#[test]
fn a_group_is_told_and_what_is_wrong_is_refused() {
    let sandbox = Sandbox::new();
    let [first, second] = ["a", "b"].map(|lane| sandbox.submit(lane, &["--group", "night"]));
    let ended = sandbox.submit("c", &["--group", "night"]);
    sandbox.ok(&["cancel", &ended]);
    let told = sandbox.ok(&["tell", "--group", "night", "Finish soon."]);
    let expected = |id: &str| format!("task_id={id} message=1 delivery=claim read=no");
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    let mut wanted = [expected(&first), expected(&second)];
    wanted.sort_unstable();
    assert_eq!(lines, wanted);
    assert_eq!(sandbox.json(&["tell", "--group", "night", "Now."])["count"], 2);
    sandbox.run(&["tell", "--group", "nobody", "x"]).refused(1, "there is no task in group 'nobody'");
    sandbox.run(&["tell", "--group", "night", &first, "x"]).refused(2, "give no id with it");

    assert_eq!(sandbox.run_with(&["tell", &first, "-"], "from a pipe\n").code, 0);
    sandbox.write("note.md", "from a file\n");
    sandbox.ok(&["tell", &first, "--file", sandbox.path("note.md").to_str().unwrap()]);
    let task = sandbox.peek(&["status", &first])["task"].clone();
    assert_eq!(text(&task["messages"][2]["message"]), "from a pipe");
    assert_eq!(text(&task["messages"][3]["message"]), "from a file");
    sandbox.run(&["tell", &first]).refused(2, "no message was given; give TEXT");
    sandbox.run(&["tell", &first, "x", "--file", "note.md"]).refused(2, "both TEXT and --file");
    sandbox.run(&["tell", &first, " "]).refused(2, "the message is empty");
    sandbox.run(&["tell", &first, &"x".repeat(16 * 1024 + 1)]).refused(2, "the message is 16385 bytes long");
    assert_eq!(sandbox.run(&["tell"]).code, 2);
    for _ in 4..100 {
        sandbox.ok(&["tell", &first, "x", "--quiet"]);
    }
    sandbox.run(&["tell", &first, "x"]).refused(1, "has 100 messages, and no task may have more than that");
}

#[test]
fn messages_are_read_without_a_renewal_too() {
    let sandbox = Sandbox::new();
    let (id, token) = held(&sandbox);
    let messages = ["messages", &id, "--claim-token", &token];
    assert_eq!(sandbox.ok(&messages), "");
    assert_eq!(sandbox.ok(&[&messages[..], &["--hook"]].concat()), "");
    sandbox.ok(&["tell", &id, "first", "--by", "eve"]);
    sandbox.run(&["messages", &id, "--claim-token", "other"]).refused(1, "cannot read the messages to");
    assert_eq!(readers(&sandbox, &id), [None]);
    let before = sandbox.peek(&["status", &id])["task"]["lease_expires_at"].clone();
    let printed = sandbox.ok(&messages);
    assert!(printed.starts_with("message 1 from eve (") && printed.ends_with("):\nfirst"), "{printed}");
    let task = sandbox.peek(&["status", &id])["task"].clone();
    assert_eq!((readers(&sandbox, &id), &task["lease_expires_at"]), (vec![worker()], &before));
    sandbox.ok(&["tell", &id, "second"]);
    let printed = sandbox.json(&messages);
    assert_eq!(
        (text(&printed["status"]), text(&printed["messages"][0]["message"])),
        ("ok".into(), "second".into())
    );
    assert_eq!(sandbox.json(&messages)["messages"].as_array().unwrap().len(), 0);
    sandbox.ok(&["cancel", &id]);
    sandbox.run(&messages).refused(1, "it was cancelled");
}

#[test]
fn the_text_of_a_message_has_one_short_flag() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    sandbox.ok(&["tell", &id, "-m", "first"]);
    sandbox.ok(&["tell", &id, "--message", "- second"]);
    sandbox.run(&["tell", &id, "more", "-m", "more"]).refused(2, "TEXT");
    let (_, token) = sandbox.claim("l");
    sandbox.ok(&["event", &id, "-m", "half way"]);
    sandbox.ok(&["ask", &id, "--claim-token", &token, "-m", "Which one?"]);
    sandbox.ok(&["answer", &id, "-m", "This one."]);
    let (_, token) = sandbox.claim("l");
    sandbox.ok(&["respond", &id, "--claim-token", &token, "-m", "done"]);
    let shown = sandbox.ok(&["show", &id]);
    for text in ["first", "- second", "half way", "Which one?", "This one.", "done"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    sandbox.submit("l", &["--group", "g"]);
    sandbox.ok(&["tell", "--group", "g", "-m", "to all"]);
    assert!(sandbox.ok(&["claim", "--lane", "l"]).contains("messages=1"));
}
