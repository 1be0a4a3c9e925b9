//! Exclusive keys: who may claim, in which order, and what frees a key.

use std::time::Duration;

use lanes::ErrorKind;
use lanes::internals::model::{
    Answer, AnswerOutcome, Command, ExclusiveKey, FailureClass, Filter, NewTask, Status, Task, TaskId, json,
};
use lanes::internals::store::{LaneQuery, Store};

use crate::testkit::store::{Fixture, answer, in_lane, lane_name, owner, task_file};

const LEASE: Duration = Duration::from_secs(60);

fn with_keys(names: &[&str]) -> impl Fn(&mut NewTask) {
    let keys: Vec<ExclusiveKey> = names.iter().map(|name| ExclusiveKey::new(*name).unwrap()).collect();
    move |new| new.spec.exclusive = keys.clone()
}

/// Submits a task with these keys to lane `l`.
fn keyed(fixture: &Fixture, store: &Store, names: &[&str]) -> Task {
    fixture.submit(store, with_keys(names))
}

fn claimed(store: &Store, lane: &str) -> Option<Task> {
    store.claim_next(&in_lane(lane), &owner("me"), LEASE).unwrap()
}

fn claim_next(store: &Store) -> Option<TaskId> {
    claimed(store, "l").map(|task| task.id)
}

fn state(store: &Store, task: &Task) -> String {
    let text = std::fs::read(task_file(store, &task.id, "task.json")).unwrap();
    json::parse_object(&text).unwrap()["state"].as_str().unwrap().to_string()
}

fn is_sound(store: &Store) {
    let report = store.fsck(&mut |_, _| ()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

/// Changes task.json as another implementation does, under its locks.
fn written_by_others(store: &Store, task: &Task, change: impl FnOnce(&mut json::Object)) {
    let path = task_file(store, &task.id, "task.json");
    let mut object = json::parse_object(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut object);
    object.insert("updated_at".into(), store.now().wall.to_string().into());
    std::fs::write(path, json::to_text(&object)).unwrap();
}

fn claimed_by_others(store: &Store, task: &Task, seconds: f64) {
    let now = store.now().wall;
    written_by_others(store, task, |object| {
        for (key, value) in [
            ("state", "claimed".to_string()),
            ("claim_owner", "other".to_string()),
            ("claim_token", "theirs".to_string()),
            ("claimed_at", now.to_string()),
            ("lease_expires_at", now.plus_seconds(seconds).to_string()),
        ] {
            object.insert(key.into(), value.into());
        }
    });
}

fn released_by_others(store: &Store, task: &Task) {
    written_by_others(store, task, |object| {
        object.insert("state".into(), "queued".into());
        for key in ["claim_owner", "claim_token", "claimed_at", "lease_expires_at"] {
            object.insert(key.into(), serde_json::Value::Null);
        }
    });
}

#[test]
fn a_claim_passes_over_a_task_whose_key_is_held_and_takes_the_next_that_fits() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let first = keyed(&fixture, &store, &["db"]);
    let second = keyed(&fixture, &store, &["db"]);
    let other = keyed(&fixture, &store, &["site"]);
    let plain = fixture.submit(&store, |_| ());
    let last = keyed(&fixture, &store, &["db"]);
    assert_eq!([&first, &second, &last].map(|task| state(&store, task)), ["blocked"; 3]);
    is_sound(&store);
    assert_eq!(store.peek_next(&in_lane("l")).unwrap().map(|task| task.id), Some(first.id.clone()));
    let held = claimed(&store, "l").unwrap();
    assert_eq!(held.id, first.id);
    assert_eq!(store.peek_next(&in_lane("l")).unwrap().map(|task| task.id), Some(other.id.clone()));
    assert_eq!(claim_next(&store), Some(other.id));
    assert_eq!(claim_next(&store), Some(plain.id));
    assert_eq!(claim_next(&store), None);
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 0);
    is_sound(&store);
    // The one that waits has kept its place before younger ones.
    let younger = fixture.submit(&store, |_| ());
    fixture.respond(&store, &held, "done");
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 3);
    assert_eq!(claim_next(&store), Some(second.id));
    assert_eq!(claim_next(&store), Some(younger.id));
    assert_eq!(claim_next(&store), None);
    is_sound(&store);
}

#[test]
fn a_key_is_held_across_lanes_and_by_any_of_several() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let both = keyed(&fixture, &store, &["a", "b"]);
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
    is_sound(&store);
}

