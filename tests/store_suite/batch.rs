//! Many submits at once.

use crate::testkit::store::{Fixture, idempotency_key, lane_name};
use lanes::internals::model::NewTask;

fn keyed(fixture: &Fixture, key: &str, prompt: &str) -> NewTask {
    let mut new = fixture.new_task("l");
    new.spec.key = idempotency_key(key);
    new.spec.prompt = prompt.into();
    new
}

pub fn a_batch_is_what_single_submits_would_be(fixture: &Fixture) {
    let store = fixture.store();
    let new: Vec<NewTask> = (0..150)
        .map(|n| {
            let mut new = fixture.new_task(if n % 2 == 0 { "even" } else { "odd" });
            new.spec.correlation_id = format!("c{}", n % 7);
            new
        })
        .collect();
    let results = store.submit_batch(new).unwrap();
    let ids: Vec<String> = results.into_iter().map(|result| result.unwrap().task.id.to_string()).collect();
    assert_eq!(ids.len(), 150);
    assert_eq!(
        (store.queue_depth(&lane_name("even")).unwrap(), store.queue_depth(&lane_name("odd")).unwrap()),
        (75, 75)
    );
    assert_eq!(store.feed_since(0, 1000).unwrap().len(), 150);
    let first = fixture.claim(&store, "even");
    fixture.respond(&store, &first, "done");
    fixture.check(&store);
}

pub fn keys_hold_within_a_batch_and_one_refusal_keeps_nobody_out(fixture: &Fixture) {
    let store = fixture.store();
    let old = store.submit(keyed(fixture, "old", "a")).unwrap().task;
    fixture.pass(1.0);
    let results = store
        .submit_batch(vec![
            keyed(fixture, "new", "a"),
            keyed(fixture, "new", "a"),
            keyed(fixture, "old", "other"),
            keyed(fixture, "old", "a"),
        ])
        .unwrap();
    let [first, again, other, same] = results.try_into().unwrap();
    let (first, again, same) = (first.unwrap(), again.unwrap(), same.unwrap());
    assert!(!first.existing && again.existing && same.existing);
    assert_eq!((&again.task.id, &same.task.id), (&first.task.id, &old.id));
    assert!(other.unwrap_err().to_string().contains("idempotency key"));
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 2);
}
