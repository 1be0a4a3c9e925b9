//! Exclusive keys: who may claim, in which order, and what frees a key.

use std::time::Duration;

use lanes::ErrorKind;
use lanes::internals::model::{
    Answer, AnswerOutcome, Command, ExclusiveKey, FailureClass, Filter, Status, Task,
};
use lanes::internals::store::LaneQuery;

use crate::testkit::store::{
    Fixture, LEASE, answer, claim_next, claimed, completed, idempotency_key, in_lane, keyed, lane_name,
    owner, state, with_keys,
};

pub fn a_claim_passes_over_a_task_whose_key_is_held_and_takes_the_next_that_fits(fixture: &Fixture) {
    let store = fixture.store();
    let first = keyed(fixture, &store, &["db"]);
    let second = keyed(fixture, &store, &["db"]);
    let other = keyed(fixture, &store, &["site"]);
    let plain = fixture.submit(&store, |_| ());
    let last = keyed(fixture, &store, &["db"]);
    assert_eq!([&first, &second, &last].map(|task| state(&store, task)), ["blocked"; 3]);
    fixture.check(&store);
    assert_eq!(store.peek_next(&in_lane("l")).unwrap().map(|task| task.id), Some(first.id.clone()));
    let held = claimed(&store, "l").unwrap();
    assert_eq!(held.id, first.id);
    assert_eq!(store.peek_next(&in_lane("l")).unwrap().map(|task| task.id), Some(other.id.clone()));
    assert_eq!(claim_next(&store), Some(other.id));
    assert_eq!(claim_next(&store), Some(plain.id));
    assert_eq!(claim_next(&store), None);
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 0);
    fixture.check(&store);
    // The one that waits has kept its place before younger ones.
    let younger = fixture.submit(&store, |_| ());
    fixture.respond(&store, &held, "done");
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 3);
    assert_eq!(claim_next(&store), Some(second.id));
    assert_eq!(claim_next(&store), Some(younger.id));
    assert_eq!(claim_next(&store), None);
    fixture.check(&store);
}

pub fn a_key_is_held_across_lanes_and_by_any_of_several(fixture: &Fixture) {
    let store = fixture.store();
    let both = keyed(fixture, &store, &["a", "b"]);
    let a = fixture.submit(&store, |new| {
        with_keys(&["a"])(new);
        new.spec.lane = lane_name("second");
    });
    let b = fixture.submit(&store, |new| {
        with_keys(&["b", "c"])(new);
        new.spec.lane = lane_name("third");
    });
    let claim = claimed(&store, "second").unwrap();
    assert_eq!(claim.id, a.id);
    assert_eq!(claim_next(&store), None);
    assert_eq!(claimed(&store, "third").map(|task| task.id), Some(b.id.clone()));
    fixture.respond(&store, &claim, "done");
    assert_eq!(claim_next(&store), None, "the other key is held");
    store.apply(&b.id, &Command::Cancel { reason: None, by: "me".to_string() }).unwrap();
    assert_eq!(claim_next(&store), Some(both.id));
    fixture.check(&store);
}

pub fn every_end_of_a_claim_frees_the_key(fixture: &Fixture) {
    let store = fixture.store();
    let release = |task: &Task, delay: Option<Duration>| {
        let token = task.status.claim().unwrap().token.clone();
        store.apply(&task.id, &Command::Release { token, reason: None, delay, spent: None }).unwrap();
    };
    let fail = |task: &Task| {
        let outcome = AnswerOutcome::Failed(FailureClass::Error);
        store.apply(&task.id, &Command::Respond(Answer { outcome, ..answer(task, "no") })).unwrap();
    };
    let cancel = |task: &Task| {
        store.apply(&task.id, &Command::Cancel { reason: None, by: "me".to_string() }).unwrap();
    };
    let ends: [&dyn Fn(&Task); 3] =
        [&|task| release(task, Some(Duration::from_secs(3600))), &|task| fail(task), &|task| cancel(task)];
    for end in ends {
        keyed(fixture, &store, &["k"]);
        let next = keyed(fixture, &store, &["k"]);
        let held = claimed(&store, "l").unwrap();
        assert_eq!(claim_next(&store), None);
        end(&held);
        let claim = claimed(&store, "l").unwrap();
        assert_eq!(claim.id, next.id);
        fixture.respond(&store, &claim, "done");
        fixture.check(&store);
    }
    // The one that was released with a delay is blocked on the disk, and comes back in time.
    fixture.pass(3601.0);
    assert!(claim_next(&store).is_some());
}

pub fn a_key_passes_on_when_a_lease_ends_and_not_before(fixture: &Fixture) {
    let store = fixture.store();
    let first = keyed(fixture, &store, &["k"]);
    let second = fixture.submit(&store, |new| {
        with_keys(&["k"])(new);
        new.spec.lane = lane_name("second");
    });
    let lost = claimed(&store, "l").unwrap();
    fixture.pass(59.0);
    assert_eq!(claimed(&store, "second"), None);
    let due = store.next_due(&[lane_name("second")]).unwrap();
    assert!((0.0..=2.0).contains(&due.seconds_since(store.now().wall)), "{due}");
    fixture.pass(2.0);
    assert_eq!(claimed(&store, "second").map(|task| task.id), Some(second.id));
    // Nobody who does not know keys may offer the first one now.
    assert_eq!(state(&store, &first), "blocked");
    let late = store.apply(&first.id, &Command::Respond(answer(&lost, "late"))).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Refused);
    assert_eq!(claim_next(&store), None);
    fixture.check(&store);
}

