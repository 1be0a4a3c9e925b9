//! `gc`: what it removes, what it keeps, and the consistency of the rest.

use std::fs;
use std::time::Duration;

use crate::testkit::store::{Fixture, idempotency_key, lane_name, owner};
use lanes::internals::model::{AnswerOutcome, Command, FailureClass, Task};
use lanes::internals::store::{GcAge, GcPlan, Store};

const DAY: f64 = 86_400.0;

fn plan(days: f64) -> GcPlan {
    GcPlan { age: GcAge::OlderThan(Duration::from_secs_f64(days * DAY)), ..GcPlan::default() }
}

fn ids(tasks: &[&Task]) -> Vec<String> {
    tasks.iter().map(|task| task.id.to_string()).collect()
}

fn gc(store: &Store, plan: &GcPlan) -> Vec<String> {
    store.gc(plan).unwrap().removed.iter().map(ToString::to_string).collect()
}

fn left(store: &Store) -> Vec<String> {
    let mut left = Vec::new();
    store.scan(&mut |name, _| left.push(name.to_string())).unwrap();
    left
}

fn sound(store: &Store) {
    let report = store.fsck(&mut |_, _| {}).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn only_tasks_that_ended_long_ago_go() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let open = fixture.submit(&store, |_| {});
    let held = fixture.submit(&store, |_| {});
    store.claim(&held.id, &owner("me"), Duration::from_secs(600)).unwrap();
    let slow = fixture.submit(&store, |_| {});
    let first = fixture.ended(&store, |_| {});
    let other = fixture.ended(&store, |new| new.spec.lane = lane_name("other"));
    fixture.pass(8.0 * DAY);
    let young = fixture.ended(&store, |_| {});
    let cancel = Command::Cancel { reason: None, by: "me".into() };
    let (slow, _) = store.apply(&slow.id, &cancel).unwrap();

    let dry = store.gc(&GcPlan { dry_run: true, ..plan(7.0) }).unwrap();
    assert_eq!(dry.removed.len(), 2);
    assert_eq!(left(&store).len(), 6, "a dry run changes nothing");
    assert_eq!(gc(&store, &GcPlan { lane: Some("other".into()), ..plan(7.0) }), ids(&[&other]));
    assert_eq!(gc(&store, &plan(7.0)), ids(&[&first]));
    let mut expected = ids(&[&open, &held, &slow, &young]);
    expected.sort();
    assert_eq!(left(&store), expected, "the time of the end counts, not that of the submit");
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    sound(&store);
    assert_eq!(fixture.claim(&store, "l").id, open.id);
    assert!(fixture.store().queue_depth(&lane_name("l")).is_ok());
}

#[test]
fn an_age_of_zero_must_be_meant() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let ended = fixture.ended(&store, |_| {});
    assert!(store.gc(&plan(0.0)).unwrap_err().to_string().contains("--all-ended"));
    assert_eq!(gc(&store, &GcPlan { age: GcAge::AllEnded, ..GcPlan::default() }), ids(&[&ended]));
}

#[test]
fn links_between_tasks_keep_leading_somewhere() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let fail = |task: &Task| {
        let claimed = store.claim(&task.id, &owner("me"), Duration::from_secs(60)).unwrap();
        fixture.answer(&store, &claimed, "no", AnswerOutcome::Failed(FailureClass::Error));
    };
    let old = fixture.submit(&store, |_| {});
    fail(&old);
    let again = store.retry(&old.id, "me").unwrap().task;
    let parent = fixture.ended(&store, |_| {});
    let middle = fixture.ended(&store, |new| {
        new.spec.metadata.insert("parent_task_id".into(), parent.id.as_str().into());
    });
    let child = fixture.submit(&store, |new| {
        new.spec.metadata.insert("parent_task_id".into(), middle.id.as_str().into());
    });
    fixture.pass(8.0 * DAY);
    let report = store.gc(&plan(7.0)).unwrap();
    assert_eq!((report.removed.len(), report.kept), (0, 3), "open tasks keep what they refer to");
    fail(&again);
    assert_eq!(gc(&store, &plan(7.0)), ids(&[&old]));
    assert_eq!(store.task(&again.id).unwrap().spec.retry_of.as_deref(), Some(old.id.as_str()));
    fixture.pass(8.0 * DAY);
    assert_eq!(gc(&store, &plan(7.0)), ids(&[&again]));
    let cancel = Command::Cancel { reason: None, by: "me".into() };
    store.apply(&child.id, &cancel).unwrap();
    assert_eq!(gc(&store, &plan(7.0)), ids(&[&parent, &middle]));
}

#[test]
fn keys_and_correlations_go_with_their_task() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let keyed = |store: &Store| {
        let mut new = fixture.new_task("l");
        new.spec.key = idempotency_key("k");
        fixture.pass(0.001);
        store.submit(new).unwrap()
    };
    let first = keyed(&store).task;
    let claimed = store.claim(&first.id, &owner("me"), Duration::from_secs(60)).unwrap();
    fixture.respond(&store, &claimed, "done");
    assert!(keyed(&store).existing);
    fixture.pass(8.0 * DAY);
    assert_eq!(gc(&store, &plan(7.0)), ids(&[&first]));
    sound(&store);
    assert!(!keyed(&store).existing, "the key lives as long as its task");
}

