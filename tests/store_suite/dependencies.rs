//! Tasks that wait for other tasks: submitted, released, failed.

use std::time::Duration;

use lanes::ErrorKind;
use lanes::internals::model::{AnswerOutcome, Command, DependencyRef, FailureClass, NewTask, Status, Task};
use lanes::internals::store::{GcAge, GcPlan, Store};

use crate::testkit::store::{
    Fixture, after, claim_next, complete, completed, end, first, idempotency_key, in_lane, lane_name, owner,
    state,
};

pub fn a_task_that_is_released_after_its_deadline_ends_at_once(fixture: &Fixture) {
    let store = fixture.store();
    let a = first(fixture, &store);
    let now = store.now().wall;
    let late = fixture.submit(&store, |new| {
        new.after = completed(&[&a]);
        new.spec.deadline = Some(now.plus_seconds(60.0));
    });
    let join = after(fixture, &store, &[&late]);
    fixture.pass(61.0);
    complete(fixture, &store, &a);
    let task = store.task(&late.id).unwrap();
    assert!(matches!(task.status, Status::Failed { class: FailureClass::Expired, .. }), "{task:?}");
    let kinds: Vec<_> = store.events(&late.id).unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds[kinds.len() - 3..], ["created", "unblocked", "expired"], "{kinds:?}");
    assert_eq!(state(&store, &join), "failed");
    fixture.check(&store);
}

pub fn a_task_waits_for_the_last_of_its_dependencies(fixture: &Fixture) {
    let store = fixture.store();
    let (a, b) = (first(fixture, &store), first(fixture, &store));
    let join = after(fixture, &store, &[&a, &b]);
    let younger = fixture.submit(&store, |_| ());
    assert_eq!(state(&store, &join), "blocked");
    fixture.check(&store);
    complete(fixture, &store, &a);
    assert_eq!(state(&store, &join), "blocked");
    let refused = store.claim(&join.id, &owner("me"), Duration::from_secs(60)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.message().contains("it waits for its dependencies"), "{refused}");
    complete(fixture, &store, &b);
    // In its own place: it was submitted earlier than the other one.
    assert_eq!(state(&store, &join), "queued");
    assert_eq!(claim_next(&store), Some(join.id));
    assert_eq!(claim_next(&store), Some(younger.id));
    fixture.check(&store);
}

pub fn dependencies_that_have_ended_do_not_delay_a_task(fixture: &Fixture) {
    let store = fixture.store();
    let (done, failed) = (first(fixture, &store), first(fixture, &store));
    complete(fixture, &store, &done);
    end(fixture, &store, &failed, AnswerOutcome::Failed(FailureClass::Error));
    let task = fixture.submit(&store, |new| {
        new.after = vec![
            DependencyRef::completed(done.id.as_str()),
            DependencyRef::ended(failed.id.as_str()),
            DependencyRef::ended(failed.id.as_str()),
        ];
    });
    assert_eq!(task.status, Status::Queued);
    assert_eq!(task.spec.after.len(), 2);
    assert_eq!(claim_next(&store), Some(task.id));
}

pub fn a_delay_counts_after_the_dependencies(fixture: &Fixture) {
    let store = fixture.store();
    let a = first(fixture, &store);
    let until = store.now().wall.plus_seconds(100.0);
    let task = fixture.submit(&store, |new| {
        (new.after, new.not_before) = (completed(&[&a]), Some(until));
    });
    complete(fixture, &store, &a);
    assert_eq!(store.task(&task.id).unwrap().status, Status::Scheduled { until });
    assert_eq!(claim_next(&store), None);
    fixture.pass(101.0);
    assert_eq!(claim_next(&store), Some(task.id));
}

pub fn a_failure_fails_the_dependents_and_theirs(fixture: &Fixture) {
    let store = fixture.store();
    let a = first(fixture, &store);
    let b = after(fixture, &store, &[&a]);
    let c = after(fixture, &store, &[&b]);
    let cleanup = fixture.submit(&store, |new| new.after = vec![DependencyRef::ended(c.id.as_str())]);
    end(fixture, &store, &a, AnswerOutcome::Failed(FailureClass::Error));
    for (task, upstream, how) in [(&b, &a, "failed"), (&c, &b, "failed with class upstream")] {
        let task = store.task(&task.id).unwrap();
        let Status::Failed { class, reason, claim: None, .. } = &task.status else {
            panic!("{:?}", task.status);
        };
        assert_eq!(
            (class, reason),
            (&FailureClass::Upstream, &format!("its dependency {} {how}", upstream.id))
        );
        let response = store.response(&task).unwrap().unwrap();
        assert_eq!(response.metadata["dependency"], upstream.id.as_str());
        assert_eq!(response.body, *reason);
    }
    assert_eq!(claim_next(&store), Some(cleanup.id));
    fixture.check(&store);
    // The same as if it had been submitted earlier.
    let late = after(fixture, &store, &[&b]);
    assert_eq!(state(&store, &late), "failed");
}

