//! Which parts of a task are printed as JSON, and to whom.

use serde_json::{Value, json};

use crate::testkit::sandbox::{Sandbox, text};

#[test]
fn fields_select_what_is_printed_of_tasks() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &["--priority", "2"]);
    let fields = ["--json", "--fields", "id,priority,description"];
    let expected = json!({"id": id, "priority": 2, "description": null});
    let with = |words: &[&str]| sandbox.json(&[words, &fields].concat());
    let tasks = |reply: Value| reply["tasks"].clone();
    assert_eq!(tasks(with(&["list"])), json!([expected]));
    assert_eq!(tasks(with(&["status", "--all"])), json!([expected]));
    assert_eq!(with(&["status", &id])["task"], expected);
    assert_eq!(with(&["show", &id]), json!({"status": "ok", "task": expected}));
    assert_eq!(with(&["next", "--lane", "l", "--timeout", "0"])["task"], expected);
    assert_eq!(with(&["edit", &id, "--name", "n"])["task"], expected);
    let claimed = with(&["claim", &id]);
    assert_eq!(claimed["task"], expected);
    assert_eq!(
        with(&["renew", &id, "--claim-token", claimed["claim_token"].as_str().unwrap()])["task"],
        expected
    );
    let second = sandbox.submit("l", &["--priority", "2"]);
    let cancelled = with(&["cancel", &id, &second]);
    let results = cancelled["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|result| result["task"]["priority"] == 2 && result["task"]["lane"].is_null()));
    let shown = sandbox.json(&["show", &id, "--json", "--fields", "state,response"]);
    assert_eq!(shown["task"], json!({"state": "failed"}));
    assert!(shown["response"]["body"].is_string() && shown.get("events").is_none(), "{shown}");
}

#[test]
fn every_field_that_is_printed_can_be_selected() {
    let sandbox = Sandbox::new();
    let (id, token) = (sandbox.submit("l", &[]), sandbox.claim("l").1);
    sandbox.ok(&["tell", &id, "hi"]);
    sandbox.ok(&["ask", &id, "--claim-token", &token, "-m", "Which?"]);
    sandbox.ok(&["edit", &id, "--description", "d", "--add-assignee", "ann"]);
    let steps: [&[&str]; 4] =
        [&["show", &id], &["answer", &id, "-m", "This."], &["claim", &id], &["cancel", &id]];
    for step in steps {
        sandbox.ok(step);
        let all = sandbox.json(&["show", &id])["task"].clone();
        let names: Vec<&str> = all.as_object().unwrap().keys().map(String::as_str).collect();
        let selected = sandbox.json(&["show", &id, "--json", "--fields", &names.join(",")]);
        assert_eq!(selected["task"].as_object().unwrap().len(), names.len(), "{step:?}");
    }
}

#[test]
fn fields_that_no_task_has_are_misuse() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let wrong = sandbox.run(&["list", "--json", "--fields", "id,sate"]);
    wrong.refused(2, "a task has no field 'sate'");
    assert!(wrong.stderr.contains("created_at, deadline, description"), "{wrong}");
    sandbox.run(&["list", "--fields", "id"]).refused(2, "add --json");
    // Before anything is done.
    sandbox.run(&["claim", &id, "--json", "--fields", "x"]).refused(2, "no field");
    assert_eq!(sandbox.json(&["show", &id])["task"]["state"], "queued");
}

#[test]
fn compact_json_is_one_line() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    sandbox.submit("m", &[]);
    for words in [&["list"][..], &["show", &id], &["status"], &["workers"], &["list", "--lane", "none"]] {
        let pretty = sandbox.json(words);
        let compact = sandbox.run(&[words, &["--compact"]].concat());
        assert_eq!(compact.stdout.matches('\n').count(), 1, "{compact}");
        assert!(!compact.stdout.contains("\": "), "{compact}");
        let keys = |reply: &Value| reply.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&compact.json()), keys(&pretty), "{words:?}");
        assert_eq!(compact.json()["tasks"][1]["id"], pretty["tasks"][1]["id"], "{words:?}");
    }
    let error = sandbox.run(&["show", "zzz", "--compact"]);
    assert!(error.stderr.starts_with("{\"code\":"), "{error}");
    let usage = sandbox.run(&["show", "--compact"]);
    assert!(usage.stderr.starts_with("{\"code\":"), "{usage}");
}

#[test]
fn nobody_but_the_holder_sees_the_token() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let (_, token) = sandbox.claim("l");
    let renewed = sandbox.json(&["renew", &id, "--claim-token", &token]);
    assert_eq!(
        (text(&renewed["claim_token"]), text(&renewed["task"]["claim_token"])),
        (token.clone(), token.clone())
    );
    let all: [&[&str]; 9] = [
        &["list"],
        &["list", "--fields", "claim_token,id"],
        &["status"],
        &["status", "--all"],
        &["status", &id],
        &["show", &id],
        &["events"],
        &["workers"],
        &["edit", &id, "--name", "n"],
    ];
    for words in all {
        let shown = sandbox.run(&[words, &["--json"]].concat());
        assert_eq!(shown.code, 0, "{shown}");
        assert!(!shown.stdout.contains(&token), "{shown}");
    }
    for words in [
        &["list"][..],
        &["show", &id],
        &["events", &id],
        &["cancel", &id, "--json"],
        &["show", &id, "--json"],
    ] {
        let shown = sandbox.run(words);
        assert!(!shown.stdout.contains(&token) && !shown.stderr.contains(&token), "{shown}");
    }
}