pub fn a_task_takes_its_own_key_again_after_its_lease_has_ended(fixture: &Fixture) {
    let store = fixture.store();
    let first = keyed(fixture, &store, &["k"]);
    let second = keyed(fixture, &store, &["k"]);
    claimed(&store, "l").unwrap();
    fixture.pass(61.0);
    let again = claimed(&store, "l").unwrap();
    assert_eq!((&again.id, again.fence), (&first.id, 2));
    assert_eq!(claim_next(&store), None);
    fixture.respond(&store, &again, "done");
    assert_eq!(claim_next(&store), Some(second.id));
}

pub fn a_claim_by_id_is_refused_while_the_key_is_held(fixture: &Fixture) {
    let store = fixture.store();
    let (first, second) = (keyed(fixture, &store, &["k"]), keyed(fixture, &store, &["k"]));
    let held = store.claim(&first.id, &owner("me"), LEASE).unwrap();
    let refused = store.claim(&second.id, &owner("me"), LEASE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    let since = held.status.claim().unwrap().claimed_at;
    assert_eq!(
        refused.message(),
        format!("cannot claim {}; {} has held its key 'k' since {since}", second.id, first.id)
    );
    fixture.pass(61.0);
    store.claim(&second.id, &owner("me"), LEASE).unwrap();
    assert_eq!(state(&store, &first), "blocked");
}

pub fn dependencies_delays_and_deadlines_count_as_well(fixture: &Fixture) {
    let store = fixture.store();
    let first = fixture.submit(&store, |new| new.spec.lane = lane_name("first"));
    let after = fixture.submit(&store, |new| {
        with_keys(&["k"])(new);
        new.after = completed(&[&first]);
    });
    let now = store.now().wall;
    let delayed = fixture.submit(&store, |new| {
        with_keys(&["k"])(new);
        new.not_before = Some(now.plus_seconds(100.0));
    });
    let late = fixture.submit(&store, |new| {
        with_keys(&["k"])(new);
        new.spec.deadline = Some(now.plus_seconds(50.0));
    });
    assert_eq!(state(&store, &delayed), "blocked");
    let held = claimed(&store, "l").unwrap();
    assert_eq!(held.id, late.id);
    fixture.respond(&store, &held, "in time");
    assert_eq!(claim_next(&store), None);
    let claim = store.claim(&first.id, &owner("me"), LEASE).unwrap();
    fixture.respond(&store, &claim, "done");
    assert_eq!(state(&store, &after), "blocked");
    let held = claimed(&store, "l").unwrap();
    assert_eq!(held.id, after.id);
    let late = fixture.submit(&store, |new| {
        with_keys(&["k"])(new);
        new.spec.deadline = Some(store.now().wall.plus_seconds(30.0));
    });
    fixture.pass(31.0);
    assert_eq!(claim_next(&store), None);
    let failed = store.task(&late.id).unwrap();
    assert!(
        matches!(failed.status, Status::Failed { class: FailureClass::Expired, .. }),
        "{:?}",
        failed.status
    );
    fixture.respond(&store, &held, "done");
    assert_eq!(claim_next(&store), None);
    fixture.pass(100.0);
    assert_eq!(claim_next(&store), Some(delayed.id));
    fixture.check(&store);
}

pub fn a_filter_takes_the_first_that_matches_and_has_its_keys(fixture: &Fixture) {
    let store = fixture.store();
    let of = |vendor: &str, key: &str| {
        fixture.submit(&store, |new| {
            with_keys(&[key])(new);
            new.spec.metadata.insert("vendor".to_string(), vendor.into());
        })
    };
    let (_, held, _, fits) = (of("a", "k"), of("b", "k"), of("b", "k"), of("b", "other"));
    let filter = Filter::parse(&["vendor=b".to_string()]).unwrap();
    let query = LaneQuery { filter, ..in_lane("l") };
    let claim = || store.claim_next(&query, &owner("me"), LEASE).unwrap().map(|task| task.id);
    assert_eq!([claim(), claim(), claim()], [Some(held.id), Some(fits.id), None]);
}

pub fn a_retry_and_an_import_keep_the_keys_and_a_key_of_a_submit_counts_them(fixture: &Fixture) {
    let store = fixture.store();
    let task = keyed(fixture, &store, &["a", "b"]);
    store.apply(&task.id, &Command::Cancel { reason: None, by: "me".to_string() }).unwrap();
    let again = store.retry(&task.id, "me").unwrap().task;
    assert_eq!(again.spec.exclusive, task.spec.exclusive);
    assert_eq!(again.status, Status::Blocked { until: None });
    let held = claimed(&store, "l").unwrap();
    assert_eq!(held.id, again.id);
    let waiting = keyed(fixture, &store, &["a"]);

    let mut export = Vec::new();
    store.export(&mut export, &|_| true, &mut |_, _| (), &mut |_| ()).unwrap();
    let copy = fixture.store_named("copy");
    let report = copy.import(&mut export.as_slice(), &mut |_| ()).unwrap();
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    assert_eq!(claim_next(&copy), None, "the claim came along, and with it the key");
    fixture.check(&copy);
    fixture.respond(&copy, &held, "done");
    assert_eq!(claim_next(&copy), Some(waiting.id));

    let key = idempotency_key("once");
    let mut new = fixture.new_task("l");
    (new.spec.key, new.spec.exclusive) = (key, vec![ExclusiveKey::new("a").unwrap()]);
    store.submit(new.clone()).unwrap();
    assert!(store.submit(new.clone()).unwrap().existing);
    new.spec.exclusive.clear();
    assert_eq!(store.submit(new).unwrap_err().kind(), ErrorKind::Refused);
}
