//! Tasks that wait for other tasks: submitted, released, failed, and damage to what leads to them.

use std::time::Duration;

use lanes::ErrorKind;
use lanes::internals::model::{
    AnswerOutcome, Command, DependencyRef, FailureClass, NewTask, Status, Task, TaskId, json,
};
use lanes::internals::store::{GcAge, GcPlan, Store};

use crate::testkit::store::{Fixture, in_lane, lane_name, owner, task_file};

/// Submits a task to lane `l` that waits for others to complete.
fn after(fixture: &Fixture, store: &Store, dependencies: &[&Task]) -> Task {
    fixture.submit(store, |new| new.after = completed(dependencies))
}

fn completed(dependencies: &[&Task]) -> Vec<DependencyRef> {
    dependencies.iter().map(|task| DependencyRef::completed(task.id.as_str())).collect()
}

/// Submits a task to lane `first`.
fn first(fixture: &Fixture, store: &Store) -> Task {
    fixture.submit(store, |new| new.spec.lane = lane_name("first"))
}

fn end(fixture: &Fixture, store: &Store, task: &Task, outcome: AnswerOutcome) {
    let claimed = store.claim(&task.id, &owner("me"), Duration::from_secs(60)).unwrap();
    fixture.answer(store, &claimed, "the answer", outcome);
}

fn complete(fixture: &Fixture, store: &Store, task: &Task) {
    end(fixture, store, task, AnswerOutcome::Completed);
}

fn state(store: &Store, task: &Task) -> String {
    store.task(&task.id).unwrap().status.as_str().to_string()
}

fn claim_next(store: &Store) -> Option<TaskId> {
    store.claim_next(&in_lane("l"), &owner("me"), Duration::from_secs(60)).unwrap().map(|task| task.id)
}

fn is_sound(store: &Store) {
    let report = store.fsck(&mut |_, _| ()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn a_task_waits_for_the_last_of_its_dependencies() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let (a, b) = (first(&fixture, &store), first(&fixture, &store));
    let join = after(&fixture, &store, &[&a, &b]);
    let younger = fixture.submit(&store, |_| ());
    assert_eq!(state(&store, &join), "blocked");
    is_sound(&store);
    complete(&fixture, &store, &a);
    assert_eq!(state(&store, &join), "blocked");
    let refused = store.claim(&join.id, &owner("me"), Duration::from_secs(60)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.message().contains("it waits for its dependencies"), "{refused}");
    complete(&fixture, &store, &b);
    // In its own place: it was submitted earlier than the other one.
    assert_eq!(state(&store, &join), "queued");
    assert_eq!(claim_next(&store), Some(join.id));
    assert_eq!(claim_next(&store), Some(younger.id));
    is_sound(&store);
}

#[test]
fn dependencies_that_have_ended_do_not_delay_a_task() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let (done, failed) = (first(&fixture, &store), first(&fixture, &store));
    complete(&fixture, &store, &done);
    end(&fixture, &store, &failed, AnswerOutcome::Failed(FailureClass::Error));
    let task = fixture.submit(&store, |new| {
        new.after = vec![
            DependencyRef::completed(done.id.as_str()),
            DependencyRef::ended(failed.id.as_str()),
            DependencyRef::ended(failed.id.as_str()),
        ];
    });
    assert_eq!(task.status, Status::Queued);
    assert_eq!(task.spec.after.len(), 2);
    assert_eq!(claim_next(&store), Some(task.id));
}

#[test]
fn a_delay_counts_after_the_dependencies() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let a = first(&fixture, &store);
    let until = store.now().wall.plus_seconds(100.0);
    let task = fixture.submit(&store, |new| {
        (new.after, new.not_before) = (completed(&[&a]), Some(until));
    });
    complete(&fixture, &store, &a);
    assert_eq!(store.task(&task.id).unwrap().status, Status::Scheduled { until });
    assert_eq!(claim_next(&store), None);
    fixture.pass(101.0);
    assert_eq!(claim_next(&store), Some(task.id));
}

