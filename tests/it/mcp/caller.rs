//! The tools with which a chat delegates work.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::client::Client;
use crate::testkit::sandbox::Sandbox;
use crate::testkit::wait::eventually;

fn client(sandbox: &Sandbox) -> Client {
    Client::connect(sandbox.live_command(&["mcp"]))
}

/// Claims a task of lane `a` and answers it.
fn answer(sandbox: &Sandbox, status: &str, body: &str) {
    let claim = sandbox.live_command(&["claim", "--lane", "a", "--json"]).output().unwrap();
    let claim: Value = serde_json::from_slice(&claim.stdout).unwrap();
    let (id, token) = (claim["task_id"].as_str().unwrap(), claim["claim_token"].as_str().unwrap());
    let respond = ["respond", id, "--claim-token", token, "--status", status, "--body", body];
    assert!(sandbox.live_command(&respond).output().unwrap().status.success());
}

#[test]
fn a_task_is_in_the_queue_before_its_answer_is_waited_for() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let arguments = json!({
        "lane": "a", "task": "Say yes.", "wait": 0, "caller": "me", "goal": "peace", "context": "war",
        "session_id": "s-9", "format": "json", "timeout": 60, "priority": 2,
    });
    let reply = client.call("delegate", arguments);
    assert!(reply.text.starts_with("queued ") && !reply.is_error, "{reply:?}");
    assert!(reply.text.contains("nobody serves lane a"), "{reply:?}");
    assert!(reply.text.ends_with(&format!("Continue with wait(ids:[\"{}\"]).", reply.id())), "{reply:?}");
    let task = sandbox.peek(&["status", &reply.id()])["task"].clone();
    let metadata = &task["metadata"];
    for (key, value) in [("caller", "me"), ("goal", "peace"), ("context", "war"), ("session_id", "s-9")] {
        assert_eq!(metadata[key], value);
    }
    assert_eq!(metadata["response_format"], "json");
    assert_eq!((&task["prompt"], &task["priority"]), (&json!("Say yes."), &json!(2)));
    assert_eq!((&task["timeout_seconds"], &task["source_agent"]), (&json!(60.0), &json!("mcp")));
}

#[test]
fn an_answer_wakes_the_call_that_waits_for_it() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let call = client.begin("delegate", json!({"lane": "a", "task": "x", "wait": 50}));
    eventually("the task is there", || sandbox.peek(&["status"])["lanes"]["a"]["queued"] == 1);
    answer(&sandbox, "completed", "Yes, Zürich. 😀");
    let reply = client.reply(call);
    let head = reply.text.lines().next().unwrap();
    assert!(head.starts_with("done ") && head.contains(" lane=a ") && head.ends_with(" s"), "{reply:?}");
    assert!(reply.text.ends_with("\n\nYes, Zürich. 😀"), "{reply:?}");
    assert_eq!((reply.is_error, reply.structured), (false, None));
}

#[test]
fn a_failed_task_is_a_failure_with_its_kind() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let id = client.call("delegate", json!({"lane": "a", "task": "x", "wait": 0})).id();
    answer(&sandbox, "failed", "It cannot be done.");
    let reply = client.call("wait", json!({"ids": [&id], "seconds": 0}));
    assert!(reply.is_error && reply.text.contains(" error=cli_error "), "{reply:?}");
    assert!(reply.text.ends_with("\n\nIt cannot be done."), "{reply:?}");
}

