//! Copies that contradict their tasks, are planted, or block a name: none of them hides a task, an answer or an
//! event, or makes anything happen twice.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::testkit::store::{Fixture, idempotency_key, in_lane, lane_name, new_task, note, owner, task_file};
use lanes::internals::model::{Event, Task, Time};
use lanes::internals::store::{Clock, Entropy, FeedEntry, FsckReport, Severity, Store, StoreOptions};
use lanes::{ErrorKind, Result};

fn append(path: &Path, text: &str) {
    let content = fs::read_to_string(path).unwrap();
    fs::write(path, content + text).unwrap();
}

/// A line of events.jsonl with a number that it cannot have.
fn planted(n: u64) -> String {
    format!(
        "{{\"created_at\":\"2026-11-21T07:00:00Z\",\"data\":{{}},\"message\":\"m\",\"n\":{n},\"type\":\"note\"}}\n"
    )
}

/// The numbers in the file itself.
fn written(store: &Store, task: &Task) -> Vec<u64> {
    let text = fs::read_to_string(task_file(store, &task.id, "events.jsonl")).unwrap();
    let number = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_u64().unwrap_or_default()
    };
    text.lines().map(number).collect()
}

fn shown(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.message.as_str()).collect()
}

#[test]
fn events_that_did_not_happen_are_cut_off_however_many() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let task = fixture.submit(&store, |_| {});
    let undone: String = (2..2000).map(planted).collect();
    assert!(undone.len() > 64 * 1024);
    append(&task_file(&store, &task.id, "events.jsonl"), &undone);
    store.apply(&task.id, &note("this happened")).unwrap();
    assert_eq!(written(&store, &task), [1, 2]);
    assert_eq!(shown(&store.events(&task.id).unwrap())[1], "this happened");
}

#[test]
fn a_planted_number_hides_no_later_event() {
    for n in [20_000, u64::MAX - 1, u64::MAX] {
        for follows in
            ["", "{\"created_at\":\"2026-11-21T07:00:00Z\",\"message\":\"theirs\",\"type\":\"x\"}\n"]
        {
            let fixture = Fixture::new();
            let store = fixture.store();
            let task = fixture.submit(&store, |_| {});
            append(&task_file(&store, &task.id, "events.jsonl"), &(planted(n) + follows));
            let report = store.fsck(&mut |_, _| {}).unwrap();
            assert_eq!(report.counts.keys().copied().collect::<Vec<_>>(), ["events-undone"], "{n}");
            for text in ["one", "two", "three"] {
                store.apply(&task.id, &note(text)).unwrap();
            }
            let events = store.events(&task.id).unwrap();
            let printed = shown(&events);
            assert!(["one", "two", "three"].iter().all(|text| printed.contains(text)), "{n}: {printed:?}");
            let last = store.last_event(&store.task(&task.id).unwrap()).unwrap().unwrap();
            assert_eq!(last.message, "three", "{n}");
            store.repair(&mut |_, _| {}).unwrap();
            assert!(store.fsck(&mut |_, _| {}).unwrap().findings.is_empty(), "{n}");
        }
    }
}

#[test]
fn a_damaged_key_file_lets_nothing_be_submitted_twice() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let keyed = || {
        let mut new = new_task("l", fixture.root());
        new.spec.key = idempotency_key("k");
        new
    };
    let first = store.submit(keyed()).unwrap().task;
    let file = fs::read_dir(store.root().join("indexes/keys")).unwrap().next().unwrap().unwrap().path();
    for garbage in ["", "\0\0\0\0", "no id at all\n"] {
        fs::write(&file, garbage).unwrap();
        let again = store.submit(keyed()).unwrap();
        assert_eq!((again.existing, &again.task.id), (true, &first.id), "{garbage:?}");
        fs::write(&file, garbage).unwrap();
        let batch: Vec<_> = store.submit_batch(vec![keyed(), keyed()]).unwrap();
        assert!(batch.into_iter().all(|done| done.unwrap().task.id == first.id), "{garbage:?}");
    }
    // The key of a removed task does not block a submit.
    fs::write(&file, "garbage").unwrap();
    fs::remove_dir_all(store.root().join("tasks").join(first.id.as_str())).unwrap();
    assert!(!store.submit(keyed()).unwrap().existing);
}

#[test]
fn what_stands_in_the_way_of_a_large_answer_does_not_hide_it() {
    let plants: [fn(&Path); 3] = [
        |path| fs::create_dir(path).unwrap(),
        |path| symlink("/nowhere", path).unwrap(),
        |path| fs::write(path, "{").unwrap(),
    ];
    let body = "0123456789".repeat(4000);
    for (n, plant) in plants.iter().enumerate() {
        let fixture = Fixture::new();
        let store = fixture.store();
        fixture.submit(&store, |_| {});
        let task = fixture.claim(&store, "l");
        plant(&task_file(&store, &task.id, "response.json"));
        fixture.respond(&store, &task, &body);
        let task = store.task(&task.id).unwrap();
        assert_eq!(store.response(&task).unwrap().unwrap().body, body, "{n}");
        store.repair(&mut |_, _| {}).unwrap();
        assert_eq!(store.response(&task).unwrap().unwrap().body, body, "{n}: after a repair");
    }
}

