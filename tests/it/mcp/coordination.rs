//! Work of several steps: dialogues and aggregations, by agents that say what a test has written down for them.

use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::client::Client;
use crate::testkit::pool::Pool;

/// Speaks claude's stream. Works in the directory that has the agent's name: notes the prompt of its n-th turn in
/// `n.prompt` and the conversation in `n.session`, waits until there is a file `n.ready`, and says what is in `n.say`.
const AGENT: &str = r#"#!/bin/sh
session=none
while [ $# -gt 0 ]; do
    case $1 in --session-id) session="new $2" ;; --resume) session="old $2" ;; esac
    shift
done
n=$(($(ls ./*.prompt 2>/dev/null | wc -l) + 1))
cat > $n.prompt
echo "$session" > $n.session
while [ ! -e $n.ready ]; do sleep 0.02; done
text=$(cat $n.say)
id=${session#* }
case $text in fail*) exit 3 ;; esac
printf '{"type":"system","subtype":"init","session_id":"%s","model":"m","claude_code_version":"2.1.329"}\n' "$id"
printf '{"type":"result","subtype":"success","is_error":false,"result":"%s","session_id":"%s","num_turns":1,"total_cost_usd":0.%s}\n' "$text" "$id" $((25 * n))
"#;

/// A pool with the agents infra, web and chief.
pub fn pool() -> Pool {
    let pool = Pool::new(
        "dispatch:\n  vendor: claude\n  grace: 0.5\n  max_retries: 0\n  retry_delay: 0\n  routes:\n    \
         agent/infra: {cwd: infra}\n    agent/web: {cwd: web}\n    agent/chief: {cwd: chief}\n  \
         vendors:\n    claude: {command: ./agent.sh}\n",
    );
    std::fs::write(pool.path("agent.sh"), AGENT).unwrap();
    std::fs::set_permissions(pool.path("agent.sh"), std::fs::Permissions::from_mode(0o700)).unwrap();
    for agent in ["infra", "web", "chief"] {
        std::fs::create_dir(pool.path(agent)).unwrap();
    }
    pool
}

/// What an agent says in its n-th turn, as inside JSON.
pub fn say(pool: &Pool, agent: &str, turn: u32, text: &str) {
    let name = pool.path(&format!("{agent}/{turn}.say"));
    std::fs::write(&name, text).unwrap();
    std::fs::write(name.with_extension("ready"), "").unwrap();
}

/// How many turns an agent has begun.
pub fn turns(pool: &Pool, agent: &str) -> usize {
    let entries = std::fs::read_dir(pool.path(agent)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "prompt")).count()
}

fn read(pool: &Pool, name: &str) -> String {
    std::fs::read_to_string(pool.path(name)).unwrap()
}

fn dialogue(more: Value) -> Value {
    let mut arguments = json!({"requester": "web", "responder": "infra", "topic": "Which port?", "wait": 50});
    arguments.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    arguments
}

#[test]
fn two_agents_talk_until_one_says_that_it_is_resolved() {
    let pool = pool();
    let _dispatcher = pool.dispatcher(&[]);
    say(&pool, "infra", 1, "Port 80.");
    say(&pool, "web", 1, "Why?");
    say(&pool, "infra", 2, r"It is the default.\n[RESOLVED]");
    let mut client = Client::connect(pool.lanes(&["mcp"]));
    let reply = client.call("dialogue", dialogue(json!({})));
    assert!(reply.text.starts_with("done ") && !reply.is_error, "{reply:?}");
    assert!(reply.text.lines().next().unwrap().contains(" $0.75"), "{reply:?}");
    assert!(reply.text.contains("\n\nresolved after 2 rounds (3 turns), $0.75\n\nIt is the default.\n\n"));
    assert!(reply.text.contains("## 2. web (task ") && reply.text.contains("\n\nWhy?\n"), "{reply:?}");
    // Each side is told what the other said, in its own conversation.
    let asked = [read(&pool, "infra/1.prompt"), read(&pool, "web/1.prompt"), read(&pool, "infra/2.prompt")];
    assert!(asked[0].contains("The agent web asks you:\n\n> Which port?\n"), "{}", asked[0]);
    assert!(asked[1].contains("It said:\n\n> Port 80.\n"), "{}", asked[1]);
    assert!(asked[2].contains("It said:\n\n> Why?\n") && !asked[2].contains("Which port?"), "{}", asked[2]);
    let conversation = |name: &str| read(&pool, name).trim().to_string();
    let first = conversation("infra/1.session");
    assert_eq!(conversation("infra/2.session"), first.replace("new ", "old "));
    assert_ne!(conversation("web/1.session"), first);
    assert_eq!((turns(&pool, "infra"), turns(&pool, "web")), (2, 1));
    // Read in full, and asked again.
    let whole = client.call("result", json!({"id": reply.id()})).fine();
    assert!(reply.text.ends_with(&whole), "{whole}");
}

#[test]
fn a_dialogue_ends_after_its_rounds_and_at_an_error() {
    let pool = pool();
    let _dispatcher = pool.dispatcher(&[]);
    for (agent, turn, text) in
        [("infra", 1, "Port 80."), ("web", 1, "Why?"), ("infra", 2, "Ask me again."), ("web", 2, "fail")]
    {
        say(&pool, agent, turn, text);
    }
    let mut client = Client::connect(pool.lanes(&["mcp"]));
    let reply = client.call("dialogue", dialogue(json!({"max_rounds": 1})));
    assert!(reply.text.contains("\n\nnot resolved after 1 round (2 turns), $0.50\n\nWhy?\n\n"), "{reply:?}");
    let failed = client.call("dialogue", dialogue(json!({"topic": "Which host?"})));
    assert!(failed.is_error && failed.text.starts_with("failed "), "{failed:?}");
    assert!(failed.text.contains("\n\nfailed: turn 2 of web, task "), "{failed:?}");
    assert!(failed.text.contains("\n\nAsk me again."), "what was said stays: {failed:?}");
    for (more, kind, expected) in [
        (json!({"max_rounds": 11}), "invalid", "give 1 to 10"),
        (json!({"max_rounds": 0}), "invalid", "give 1 to 10"),
        (json!({"topic": " "}), "invalid", "'topic' is missing"),
        (json!({"requester": "nobody"}), "not_found", "no agent 'nobody'"),
    ] {
        client.call("dialogue", dialogue(more)).refused(kind, expected);
    }
    assert_eq!(pool.json(&["list"])["count"], 6, "two dialogues of two turns each");
}

#[test]
fn a_dialogue_outlives_its_server_and_no_turn_is_taken_twice() {
    let pool = pool();
    let _dispatcher = pool.dispatcher(&[]);
    say(&pool, "infra", 1, "Port 80.");
    let mut first = Client::connect(pool.lanes(&["mcp"]));
    let begun = first.call("dialogue", dialogue(json!({"wait": 0})));
    assert!(begun.text.contains(" lane=lanes/coordination ") && !begun.is_error, "{begun:?}");
    let id = begun.id();
    pool.until("the second turn", || turns(&pool, "web") == 1);
    first.signal(Signal::KILL);
    assert!(!first.end().success());
    say(&pool, "web", 1, "Why?");
    // Two servers go on at once.
    let mut others = [(); 2].map(|()| Client::connect(pool.lanes(&["mcp"])));
    let calls = others.each_mut().map(|other| other.begin("wait", json!({"ids": [&id], "seconds": 50})));
    pool.until("the third turn", || turns(&pool, "infra") == 2);
    let state = others[0].call("wait", json!({"ids": [&id], "seconds": 0})).fine();
    assert!(state.contains("turn 3: infra, task "), "{state}");
    say(&pool, "infra", 2, "By default. [RESOLVED]");
    for (other, call) in others.iter_mut().zip(calls) {
        let reply = other.reply(call);
        assert!(reply.text.contains("\n\nresolved after 2 rounds (3 turns), $0.75\n"), "{reply:?}");
    }
    assert_eq!((turns(&pool, "infra"), turns(&pool, "web")), (2, 1));
    assert_eq!(pool.json(&["list"])["count"], 4);
}

#[test]
fn a_dialogue_goes_on_for_a_client_that_only_asks_for_its_state() {
    let pool = pool();
    let _dispatcher = pool.dispatcher(&[]);
    let mut first = Client::connect(pool.lanes(&["mcp"]));
    let id = first.call("dialogue", dialogue(json!({"wait": 0}))).id();
    pool.until("the first turn", || turns(&pool, "infra") == 1);
    first.signal(Signal::KILL);
    assert!(!first.end().success());
    say(&pool, "infra", 1, "Port 80. [RESOLVED]");
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "claude-code", "version": "2"},
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
    });
    let other = RefCell::new(Client::start(pool.lanes(&["mcp"])));
    let state =
        || other.borrow_mut().ask("tasks/get", json!({"taskId": id, "_meta": meta}))["result"].clone();
    pool.until("the dialogue is over", || state()["status"] == "completed");
    let text = state()["result"]["content"][0]["text"].as_str().unwrap().to_string();
    assert!(text.contains("\n\nresolved after 1 round (1 turn), $0.25\n\nPort 80.\n"), "{text}");
}

#[test]
fn a_cancelled_dialogue_stops_the_agent_whose_turn_it_is() {
    let pool = pool();
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = Client::connect(pool.lanes(&["mcp"]));
    let id = client.call("dialogue", dialogue(json!({"wait": 0}))).id();
    pool.until("the first turn", || turns(&pool, "infra") == 1);
    // The same request again is the same dialogue.
    assert_eq!(client.call("dialogue", dialogue(json!({"wait": 0}))).id(), id);
    client.call("cancel", json!({"ids": [&id]})).fine();
    pool.until("the turn is cancelled", || {
        let tasks = pool.json(&["list"])["tasks"].clone();
        tasks.as_array().unwrap().iter().all(|task| task["state"] == "failed")
    });
    assert_eq!(pool.json(&["list"])["count"], 2);
}

#[test]
fn an_agent_merges_the_answers_of_all_parts() {
    let pool = pool();
    let _dispatcher = pool.dispatcher(&[]);
    let mut first = Client::connect(pool.lanes(&["mcp"]));
    let ask = |wait: u64| {
        let tasks = json!([
            {"agent": "infra", "task": "Which port?"},
            {"agent": "web", "task": "Which host?"},
        ]);
        json!({"tasks": tasks, "aggregate": "chief", "goal": "an address", "wait": wait})
    };
    let begun = first.call("delegate", ask(0));
    assert_eq!(begun.text.matches("Continue with wait(").count(), 3, "{begun:?}");
    assert_eq!(first.call("delegate", ask(0)).text.matches("Continue with wait(").count(), 3);
    assert_eq!(pool.json(&["list"])["count"], 3, "the same call is the same work");
    let ids: Vec<String> = begun
        .text
        .lines()
        .filter(|line| line.contains("Continue with wait("))
        .map(|line| line.split(' ').nth(1).unwrap().to_string())
        .collect();
    pool.until("the parts", || turns(&pool, "infra") + turns(&pool, "web") == 2);
    first.signal(Signal::KILL);
    assert!(!first.end().success());
    say(&pool, "infra", 1, "Port 80.");
    say(&pool, "web", 1, "fail");
    say(&pool, "chief", 1, "localhost:80, I guess.");
    let mut next = Client::connect(pool.lanes(&["mcp"]));
    let reply = next.call("wait", json!({"ids": ids, "seconds": 50}));
    assert!(reply.text.contains("\n\nlocalhost:80, I guess."), "{reply:?}");
    assert!(!reply.is_error && reply.text.starts_with("failed "), "a failed part is an entry: {reply:?}");
    let asked = read(&pool, "chief/1.prompt");
    assert!(asked.contains("an address") && asked.contains("\n> Port 80.\n"), "{asked}");
    assert!(asked.contains("# Part 2 of 2, task ") && asked.contains("failed "), "{asked}");
    assert_eq!(turns(&pool, "chief"), 1);
}

#[test]
fn an_aggregation_without_answers_asks_nobody() {
    let pool = pool();
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = Client::connect(pool.lanes(&["mcp"]));
    say(&pool, "infra", 1, "fail");
    let task = json!([{"agent": "infra", "task": "Which port?"}]);
    let reply = client.call("delegate", json!({"tasks": task, "aggregate": "chief", "wait": 50}));
    assert!(reply.is_error && reply.text.contains("none of the parts has an answer"), "{reply:?}");
    assert_eq!(turns(&pool, "chief"), 0);
    let nobody = client.call("delegate", json!({"tasks": task, "aggregate": "nobody"}));
    nobody.refused("not_found", "no agent 'nobody'");
    let one = client.call("delegate", json!({"agent": "infra", "task": "x", "aggregate": "chief"}));
    one.refused("invalid", "'aggregate' needs 'tasks'");
}

#[test]
fn the_agents_of_a_dialogue_get_a_dispatcher_and_must_be_able_to_run() {
    let pool = pool();
    say(&pool, "infra", 1, "Port 80.");
    say(&pool, "web", 1, "Thanks. [RESOLVED]");
    let mut client = Client::connect(pool.lanes(&["mcp", "--idle-exit", "0"]));
    let reply = client.call("dialogue", dialogue(json!({})));
    assert!(reply.text.contains("\n\nresolved after 1 round (2 turns), $0.50\n"), "{reply:?}");
    pool.until("its dispatchers have left", || pool.json(&["workers"])["count"] == 0);
    std::fs::remove_file(pool.path("agent.sh")).unwrap();
    let refused = client.call("dialogue", dialogue(json!({"topic": "Which host?"})));
    refused.refused("not_found", "./agent.sh (vendor claude) is not installed");
    let tasks = json!([{"lane": "work", "task": "x"}]);
    let refused = client.call("delegate", json!({"tasks": tasks, "aggregate": "chief", "wait": 0}));
    refused.refused("not_found", "./agent.sh (vendor claude) is not installed");
    assert_eq!(pool.json(&["list"])["count"], 3, "the dialogue before with its two turns");
}
