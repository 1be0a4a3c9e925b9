//! The official Python client of the protocol, with which programs for agent-dispatch were written.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::compat::NAMES;
use crate::testkit::command::{LANES, with_variables_of};
use crate::testkit::pool::Pool;
use crate::testkit::skip::mcp_python;

/// Makes calls with the client; the names of the tools, and what each call returned.
fn run(pool: &Pool, python: &std::path::Path, calls: &Value) -> (Vec<String>, Vec<Value>) {
    let mut command = std::process::Command::new(python);
    with_variables_of(&mut command, &pool.lanes(&[]));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/mcp/python_client.py");
    command.current_dir(pool.path("")).args(["-B", script, LANES, "mcp", "--tools", "compat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(calls.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = printed["tools"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_string());
    let mut returned = Vec::new();
    for call in printed["returned"].as_array().unwrap() {
        assert_eq!((&call["is_error"], &call["structured"]), (&json!(false), &Value::Null), "{call}");
        returned.push(serde_json::from_str(call["text"].as_str().unwrap()).unwrap());
    }
    (names.collect(), returned)
}

#[test]
fn the_python_client_uses_every_tool_of_agent_dispatch() {
    let Some(python) = mcp_python() else { return };
    let pool = Pool::scripted("  max_retries: 0\n  routes:\n    agent/infra: {}\n    agent/db: {}\n");
    std::fs::create_dir(pool.path("project")).unwrap();
    let _dispatcher = pool.dispatcher(&[]);
    let ask = |answer: &str| json!({"agent": "infra", "task": format!("DO: result '{answer}'")});
    let mut reference = ask("by reference");
    reference["return_ref"] = json!(true);
    let list = json!([ask("first"), ask("second")]).to_string();
    let calls = json!([
        ["list_agents", {}],
        ["dispatch", reference],
        ["fetch_result", {"ref": "$1.ref"}],
        ["dispatch_session", ask("a turn")],
        ["dispatch_session", {"agent": "infra", "task": "DO: result \"$session\"", "session_id": "$3.session_id"}],
        ["dispatch_stream", ask("streamed")],
        ["dispatch_parallel", {"dispatches": list}],
        ["dispatch_async", ask("later")],
        ["dispatch_wait", {"job_id": "$7.job_id"}],
        ["dispatch_status", {"job_id": "$7.job_id"}],
        ["dispatch_jobs", {"limit": 2}],
        ["dispatch_gc", {"max_age_days": 1}],
        ["add_agent", {"name": "here", "directory": "project"}],
        ["update_agent", {"name": "here", "description": "This one"}],
        ["inspect_agent", {"name": "here"}],
        ["remove_agent", {"name": "here"}],
        ["cache_stats", {}],
        ["cache_clear", {}],
        ["dispatch_dialogue", {"requester": "db", "responder": "infra", "topic": "anything", "max_rounds": 1}],
        ["dispatch_parallel", {"dispatches": list, "aggregate": "db"}],
    ]);
    let (names, returned) = run(&pool, &python, &calls);
    assert_eq!(names, NAMES);
    let called: Vec<&str> = calls.as_array().unwrap().iter().map(|call| call[0].as_str().unwrap()).collect();
    assert!(NAMES.iter().all(|name| called.contains(name)), "{called:?}");
    assert_eq!(returned[0][1]["name"], "infra");
    assert_eq!((&returned[1]["summary"], &returned[1]["size"]), (&json!("by reference"), &json!(12)));
    assert_eq!(returned[2]["result"], "by reference");
    assert_eq!(returned[4]["result"], returned[3]["session_id"]);
    assert_eq!(returned[5]["result"], "streamed");
    assert_eq!((&returned[6][0]["result"], &returned[6][1]["result"]), (&json!("first"), &json!("second")));
    assert_eq!(returned[7]["status"], "pending");
    assert_eq!((&returned[8]["status"], &returned[8]["result"]["result"]), (&json!("done"), &json!("later")));
    assert_eq!(returned[9], returned[8]);
    assert_eq!(returned[10][0]["id"], returned[7]["job_id"]);
    assert_eq!(returned[11]["purged"], 0);
    assert_eq!(returned[13]["fields"], json!(["description"]));
    assert_eq!(returned[14]["description"], "This one");
    assert_eq!(returned[18]["conversation"][0]["role"], "responder");
    assert_eq!(returned[19]["individual_results"][1]["result"], "second");
    assert_eq!(returned[19]["aggregated"]["agent"], "db");
    assert_eq!((&returned[16]["ttl"], &returned[17]["cleared"]), (&json!(300), &json!(0)));
}