#[test]
fn two_processes_that_draw_the_same_id_get_two_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let clock = Clock::fixed(Time::parse("2026-11-21T07:00:00Z").unwrap());
        let options = StoreOptions { clock, entropy: Entropy::seeded(1), ..StoreOptions::default() };
        Store::open(&dir.path().join("state"), options).unwrap()
    };
    let one = open().submit(new_task("l", dir.path())).unwrap().task;
    let two = open().submit(new_task("l", dir.path())).unwrap().task;
    let batch = open().submit_batch(vec![new_task("l", dir.path())]).unwrap();
    let three = batch.into_iter().next().unwrap().unwrap().task;
    assert!(one.id != two.id && two.id != three.id && one.id != three.id);
    assert_eq!(open().queue_depth(&lane_name("l")).unwrap(), 3);
}

#[test]
fn the_depth_of_a_lane_counts_what_has_come_due() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let later = Time::from_micros(store.now().wall.micros() + 30_000_000);
    fixture.submit(&store, |new| new.not_before = Some(later));
    fixture.submit(&store, |_| {});
    fixture.submit(&store, |_| {});
    fixture.claim(&store, "l");
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 1);
    fixture.pass(31.0);
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 2, "one was scheduled");
    fixture.pass(31.0);
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 3, "one was claimed, and its lease is over");
    for left in [2, 1, 0] {
        store.claim_next(&in_lane("l"), &owner("me"), Duration::from_secs(60)).unwrap().unwrap();
        assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), left);
    }
}

#[test]
fn the_feed_takes_back_what_did_not_happen() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let task = fixture.submit(&store, |_| {});
    store.apply(&task.id, &note("this happened")).unwrap();
    // As a power cut may leave it: lines whose changes were not synced.
    let feed = store.root().join("feed.jsonl");
    let text = fs::read_to_string(&feed).unwrap();
    let last = text.lines().last().unwrap();
    let other = task.id.as_str().replace("2026", "2027");
    append(&feed, &(last.replace("\"n\":2", "\"n\":3").replace("\"seq\":2", "\"seq\":3") + "\n"));
    let created = text.lines().next().unwrap().replace(task.id.as_str(), &other);
    append(&feed, &(created.replace("\"seq\":1", "\"seq\":4") + "\n"));
    assert_eq!(store.feed_since(0, 9).unwrap().len(), 4);
    fs::remove_file(store.root().join("indexes/state")).unwrap();
    store.apply(&task.id, &note("and then this")).unwrap();
    let entries: Vec<FeedEntry> = store.feed_since(0, 9).unwrap();
    let printed: Vec<&str> = entries.iter().map(|entry| entry.event.message.as_str()).collect();
    assert_eq!(printed, ["submitted to l", "this happened", "and then this"]);
    let report = store.fsck(&mut |_, _| {}).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn numbers_that_were_taken_back_are_not_given_out_again() {
    let fixture = Fixture::new();
    let store = fixture.store();
    fixture.submit(&store, |_| {});
    append(&store.root().join("feed.jsonl"), "{\"seq\": 1000001, \"withdrawn\": true}\n");
    fs::remove_file(store.root().join("indexes/state")).unwrap();
    fixture.submit(&store, |_| {});
    let numbers: Vec<u64> = store.feed_since(0, 9).unwrap().iter().map(|entry| entry.seq).collect();
    assert_eq!(numbers, [1, 2_000_001]);
}

fn fsck(store: &Path, repair: bool) -> Result<FsckReport> {
    Store::fsck_at(store, StoreOptions::default(), repair, &mut |_, _| {})
}

#[test]
fn a_store_that_cannot_be_opened_can_be_checked_and_repaired() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("format-unreadable", |root| fs::write(root.join("format.json"), "{").unwrap()),
        ("format-unreadable", |root| {
            fs::remove_file(root.join("format.json")).unwrap();
            fs::create_dir(root.join("format.json")).unwrap();
        }),
        ("not-a-directory", |root| {
            fs::remove_dir_all(root.join("tasks")).unwrap();
            symlink("/nowhere", root.join("tasks")).unwrap();
        }),
        ("not-a-directory", |root| {
            fs::remove_dir_all(root.join("tasks")).unwrap();
            fs::write(root.join("tasks"), "a file").unwrap();
        }),
    ];
    for (code, damage) in damages {
        let fixture = Fixture::new();
        let root = fixture.root().join("state");
        fixture.submit(&fixture.store(), |_| {});
        damage(&root);
        let error = Store::open(&root, StoreOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{code}: {error}");
        assert!(error.to_string().contains("lanes fsck --repair"), "{code}: {error}");
        let report = fsck(&root, false).unwrap();
        assert_eq!(report.findings[0].code, code);
        assert_eq!(report.worst(), Some(Severity::Blocking));
        assert!(!root.join("quarantine").exists(), "{code}: a check changes nothing");
        let report = fsck(&root, true).unwrap();
        assert!(report.worst().is_none() && report.counts.contains_key(code), "{code}: {report:?}");
        let store = fixture.store();
        fixture.submit(&store, |_| {});
        assert!(fsck(&root, false).unwrap().findings.is_empty(), "{code}");
    }
    assert_eq!(fsck(Path::new("/nowhere/at/all"), true).unwrap_err().kind(), ErrorKind::NotFound);
}
