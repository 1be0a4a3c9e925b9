//! The request of a task: kept as it was submitted, and read as it is kept.

use std::io::Read as _;

use lanes::internals::model::{Command, NewRequest, NewTask, RequestCheck};
use lanes::internals::sha256::sha256_bytes;

use crate::testkit::store::Fixture;

pub fn a_prompt_is_kept_as_it_was_submitted(fixture: &Fixture) {
    let store = fixture.store();
    for prompt in ["do it", "a\r\nb\u{2028}é😀", &"x".repeat(2_000_000)] {
        let new = NewTask { request: NewRequest::Text(prompt.to_string()), ..fixture.new_task("l") };
        let id = store.submit(new).unwrap().task.id;
        let task = fixture.store().task(&id).unwrap();
        let mut text = String::new();
        store.blobs().stored_request(&task).unwrap().unwrap().read_to_string(&mut text).unwrap();
        assert!(text == prompt, "{} bytes instead of {}", text.len(), prompt.len());
        assert_eq!(task.request_sha256, sha256_bytes(prompt.as_bytes()));
        assert_eq!(store.blobs().request_check(&task), RequestCheck::Same);
        assert_eq!(store.copy_request(&task).unwrap(), NewRequest::Text(prompt.to_string()));
    }
}

pub fn a_retry_has_the_request_of_the_task_that_failed(fixture: &Fixture) {
    let store = fixture.store();
    let new = NewTask { request: NewRequest::Text("again".to_string()), ..fixture.new_task("l") };
    let task = store.submit(new).unwrap().task;
    let cancel = Command::Cancel { reason: None, by: "me".to_string() };
    store.apply(&task.id, &cancel).unwrap();
    let again = store.retry(&task.id, "me").unwrap().task;
    assert_ne!(again.id, task.id);
    assert_eq!(again.spec.retry_of.as_deref(), Some(task.id.as_str()));
    assert_eq!(store.copy_request(&again).unwrap(), NewRequest::Text("again".to_string()));
}
