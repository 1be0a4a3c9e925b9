//! The tools over HTTP: `lanes serve --mcp`, and messages posted to `/mcp`.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::testkit::sandbox::Running;
use crate::testkit::server::{Client, Reply, Server, failed_start, program};
use crate::testkit::wait::eventually;

const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const EVENTS: (&str, &str) = ("Accept", "application/json, text/event-stream");

/// A server with the tools, and without a token for its other routes.
fn server() -> Server {
    let mut server = Server::with(&["--mcp"]);
    server.token = Some(server.token_of_store());
    server
}

fn request(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// A call as a client without a handshake makes it.
fn call(tool: &str, arguments: Value) -> Value {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "claude-code", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": 7,
    });
    request("tools/call", json!({"name": tool, "arguments": arguments, "_meta": meta}))
}

fn post(server: &Server, message: &Value) -> Reply {
    server.client().ask("POST", "/mcp", &[EVENTS], Some(message))
}

/// The text of a result, which must not be an error.
#[track_caller]
fn text_of(reply: &Reply) -> String {
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")), "{reply:?}");
    assert_ne!(reply.json()["result"]["isError"], true, "{reply:?}");
    reply.text_at("/result/content/0/text")
}

/// Begins a call that waits, on a connection of its own.
fn begin(server: &Server, message: &Value) -> Client {
    let mut client = server.client();
    client.request("POST", "/mcp", &[EVENTS], Some(message));
    client
}

fn queued(server: &Server) -> Value {
    let lanes = server.get("/status").at("/lanes");
    let lane = lanes.as_array().unwrap().iter().find(|lane| lane["name"] == "review").cloned();
    lane.map_or(Value::Null, |lane| lane["tasks_by_state"]["queued"].clone())
}

fn status_of(server: &Server, id: &str) -> String {
    server.get(&format!("/tasks/{id}")).text_at("/task/state")
}

#[test]
fn every_version_is_spoken_and_nothing_is_kept() {
    let server = server();
    for version in VERSIONS {
        let hello = json!({
            "protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"},
        });
        let reply = post(&server, &request("initialize", hello));
        assert_eq!(reply.text_at("/result/protocolVersion"), version);
        assert_eq!((reply.header("mcp-session-id"), reply.header("set-cookie")), (None, None), "{reply:?}");
        let headers = [("MCP-Protocol-Version", version)];
        let list = server.client().ask("POST", "/mcp", &headers, Some(&request("tools/list", json!({}))));
        assert_eq!(list.at("/result/tools").as_array().unwrap().len(), 11, "{list:?}");
        assert!(list.json()["result"].get("resultType").is_none(), "{list:?}");
    }
    let meta = json!({"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "x", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }});
    let headers =
        [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "server/discover"), ("Mcp-Name", "x")];
    let message = request("server/discover", meta.clone());
    let discovered = server.client().ask("POST", "/mcp", &headers, Some(&message));
    let versions = discovered.at("/result/supportedVersions");
    assert!(versions.as_array().unwrap().contains(&json!("2026-07-28")), "{discovered:?}");
    let list = post(&server, &request("tools/list", meta.clone()));
    assert_eq!(list.at("/result/resultType"), "complete");
    let unknown = post(&server, &request("nobody/knows", meta));
    assert_eq!((unknown.status, unknown.at("/error/code")), (404, json!(-32601)));
    let unknown = post(&server, &request("nobody/knows", json!({})));
    assert_eq!((unknown.status, unknown.at("/error/code")), (200, json!(-32601)));
    // With neither a handshake nor a version.
    assert!(text_of(&post(&server, &request("tools/call", json!({"name": "jobs"})))).contains("no tasks"));
}