#[test]
fn the_same_request_is_the_same_task_until_its_answer_was_returned() {
    let sandbox = Sandbox::new();
    let mut first = client(&sandbox);
    let ask = |more: Value| {
        let mut arguments = json!({"lane": "a", "task": "x", "wait": 0});
        arguments.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        arguments
    };
    let id = first.call("delegate", ask(json!({}))).id();
    assert_eq!(first.call("delegate", ask(json!({"max_chars": 5}))).id(), id);
    // Other content, another session and `fresh` are other tasks.
    let others = [
        first.call("delegate", ask(json!({"context": "y"}))).id(),
        first.call("delegate", ask(json!({"fresh": true}))).id(),
        client(&sandbox).call("delegate", ask(json!({}))).id(),
    ];
    assert_eq!(BTreeSet::from(others.clone()).len(), 3);
    assert!(!others.contains(&id));
    sandbox.ok(&["respond", &id, "--body", "one"]);
    let answered = first.call("delegate", ask(json!({})));
    assert_eq!((answered.id(), answered.text.ends_with("\n\none")), (id.clone(), true), "{answered:?}");
    let next = first.call("delegate", ask(json!({}))).id();
    assert_ne!(next, id, "its answer was returned, so this is a new request");
    assert_eq!(first.call("delegate", ask(json!({}))).id(), next);
    // A key of the client's own names one task for good.
    let keyed = first.call("delegate", ask(json!({"key": "k"}))).id();
    sandbox.ok(&["respond", &keyed, "--body", "two"]);
    for _ in 0..2 {
        assert!(first.call("delegate", ask(json!({"key": "k"}))).text.ends_with("\n\ntwo"));
    }
    first
        .call("delegate", json!({"lane": "a", "task": "other", "key": "k", "wait": 0}))
        .refused("refused", "key");
}

#[test]
fn one_session_has_its_requests_in_common_whichever_process_it_asks() {
    let sandbox = Sandbox::new();
    let start = || {
        let mut command = sandbox.live_command(&["mcp"]);
        command.env("CLAUDE_CODE_SESSION_ID", "session-1");
        Client::connect(command)
    };
    let ask = json!({"lane": "a", "task": "x", "wait": 0});
    let id = start().call("delegate", ask.clone()).id();
    assert_eq!(start().call("delegate", ask.clone()).id(), id);
    assert_eq!(sandbox.peek(&["status", &id])["task"]["metadata"]["mcp_session"], "session-1");
    // codex names it in each request.
    let mut codex = Client::connect_as("codex-mcp-client", sandbox.live_command(&["mcp"]));
    let meta = json!({"x-codex-turn-metadata": {"session_id": "session-1"}});
    let call = codex.request("tools/call", json!({"name": "delegate", "arguments": ask, "_meta": meta}));
    assert_eq!(codex.reply(call).id(), id);
}

#[test]
fn a_call_that_is_taken_back_leaves_its_task_alone() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let ask = json!({"lane": "a", "task": "x", "wait": 50});
    let call = client.begin("delegate", ask.clone());
    eventually("the task is there", || sandbox.peek(&["status"])["lanes"]["a"]["queued"] == 1);
    client.take_back(call);
    assert_eq!(client.ask("ping", json!({}))["result"], json!({}));
    answer(&sandbox, "completed", "done anyway");
    // The model repeats the call and gets the answer that it has not seen.
    let reply = client.call("delegate", ask);
    assert!(reply.text.ends_with("\n\ndone anyway"), "{reply:?}");
    assert_eq!(sandbox.peek(&["list", "--lane", "a"])["count"], 1);
}