#[test]
fn a_failure_fails_the_dependents_and_theirs() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let a = first(&fixture, &store);
    let b = after(&fixture, &store, &[&a]);
    let c = after(&fixture, &store, &[&b]);
    let cleanup = fixture.submit(&store, |new| new.after = vec![DependencyRef::ended(c.id.as_str())]);
    end(&fixture, &store, &a, AnswerOutcome::Failed(FailureClass::Error));
    for (task, upstream, how) in [(&b, &a, "failed"), (&c, &b, "failed with class upstream")] {
        let task = store.task(&task.id).unwrap();
        let Status::Failed { class, reason, claim: None, .. } = &task.status else {
            panic!("{:?}", task.status);
        };
        assert_eq!(
            (class, reason),
            (&FailureClass::Upstream, &format!("its dependency {} {how}", upstream.id))
        );
        let response = store.response(&task).unwrap().unwrap();
        assert_eq!(response.metadata["dependency"], upstream.id.as_str());
        assert_eq!(response.body, *reason);
    }
    assert_eq!(claim_next(&store), Some(cleanup.id));
    is_sound(&store);
    // The same as if it had been submitted earlier.
    let late = after(&fixture, &store, &[&b]);
    assert_eq!(state(&store, &late), "failed");
}

#[test]
fn cancelled_and_dead_dependencies_have_failed() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let (cancelled, dead) = (
        first(&fixture, &store),
        fixture.submit(&store, |new| {
            (new.spec.lane, new.spec.max_attempts) = (lane_name("first"), Some(1));
        }),
    );
    let (b, c) = (after(&fixture, &store, &[&cancelled]), after(&fixture, &store, &[&dead]));
    store.apply(&cancelled.id, &Command::Cancel { reason: None, by: "me".into() }).unwrap();
    store.claim(&dead.id, &owner("me"), Duration::from_secs(1)).unwrap();
    fixture.pass(2.0);
    store.settle(&dead.id).unwrap();
    for (task, how) in [(b, "was cancelled"), (c, "failed with class dead")] {
        let Status::Failed { reason, .. } = store.task(&task.id).unwrap().status else { panic!("{task:?}") };
        assert!(reason.ends_with(how), "{reason}");
    }
}

#[test]
fn a_blocked_task_can_be_answered_moved_edited_and_cancelled() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let a = first(&fixture, &store);
    let [answered, moved, cancelled] = [0; 3].map(|_| after(&fixture, &store, &[&a]));
    fixture.respond(&store, &answered, "no need to wait");
    store.apply(&moved.id, &Command::Move { lane: lane_name("m") }).unwrap();
    store.apply(&cancelled.id, &Command::Cancel { reason: None, by: "me".into() }).unwrap();
    is_sound(&store);
    complete(&fixture, &store, &a);
    assert_eq!(state(&store, &answered), "completed");
    assert_eq!(state(&store, &cancelled), "failed");
    let claimed = store.claim_next(&in_lane("m"), &owner("me"), Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!(claimed.id, moved.id);
    is_sound(&store);
}

#[test]
fn what_cannot_be_a_dependency_is_refused_and_nothing_is_submitted() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let (a, b) = (first(&fixture, &store), first(&fixture, &store));
    let try_after = |after: Vec<DependencyRef>| {
        let new = NewTask { after, ..fixture.new_task("l") };
        store.submit(new).unwrap_err()
    };
    let shared = a.id.as_str().chars().zip(b.id.as_str().chars()).take_while(|(a, b)| a == b).count();
    let both = &a.id.as_str()[..shared];
    let too_many = vec![DependencyRef::completed(a.id.as_str()); 1001];
    for (after, kind, says) in [
        (vec![DependencyRef::completed("20200101T000000000000Z-none")], ErrorKind::NotFound, "unknown task"),
        (vec![DependencyRef::completed("../x")], ErrorKind::Invalid, "dependency '../x'"),
        (vec![DependencyRef::completed("")], ErrorKind::Invalid, "dependency ''"),
        (vec![DependencyRef::completed(both)], ErrorKind::Invalid, "matches 2 tasks"),
        (too_many, ErrorKind::Invalid, "1001 dependencies are too many"),
    ] {
        let error = try_after(after);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(says), "{error}");
    }
    assert_eq!(store.task_names().unwrap().len(), 2);
    is_sound(&store);
}

