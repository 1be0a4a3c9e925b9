//! Which lane and which task comes next.

use std::time::Duration;

use lanes::internals::model::{Command, Filter, Task, TaskId};
use lanes::internals::store::{LaneQuery, Store};

use crate::testkit::store::{Fixture, lane_name, owner};

fn submit(fixture: &Fixture, store: &Store, lane: &str) -> TaskId {
    fixture.submit(store, |new| new.spec.lane = lane_name(lane)).id
}

/// Returns the task that is offered and then claimed; both must agree.
fn next(store: &Store, lanes: &[&str]) -> Option<TaskId> {
    let query =
        LaneQuery { lanes: lanes.iter().map(|lane| lane_name(lane)).collect(), filter: Filter::default() };
    let id = |task: Option<Task>| task.map(|task| task.id);
    let offered = id(store.peek_next(&query).unwrap());
    let given = id(store.claim_next(&query, &owner("a"), Duration::from_secs(60)).unwrap());
    assert_eq!(offered, given, "what is offered can be had");
    given
}

pub fn lanes_are_searched_in_the_given_order_and_paused_ones_left_out(fixture: &Fixture) {
    let store = fixture.store();
    let [a, b, c] = ["a", "b", "c"].map(|lane| submit(fixture, &store, lane));
    store.pause(&lane_name("b"), None).unwrap();
    assert_eq!(next(&store, &["c", "b", "a", "c", "none"]), Some(c));
    assert_eq!(next(&store, &["c", "b", "a"]), Some(a));
    assert_eq!(next(&store, &["c", "b", "a"]), None);
    store.resume(&lane_name("b")).unwrap();
    assert_eq!(next(&store, &["c", "b", "a"]), Some(b));
}

pub fn a_task_keeps_its_age_when_it_moves(fixture: &Fixture) {
    let store = fixture.store();
    let first = submit(fixture, &store, "a");
    let second = submit(fixture, &store, "b");
    let until = store.now().wall.plus_seconds(30.0);
    let later = fixture
        .submit(&store, |new| {
            new.spec.lane = lane_name("a");
            new.not_before = Some(until);
        })
        .id;
    for id in [&first, &later] {
        store.apply(id, &Command::Move { lane: lane_name("b") }).unwrap();
    }
    let depth = |lane: &str| store.queue_depth(&lane_name(lane)).unwrap();
    assert_eq!((depth("a"), depth("b")), (0, 2));
    fixture.pass(31.0);
    assert_eq!(next(&store, &["a"]), None);
    let order: Vec<TaskId> = std::iter::from_fn(|| next(&store, &["b"])).collect();
    assert_eq!(order, [first, second, later]);
}
