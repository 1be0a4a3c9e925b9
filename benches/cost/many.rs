//! Measures what many tasks cost that wait for another task, or for exclusive keys: how long it takes, and how long the
//! store lock is held at most, since everybody else waits meanwhile.

use std::time::{Duration, Instant};

use lanes::internals::model::{DependencyRef, ExclusiveKey, NewTask, Task};
use lanes::internals::store::{LaneQuery, Store, longest_lock_hold};

use crate::scene::{LANE, Scene, answer, wish};
use crate::support::{lane_name, owner};

const MANY: usize = 10_000;

/// How many searches find all of them waiting for their keys.
const SEARCHES: usize = 25;

const LEASE: Duration = Duration::from_secs(3600);

pub fn run() {
    println!("{MANY} tasks; milliseconds");
    release();
    for keys in [1, 100] {
        search(keys);
    }
}

fn submit(store: &Store, change: impl Fn(usize, &mut NewTask)) {
    let new = |n: usize| {
        let mut new = wish(store.root());
        change(n, &mut new);
        new
    };
    for result in store.submit_batch((0..MANY).map(new).collect()).expect("the store can be changed") {
        result.expect("a task can be submitted");
    }
}

/// The end of a task that all others wait for.
fn release() {
    let store = Scene::empty().store();
    let first = store.submit(wish(store.root())).expect("a task can be submitted").task;
    submit(&store, |_, new| new.after = vec![DependencyRef::completed(first.id.as_str())]);
    let claimed = claim(&store).expect("the first one can be claimed");
    let token = claimed.status.claim().expect("it is claimed").token.clone();
    longest_lock_hold();
    let start = Instant::now();
    store.apply(&first.id, &answer(token)).expect("it can be answered");
    let (whole, hold) = (start.elapsed(), longest_lock_hold());
    let queued = store.queue_depth(&lane_name(LANE)).expect("the lane can be read");
    assert_eq!(queued, MANY as u64, "all are released");
    println!("releasing the dependents of one: {:.0}, longest hold {:.2}", millis(whole), millis(hold));
}

/// Searches while all keys are held.
fn search(keys: usize) {
    let store = Scene::empty().store();
    let key = |n: usize| ExclusiveKey::new(format!("key {}", n % keys)).expect("it is a key");
    submit(&store, |n, new| new.spec.exclusive = vec![key(n)]);
    for _ in 0..keys {
        claim(&store).expect("a task of each key can be claimed");
    }
    longest_lock_hold();
    let times: Vec<Duration> = (0..SEARCHES)
        .map(|_| {
            let start = Instant::now();
            assert!(claim(&store).is_none(), "every key is held");
            start.elapsed()
        })
        .collect();
    let (slowest, last) =
        (times.iter().max().expect("there are some"), times.last().expect("there are some"));
    println!(
        "searching while {keys} keys are held: slowest {:.1}, once all are set apart {:.1}, longest hold {:.2}",
        millis(*slowest),
        millis(*last),
        millis(longest_lock_hold())
    );
}

fn claim(store: &Store) -> Option<Task> {
    store
        .claim_next(&LaneQuery::lane(lane_name(LANE)), &owner("bench"), LEASE)
        .expect("the lane can be searched")
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