#[test]
fn every_end_of_a_claim_frees_the_key() {
    let fixture = Fixture::new();
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
        keyed(&fixture, &store, &["k"]);
        let next = keyed(&fixture, &store, &["k"]);
        let held = claimed(&store, "l").unwrap();
        assert_eq!(claim_next(&store), None);
        end(&held);
        let claim = claimed(&store, "l").unwrap();
        assert_eq!(claim.id, next.id);
        fixture.respond(&store, &claim, "done");
        is_sound(&store);
    }
    // The one that was released with a delay is blocked on the disk, and comes back in time.
    fixture.pass(3601.0);
    assert!(claim_next(&store).is_some());
}

#[test]
fn a_key_passes_on_when_a_lease_ends_and_not_before() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let first = keyed(&fixture, &store, &["k"]);
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
    is_sound(&store);
}

#[test]
fn a_task_takes_its_own_key_again_after_its_lease_has_ended() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let first = keyed(&fixture, &store, &["k"]);
    let second = keyed(&fixture, &store, &["k"]);
    claimed(&store, "l").unwrap();
    fixture.pass(61.0);
    let again = claimed(&store, "l").unwrap();
    assert_eq!((&again.id, again.fence), (&first.id, 2));
    assert_eq!(claim_next(&store), None);
    fixture.respond(&store, &again, "done");
    assert_eq!(claim_next(&store), Some(second.id));
}

#[test]
fn a_claim_by_id_is_refused_while_the_key_is_held() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let (first, second) = (keyed(&fixture, &store, &["k"]), keyed(&fixture, &store, &["k"]));
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

#[test]
fn dependencies_delays_and_deadlines_count_as_well() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let first = fixture.submit(&store, |new| new.spec.lane = lane_name("first"));
    let after = fixture.submit(&store, |new| {
        with_keys(&["k"])(new);
        new.spec.after.push(lanes::internals::model::Dependency {
            task: first.id.clone(),
            on: lanes::DependencyCondition::Completed,
        });
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
    is_sound(&store);
}

#[test]
fn a_filter_takes_the_first_that_matches_and_has_its_keys() {
    let fixture = Fixture::new();
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

/// The tasks that the index has set apart because they wait for a key.
fn parked(store: &Store) -> usize {
    let lane = std::fs::read_dir(store.root().join("indexes/lanes")).unwrap().next().unwrap().unwrap().path();
    let Ok(keys) = std::fs::read_dir(lane.join("parked")) else { return 0 };
    let chunks = keys.flat_map(|key| std::fs::read_dir(key.unwrap().path()).unwrap());
    let text = chunks.map(|chunk| std::fs::read_to_string(chunk.unwrap().path()).unwrap());
    text.map(|text| text.lines().filter(|line| !line.starts_with("-\t")).count()).sum()
}

#[test]
fn many_tasks_that_wait_for_a_key_are_set_apart_and_keep_their_places() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let of = |n: usize| keyed(&fixture, &store, &[if n.is_multiple_of(3) { "rare" } else { "k" }]);
    let tasks: Vec<Task> = (0..200).map(of).collect();
    let expected = |key: &str| -> Vec<TaskId> {
        tasks
            .iter()
            .filter(|task| task.spec.exclusive[0].as_str() == key)
            .map(|task| task.id.clone())
            .collect()
    };
    let (first, second) = (claimed(&store, "l").unwrap(), claimed(&store, "l").unwrap());
    assert_eq!([&first.id, &second.id], [&tasks[0].id, &tasks[1].id]);
    assert_eq!(claim_next(&store), None);
    assert_eq!(parked(&store), 198);
    is_sound(&store);
    let last = keyed(&fixture, &store, &["k"]);
    let plain = fixture.submit(&store, |_| ());
    assert_eq!(claim_next(&store), Some(plain.id));
    assert_eq!(parked(&store), 199, "a new one joins them");
    // Those that are parked can be cancelled and moved.
    let rare = expected("rare");
    store.apply(&rare[1], &Command::Cancel { reason: None, by: "me".to_string() }).unwrap();
    store.apply(&rare[2], &Command::Move { lane: lane_name("second") }).unwrap();
    assert_eq!(claimed(&store, "second"), None);
    is_sound(&store);
    fixture.respond(&store, &first, "done");
    assert_eq!(claimed(&store, "second").map(|task| task.id), Some(rare[2].clone()));
    assert_eq!(claim_next(&store), None);
    store.apply(&rare[2], &Command::Cancel { reason: None, by: "me".to_string() }).unwrap();
    fixture.respond(&store, &second, "done");
    // In the order of all of them, one of each key at a time.
    let mut order = Vec::new();
    while let Some(task) = claimed(&store, "l") {
        order.push(task.id.clone());
        fixture.respond(&store, &task, "done");
    }
    let left: Vec<TaskId> = tasks[2..]
        .iter()
        .map(|task| task.id.clone())
        .filter(|id| !rare[..3].contains(id))
        .chain([last.id])
        .collect();
    assert_eq!(order, left);
    assert_eq!(parked(&store), 0);
    is_sound(&store);
}

#[test]
fn a_claim_of_another_implementation_holds_the_key_until_it_ends() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let (first, second) = (keyed(&fixture, &store, &["k"]), keyed(&fixture, &store, &["k"]));
    claimed_by_others(&store, &second, 100.0);
    assert_eq!(claim_next(&store), None);
    assert!(store.claim(&first.id, &owner("me"), LEASE).is_err());
    released_by_others(&store, &second);
    let held = claimed(&store, "l").unwrap();
    assert_eq!(held.id, first.id);
    assert_eq!(claim_next(&store), None);
    store.settle(&second.id).unwrap();
    assert_eq!(state(&store, &second), "blocked");
    fixture.respond(&store, &held, "done");
    claimed_by_others(&store, &second, 100.0);
    fixture.pass(101.0);
    assert_eq!(claim_next(&store), Some(second.id));
    is_sound(&store);
}

