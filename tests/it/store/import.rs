//! What `import` refuses: every task that submits and later commands could not have made.

use std::fs;
use std::time::Duration;

use crate::testkit::store::{Fixture, idempotency_key, owner};
use lanes::internals::model::{AnswerOutcome, FailureClass};
use lanes::internals::store::{ImportReport, Store};
use serde_json::{Value, json};

fn export(store: &Store) -> String {
    let mut out = Vec::new();
    store
        .export(&mut out, &|_| true, &mut |name, error| panic!("{name}: {error}"), &mut |what| {
            panic!("{what}")
        })
        .unwrap();
    String::from_utf8(out).unwrap()
}

fn import(store: &Store, text: &str) -> ImportReport {
    store.import(&mut text.as_bytes(), &mut |_| {}).unwrap()
}

/// What a store holds, without what is derived.
fn names(store: &Store) -> Vec<String> {
    let tree = |dir: &str| fs::read_dir(store.root().join(dir)).into_iter().flatten();
    let found = ["tasks", "tmp", "indexes/keys", "indexes/correlations"].into_iter().flat_map(tree);
    found.map(|entry| entry.unwrap().path().to_string_lossy().into_owned()).collect()
}

fn line_of(store: &Store, id: &str) -> Value {
    let lines: Vec<Value> = export(store).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.into_iter().find(|line| line["task"]["id"] == id).unwrap()
}

/// Sets the value at a path such as `task/priority`; an array has no names.
fn with(line: &Value, path: &str, value: Value) -> String {
    let mut line = line.clone();
    let (parents, key) = path.rsplit_once('/').unwrap_or(("", path));
    let parent =
        if parents.is_empty() { &mut line } else { line.pointer_mut(&format!("/{parents}")).unwrap() };
    parent[key] = value;
    line.to_string()
}

