//! Runs that were cut short continue where they stopped, if a route allows it.

use crate::testkit::pool::{Pool, stand_in};

/// The command line and the prompt of an attempt.
fn attempt(pool: &Pool, id: &str, fence: u64) -> (String, String) {
    let read = |name: &str| {
        std::fs::read_to_string(pool.path(&format!("state/tasks/{id}/attempts/{fence}/{name}"))).unwrap()
    };
    let card: serde_json::Value = serde_json::from_str(&read("run.json")).unwrap();
    let argv: Vec<&str> = card["argv"].as_array().unwrap().iter().filter_map(|arg| arg.as_str()).collect();
    (argv.join(" "), read("prompt.md"))
}

/// The conversation that a command line begins or continues.
fn session(argv: &str, flag: &str) -> String {
    let rest = argv.split_once(flag).unwrap_or_else(|| panic!("no {flag} in {argv}")).1;
    rest.split_whitespace().next().unwrap().to_string()
}

const WORKS: &str = r#"printf '{"type":"assistant","message":{"id":"m1","model":"model-x","content":[{"type":"text","text":"half of it"}],"usage":{"input_tokens":5,"output_tokens":1}},"session_id":"%s"}\n' "$session""#;

fn all_cuts(more: &str) -> Pool {
    let pool = Pool::scripted(&format!("  max_retries: 2\n  resume_on: [limit, timeout, lost]\n{more}"));
    std::fs::write(pool.path("go-on"), "result \"went on with $session\"\n").unwrap();
    pool
}

#[test]
fn a_run_that_was_timed_out_goes_on_with_its_conversation() {
    let pool = all_cuts("  timeout: 4\n");
    let id = pool.submit(&format!("{WORKS}\nsleep 1000"), &[]);
    pool.dispatch_once(&[]);
    let ((first, _), (second, prompt)) = (attempt(&pool, &id, 1), attempt(&pool, &id, 2));
    let conversation = session(&first, "--session-id");
    assert_eq!(session(&second, "--resume"), conversation);
    assert!(
        prompt.contains("the run reached its time limit. Continue where you stopped")
            && !prompt.contains("DO:"),
        "{prompt}"
    );
    let response = pool.response(&id);
    assert_eq!(response["body"], format!("went on with {conversation}"), "{response}");
    assert_eq!(pool.task(&id)["attempt"], 2);
}

#[test]
fn without_resume_on_the_next_run_begins_anew() {
    let pool = Pool::scripted("  max_retries: 1\n  timeout: 4\n");
    let id =
        pool.submit(&format!("[ -e once ] && result anew && exit\ntouch once\n{WORKS}\nsleep 1000"), &[]);
    pool.dispatch_once(&[]);
    let (argv, prompt) = attempt(&pool, &id, 2);
    assert!(!argv.contains("--resume") && prompt.contains("DO: "), "{argv}: {prompt}");
    assert_eq!(pool.response(&id)["body"], "anew");
}

#[test]
fn a_run_that_met_a_limit_goes_on_after_it() {
    let pool = all_cuts("");
    let id = pool.submit(&format!("{WORKS}\nfailure \"You've hit your limit\" 429"), &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.state(&id), "queued");
    std::fs::remove_file(pool.path("state/vendors.json")).unwrap();
    let plan = pool.json(&["dispatch", "--dry-run"]);
    assert!(plan["lanes"].to_string().contains("\"--resume\""), "{plan}");
    pool.dispatch_once(&[]);
    let (argv, prompt) = attempt(&pool, &id, 2);
    assert!(prompt.contains("as at a usage limit"), "{prompt}");
    assert_eq!(pool.response(&id)["body"], format!("went on with {}", session(&argv, "--resume")));
}

#[test]
fn a_run_whose_dispatcher_died_goes_on_under_the_next_one() {
    let pool = all_cuts("");
    let id = pool.submit(&format!("{WORKS}\ntouch ready\nsleep 1000"), &[]);
    let dispatcher = pool.dispatcher(&[]);
    pool.until("the agent works", || pool.path("ready").exists());
    dispatcher.kill();
    pool.dispatch_once(&[]);
    let (argv, prompt) = attempt(&pool, &id, 2);
    assert!(prompt.contains("the process that ran you ended"), "{prompt}");
    assert_eq!(pool.response(&id)["body"], format!("went on with {}", session(&argv, "--resume")));
}

#[test]
fn a_conversation_that_is_gone_or_never_began_means_a_fresh_run() {
    let pool = all_cuts("  timeout: 4\n");
    let gone = "echo 'No conversation found with session ID: x' >&2\nexit 1\n";
    std::fs::write(pool.path("go-on"), gone).unwrap();
    let script = format!("[ -e once ] && result anew && exit\ntouch once\n{WORKS}\nsleep 1000");
    let id = pool.submit(&script, &[]);
    pool.dispatch_once(&[]);
    let (argv, prompt) = attempt(&pool, &id, 2);
    assert!(argv.contains("--session-id") && prompt.contains("DO: "), "{argv}: {prompt}");
    assert_eq!(pool.response(&id)["body"], "anew");
    assert!(pool.events(&id).iter().any(|kind| kind == "resume_refused"), "{:?}", pool.events(&id));
    assert_eq!(pool.task(&id)["attempt"], 2, "one attempt for both");

    // It printed nothing before it was cut short: the agent may not know the task.
    std::fs::remove_file(pool.path("once")).unwrap();
    let id = pool.submit("[ -e once ] && result anew && exit\ntouch once\nsleep 1000", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.response(&id)["body"], "anew");
    assert!(!pool.events(&id).iter().any(|kind| kind == "resume_refused"));
}

#[test]
fn an_announced_conversation_is_found_in_the_output() {
    let pool = Pool::new(&format!(
        "dispatch:\n  vendor: codex\n  timeout: 4\n  retry_delay: 0\n  max_retries: 1\n  resume_on: [timeout]\n  vendors:\n    codex: {{command: {}}}\n",
        stand_in("polyglot.sh")
    ));
    let id = pool.ok(&["submit", "--lane", "work", "--prompt", "SAY hang"]);
    pool.dispatch_once(&[]);
    let (argv, prompt) = attempt(&pool, &id, 2);
    assert!(argv.contains("resume") && argv.contains("chosen-by-the-agent"), "{argv}");
    assert!(prompt.starts_with("You were cut short"), "{prompt}");
    let response = pool.response(&id);
    assert_eq!(response["metadata"]["session_id"], "chosen-by-the-agent", "{response}");
    // The total of the conversation is counted with the run that reported it.
    assert_eq!(response["metadata"]["tokens"]["input"], 15, "{response}");
}

#[test]
fn words_that_are_no_ends_are_refused() {
    let pool = Pool::scripted("  resume_on: [limit, crash]\n");
    let error = pool.refused(&["dispatch", "--once"]);
    assert!(error.contains("dispatch.resume_on: expected a list of limit, timeout, lost"), "{error}");
}