#[test]
fn what_is_not_a_request_has_the_answer_that_it_has_over_pipes() {
    let server = server();
    for message in ["notifications/initialized", "notifications/cancelled"] {
        let message = json!({"jsonrpc": "2.0", "method": message, "params": {"requestId": 1}});
        let reply = post(&server, &message);
        assert_eq!((reply.status, reply.text.as_str()), (202, ""), "{reply:?}");
    }
    let raw = |body: &str| {
        let mut client = server.client();
        let token = server.token.as_deref().unwrap();
        let length = body.len();
        client.send(format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ));
        client.reply(false)
    };
    for (body, code) in [
        ("{", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}"#, -32700),
        (&"[".repeat(10_000), -32700),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#, -32602),
    ] {
        let reply = raw(body);
        let shown = &body[..body.len().min(60)];
        assert_eq!((reply.status, reply.at("/error/code")), (400, json!(code)), "{shown}");
    }
    assert_eq!(raw("").status, 202);
    let half = raw(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\ud83d"}}"#);
    assert_eq!(half.at("/error/code"), -32602);
    let headers = [("MCP-Protocol-Version", "1999-01-01")];
    let reply = server.client().ask("POST", "/mcp", &headers, Some(&request("ping", json!({}))));
    assert_eq!((reply.status, reply.at("/error/code")), (400, json!(-32600)));
    assert!(reply.text_at("/error/message").contains("1999-01-01; there are 2024-11-05"), "{reply:?}");
    let mut client = server.client();
    let large = format!("Content-Length: {}\r\nExpect: 100-continue", 9 * 1024 * 1024);
    let token = server.token.as_deref().unwrap();
    client.send(format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{large}\r\n\r\n"
    ));
    assert_eq!(client.reply(false).status, 413);
    assert_eq!(post(&server, &request("ping", json!({}))).at("/result"), json!({}));
}

#[test]
fn only_those_with_the_token_and_no_other_web_page_may_post() {
    let server = server();
    let ping = request("ping", json!({}));
    let stranger = |headers: &[(&str, &str)]| {
        let mut client = Client::to(server.address);
        client.ask("POST", "/mcp", headers, Some(&ping)).status
    };
    // The other routes of this server need no token.
    assert_eq!(Client::to(server.address).ask("GET", "/status", &[], None).status, 200);
    assert_eq!(stranger(&[]), 401);
    assert_eq!(stranger(&[("Authorization", "Bearer wrong")]), 401);
    let bearer = format!("Bearer {}", server.token.as_deref().unwrap());
    assert_eq!(stranger(&[("Authorization", &bearer)]), 200);
    assert_eq!(stranger(&[("Authorization", &bearer), ("Origin", "https://evil.example")]), 403);
    assert_eq!(stranger(&[("Authorization", &bearer), ("Host", "evil.example")]), 403);
    assert_eq!(stranger(&[("Authorization", &bearer), ("Sec-Fetch-Site", "cross-site")]), 403);
    let browser = [("Authorization", bearer.as_str()), ("Cookie", "a=b"), ("Content-Type", "text/plain")];
    assert_eq!(stranger(&browser), 415);
    for method in ["GET", "HEAD", "DELETE", "PUT"] {
        let reply = server.client().ask(method, "/mcp", &[], None);
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST, OPTIONS")), "{method}");
    }
    assert_eq!(server.client().ask("OPTIONS", "/mcp", &[], None).header("allow"), Some("POST, OPTIONS"));
    assert!(server.get("/openapi.json").json()["paths"].get("/mcp").is_none());
}

#[test]
fn it_is_off_unless_it_is_asked_for() {
    let without = Server::new();
    assert_eq!(post(&without, &request("ping", json!({}))).status, 404);
    assert!(!has_thread(&without, "mcp"), "a thread for nothing");
    let open = Server::with(&["--mcp", "--mcp-no-token"]);
    eventually("its thread runs", || has_thread(&open, "mcp"));
    assert_eq!(post(&open, &request("ping", json!({}))).status, 200);
    let dir = without.dir.path();
    let refused = failed_start(dir, &["--mcp", "--mcp-tools", "everything"]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(text, "lanes: --mcp-tools: expected one of caller, worker, admin, compat, all\n");
    let outside = ["--mcp", "--mcp-no-token", "--host", "0.0.0.0", "--token-file", "token"];
    let refused = failed_start(dir, &outside);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("0.0.0.0 can be reached from other machines"), "{text}");
    assert!(text.contains("without --mcp-no-token"), "{text}");
    assert_eq!(failed_start(dir, &["--mcp-no-token"]).status.code(), Some(2));
}

