//! Tasks that wait for others, in the files of a store: the index, other implementations, damage.

use lanes::internals::model::{Command, ExclusiveKey, FailureClass, Status, Task, TaskId, json};
use lanes::internals::store::Store;

use crate::testkit::store::{
    Fixture, after, check, claim_next, complete, completed, first, lane_name, state, task_file,
};

#[test]
fn many_dependents_are_released_in_their_order_whatever_else_they_wait_for() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let (first, other) =
        (first(&fixture, &store), fixture.submit(&store, |new| new.spec.lane = lane_name("other")));
    let later = store.now().wall.plus_seconds(600.0);
    let mut tasks = Vec::new();
    for n in 0..90 {
        let submitted = fixture.submit(&store, |new| {
            new.after = completed(&[&first]);
            match n % 9 {
                3 => new.after.extend(completed(&[&other])),
                4 => new.not_before = Some(later),
                5 => new.spec.lane = lane_name("second"),
                6 => new.spec.exclusive = vec![ExclusiveKey::new("k").unwrap()],
                7 => new.spec.priority = 1,
                _ => {}
            }
        });
        tasks.push(submitted);
    }
    // One ends before, and one is claimed by an implementation that knows no dependencies.
    store.apply(&tasks[0].id, &Command::Cancel { reason: None, by: "me".to_string() }).unwrap();
    let claimed = store.now().wall;
    written_by_others(&store, &tasks[1], |object| {
        for (key, value) in [
            ("state", "claimed".to_string()),
            ("claim_owner", "other".to_string()),
            ("claim_token", "theirs".to_string()),
            ("claimed_at", claimed.to_string()),
            ("lease_expires_at", claimed.plus_seconds(1000.0).to_string()),
        ] {
            object.insert(key.into(), value.into());
        }
    });
    complete(&fixture, &store, &first);
    let with = |remainder: usize| tasks.iter().skip(remainder).step_by(9);
    assert!(with(3).all(|task| state(&store, task) == "blocked"));
    assert!(with(4).all(|task| state(&store, task) == "scheduled"));
    assert!(with(6).all(|task| state(&store, task) == "blocked"));
    assert_eq!(store.queue_depth(&lane_name("second")).unwrap(), 10);
    let events: Vec<u64> = store.feed_since(0, usize::MAX).unwrap().iter().map(|entry| entry.seq).collect();
    assert!(events.windows(2).all(|pair| pair[1] == pair[0] + 1), "{events:?}");
    let unblocked = store
        .feed_since(0, usize::MAX)
        .unwrap()
        .iter()
        .filter(|entry| entry.event.kind == "unblocked")
        .count();
    assert_eq!(unblocked, 90 - 10 - 2);
    let history = std::fs::read_to_string(task_file(&store, &tasks[8].id, "events.jsonl")).unwrap();
    assert!(history.lines().last().unwrap().contains("\"unblocked\""), "{history}");
    // Those of higher priority first, and one with the key.
    let mut expected: Vec<TaskId> = with(7).map(|task| task.id.clone()).collect();
    let plain = |n: usize| n > 1 && ![3, 4, 5, 7].contains(&(n % 9)) && (n % 9 != 6 || n == 6);
    expected.extend((0..90).filter(|n| plain(*n)).map(|n| tasks[n].id.clone()));
    let order: Vec<TaskId> = std::iter::from_fn(|| claim_next(&store)).collect();
    assert_eq!(order, expected);
    written_by_others(&store, &tasks[1], |object| {
        object.insert("state".into(), "queued".into());
        for key in ["claim_owner", "claim_token", "claimed_at", "lease_expires_at"] {
            object.insert(key.into(), serde_json::Value::Null);
        }
    });
    store.settle(&tasks[1].id).unwrap();
    assert_eq!(claim_next(&store), Some(tasks[1].id.clone()));
    check(&store);
}

/// Changes task.json as another implementation does, which knows neither our index nor our bookkeeping.
fn written_by_others(store: &Store, task: &Task, change: impl FnOnce(&mut json::Object)) {
    let path = task_file(store, &task.id, "task.json");
    let mut object = json::parse_object(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut object);
    object.insert("updated_at".into(), store.now().wall.to_string().into());
    std::fs::write(path, json::to_text(&object)).unwrap();
}

