//! Tools for a chat that works on the queue.

use serde_json::{Value, json};

use super::client::{Client, Reply};
use crate::testkit::sandbox::Sandbox;
use crate::testkit::wait::{eventually, until_a_lane_is_waited_for};

fn client(sandbox: &Sandbox) -> Client {
    Client::connect_as("claude-code", sandbox.live_command(&["mcp"]))
}

/// The token in the reply to a claim.
#[track_caller]
fn token(reply: &Reply) -> String {
    let word = reply.text.split_whitespace().find_map(|word| word.strip_prefix("token="));
    word.unwrap_or_else(|| panic!("no token in {reply:?}")).to_string()
}

#[test]
fn a_chat_claims_renews_notes_and_answers() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.md", "the plan");
    let mut client = client(&sandbox);
    let submitted = sandbox.ok(&[
        "submit",
        "--lane",
        "review",
        "--prompt",
        "Find what is wrong.",
        "--request-from",
        "plan.md",
        "--metadata",
        "goal=quality",
    ]);
    let claim = client.call("claim_next", json!({"lane": "review", "wait": 0}));
    let (id, token) = (claim.id(), token(&claim));
    assert_eq!(id, submitted);
    assert!(claim.text.starts_with(&format!("claimed {id} lane=review attempt=1 token=")), "{claim:?}");
    assert!(claim.text.contains("lease=1800 s until "), "{claim:?}");
    let request = claim.text.split_once("\n\n").unwrap().1;
    let plan = sandbox.path("plan.md");
    assert_eq!(request, format!("goal: quality\nrequest file: {}\n\nFind what is wrong.", plan.display()));
    let task = sandbox.peek(&["status", &id])["task"].clone();
    assert_eq!((&task["state"], &task["claim_owner"]), (&json!("claimed"), &json!("claude-code")));
    let report = |more: Value| {
        let mut arguments = json!({"id": id, "token": token});
        arguments.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        arguments
    };
    let renewed = client.call("report", report(json!({"do": "renew", "seconds": 60}))).fine();
    assert!(renewed.starts_with(&format!("renewed {id} until ")), "{renewed}");
    client.call("report", report(json!({"do": "progress", "text": format!("with {token}")}))).fine();
    let events = client.call("result", json!({"id": id, "part": "events"})).fine();
    assert!(events.contains("progress: with …") && !events.contains(&token), "{events}");
    let noted = client.call("report", report(json!({"do": "progress", "text": "half way"}))).fine();
    assert_eq!(noted, format!("noted for {id}"));
    let running = client.call("wait", json!({"ids": [&id], "seconds": 0})).fine();
    assert!(running.starts_with(&format!("running {id} lane=review ")), "{running}");
    assert!(running.contains(", last: \"half way\". Continue with "), "{running}");
    let mut stale = report(json!({"do": "renew"}));
    stale["token"] = json!("0123456789abcdef0123456789abcdef");
    client.call("report", stale).refused("refused", "claude-code has held the task");
    sandbox.submit("review", &[]);
    let answer =
        json!({"id": id, "token": token, "text": "Nothing.", "verdict": "accept", "outcome": "done"});
    let answered = client.call("respond", answer.clone()).fine();
    assert_eq!(answered, format!("answered {id} status=completed; 1 more task waits in lane review"));
    assert_eq!(client.call("respond", answer).fine(), answered, "the same answer twice is one");
    let other = json!({"id": id, "token": token, "text": "Everything.", "failed": true});
    client.call("respond", other).refused("refused", "completed");
    let shown = sandbox.peek(&["show", &id])["response"].clone();
    assert_eq!((&shown["body"], &shown["verdict"]), (&json!("Nothing."), &json!("accept")));
    assert_eq!((&shown["reviewer"], &shown["metadata"]["outcome"]), (&json!("claude-code"), &json!("done")));
    let seen = client.call("wait", json!({"ids": [id], "seconds": 0})).fine();
    assert!(seen.contains(" outcome=done ") && !seen.contains(&token), "{seen}");
}

#[test]
fn a_claim_waits_and_is_seen_to_wait() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let call = client.begin("claim_next", json!({"lane": "a", "wait": 50, "match": {"kind": ["x", "y"]}}));
    until_a_lane_is_waited_for(&sandbox.path("handoff/state"));
    eventually("the lane is served", || sandbox.peek(&["workers"])["workers"][0]["lanes"] == json!(["a"]));
    let other = sandbox.submit("a", &["--metadata", "kind=z"]);
    let id = sandbox.submit("a", &["--metadata", "kind=y"]);
    let claim = client.reply(call);
    assert_eq!(claim.id(), id);
    eventually("the wait is over", || sandbox.peek(&["workers"])["workers"] == json!([]));
    assert_eq!(sandbox.peek(&["status", &other])["task"]["state"], "queued");
}