/// Whether a thread of the server has this name.
fn has_thread(server: &Server, name: &str) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap();
    tasks
        .flatten()
        .any(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name))
}

#[test]
fn the_tools_are_those_of_the_chosen_sets() {
    let server = Server::with(&["--mcp", "--mcp-no-token", "--mcp-tools", "worker,admin"]);
    let list = post(&server, &request("tools/list", json!({})));
    let names: Vec<String> =
        list.at("/result/tools").as_array().unwrap().iter().map(|tool| tool["name"].to_string()).collect();
    assert_eq!(names.join(" "), r#""claim_next" "report" "respond" "edit_agent" "upkeep""#);
    let refused = post(&server, &call("delegate", json!({"lane": "review", "task": "x"})));
    assert!(refused.text_at("/error/message").starts_with("unknown tool: delegate"), "{refused:?}");
}

#[test]
fn a_call_that_takes_long_is_answered_as_events_with_its_progress() {
    let server = server();
    let mut waiting = begin(&server, &call("delegate", json!({"lane": "review", "task": "x", "wait": 50})));
    let head = waiting.until("\r\n\r\n");
    assert!(head.contains("Content-Type: text/event-stream\r\n"), "{head}");
    let progress = event(&mut waiting);
    assert_eq!(
        (&progress["method"], &progress["params"]["progressToken"]),
        (&json!("notifications/progress"), &json!(7))
    );
    let id = progress["params"]["message"].as_str().unwrap().split_whitespace().nth(1).unwrap().to_string();
    server.respond(&id, "Yes, Zürich.");
    loop {
        let message = event(&mut waiting);
        if message["method"].is_null() {
            assert_eq!(message["id"], 1);
            let text = message["result"]["content"][0]["text"].as_str().unwrap();
            assert!(text.starts_with(&format!("done {id}")) && text.ends_with("Yes, Zürich."), "{text}");
            break;
        }
    }
    assert!(waiting.is_closed(), "the stream ends");
    // A client without a progress token, or that takes no events, gets one message.
    let again = call("wait", json!({"ids": [&id]}));
    assert!(text_of(&post(&server, &again)).ends_with("Yes, Zürich."));
    let mut plain = server.client();
    let message = call("delegate", json!({"lane": "review", "task": "y", "wait": 2}));
    plain.request("POST", "/mcp", &[("Accept", "application/json")], Some(&message));
    assert!(text_of(&plain.reply(false)).starts_with("queued "));
}

#[test]
fn a_client_that_takes_tasks_asks_about_a_long_call_by_further_posts() {
    let server = server();
    let with_tasks = |method: &str, mut params: Value| {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "claude-code", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
        });
        post(&server, &request(method, params))
    };
    let delegate = |task: &str| {
        let arguments = json!({"lane": "review", "task": task, "wait": 50});
        let handle = with_tasks("tools/call", json!({"name": "delegate", "arguments": arguments}));
        assert_eq!(
            (handle.at("/result/resultType"), handle.at("/result/status")),
            (json!("task"), json!("working"))
        );
        handle.text_at("/result/taskId")
    };
    let (answered, ended) = (delegate("x"), delegate("y"));
    let status = |id: &str| with_tasks("tasks/get", json!({"taskId": id})).at("/result/status");
    assert_eq!(status(&answered), "working");
    server.respond(&answered, "Yes, Zürich.");
    let done = with_tasks("tasks/get", json!({"taskId": answered}));
    assert_eq!((done.status, done.at("/result/status")), (200, json!("completed")), "{done:?}");
    assert!(done.text_at("/result/result/content/0/text").ends_with("Yes, Zürich."), "{done:?}");
    let cancelled = with_tasks("tasks/cancel", json!({"taskId": ended}));
    assert!(cancelled.json()["error"].is_null(), "{cancelled:?}");
    assert_eq!((status(&ended), status_of(&server, &ended)), (json!("cancelled"), "failed".to_string()));
    let unknown = with_tasks("tasks/get", json!({"taskId": "../x"}));
    assert_eq!(unknown.at("/error/code"), -32602, "{unknown:?}");
    let without = post(&server, &request("tasks/get", json!({"taskId": answered})));
    assert!(without.at("/error").is_object(), "{without:?}");
    // Whoever asks needs the token, as for every other message.
    let stranger = Client::to(server.address).ask(
        "POST",
        "/mcp",
        &[],
        Some(&request("tasks/get", json!({"taskId": answered}))),
    );
    assert_eq!(stranger.status, 401);
}

