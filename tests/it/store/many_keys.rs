//! Idempotency keys that a rebuild of the index has found, so many that one file holds them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::testkit::store::{Fixture, idempotency_key, lane_name, owner};
use lanes::internals::model::{AnswerOutcome, FailureClass, NewTask, Task};
use lanes::internals::store::{GcAge, GcPlan, Store};

/// More keys than get files of their own.
const KEYS: usize = 70;

/// A store with ended tasks, each with a key, whose index was lost.
fn fixture() -> (Fixture, Store, Vec<Task>) {
    let fixture = Fixture::new();
    let store = fixture.store();
    let tasks =
        (0..KEYS).map(|n| fixture.ended(&store, |new| new.spec.key = idempotency_key(key(n)))).collect();
    drop(store);
    lose_index(&fixture);
    let store = fixture.store();
    store.queue_depth(&lane_name("l")).unwrap();
    (fixture, store, tasks)
}

fn key(n: usize) -> String {
    format!("key {n}")
}

fn indexes(fixture: &Fixture) -> PathBuf {
    fixture.root().join("state/indexes")
}

fn packed(fixture: &Fixture) -> PathBuf {
    indexes(fixture).join("keys/packed")
}

fn lose_index(fixture: &Fixture) {
    fs::remove_dir_all(indexes(fixture)).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

fn again(fixture: &Fixture, n: usize) -> NewTask {
    let mut new = fixture.new_task("l");
    new.spec.key = idempotency_key(key(n));
    new
}

/// The keys lead to their tasks, and none of them is submitted twice.
fn check(fixture: &Fixture, store: &Store, tasks: &[Task]) {
    for (n, task) in tasks.iter().enumerate().step_by(23) {
        let submitted = store.submit(again(fixture, n)).unwrap();
        assert!(submitted.existing, "{} was submitted again", key(n));
        assert_eq!(submitted.task.id, task.id);
    }
    let report = store.fsck(&mut |_, _| ()).unwrap();
    let keys: Vec<_> = report.findings.iter().filter(|found| found.code.starts_with("key")).collect();
    assert!(keys.is_empty(), "{keys:?}");
}

#[test]
fn many_keys_share_a_file_and_all_are_found() {
    let (fixture, store, tasks) = fixture();
    assert_eq!(names(&indexes(&fixture).join("keys")), ["packed"]);
    check(&fixture, &store, &tasks);
    let new = fixture.submit(&store, |new| new.spec.key = idempotency_key("another"));
    assert_eq!(names(&indexes(&fixture).join("keys")).len(), 2);
    // Once more from nothing but the tasks, with what is right left as it is.
    let before = fs::metadata(packed(&fixture)).unwrap().modified().unwrap();
    fs::remove_file(indexes(&fixture).join("state")).unwrap();
    store.queue_depth(&lane_name("l")).unwrap();
    assert_eq!(fs::metadata(packed(&fixture)).unwrap().modified().unwrap(), before);
    check(&fixture, &store, &tasks);
    let mut repeated = fixture.new_task("l");
    repeated.spec.key = idempotency_key("another");
    assert!(store.submit(repeated).unwrap().existing);
    assert_eq!(new.spec.key.as_ref().map(|key| key.as_str()), Some("another"));
}

#[test]
fn a_key_of_many_is_free_again_when_its_task_is_removed() {
    let (fixture, store, tasks) = fixture();
    fixture.pass(100.0);
    let plan = GcPlan { age: GcAge::OlderThan(Duration::from_millis(100_035)), ..GcPlan::default() };
    let report = store.gc(&plan).unwrap();
    assert!(!report.removed.is_empty() && report.removed.len() < KEYS, "{}", report.removed.len());
    for (n, task) in tasks.iter().enumerate() {
        let submitted = store.submit(again(&fixture, n)).unwrap();
        assert_eq!(submitted.existing, !report.removed.contains(&task.id), "{}", key(n));
        assert_eq!(submitted.existing, submitted.task.id == task.id);
    }
    let report = store.fsck(&mut |_, _| ()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn a_key_of_many_moves_on_when_its_task_is_retried() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for n in 0..KEYS {
        let task = fixture.submit(&store, |new| new.spec.key = idempotency_key(key(n)));
        let claimed = store.claim(&task.id, &owner("me"), Duration::from_secs(60)).unwrap();
        fixture.answer(&store, &claimed, "no", AnswerOutcome::Failed(FailureClass::Error));
    }
    lose_index(&fixture);
    let first = store.submit(again(&fixture, 7)).unwrap();
    assert!(first.existing && packed(&fixture).exists());
    let second = store.retry(&first.task.id, "me").unwrap().task;
    assert_eq!(store.submit(again(&fixture, 7)).unwrap().task.id, second.id);
    fs::remove_file(indexes(&fixture).join("state")).unwrap();
    assert_eq!(store.submit(again(&fixture, 7)).unwrap().task.id, second.id);
}

#[test]
fn a_damaged_file_of_many_keys_is_written_anew() {
    type Damage = fn(&Path);
    let damages: &[(&str, Damage)] = &[
        ("gone", |path| fs::remove_file(path).unwrap()),
        ("empty", |path| fs::write(path, "").unwrap()),
        ("noise", |path| fs::write(path, [0xff; 9000]).unwrap()),
        ("zeros", |path| fs::write(path, vec![0; fs::metadata(path).unwrap().len() as usize]).unwrap()),
        ("cut in a line", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("cut behind a line", |path| {
            let text = fs::read_to_string(path).unwrap();
            let end = text.trim_end().rfind('\n').unwrap();
            fs::write(path, &text[..=end]).unwrap();
        }),
        ("a directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir_all(path.join("full")).unwrap();
        }),
        ("a link", |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/nowhere", path).unwrap();
        }),
    ];
    let (fixture, store, tasks) = fixture();
    for (what, damage) in damages {
        damage(&packed(&fixture));
        for (n, task) in tasks.iter().enumerate().step_by(23) {
            let submitted =
                store.submit(again(&fixture, n)).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(submitted.existing && submitted.task.id == task.id, "{what}: {}", key(n));
        }
        // In place, so that only reading it shows the damage.
        damage(&packed(&fixture));
        let sealed = fs::File::open(indexes(&fixture).join("keys")).unwrap();
        let seal = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        sealed.set_modified(seal).unwrap();
        store.repair(&mut |_, _| ()).unwrap();
        check(&fixture, &store, &tasks);
        assert!(packed(&fixture).is_file() || *what == "gone", "{what}");
        lose_index(&fixture);
        store.queue_depth(&lane_name("l")).unwrap();
    }
}
