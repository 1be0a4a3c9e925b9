//! How a server begins and ends.

use std::io::Write;
use std::process::{ChildStdin, Stdio};

use lanes::internals::model::Owner;
use lanes::internals::store::{Store, StoreOptions, WorkerInfo, WorkerKind};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::client::Client;
use crate::testkit::command;
use crate::testkit::sandbox::Sandbox;
use crate::testkit::wait::{SOON, end_of, eventually};

/// The metadata with which clients of the newest protocol begin every request.
fn stateless(more: Value) -> Value {
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "claude-code", "version": "2"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    meta.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    meta
}

fn tool_names(list: &Value) -> Vec<&str> {
    list["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[test]
fn every_version_with_a_handshake_is_spoken() {
    let sandbox = Sandbox::empty();
    for (asked, answered) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
    ] {
        let mut client = Client::start(sandbox.live_command(&["mcp"]));
        let hello = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
        let answer = client.ask("initialize", hello);
        assert_eq!(answer["result"]["protocolVersion"], answered, "{answer}");
        assert_eq!(answer["result"]["capabilities"], json!({"tools": {}}));
        let list = client.ask("tools/list", json!({}));
        assert!(
            list["result"].get("resultType").is_none() && list["result"].get("ttlMs").is_none(),
            "{asked}"
        );
        assert_eq!(client.ask("ping", json!({}))["result"], json!({}));
        assert_eq!(client.ask("logging/setLevel", json!({"level": "debug"}))["result"], json!({}));
        client.close_input();
        assert!(client.end().success());
    }
}

#[test]
fn a_client_without_a_handshake_is_served_by_the_request() {
    let sandbox = Sandbox::new();
    let mut client = Client::start(sandbox.live_command(&["mcp"]));
    let answer = client.ask("server/discover", json!({"_meta": stateless(json!({}))}));
    let versions = answer["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")), "{answer}");
    assert!(answer["result"]["instructions"].as_str().unwrap().starts_with("Delegate work"), "{answer}");
    let list = client.ask("tools/list", json!({"_meta": stateless(json!({}))}));
    let result = &list["result"];
    assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&json!(60_000), &json!("private")), "{list}");
    let params = json!({"name": "jobs", "arguments": {}, "_meta": stateless(json!({}))});
    let called = client.ask("tools/call", params);
    assert_eq!(called["result"]["resultType"], "complete", "{called}");
    assert_eq!(called["result"]["content"][0]["text"], "no tasks");
    // It may fall back to a handshake.
    let hello = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}
    });
    assert_eq!(client.ask("initialize", hello)["result"]["protocolVersion"], "2025-11-25");
    let unknown =
        json!({"_meta": stateless(json!({"io.modelcontextprotocol/protocolVersion": "2099-01-01"}))});
    assert_eq!(client.ask("tools/list", unknown)["error"]["code"], -32022);
}

#[test]
fn a_client_may_connect_where_there_is_no_workspace() {
    let sandbox = Sandbox::empty();
    let mut client = Client::connect(sandbox.live_command(&["mcp"]));
    assert!(!tool_names(&client.ask("tools/list", json!({}))).is_empty());
    client.call("jobs", json!({})).refused("config", "no workspace found");
    assert!(std::fs::read_dir(sandbox.root()).unwrap().next().is_none(), "nothing was made");
    // It may be set up while the server runs.
    sandbox.ok(&["init", "-q"]);
    assert_eq!(client.call("jobs", json!({})).fine(), "no tasks");
    // It may be removed and created again.
    client.call("delegate", json!({"lane": "a", "task": "x", "wait": 0})).fine();
    std::fs::remove_dir_all(sandbox.path("handoff/state")).unwrap();
    assert_eq!(client.call("jobs", json!({})).fine(), "no tasks");
}