/// The message of the next event.
fn event(client: &mut Client) -> Value {
    loop {
        let event = client.until("\n\n");
        if let Some(data) = event.strip_prefix("event: message\ndata: ") {
            return serde_json::from_str(data).unwrap();
        }
        assert!(event.starts_with(": "), "{event:?}");
    }
}

#[test]
fn a_client_that_hangs_up_ends_its_waiting_and_not_the_task() {
    let server = server();
    let waiting = begin(&server, &call("delegate", json!({"lane": "review", "task": "x", "wait": 50})));
    eventually("the task is there", || queued(&server) == 1);
    drop(waiting);
    // A claim whose client is gone would be released; a task stays.
    let claiming = begin(&server, &call("claim_next", json!({"lane": "other", "wait": 50})));
    // Its stream has begun, so that it waits.
    let mut claiming = claiming;
    claiming.until("\r\n\r\n");
    drop(claiming);
    let listed = text_of(&post(&server, &call("jobs", json!({"lane": "review"}))));
    let id = listed.split_whitespace().nth(1).unwrap();
    assert_eq!(status_of(&server, id), "queued");
    let other = server.submit("other");
    let claimed = text_of(&post(&server, &call("claim_next", json!({"lane": "other", "wait": 20}))));
    assert!(claimed.contains(&other), "{claimed}");
}

#[test]
fn equal_requests_are_one_task_only_within_a_session_that_is_named() {
    let server = server();
    let arguments = json!({"lane": "review", "task": "x", "wait": 0});
    let id =
        |message: &Value| text_of(&post(&server, message)).split_whitespace().nth(1).unwrap().to_string();
    assert_ne!(id(&call("delegate", arguments.clone())), id(&call("delegate", arguments.clone())));
    let as_codex = |session: &str| {
        let meta = json!({"x-codex-turn-metadata": {"session_id": session}});
        request("tools/call", json!({"name": "delegate", "arguments": arguments, "_meta": meta}))
    };
    let first = id(&as_codex("s1"));
    assert_eq!(id(&as_codex("s1")), first);
    assert_ne!(id(&as_codex("s2")), first);
    let task = server.get(&format!("/tasks/{first}")).json();
    assert_eq!(task["task"]["metadata"]["mcp_session"], "s1", "{task}");
}

#[test]
fn two_hundred_calls_that_wait_hold_no_threads() {
    let server = server();
    let waiting: Vec<Client> = (0..200)
        .map(|number| {
            begin(
                &server,
                &call("delegate", json!({"lane": "review", "task": format!("{number}"), "wait": 200})),
            )
        })
        .collect();
    eventually("all tasks are there", || queued(&server) == 200);
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap().count();
    assert!(threads < 40, "{threads} threads");
    assert_eq!(post(&server, &request("ping", json!({}))).status, 200);
    // A call beyond the maximum is refused, and the server keeps running.
    let more: Vec<Client> = (0..60)
        .map(|number| {
            begin(&server, &call("wait", json!({"ids": [status_id(&server)], "seconds": 200 + number})))
        })
        .collect();
    eventually("calls are refused", || {
        let reply = post(&server, &call("jobs", json!({})));
        reply.text.contains("error (busy): too many calls are running")
    });
    drop((waiting, more));
    eventually("calls are served again", || {
        !post(&server, &call("jobs", json!({"limit": 1}))).text.contains("error (busy)")
    });
}

