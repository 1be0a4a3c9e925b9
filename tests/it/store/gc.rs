//! The files of a `gc`: archive, index, and the consistency of the rest.

use std::fs;
use std::time::Duration;

use crate::testkit::store::{DAY, Fixture, check, gc, left, names_of, older_than, owner, task_file};
use lanes::internals::model::Task;
use lanes::internals::store::{GcAge, GcPlan};

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
    assert_eq!(gc(&store, &older_than(7.0)), names_of(&[&ended, &alone]));
    assert_eq!(target("w--c.json").unwrap(), older.id.as_str());
    assert_eq!(target("w--alone.json"), None);
    let claimed = store.claim(&older.id, &owner("me"), Duration::from_secs(60)).unwrap();
    fixture.respond(&store, &claimed, "done");
    assert_eq!(gc(&store, &GcPlan { age: GcAge::AllEnded, ..GcPlan::default() }), names_of(&[&older]));
    assert_eq!(target("w--c.json").unwrap(), oldest.id.as_str());
    check(&store);
}

#[test]
fn a_task_whose_answer_cannot_be_archived_stays() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let large = fixture.submit(&store, |_| {});
    let claimed = store.claim(&large.id, &owner("me"), Duration::from_secs(60)).unwrap();
    fixture.respond(&store, &claimed, &"x".repeat(100_000));
    let small = fixture.ended(&store, |_| {});
    fs::write(task_file(&store, &large.id, "response.json"), "{").unwrap();
    let plan =
        GcPlan { age: GcAge::AllEnded, archive: Some(fixture.root().join("old")), ..GcPlan::default() };
    let report = store.gc(&plan).unwrap();
    assert_eq!((report.removed, report.kept), (vec![small.id], 1));
    assert!(report.notes[0].contains("response.json"), "{:?}", report.notes);
    fs::remove_file(task_file(&store, &large.id, "response.json")).unwrap();
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
    check(&store);
}

#[test]
fn what_is_archived_can_be_imported_again() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let tasks: Vec<Task> = (0..70).map(|_| fixture.ended(&store, |_| {})).collect();
    let logs = task_file(&store, &tasks[0].id, "attempts/1");
    fs::create_dir_all(&logs).unwrap();
    fs::write(logs.join("stdout.log"), b"caf\xe9").unwrap();
    fixture.pass(8.0 * DAY);
    let inside = GcPlan { archive: Some(store.root().join("old/archive")), ..older_than(7.0) };
    assert!(store.gc(&inside).unwrap_err().to_string().contains("inside the state directory"));
    assert!(!store.root().join("old").exists());
    let archive = fixture.root().join("old/archive");
    let report = store.gc(&GcPlan { archive: Some(archive.clone()), ..older_than(7.0) }).unwrap();
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
    check(&store);
}