#[test]
fn several_tasks_are_delegated_together() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let reply = client.call(
        "delegate",
        json!({"lane": "a", "goal": "all", "wait": 0, "tasks": [
            {"task": "x"}, {"task": "y", "lane": "b", "goal": "mine"}, {"task": "x"},
        ]}),
    );
    let ids: Vec<&str> = reply
        .text
        .lines()
        .filter(|line| line.starts_with("queued "))
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(ids.len(), 3, "{reply:?}");
    let goals: Vec<Value> =
        ids.iter().map(|id| sandbox.peek(&["status", id])["task"]["metadata"]["goal"].clone()).collect();
    assert_eq!(goals, ["all", "mine", "all"]);
    let again =
        client.call("delegate", json!({"lane": "a", "goal": "all", "wait": 0, "tasks": [{"task": "x"}]}));
    assert!(ids.contains(&again.id().as_str()));
    // `any` returns at the first end; the most urgent task is reported first.
    sandbox.ok(&["respond", ids[2], "--status", "failed", "--body", "no"]);
    let some = client.call("wait", json!({"ids": ids, "any": true, "seconds": 50}));
    assert!(some.text.starts_with(&format!("failed {} ", ids[2])) && !some.is_error, "{some:?}");
    sandbox.ok(&["respond", ids[0], "--body", "one"]);
    sandbox.ok(&["respond", ids[1], "--body", "two"]);
    let all = client.call("wait", json!({"ids": ids, "seconds": 50}));
    let words: Vec<&str> = all.text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(words, ["failed", "", "no", "", "done", "", "one", "", "done", "", "two"]);
}

#[test]
fn one_bad_task_keeps_the_others_from_being_submitted() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let mut delegate =
        |tasks: Value| client.call("delegate", json!({"lane": "a", "wait": 0, "tasks": tasks}));
    delegate(json!([{"task": "x"}, {"task": " "}])).refused("invalid", "tasks[1]: 'task' is missing");
    delegate(json!([{"task": "x"}, {"task": "y", "lane": "../y"}])).refused("invalid", "tasks[1]: ");
    delegate(json!([{"task": "x"}, {"task": "y", "agent": "nobody"}])).refused("not_found", "tasks[1]: ");
    delegate(json!([{"task": "x", "key": "k"}, {"task": "y", "key": "k"}]))
        .refused("invalid", "tasks[1]: it has the key of tasks[0], which is another task");
    assert_eq!(sandbox.peek(&["list"])["count"], 0);
    // The same task twice under one key is one task.
    let twice = delegate(json!([{"task": "x", "key": "k"}, {"task": "x", "key": "k"}])).fine();
    assert_eq!(sandbox.peek(&["list"])["count"], 1, "{twice}");
    // Only the store knows that a key is taken: the others are submitted, and the reply has both.
    let reply = delegate(json!([{"task": "y", "key": "k"}, {"task": "z"}]));
    assert!(reply.text.starts_with("error (refused): tasks[0]: ") && !reply.is_error, "{reply:?}");
    assert_eq!(reply.text.matches("\n\nqueued ").count(), 1, "{reply:?}");
    assert_eq!(sandbox.peek(&["list"])["count"], 2);
}

#[test]
fn a_long_answer_is_read_piece_by_piece() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let id = client.call("delegate", json!({"lane": "a", "task": "x", "wait": 0})).id();
    let whole: String = (0..60_000).map(|n| ['a', 'ñ', '😀', '\n'][n % 4]).collect();
    sandbox.write("answer.txt", &whole);
    sandbox.ok(&["respond", &id, "--file", "answer.txt"]);
    let short = client.call("wait", json!({"ids": [&id], "max_chars": 10}));
    let cut = format!("\n\n[cut: 10 of 60000 characters; result id={id} offset=10]");
    assert!(short.text.ends_with(&format!("añ😀\nañ😀\nañ{cut}")), "{short:?}");
    let (mut joined, mut offset) = (String::new(), 0);
    loop {
        let piece = client.call("result", json!({"id": id, "offset": offset, "max_chars": 100_000})).fine();
        let Some((text, line)) = piece.rsplit_once("\n\n[cut: ") else {
            joined.push_str(&piece);
            break;
        };
        joined.push_str(text);
        assert!(text.chars().count() <= 40_000);
        offset = line.trim_end_matches(']').rsplit_once('=').unwrap().1.parse().unwrap();
    }
    assert_eq!(joined, whole);
    assert_eq!(client.call("result", json!({"id": id, "part": "prompt"})).fine(), "x");
    let events = client.call("result", json!({"id": id, "part": "events"})).fine();
    assert!(events.contains(" created: ") && events.contains(" response: "), "{events}");
    client.call("result", json!({"id": id, "part": "log"})).refused("not_found", "no run of it");
    client.call("result", json!({"id": id, "part": "json"})).refused("not_found", "not read as JSON");
    // claude takes larger pieces.
    let mut claude = Client::connect_as("claude-code", sandbox.live_command(&["mcp"]));
    assert_eq!(claude.call("result", json!({"id": id, "max_chars": 400_000})).fine(), whole);
}

