//! Dispatchers with scripted agents: what becomes of each kind of run.

use crate::testkit::pool::{Pool, stand_in};

#[test]
fn an_answer_with_all_that_is_known_about_its_run() {
    let pool = Pool::scripted("");
    let id = pool.submit(
        "say working\nprintf 'HOME=%s DEPTH=%s TASK=%s NESTED=%s' \"$HOME\" \"$LANES_DEPTH\" \"$LANES_TASK_ID\" \"$CLAUDECODE\" > env.txt\nresult 'fine\\nVERDICT: accept\\nSTATUS: partial'",
        &["--metadata", "effort=high", "--metadata", "model_class=opus"],
    );
    let mut command = pool.lanes(&["dispatch", "--once"]);
    command.env("CLAUDECODE", "1").env("HOME", "/h");
    assert!(command.output().unwrap().status.success());
    let response = pool.response(&id);
    assert_eq!(response["status"], "completed");
    assert_eq!(response["verdict"], "accept");
    assert_eq!(response["body"], "fine\nVERDICT: accept\nSTATUS: partial");
    let about = &response["metadata"];
    assert_eq!(about["outcome"], "partial");
    assert_eq!(about["cost_usd"], 0.25);
    assert_eq!(about["model"], "model-x");
    assert_eq!(about["cli_version"], "2.1.329");
    assert_eq!(about["num_turns"], 2);
    assert_eq!(about["denied_tools"][0], "Bash: rm x");
    assert_eq!(about["tokens"]["input"], 10);
    let env = std::fs::read_to_string(pool.path("env.txt")).unwrap();
    assert_eq!(env, format!("HOME=/h DEPTH=1 TASK={id} NESTED="));
    let run = pool.path(&format!("state/tasks/{id}/attempts/1/run.json"));
    let run: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(run).unwrap()).unwrap();
    let argv: Vec<&str> = run["argv"].as_array().unwrap().iter().filter_map(|arg| arg.as_str()).collect();
    let argv = argv.join(" ");
    assert!(argv.contains(&format!("--session-id {}", about["session_id"].as_str().unwrap())), "{argv}");
    assert!(argv.contains("--model opus --effort high --permission-mode acceptEdits"), "{argv}");
    let kinds = pool.events(&id);
    for kind in ["dispatcher_started", "headless_started", "headless_completed", "response"] {
        assert!(kinds.iter().any(|have| have == kind), "{kind} in {kinds:?}");
    }
    let stats = pool.json(&["stats"])["stats"].clone();
    assert_eq!(stats["all"]["runs"], 1);
    assert_eq!(stats["models"]["model-x"]["cost_usd"], 0.25);
    assert!(pool.ok(&["logs", &id, "--progress"]).ends_with("working"));
}

#[test]
fn bad_agents_have_defined_ends() {
    let cases = [
        ("silent.sh", "error", "exited with code 0 without a result"),
        ("half_line.sh", "error", "without a result (1 unreadable lines)"),
        ("closes_stdin.sh", "error", "without a result"),
    ];
    for (agent, class, expected) in cases {
        let pool = Pool::new(&format!(
            "dispatch:\n  vendor: claude\n  vendors:\n    claude: {{command: {}}}\n",
            stand_in(agent)
        ));
        let id = pool.submit("true", &[]);
        pool.dispatch_once(&[]);
        let task = pool.task(&id);
        assert_eq!(task["failure_class"], class, "{agent}: {task}");
        let reason = task["failure_reason"].as_str().unwrap();
        assert!(reason.contains(expected), "{agent}: {reason}");
    }
    let pool = Pool::new(&format!(
        "dispatch:\n  vendor: claude\n  vendors:\n    claude: {{command: {}}}\n",
        stand_in("invalid_utf8.sh")
    ));
    let id = pool.submit("true", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.response(&id)["body"], "caf\u{fffd}");
}

