//! The feed and the watches: whoever follows a store misses nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lanes::FeedCursor;
use lanes::internals::model::Command;

use crate::testkit::store::{Fixture, in_lane, lane_name, note, owner};

pub fn the_feed_has_every_change_once_with_growing_numbers(fixture: &Fixture) {
    let store = fixture.store();
    assert_eq!((store.feed_start().unwrap(), store.feed_end().unwrap()), (None, 0));
    let task = fixture.submit(&store, |new| new.spec.name = Some("a title".to_string()));
    let held = fixture.claim(&store, "l");
    store.apply(&task.id, &note("half way")).unwrap();
    fixture.respond(&store, &held, "done");
    let all = store.feed_since(0, usize::MAX).unwrap();
    let seen: Vec<(&str, Option<&str>)> =
        all.iter().map(|entry| (entry.event.kind.as_str(), entry.state.as_deref())).collect();
    assert_eq!(
        seen,
        [
            ("created", Some("queued")),
            ("claimed", Some("claimed")),
            ("note", Some("claimed")),
            ("response", Some("completed"))
        ]
    );
    assert!(all.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert_eq!(all[0].title.as_deref(), Some("a title"));
    assert_eq!(store.feed_end().unwrap(), all[3].seq);
    assert_eq!(store.feed_since(all[1].seq, 1).unwrap(), [all[2].clone()]);
    let mut cursor = FeedCursor::after(all[0].seq);
    assert_eq!(store.feed_after(&mut cursor, 2).unwrap(), all[1..3]);
    assert_eq!(cursor.seq(), all[2].seq);
    assert_eq!(store.feed_after(&mut cursor, 2).unwrap(), all[3..]);
    assert!(store.feed_after(&mut cursor, 2).unwrap().is_empty());
    let events = store.events(&task.id).unwrap();
    assert_eq!(events, all.iter().map(|entry| entry.event.clone()).collect::<Vec<_>>());
}

pub fn a_follower_sees_all_that_concurrent_writers_commit(fixture: &Fixture) {
    let store = fixture.store();
    let tasks: Vec<_> = (0..4).map(|_| fixture.submit(&store, |_| ())).collect();
    let notes = 25;
    let mut seen = BTreeSet::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = tasks
            .iter()
            .map(|task| {
                scope.spawn(|| {
                    let store = fixture.store();
                    (0..notes).for_each(|n| drop(store.apply(&task.id, &note(&n.to_string())).unwrap()));
                })
            })
            .collect();
        let mut cursor = FeedCursor::after(store.feed_since(0, usize::MAX).unwrap()[3].seq);
        loop {
            // Before the look: what a writer commits before it ends must be found by the last one.
            let is_over = writers.iter().all(std::thread::ScopedJoinHandle::is_finished);
            for entry in store.feed_after(&mut cursor, 7).unwrap() {
                assert!(seen.insert((entry.task_id.clone(), entry.event.message.clone())), "{entry:?}");
            }
            if is_over && cursor.seq() == store.feed_end().unwrap() {
                break;
            }
        }
    });
    assert_eq!(seen.len(), tasks.len() * notes);
}

/// The longest time that a watch may sleep although something has changed.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

pub fn a_watch_wakes_for_what_it_watches(fixture: &Fixture) {
    let store = fixture.store();
    let task = fixture.submit(&store, |_| ());
    let other = fixture.store();
    std::thread::scope(|scope| {
        for watched in [0, 1, 2] {
            let mut watch = match watched {
                0 => store.watch_feed(),
                1 => store.watch_tasks(std::slice::from_ref(&task.id)),
                _ => store.watch_lanes(&[lane_name("l")]),
            };
            let end = store.feed_end().unwrap();
            let (task, other) = (&task, &other);
            let change = scope.spawn(move || match watched {
                0 => drop(other.apply(&task.id, &note("something")).unwrap()),
                1 => drop(other.claim(&task.id, &owner("me"), Duration::from_secs(1)).unwrap()),
                _ => drop(fixture.submit(other, |_| ())),
            });
            let start = Instant::now();
            while store.feed_end().unwrap() == end {
                assert!(watch.wait(start + LONGEST_SLEEP), "nothing woke it");
            }
            change.join().unwrap();
        }
    });
}

pub fn a_process_that_ends_wakes_its_own_waiters(fixture: &Fixture) {
    let store = fixture.store();
    let lanes = [lane_name("l")];
    let mut watch = store.watch_lanes(&lanes);
    let start = Instant::now();
    store.wake_waiters(&lanes);
    // It may wake for nothing, and once for every ring; it must not sleep until the end.
    assert!(watch.wait(start + LONGEST_SLEEP));
    assert!(store.claim_next(&in_lane("l"), &owner("me"), Duration::from_secs(1)).unwrap().is_none());
}

pub fn what_changes_nothing_is_not_in_the_feed(fixture: &Fixture) {
    let store = fixture.store();
    let task = fixture.submit(&store, |_| ());
    let end = store.feed_end().unwrap();
    store.task(&task.id).unwrap();
    store.peek_next(&in_lane("l")).unwrap();
    store.settle(&task.id).unwrap();
    store.claim(&task.id, &owner("me"), Duration::ZERO).unwrap_err();
    assert_eq!(store.feed_end().unwrap(), end);
    let cancel = Command::Cancel { reason: None, by: "me".to_string() };
    store.apply(&task.id, &cancel).unwrap();
    let end = store.feed_end().unwrap();
    store.apply(&task.id, &cancel).unwrap();
    assert_eq!(store.feed_end().unwrap(), end, "a repeated command changes nothing");
}
