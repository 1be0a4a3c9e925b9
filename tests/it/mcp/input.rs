//! Hostile and broken input: each kind has a defined answer, and the server keeps running.

use serde_json::{Value, json};

use super::client::Client;
use crate::testkit::sandbox::Sandbox;

fn client(sandbox: &Sandbox) -> Client {
    Client::connect(sandbox.live_command(&["mcp"]))
}

/// The code of the error that comes without an id.
#[track_caller]
fn code_without_id(client: &mut Client, line: &[u8]) -> i64 {
    client.send_bytes(line);
    client.send_bytes(b"\n");
    let answer = client.receive(|message| message.get("id") == Some(&Value::Null));
    assert!(!answer["error"]["message"].as_str().unwrap().is_empty(), "{answer}");
    answer["error"]["code"].as_i64().unwrap()
}

#[test]
fn a_line_that_is_not_a_message_is_answered_and_skipped() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let deep = [r#"{"jsonrpc":"2.0","id":9,"method":"ping","params":"#, &"[".repeat(10_000)].concat();
    let huge = vec![b'x'; 9 * 1024 * 1024];
    for (line, code) in [
        (&huge[..], -32600),
        (deep.as_bytes(), -32700),
        (br#"{"jsonrpc":"2.0","id":9,"method":"ping","params":{"x":NaN}}"#, -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"ping\xff\"}", -32700),
        (b"hello", -32700),
        (br#"[{"jsonrpc":"2.0","id":9,"method":"ping"}]"#, -32600),
        (br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600),
    ] {
        assert_eq!(code_without_id(&mut client, line), code);
        assert_eq!(client.ask("ping", json!({}))["result"], json!({}));
    }
    // Blank lines, replies to nothing and unknown notifications have no answer.
    client.send_bytes(b"\n \r\n");
    client.send(&json!({"jsonrpc": "2.0", "id": 77, "result": {}}));
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/unknown", "params": {}}));
    client
        .send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 4711}}));
    assert_eq!(client.ask("ping", json!({}))["result"], json!({}));
    // Half a line at the end is not a message.
    client.send_bytes(br#"{"jsonrpc":"2.0","id":99,"method":"tools/call","params":{"name":"delegate","#);
    client.close_input();
    assert!(client.end().success());
}

#[test]
fn a_request_that_cannot_be_served_has_an_error_with_its_id() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    for (method, params, code, expected) in [
        ("nobody/knows", json!({}), -32601, "unknown method: nobody/knows"),
        ("resources/list", json!({}), -32601, ""),
        ("prompts/list", json!({}), -32601, ""),
        ("prompts/get", json!({"name": "worker"}), -32601, ""),
        ("tools/call", json!({"name": "delegate", "arguments": "{}"}), -32602, "'arguments', an object"),
        ("tools/call", json!({"arguments": {}}), -32602, "'name', a text"),
        (
            "tools/call",
            json!({"name": "destroy", "arguments": {}}),
            -32602,
            "unknown tool: destroy; there are",
        ),
        ("tools/call", json!({"name": "upkeep", "arguments": {}}), -32602, "unknown tool"),
        ("initialize", json!({}), -32602, "the parameters of initialize are not valid"),
        ("ping", json!([1]), -32602, "'params' must be an object"),
        (
            "logging/setLevel",
            json!({"level": "loud"}),
            -32602,
            "the parameters of logging/setLevel are not valid",
        ),
    ] {
        let answer = client.ask(method, params);
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(expected), "{answer}");
    }
    for id in [json!("a"), json!(""), json!(-3), json!(0)] {
        client.send(&json!({"jsonrpc": "2.0", "id": id, "method": "ping"}));
        let answer = client.receive(|message| message["id"] == id);
        assert_eq!(answer["result"], json!({}), "{answer}");
    }
}

#[test]
fn half_a_character_becomes_a_replacement_character() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    client.send_bytes(
        br#"{"jsonrpc":"2.0","id":50,"method":"tools/call","params":{"name":"delegate","arguments":{"lane":"a","task":"cut \ud83d","wait":0}}}"#,
    );
    client.send_bytes(b"\n");
    let id = client.reply(50).id();
    assert_eq!(client.call("result", json!({"id": id, "part": "prompt"})).fine(), "cut \u{fffd}");
}

