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

#[test]
fn a_session_delegates_no_more_than_its_budget_allows() {
    let pool = Pool::scripted("  routes:\n    agent/careful: {max_budget_usd: 0.5}\n");
    let start = |session: &str| {
        let mut command = pool.lanes(&["mcp", "--budget", "0.5"]);
        command.env("CLAUDE_CODE_SESSION_ID", session);
        Client::connect(command)
    };
    let mut first = start("first");
    let ask = |n: u32| json!({"lane": "work", "task": task(&format!("result {n}")), "wait": 0});
    let ids: Vec<String> = (0..2).map(|n| first.call("delegate", ask(n)).id()).collect();
    let _dispatcher = pool.dispatcher(&[]);
    // Each run costs $0.25, and an open task of this lane nothing, since nothing limits its run.
    let ended = first.call("wait", json!({"ids": ids, "seconds": 50})).fine();
    assert_eq!(ended.matches(" $0.25 ").count(), 2, "{ended}");
    pool.until("both runs are recorded", || pool.json(&["stats"])["stats"]["all"]["runs"] == 2);
    let refused = first.call("delegate", ask(2));
    refused.refused("budget", "is $0.50, of which $0.50 is spent and $0.00 may be spent");
    // It holds for the session, whichever process it asks, and for no other.
    start("first").call("delegate", ask(2)).refused("budget", "");
    let mut second = start("second");
    let held = json!({"agent": "careful", "task": task("while :; do sleep 0.02; done"), "wait": 0});
    let id = second.call("delegate", held.clone()).id();
    assert_eq!(second.call("delegate", held).id(), id, "the same request is no other task");
    second
        .call("delegate", ask(3))
        .refused("budget", "$0.00 is spent and $0.50 may be spent by the tasks that are open");
    second.call("cancel", json!({"ids": [id]})).fine();
    let tasks = json!({"tasks": [ask(4), {"agent": "careful", "task": "y"}, {"lane": "work", "task": "z"}], "wait": 0});
    let mut third = start("third");
    let mut tasks = tasks;
    tasks["tasks"][0].as_object_mut().unwrap().remove("wait");
    third.call("delegate", tasks).refused("budget", "$0.50 may be spent");
    assert_eq!(third.call("jobs", json!({"lane": "agent/careful", "status": "queued"})).fine(), "no tasks");
    assert!(pool.refused(&["mcp", "--budget", "0"]).contains("more than 0 US dollars"));
}

#[test]
fn an_agent_that_a_chat_adds_works_at_once() {
    let pool = Pool::scripted("");
    std::fs::create_dir(pool.path("app")).unwrap();
    let _dispatcher = pool.dispatcher(&[]);
    pool.until("it runs", || pool.log().contains("serves"));
    let mut client = Client::connect(pool.lanes(&["mcp", "--tools", "caller,admin"]));
    let new = json!({"name": "api", "directory": pool.path("app"), "instructions": "Be brief."});
    assert_eq!(client.call("edit_agent", new).fine(), "agent api added");
    let ask = json!({"agent": "api", "task": task("result \"$PWD\""), "wait": 50});
    let reply = client.call("delegate", ask);
    assert!(reply.text.starts_with("done ") && reply.text.contains(" agent=api "), "{reply:?}");
    let app = pool.path("app").canonicalize().unwrap();
    assert!(reply.text.ends_with(&format!("\n\n{}", app.display())), "{reply:?}");
}