#[test]
fn what_is_held_is_found_again_without_an_index() {
    let fixture = Fixture::new();
    let store = fixture.store();
    keyed(&fixture, &store, &["k"]);
    let second = keyed(&fixture, &store, &["k"]);
    let held = claimed(&store, "l").unwrap();
    for part in ["indexes", "indexes/exclusive", "indexes/state"] {
        let path = store.root().join(part);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        assert_eq!(claim_next(&store), None, "{part}");
        is_sound(&store);
    }
    let holder = std::fs::read_dir(store.root().join("indexes/exclusive")).unwrap().next().unwrap();
    std::fs::remove_file(holder.unwrap().path()).unwrap();
    assert_eq!(claim_next(&store), None);
    // An older version writes a state that says nothing of keys.
    let path = store.root().join("indexes/state");
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.split(" absent ").next().unwrap();
    std::fs::write(&path, format!("{:<4095}\n", format!("{line} absent"))).unwrap();
    std::fs::remove_dir_all(store.root().join("indexes/lanes")).unwrap();
    assert_eq!(claim_next(&store), None);
    fixture.respond(&store, &held, "done");
    assert_eq!(claim_next(&store), Some(second.id));
    is_sound(&store);
}

#[test]
fn fsck_reports_a_key_that_the_index_takes_for_free() {
    let fixture = Fixture::new();
    let store = fixture.store();
    keyed(&fixture, &store, &["k"]);
    claimed(&store, "l").unwrap();
    let holder = std::fs::read_dir(store.root().join("indexes/exclusive")).unwrap().next().unwrap().unwrap();
    std::fs::write(holder.path(), "").unwrap();
    let report = store.fsck(&mut |_, _| ()).unwrap();
    assert!(report.findings[0].message.ends_with("its exclusive keys are free"), "{:?}", report.findings);
    store.repair(&mut |_, _| ()).unwrap();
    is_sound(&store);
}

#[test]
fn a_retry_and_an_import_keep_the_keys_and_a_key_of_a_submit_counts_them() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let task = keyed(&fixture, &store, &["a", "b"]);
    store.apply(&task.id, &Command::Cancel { reason: None, by: "me".to_string() }).unwrap();
    let again = store.retry(&task.id, "me").unwrap().task;
    assert_eq!(again.spec.exclusive, task.spec.exclusive);
    assert_eq!(again.status, Status::Blocked { until: None });
    let held = claimed(&store, "l").unwrap();
    assert_eq!(held.id, again.id);
    let waiting = keyed(&fixture, &store, &["a"]);

    let mut export = Vec::new();
    store.export(&mut export, &|_| true, &mut |_, _| (), &mut |_| ()).unwrap();
    let copy = fixture.store_named("copy");
    let report = copy.import(&mut export.as_slice(), &mut |_| ()).unwrap();
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    assert_eq!(claim_next(&copy), None, "the claim came along, and with it the key");
    is_sound(&copy);
    fixture.respond(&copy, &held, "done");
    assert_eq!(claim_next(&copy), Some(waiting.id));

    let key = crate::testkit::store::idempotency_key("once");
    let mut new = fixture.new_task("l");
    (new.spec.key, new.spec.exclusive) = (key, vec![ExclusiveKey::new("a").unwrap()]);
    store.submit(new.clone()).unwrap();
    assert!(store.submit(new.clone()).unwrap().existing);
    new.spec.exclusive.clear();
    assert_eq!(store.submit(new).unwrap_err().kind(), ErrorKind::Refused);
}