#[test]
fn an_answer_that_was_asked_for_as_json_is_json() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let id = client.call("delegate", json!({"lane": "a", "task": "x", "format": "json", "wait": 0})).id();
    answer(&sandbox, "completed", r#"{"n": [1, 2]}"#);
    let reply = client.call("wait", json!({"ids": [&id]}));
    let structured = reply.structured.unwrap();
    assert_eq!(structured["json"], json!({"n": [1, 2]}));
    assert_eq!((&structured["status"], &structured["id"]), (&json!("done"), &json!(id)));
    assert_eq!(serde_json::from_str::<Value>(&reply.text).unwrap(), structured);
}

#[test]
fn jobs_are_those_of_the_session_and_all_that_are_open() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let ended = sandbox.answered("b", "completed", "x");
    let open = sandbox.submit("b", &[]);
    let mine = client.call("delegate", json!({"lane": "a", "task": "Find it.\nNow.", "wait": 0})).id();
    sandbox.ok(&["respond", &mine, "--body", "found"]);
    let ids = |text: String| -> BTreeSet<String> {
        text.lines().map(|line| line.split(' ').nth(1).unwrap().to_string()).collect()
    };
    let listed = client.call("jobs", json!({})).fine();
    assert!(listed.contains(&format!("done {mine} lane=a ")) && listed.contains("— Find it."), "{listed}");
    assert!(listed.contains("nobody serves lane b"), "{listed}");
    assert_eq!(ids(listed), BTreeSet::from([mine.clone(), open]));
    let done = client.call("jobs", json!({"status": "done"})).fine();
    assert_eq!(ids(done), BTreeSet::from([mine.clone(), ended]));
    assert_eq!(ids(client.call("jobs", json!({"lane": "a"})).fine()), BTreeSet::from([mine]));
    assert_eq!(client.call("jobs", json!({"status": "done", "limit": 1})).fine().lines().count(), 1);
    assert_eq!(client.call("jobs", json!({"agent": "nobody"})).fine(), "no tasks");
}

#[test]
fn cancelling_ends_the_tasks_and_the_waits_for_them() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let id = client.call("delegate", json!({"lane": "a", "task": "x", "wait": 0})).id();
    let wait = client.begin("wait", json!({"ids": [&id], "seconds": 50}));
    let cancel = json!({"ids": [&id], "reason": "not needed"});
    assert_eq!(client.call("cancel", cancel.clone()).fine(), format!("cancelled {id}"));
    let reply = client.reply(wait);
    assert!(reply.text.starts_with(&format!("cancelled {id} ")) && reply.is_error, "{reply:?}");
    assert!(reply.text.contains("error=cancelled") && reply.text.contains("not needed"), "{reply:?}");
    assert_eq!(client.call("cancel", cancel).fine(), format!("cancelled {id} before"));
    let done = client.call("delegate", json!({"lane": "a", "task": "y", "wait": 0})).id();
    sandbox.ok(&["respond", &done, "--body", "x"]);
    client.call("cancel", json!({"ids": [done]})).refused("refused", "completed");
}