#[test]
fn any_program_can_be_the_agent() {
    let pool = Pool::new("");
    let good = pool.submit("x", &[]);
    pool.dispatch_once(&["--command", "--", "/bin/sh", "-c", "grep -c DO:; echo STATUS: done"]);
    let response = pool.response(&good);
    assert_eq!(response["body"], "1\nSTATUS: done\n");
    assert_eq!(response["metadata"]["outcome"], "done");
    let bad = pool.submit("x", &[]);
    pool.dispatch_once(&["--command", "--", "/bin/sh", "-c", "echo oops >&2; exit 3"]);
    let task = pool.task(&bad);
    assert_eq!(task["failure_reason"], "the program exited with code 3: oops");
    assert_eq!(pool.response(&bad)["status"], "failed");
}

#[test]
fn failures_are_retried_and_then_collected() {
    let pool = Pool::scripted("  max_retries: 1\n  dead_letter_lane: attic\n");
    let second_time = pool.submit("[ -e once ] || { touch once; failure boom 500; }\nresult done", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.state(&second_time), "completed");
    assert_eq!(pool.task(&second_time)["attempt"], 2);
    let prompt =
        std::fs::read_to_string(pool.path(&format!("state/tasks/{second_time}/attempts/2/prompt.md")));
    assert!(prompt.unwrap().contains("error: the agent failed (api_error, HTTP 500): boom"));

    let never = pool.submit("failure boom 500", &[]);
    pool.dispatch_once(&[]);
    let task = pool.task(&never);
    assert_eq!((&task["failure_class"], &task["attempt"]), (&"dead".into(), &2.into()), "{task}");
    let collected = pool.json(&["list", "--lane", "attic"]);
    let collected = &collected["tasks"][0];
    assert_eq!(collected["metadata"]["dead_letter_of"], never.as_str());
    assert_eq!(collected["state"], "queued", "a lane that only collects is not served");

    let hopeless = pool.submit("failure 'Prompt is too long' 400", &[]);
    pool.dispatch_once(&[]);
    let task = pool.task(&hopeless);
    assert_eq!((&task["failure_class"], &task["attempt"]), (&"permanent".into(), &1.into()), "{task}");
}

#[test]
fn a_usage_limit_parks_the_vendor_and_costs_no_attempt() {
    let pool = Pool::scripted("");
    let id = pool.submit("failure 'usage limit reached, try again in 2 hours' 429", &[]);
    let printed = pool.dispatch_once(&[]);
    assert!(printed.contains("claude is not used until"), "{printed}");
    let task = pool.task(&id);
    assert_eq!((&task["state"], &task["attempt"]), (&"queued".into(), &0.into()));
    let parked = pool.json(&["workers"])["parked"].clone();
    assert!(parked["claude"]["reason"].as_str().unwrap().contains("usage limit"), "{parked}");
    let again = pool.dispatch_once(&[]);
    assert_eq!(pool.task(&id)["fence"], 1, "nothing was claimed meanwhile");
    assert!(again.contains("claude is not used until"), "{again}");
    assert!(pool.ok(&["dispatch", "--dry-run"]).contains("work: claude is not used until"));
    let why = pool.json(&["why", &id]);
    assert_eq!(why["reason"], "vendor_parked");
    let expected = why["message"].as_str().unwrap();
    assert!(
        expected.contains("claude, which is not used") && expected.contains("nobody serves"),
        "{expected}"
    );
    let dispatcher = pool.dispatcher(&[]);
    pool.until("why knows of the dispatcher", || {
        let why = pool.ok(&["why", &id]);
        why.contains("claude, which is not used") && !why.contains("nobody serves")
    });
    drop(dispatcher);
}

#[test]
fn the_agent_may_answer_by_itself() {
    let pool = Pool::scripted("");
    let id = pool.submit(
        "lanes respond \"$LANES_TASK_ID\" --claim-token \"$LANES_CLAIM_TOKEN\" --body mine\nresult later",
        &[],
    );
    let printed = pool.dispatch_once(&[]);
    assert_eq!(pool.response(&id)["body"], "mine", "{printed}");
    assert_eq!(pool.json(&["stats"])["stats"]["all"]["completed"], 1);
}

