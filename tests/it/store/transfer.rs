//! `export` and `import`.

use std::fs;
use std::time::Duration;

use crate::testkit::store::{Fixture, idempotency_key, lane_name, owner, task_file};
use lanes::internals::model::{Status, json};
use lanes::internals::store::{ImportReport, Store};

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

fn counts(imported: &ImportReport) -> (u64, u64, Vec<u64>) {
    (imported.added, imported.skipped, imported.refused.iter().map(|(line, _)| *line).collect())
}

#[test]
fn a_store_moves_whole() {
    let fixture = Fixture::new();
    let old = fixture.store();
    let ended = fixture.ended(&old, |_| {});
    let queued = fixture.submit(&old, |new| new.spec.key = idempotency_key("k"));
    let held = fixture.submit(&old, |new| new.spec.lane = lane_name("other"));
    let held = old.claim(&held.id, &owner("me"), Duration::from_secs(6000)).unwrap();
    let large = fixture.submit(&old, |new| new.spec.lane = lane_name("other"));
    let large = old.claim(&large.id, &owner("me"), Duration::from_secs(60)).unwrap();
    fixture.respond(&old, &large, &"ä\r\n".repeat(30_000));
    let text = export(&old);
    assert_eq!(text.lines().count(), 4);
    assert!(text.is_ascii());

    let new = fixture.store_named("new");
    assert_eq!(counts(&import(&new, &text)), (4, 0, vec![]));
    assert_eq!(new.events(&ended.id).unwrap(), old.events(&ended.id).unwrap());
    let there = new.task(&large.id).unwrap();
    assert_eq!(new.response(&there).unwrap().unwrap().body, "ä\r\n".repeat(30_000));
    assert_eq!(new.feed_since(0, 10).unwrap().len(), 4);
    assert!(new.fsck(&mut |_, _| {}).unwrap().findings.is_empty());
    fs::remove_dir_all(old.root()).unwrap();
    let claimed = fixture.claim(&new, "l");
    assert_eq!(claimed.id, queued.id, "the request has moved along");
    assert!(claimed.request_path.starts_with(&*new.root().to_string_lossy()));
    fixture.respond(&new, &held, "the claim goes on");
    let mut again = fixture.new_task("l");
    again.spec.key = idempotency_key("k");
    assert!(new.submit(again).unwrap().existing, "the key has moved along");
}

#[test]
fn hostile_lines_write_nothing_outside() {
    let fixture = Fixture::new();
    let store = fixture.store();
    fixture.submit(&store, |_| {});
    let text = export(&store);
    let new = fixture.store_named("new");
    for path in ["../x", "/x", "a/../../x", "", "a//b", ".hidden", "task.json", "a/b/c/d/e/f/g/h/i"] {
        let bad = text.replace("\"files\":{}", &format!("\"files\":{{\"{path}\":{{\"text\":\"x\"}}}}"));
        assert_ne!(bad, text);
        assert_eq!(counts(&import(&new, &bad)), (0, 0, vec![1]), "{path}");
    }
    let id = store.peek_next(&lanes::internals::store::LaneQuery {
        lanes: vec![lane_name("l")],
        filter: Default::default(),
    });
    let bad = text.replace(id.unwrap().unwrap().id.as_str(), "../x");
    assert_eq!(counts(&import(&new, &bad)), (0, 0, vec![1]));
    assert_eq!(fs::read_dir(new.root().join("tasks")).unwrap().count(), 0);
    assert!(!fixture.root().join("x").exists());
}

#[test]
fn a_store_of_another_implementation_is_taken_over() {
    let fixture = Fixture::new();
    let old = fixture.store_named("theirs");
    let id = "20260101T000000000000Z-c-0123456789ab";
    let dir = old.root().join("tasks").join(id);
    fs::create_dir(&dir).unwrap();
    let task = r#"{"id": "ID", "workspace_id": "w", "checkpoint_id": "c", "source_agent": "o",
        "lane": "l", "workspace_root": "/w", "worktree_path": null, "expected_branch": null,
        "request_path": "/w/r", "request_sha256": "SHA", "supporting_paths": [], "response_path": "/w/o",
        "prompt": "", "state": "completed", "created_at": "2026-01-01T00:00:00.000000Z",
        "updated_at": "2026-01-01T00:00:01.000000Z", "claim_owner": null, "claim_token": null,
        "lease_expires_at": null, "claimed_at": null, "completed_at": "2026-01-01T00:00:01.000000Z",
        "failed_at": null, "failure_reason": null, "theirs": NaN}"#;
    fs::write(dir.join("task.json"), task.replace("ID", id).replace("SHA", &"ab".repeat(32))).unwrap();
    fs::write(
        dir.join("events.jsonl"),
        "{\"created_at\": \"2026-01-01T00:00:00.000000Z\", \"type\": \"created\", \"message\": \"m\", \"data\": {}, \"more\": 1}\n",
    )
    .unwrap();
    let response = r#"{"task_id": "ID", "reviewer": "r", "status": "completed", "body": "fine",
        "reviewed_request_sha256": "SHA", "created_at": "2026-01-01T00:00:01.000000Z"}"#;
    fs::write(dir.join("response.json"), response.replace("ID", id).replace("SHA", &"ab".repeat(32)))
        .unwrap();

    let new = fixture.store();
    assert_eq!(counts(&import(&new, &export(&old))), (1, 0, vec![]));
    let task = new.task(&lanes::internals::model::TaskId::parse(id).unwrap()).unwrap();
    assert!(matches!(task.status, Status::Completed { .. }));
    assert_eq!(task.spec.correlation_id, "c");
    assert_eq!(new.response(&task).unwrap().unwrap().body, "fine");
    assert!(fs::read_to_string(task_file(&new, &task.id, "task.json")).unwrap().contains("\"theirs\": NaN"));
    let events = fs::read_to_string(task_file(&new, &task.id, "events.jsonl")).unwrap();
    assert!(json::parse_object(events.trim().as_bytes()).unwrap().contains_key("more"), "{events}");
    assert!(new.fsck(&mut |_, _| {}).unwrap().findings.is_empty());
}