#[test]
fn a_user_may_have_a_queue_of_their_own() {
    let sandbox = Sandbox::empty();
    let state = sandbox.root().parent().unwrap().join("state-home");
    let mut command = sandbox.live_command(&["mcp", "--user"]);
    command.env("XDG_STATE_HOME", &state);
    let mut client = Client::connect(command);
    assert!(!state.exists(), "it is made when it is needed");
    let id = client.call("delegate", json!({"lane": "a", "task": "x", "wait": 0})).id();
    assert!(state.join("lanes/queue/tasks").join(id).is_dir());
    // A workspace takes precedence.
    sandbox.ok(&["init", "-q"]);
    let mut command = sandbox.live_command(&["mcp", "--user"]);
    command.env("XDG_STATE_HOME", &state);
    assert_eq!(Client::connect(command).call("jobs", json!({})).fine(), "no tasks");
    sandbox.run(&["mcp", "--user"]).refused(1, "--user needs a home directory");
}

#[test]
fn tools_are_offered_in_sets() {
    let sandbox = Sandbox::new();
    let caller = ["delegate", "dialogue", "wait", "result", "jobs", "answer", "cancel", "agents"];
    let admin = ["edit_agent", "upkeep"];
    let worker = ["claim_next", "report", "respond"];
    for (words, expected) in [
        (&["mcp"][..], [&caller[..], &worker].concat()),
        (&["mcp", "--tools", "caller"], caller.to_vec()),
        (&["mcp", "--tools", "worker,caller"], [&caller[..], &worker].concat()),
        (&["mcp", "--tools", "admin"], admin.to_vec()),
        (&["mcp", "--tools", "all"], [&caller[..], &worker, &admin].concat()),
    ] {
        let mut client = Client::connect(sandbox.live_command(words));
        assert_eq!(tool_names(&client.ask("tools/list", json!({}))), expected);
    }
    sandbox
        .run(&["mcp", "--tools", "everything"])
        .refused(2, "expected one of caller, worker, admin, compat, all");
    let mut inside = sandbox.live_command(&["mcp", "--tools", "all"]);
    inside.env("LANES_RUN_ID", "x");
    assert!(!inside.output().unwrap().status.success(), "an agent may not remove tasks");
}

#[test]
fn verbose_servers_log_a_line_for_each_call_and_none_of_its_arguments() {
    let sandbox = Sandbox::new();
    let call = |id: u64, tool: &str, arguments: Value| {
        let params = json!({"name": tool, "arguments": arguments});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string() + "\n"
    };
    let input = [
        call(1, "delegate", json!({"lane": "a", "task": "secret", "wait": 0})),
        call(2, "wait", json!({"ids": ["20991231"]})),
        call(3, "no\nsuch\u{202e}tool", json!({})),
    ];
    let outcome = sandbox.run_with(&["mcp", "--verbose"], input.concat());
    assert_eq!(outcome.code, 0, "{outcome}");
    let mut lines: Vec<&str> = outcome.stderr.lines().collect();
    lines.sort_unstable_by_key(|line| line.split(' ').nth(3).map(str::to_string));
    let expected =
        ["delegate * s ok", "no\\nsuch\\u{202e}tool * s unknown tool", "wait * s error (not_found)"];
    assert_eq!(lines.len(), expected.len(), "{outcome}");
    for (line, expected) in lines.iter().zip(expected) {
        let (head, tail) = expected.split_once('*').unwrap();
        assert!(line.starts_with("lanes mcp: 2026-") && line.ends_with(tail), "{line}");
        assert!(line.contains(head), "{line}");
    }
    assert_eq!(sandbox.run_with(&["mcp"], input.concat()).stderr, "");
}

#[test]
fn the_default_list_is_small_and_complete() {
    let sandbox = Sandbox::empty();
    let mut client = Client::connect(sandbox.live_command(&["mcp"]));
    let list = client.ask("tools/list", json!({}));
    let tools = list["result"]["tools"].as_array().unwrap();
    assert!(list["result"]["tools"].to_string().len() <= 7_000);
    for tool in tools {
        assert!(tool.get("outputSchema").is_none() && tool["annotations"].is_object(), "{tool}");
    }
    assert_eq!(tools[0]["_meta"]["anthropic/alwaysLoad"], true);
    // The tools that codex runs where nobody can be asked.
    for name in ["wait", "result", "jobs", "answer", "claim_next", "report", "respond"] {
        let tool = tools.iter().find(|tool| tool["name"] == name).unwrap();
        let hints = &tool["annotations"];
        let passes = hints["readOnlyHint"] == true
            || (hints["destructiveHint"] == false && hints["openWorldHint"] == false);
        assert!(passes, "{tool}");
    }
}

