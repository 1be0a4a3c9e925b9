//! JSON Schemas that answers must be valid against.

use serde_json::{Value, json};

use crate::testkit::pool::Pool;

const WORKS: &str = r#"printf '{"type":"assistant","message":{"id":"m1","model":"model-x","content":[{"type":"text","text":"half of it"}],"usage":{"input_tokens":5,"output_tokens":1}},"session_id":"%s"}\n' "$session""#;

const SCHEMA: &str = r#"{"type": "object", "required": ["count"], "properties": {"count": {"type": "integer"}, "note": {"const": "Größe"}}}"#;

fn pool(more: &str) -> Pool {
    let pool = Pool::scripted(more);
    std::fs::write(pool.path("schema.json"), SCHEMA).unwrap();
    pool
}

fn read(pool: &Pool, id: &str, fence: u64, name: &str) -> String {
    std::fs::read_to_string(pool.path(&format!("state/tasks/{id}/attempts/{fence}/{name}"))).unwrap()
}

fn argv(pool: &Pool, id: &str) -> Vec<String> {
    let run: Value = serde_json::from_str(&read(pool, id, 1, "run.json")).unwrap();
    run["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_string()).collect()
}

#[test]
fn a_valid_answer_counts_and_its_value_is_kept() {
    let pool = pool("");
    let script = r#"result 'Here: ```json\n{\"count\": 3}\n```\nSTATUS: done'"#;
    let id = pool.submit(script, &["--schema", "schema.json"]);
    assert_eq!(pool.task(&id)["schema"], serde_json::from_str::<Value>(SCHEMA).unwrap());
    pool.dispatch_once(&[]);
    let response = pool.response(&id);
    assert_eq!(response["metadata"]["parsed_result"], json!({"count": 3}), "{response}");
    assert!(response["metadata"]["verified"].is_null(), "there was nothing to run: {response}");
    let argv = argv(&pool, &id);
    let given = argv.iter().position(|word| word == "--json-schema").map(|at| &argv[at + 1]).unwrap();
    assert!(given.is_ascii(), "{given}");
    assert_eq!(serde_json::from_str::<Value>(given).unwrap(), serde_json::from_str::<Value>(SCHEMA).unwrap());
    let prompt = read(&pool, &id, 1, "prompt.md");
    assert!(prompt.contains("valid against this JSON Schema") && prompt.contains("\"Größe\""), "{prompt}");
}

#[test]
fn an_answer_that_is_not_valid_is_corrected_once_in_the_same_conversation() {
    let pool = pool("");
    std::fs::write(pool.path("go-on"), r#"result '{\"count\": 4}'"#).unwrap();
    let id = pool
        .submit(&format!("{WORKS}\n{}", r#"result '{\"count\": \"four\"}'"#), &["--schema", "schema.json"]);
    pool.dispatch_once(&[]);
    let response = pool.response(&id);
    assert_eq!(
        (&response["metadata"]["parsed_result"], &response["body"]),
        (&json!({"count": 4}), &r#"{"count": 4}"#.into())
    );
    let prompt = read(&pool, &id, 1, "prompt.md");
    assert!(prompt.starts_with("Your answer to task") && !prompt.contains("DO:"), "{prompt}");
    assert!(prompt.contains(r#"/count: "four" is not of type "integer""#), "{prompt}");
    assert!(argv(&pool, &id).contains(&"--resume".to_string()));
    assert!(pool.events(&id).contains(&"schema_failed".to_string()), "{:?}", pool.events(&id));
    // Twice is too often.
    std::fs::write(pool.path("go-on"), "echo again >> rounds; result 'still words'").unwrap();
    let id = pool.submit(&format!("{WORKS}\nresult words"), &["--schema", "schema.json"]);
    pool.dispatch_once(&[]);
    let task = pool.task(&id);
    assert_eq!(task["failure_class"], "unverified", "{task}");
    let body = pool.response(&id)["body"].as_str().unwrap().to_string();
    assert!(
        body.starts_with("the answer is not valid against the schema after 2 rounds: the answer is not JSON"),
        "{body}"
    );
    assert_eq!(body.lines().count(), 1, "{body}");
    assert_eq!(std::fs::read_to_string(pool.path("rounds")).unwrap(), "again\n");
}

#[test]
fn a_schema_is_checked_before_the_commands() {
    let pool = pool("  verify: ['echo run >> verified']\n");
    std::fs::write(pool.path("go-on"), r#"result '{\"count\": 4}'"#).unwrap();
    let id = pool.submit(&format!("{WORKS}\nresult words"), &["--schema", "schema.json"]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.response(&id)["metadata"]["verified"], true);
    assert_eq!(std::fs::read_to_string(pool.path("verified")).unwrap(), "run\n");
}

#[test]
fn codex_gets_the_schema_as_a_file_if_its_service_accepts_it() {
    let pool = Pool::new("dispatch:\n  vendor: codex\n  vendors:\n    codex: {command: AGENT}\n");
    std::fs::write(pool.path("schema.json"), SCHEMA).unwrap();
    let strict = r#"{"type": "object", "required": ["count"], "additionalProperties": false, "properties": {"count": {"type": "integer"}}}"#;
    std::fs::write(pool.path("strict.json"), strict).unwrap();
    for (file, is_given) in [("strict.json", true), ("schema.json", false)] {
        let id = pool.submit("true", &["--schema", file]);
        let shown = pool.json(&["dispatch", "--dry-run"]).to_string();
        assert_eq!(shown.contains("--output-schema"), is_given, "{shown}");
        pool.ok(&["cancel", &id]);
    }
}

#[test]
fn without_a_dispatcher_respond_refuses_what_is_not_valid() {
    let pool = pool("");
    let submit = || pool.submit("x", &["--schema", "schema.json"]);
    let id = submit();
    for (body, expected) in [
        ("words", "is not valid against its schema: it is not JSON: a value is a text in quotes"),
        (r#"{"count": "x"}"#, r#"is not valid against its schema: /count: "x" is not of type "integer""#),
        ("{}", r#"the value: "count" is a required property"#),
    ] {
        let refused = pool.refused(&["respond", &id, "--body", body]);
        assert!(refused.contains(expected) && refused.contains("prints the schema"), "{refused}");
        assert_eq!(pool.state(&id), "queued");
    }
    let answer = ["respond", &id, "--body", " {\"count\": 7}\n"];
    pool.ok(&answer);
    assert_eq!(pool.response(&id)["metadata"]["parsed_result"], json!({"count": 7}));
    // The same answer again changes nothing, and a failure needs no value.
    pool.ok(&answer);
    let failed = submit();
    pool.ok(&["respond", &failed, "--status", "failed", "--body", "cannot be counted"]);
    let retried = pool.ok(&["retry", &failed]);
    assert_eq!(pool.task(&retried)["schema"], pool.task(&failed)["schema"]);
}

#[test]
fn a_schema_that_cannot_be_used_is_refused_at_the_submit() {
    let pool = pool("");
    for (text, expected) in [
        ("{\"type\": \"objet\"}", "the schema cannot be used: /type"),
        ("{\"$ref\": \"https://example.com/x.json\"}", "which is not a part of it"),
        ("{\"$ref\": \"#\"}", "it refers to itself"),
        ("{", "cannot parse schema"),
        ("[]", "schema"),
    ] {
        std::fs::write(pool.path("bad.json"), text).unwrap();
        let refused = pool.refused(&["submit", "--lane", "work", "--prompt", "p", "--schema", "bad.json"]);
        assert!(refused.contains(expected) && refused.lines().count() <= 2, "{text}: {refused}");
    }
    let refused = pool.refused(&["submit", "--lane", "work", "--prompt", "p", "--schema", "gone.json"]);
    assert!(refused.contains("gone.json does not exist"), "{refused}");
    assert_eq!(pool.json(&["list"])["count"], 0);
}

#[test]
fn task_files_batches_and_exports_have_the_schema() {
    let pool = pool("");
    std::fs::create_dir(pool.path("sub")).unwrap();
    std::fs::write(pool.path("sub/s.yaml"), "type: array\nmaxItems: 2\n").unwrap();
    std::fs::write(pool.path("sub/task.yaml"), "lane: work\nprompt: p\nschema: s.yaml\n").unwrap();
    let by_file = pool.ok(&["submit", "--task", "sub/task.yaml"]);
    assert_eq!(pool.task(&by_file)["schema"], json!({"type": "array", "maxItems": 2}));
    std::fs::write(
        pool.path("lines"),
        "{\"lane\": \"work\", \"prompt\": \"p\", \"schema\": {\"type\": \"string\"}}\n",
    )
    .unwrap();
    let by_line = pool.ok(&["submit", "--batch", "lines"]);
    assert_eq!(pool.task(&by_line)["schema"], json!({"type": "string"}));
    std::fs::write(pool.path("sub/task.yaml"), "lane: work\nprompt: p\nschema: 5\n").unwrap();
    assert!(pool.refused(&["submit", "--task", "sub/task.yaml"]).contains("'schema' must be a JSON Schema"));
    std::fs::write(pool.path("export.jsonl"), pool.ok(&["export"]) + "\n").unwrap();
    let other = Pool::scripted("");
    other.ok(&["import", pool.path("export.jsonl").to_str().unwrap()]);
    assert_eq!(other.task(&by_line)["schema"], json!({"type": "string"}));
}

#[test]
fn a_worker_is_told_of_the_schema() {
    let pool = Pool::scripted("");
    std::fs::write(pool.path("schema.json"), r#"{"required": ["count"], "type": "object"}"#).unwrap();
    let id = pool.submit("work", &["--schema", "schema.json"]);
    let told = "schema of the answer, which must be JSON\n  {";
    let shown = pool.ok(&["show", &id]);
    assert!(shown.contains(told) && shown.contains("\"required\""), "{shown}");
    let claimed = pool.ok(&["claim", &id, "--with-prompt"]);
    assert!(claimed.contains(told) && claimed.contains("\"required\""), "{claimed}");
}