pub fn cancelled_and_dead_dependencies_have_failed(fixture: &Fixture) {
    let store = fixture.store();
    let (cancelled, dead) = (
        first(fixture, &store),
        fixture.submit(&store, |new| {
            (new.spec.lane, new.spec.max_attempts) = (lane_name("first"), Some(1));
        }),
    );
    let (b, c) = (after(fixture, &store, &[&cancelled]), after(fixture, &store, &[&dead]));
    store.apply(&cancelled.id, &Command::Cancel { reason: None, by: "me".into() }).unwrap();
    store.claim(&dead.id, &owner("me"), Duration::from_secs(1)).unwrap();
    fixture.pass(2.0);
    store.settle(&dead.id).unwrap();
    for (task, how) in [(b, "was cancelled"), (c, "failed with class dead")] {
        let Status::Failed { reason, .. } = store.task(&task.id).unwrap().status else { panic!("{task:?}") };
        assert!(reason.ends_with(how), "{reason}");
    }
}

pub fn a_blocked_task_can_be_answered_moved_edited_and_cancelled(fixture: &Fixture) {
    let store = fixture.store();
    let a = first(fixture, &store);
    let [answered, moved, cancelled] = [0; 3].map(|_| after(fixture, &store, &[&a]));
    fixture.respond(&store, &answered, "no need to wait");
    store.apply(&moved.id, &Command::Move { lane: lane_name("m") }).unwrap();
    store.apply(&cancelled.id, &Command::Cancel { reason: None, by: "me".into() }).unwrap();
    fixture.check(&store);
    complete(fixture, &store, &a);
    assert_eq!(state(&store, &answered), "completed");
    assert_eq!(state(&store, &cancelled), "failed");
    let claimed = store.claim_next(&in_lane("m"), &owner("me"), Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!(claimed.id, moved.id);
    fixture.check(&store);
}

pub fn what_cannot_be_a_dependency_is_refused_and_nothing_is_submitted(fixture: &Fixture) {
    let store = fixture.store();
    let (a, b) = (first(fixture, &store), first(fixture, &store));
    let try_after = |after: Vec<DependencyRef>| {
        let new = NewTask { after, ..fixture.new_task("l") };
        store.submit(new).unwrap_err()
    };
    let shared = a.id.as_str().chars().zip(b.id.as_str().chars()).take_while(|(a, b)| a == b).count();
    let both = &a.id.as_str()[..shared];
    let too_many = vec![DependencyRef::completed(a.id.as_str()); 1001];
    for (after, kind, says) in [
        (vec![DependencyRef::completed("20200101T000000000000Z-none")], ErrorKind::NotFound, "unknown task"),
        (vec![DependencyRef::completed("../x")], ErrorKind::Invalid, "dependency '../x'"),
        (vec![DependencyRef::completed("")], ErrorKind::Invalid, "dependency "),
        (vec![DependencyRef::completed(both)], ErrorKind::Invalid, "matches 2 tasks"),
        (too_many, ErrorKind::Invalid, "1001 dependencies are too many"),
    ] {
        let error = try_after(after);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(says), "{error}");
    }
    assert_eq!(store.task_names().unwrap().len(), 2);
    fixture.check(&store);
}

pub fn equal_dependencies_are_part_of_the_content_of_a_key(fixture: &Fixture) {
    let store = fixture.store();
    let (a, b) = (first(fixture, &store), first(fixture, &store));
    let submit = |after: &[&Task]| {
        let mut new = NewTask { after: completed(after), ..fixture.new_task("l") };
        new.spec.key = idempotency_key("k");
        store.submit(new)
    };
    let one = submit(&[&a]).unwrap();
    assert!(submit(&[&a]).unwrap().existing);
    complete(fixture, &store, &a);
    assert_eq!(submit(&[&a]).unwrap().task.id, one.task.id);
    assert_eq!(submit(&[&b]).unwrap_err().kind(), ErrorKind::Refused);
}

