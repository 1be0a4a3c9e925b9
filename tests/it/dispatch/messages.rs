//! Messages to agents: in the prompt, and after the answer in the same conversation.

use crate::testkit::pool::Pool;

/// The arguments and the prompt of the last run of an attempt.
fn attempt(pool: &Pool, id: &str, fence: u64) -> (String, String) {
    let read = |name: &str| {
        std::fs::read_to_string(pool.path(&format!("state/tasks/{id}/attempts/{fence}/{name}"))).unwrap()
    };
    let run: serde_json::Value = serde_json::from_str(&read("run.json")).unwrap();
    (run["argv"].to_string(), read("prompt.md"))
}

fn readers(pool: &Pool, id: &str) -> Vec<bool> {
    let task = pool.task(id);
    task["messages"].as_array().unwrap().iter().map(|message| message["read_by"].is_string()).collect()
}

#[test]
fn the_prompt_of_an_agent_has_the_messages() {
    let pool = Pool::scripted("");
    let id = pool.submit("result 'done'", &[]);
    pool.ok(&["tell", &id, "Use the new one.", "--by", "eve"]);
    pool.dispatch_once(&[]);
    let (_, prompt) = attempt(&pool, &id, 1);
    assert!(prompt.contains("Message 1 from eve:") && prompt.contains("Use the new one."), "{prompt}");
    assert!(prompt.contains("was written by others"), "{prompt}");
    assert_eq!((pool.state(&id).as_str(), readers(&pool, &id)), ("completed", vec![true]));
}

#[test]
fn a_message_during_a_run_continues_the_conversation_after_the_answer() {
    let pool = Pool::scripted("");
    std::fs::write(pool.path("go-on"), "result \"went on with $session\"\n").unwrap();
    let tell = "lanes tell $LANES_TASK_ID 'And the tests.' --by eve --json > told.json";
    let id = pool.submit(&format!("{tell}\nresult 'the first answer'"), &[]);
    pool.dispatch_once(&[]);
    let told = std::fs::read_to_string(pool.path("told.json")).unwrap();
    assert!(told.contains("\"delivery\": \"run\""), "{told}");
    let (arguments, prompt) = attempt(&pool, &id, 1);
    assert!(arguments.contains("--resume"), "{arguments}");
    assert!(prompt.starts_with("While you worked on task") && prompt.contains("And the tests."), "{prompt}");
    assert!(!prompt.contains("DO:"), "{prompt}");
    let response = pool.response(&id);
    assert!(response["body"].as_str().unwrap().starts_with("went on with "), "{response}");
    assert_eq!((readers(&pool, &id), pool.task(&id)["attempt"].clone()), (vec![true], 1.into()));
    // Both rounds are one run, and paid for.
    assert_eq!(std::fs::read_to_string(pool.path("state/usage.jsonl")).unwrap().lines().count(), 1);
}

#[test]
fn a_hook_brings_a_message_into_the_run() {
    let pool = Pool::scripted("");
    let tell = "lanes tell $LANES_TASK_ID 'And the tests.' --by eve --quiet > told.txt";
    // What the program of the agent does after a tool call, and once more after the next one.
    let hook = r#"lanes messages "$LANES_TASK_ID" --claim-token "$LANES_CLAIM_TOKEN" --hook"#;
    let id = pool
        .submit(&format!("{tell}\n{hook} > hook.json\n{hook} > again.json\nresult 'with the tests'"), &[]);
    pool.dispatch_once(&[]);
    let (arguments, _) = attempt(&pool, &id, 1);
    assert!(arguments.contains("--settings") && arguments.contains("PostToolUse"), "{arguments}");
    assert!(arguments.contains("--hook") && !arguments.contains("--resume"), "{arguments}");
    let printed = std::fs::read_to_string(pool.path("hook.json")).unwrap();
    let output: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(output["hookSpecificOutput"]["hookEventName"], "PostToolUse");
    let context = output["hookSpecificOutput"]["additionalContext"].as_str().unwrap();
    assert!(
        context.starts_with("Text between a line") && context.contains("was written by others"),
        "{context}"
    );
    assert!(context.contains("Message 1 from eve:") && context.contains("And the tests."), "{context}");
    assert_eq!(std::fs::read_to_string(pool.path("again.json")).unwrap(), "");
    assert_eq!(
        (pool.response(&id)["body"].clone(), readers(&pool, &id)),
        ("with the tests".into(), vec![true])
    );
}

#[test]
fn an_agent_without_conversations_gets_a_message_only_with_another_attempt() {
    let pool = Pool::new("dispatch:\n  retry_delay: 0\n");
    let script = pool.path("agent.sh");
    let text = "#!/bin/sh\ncat > prompt.txt\nlanes tell $LANES_TASK_ID 'And the tests.' --json > told.json\necho done\n";
    std::fs::write(&script, text).unwrap();
    let id = pool.submit("true", &[]);
    pool.dispatch_once(&["--command", "--", "sh", script.to_str().unwrap()]);
    assert_eq!((pool.state(&id).as_str(), readers(&pool, &id)), ("completed", vec![false]));
    let told = std::fs::read_to_string(pool.path("told.json")).unwrap();
    assert!(told.contains("\"delivery\": \"claim\""), "{told}");
}