#[test]
fn a_pipeline_hands_the_answer_on() {
    let pool = Pool::scripted(
        "  routes:\n    work: {on_success: {move_to: next}}\n    next: {prompt: 'Review {task_name} in {lane}.'}\n",
    );
    let first = pool.submit("result 'first part'", &["--name", "job"]);
    pool.dispatch_once(&[]);
    let all = pool.json(&["list", "--lane", "next"]);
    let next = &all["tasks"][0];
    assert_eq!(next["metadata"]["parent_task_id"], first.as_str());
    assert_eq!(next["state"], "completed");
    let id = next["id"].as_str().unwrap();
    let prompt =
        std::fs::read_to_string(pool.path(&format!("state/tasks/{id}/attempts/1/prompt.md"))).unwrap();
    assert!(prompt.starts_with("Review job in next.\n"), "{prompt}");
    assert!(prompt.contains(&format!("to task {first}:")) && prompt.contains("first part"), "{prompt}");
}

#[test]
fn the_usage_log_does_not_grow_for_ever() {
    let pool = Pool::scripted("");
    pool.submit("result one", &[]);
    pool.dispatch_once(&[]);
    let log = std::fs::File::options().write(true).open(pool.path("state/usage.jsonl")).unwrap();
    log.set_len(64 * 1024 * 1024).unwrap();
    pool.submit("result two", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(std::fs::read_to_string(pool.path("state/usage.jsonl")).unwrap().lines().count(), 1);
    assert_eq!(pool.json(&["stats"])["stats"]["all"]["completed"], 2, "the old log counts as well");
}

/// How often in a row the vendor was parked, and until when.
fn parked(pool: &Pool) -> (u64, String) {
    let text = std::fs::read_to_string(pool.path("state/vendors.json")).unwrap();
    let claude = serde_json::from_str::<serde_json::Value>(&text).unwrap()["parked"]["claude"].clone();
    (claude["strikes"].as_u64().unwrap(), claude["until"].as_str().unwrap().to_string())
}

#[test]
fn runs_that_meet_a_limit_together_park_their_vendor_once() {
    let pool = Pool::scripted("  max_concurrent: 3\n");
    std::fs::create_dir(pool.path("started")).unwrap();
    let meet = |then: &str| {
        let wait =
            "touch \"started/$LANES_TASK_ID\"\nuntil [ $(ls started | wc -l) -ge 6 ]; do sleep 0.02; done";
        pool.submit(&format!("{wait}\n{then}"), &[])
    };
    let limited: Vec<String> = (0..5).map(|_| meet("failure 'rate limited' 429")).collect();
    // One that starts before the pause and ends well after the pause has begun.
    let good = meet("until [ -e go ]; do sleep 0.02; done\nresult fine");
    let dispatchers = [pool.dispatcher(&[]), pool.dispatcher(&[])];
    pool.until("all are back", || {
        limited.iter().all(|id| pool.task(id)["fence"] == 1 && pool.state(id) == "queued")
    });
    let (strikes, until) = parked(&pool);
    assert_eq!(strikes, 1);
    std::fs::write(pool.path("go"), "").unwrap();
    pool.until("the answer", || pool.state(&good) == "completed");
    assert_eq!(parked(&pool), (1, until), "an older run says nothing about the pause");
    drop(dispatchers);
}

#[test]
fn a_conversation_has_one_run_at_a_time_among_all_dispatchers() {
    let pool = Pool::scripted("");
    let script = "mkdir busy || echo both >> overlap\nsleep 0.1\nrmdir busy\nresult \"$session\"";
    let ids: Vec<String> = (0..8).map(|_| pool.submit(script, &["--metadata", "session_id=talk"])).collect();
    let dispatchers = [pool.dispatcher(&[]), pool.dispatcher(&[]), pool.dispatcher(&[])];
    pool.until("all are answered", || ids.iter().all(|id| pool.state(id) == "completed"));
    assert!(!pool.path("overlap").exists());
    drop(dispatchers);
}

#[test]
fn the_lock_of_a_conversation_alone_keeps_a_second_run_out() {
    let pool = Pool::scripted("");
    let id = pool.submit("result fine", &["--metadata", "session_id=talk"]);
    let file = pool
        .path("state/conversations")
        .join(&lanes::internals::sha256::sha256_bytes(b"talk").as_str()[..32]);
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    let mut holder = std::process::Command::new("flock");
    holder.arg(&file).args(["-c", "echo held; read line"]);
    holder.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    let mut held = [0; 4];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    let dispatcher = pool.dispatcher(&[]);
    pool.until("it goes back", || pool.log().contains("its conversation is being continued by another run"));
    drop(holder.stdin.take());
    holder.wait().unwrap();
    pool.until("the answer", || pool.state(&id) == "completed");
    assert_eq!(pool.task(&id)["attempt"], 1, "waiting costs no attempt");
    pool.until("the lock's file is gone", || !file.exists());
    drop(dispatcher);
}

#[test]
fn conversations_continue_one_at_a_time() {
    let pool = Pool::scripted("");
    let script = "mkdir busy || echo both >> overlap\nsleep 0.3\nrmdir busy\nresult \"$session\"";
    let ids: Vec<String> = (0..3).map(|_| pool.submit(script, &["--metadata", "session_id=talk"])).collect();
    pool.dispatch_once(&[]);
    for id in &ids {
        assert_eq!(pool.response(id)["body"], "talk");
    }
    assert!(!pool.path("overlap").exists());
    let other = pool.submit("session=another\nsay x\nsleep 100", &["--metadata", "session_id=talk"]);
    pool.dispatch_once(&[]);
    let task = pool.task(&other);
    assert_eq!(task["failure_class"], "permanent", "{task}");
    let flag = ["submit", "--lane", "work", "--prompt", "x", "--metadata", "session_id=--help"];
    assert!(pool.refused(&flag).contains("starts with a dash"));
    // Our own commands take no such id; another implementation does.
    let disguised = pool.submit("result x", &["--metadata", "session_id=FLAG"]);
    let file = pool.path(&format!("state/tasks/{disguised}/task.json"));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"FLAG\""), "{text}");
    std::fs::write(&file, text.replace("\"FLAG\"", "\"--help\"")).unwrap();
    pool.dispatch_once(&[]);
    assert!(pool.task(&disguised)["failure_reason"].as_str().unwrap().contains("starts with a dash"));
}

