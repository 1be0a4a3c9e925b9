//! `gc`: what it removes, what it keeps, and the consistency of the rest.

use std::time::Duration;

use crate::testkit::store::{
    DAY, Fixture, gc, idempotency_key, in_lane, lane_name, left, names_of, older_than, owner,
};
use lanes::internals::model::{AnswerOutcome, Command, FailureClass, Task};
use lanes::internals::store::{GcAge, GcPlan, Store};

pub fn only_tasks_that_ended_long_ago_go(fixture: &Fixture) {
    let store = fixture.store();
    let open = fixture.submit(&store, |_| {});
    let held = fixture.submit(&store, |_| {});
    store.claim(&held.id, &owner("me"), Duration::from_secs(600)).unwrap();
    let slow = fixture.submit(&store, |_| {});
    let first = fixture.ended(&store, |_| {});
    let other = fixture.ended(&store, |new| new.spec.lane = lane_name("other"));
    fixture.pass(8.0 * DAY);
    let young = fixture.ended(&store, |_| {});
    let cancel = Command::Cancel { reason: None, by: "me".into() };
    let (slow, _) = store.apply(&slow.id, &cancel).unwrap();

    let dry = store.gc(&GcPlan { dry_run: true, ..older_than(7.0) }).unwrap();
    assert_eq!(dry.removed.len(), 2);
    assert_eq!(left(&store).len(), 6, "a dry run changes nothing");
    assert_eq!(gc(&store, &GcPlan { lane: Some("other".into()), ..older_than(7.0) }), names_of(&[&other]));
    assert_eq!(gc(&store, &older_than(7.0)), names_of(&[&first]));
    let mut expected = names_of(&[&open, &held, &slow, &young]);
    expected.sort();
    assert_eq!(left(&store), expected, "the time of the end counts, not that of the submit");
    fixture.check(&store);
    assert_eq!(fixture.claim(&store, "l").id, open.id);
    assert!(fixture.store().queue_depth(&lane_name("l")).is_ok());
}

pub fn an_age_of_zero_must_be_meant(fixture: &Fixture) {
    let store = fixture.store();
    let ended = fixture.ended(&store, |_| {});
    assert!(store.gc(&older_than(0.0)).unwrap_err().to_string().contains("--all-ended"));
    assert_eq!(gc(&store, &GcPlan { age: GcAge::AllEnded, ..GcPlan::default() }), names_of(&[&ended]));
}

pub fn links_between_tasks_keep_leading_somewhere(fixture: &Fixture) {
    let store = fixture.store();
    let fail = |task: &Task| {
        let claimed = store.claim(&task.id, &owner("me"), Duration::from_secs(60)).unwrap();
        fixture.answer(&store, &claimed, "no", AnswerOutcome::Failed(FailureClass::Error));
    };
    let old = fixture.submit(&store, |_| {});
    fail(&old);
    let again = store.retry(&old.id, "me").unwrap().task;
    let parent = fixture.ended(&store, |_| {});
    let middle = fixture.ended(&store, |new| {
        new.spec.metadata.insert("parent_task_id".into(), parent.id.as_str().into());
    });
    let child = fixture.submit(&store, |new| {
        new.spec.metadata.insert("parent_task_id".into(), middle.id.as_str().into());
    });
    fixture.pass(8.0 * DAY);
    let report = store.gc(&older_than(7.0)).unwrap();
    assert_eq!((report.removed.len(), report.kept), (0, 3), "open tasks keep what they refer to");
    fail(&again);
    assert_eq!(gc(&store, &older_than(7.0)), names_of(&[&old]));
    assert_eq!(store.task(&again.id).unwrap().spec.retry_of.as_deref(), Some(old.id.as_str()));
    fixture.pass(8.0 * DAY);
    assert_eq!(gc(&store, &older_than(7.0)), names_of(&[&again]));
    let cancel = Command::Cancel { reason: None, by: "me".into() };
    store.apply(&child.id, &cancel).unwrap();
    assert_eq!(gc(&store, &older_than(7.0)), names_of(&[&parent, &middle]));
}

pub fn keys_and_correlations_go_with_their_task(fixture: &Fixture) {
    let store = fixture.store();
    let keyed = |store: &Store| {
        let mut new = fixture.new_task("l");
        new.spec.key = idempotency_key("k");
        fixture.pass(0.001);
        store.submit(new).unwrap()
    };
    let first = keyed(&store).task;
    let claimed = store.claim(&first.id, &owner("me"), Duration::from_secs(60)).unwrap();
    fixture.respond(&store, &claimed, "done");
    assert!(keyed(&store).existing);
    fixture.pass(8.0 * DAY);
    assert_eq!(gc(&store, &older_than(7.0)), names_of(&[&first]));
    fixture.check(&store);
    assert!(!keyed(&store).existing, "the key lives as long as its task");
}

pub fn the_feed_drops_old_entries_and_shows_where_it_begins(fixture: &Fixture) {
    let store = fixture.store();
    for _ in 0..5 {
        fixture.ended(&store, |_| {});
    }
    assert_eq!((store.feed_start().unwrap(), store.feed_end().unwrap()), (Some(1), 15));
    fixture.pass(8.0 * DAY);
    assert_eq!(store.gc(&older_than(7.0)).unwrap().feed_dropped, 14);
    assert_eq!((store.feed_start().unwrap(), store.feed_end().unwrap()), (Some(15), 15));
    let next = fixture.submit(&store, |_| {});
    let news = store.feed_since(15, 10).unwrap();
    assert_eq!((news.len(), news[0].seq, &news[0].task_id), (1, 16, &next.id));
    fixture.check(&store);
}

pub fn removing_during_claims_and_answers_loses_nothing(fixture: &Fixture) {
    let store = fixture.store();
    for _ in 0..40 {
        fixture.ended(&store, |_| {});
    }
    fixture.pass(8.0 * DAY);
    for _ in 0..40 {
        fixture.submit(&store, |_| {});
    }
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| fixture.store().gc(&older_than(7.0)).unwrap());
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let store = fixture.store();
                let lease = Duration::from_secs(600);
                while let Some(task) = store.claim_next(&in_lane("l"), &owner("t"), lease).unwrap() {
                    fixture.respond(&store, &task, "done");
                }
            });
        }
    });
    assert_eq!(left(&store).len(), 40);
    let mut done = 0;
    store.scan(&mut |_, task| done += usize::from(task.unwrap().status.is_terminal())).unwrap();
    assert_eq!(done, 40);
    fixture.check(&store);
}
