//! Commands that verify the work of an agent before its answer counts.

use serde_json::Value;

use crate::testkit::pool::Pool;

const WORKS: &str = r#"printf '{"type":"assistant","message":{"id":"m1","model":"model-x","content":[{"type":"text","text":"half of it"}],"usage":{"input_tokens":5,"output_tokens":1}},"session_id":"%s"}\n' "$session""#;

/// A pool whose agents are verified by `commands`, with more settings.
fn pool(commands: &str, more: &str) -> Pool {
    Pool::scripted(&format!("  verify: {commands}\n{more}"))
}

fn read(pool: &Pool, id: &str, fence: u64, name: &str) -> String {
    std::fs::read_to_string(pool.path(&format!("state/tasks/{id}/attempts/{fence}/{name}"))).unwrap()
}

fn usage(pool: &Pool) -> Vec<Value> {
    let text = std::fs::read_to_string(pool.path("state/usage.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The answer of a task that has failed because its work was not verified.
fn unverified(pool: &Pool, id: &str) -> String {
    let task = pool.task(id);
    assert_eq!(task["failure_class"], "unverified", "{task}");
    let response = pool.response(id);
    assert_eq!(response["metadata"]["verified"], false, "{response}");
    response["body"].as_str().unwrap().to_string()
}

#[test]
fn an_answer_counts_after_its_commands_succeed() {
    let pool = pool("['test -e made', [grep, -q, it, made]]", "  on_success: {move_to: next}\n");
    let id = pool.submit("echo it > made; result made", &[]);
    pool.dispatch_once(&["--lane", "work"]);
    let response = pool.response(&id);
    assert_eq!((&response["body"], &response["metadata"]["verified"]), (&"made".into(), &true.into()));
    assert!(response["metadata"]["verify_seconds"].as_f64().unwrap() >= 0.0, "{response}");
    assert!(pool.events(&id).contains(&"verified".to_string()), "{:?}", pool.events(&id));
    assert_eq!(usage(&pool)[0]["verified"], true);
    let next = pool.json(&["list", "--lane", "next"])["tasks"][0].clone();
    assert_eq!(next["metadata"]["parent_task_id"], id.as_str(), "{next}");
    let stats = pool.json(&["stats"]);
    let stats = &stats["stats"];
    assert_eq!((&stats["all"]["verified"], &stats["all"]["unverified"]), (&1.into(), &0.into()), "{stats}");
    assert!(pool.ok(&["show", &id]).contains("verified"), "{}", pool.ok(&["show", &id]));
}

#[test]
fn a_failure_goes_back_into_the_same_conversation_and_all_rounds_are_paid_for() {
    let pool = pool("['test -e made || { echo where is it; echo nowhere >&2; exit 3; }']", "");
    std::fs::write(pool.path("go-on"), "touch made\nresult 'made it'\n").unwrap();
    let id = pool.submit(&format!("{WORKS}\nresult 'made nothing'"), &[]);
    let printed = pool.dispatch_once(&[]);
    assert!(printed.contains("round 1: ") && printed.contains("exited with code 3"), "{printed}");
    let response = pool.response(&id);
    assert_eq!(response["body"], "made it", "{response}");
    let metadata = &response["metadata"];
    assert_eq!((&metadata["verified"], &metadata["verify_rounds"]), (&true.into(), &2.into()), "{metadata}");
    let prompt = read(&pool, &id, 1, "prompt.md");
    assert!(prompt.starts_with("Your answer to task"), "{prompt}");
    assert!(
        prompt.contains("exited with code 3")
            && prompt.contains("where is it\nnowhere\n")
            && !prompt.contains("DO:"),
        "{prompt}"
    );
    let run: Value = serde_json::from_str(&read(&pool, &id, 1, "run.json")).unwrap();
    let session = metadata["session_id"].as_str().unwrap();
    assert!(run["argv"].to_string().contains(&format!("\"--resume\",\"{session}\"")), "{run}");
    // The stand-in reports what each run has cost; claude counts from the beginning of the conversation.
    assert_eq!((&metadata["cost_usd"], &metadata["num_turns"]), (&0.25.into(), &4.into()), "{metadata}");
    let lines = usage(&pool);
    assert_eq!(lines.len(), 1, "one attempt, one line");
    assert_eq!((&lines[0]["cost_usd"], &lines[0]["begins_session"]), (&0.25.into(), &true.into()));
    let events = pool.events(&id);
    assert!(
        events.contains(&"verify_failed".to_string()) && events.contains(&"verified".to_string()),
        "{events:?}"
    );
}

#[test]
fn work_that_is_never_verified_fails_with_the_evidence_and_is_tried_again() {
    let failing = "[[sh, -c, 'seq 9999; echo the end; exit 1']]";
    let pool_of = |more: &str| pool(failing, more);
    let pool = pool_of("  verify_rounds: 1\n  on_success: {move_to: next}\n  dead_letter_lane: next\n");
    std::fs::write(pool.path("go-on"), "echo again >> rounds; result again\n").unwrap();
    let id = pool.submit(&format!("echo first >> rounds\n{WORKS}\nresult first"), &[]);
    pool.dispatch_once(&["--lane", "work"]);
    let body = unverified(&pool, &id);
    assert!(
        body.starts_with(
            "not verified after 2 rounds: `seq 9999; echo the end; exit 1` exited with code 1\n\n"
        ),
        "{body}"
    );
    assert!(body.ends_with("9999\nthe end") && body.len() < 17_000, "{}", body.len());
    assert_eq!(std::fs::read_to_string(pool.path("rounds")).unwrap(), "first\nagain\n");
    let next = pool.json(&["list", "--lane", "next"]);
    assert_eq!(
        (&next["count"], &next["tasks"][0]["metadata"]["failure_class"]),
        (&1.into(), &"unverified".into())
    );
    assert_eq!(usage(&pool)[0]["outcome"], "unverified");
    // An ordinary failure: it is tried again, and the next attempt is told.
    let pool = pool_of("  verify_rounds: 0\n  max_retries: 1\n");
    let id = pool.submit("result x", &[]);
    pool.dispatch_once(&[]);
    let task = pool.task(&id);
    assert_eq!((&task["failure_class"], &task["attempt"]), (&"dead".into(), &2.into()), "{task}");
    assert!(read(&pool, &id, 2, "prompt.md").contains("unverified: not verified after 1 round"));
}

#[test]
fn only_what_the_agent_calls_done_is_verified() {
    let pool = pool("['touch verified']", "");
    let partial = pool.submit(r"result 'half\nSTATUS: partial'", &[]);
    pool.dispatch_once(&[]);
    assert!(!pool.path("verified").exists());
    let metadata = pool.response(&partial)["metadata"].clone();
    assert_eq!(
        (&metadata["outcome"], &metadata["verified"]),
        (&"partial".into(), &false.into()),
        "{metadata}"
    );
    let asks = pool.submit(r"result 'Which?\nSTATUS: needs_input'", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.state(&asks), "input_required");
    let broken = pool.submit("failure boom", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.task(&broken)["failure_class"], "error");
    assert!(!pool.path("verified").exists());
}

#[test]
fn an_agent_without_conversations_starts_anew_with_the_evidence() {
    let pool = Pool::new("dispatch:\n  verify: ['echo missing x; test -e x']\n");
    std::fs::write(
        pool.path("agent.sh"),
        "prompt=$(cat)\ncase $prompt in *'missing x'*) touch x; echo second;; *) echo first;; esac\n",
    )
    .unwrap();
    let script = pool.path("agent.sh");
    let id = pool.ok(&["submit", "--lane", "work", "--prompt", "Make it."]);
    pool.dispatch_once(&["--command", "--", "/bin/sh", script.to_str().unwrap()]);
    let response = pool.response(&id);
    assert_eq!(
        (&response["body"], &response["metadata"]["verified"]),
        (&"second\n".into(), &true.into()),
        "{response}"
    );
    let prompt = read(&pool, &id, 1, "prompt.md");
    assert!(
        prompt.contains("Make it.") && prompt.contains("`echo missing x; test -e x` exited with code 1"),
        "{prompt}"
    );
}

#[test]
fn commands_that_misbehave_leave_one_line_and_no_process() {
    let rounds = "  verify_rounds: 0\n";
    let hanging = pool("['echo begun; sleep 300 & sleep 300']", "  verify_rounds: 0\n  verify_timeout: 3\n");
    let id = hanging.submit("result x", &[]);
    hanging.dispatch_once(&[]);
    let body = unverified(&hanging, &id);
    assert!(body.contains("took longer than 3s (verify_timeout)\n\nbegun"), "{body}");
    assert!(hanging.processes().is_empty(), "{:?}", hanging.processes());

    let forking = pool("['(setsid sleep 300 &) ; sleep 300 & exit 4']", rounds);
    let id = forking.submit("result x", &[]);
    forking.dispatch_once(&[]);
    assert!(unverified(&forking, &id).ends_with("exited with code 4"), "{}", unverified(&forking, &id));
    assert!(forking.processes().is_empty(), "{:?}", forking.processes());

    let flooding = pool("['head -c 40000000 /dev/zero | tr \"\\0\" x; echo; echo last; exit 5']", rounds);
    let id = flooding.submit("result x", &[]);
    flooding.dispatch_once(&[]);
    let body = unverified(&flooding, &id);
    assert!(body.ends_with("xxx\nlast") && body.len() < 17_000, "{}", body.len());
    let log = std::fs::metadata(flooding.path(&format!("state/tasks/{id}/attempts/1/verify.log"))).unwrap();
    assert!(log.len() < 3 * 1024 * 1024, "{}", log.len());

    let removing = Pool::scripted("  verify: ['rm -r \"$PWD\"', 'true']\n  cwd: there\n");
    std::fs::create_dir(removing.path("there")).unwrap();
    let id = removing.submit("result x", &[]);
    removing.dispatch_once(&[]);
    let task = removing.task(&id);
    let body = removing.response(&id)["body"].as_str().unwrap().to_string();
    assert_eq!(task["failure_class"], "permanent", "{task}");
    assert_eq!(body, "`rm -r \"$PWD\"` has removed the directory that it verifies");

    let missing = pool("[[no-such-program]]", rounds);
    let id = missing.submit("result x", &[]);
    missing.dispatch_once(&[]);
    let body = unverified(&missing, &id);
    assert!(body.contains("`no-such-program` exited with code 127") && body.contains("not found"), "{body}");
}

#[test]
fn another_round_is_paid_from_the_budget_of_the_run() {
    let pool = pool("['false']", "  max_budget_usd: 0.25\n");
    std::fs::write(pool.path("go-on"), "touch again; result again\n").unwrap();
    let id = pool.submit(&format!("{WORKS}\nresult x"), &[]);
    pool.dispatch_once(&[]);
    let body = unverified(&pool, &id);
    assert!(body.starts_with("not verified after 1 round; its max_budget_usd is spent: `false`"), "{body}");
    assert!(!pool.path("again").exists());
}

#[test]
fn another_round_may_spend_what_is_left() {
    let pool = pool("['false']", "  max_budget_usd: 1\n  verify_rounds: 1\n");
    std::fs::write(pool.path("go-on"), "result again\n").unwrap();
    let id = pool.submit(&format!("{WORKS}\nresult x"), &[]);
    pool.dispatch_once(&[]);
    unverified(&pool, &id);
    let run: Value = serde_json::from_str(&read(&pool, &id, 1, "run.json")).unwrap();
    assert!(run["argv"].to_string().contains("\"--max-budget-usd\",\"0.75\""), "{run}");
}

#[test]
fn a_task_brings_commands_of_its_own_and_agents_and_clients_may_not() {
    let pool = pool("['echo route >> order']", "");
    let id = pool.submit("result x", &["--verify", "echo task >> order", "--verify", "echo last >> order"]);
    assert_eq!(pool.task(&id)["verify"][0], serde_json::json!(["sh", "-c", "echo task >> order"]));
    pool.dispatch_once(&[]);
    assert_eq!(std::fs::read_to_string(pool.path("order")).unwrap(), "route\ntask\nlast\n");
    std::fs::write(
        pool.path("task.yaml"),
        "lane: work\nprompt: 'DO: result x'\nverify: [[touch, from-file]]\n",
    )
    .unwrap();
    pool.ok(&["submit", "--task", "task.yaml"]);
    pool.dispatch_once(&[]);
    assert!(pool.path("from-file").exists());
    // An agent could run anything by them.
    let script = "lanes submit --lane next --prompt p --verify true 2> refused; \
                  lanes submit --lane next --task task.yaml 2>> refused; \
                  echo '{\"lane\": \"next\", \"prompt\": \"p\", \"verify\": [\"true\"]}' | lanes submit --batch - 2>> refused; result x";
    pool.submit(script, &[]);
    pool.dispatch_once(&["--lane", "work"]);
    let refused = std::fs::read_to_string(pool.path("refused")).unwrap();
    assert_eq!(refused.matches("submit with verify is not for agents").count(), 3, "{refused}");
    assert_eq!(pool.json(&["list", "--lane", "next"])["count"], 0);
    for wrong in ["[5]", "[[]]", "x", "[['']]"] {
        std::fs::write(pool.path("task.yaml"), format!("lane: work\nprompt: p\nverify: {wrong}\n")).unwrap();
        let refused = pool.refused(&["submit", "--task", "task.yaml"]);
        assert!(refused.contains("'verify' must be a list"), "{refused}");
    }
    let refused = pool.refused(&["submit", "--lane", "work", "--prompt", "p", "--verify", ""]);
    assert!(refused.contains("verify is empty"), "{refused}");
}

#[test]
fn a_retry_keeps_the_commands_and_a_task_that_follows_has_none() {
    let pool = pool("[]", "  verify_rounds: 0\n  on_success: {move_to: next}\n");
    let id = pool.submit("result x", &["--verify", "test -e there"]);
    pool.dispatch_once(&["--lane", "work"]);
    unverified(&pool, &id);
    std::fs::write(pool.path("there"), "").unwrap();
    let retried = pool.ok(&["retry", &id]);
    assert_eq!(pool.task(&retried)["verify"], pool.task(&id)["verify"]);
    pool.dispatch_once(&["--lane", "work"]);
    assert_eq!(pool.response(&retried)["metadata"]["verified"], true);
    let next = pool.json(&["list", "--lane", "next"])["tasks"][0].clone();
    assert_eq!(next["verify"], serde_json::json!([]), "{next}");
}

#[test]
fn a_dispatcher_that_dies_while_it_verifies_leaves_no_answer_and_no_process() {
    let pool = pool("['touch begun; [ -e go ] || sleep 300']", "");
    let id = pool.submit("result x", &[]);
    let dispatcher = pool.dispatcher(&[]);
    pool.until("the command runs", || pool.path("begun").exists());
    dispatcher.kill();
    pool.until("nothing runs any more", || pool.processes().is_empty());
    std::fs::write(pool.path("go"), "").unwrap();
    pool.dispatch_once(&[]);
    let task = pool.task(&id);
    assert_eq!((&task["state"], &task["fence"]), (&"completed".into(), &2.into()), "{task}");
    assert_eq!(pool.response(&id)["metadata"]["verified"], true);
}

#[test]
fn a_cancelled_task_ends_its_verification() {
    let pool = pool("['touch begun; sleep 300']", "");
    let id = pool.submit("result x", &[]);
    let dispatcher = pool.dispatcher(&[]);
    pool.until("the command runs", || pool.path("begun").exists());
    pool.ok(&["cancel", &id]);
    pool.until("nothing runs any more", || pool.processes().is_empty());
    assert_eq!(pool.task(&id)["failure_class"], "cancelled");
    dispatcher.kill();
}

#[test]
fn an_agent_cannot_answer_its_own_task_before_it_is_verified() {
    let pool = pool("['touch verified']", "  on_success: {move_to: next}\n");
    let respond = "lanes respond \"$LANES_TASK_ID\" --claim-token \"$LANES_CLAIM_TOKEN\"";
    let release = "lanes release \"$LANES_TASK_ID\" --claim-token \"$LANES_CLAIM_TOKEN\"";
    let id = pool.submit(&format!("{respond} --body mine 2> refused; {release} 2> kept; result x"), &[]);
    pool.dispatch_once(&["--lane", "work"]);
    let kept = std::fs::read_to_string(pool.path("kept")).unwrap();
    assert!(kept.contains("cannot release") && kept.contains("commands verify the work after it"), "{kept}");
    let refused = std::fs::read_to_string(pool.path("refused")).unwrap();
    assert!(refused.contains("commands verify the work after it"), "{refused}");
    assert!(refused.contains("end with the answer and the line `STATUS: done`"), "{refused}");
    assert_eq!((pool.response(&id)["body"].clone(), pool.path("verified").exists()), ("x".into(), true));
    assert_eq!(usage(&pool)[0]["verified"], true);
    assert_eq!(pool.json(&["list", "--lane", "next"])["count"], 1);
    let failed = pool.submit(&format!("{respond} --status failed --body cannot > /dev/null; result x"), &[]);
    pool.dispatch_once(&["--lane", "work"]);
    assert_eq!(pool.response(&failed)["body"], "cannot");
}