fn status_id(server: &Server) -> String {
    server.get("/tasks?limit=1").text_at("/tasks/0/id")
}

#[test]
fn a_server_that_stops_answers_the_calls_that_wait() {
    let mut server = server();
    let message = call("delegate", json!({"lane": "review", "task": "x", "wait": 50}));
    let mut stream = begin(&server, &message);
    stream.until("\r\n\r\n");
    let mut plain = server.client();
    plain.request("POST", "/mcp", &[("Accept", "application/json")], Some(&message));
    eventually("both tasks are there", || queued(&server) == 2);
    server.signal(Signal::TERM);
    assert!(text_of(&plain.reply(false)).starts_with("queued "));
    loop {
        let message = event(&mut stream);
        if message["method"].is_null() {
            assert!(message["result"]["content"][0]["text"].as_str().unwrap().starts_with("queued "));
            break;
        }
    }
    assert!(server.child.wait().unwrap().success());
    let status = program(server.dir.path(), &["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["lanes"]["review"]["queued"], 2, "{status}");
}

#[test]
fn a_store_that_was_moved_is_not_replaced_by_another() {
    for has_called in [false, true] {
        let server = server();
        let jobs = || post(&server, &call("jobs", json!({})));
        if has_called {
            text_of(&jobs());
        }
        let (state, away) = (server.root().join("state"), server.root().join("away"));
        rustix::fs::rename(&state, &away).unwrap();
        let refused = jobs().text_at("/result/content/0/text");
        assert!(refused.starts_with("error (config): the state directory was removed or moved"), "{refused}");
        assert!(!state.exists());
        rustix::fs::rename(&away, &state).unwrap();
        assert_eq!(text_of(&jobs()), "no tasks");
    }
}

#[test]
fn a_socket_that_only_this_user_reaches_needs_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let args = ["--store", "state", "serve", "--mcp", "--socket", socket.to_str().unwrap()];
    let mut command = program(dir.path(), &args);
    command.stdout(std::process::Stdio::null());
    let server = Running::start(command);
    eventually("the socket is there", || socket.exists());
    let body = request("ping", json!({})).to_string();
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}",
        body.len()
    );
    std::io::Write::write_all(&mut stream, format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    drop(server);
    assert!(answer.ends_with(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), "{answer}");
}

#[test]
fn an_agent_gets_a_dispatcher_unless_anybody_could_ask_for_it() {
    let agents = "dispatch: {routes: {agent/infra: {command: /bin/cat}}}";
    let ask = call("delegate", json!({"agent": "infra", "task": "x", "wait": 0}));
    for flag in ["--mcp-no-token", "--mcp-no-dispatch"] {
        let mut server = Server::configured(agents, &["--mcp", flag]);
        if flag != "--mcp-no-token" {
            server.token = Some(server.token_of_store());
        }
        let text = text_of(&post(&server, &ask));
        assert!(text.contains("nobody serves lane agent/infra; no dispatcher is started: "), "{text}");
        assert!(!server.root().join("logs").exists(), "{flag}");
    }
    let mut server = Server::configured(agents, &["--mcp"]);
    server.token = Some(server.token_of_store());
    let id = text_of(&post(&server, &ask)).split(' ').nth(1).unwrap().to_string();
    eventually("it is answered", || status_of(&server, &id) == "completed");
    let workers: Value = serde_json::from_str(&server.lanes(&["workers", "--json"])).unwrap();
    assert_eq!(workers["workers"][0]["data"]["on_demand"], true, "{workers}");
    let pid = i32::try_from(workers["workers"][0]["pid"].as_i64().unwrap()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    eventually("it ends, and the server reaps it", || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
}