#[test]
fn a_claim_that_is_given_back_or_taken_back_leaves_the_task_to_others() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let id = sandbox.submit("a", &[]);
    let claim = client.call("claim_next", json!({"lane": "a"}));
    let release = json!({"id": id, "token": token(&claim), "do": "release", "text": "not mine"});
    assert_eq!(client.call("report", release).fine(), format!("released {id}"));
    assert_eq!(sandbox.peek(&["status", &id])["task"]["state"], "queued");
    let call = client.begin("claim_next", json!({"lane": "b", "wait": 50}));
    eventually("the call waits", || sandbox.peek(&["workers"])["workers"][0]["lanes"] == json!(["b"]));
    client.take_back(call);
    eventually("the call is over", || sandbox.peek(&["workers"])["workers"] == json!([]));
    let task = sandbox.submit("b", &[]);
    let call = client.begin("claim_next", json!({"lane": "b", "wait": 0}));
    let claim = client.reply(call);
    assert_eq!(claim.id(), task, "nobody else has it");
    let token = token(&claim);
    // Some clients cancel calls that were answered, and work on the task.
    client.take_back(call);
    assert_eq!(client.call("claim_next", json!({"lane": "b", "wait": 0})).fine().lines().count(), 1);
    let answer = json!({"id": task, "token": token, "text": "done"});
    client.call("respond", answer).fine();
    assert_eq!(sandbox.peek(&["status", &task])["task"]["state"], "completed");
}

#[test]
fn a_paused_lane_is_named_as_the_reason() {
    let sandbox = Sandbox::new();
    sandbox.submit("a", &[]);
    sandbox.ok(&["pause", "a"]);
    let reply = client(&sandbox).call("claim_next", json!({"lane": "a", "wait": 0}));
    assert!(reply.text.starts_with("nothing to claim: lane a has been paused since "), "{reply:?}");
}

#[test]
fn an_answer_may_be_a_file_of_the_workspace_and_no_other() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    sandbox.submit("a", &[]);
    let claim = client.call("claim_next", json!({"lane": "a"}));
    let respond = |file: &str| json!({"id": claim.id(), "token": token(&claim), "file": file});
    sandbox.write(".env", "SECRET=1");
    sandbox.write("answer.md", "From a file.");
    sandbox.write("empty.md", " \n");
    std::os::unix::fs::symlink("/etc/passwd", sandbox.path("link")).unwrap();
    for (file, expected) in [
        ("/etc/passwd", "outside"),
        ("../x", "outside"),
        ("link", "outside"),
        (".env", "credentials"),
        ("handoff/state/tasks", ""),
        ("none.md", "does not exist"),
        ("empty.md", "the answer is empty"),
    ] {
        client.call("respond", respond(file)).refused("invalid", expected);
    }
    client.call("respond", respond("answer.md")).fine();
    assert_eq!(sandbox.peek(&["show", &claim.id()])["response"]["body"], "From a file.");
}

#[test]
fn old_tasks_are_removed_by_those_who_may() {
    let sandbox = Sandbox::new();
    let id = sandbox.answered("a", "completed", "x");
    let mut client = Client::connect(sandbox.live_command(&["mcp", "--tools", "admin"]));
    client.call("upkeep", json!({"do": "gc"})).refused("invalid", "'older_than_days'");
    client.call("upkeep", json!({"do": "gc", "older_than_days": 0})).refused("invalid", "0");
    let kept = client.call("upkeep", json!({"do": "gc", "older_than_days": 3650})).fine();
    assert_eq!(kept, "0 tasks removed, 0 kept");
    assert!(sandbox.task_dir(&id).is_dir());
}

#[test]
fn a_configuration_of_a_repository_opens_no_file_outside_of_it() {
    let sandbox = Sandbox::empty();
    std::fs::create_dir_all(sandbox.path("clone/.git")).unwrap();
    sandbox.write("clone/handoff/handoff.yaml", "workspace_id: w\nworkspace_root: ../..\n");
    sandbox.write("notes.md", "private");
    let mut command = sandbox.live_command(&["mcp"]);
    command.current_dir(sandbox.path("clone"));
    let mut client = Client::connect(command);
    let id = client.call("delegate", json!({"lane": "a", "task": "x", "wait": 0})).id();
    let claim = client.call("claim_next", json!({"lane": "a"}));
    let respond = json!({"id": id, "token": token(&claim), "file": "notes.md"});
    client.call("respond", respond).refused("config", "workspace_root leads out of the repository");
}

