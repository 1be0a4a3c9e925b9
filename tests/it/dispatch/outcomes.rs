//! How far the work of an agent got, and what follows from that.

use crate::testkit::pool::Pool;

/// What an agent prints about one that it started in the background.
fn reported(subtype: &str, more: &str) -> String {
    format!(
        r#"printf '{{"type":"system","subtype":"{subtype}","task_id":"a1","task_type":"local_agent","description":"look",{more},"session_id":"%s"}}\n' "$session""#
    )
}

fn next_tasks(pool: &Pool) -> usize {
    pool.json(&["list", "--lane", "next"])["tasks"].as_array().unwrap().len()
}

#[test]
fn a_background_agent_that_was_stopped_makes_the_answer_partial() {
    let pool = Pool::scripted("  routes: {work: {on_success: {move_to: next}}}\n");
    let script = [
        reported("task_started", r#""is_backgrounded":true"#),
        "say waiting".to_string(),
        reported("task_notification", r#""status":"stopped""#),
        "result 'interim text'".to_string(),
    ];
    let id = pool.submit(&script.join("\n"), &[]);
    let log = pool.dispatch_once(&[]);
    assert!(log.contains("(partial)"), "{log}");
    let response = pool.response(&id);
    assert_eq!((&response["status"], &response["body"]), (&"completed".into(), &"interim text".into()));
    assert_eq!(response["metadata"]["outcome"], "partial", "{response}");
    let reported = &response["metadata"]["background_cut_short"];
    assert_eq!(reported[0], "background agent \"look\" was stopped", "{response}");
    assert_eq!(next_tasks(&pool), 0);
}

#[test]
fn a_result_before_the_background_agents_end_is_not_the_last_one() {
    let pool = Pool::scripted("  linger: 1\n");
    let script = [
        reported("task_started", r#""is_backgrounded":true"#),
        "result interim".to_string(),
        "sleep 2.5".to_string(),
        reported("task_notification", r#""status":"completed""#),
        "say thinking".to_string(),
        "result synthesis".to_string(),
    ];
    let id = pool.submit(&script.join("\n"), &[]);
    pool.dispatch_once(&[]);
    let response = pool.response(&id);
    assert_eq!(response["body"], "synthesis", "{response}");
    assert!(response["metadata"].get("background_cut_short").is_none(), "{response}");
}

#[test]
fn a_run_that_waits_for_its_background_agents_is_bounded_by_its_limits() {
    let pool = Pool::scripted("  linger: 0.2\n  silence_timeout: 4\n");
    let script = [
        reported("task_started", r#""is_backgrounded":true"#),
        "result interim".to_string(),
        "sleep 1000".to_string(),
    ];
    let id = pool.submit(&script.join("\n"), &[]);
    pool.dispatch_once(&[]);
    let response = pool.response(&id);
    assert_eq!((&response["status"], &response["body"]), (&"completed".into(), &"interim".into()));
    assert_eq!(response["metadata"]["outcome"], "partial", "{response}");
    let reported = &response["metadata"]["background_cut_short"];
    assert_eq!(reported[0], "background agent \"look\" had not ended", "{response}");
}

#[test]
fn only_done_or_no_word_moves_the_work_on() {
    let pool = Pool::scripted("  routes: {work: {on_success: {move_to: next}}, next: {concurrency: 0}}\n");
    for (closing, outcome, moved) in [
        ("", None, 1),
        ("STATUS: done", Some("done"), 1),
        ("STATUS: partial", Some("partial"), 0),
        ("STATUS: blocked", Some("blocked"), 0),
    ] {
        let before = next_tasks(&pool);
        let id = pool.submit(&format!("result 'words\\n{closing}'"), &[]);
        pool.dispatch_once(&[]);
        let response = pool.response(&id);
        assert_eq!(response["metadata"].get("outcome").and_then(|word| word.as_str()), outcome, "{response}");
        assert_eq!(next_tasks(&pool) - before, moved, "{closing}");
    }
    // An answer that the agent itself has given counts too.
    let before = next_tasks(&pool);
    pool.submit(
        "lanes respond $LANES_TASK_ID --claim-token $LANES_CLAIM_TOKEN --body 'no key\nSTATUS: blocked'\nresult answered",
        &[],
    );
    pool.dispatch_once(&[]);
    assert_eq!(next_tasks(&pool), before);
}

#[test]
fn claude_may_wait_for_its_background_agents_unless_a_setting_forbids_it() {
    let ceiling = "result \"limit:$CLAUDE_CODE_PRINT_BG_WAIT_CEILING_MS\"";
    for (env, expected) in
        [("", "limit:0"), ("  env: {CLAUDE_CODE_PRINT_BG_WAIT_CEILING_MS: \"5\"}\n", "limit:5")]
    {
        let pool = Pool::scripted(env);
        let id = pool.submit(ceiling, &[]);
        pool.dispatch_once(&[]);
        assert_eq!(pool.response(&id)["body"], expected);
    }
}

#[test]
fn the_exit_code_says_on_request_whether_a_task_has_failed() {
    let pool = Pool::scripted("  max_retries: 1\n");
    let dispatch = |more: &[&str]| {
        let output = pool.output(&[&["dispatch", "--once", "--json"], more].concat());
        let log = String::from_utf8(output.stdout).unwrap();
        let done: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        (output.status.code().unwrap(), done)
    };
    let id = pool.submit("[ -e tried ] || { touch tried; exit 1; }; result ok", &[]);
    let (code, done) = dispatch(&["--exit-status"]);
    assert_eq!((code, &done["failed"], &done["failed_tasks"]), (0, &1.into(), &0.into()), "{done}");
    assert_eq!(pool.state(&id), "completed");
    pool.submit("exit 1", &[]);
    pool.submit("result ok", &[]);
    let (code, done) = dispatch(&["--exit-status"]);
    assert_eq!((code, &done["answered"], &done["failed_tasks"]), (3, &1.into(), &1.into()), "{done}");
    pool.submit("exit 1", &[]);
    assert_eq!(dispatch(&[]).0, 0);
    assert_eq!(pool.output(&["dispatch", "--exit-status"]).status.code(), Some(2));
}

#[test]
fn the_log_reports_the_start_of_an_agent_before_what_it_does() {
    let pool = Pool::scripted("  max_concurrent: 4\n");
    let ids: Vec<String> = (0..12).map(|n| pool.submit(&format!("say {n}\nresult {n}"), &[])).collect();
    let log = pool.dispatch_once(&[]);
    for id in ids {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&id)).collect();
        assert!(
            lines[0].contains("claimed from") && lines[1].contains("agent started as process"),
            "{lines:#?}"
        );
    }
}