#[test]
fn arguments_are_checked_before_anything_happens() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    for (tool, arguments, expected) in [
        ("delegate", json!({"lane": "a"}), "'task' is missing"),
        ("delegate", json!({"lane": "a", "task": "  "}), "'task' is missing"),
        ("delegate", json!({"task": "x"}), "give 'agent' or 'lane'"),
        ("delegate", json!({"lane": "a", "agent": "b", "task": "x"}), "give 'agent' or 'lane'"),
        ("delegate", json!({"lane": "../a", "task": "x"}), "invalid lane name"),
        ("delegate", json!({"lane": "a", "task": "x", "wait": "long"}), "'wait' is a string, not an integer"),
        ("delegate", json!({"lane": "a", "task": "x", "wait": -1}), "'wait' is negative"),
        ("delegate", json!({"lane": "a", "task": "x", "colour": 1}), "unknown argument 'colour'"),
        ("delegate", json!({"lane": "a", "task": "x", "session_id": "-rf"}), "session_id"),
        ("delegate", json!({"lane": "a", "task": "x", "format": "xml"}), "'xml' is not a value of 'format'"),
        ("delegate", json!({"lane": "a", "task": "x", "priority": 5000}), "priority 5000 is out of range"),
        ("delegate", json!({"lane": "a", "task": "x", "timeout": 0}), "out of range"),
        ("delegate", json!({"lane": "a", "task": "x", "context": "y".repeat(1024 * 1024)}), "1048576 bytes"),
        ("delegate", json!({"tasks": []}), "'tasks' has 0 tasks"),
        ("delegate", json!({"tasks": vec![json!({}); 101]}), "'tasks' has 101 tasks"),
        ("delegate", json!({"tasks": [1]}), "'tasks[0]' is a number"),
        (
            "delegate",
            json!({"tasks": [{"lane": "a", "task": "x"}, {"lane": "a"}]}),
            "tasks[1]: 'task' is missing",
        ),
        ("delegate", json!({"tasks": [{"lane": "a", "wait": 3}]}), "tasks[0]: unknown argument 'wait'"),
        ("delegate", json!({"tasks": [{"lane": "a", "task": "x"}], "key": "k"}), "'key' belongs to one task"),
        ("wait", json!({"ids": []}), "'ids' is empty"),
        ("wait", json!({"ids": vec!["x"; 101]}), "'ids' has 101 ids"),
        ("wait", json!({"ids": ["../../etc/passwd"]}), "invalid task_id"),
        ("cancel", json!({"ids": ["20991231"], "reason": null}), "unknown task"),
        ("claim_next", json!({"lane": "a", "lease": 0}), "lease of 0 seconds is out of range"),
        ("claim_next", json!({"lane": "a", "match": {"": "x"}}), "KEY=VALUE"),
        ("report", json!({"id": "x", "token": "y", "do": "tell"}), "'tell' is not a value of 'do'"),
        ("report", json!({"id": "x", "token": "y", "do": "ask"}), "'text' is missing"),
        ("respond", json!({"id": "x", "token": "y"}), "give 'text' or 'file'"),
        ("respond", json!({"id": "x", "token": "y", "text": "a", "file": "b"}), "give 'text' or 'file'"),
    ] {
        let reply = client.call(tool, arguments);
        let kind = if reply.text.contains("unknown task") { "not_found" } else { "invalid" };
        reply.refused(kind, expected);
    }
    assert_eq!(client.call("jobs", json!({})).fine(), "no tasks");
}

#[test]
fn calls_beyond_the_limit_are_refused_as_busy() {
    let sandbox = Sandbox::new();
    let mut client = client(&sandbox);
    let calls: Vec<u64> =
        (0..70).map(|_| client.begin("claim_next", json!({"lane": "a", "wait": 50}))).collect();
    for _ in 0..6 {
        let answer = client.receive(|message| message["result"]["isError"] == true);
        assert!(
            answer["result"]["content"][0]["text"].as_str().unwrap().starts_with("error (busy): "),
            "{answer}"
        );
        assert!(calls.iter().any(|call| answer["id"] == *call));
    }
    // The others still wait, and other requests are served.
    assert_eq!(client.ask("ping", json!({}))["result"], json!({}));
}
