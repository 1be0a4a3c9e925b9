//! Agents that ask: the task waits for the answer, and the conversation goes on with it.

use crate::testkit::pool::Pool;

const WORKS: &str = r#"printf '{"type":"assistant","message":{"id":"m1","model":"model-x","content":[{"type":"text","text":"half of it"}],"usage":{"input_tokens":5,"output_tokens":1}},"session_id":"%s"}\n' "$session""#;

/// The arguments and the prompt of an attempt.
fn attempt(pool: &Pool, id: &str, fence: u64) -> (String, String) {
    let read = |name: &str| {
        std::fs::read_to_string(pool.path(&format!("state/tasks/{id}/attempts/{fence}/{name}"))).unwrap()
    };
    let run: serde_json::Value = serde_json::from_str(&read("run.json")).unwrap();
    (run["argv"].to_string(), read("prompt.md"))
}

#[test]
fn an_answered_question_resumes_the_conversation_with_the_answer() {
    let pool = Pool::scripted("");
    std::fs::write(pool.path("go-on"), "result \"went on with $session\\nSTATUS: done\"\n").unwrap();
    let id = pool.submit(&format!("{WORKS}\nresult 'Which database?\\n\\nSTATUS: needs_input'"), &[]);
    pool.dispatch_once(&[]);
    let task = pool.task(&id);
    assert_eq!((&task["state"], &task["attempt"]), (&"input_required".into(), &0.into()), "{task}");
    assert_eq!(task["questions"][0]["question"], "Which database?", "{task}");
    // Nobody has answered: there is nothing to do.
    pool.dispatch_once(&[]);
    assert_eq!(pool.state(&id), "input_required");
    pool.ok(&["answer", &id, "--body", "The staging one.", "--by", "eve"]);
    pool.dispatch_once(&[]);
    let (first, _) = attempt(&pool, &id, 1);
    let (second, prompt) = attempt(&pool, &id, 2);
    let session = first.split("--session-id\",\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(second.contains("--resume") && second.contains(session), "{second}");
    assert!(prompt.starts_with("What you asked about task"), "{prompt}");
    assert!(
        prompt.contains("by eve:") && prompt.contains("The staging one.") && !prompt.contains("DO:"),
        "{prompt}"
    );
    let response = pool.response(&id);
    assert_eq!(response["body"], format!("went on with {session}\nSTATUS: done"), "{response}");
    assert_eq!(pool.task(&id)["attempt"], 1);
    // Both runs are paid for.
    assert_eq!(std::fs::read_to_string(pool.path("state/usage.jsonl")).unwrap().lines().count(), 2);
}

#[test]
fn an_agent_that_cannot_resume_gets_the_prompt_with_questions_and_answers() {
    let pool = Pool::new("dispatch:\n  retry_delay: 0\n");
    let script = pool.path("agent.sh");
    std::fs::write(&script, "#!/bin/sh\nprompt=$(cat)\ncase $prompt in *'the second'*) echo 'used the second';; *) printf 'Which one?\\nSTATUS: needs_input\\n';; esac\n").unwrap();
    let agent = ["--command", "--", "sh", script.to_str().unwrap()];
    let id = pool.submit("true", &[]);
    pool.dispatch_once(&agent);
    assert_eq!(pool.state(&id), "input_required");
    pool.ok(&["answer", &id, "--body", "the second"]);
    pool.dispatch_once(&agent);
    let (_, prompt) = attempt(&pool, &id, 2);
    assert!(
        prompt.contains("Questions that were asked about this task") && prompt.contains("Which one?"),
        "{prompt}"
    );
    assert_eq!(pool.response(&id)["body"].as_str().unwrap().trim(), "used the second");
}

#[test]
fn an_agent_asks_by_the_command_line_too() {
    let pool = Pool::scripted("");
    std::fs::write(pool.path("go-on"), "result went_on\n").unwrap();
    let ask = "lanes ask $LANES_TASK_ID --claim-token $LANES_CLAIM_TOKEN --question 'Which one?' --choice a";
    let id = pool.submit(&format!("{WORKS}\n{ask}\nsleep 1000"), &[]);
    let log = pool.dispatch_once(&[]);
    assert_eq!(pool.state(&id), "input_required");
    // That is an outcome of its own, which is neither an answer nor a failure.
    assert!(log.contains(&format!("{id}: asks: Which one?; `lanes answer {id}` answers it")), "{log}");
    assert!(log.contains("done: 0 answered, 0 runs failed, 1 run asked a question"), "{log}");
    pool.ok(&["answer", &id, "--choice", "a"]);
    pool.dispatch_once(&[]);
    let stats: serde_json::Value = serde_json::from_slice(&pool.output(&["stats", "--json"]).stdout).unwrap();
    assert_eq!(stats["stats"]["all"]["outcomes"], serde_json::json!({"asked": 1, "completed": 1}), "{stats}");
    let shown = String::from_utf8(pool.output(&["stats"]).stdout).unwrap();
    assert!(shown.contains("1 (100%)"), "{shown}");
    assert!(attempt(&pool, &id, 2).0.contains("--resume"));
    assert_eq!(pool.response(&id)["body"], "went_on");
}
