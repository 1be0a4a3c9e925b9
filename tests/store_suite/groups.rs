//! Groups: which tasks are in one.

use lanes::internals::model::Command;
use lanes::internals::store::{GcAge, GcPlan};

use crate::testkit::store::{Fixture, group, ids, member, members};

pub fn a_group_has_its_tasks_in_the_order_of_their_submits(fixture: &Fixture) {
    let store = fixture.store();
    fixture.submit(&store, |_| ());
    assert!(store.group_members(&group("a"), &|_| true, &mut |_| ()).is_err());
    let (first, other, second) =
        (member(fixture, &store, "a"), member(fixture, &store, "b"), member(fixture, &store, "a"));
    assert_eq!(members(&store, "a"), ids(&[&first, &second]));
    store.apply(&first.id, &Command::Cancel { reason: None, by: "me".to_string() }).unwrap();
    fixture.pass(1.0);
    let again = store.retry(&first.id, "me").unwrap().task;
    assert_eq!(members(&store, "a"), ids(&[&first, &second, &again]));
    assert_eq!(members(&store, "b"), ids(&[&other]));
    fixture.check(&store);
    let mut export = Vec::new();
    store.export(&mut export, &|_| true, &mut |_, _| (), &mut |_| ()).unwrap();
    let copy = fixture.store_named("copy");
    copy.import(&mut export.as_slice(), &mut |_| ()).unwrap();
    assert_eq!(members(&copy, "a"), ids(&[&first, &second, &again]));
    fixture.check(&copy);
    store.apply(&second.id, &Command::Cancel { reason: None, by: "me".to_string() }).unwrap();
    fixture.pass(100.0);
    let plan = GcPlan { age: GcAge::AllEnded, ..GcPlan::default() };
    // The first one stays for the task that retries it.
    assert_eq!(store.gc(&plan).unwrap().removed, ids(&[&second]));
    assert_eq!(members(&store, "a"), ids(&[&first, &again]));
    fixture.check(&store);
}

pub fn the_newest_successor_of_a_retried_task_counts_for_its_group(fixture: &Fixture) {
    let store = fixture.store();
    let (first, second) = (member(fixture, &store, "a"), member(fixture, &store, "a"));
    let counted = || store.counted_members(&group("a"), &mut |error| panic!("{error}")).unwrap();
    assert_eq!(counted(), ids(&[&first, &second]));
    let mut newest = first.clone();
    for _ in 0..2 {
        store.apply(&newest.id, &Command::Cancel { reason: None, by: "me".to_string() }).unwrap();
        assert!(counted().contains(&newest.id), "it has failed, and was not retried");
        fixture.pass(1.0);
        newest = store.retry(&newest.id, "me").unwrap().task;
        assert_eq!(counted(), ids(&[&second, &newest]));
    }
    assert_eq!(members(&store, "a").len(), 4);
    fixture.check(&store);
}
