//! The tools of agent-dispatch: its names, arguments and results.

use serde_json::{Value, json};

use super::client::Client;
use super::coordination;
use crate::testkit::pool::Pool;

/// Returns a pool with the agents `infra` and `db`.
fn pool() -> Pool {
    Pool::scripted("  max_retries: 0\n  routes:\n    agent/infra: {}\n    agent/db: {}\n")
}

fn compat(pool: &Pool) -> Client {
    Client::connect(pool.lanes(&["mcp", "--no-dispatch", "--tools", "compat"]))
}

/// Returns the prompt that makes the scripted agent run `script`.
fn task(script: &str) -> String {
    format!("DO: {script}")
}

/// Calls a tool; what it answered, which is JSON.
#[track_caller]
fn call(client: &mut Client, tool: &str, arguments: Value) -> Value {
    let reply = client.call(tool, arguments);
    let value: Value = serde_json::from_str(&reply.text).unwrap_or_else(|error| panic!("{error}: {reply:?}"));
    assert_eq!(reply.structured, None);
    assert_eq!(
        reply.is_error,
        value.get("error").is_some() && value.get("success").is_none() && value.get("id").is_none(),
        "{value}"
    );
    value
}

/// Returns a value without what differs from run to run: ids, times and durations, whose types are checked.
fn golden(mut value: Value) -> Value {
    match &mut value {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                match key.as_str() {
                    "id" | "job_id" | "ref" | "session_id" => assert!(value.is_string(), "{key}: {value}"),
                    "duration_ms" | "total_duration_ms" => assert!(value.is_u64(), "{key}: {value}"),
                    "created_at" | "started_at" | "completed_at" => {
                        assert!(value.as_f64().unwrap() > 1e9, "{key}: {value}");
                    }
                    _ => {
                        *value = golden(value.take());
                        continue;
                    }
                }
                *value = json!(key);
            }
        }
        Value::Array(items) => {
            for item in items.iter_mut() {
                *item = golden(item.take());
            }
        }
        _ => {}
    }
    value
}

/// What the scripted agent's run is reported as.
fn result(agent: &str, text: &str) -> Value {
    json!({
        "agent": agent, "success": true, "result": text, "session_id": "session_id", "cost_usd": 0.25,
        "duration_ms": "duration_ms", "num_turns": 2,
    })
}