#[test]
fn the_instructions_name_the_lanes_and_agents_of_the_workspace() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "handoff/handoff.yaml",
        "workspace_id: w\nlanes: {review: Reviews plans, agent/infra: Terraform}\n\
         dispatch: {routes: {agent/api: {vendor: claude}}}\n",
    );
    let mut client = Client::start(sandbox.live_command(&["mcp"]));
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    let answer = client.ask("initialize", hello);
    let text = answer["result"]["instructions"].as_str().unwrap();
    assert!(text.ends_with("Agents:\n- api\n- infra: Terraform\nLanes:\n- review: Reviews plans"), "{text}");
}

#[test]
fn a_server_ends_with_its_client_and_what_was_delegated_goes_on() {
    type Ending = fn(&mut Client);
    let endings: [Ending; 3] =
        [Client::close_input, |client| client.signal(Signal::TERM), |client| client.signal(Signal::INT)];
    for ending in endings {
        let sandbox = Sandbox::new();
        let args = ["env", "--default-signal=INT", command::LANES, "mcp"];
        let mut command = command::clean_with_path(args[0]);
        command.args(&args[1..]).current_dir(sandbox.root());
        let mut client = Client::connect(command);
        let call = client.begin("delegate", json!({"lane": "a", "task": "x", "wait": 50}));
        let other = client.begin("claim_next", json!({"lane": "b", "wait": 50}));
        eventually("the other call waits", || {
            sandbox.peek(&["workers"])["workers"][0]["lanes"] == json!(["b"])
        });
        let mut id = String::new();
        eventually("the task is submitted", || {
            let tasks = std::fs::read_dir(sandbox.path("handoff/state/tasks"));
            id = tasks.map_or(String::new(), |mut tasks| {
                tasks.next().map_or(String::new(), |task| task.unwrap().file_name().into_string().unwrap())
            });
            !id.is_empty()
        });
        ending(&mut client);
        // Both calls are answered before the end.
        assert!(client.reply(call).text.starts_with(&format!("queued {id} ")));
        assert!(client.reply(other).text.starts_with("nothing to claim"));
        assert!(client.end().success());
        assert_eq!(sandbox.peek(&["status", &id])["task"]["state"], "queued");
        assert!(sandbox.peek(&["workers"])["workers"].as_array().unwrap().is_empty());
    }
}

/// Starts a server whose answers nobody reads, and writes to it with `send`. Returns whether the server ends by
/// itself.
fn ends_unread(send: impl FnOnce(&mut ChildStdin) + Send + 'static) -> bool {
    let sandbox = Sandbox::new();
    let mut command = sandbox.live_command(&["mcp"]);
    let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = server.stdin.take().unwrap();
    // On a separate thread, since a server that hangs would stop reading.
    let sender = std::thread::spawn(move || send(&mut input));
    let is_ended = end_of(&mut server, SOON).is_some();
    sender.join().unwrap();
    is_ended
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let at_its_end = |input: &mut ChildStdin| {
        for _ in 0..2000 {
            input.write_all(b"not a message\n").unwrap();
        }
    };
    assert!(ends_unread(at_its_end));
    let when_too_much_waits = |input: &mut ChildStdin| {
        let large = json!({"jsonrpc": "2.0", "id": "x".repeat(1 << 20), "method": "ping"});
        let line = format!("{large}\n");
        while input.write_all(line.as_bytes()).is_ok() {}
    };
    assert!(ends_unread(when_too_much_waits));
}