#[test]
fn an_end_that_another_implementation_wrote_releases_the_dependents() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let a = first(&fixture, &store);
    let task = after(&fixture, &store, &[&a]);
    assert_eq!(claim_next(&store), None);
    written_by_others(&store, &a, |object| {
        object.insert("state".into(), "completed".into());
        object.insert("completed_at".into(), store.now().wall.to_string().into());
    });
    std::fs::write(task_file(&store, &a.id, "response.json"), "{}").unwrap();
    // Whoever looks for work finds it, although nothing was ever claimed in the lane of the dependency.
    assert_eq!(claim_next(&store), Some(task.id));
}

#[test]
fn an_end_by_others_in_the_lane_of_the_dependent_is_seen_by_the_first_claim() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let a = fixture.submit(&store, |_| ());
    let task = after(&fixture, &store, &[&a]);
    // It was claimed by its id as well, and given back.
    written_by_others(&store, &task, |object| drop(object.insert("state".into(), "queued".into())));
    written_by_others(&store, &a, |object| {
        object.insert("state".into(), "completed".into());
        object.insert("completed_at".into(), store.now().wall.to_string().into());
    });
    std::fs::write(task_file(&store, &a.id, "response.json"), "{}").unwrap();
    assert_eq!(claim_next(&store), Some(task.id));
}

#[test]
fn a_claim_of_another_implementation_returns_to_the_gate() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let a = first(&fixture, &store);
    let task = after(&fixture, &store, &[&a]);
    written_by_others(&store, &task, |object| drop(object.insert("state".into(), "queued".into())));
    // An index that has it among the tasks that can be claimed, as after a rebuild.
    std::fs::remove_dir_all(store.root().join("indexes")).unwrap();
    assert_eq!(claim_next(&store), None);
    assert_eq!(state(&store, &task), "blocked");
    assert_eq!(claim_next(&store), None);
    complete(&fixture, &store, &a);
    assert_eq!(claim_next(&store), Some(task.id));
    check(&store);
}

#[test]
fn dependents_are_found_again_without_an_index() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let a = first(&fixture, &store);
    let task = after(&fixture, &store, &[&a]);
    for part in ["indexes", "indexes/dependents", "indexes/lanes"] {
        std::fs::remove_dir_all(store.root().join(part)).unwrap();
        assert_eq!(claim_next(&store), None, "{part}");
        assert_eq!(store.dependents(&a.id).unwrap(), std::slice::from_ref(&task.id), "{part}");
        check(&store);
    }
    let file = store.root().join("indexes/dependents").join(a.id.as_str());
    std::fs::remove_file(file).unwrap();
    complete(&fixture, &store, &a);
    assert_eq!(state(&store, &task), "queued");
    assert_eq!(claim_next(&store), Some(task.id));
}

#[test]
fn a_state_that_an_older_version_wrote_is_not_trusted() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let a = first(&fixture, &store);
    let task = after(&fixture, &store, &[&a]);
    complete(&fixture, &store, &a);
    let b = first(&fixture, &store);
    let waits = after(&fixture, &store, &[&b]);
    // It knows no dependents, and ends the line of the state earlier.
    let path = store.root().join("indexes/state");
    let text = std::fs::read_to_string(&path).unwrap();
    let (line, _) = text.split_once(" . ").unwrap();
    std::fs::write(&path, format!("{:<4095}\n", format!("{line} ."))).unwrap();
    std::fs::remove_file(store.root().join("indexes/dependents").join(b.id.as_str())).unwrap();
    assert_eq!(claim_next(&store), Some(task.id));
    complete(&fixture, &store, &b);
    assert_eq!(claim_next(&store), Some(waits.id));
}

#[test]
fn a_dependency_that_is_gone_fails_its_dependents() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let a = first(&fixture, &store);
    let task = after(&fixture, &store, &[&a]);
    std::fs::remove_dir_all(store.root().join("tasks").join(a.id.as_str())).unwrap();
    assert_eq!(claim_next(&store), None);
    let Status::Failed { reason, class, .. } = store.task(&task.id).unwrap().status else { panic!() };
    assert_eq!(class, FailureClass::Upstream);
    assert!(reason.ends_with("is not in the store any more"), "{reason}");
}
