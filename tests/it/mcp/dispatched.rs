//! Work that a dispatcher's agents do.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::client::Client;
use crate::testkit::pool::Pool;

/// Returns the prompt that makes the scripted agent run `script`.
fn task(script: &str) -> String {
    format!("DO: {script}")
}

#[test]
fn an_agent_answers_and_its_figures_come_along() {
    let pool = Pool::scripted("  routes:\n    agent/infra: {}\n");
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = Client::connect(pool.lanes(&["mcp"]));
    let reply =
        client.call("delegate", json!({"agent": "infra", "task": task("result 'It is 42.'"), "wait": 50}));
    let head = reply.text.lines().next().unwrap();
    assert!(head.starts_with("done ") && head.contains(" agent=infra "), "{reply:?}");
    assert!(head.contains(" $0.25 session="), "{reply:?}");
    assert!(reply.text.ends_with("\n\nIt is 42.") && !reply.is_error, "{reply:?}");
    let log = client.call("result", json!({"id": reply.id(), "part": "log"})).fine();
    assert!(log.contains("\"session_id\""), "{log}");
    let nobody = client.call("delegate", json!({"agent": "nobody", "task": "x"}));
    nobody.refused("not_found", "no agent 'nobody' in this workspace. Do: choose one of infra");
}

#[test]
fn a_run_outlives_the_call_and_the_server() {
    let pool = Pool::scripted("");
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = Client::connect(pool.lanes(&["mcp"]));
    let script = task("say working; while [ ! -e go ]; do sleep 0.02; done; result finished");
    let ask = json!({"lane": "work", "task": script, "wait": 50});
    let params = json!({"name": "delegate", "arguments": ask, "_meta": {"progressToken": 1}});
    let call = client.request("tools/call", params);
    let progress = client.receive(|message: &Value| {
        let text = message["params"]["message"].as_str().unwrap_or_default();
        message["method"] == "notifications/progress" && text.contains("working")
    });
    let text = progress["params"]["message"].as_str().unwrap().to_string();
    let id = text.split_whitespace().nth(1).unwrap().trim_end_matches(':').to_string();
    assert!(text.starts_with("running "), "{text}");
    client.take_back(call);
    let running = client.call("wait", json!({"ids": [&id], "seconds": 0})).fine();
    assert!(running.starts_with("running ") && running.contains("last: \""), "{running}");
    client.close_input();
    assert!(client.end().success());
    std::fs::write(pool.path("go"), "").unwrap();
    let mut next = Client::connect(pool.lanes(&["mcp"]));
    let reply = next.call("wait", json!({"ids": [&id], "seconds": 50}));
    assert!(reply.text.ends_with("\n\nfinished"), "{reply:?}");
    assert_eq!(pool.task(&id)["attempt"], 1, "it ran once");
}

#[test]
fn cancelling_stops_the_agent() {
    let pool = Pool::scripted("");
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = Client::connect(pool.lanes(&["mcp"]));
    let script = task("echo $$ > pid; while :; do sleep 0.02; done");
    let id = client.call("delegate", json!({"lane": "work", "task": script, "wait": 0})).id();
    let pid = pool.until_file("pid");
    client.call("cancel", json!({"ids": [&id]})).fine();
    pool.until("the agent is stopped", || !crate::testkit::wait::is_alive(&pid));
    let reply = client.call("wait", json!({"ids": [&id]}));
    assert!(reply.text.starts_with(&format!("cancelled {id} ")), "{reply:?}");
}

#[test]
fn a_conversation_is_continued_by_its_session() {
    let pool = Pool::scripted("");
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = Client::connect(pool.lanes(&["mcp"]));
    let session = "7d1a8a6c-0000-4000-8000-000000000001";
    let ask =
        json!({"lane": "work", "task": task("result \"in $session\""), "session_id": session, "wait": 50});
    let reply = client.call("delegate", ask);
    assert!(reply.text.ends_with(&format!("\n\nin {session}")), "{reply:?}");
    assert!(reply.text.contains(&format!(" session={session}")), "{reply:?}");
}

#[test]
fn json_that_an_agent_wraps_is_found() {
    let pool = Pool::scripted("");
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = Client::connect(pool.lanes(&["mcp"]));
    let ask =
        json!({"lane": "work", "task": task(r#"result 'Here: {\"n\":1}'"#), "format": "json", "wait": 50});
    let reply = client.call("delegate", ask);
    assert_eq!(
        reply.structured.as_ref().map(|object| object["json"].clone()),
        Some(json!({"n": 1})),
        "{reply:?}"
    );
    assert_eq!(
        client.call("result", json!({"id": reply.structured.unwrap()["id"], "part": "json"})).fine(),
        r#"{"n":1}"#
    );
}

#[test]
fn a_session_whose_server_is_killed_finds_its_run_again() {
    let pool = Pool::scripted("");
    let _dispatcher = pool.dispatcher(&[]);
    let start = || {
        let mut command = pool.lanes(&["mcp"]);
        command.env("CLAUDE_CODE_SESSION_ID", "session-1");
        Client::connect(command)
    };
    let script = task("echo run >> runs; while [ ! -e go ]; do sleep 0.02; done; result finished");
    let ask = json!({"lane": "work", "task": script, "wait": 50});
    for _ in 0..3 {
        let mut client = start();
        client.begin("delegate", ask.clone());
        pool.until("the agent runs", || pool.path("runs").exists());
        client.signal(Signal::KILL);
        assert!(!client.end().success());
    }
    let mut client = start();
    let jobs = client.call("jobs", json!({})).fine();
    assert!(jobs.starts_with("running ") && jobs.lines().count() == 1, "{jobs}");
    let call = client.begin("delegate", ask);
    std::fs::write(pool.path("go"), "").unwrap();
    let reply = client.reply(call);
    assert!(reply.text.ends_with("\n\nfinished"), "{reply:?}");
    assert_eq!(pool.until_file("runs"), "run", "it ran once");
}