#[test]
fn running_servers_that_are_out_of_date_are_found_by_doctor_and_are_no_workers() {
    let sandbox = Sandbox::new();
    let checks = || -> Vec<(String, String)> {
        let report = sandbox.peek(&["doctor"]);
        let all = report["checks"].as_array().unwrap().iter().filter(|check| check["area"] == "mcp");
        let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_string();
        all.map(|check| (text(check, "level"), text(check, "message"))).collect()
    };
    let own = std::fs::canonicalize(sandbox.root()).unwrap().join("old-lanes");
    std::fs::copy(command::LANES, &own).unwrap();
    let mut command = command::clean(&own);
    command.current_dir(sandbox.root()).arg("mcp");
    let mut client = Client::connect(command);
    assert!(checks().is_empty(), "it has not opened the queue: {:?}", checks());
    client.call("jobs", json!({})).fine();
    assert_eq!(checks(), [("ok".to_string(), "running servers of this version: 1".to_string())]);
    std::fs::remove_file(&own).unwrap();
    let [(level, message)] = &checks()[..] else { panic!("{:?}", checks()) };
    assert_eq!(level, "warning");
    assert!(message.ends_with("runs a program file that has been replaced since it started"), "{message}");
    assert_eq!(sandbox.peek(&["workers"])["count"], 0);
    client.close_input();
    assert!(client.end().success());
    assert!(checks().is_empty(), "{:?}", checks());
    let store = Store::open(&sandbox.path("handoff/state"), StoreOptions::default()).unwrap();
    let old = WorkerInfo {
        kind: WorkerKind::ChatServer,
        owner: Owner::new("chat-server").unwrap(),
        pid: std::process::id(),
        lanes: Vec::new(),
        filter: String::new(),
        since: store.now().wall,
        data: json!({"version": "0.0.1"}).as_object().cloned().unwrap(),
    };
    let registration = store.register(&old).unwrap();
    let [(level, message)] = &checks()[..] else { panic!("{:?}", checks()) };
    assert_eq!(level, "warning");
    assert!(message.contains("is version 0.0.1, and this is "), "{message}");
    drop(registration);
}

#[test]
fn a_client_that_takes_tasks_asks_about_a_long_call_at_any_server() {
    let sandbox = Sandbox::new();
    let meta = || {
        let capabilities = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
        stateless(json!({"io.modelcontextprotocol/clientCapabilities": capabilities}))
    };
    let mut client = Client::start(sandbox.live_command(&["mcp"]));
    let mut delegate = |task: &str| {
        let arguments = json!({"lane": "a", "task": task, "wait": 50});
        let call = json!({"name": "delegate", "arguments": arguments, "_meta": meta()});
        let handle = client.ask("tools/call", call)["result"].clone();
        assert_eq!(
            (&handle["resultType"], &handle["status"]),
            (&json!("task"), &json!("working")),
            "{handle}"
        );
        assert_eq!((&handle["ttlMs"], &handle["pollIntervalMs"]), (&Value::Null, &json!(2000)), "{handle}");
        handle["taskId"].as_str().unwrap().to_string()
    };
    let (answered, ended) = (delegate("x"), delegate("y"));
    client.close_input();
    let mut other = Client::start(sandbox.live_command(&["mcp"]));
    let mut ask = |method: &str, more: Value| {
        let mut params = json!({"_meta": meta()});
        params.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        other.ask(method, params)
    };
    assert_eq!(ask("tasks/get", json!({"taskId": answered}))["result"]["status"], "working");
    let claim = sandbox.live_command(&["claim", &answered, "--json"]).output().unwrap();
    let claim: Value = serde_json::from_slice(&claim.stdout).unwrap();
    let token = claim["claim_token"].as_str().unwrap();
    let respond = ["respond", &answered, "--claim-token", token, "--body", "Yes."];
    assert!(sandbox.live_command(&respond).output().unwrap().status.success());
    let done = ask("tasks/get", json!({"taskId": answered}))["result"].clone();
    assert_eq!((&done["resultType"], &done["status"]), (&json!("complete"), &json!("completed")), "{done}");
    assert!(done["result"]["content"][0]["text"].as_str().unwrap().ends_with("Yes."), "{done}");
    assert!(ask("tasks/cancel", json!({"taskId": ended}))["error"].is_null());
    assert_eq!(ask("tasks/get", json!({"taskId": ended}))["result"]["status"], "cancelled");
    assert!(ask("tasks/cancel", json!({"taskId": answered}))["error"].is_null());
    let asked = ask("tasks/update", json!({"taskId": answered, "inputResponses": {}}));
    assert!(asked["error"]["message"].as_str().unwrap().contains("has not asked for anything"), "{asked}");
    assert_eq!(ask("tasks/get", json!({"taskId": "../x"}))["error"]["code"], -32602);
    let without = other.ask("tasks/get", json!({"taskId": ended, "_meta": stateless(json!({}))}));
    assert!(without["error"].is_object(), "{without}");
}