#[test]
fn a_prompt_makes_a_chat_a_worker() {
    let sandbox = Sandbox::empty();
    let mut client = Client::connect(sandbox.live_command(&["mcp", "--prompts"]));
    let list = client.ask("prompts/list", json!({}));
    let prompt = &list["result"]["prompts"][0];
    assert_eq!((&prompt["name"], &prompt["arguments"][0]["name"]), (&json!("worker"), &json!("lane")));
    let got = client.ask("prompts/get", json!({"name": "worker", "arguments": {"lane": "review"}}));
    let text = got["result"]["messages"][0]["content"]["text"].as_str().unwrap();
    assert!(text.starts_with("Take tasks of the lane review ") && !text.contains("{{"), "{text}");
    assert!(text.contains("do \"ask\"") && text.contains("A message comes once"), "{text}");
    for (params, expected) in [
        (json!({"name": "worker"}), "'lane' is missing"),
        (json!({"name": "worker", "arguments": {"lane": "../x"}}), "invalid lane name"),
        (json!({"name": "boss", "arguments": {"lane": "a"}}), "unknown prompt: boss"),
    ] {
        let answer = client.ask("prompts/get", params);
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(expected), "{answer}");
    }
}

#[test]
fn a_chat_asks_and_another_one_answers() {
    let sandbox = Sandbox::new();
    let (mut worker, mut caller) = (client(&sandbox), client(&sandbox));
    let id = sandbox.submit("a", &[]);
    let claim = worker.call("claim_next", json!({"lane": "a"}));
    let ask =
        json!({"id": id, "token": token(&claim), "do": "ask", "text": "Which one?", "choices": ["x", "y"]});
    let asked = worker.call("report", ask.clone()).fine();
    assert!(asked.contains("waits for the answer"), "{asked}");
    worker.call("report", ask).refused("refused", "input_required");
    let waited = caller.call("wait", json!({"ids": [&id], "seconds": 50})).fine();
    assert!(waited.starts_with(&format!("input_required {id} ")), "{waited}");
    assert!(waited.contains("Which one?") && waited.contains("Answer it with answer(id:"), "{waited}");
    assert!(caller.call("jobs", json!({"status": "input_required"})).fine().contains(&id));
    let answered = caller.call("answer", json!({"id": id, "text": "y"})).fine();
    assert_eq!(answered, format!("answered a question of {id}, which is queued now"));
    caller.call("answer", json!({"id": id, "text": "x"})).refused("refused", "answered it at");
    let claim = worker.call("claim_next", json!({"lane": "a"}));
    assert!(claim.text.contains("question 1: Which one?") && claim.text.contains("answer: y"), "{claim:?}");
}

#[test]
fn messages_come_with_the_claim_and_with_reports() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let id = sandbox.submit("a", &[]);
    let tell = |text: &str| json!({"id": id, "text": text, "tell": true});
    let told = client.call("answer", tell("Use the new one.")).fine();
    assert_eq!(told, format!("sent message 1 to {id}; a worker gets it with the next claim"));
    let claim = client.call("claim_next", json!({"lane": "a"}));
    assert!(claim.text.ends_with("message 1 from claude-code: Use the new one."), "{claim:?}");
    let token = token(&claim);
    let told = client.call("answer", tell("And the tests.")).fine();
    assert_eq!(told, format!("sent message 2 to {id}; its worker gets it with its next report"));
    let progress = json!({"id": id, "token": token, "do": "progress", "text": "half way"});
    let noted = client.call("report", progress.clone()).fine();
    assert_eq!(noted, format!("noted for {id}\n\nmessage 2 from claude-code: And the tests."));
    assert_eq!(client.call("report", progress).fine(), format!("noted for {id}"));
    let task = sandbox.peek(&["status", &id])["task"].clone();
    assert!(
        task["messages"].as_array().unwrap().iter().all(|message| message["read_by"] == "claude-code"),
        "{task}"
    );
    client.call("cancel", json!({"ids": [&id]})).fine();
    client.call("answer", tell("too late")).refused("refused", "it was cancelled");
}