#[test]
fn equal_dependencies_are_part_of_the_content_of_a_key() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let (a, b) = (first(&fixture, &store), first(&fixture, &store));
    let submit = |after: &[&Task]| {
        let mut new = NewTask { after: completed(after), ..fixture.new_task("l") };
        new.spec.key = crate::testkit::store::idempotency_key("k");
        store.submit(new)
    };
    let one = submit(&[&a]).unwrap();
    assert!(submit(&[&a]).unwrap().existing);
    complete(&fixture, &store, &a);
    assert_eq!(submit(&[&a]).unwrap().task.id, one.task.id);
    assert_eq!(submit(&[&b]).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn a_batch_may_depend_on_tasks_that_are_there() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let a = first(&fixture, &store);
    let new = |after| NewTask { after, ..fixture.new_task("l") };
    let mut batch: Vec<NewTask> = (0..40).map(|_| new(completed(&[&a]))).collect();
    batch.push(new(vec![DependencyRef::completed("20200101T000000000000Z-none")]));
    let results = store.submit_batch(batch).unwrap();
    assert!(results[..40].iter().all(Result::is_ok) && results[40].is_err());
    assert_eq!(claim_next(&store), None);
    complete(&fixture, &store, &a);
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 40);
    is_sound(&store);
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
    is_sound(&store);
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
        is_sound(&store);
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
fn gc_keeps_what_an_open_task_depends_on() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let (a, b) = (first(&fixture, &store), first(&fixture, &store));
    let task = after(&fixture, &store, &[&a, &b]);
    complete(&fixture, &store, &a);
    let all = GcPlan { age: GcAge::AllEnded, ..GcPlan::default() };
    let report = store.gc(&all).unwrap();
    assert_eq!((report.removed.len(), report.kept), (0, 1));
    complete(&fixture, &store, &b);
    assert_eq!(store.gc(&all).unwrap().removed.len(), 0);
    complete(&fixture, &store, &task);
    assert_eq!(store.gc(&all).unwrap().removed.len(), 3);
    is_sound(&store);
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

/// Exports a store and returns its lines.
fn exported(store: &Store) -> Vec<String> {
    let mut out = Vec::new();
    store.export(&mut out, &|_| true, &mut |_, _| (), &mut |_| ()).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_string).collect()
}

#[test]
fn an_import_brings_dependents_in_any_order_and_no_circle() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let (done, a) = (first(&fixture, &store), first(&fixture, &store));
    complete(&fixture, &store, &done);
    let b = after(&fixture, &store, &[&done, &a]);
    let c = after(&fixture, &store, &[&b]);
    let mut lines = exported(&store);
    lines.reverse();
    let other = fixture.store_named("other");
    let report = other.import(&mut lines.join("\n").as_bytes(), &mut |_| ()).unwrap();
    assert_eq!((report.added, report.refused.len()), (4, 0), "{:?}", report.refused);
    is_sound(&other);
    complete(&fixture, &other, &a);
    assert_eq!(claim_next(&other), Some(b.id.clone()));
    assert_eq!(state(&other, &c), "blocked");
    // Without `a`, and with `b` waiting for `c` as well as `c` for `b`.
    let circle: Vec<String> = lines
        .iter()
        .filter(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["task"]["id"] != a.id.as_str()
        })
        .map(|line| line.replace(a.id.as_str(), c.id.as_str()))
        .collect();
    let third = fixture.store_named("third");
    let report = third.import(&mut circle.join("\n").as_bytes(), &mut |_| ()).unwrap();
    assert_eq!((report.added, report.refused.len()), (1, 2), "{:?}", report.refused);
    for (_, error) in report.refused {
        assert!(error.message().contains("or waits for this task itself"), "{error}");
    }
    is_sound(&third);
}
