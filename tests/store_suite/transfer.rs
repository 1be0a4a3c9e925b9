//! `export` and `import`.

use std::time::Duration;

use crate::testkit::store::{Fixture, idempotency_key, lane_name, owner};
use lanes::internals::model::NewTask;
use lanes::internals::store::{ImportReport, Store};

fn export(store: &Store) -> String {
    let mut out = Vec::new();
    store
        .export(&mut out, &|_| true, &mut |name, error| panic!("{name}: {error}"), &mut |what| {
            panic!("{what}")
        })
        .unwrap();
    String::from_utf8(out).unwrap()
}

fn import(store: &Store, text: &str) -> ImportReport {
    store.import(&mut text.as_bytes(), &mut |_| {}).unwrap()
}

fn counts(imported: &ImportReport) -> (u64, u64, Vec<u64>) {
    (imported.added, imported.skipped, imported.refused.iter().map(|(line, _)| *line).collect())
}

pub fn the_same_is_skipped_and_anything_else_refused_by_line(fixture: &Fixture) {
    let store = fixture.store();
    for _ in 0..3 {
        fixture.submit(&store, |_| {});
    }
    let text = export(&store);
    assert_eq!(counts(&import(&store, &text)), (0, 3, vec![]));
    let first = fixture.claim(&store, "l");
    let broken = format!("{{\"half\n\n{text}{{}}\n");
    let imported = import(&store, &broken);
    assert_eq!(counts(&imported), (0, 2, vec![1, 3, 6]));
    assert!(imported.refused[1].1.to_string().contains(first.id.as_str()));
    let last = text.lines().last().unwrap();
    let twice = format!("{last}\n{last}\n");
    let new = fixture.store_named("new");
    let imported = import(&new, &twice);
    assert_eq!(counts(&imported), (1, 1, vec![]));
}

pub fn what_is_exported_is_the_same_after_an_import(fixture: &Fixture) {
    let old = fixture.store();
    let ended = fixture.ended(&old, |_| {});
    let queued = fixture.submit(&old, |new| new.spec.key = idempotency_key("k"));
    let other = |new: &mut NewTask| new.spec.lane = lane_name("other");
    let held = fixture.submit(&old, other);
    let held = old.claim(&held.id, &owner("me"), Duration::from_secs(6000)).unwrap();
    let new = fixture.store_named("new");
    assert_eq!(counts(&import(&new, &export(&old))), (3, 0, vec![]));
    for task in [&ended, &queued, &held] {
        let there = new.task(&task.id).unwrap();
        assert_eq!((&there.status, &there.spec), (&task.status, &task.spec));
        assert_eq!(new.events(&task.id).unwrap(), old.events(&task.id).unwrap());
    }
    assert_eq!(new.response(&new.task(&ended.id).unwrap()).unwrap().unwrap().body, "done");
    fixture.check(&new);
    fixture.respond(&new, &held, "the claim goes on");
    let mut again = fixture.new_task("l");
    again.spec.key = idempotency_key("k");
    assert!(new.submit(again).unwrap().existing, "the key has moved along");
    assert_eq!(fixture.claim(&new, "l").id, queued.id);
}