#[test]
fn a_wait_ends_before_the_client_gives_up() {
    let sandbox = Sandbox::new();
    let mut client = Client::connect(sandbox.live_command(&["mcp", "--max-wait", "0"]));
    let reply = client.call("delegate", json!({"lane": "a", "task": "x", "wait": 3600}));
    assert!(reply.text.starts_with("queued ") && !reply.is_error, "{reply:?}");
    let reply = client.call("claim_next", json!({"lane": "b", "wait": 3600}));
    assert!(reply.text.starts_with("nothing to claim in lane b within 0 s"), "{reply:?}");
    sandbox.run(&["mcp", "--max-wait=-1"]).refused(2, "--max-wait");
}

#[test]
fn progress_names_the_task_at_once() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let arguments = json!({"lane": "a", "task": "x", "wait": 50});
    let params = json!({"name": "delegate", "arguments": arguments, "_meta": {"progressToken": "p-1"}});
    let call = client.request("tools/call", params);
    let is_progress = |message: &Value| message["method"] == "notifications/progress";
    let first = client.receive(is_progress);
    let text = first["params"]["message"].as_str().unwrap();
    let id = text.strip_prefix("queued ").unwrap().to_string();
    assert_eq!(
        (&first["params"]["progressToken"], &first["params"]["progress"]),
        (&json!("p-1"), &json!(1.0))
    );
    let (claimed, token) = sandbox.claim("a");
    assert_eq!(claimed, id);
    sandbox.ok(&["event", &id, "--type", "progress", "--message", "reading", "--claim-token", &token]);
    let next = client.receive(|message| {
        is_progress(message) && message["params"]["message"].as_str().unwrap().ends_with("reading")
    });
    assert!(next["params"]["progress"].as_f64().unwrap() > 1.0, "{next}");
    sandbox.ok(&["respond", &id, "--claim-token", &token, "--body", "ok"]);
    assert!(client.reply(call).text.ends_with("\n\nok"));
}

#[test]
fn a_task_waits_for_a_group_and_its_answer_has_a_schema() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let part = client.call("delegate", json!({"lane": "b", "task": "Part.", "group": "g", "wait": 0})).id();
    let schema = json!({"type": "object", "required": ["n"]});
    let ask = |more: Value| {
        let mut ask = json!({"lane": "a", "task": "Join.", "after_group": "g", "schema": schema, "wait": 0});
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask
    };
    let reply = client.call("delegate", ask(json!({})));
    assert!(reply.text.contains("waiting for 1 of 1 dependency"), "{reply:?}");
    let id = reply.id();
    let task = sandbox.peek(&["status", &id])["task"].clone();
    assert_eq!((&task["after"][0]["task"], &task["state"]), (&json!(part), &json!("blocked")));
    assert_eq!(task["schema"], schema);
    assert_ne!(client.call("delegate", ask(json!({"schema": {"type": "object"}}))).id(), id);
    client.call("delegate", ask(json!({"after_group": "nobody"}))).refused("not_found", "group 'nobody'");
    client.call("delegate", ask(json!({"schema": {"type": 1}}))).refused("invalid", "schema");
    sandbox.ok(&["respond", &part, "--body", "half"]);
    sandbox.run(&["respond", &id, "--body", "no object"]).refused(1, "schema");
    sandbox.ok(&["respond", &id, "--body", "{\"n\": 1}"]);
    let answered = client.call("wait", json!({"ids": [id], "seconds": 0}));
    assert_eq!(answered.structured.unwrap()["json"], json!({"n": 1}));
}

#[test]
fn a_lane_that_is_probably_misspelt_is_named() {
    let sandbox = Sandbox::new();
    sandbox.submit("review", &[]);
    let mut client = client(&sandbox);
    let reply = client.call("delegate", json!({"lane": "reveiw", "task": "x", "wait": 0}));
    assert!(reply.text.starts_with("Warning: lane reveiw "), "{}", reply.text);
    assert!(reply.text.contains("did you mean review?"), "{}", reply.text);
    let reply = client.call("delegate", json!({"lane": "review", "task": "x", "wait": 0}));
    assert!(!reply.text.contains("Warning"), "{}", reply.text);
}