#[test]
fn what_cannot_be_served_is_reported_before_anything_is_claimed() {
    let pool = Pool::scripted("");
    let id = pool.submit("result x", &["--metadata", "required_vendor=codex"]);
    assert!(pool.refused(&["dispatch", "--vendor", "nobody"]).contains("unknown vendor nobody"));
    assert!(
        pool.refused(&["dispatch", "--vendor", "codex"]).contains("codex (vendor codex) is not installed")
    );
    let mut nested = pool.lanes(&["dispatch", "--once"]);
    let nested = nested.env("LANES_DEPTH", "3").output().unwrap();
    assert!(String::from_utf8_lossy(&nested.stderr).contains("4 levels deep"));
    pool.dispatch_once(&[]);
    assert_eq!(pool.state(&id), "queued", "it is for another vendor");
    let mine = pool.submit("result x", &["--metadata", "dispatch_depth=3"]);
    let preview = pool.json(&["dispatch", "--dry-run"]);
    assert_eq!(preview["lanes"][1]["task_id"], mine.as_str(), "{preview}");
    assert_eq!(pool.state(&mine), "queued", "a dry run claims nothing");
    pool.dispatch_once(&[]);
    assert!(pool.task(&mine)["failure_reason"].as_str().unwrap().contains("3 levels deep"));
    assert!(Pool::new("").refused(&["dispatch"]).contains("no vendor is configured for lane"));
}

#[test]
fn json_answers_are_parsed() {
    let pool = Pool::scripted("");
    let id = pool.submit("result '{\\\"n\\\": 5}'", &["--metadata", "response_format=json"]);
    let not = pool.submit("result 'no'", &["--metadata", "response_format=json"]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.response(&id)["metadata"]["parsed_result"]["n"], 5);
    let not = pool.response(&not);
    assert_eq!(not["status"], "completed");
    assert!(not["metadata"]["parse_error"].as_str().unwrap().contains("not JSON"));
}
