//! Tasks that must be started by a deadline.

use std::time::Duration;

use lanes::ErrorKind;
use lanes::internals::model::{Command, DependencyRef, FailureClass, NewTask, Status, Task};
use lanes::internals::store::Store;

use crate::testkit::store::{Fixture, in_lane, owner};

/// Submits a task that must be started within 100 seconds.
fn urgent(fixture: &Fixture, store: &Store, change: impl FnOnce(&mut NewTask)) -> Task {
    let deadline = store.now().wall.plus_seconds(100.0);
    fixture.submit(store, |new| {
        new.spec.deadline = Some(deadline);
        change(new);
    })
}

fn class(store: &Store, task: &Task) -> Option<FailureClass> {
    match store.task(&task.id).unwrap().status {
        Status::Failed { class, .. } => Some(class),
        _ => None,
    }
}

pub fn a_task_that_is_not_started_in_time_fails_with_all_that_wait_for_it(fixture: &Fixture) {
    let store = fixture.store();
    let late = urgent(fixture, &store, |_| ());
    let dependent =
        fixture.submit(&store, |new| new.after = vec![DependencyRef::completed(late.id.as_str())]);
    let other = fixture.submit(&store, |_| ());
    fixture.pass(101.0);
    let refused = store.claim(&late.id, &owner("me"), Duration::from_secs(60)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.message().contains("it was not started by its deadline"), "{refused}");
    let claimed = store.claim_next(&in_lane("l"), &owner("me"), Duration::from_secs(60)).unwrap();
    assert_eq!(claimed.map(|task| task.id), Some(other.id));
    assert_eq!(class(&store, &late), Some(FailureClass::Expired));
    assert_eq!(class(&store, &dependent), Some(FailureClass::Upstream));
    let response = store.response(&store.task(&late.id).unwrap()).unwrap().unwrap();
    assert!(response.body.starts_with("it was not started by its deadline"), "{}", response.body);
}

pub fn a_task_that_was_started_in_time_may_be_finished_later(fixture: &Fixture) {
    let store = fixture.store();
    urgent(fixture, &store, |_| ());
    let started = fixture.claim(&store, "l");
    fixture.pass(50.0);
    let token = started.status.claim().unwrap().token.clone();
    store.apply(&started.id, &Command::Release { token, reason: None, delay: None, spent: None }).unwrap();
    fixture.pass(1000.0);
    let again = fixture.claim(&store, "l");
    assert_eq!(again.id, started.id);
    fixture.respond(&store, &again, "done");
    assert_eq!(class(&store, &again), None);
}

pub fn blocked_and_scheduled_tasks_expire_too_when_somebody_looks(fixture: &Fixture) {
    let store = fixture.store();
    let first = fixture.submit(&store, |new| new.spec.lane = crate::testkit::store::lane_name("first"));
    let blocked =
        urgent(fixture, &store, |new| new.after = vec![DependencyRef::completed(first.id.as_str())]);
    let until = store.now().wall.plus_seconds(500.0);
    let scheduled = urgent(fixture, &store, |new| new.not_before = Some(until));
    fixture.pass(101.0);
    for task in [blocked, scheduled] {
        store.settle(&task.id).unwrap();
        assert_eq!(class(&store, &task), Some(FailureClass::Expired));
    }
}