#[test]
fn values_that_no_submit_takes_are_refused_and_leave_nothing() {
    let fixture = Fixture::new();
    let old = fixture.store_named("old");
    let queued = fixture.submit(&old, |new| new.spec.key = idempotency_key("k"));
    let held = fixture.submit(&old, |_| {});
    old.claim(&held.id, &owner("me"), Duration::from_secs(60)).unwrap();
    let ended = fixture.ended(&old, |_| {});
    let other = fixture.submit(&old, |new| new.spec.prompt = String::new());
    let failed = fixture.submit(&old, |_| {});
    let claimed = old.claim(&failed.id, &owner("me"), Duration::from_secs(60)).unwrap();
    fixture.answer(&old, &claimed, "no", AnswerOutcome::Failed(FailureClass::Error));
    let tasks = [&queued, &held, &ended, &other, &failed];
    let [queued, held, ended, other, failed] = tasks.map(|task| line_of(&old, task.id.as_str()));
    let event = queued["events"][0].clone();
    let long = |length: usize| Value::from("x".repeat(length));
    let cases = [
        (&queued, "task/priority", json!(5000), "priority"),
        (&queued, "task/priority", json!(i64::MIN), "priority"),
        (&queued, "task/lane", json!("../x"), "invalid lane name"),
        (&queued, "task/lane", json!(""), "invalid lane name"),
        (&queued, "task/lane", json!("a\nb"), "invalid lane name"),
        (&queued, "task/lane", long(201), "invalid lane name"),
        (&queued, "task/workspace_id", json!(" "), "workspace id"),
        (&queued, "task/correlation_id", long(1001), "correlation id"),
        (&queued, "task/source_agent", long(1001), "source agent"),
        (&queued, "task/expected_branch", long(1001), "branch"),
        (&queued, "task/prompt", long(1024 * 1024 + 1), "prompt"),
        (&queued, "task/name", long(201), "name"),
        (&queued, "task/name", json!("a\nb"), "control characters"),
        (&queued, "task/labels", json!(["x", long(101)]), "label"),
        (&queued, "task/labels", json!((0..51).map(|n| n.to_string()).collect::<Vec<_>>()), "labels"),
        (&queued, "task/max_attempts", json!(0), "max_attempts"),
        (&queued, "task/max_attempts", json!(1001), "max_attempts"),
        (&queued, "task/timeout_seconds", json!(-1.0), "timeout"),
        (&queued, "task/timeout_seconds", json!(1e9), "timeout"),
        (&queued, "task/idempotency_key", long(201), "key"),
        (&queued, "task/idempotency_key", json!("retry-of:../x\n"), "key"),
        (&queued, "task/_lanes/content_sha256", json!(null), "idempotency key"),
        (&queued, "task/fence", json!(u64::MAX), "count"),
        (&queued, "task/_lanes/last_event", json!(u64::MAX), "count"),
        (&queued, "task/attempt", json!(7), "attempts"),
        (&queued, "task/worktree_path", json!("w"), "absolute"),
        (&queued, "task/response_path", json!("../r.md"), "absolute"),
        (&queued, "task/request_sha256", json!("ab"), "sha256"),
        (&queued, "task/supporting_paths", json!([{"path": "x", "sha256": "ab"}]), "supporting_paths"),
        (&queued, "task/retry_of", json!("../x"), "retry_of"),
        (&queued, "task/retried_as", queued["task"]["id"].clone(), "retried_as"),
        (&queued, "task/state", json!("paused"), "'paused'"),
        (&queued, "task/state", json!("completed"), "answer is missing"),
        (&queued, "task/state", json!("failed"), "answer is missing"),
        (&queued, "task/retry_of", queued["task"]["id"].clone(), "the task itself"),
        (&queued, "task/_lanes/response", ended["response"].clone(), "holds an answer"),
        (&queued, "task/not_before", json!("2026-11-21T08:00:00Z"), "'not_before'"),
        (&queued, "task/claim_token", json!("t"), "'claim_token'"),
        (&queued, "task/claim_owner", json!("me"), "'claim_owner'"),
        (&queued, "task/lease_seconds", json!(-5), "'lease_seconds'"),
        (&queued, "task/state", json!("scheduled"), "'not_before' is missing"),
        (&queued, "task/created_at", json!("0000-01-01T00:00:00Z"), "'created_at'"),
        (&ended, "task/lease_seconds", json!(-5), "lease"),
        (&ended, "task/retry_of", ended["task"]["id"].clone(), "the task itself"),
        (&other, "request", json!(null), "request is missing"),
        (&queued, "request", json!("something else"), "request"),
        (&queued, "request", json!(7), "request"),
        (&queued, "files", json!([]), "files"),
        (&queued, "files", json!({"response.7.json": {"text": "{}"}}), "path of a file"),
        (&queued, "files", json!({"request.md": {"text": "do it"}}), "path of a file"),
        (&queued, "events", json!({}), "events"),
        (&queued, "events", json!([event, event]), "one event twice"),
        (&failed, "task/failure_class", json!("zz"), "'zz'"),
        (&queued, "events", json!(["x"]), "events"),
        (&queued, "response", ended["response"].clone(), "queued"),
        (&held, "task/claim_owner", json!(""), "owner"),
        (&held, "task/claim_token", json!(""), "token"),
        (&held, "task/lease_seconds", json!(1e9), "lease"),
        (&held, "task/lease_expires_at", json!("9998-01-01T00:00:00Z"), "lease"),
        (&held, "task/_lanes/lease/until", json!(i64::MAX), "lease"),
        (&ended, "response", json!(null), "answer is missing"),
        (&ended, "response", json!("done"), "response"),
        (&ended, "response/task_id", json!("other"), "another task"),
        (&ended, "response/status", json!("failed"), "its answer is failed"),
        (&ended, "response/body", json!("never said"), "two answers"),
        (&ended, "task/state", json!("failed"), "its answer is completed"),
    ];
    for (line, path, value, why) in cases {
        let new = fixture.store_named("new");
        let shown: String = value.to_string().chars().take(40).collect();
        let text = format!("\n{}\n", with(line, path, value));
        let imported = import(&new, &text);
        let refused = &imported.refused;
        assert_eq!((imported.added, refused.len()), (0, 1), "{path} = {shown}");
        let (number, error) = &refused[0];
        let error = error.to_string();
        assert!(
            *number == 2 && error.starts_with("line 2: ") && error.contains(why),
            "{path} {shown}: {error}"
        );
        assert!(error.len() < 300 && !error.contains('\n'), "{error}");
        assert_eq!(names(&new), Vec::<String>::new(), "{path} = {shown}");
    }
    let new = fixture.store_named("new");
    assert_eq!(import(&new, &export(&old)).added, 5, "as it was written it is taken");
}

