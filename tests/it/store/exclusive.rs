//! Exclusive keys in the files of a store: the index, other implementations, damage.

use lanes::internals::model::{Command, Task, TaskId, json};
use lanes::internals::store::Store;

use crate::testkit::store::{
    Fixture, LEASE, check, claim_next, claimed, keyed, lane_name, owner, task_file, with_keys,
};

fn state(store: &Store, task: &Task) -> String {
    let text = std::fs::read(task_file(store, &task.id, "task.json")).unwrap();
    json::parse_object(&text).unwrap()["state"].as_str().unwrap().to_string()
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
    check(&store);
    let last = keyed(&fixture, &store, &["k"]);
    let plain = fixture.submit(&store, |_| ());
    assert_eq!(claim_next(&store), Some(plain.id));
    assert_eq!(parked(&store), 199, "a new one joins them");
    // Those that are parked can be cancelled and moved.
    let rare = expected("rare");
    store.apply(&rare[1], &Command::Cancel { reason: None, by: "me".to_string() }).unwrap();
    store.apply(&rare[2], &Command::Move { lane: lane_name("second") }).unwrap();
    assert_eq!(claimed(&store, "second"), None);
    check(&store);
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
    check(&store);
}

#[test]
fn tasks_of_many_keys_are_set_apart_in_several_steps() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let key = |n: usize| format!("k{}", n % 20);
    let new = |n: usize| {
        let mut new = fixture.new_task("l");
        with_keys(&[&key(n)])(&mut new);
        new
    };
    let tasks: Vec<Task> = store
        .submit_batch((0..180).map(new).collect())
        .unwrap()
        .into_iter()
        .map(|it| it.unwrap().task)
        .collect();
    let held: Vec<Task> = (0..20).map(|_| claimed(&store, "l").unwrap()).collect();
    assert!(held.iter().zip(&tasks).all(|(held, task)| held.id == task.id));
    assert_eq!(claim_next(&store), None);
    assert_eq!(parked(&store), 160);
    check(&store);
    // Those of one key come back in order, and nothing else does.
    fixture.respond(&store, &held[7], "done");
    let next = claimed(&store, "l").unwrap();
    assert_eq!(next.id, tasks[27].id);
    assert_eq!(claim_next(&store), None);
    for held in held.iter().filter(|task| task.id != held[7].id).chain([&next]) {
        fixture.respond(&store, held, "done");
    }
    let mut order = Vec::new();
    while let Some(task) = claimed(&store, "l") {
        order.push(task.id.clone());
        fixture.respond(&store, &task, "done");
    }
    let left: Vec<TaskId> =
        tasks[20..].iter().map(|task| task.id.clone()).filter(|id| *id != tasks[27].id).collect();
    assert_eq!(order, left);
    assert_eq!(parked(&store), 0);
    check(&store);
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
    check(&store);
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
        check(&store);
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
    check(&store);
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
    check(&store);
}

#[test]
fn a_task_with_keys_is_blocked_on_the_disk_unless_it_is_claimed() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let first = keyed(&fixture, &store, &["k"]);
    let until = store.now().wall.plus_seconds(100.0);
    let delayed = fixture.submit(&store, |new| {
        with_keys(&["k"])(new);
        (new.spec.lane, new.not_before) = (lane_name("second"), Some(until));
    });
    assert_eq!([&first, &delayed].map(|task| state(&store, task)), ["blocked"; 2]);
    claimed(&store, "l").unwrap();
    assert_eq!(state(&store, &first), "claimed");
    fixture.pass(101.0);
    assert_eq!(claimed(&store, "second").map(|task| task.id), Some(delayed.id));
    assert_eq!(state(&store, &first), "blocked", "nobody who does not know keys may offer it");
}