#[test]
fn the_old_tools_are_listed_on_demand_and_accepted_where_their_counterparts_are() {
    let pool = pool();
    let mut client = compat(&pool);
    let list = client.ask("tools/list", json!({}));
    let names: Vec<&str> = list["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, NAMES);
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    let hello = client.ask("initialize", hello);
    assert!(hello["result"]["instructions"].as_str().unwrap().contains("dispatch_wait"), "{hello}");
    assert_eq!(call(&mut client, "dispatch_jobs", json!({})), json!([]));
    let mut client = Client::connect(pool.lanes(&["mcp"]));
    assert_eq!(call(&mut client, "dispatch_jobs", json!({})), json!([]));
    for (tool, words) in [("dispatch_gc", "caller"), ("dispatch", "worker"), ("delegate", "compat")] {
        let mut client = Client::connect(pool.lanes(&["mcp", "--tools", words]));
        let answer = client.ask("tools/call", json!({"name": tool, "arguments": {}}));
        assert!(answer["error"]["message"].as_str().unwrap().starts_with("unknown tool: "), "{answer}");
    }
    let mut inside = pool.lanes(&["mcp", "--tools", "compat"]);
    assert!(!inside.env("LANES_RUN_ID", "x").output().unwrap().status.success());
}

#[test]
fn dispatch_returns_the_result_or_a_reference_to_it() {
    let pool = pool();
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = compat(&pool);
    let ask = json!({"agent": "infra", "task": task("result 'It is 42.'"), "context": "", "caller": "me", "goal": "",
        "response_format": "", "timeout_seconds": 0});
    assert_eq!(golden(call(&mut client, "dispatch", ask)), result("infra", "It is 42."));
    let id = call(&mut client, "dispatch_jobs", json!({}))[0]["id"].as_str().unwrap().to_string();
    let metadata = pool.task(&id)["metadata"].clone();
    assert_eq!((&metadata["caller"], metadata.get("goal")), (&json!("me"), None));
    let ask =
        json!({"agent": "db", "task": task("result 'Ten words.'"), "return_ref": true, "summary_chars": 3});
    let reference = call(&mut client, "dispatch", ask);
    assert_eq!(
        golden(reference.clone()),
        json!({
            "ref": "ref", "agent": "db", "success": true, "size": 10, "summary_chars": 3, "summary": "Ten",
            "session_id": "session_id", "cost_usd": 0.25, "duration_ms": "duration_ms", "num_turns": 2,
        })
    );
    let of = |more: Value| {
        let mut arguments = json!({"ref": reference["ref"]});
        arguments.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        arguments
    };
    assert_eq!(golden(call(&mut client, "fetch_result", of(json!({})))), result("db", "Ten words."));
    let piece = call(&mut client, "fetch_result", of(json!({"max_chars": 4})));
    let mut expected = result("db", "Ten ");
    expected.as_object_mut().unwrap().extend(
        json!({"truncated": true, "full_size": 10, "next_offset": 4, "ref": "ref"})
            .as_object()
            .cloned()
            .unwrap(),
    );
    assert_eq!(golden(piece), expected);
    let rest = call(&mut client, "fetch_result", of(json!({"offset": 4})));
    assert_eq!(golden(rest), result("db", "words."));
    let ask = json!({"agent": "db", "task": task(r#"result '{\"n\":1}'"#), "response_format": "json"});
    assert_eq!(call(&mut client, "dispatch_stream", ask)["parsed_result"], json!({"n": 1}));
}

#[test]
fn a_conversation_goes_on_by_its_session() {
    let pool = pool();
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = compat(&pool);
    let begin = json!({"agent": "infra", "task": task("result one"), "session_id": ""});
    let session = call(&mut client, "dispatch_session", begin)["session_id"].clone();
    let go_on = json!({"agent": "infra", "task": task("result \"in $session\""), "session_id": session});
    let second = call(&mut client, "dispatch_session", go_on);
    assert_eq!(second["result"], json!(format!("in {}", session.as_str().unwrap())));
}

#[test]
fn a_job_is_followed_to_its_end() {
    let pool = pool();
    let mut client = compat(&pool);
    let script = task("while [ ! -e go ]; do sleep 0.02; done; result finished");
    let ask = json!({"agent": "infra", "task": script, "goal": "peace"});
    let begun = call(&mut client, "dispatch_async", ask);
    assert_eq!(golden(begun.clone()), json!({"job_id": "job_id", "status": "pending", "agent": "infra"}));
    let job = json!({"job_id": begun["job_id"]});
    let mut record = json!({"id": "id", "agent": "infra", "task": script, "goal": "peace", "status": "pending",
        "created_at": "created_at"});
    assert_eq!(golden(call(&mut client, "dispatch_status", job.clone())), record);
    assert_eq!(golden(call(&mut client, "fetch_result", json!({"ref": begun["job_id"]}))), record);
    let waiting =
        call(&mut client, "dispatch_wait", json!({"job_id": begun["job_id"], "timeout_seconds": 1}));
    record["timed_out_waiting"] = json!(true);
    assert_eq!(golden(waiting), record);
    let mut listed = json!({"id": "id", "agent": "infra", "task": &script[..script.len().min(120)],
        "status": "pending", "created_at": "created_at"});
    assert_eq!(golden(call(&mut client, "dispatch_jobs", json!({"status": " Pending "}))), json!([listed]));
    let _dispatcher = pool.dispatcher(&[]);
    pool.until("the agent runs", || {
        call(&mut compat(&pool), "dispatch_jobs", json!({"status": "running"})) != json!([])
    });
    std::fs::write(pool.path("go"), "").unwrap();
    let ended = call(&mut client, "dispatch_wait", job);
    let record = json!({"id": "id", "agent": "infra", "task": script, "goal": "peace", "status": "done",
        "created_at": "created_at", "started_at": "started_at", "completed_at": "completed_at",
        "result": result("infra", "finished")});
    assert_eq!(golden(ended), record);
    for (key, value) in [
        ("status", json!("done")),
        ("started_at", json!("started_at")),
        ("completed_at", json!("completed_at")),
        ("success", json!(true)),
        ("cost_usd", json!(0.25)),
    ] {
        listed[key] = value;
    }
    assert_eq!(
        golden(call(&mut client, "dispatch_jobs", json!({"agent": "infra", "limit": 1}))),
        json!([listed])
    );
    assert_eq!(call(&mut client, "dispatch_jobs", json!({"agent": "db"})), json!([]));
    let gc = call(&mut client, "dispatch_gc", json!({"max_age_days": 0.5}));
    assert_eq!(gc, json!({"purged": 0, "max_age_days": 0.5}));
    let gc = call(&mut client, "dispatch_gc", json!({"max_age_days": 0.000_000_01, "dry_run": true}));
    assert_eq!(gc["purged"], 1);
    assert_eq!(call(&mut client, "dispatch_gc", json!({"max_age_days": 0.000_000_01}))["purged"], 1);
}

#[test]
fn a_run_that_fails_is_a_result_with_an_error() {
    let pool = pool();
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = compat(&pool);
    let ask = json!({"agent": "infra", "task": task("failure 'no way'"), "return_ref": true});
    let failed = call(&mut client, "dispatch", ask);
    assert_eq!((&failed["success"], &failed["error_type"]), (&json!(false), &json!("cli_error")), "{failed}");
    assert!(failed["error"].as_str().unwrap().contains("no way") && failed["summary"] == "", "{failed}");
    let job = call(&mut client, "dispatch_status", json!({"job_id": failed["ref"]}));
    assert_eq!((&job["status"], &job["result"]["success"]), (&json!("failed"), &json!(false)), "{job}");
    assert_eq!(job["error"], failed["error"]);
}

#[test]
fn several_tasks_are_answered_in_their_order() {
    let pool = pool();
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = compat(&pool);
    let items = json!([
        {"agent": "infra", "task": task("result one")},
        {"agent": "db", "task": task("result two"), "return_ref": true, "summary_chars": 2},
    ]);
    // agent-dispatch wants a text; models give the list itself.
    for dispatches in [json!(items.to_string()), items.clone()] {
        let answers = golden(call(&mut client, "dispatch_parallel", json!({"dispatches": dispatches})));
        assert_eq!(answers[0], result("infra", "one"));
        assert_eq!((&answers[1]["summary"], &answers[1]["size"]), (&json!("tw"), &json!(3)));
    }
    for (dispatches, expected) in [
        (json!("[{"), "not valid JSON"),
        (json!("[]"), "0 tasks"),
        (json!({}), "not an array"),
        (json!("{}"), "not an array"),
        (json!([1]), "dispatches[0]: it is not an object"),
        (json!([{"agent": "infra"}]), "dispatches[0]: 'task' is missing"),
        (json!([items[0], {"agent": "nobody", "task": "x"}]), "no agent 'nobody'"),
        (json!([{"agent": "infra", "task": "x", "group": "g"}]), "no groups"),
    ] {
        let refused = call(&mut client, "dispatch_parallel", json!({"dispatches": dispatches}));
        assert!(refused["error"].as_str().unwrap().contains(expected), "{refused}");
    }
    assert_eq!(
        call(&mut client, "dispatch_jobs", json!({})).as_array().unwrap().len(),
        4,
        "nothing else was begun"
    );
}

#[test]
fn a_call_that_takes_too_long_returns_a_job() {
    let pool = pool();
    let mut client =
        Client::connect(pool.lanes(&["mcp", "--no-dispatch", "--tools", "compat", "--max-wait", "0"]));
    let ask = json!({"agent": "infra", "task": task("result late")});
    let job = call(&mut client, "dispatch", ask.clone());
    assert_eq!((&job["status"], &job["timed_out_waiting"]), (&json!("pending"), &json!(true)), "{job}");
    assert_eq!(
        call(&mut client, "dispatch", ask)["job_id"],
        job["job_id"],
        "a repeated call is the same job"
    );
    let id = json!({"job_id": job["job_id"]});
    assert_eq!(call(&mut client, "dispatch_cancel", id.clone())["outcome"], "cancelled");
    assert_eq!(call(&mut client, "dispatch_cancel", id.clone())["outcome"], "already_terminal");
    assert_eq!(call(&mut client, "dispatch_status", id)["status"], "cancelled");
}

#[test]
fn refusals_are_json_as_well() {
    let pool = pool();
    let mut client = compat(&pool);
    for (tool, arguments, kind, expected) in [
        ("dispatch", json!({"agent": "nobody", "task": "x"}), "not_found", "choose one of db, infra"),
        ("dispatch", json!({"agent": "infra"}), "invalid", "'task' is missing"),
        (
            "dispatch",
            json!({"agent": "infra", "task": "x", "model": "y"}),
            "invalid",
            "unknown argument 'model'",
        ),
        (
            "dispatch",
            json!({"agent": "infra", "task": "x", "response_format": "xml"}),
            "invalid",
            "neither empty nor json",
        ),
        ("dispatch", json!({"agent": "infra", "task": "x", "group": "g"}), "invalid", "no groups of agents"),
        (
            "dispatch_session",
            json!({"agent": "infra", "task": "x", "session_id": "-rf"}),
            "invalid",
            "session_id",
        ),
        ("dispatch_status", json!({"job_id": "../../etc/passwd"}), "invalid", "invalid task_id"),
        ("dispatch_wait", json!({"job_id": "0123456789abcdef0123456789abcdef"}), "not_found", "unknown task"),
        ("fetch_result", json!({"ref": "20991231"}), "not_found", "unknown task"),
        ("dispatch_jobs", json!({"status": "lost"}), "invalid", "pending, running"),
        ("dispatch_gc", json!({"max_age_days": 0}), "invalid", "more than 0 days"),
        ("dispatch_gc", json!({"max_age_days": 1e300}), "invalid", "too large"),
        ("list_groups", json!({}), "invalid", "no groups of agents"),
        ("inspect_group", json!({"name": "g"}), "invalid", "no groups of agents"),
    ] {
        let refused = call(&mut client, tool, arguments);
        assert_eq!(refused["error_type"], kind, "{tool}: {refused}");
        assert!(refused["error"].as_str().unwrap().contains(expected), "{tool}: {refused}");
        assert_eq!(refused.as_object().unwrap().len(), 2);
    }
    assert_eq!(call(&mut client, "dispatch_jobs", json!({})), json!([]));
}

#[test]
fn agents_are_listed_added_changed_and_removed() {
    let pool = Pool::scripted("");
    let mut client = compat(&pool);
    let refused = call(&mut client, "list_agents", json!({}));
    assert!(refused["error"].as_str().unwrap().starts_with("there are no agents"), "{refused}");
    std::fs::create_dir_all(pool.path("api")).unwrap();
    std::fs::write(pool.path("api/CLAUDE.md"), "# Api\n\nServes the public.\n").unwrap();
    std::fs::write(pool.path("api/README.md"), "one\ntwo\nthree\n").unwrap();
    std::fs::write(pool.path("api/Cargo.toml"), "[package]\n").unwrap();
    std::fs::write(pool.path("api/.mcp.json"), r#"{"mcpServers": {"db": {"command": "x"}}}"#).unwrap();
    let directory = pool.path("api").canonicalize().unwrap().to_string_lossy().into_owned();
    let add = json!({"name": "api", "directory": directory, "timeout": 600, "allowed_tools": "Read, Grep", "permission_mode": ""});
    let widened = call(&mut client, "add_agent", add.clone());
    assert!(widened["error"].as_str().unwrap().contains("more rights"), "{widened}");
    let mut client = Client::connect(pool.lanes(&["mcp", "--tools", "compat", "--allow-rights"]));
    let added = call(&mut client, "add_agent", add.clone());
    assert_eq!((&added["added"], &added["directory"]), (&json!("api"), &json!(directory)), "{added}");
    assert_eq!(added["allowed_tools"], json!(["Read", "Grep"]), "{added}");
    assert!(added["description"].as_str().unwrap().contains("Serves the public."), "{added}");
    assert!(call(&mut client, "add_agent", add)["error"].as_str().unwrap().contains("api"));
    let listed = call(&mut client, "list_agents", json!({}))[0].clone();
    for (key, value) in [
        ("name", json!("api")),
        ("directory", json!(directory)),
        ("healthy", json!(true)),
        ("has_claude_md", json!(true)),
        ("has_mcp_config", json!(true)),
        ("mcp_servers", json!(["db"])),
        ("stacks", json!(["Rust"])),
        ("allowed_tools", json!(["Read", "Grep"])),
    ] {
        assert_eq!(listed[key], value, "{key}: {listed}");
    }
    let shown = call(&mut client, "inspect_agent", json!({"name": "api", "preview_lines": 2}));
    assert_eq!(
        (&shown["has_readme"], &shown["readme_preview"]),
        (&json!(true), &json!("one\ntwo\n…")),
        "{shown}"
    );
    assert!(shown["claude_md_preview"].as_str().unwrap().starts_with("# Api"), "{shown}");
    assert!(
        call(&mut client, "inspect_agent", json!({"name": "api", "preview_lines": 0}))
            .get("readme_preview")
            .is_none()
    );
    let update =
        json!({"name": "api", "description": "Ours", "max_budget_usd": 2.5, "allowed_tools": "Read"});
    let updated = call(&mut client, "update_agent", update);
    assert_eq!(updated["updated"], "api", "{updated}");
    assert_eq!(updated["fields"], json!(["allowed_tools", "description", "max_budget_usd"]), "{updated}");
    let shown = call(&mut client, "inspect_agent", json!({"name": "api"}));
    assert_eq!((&shown["description"], &shown["max_budget_usd"]), (&json!("Ours"), &json!(2.5)), "{shown}");
    assert_eq!(
        call(&mut client, "update_agent", json!({"name": "api", "description": "none"}))["fields"],
        json!(["description"])
    );
    for (tool, arguments, expected) in [
        ("update_agent", json!({"name": "api", "model": ""}), "nothing to change"),
        ("update_agent", json!({"name": "nobody", "model": "x"}), "nobody"),
        ("update_agent", json!({"name": "api", "permission_mode": "bypassPermissions"}), "bypassPermissions"),
        ("add_agent", json!({"name": "../x", "directory": "api"}), "x"),
        ("add_agent", json!({"name": "home", "directory": "/"}), "/"),
        ("inspect_agent", json!({"name": "nobody"}), "nobody"),
        ("remove_agent", json!({"name": "nobody"}), "nobody"),
    ] {
        let refused = call(&mut client, tool, arguments);
        assert!(refused["error"].as_str().unwrap().contains(expected), "{tool}: {refused}");
    }
    assert_eq!(call(&mut client, "remove_agent", json!({"name": "api"})), json!({"removed": "api"}));
    assert!(call(&mut client, "list_agents", json!({}))["error"].is_string());
    // Without the tools that edit, there are none by another name.
    let mut caller = Client::connect(pool.lanes(&["mcp"]));
    let answer =
        caller.ask("tools/call", json!({"name": "add_agent", "arguments": {"name": "x", "directory": "."}}));
    assert!(answer["error"]["message"].as_str().unwrap().starts_with("unknown tool: add_agent"), "{answer}");
}

#[test]
fn answers_are_cached_and_counted() {
    let pool = pool();
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = compat(&pool);
    let stats = |client: &mut Client| call(client, "cache_stats", json!({}));
    let empty = json!({"size": 0, "max_size": 1000, "hits": 0, "misses": 0, "hit_rate": 0.0, "ttl": 300});
    assert_eq!(stats(&mut client), empty);
    // The scripted agent's tools are denied, and such an answer may be incomplete.
    let denied = json!({"agent": "infra", "task": task("result x")});
    for _ in 0..2 {
        assert_eq!(call(&mut client, "dispatch", denied.clone()).get("cached"), None);
    }
    let script = r#"printf '{"type":"result","subtype":"success","is_error":false,"result":"y","session_id":"%s"}\n' "$session""#;
    let ask = json!({"agent": "infra", "task": task(script)});
    let first = call(&mut client, "dispatch", ask.clone());
    assert_eq!((&first["result"], first.get("cached")), (&json!("y"), None), "{first}");
    let again = call(&mut client, "dispatch", ask.clone());
    assert_eq!((&again["result"], &again["cached"]), (&json!("y"), &json!(true)), "{again}");
    let several = call(&mut client, "dispatch_parallel", json!({"dispatches": [ask]}));
    assert_eq!(several[0]["cached"], true, "{several}");
    // A conversation that begins, and a job, are new.
    let turn = call(&mut client, "dispatch_session", ask.clone());
    assert_eq!((&turn["result"], turn.get("cached")), (&json!("y"), None), "{turn}");
    assert_eq!(call(&mut client, "dispatch_async", ask.clone())["status"], "pending");
    let figures = stats(&mut client);
    assert_eq!((&figures["size"], &figures["hits"]), (&json!(1), &json!(2)), "{figures}");
    assert_eq!(call(&mut client, "cache_clear", json!({})), json!({"cleared": 1}));
    assert_eq!(call(&mut client, "dispatch", ask).get("cached"), None);
}

#[test]
fn two_agents_talk_about_a_topic() {
    let pool = coordination::pool();
    let ask = |topic: &str, max_rounds: i64| json!({"requester": "web", "responder": "infra", "topic": topic, "max_rounds": max_rounds});
    let _dispatcher = pool.dispatcher(&[]);
    coordination::say(&pool, "infra", 1, "Port 80.");
    coordination::say(&pool, "web", 1, "Why?");
    coordination::say(&pool, "infra", 2, r"It is the default.\n[RESOLVED]");
    let mut client = compat(&pool);
    let turn = |agent: &str, role: &str, round: u64, message: &str| json!({"agent": agent, "role": role, "round": round, "message": message, "cost_usd": 0.25});
    assert_eq!(
        golden(call(&mut client, "dispatch_dialogue", ask("Which port?", 3))),
        json!({
            "resolved": true, "rounds": 2, "total_cost_usd": 0.75, "total_duration_ms": "total_duration_ms",
            "final_answer": "It is the default.",
            "conversation": [
                turn("infra", "responder", 1, "Port 80."),
                turn("web", "requester", 1, "Why?"),
                turn("infra", "responder", 2, "It is the default.\n[RESOLVED]"),
            ],
        })
    );
    let mut hasty = Client::connect(pool.lanes(&["mcp", "--tools", "compat", "--max-wait", "0"]));
    let late = call(&mut hasty, "dispatch_dialogue", ask("Which host?", 3));
    let hint =
        format!("it continues; dispatch_wait(\"{}\") waits for its answer", late["job_id"].as_str().unwrap());
    assert_eq!(
        golden(late.clone()),
        json!({"job_id": "job_id", "status": "pending", "timed_out_waiting": true, "hint": hint})
    );
    coordination::say(&pool, "infra", 3, "This one. [RESOLVED]");
    let job = call(&mut client, "dispatch_wait", json!({"job_id": late["job_id"]}));
    assert!(job["result"]["result"].as_str().unwrap().starts_with("resolved after 1 round"), "{job}");
    // At least one round, and what was said before a failure stays.
    coordination::say(&pool, "infra", 4, "Port 81.");
    coordination::say(&pool, "web", 2, "fail");
    let failed = call(&mut client, "dispatch_dialogue", ask("And then?", 0));
    assert_eq!((&failed["resolved"], &failed["rounds"]), (&json!(false), &json!(1)), "{failed}");
    let (said, error) = (&failed["conversation"][0], &failed["conversation"][1]);
    assert_eq!((&said["message"], &error["message"]), (&json!("Port 81."), &json!("")), "{failed}");
    assert!(error["error"].as_str().is_some_and(|text| !text.is_empty()), "{failed}");
    assert_eq!(
        (&failed["final_answer"], &failed["error_type"]),
        (&error["error"], &json!("cli_error")),
        "{failed}"
    );
    let refused =
        call(&mut client, "dispatch_dialogue", json!({"requester": "web", "responder": "x", "topic": "y"}));
    assert!(refused["error"].as_str().unwrap().contains("no agent 'x'"), "{refused}");
}

#[test]
fn an_agent_merges_the_answers_of_several() {
    let idle = coordination::pool();
    let items = json!([{"agent": "infra", "task": "Which port?"}, {"agent": "web", "task": "Which host?"}]);
    let ask = json!({"dispatches": items.to_string(), "aggregate": "chief"});
    let mut client = Client::connect(idle.lanes(&["mcp", "--tools", "compat", "--max-wait", "0"]));
    let late = call(&mut client, "dispatch_parallel", ask.clone());
    for (record, agent) in [
        (&late["aggregated"], "chief"),
        (&late["individual_results"][0], "infra"),
        (&late["individual_results"][1], "web"),
    ] {
        let found = (&record["agent"], &record["status"], &record["timed_out_waiting"]);
        assert_eq!(found, (&json!(agent), &json!("pending"), &json!(true)), "{late}");
    }
    let refused = call(&mut client, "dispatch_parallel", json!({"dispatches": items, "aggregate": "nobody"}));
    assert!(refused["error"].as_str().unwrap().contains("no agent 'nobody'"), "{refused}");
    let pool = coordination::pool();
    let _dispatcher = pool.dispatcher(&[]);
    coordination::say(&pool, "infra", 1, "Port 80.");
    coordination::say(&pool, "web", 1, "fail");
    coordination::say(&pool, "chief", 1, "localhost:80, I guess.");
    let mut merged = golden(call(&mut compat(&pool), "dispatch_parallel", ask));
    let failed = merged["individual_results"][1].take();
    assert_eq!((&failed["agent"], &failed["success"]), (&json!("web"), &json!(false)), "{failed}");
    let said = |agent: &str, text: &str| {
        let mut said = result(agent, text);
        said["num_turns"] = json!(1);
        said
    };
    assert_eq!(
        merged,
        json!({
            "individual_results": [said("infra", "Port 80."), null],
            "aggregated": said("chief", "localhost:80, I guess."),
        })
    );
    assert_eq!((coordination::turns(&pool, "infra"), coordination::turns(&pool, "chief")), (1, 1));
    // Nothing to merge: nobody is asked.
    coordination::say(&pool, "web", 2, "fail");
    let ask = json!({"dispatches": [{"agent": "web", "task": "Which name?"}], "aggregate": "chief"});
    let nothing = call(&mut compat(&pool), "dispatch_parallel", ask);
    let merged = &nothing["aggregated"];
    assert_eq!((&merged["agent"], &merged["success"]), (&json!("chief"), &json!(false)), "{nothing}");
    assert_eq!(coordination::turns(&pool, "chief"), 1);
}

/// The tools that are listed, in their order.
pub const NAMES: [&str; 18] = [
    "list_agents",
    "inspect_agent",
    "dispatch",
    "dispatch_session",
    "dispatch_parallel",
    "dispatch_stream",
    "dispatch_dialogue",
    "add_agent",
    "remove_agent",
    "update_agent",
    "dispatch_async",
    "dispatch_status",
    "dispatch_wait",
    "dispatch_jobs",
    "fetch_result",
    "dispatch_gc",
    "cache_stats",
    "cache_clear",
];