#[test]
fn a_key_that_belongs_to_another_task_is_refused() {
    let fixture = Fixture::new();
    let theirs = fixture.store_named("theirs");
    let keyed = |store: &Store, prompt: &str| {
        fixture.submit(store, |new| {
            new.spec.key = idempotency_key("k");
            new.spec.prompt = prompt.into();
        })
    };
    let other = keyed(&theirs, "another prompt");
    let same = fixture.store_named("same");
    let open = keyed(&same, "do it");
    let ours = fixture.store();
    let holder = keyed(&ours, "do it");
    for (store, task) in [(&theirs, &other), (&same, &open)] {
        let imported = import(&ours, &export(store));
        assert_eq!((imported.added, imported.refused.len()), (0, 1));
        let error = imported.refused[0].1.to_string();
        assert!(error.contains(holder.id.as_str()) && error.contains("'k'"), "{error}");
        assert!(!ours.root().join("tasks").join(task.id.as_str()).exists());
    }
    let claimed = same.claim(&open.id, &owner("me"), Duration::from_secs(60)).unwrap();
    fixture.respond(&same, &claimed, "done");
    assert_eq!(import(&ours, &export(&same)).added, 1, "an ended one of the same content is history");
    let mut again = fixture.new_task("l");
    again.spec.key = idempotency_key("k");
    assert_eq!(ours.submit(again).unwrap().task.id, holder.id, "the younger task keeps the key");
}

#[test]
fn a_request_that_is_a_prompt_and_nothing_else_is_written_again() {
    let fixture = Fixture::new();
    let old = fixture.store_named("old");
    let task = fixture.submit(&old, |_| {});
    let line = with(&line_of(&old, task.id.as_str()), "request", json!(null));
    let new = fixture.store_named("new");
    assert_eq!(import(&new, &line).added, 1);
    assert!(new.fsck(&mut |_, _| {}).unwrap().findings.is_empty());
    assert_eq!(fixture.claim(&new, "l").id, task.id);
}

#[test]
fn a_store_that_took_nothing_is_sound() {
    let fixture = Fixture::new();
    let new = fixture.store();
    assert_eq!(import(&new, "{}\n").refused.len(), 1);
    assert!(new.fsck(&mut |_, _| {}).unwrap().findings.is_empty());
}

#[test]
fn an_open_task_that_asks_for_a_file_of_the_store_is_refused() {
    let fixture = Fixture::new();
    let old = fixture.store_named("old");
    let open = fixture.submit(&old, |_| {});
    let ended = fixture.ended(&old, |_| {});
    let new = fixture.store_named("new");
    let secret = new.root().join("tasks").join(ended.id.as_str()).join("task.json");
    for (key, value) in [
        ("task/request_path", json!(secret)),
        ("task/supporting_paths", json!([{"path": secret, "sha256": "0".repeat(64)}])),
    ] {
        let imported = import(&new, &with(&line_of(&old, open.id.as_str()), key, value));
        assert_eq!((imported.added, imported.refused.len()), (0, 1), "{key}");
        let refusal = imported.refused[0].1.to_string();
        assert!(refusal.contains("is a file of the store"), "{refusal}");
    }
    assert!(names(&new).is_empty(), "{:?}", names(&new));
}