pub fn a_new_task_waits_for_the_newest_successor_of_a_retried_dependency(fixture: &Fixture) {
    let store = fixture.store();
    let failed = first(fixture, &store);
    let submit = |key: &str| {
        let mut new = NewTask { after: completed(&[&failed]), ..fixture.new_task("l") };
        new.spec.key = idempotency_key(key);
        store.submit(new).unwrap()
    };
    let early = submit("early").task;
    end(fixture, &store, &failed, AnswerOutcome::Failed(FailureClass::Error));
    assert_eq!(state(&store, &early), "failed");
    fixture.pass(1.0);
    let second = store.retry(&failed.id, "me").unwrap().task;
    end(fixture, &store, &second, AnswerOutcome::Failed(FailureClass::Error));
    fixture.pass(1.0);
    let third = store.retry(&second.id, "me").unwrap().task;
    let late = submit("late").task;
    assert_eq!((state(&store, &late), &late.spec.after[0].task), ("blocked".to_string(), &third.id));
    let batch = store.submit_batch(vec![NewTask { after: completed(&[&second]), ..fixture.new_task("l") }]);
    assert_eq!(batch.unwrap().remove(0).unwrap().task.spec.after[0].task, third.id);
    // The same submit is the same task, whether a retry lies between or not.
    for (key, task) in [("early", &early), ("late", &late)] {
        let again = submit(key);
        assert_eq!((again.existing, &again.task.id), (true, &task.id));
    }
    complete(fixture, &store, &third);
    assert_eq!(state(&store, &late), "queued");
    fixture.check(&store);
}

pub fn a_batch_may_depend_on_tasks_that_are_there(fixture: &Fixture) {
    let store = fixture.store();
    let a = first(fixture, &store);
    let new = |after| NewTask { after, ..fixture.new_task("l") };
    let mut batch: Vec<NewTask> = (0..40).map(|_| new(completed(&[&a]))).collect();
    batch.push(new(vec![DependencyRef::completed("20200101T000000000000Z-none")]));
    let results = store.submit_batch(batch).unwrap();
    assert!(results[..40].iter().all(Result::is_ok) && results[40].is_err());
    assert_eq!(claim_next(&store), None);
    complete(fixture, &store, &a);
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 40);
    fixture.check(&store);
}

pub fn gc_keeps_what_an_open_task_depends_on(fixture: &Fixture) {
    let store = fixture.store();
    let (a, b) = (first(fixture, &store), first(fixture, &store));
    let task = after(fixture, &store, &[&a, &b]);
    complete(fixture, &store, &a);
    let all = GcPlan { age: GcAge::AllEnded, ..GcPlan::default() };
    let report = store.gc(&all).unwrap();
    assert_eq!((report.removed.len(), report.kept), (0, 1));
    complete(fixture, &store, &b);
    assert_eq!(store.gc(&all).unwrap().removed.len(), 0);
    complete(fixture, &store, &task);
    assert_eq!(store.gc(&all).unwrap().removed.len(), 3);
    fixture.check(&store);
}

/// Exports a store and returns its lines.
fn exported(store: &Store) -> Vec<String> {
    let mut out = Vec::new();
    store.export(&mut out, &|_| true, &mut |_, _| (), &mut |_| ()).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_string).collect()
}

pub fn an_import_brings_dependents_in_any_order_and_no_circle(fixture: &Fixture) {
    let store = fixture.store();
    let (done, a) = (first(fixture, &store), first(fixture, &store));
    complete(fixture, &store, &done);
    let b = after(fixture, &store, &[&done, &a]);
    let c = after(fixture, &store, &[&b]);
    let mut lines = exported(&store);
    lines.reverse();
    let other = fixture.store_named("other");
    let report = other.import(&mut lines.join("\n").as_bytes(), &mut |_| ()).unwrap();
    assert_eq!((report.added, report.refused.len()), (4, 0), "{:?}", report.refused);
    fixture.check(&other);
    complete(fixture, &other, &a);
    assert_eq!(claim_next(&other), Some(b.id.clone()));
    assert_eq!(state(&other, &c), "blocked");
    // Without `a`, and with `b` waiting for `c` as well as `c` for `b`.
    let circle: Vec<String> = lines
        .iter()
        .filter(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["task"]["id"] != a.id.as_str()
        })
        .map(|line| line.replace(a.id.as_str(), c.id.as_str()))
        .collect();
    let third = fixture.store_named("third");
    let report = third.import(&mut circle.join("\n").as_bytes(), &mut |_| ()).unwrap();
    assert_eq!((report.added, report.refused.len()), (1, 2), "{:?}", report.refused);
    for (_, error) in report.refused {
        assert!(error.message().contains("or waits for this task itself"), "{error}");
    }
    fixture.check(&third);
}