#[test]
fn a_correlation_leads_to_the_newest_task_that_stays() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let oldest = fixture.submit(&store, |_| {});
    let older = fixture.submit(&store, |_| {});
    let ended = fixture.ended(&store, |_| {});
    let alone = fixture.ended(&store, |new| new.spec.correlation_id = "alone".into());
    let target = |name: &str| {
        let path = store.root().join("indexes/correlations").join(name);
        fs::read(path)
            .ok()
            .map(|bytes| lanes::internals::model::json::parse_object(&bytes).unwrap()["task_id"].clone())
    };
    assert_eq!(target("w--c.json").unwrap(), ended.id.as_str());
    fixture.pass(8.0 * DAY);
    assert_eq!(gc(&store, &plan(7.0)), ids(&[&ended, &alone]));
    assert_eq!(target("w--c.json").unwrap(), older.id.as_str());
    assert_eq!(target("w--alone.json"), None);
    let claimed = store.claim(&older.id, &owner("me"), Duration::from_secs(60)).unwrap();
    fixture.respond(&store, &claimed, "done");
    assert_eq!(gc(&store, &GcPlan { age: GcAge::AllEnded, ..GcPlan::default() }), ids(&[&older]));
    assert_eq!(target("w--c.json").unwrap(), oldest.id.as_str());
    sound(&store);
}

#[test]
fn a_task_whose_answer_cannot_be_archived_stays() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let large = fixture.submit(&store, |_| {});
    let claimed = store.claim(&large.id, &owner("me"), Duration::from_secs(60)).unwrap();
    fixture.respond(&store, &claimed, &"x".repeat(100_000));
    let small = fixture.ended(&store, |_| {});
    fs::write(crate::testkit::store::task_file(&store, &large.id, "response.json"), "{").unwrap();
    let plan =
        GcPlan { age: GcAge::AllEnded, archive: Some(fixture.root().join("old")), ..GcPlan::default() };
    let report = store.gc(&plan).unwrap();
    assert_eq!((report.removed, report.kept), (vec![small.id], 1));
    assert!(report.notes[0].contains("response.json"), "{:?}", report.notes);
    fs::remove_file(crate::testkit::store::task_file(&store, &large.id, "response.json")).unwrap();
    let report = store.gc(&plan).unwrap();
    assert_eq!((report.removed.len(), report.kept, report.archive), (0, 1, None));
    assert!(report.notes[0].contains("its answer is gone"), "{:?}", report.notes);
    let mut unreadable = Vec::new();
    let mut out = Vec::new();
    store
        .export(&mut out, &|_| true, &mut |_, error| unreadable.push(error.to_string()), &mut |_| ())
        .unwrap();
    assert!(out.is_empty() && unreadable[0].contains("without --archive"), "{unreadable:?}");
    assert_eq!(store.gc(&GcPlan { archive: None, ..plan }).unwrap().removed, [large.id]);
    sound(&store);
}

#[test]
fn the_feed_drops_old_entries_and_shows_where_it_begins() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for _ in 0..5 {
        fixture.ended(&store, |_| {});
    }
    assert_eq!((store.feed_start().unwrap(), store.feed_end().unwrap()), (Some(1), 15));
    fixture.pass(8.0 * DAY);
    assert_eq!(store.gc(&plan(7.0)).unwrap().feed_dropped, 14);
    assert_eq!((store.feed_start().unwrap(), store.feed_end().unwrap()), (Some(15), 15));
    let next = fixture.submit(&store, |_| {});
    let news = store.feed_since(15, 10).unwrap();
    assert_eq!((news.len(), news[0].seq, &news[0].task_id), (1, 16, &next.id));
    sound(&store);
}

#[test]
fn what_is_archived_can_be_imported_again() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let tasks: Vec<Task> = (0..70).map(|_| fixture.ended(&store, |_| {})).collect();
    let logs = store.attempts_dir(&tasks[0].id).join("1");
    fs::create_dir_all(&logs).unwrap();
    fs::write(logs.join("stdout.log"), b"caf\xe9").unwrap();
    fixture.pass(8.0 * DAY);
    let inside = GcPlan { archive: Some(store.root().join("old/archive")), ..plan(7.0) };
    assert!(store.gc(&inside).unwrap_err().to_string().contains("inside the state directory"));
    assert!(!store.root().join("old").exists());
    let archive = fixture.root().join("old/archive");
    let report = store.gc(&GcPlan { archive: Some(archive.clone()), ..plan(7.0) }).unwrap();
    assert_eq!(report.removed.len(), 70);
    let path = report.archive.unwrap();
    assert!(path.starts_with(&archive));
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 70);
    assert!(left(&store).is_empty());
    let mut input = std::io::BufReader::new(fs::File::open(&path).unwrap());
    let imported = store.import(&mut input, &mut |_| {}).unwrap();
    assert_eq!((imported.added, imported.refused.len()), (70, 0));
    for task in &tasks {
        let back = store.task(&task.id).unwrap();
        assert_eq!(back, *task);
        assert_eq!(store.response(&back).unwrap().unwrap().body, "done");
    }
    assert_eq!(fs::read(logs.join("stdout.log")).unwrap(), b"caf\xe9");
    sound(&store);
}

#[test]
fn removing_during_claims_and_answers_loses_nothing() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for _ in 0..40 {
        fixture.ended(&store, |_| {});
    }
    fixture.pass(8.0 * DAY);
    for _ in 0..40 {
        fixture.submit(&store, |_| {});
    }
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| fixture.store().gc(&plan(7.0)).unwrap());
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let store = fixture.store();
                let want = lanes::internals::store::LaneQuery {
                    lanes: vec![lane_name("l")],
                    filter: Default::default(),
                };
                while let Some(task) = store.claim_next(&want, &owner("t"), Duration::from_secs(600)).unwrap()
                {
                    fixture.respond(&store, &task, "done");
                }
            });
        }
    });
    assert_eq!(left(&store).len(), 40);
    let mut done = 0;
    store.scan(&mut |_, task| done += usize::from(task.unwrap().status.is_terminal())).unwrap();
    assert_eq!(done, 40);
    sound(&store);
}
