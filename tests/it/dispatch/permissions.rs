//! `permission_prompts: ask`: the call of a tool becomes a question to a person.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::testkit::pool::{Pool, stand_in};
use crate::testkit::wait::eventually;

/// A pool whose claude asks for permissions, with these settings of the route.
fn pool(settings: &str) -> Pool {
    Pool::new(&format!(
        "dispatch:\n  vendor: claude\n  grace: 0.5\n  retry_delay: 0\n  lease_seconds: 10\n  routes:\n    work: \
         {{permission_prompts: ask, {settings}}}\n  vendors:\n    claude: {{command: {}}}\n",
        stand_in("asks_permission.py")
    ))
}

/// Submits a task whose agent wants to make these calls.
fn submit(pool: &Pool, calls: &[Value]) -> String {
    let prompt: String = calls.iter().map(|call| format!("CALL: {call}\n")).collect();
    pool.ok(&["submit", "--lane", "work", "--prompt", &prompt]).trim().to_string()
}

fn open_question(pool: &Pool, id: &str, number: usize) -> Value {
    let question = || pool.task(id)["questions"][number - 1].clone();
    pool.until("the question", || question()["answer"].is_null() && question()["n"] == number);
    question()
}

fn answers(pool: &Pool, id: &str) -> Vec<Value> {
    let body = pool.response(id)["body"].as_str().unwrap().to_string();
    body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_person_allows_and_denies_calls_while_the_run_waits() {
    // The limits are shorter than what the person takes.
    let pool = pool("silence_timeout: 4, timeout: 10");
    let dispatcher = pool.dispatcher(&[]);
    let push = json!({"tool_name": "Bash", "input": {"command": "git push\u{1b}[2K origin\nmain"}});
    let calls = [push.clone(), json!({"tool_name": "Write", "input": {"file_path": "/x"}}), push];
    let id = submit(&pool, &calls);
    let question = open_question(&pool, &id, 1);
    assert_eq!(question["tool"], "Bash");
    assert_eq!(question["question"], "May the agent call Bash?\n  command: git push\\u{1b}[2K origin\\nmain");
    assert_eq!((&question["choices"], &question["default"]), (&json!(["allow", "deny"]), &json!("deny")));
    let task = pool.task(&id);
    assert_eq!((&task["state"], &task["attempt"]), (&"claimed".into(), &1.into()), "it keeps its claim");
    // Longer than the silence that the route allows, and than the lease.
    let mut leases = BTreeSet::new();
    eventually("renewals", || {
        leases.insert(pool.task(&id)["lease_expires_at"].to_string());
        leases.len() >= 3
    });
    assert_eq!(pool.state(&id), "claimed");
    pool.ok(&["answer", &id, "--choice", "allow"]);
    open_question(&pool, &id, 2);
    // An agent may not say what an agent may do.
    let mut inside = pool.lanes(&["answer", &id, "--choice", "allow"]);
    let refused = inside.env("LANES_RUN_ID", "0123456789abcdef0123456789abcdef").output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    pool.ok(&["answer", &id, "--body", "Write it to /y instead."]);
    open_question(&pool, &id, 3);
    pool.ok(&["answer", &id, "--question", "3", "--choice", "deny"]);
    pool.until("the answer", || pool.state(&id) == "completed");
    let told = answers(&pool, &id);
    assert_eq!(told[0], json!({"behavior": "allow", "updatedInput": calls[0]["input"]}));
    assert_eq!(
        told[1],
        json!({"behavior": "deny", "message": "A person has denied this call: Write it to /y instead."})
    );
    assert_eq!(told[2], json!({"behavior": "deny", "message": "A person has denied this call."}));
    drop(dispatcher);
}

#[test]
fn a_call_that_nobody_allows_in_time_is_denied() {
    let pool = pool("permission_expires: 1");
    let id = submit(&pool, &[json!({"tool_name": "Bash", "input": {"command": "rm -r x"}})]);
    pool.dispatch_once(&[]);
    let told = answers(&pool, &id);
    assert_eq!(told[0]["behavior"], "deny");
    assert!(told[0]["message"].as_str().unwrap().starts_with("Nobody allowed this call"), "{told:?}");
    assert_eq!(pool.task(&id)["questions"][0]["answered_by"], Value::Null);
}

#[test]
fn a_run_that_ends_leaves_no_question_behind() {
    let pool = pool("");
    let dispatcher = pool.dispatcher(&[]);
    let id = submit(&pool, &[json!({"tool_name": "Bash", "input": {"command": "ls"}})]);
    open_question(&pool, &id, 1);
    dispatcher.signal(Signal::TERM);
    pool.until("it drains", || pool.log().contains("draining: "));
    dispatcher.signal(Signal::INT);
    assert!(dispatcher.wait().code().is_some());
    pool.until("its answer", || pool.task(&id)["questions"][0]["answer"] == "deny");
    assert_eq!(pool.task(&id)["questions"][0]["answered_by"], "the end of the run");
    pool.until("the task", || pool.state(&id) == "queued");
    assert!(pool.processes().is_empty(), "{:?}", pool.processes());
}

#[test]
fn only_vendors_that_can_ask_may_be_told_to() {
    let refusal = |dispatch: &str| Pool::new(dispatch).refused(&["dispatch", "--dry-run"]);
    let codex = refusal("dispatch:\n  routes:\n    work: {vendor: codex, permission_prompts: ask}\n");
    assert!(
        codex.contains(
            "dispatch.routes.work.permission_prompts: codex, which serves lane work, does not support it"
        ) && codex.lines().count() == 1,
        "{codex}"
    );
    let word = refusal("dispatch:\n  routes:\n    work: {vendor: claude, permission_prompts: maybe}\n");
    assert!(word.contains("permission_prompts: expected ask or deny"), "{word}");
    let time = refusal("dispatch:\n  routes:\n    work: {vendor: claude, permission_expires: 0}\n");
    assert!(time.contains("permission_expires"), "{time}");
    let outside = Pool::new("").refused(&["mcp", "--tools", "permission"]);
    assert!(outside.contains("set `permission_prompts: ask` in a route"), "{outside}");
}
