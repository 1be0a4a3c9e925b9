//! The files that many submits at once leave.

use crate::testkit::store::{Fixture, idempotency_key};
use lanes::internals::model::NewTask;

fn keyed(fixture: &Fixture, key: &str, prompt: &str) -> NewTask {
    let mut new = fixture.new_task("l");
    new.spec.key = idempotency_key(key);
    new.spec.prompt = prompt.into();
    new
}

#[test]
fn a_batch_leaves_nothing_over_and_makes_the_newest_of_a_correlation_known() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let tmp = store.root().join("tmp");
    let correlation = |name: &str| {
        let path = store.root().join("indexes/correlations").join(format!("w--{name}.json"));
        std::fs::read_to_string(path).unwrap()
    };
    let new: Vec<NewTask> = (0..150)
        .map(|n| {
            let mut new = fixture.new_task("l");
            new.spec.correlation_id = format!("c{}", n % 7);
            new
        })
        .collect();
    let results = store.submit_batch(new).unwrap();
    let newest = results[146].as_ref().unwrap();
    assert!(correlation("c6").contains(newest.task.id.as_str()));
    fixture.pass(1.0);
    let old = store.submit(keyed(&fixture, "old", "a")).unwrap();
    fixture.pass(1.0);
    let results = store.submit_batch(vec![keyed(&fixture, "new", "a"), keyed(&fixture, "old", "a")]).unwrap();
    let [Ok(first), Ok(again)] = &results[..] else { panic!("{results:?}") };
    assert_eq!(again.task.id, old.task.id);
    assert!(correlation("c").contains(first.task.id.as_str()), "the newest, although an older one follows");
    assert_eq!(std::fs::read_dir(tmp).unwrap().count(), 0);
}
