//! The files of a task: written by others, lost, cut short.

use std::time::Duration;

use crate::testkit::store::{Fixture, idempotency_key, in_lane, note, owner, task_file};
use lanes::internals::model::json;

#[test]
fn what_another_implementation_writes_is_noticed() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let ours = fixture.submit(&store, |_| {});
    let foreign_id = "20261121T080000000000Z-x-0123456789ab";
    let text =
        std::fs::read_to_string(store.root().join("tasks").join(ours.id.as_str()).join("task.json")).unwrap();
    let mut object = json::parse_object(text.as_bytes()).unwrap();
    object.remove("_lanes");
    object.insert("id".into(), foreign_id.into());
    let dir = store.root().join("tasks").join(foreign_id);
    std::fs::create_dir(&dir).unwrap();
    // Its request is its own; one that another task keeps in the store would be refused.
    std::fs::copy(&ours.request_path, dir.join("request.md")).unwrap();
    object.insert("request_path".into(), dir.join("request.md").to_string_lossy().into());
    std::fs::write(dir.join("task.json"), json::to_text(&object)).unwrap();
    let claimed = store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(600)).unwrap().unwrap();
    let other = store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(600)).unwrap().unwrap();
    let mut ids = [claimed.id.to_string(), other.id.to_string()];
    ids.sort();
    assert_eq!(ids, [ours.id.to_string(), foreign_id.to_string()]);
    // It releases a claim of ours behind our back.
    let path = store.root().join("tasks").join(ours.id.as_str()).join("task.json");
    let mut object = json::parse_object(&std::fs::read(&path).unwrap()).unwrap();
    for key in ["claim_owner", "claim_token", "lease_expires_at", "claimed_at"] {
        object.insert(key.into(), serde_json::Value::Null);
    }
    object.insert("state".into(), "queued".into());
    object.insert("updated_at".into(), "2026-11-21T09:00:00.000000Z".into());
    std::fs::write(&path, json::to_text(&object)).unwrap();
    assert_eq!(
        store.claim_next(&in_lane("l"), &owner("b"), Duration::from_secs(600)).unwrap().unwrap().id,
        ours.id
    );
}

#[test]
fn a_deleted_index_is_rebuilt() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let first = fixture.submit(&store, |_| {});
    let second = fixture.submit(&store, |new| {
        new.spec.priority = 1;
        new.spec.key = idempotency_key("k");
    });
    std::fs::remove_dir_all(store.root().join("indexes")).unwrap();
    let store = fixture.store();
    let mut again = fixture.new_task("l");
    (again.spec.priority, again.spec.key) = (1, idempotency_key("k"));
    assert!(store.submit(again).unwrap().existing);
    assert_eq!(
        store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().unwrap().id,
        second.id
    );
    assert_eq!(
        store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().unwrap().id,
        first.id
    );
}

#[test]
fn a_history_goes_on_after_a_line_that_was_cut_short() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let task = fixture.submit(&store, |_| {});
    let path = task_file(&store, &task.id, "events.jsonl");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"half\": ");
    std::fs::write(&path, bytes).unwrap();
    store.apply(&task.id, &note("after")).unwrap();
    let kinds: Vec<String> = store.events(&task.id).unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["created", "note"]);
}
