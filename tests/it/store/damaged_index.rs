//! Derived files that are damaged, lost or outdated: the queue still finds every task.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::testkit::clock::TestClock;
use crate::testkit::store::{idempotency_key, in_lane, lane_name, new_task, note, owner};
use lanes::internals::model::{Command, NewTask, Task, json};
use lanes::internals::store::{Severity, Store, SubmittedTask};

const LANE: &str = "a lane";

struct Fixture {
    dir: tempfile::TempDir,
    clock: TestClock,
}

impl Fixture {
    fn new() -> Self {
        // Later than the kernel's clock, so that these ids are the newest by any measure.
        let clock = TestClock::at(1_900_000_000_000_000);
        Self { dir: tempfile::tempdir().unwrap(), clock }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn open(&self) -> Store {
        Store::open(&self.state(), self.clock.options()).unwrap()
    }

    fn submit(&self, store: &Store, key: Option<String>, delay: f64) -> SubmittedTask {
        self.clock.pass(1000);
        let not_before = (delay > 0.0).then(|| self.clock.now().plus_seconds(delay));
        let mut new = NewTask { not_before, ..new_task(LANE, Path::new("/")) };
        new.spec.key = key.and_then(idempotency_key);
        store.submit(new).unwrap()
    }

    /// A task as another implementation adds one, unknown to the index.
    fn add_foreign(&self, like: &Task, name: &str) {
        let mut object = like.to_public_object();
        object.retain(|key, _| key != "idempotency_key");
        let text = json::to_text(&object).replace(like.id.as_str(), name);
        let dir = self.state().join("tasks").join(name);
        std::fs::create_dir(&dir).unwrap();
        std::fs::copy(like.request_path.as_str(), dir.join("request.md")).unwrap();
        std::fs::write(dir.join("task.json"), text).unwrap();
    }
}

fn claim(store: &Store) -> Option<Task> {
    store.claim_next(&in_lane(LANE), &owner("a"), Duration::from_secs(60)).unwrap()
}

/// The only directory below `dir` whose name begins with `prefix`.
fn below(dir: &Path, prefix: &str) -> PathBuf {
    let found = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    found.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix)).unwrap()
}

fn remove(path: &Path) {
    if path.is_dir() {
        std::fs::remove_dir_all(path).unwrap();
    } else {
        std::fs::remove_file(path).unwrap();
    }
}

/// Puts a directory in the place of a file, with `content` in it unless that is empty.
fn turn_into_directory(path: &Path, content: &str) {
    if path.exists() {
        remove(path);
    }
    std::fs::create_dir_all(path.join(content)).unwrap();
}

fn append(path: &Path, bytes: &[u8]) {
    std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

type Damage = fn(&Path);

/// Ways to damage the index; they get its directory.
const DAMAGES: &[(&str, Damage)] = &[
    ("all of it is gone", |index| remove(index)),
    ("the state is gone", |index| remove(&index.join("state"))),
    ("the state is empty", |index| std::fs::write(index.join("state"), "").unwrap()),
    ("the state is noise", |index| std::fs::write(index.join("state"), [0xff; 640]).unwrap()),
    ("the state is too long", |index| std::fs::write(index.join("state"), vec![b'x'; 9000]).unwrap()),
    ("the state is cut", |index| {
        let text = std::fs::read_to_string(index.join("state")).unwrap();
        std::fs::write(index.join("state"), &text[..20]).unwrap();
    }),
    ("the state is a directory", |index| {
        remove(&index.join("state"));
        std::fs::create_dir_all(index.join("state/full")).unwrap();
    }),
    ("the state is a link", |index| {
        remove(&index.join("state"));
        std::os::unix::fs::symlink("/nowhere", index.join("state")).unwrap();
    }),
    ("the state is of another boot", |index| {
        let text = std::fs::read_to_string(index.join("state")).unwrap();
        let boot = text.split(' ').nth(1).unwrap().to_string();
        std::fs::write(index.join("state"), text.replace(&boot, &"0".repeat(boot.len()))).unwrap();
        remove(&index.join("lanes"));
        std::fs::create_dir(index.join("lanes")).unwrap();
    }),
    ("the state is of another version", |index| {
        let text = std::fs::read_to_string(index.join("state")).unwrap();
        std::fs::write(index.join("state"), text.replacen("index-", "index-9", 1)).unwrap();
        remove(&index.join("lanes"));
    }),
    ("the state holds the largest numbers", |index| {
        let text = std::fs::read_to_string(index.join("state")).unwrap();
        let mut words: Vec<&str> = text.split_whitespace().collect();
        (words[3], words[5]) = ("18446744073709551615", "18446744073709551615");
        std::fs::write(index.join("state"), words.join(" ")).unwrap();
    }),
    ("the lanes are gone", |index| remove(&index.join("lanes"))),
    ("the keys are gone", |index| remove(&index.join("keys"))),
    ("a key is a directory", |index| turn_into_directory(&below(&index.join("keys"), ""), "")),
    ("a key is a full directory", |index| turn_into_directory(&below(&index.join("keys"), ""), "full")),
    ("the packed keys are a directory", |index| turn_into_directory(&index.join("keys/packed"), "full")),
    ("the keys are a file", |index| {
        remove(&index.join("keys"));
        std::fs::write(index.join("keys"), "x").unwrap();
    }),
    ("a correlation is a directory", |index| {
        turn_into_directory(&below(&index.join("correlations"), ""), "");
    }),
    ("a correlation is a full directory, and the state is gone", |index| {
        turn_into_directory(&below(&index.join("correlations"), ""), "full");
        remove(&index.join("state"));
    }),
    ("the correlations are a file", |index| {
        remove(&index.join("correlations"));
        std::fs::write(index.join("correlations"), "x").unwrap();
    }),
    ("a sorted set is gone", |index| remove(&below(&index.join("lanes"), "a-lane").join("ready"))),
    ("the lanes are a file", |index| {
        remove(&index.join("lanes"));
        std::fs::write(index.join("lanes"), "x").unwrap();
    }),
    ("a sorted set is a file", |index| {
        let set = below(&index.join("lanes"), "a-lane").join("held");
        remove(&set);
        std::fs::write(set, "x").unwrap();
    }),
    ("a chunk is noise", |index| std::fs::write(chunk(index, "ready"), [0xfe; 300]).unwrap()),
    ("a chunk is zeros", |index| std::fs::write(chunk(index, "ready"), [0; 300]).unwrap()),
    ("a chunk is cut", |index| {
        let bytes = std::fs::read(chunk(index, "ready")).unwrap();
        std::fs::write(chunk(index, "ready"), &bytes[..bytes.len() - 30]).unwrap();
    }),
    ("a line of a chunk is noise", |index| {
        let text = std::fs::read_to_string(chunk(index, "ready")).unwrap();
        std::fs::write(chunk(index, "ready"), text.replacen('\t', " ", 2)).unwrap();
    }),
    ("a chunk is a directory", |index| {
        let chunk = chunk(index, "ready");
        remove(&chunk);
        std::fs::create_dir(chunk).unwrap();
    }),
    ("the count is gone", |index| remove(&below(&index.join("lanes"), "a-lane").join("count"))),
    ("the count is noise", |index| {
        std::fs::write(below(&index.join("lanes"), "a-lane").join("count"), "many").unwrap();
    }),
    ("the count is too long", |index| {
        std::fs::write(below(&index.join("lanes"), "a-lane").join("count"), [b'7'; 100]).unwrap();
    }),
];

fn chunk(index: &Path, set: &str) -> PathBuf {
    below(&below(&index.join("lanes"), "a-lane").join(set), "0")
}

/// The first operation on the damaged store, other than a claim, before all tasks are claimed.
const FIRST: [&str; 3] = ["peek", "submit", "note"];

#[test]
fn a_damaged_index_hides_no_task() {
    for (number, (what, damage)) in DAMAGES.iter().enumerate() {
        for first in ["claim", FIRST[number % FIRST.len()]] {
            let place = format!("{what}, then {first}");
            let fixture = Fixture::new();
            let store = fixture.open();
            let held = fixture.submit(&store, None, 0.0).task.id;
            claim(&store).unwrap();
            let later = fixture.submit(&store, None, 30.0).task.id;
            let mut ready: Vec<_> = (0..3).map(|_| fixture.submit(&store, None, 0.0).task.id).collect();
            let keyed = fixture.submit(&store, Some("k".into()), 0.0).task.id;
            ready.push(keyed.clone());
            damage(&fixture.state().join("indexes"));
            let mut given = Vec::new();
            match first {
                "claim" => given.push(claim(&store).unwrap().id),
                "peek" => {
                    assert_eq!(store.peek_next(&in_lane(LANE)).unwrap().unwrap().id, ready[0], "{place}")
                }
                "submit" => ready.push(fixture.submit(&store, None, 0.0).task.id),
                _ => drop(store.apply(&held, &note("still here")).unwrap()),
            }
            let again = fixture.submit(&store, Some("k".into()), 0.0);
            assert!(again.existing && again.task.id == keyed, "{place}: the key is known");
            assert_eq!(
                store.queue_depth(&lane_name(LANE)).unwrap() as usize,
                ready.len() - given.len(),
                "{place}"
            );
            given.extend(std::iter::from_fn(|| claim(&store).map(|task| task.id)));
            assert_eq!(given, ready, "{place}");
            fixture.clock.pass(120_000_000);
            let mut rest: Vec<_> = std::iter::from_fn(|| claim(&store).map(|task| task.id)).collect();
            ready.extend([held, later]);
            rest.sort();
            ready.sort();
            assert_eq!(rest, ready, "{place}: all leases are over");
            let seqs: Vec<u64> = store.feed_since(0, 1000).unwrap().iter().map(|entry| entry.seq).collect();
            assert!(seqs.is_sorted_by(|a, b| a < b) || what.contains("largest"), "{place}: {seqs:?}");
        }
    }
}

#[test]
fn a_chunk_that_is_gone_hides_no_task_for_long() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let mut ids: Vec<_> = (0..3).map(|_| fixture.submit(&store, None, 0.0).task.id).collect();
    remove(&chunk(&fixture.state().join("indexes"), "ready"));
    ids.push(fixture.submit(&store, None, 0.0).task.id);
    let mut given: Vec<_> = std::iter::from_fn(|| claim(&store).map(|task| task.id)).collect();
    given.sort();
    assert_eq!(given, ids);
    assert_eq!(store.queue_depth(&lane_name(LANE)).unwrap(), 0);
}

#[test]
fn a_chunk_that_is_gone_is_noticed_by_the_next_claim() {
    for (set, changed_before) in
        ["ready", "later", "held"].into_iter().flat_map(|set| [(set, false), (set, true)])
    {
        let fixture = Fixture::new();
        let store = fixture.open();
        let held = fixture.submit(&store, None, 0.0).task.id;
        claim(&store).unwrap();
        let later = fixture.submit(&store, None, 30.0).task.id;
        let ready = fixture.submit(&store, None, 0.0).task.id;
        remove(&chunk(&fixture.state().join("indexes"), set));
        let mut expected = vec![held, later, ready.clone()];
        if changed_before {
            expected.push(fixture.submit(&store, None, 30.0).task.id);
            let other = fixture.submit(&store, None, 0.0).task.id;
            store.claim(&other, &owner("me"), Duration::from_secs(60)).unwrap();
            expected.push(other);
        }
        assert_eq!(claim(&store).unwrap().id, ready, "{set}");
        assert!(claim(&store).is_none(), "{set}");
        fixture.clock.pass(120_000_000);
        let mut rest: Vec<_> = std::iter::from_fn(|| claim(&store).map(|task| task.id)).collect();
        rest.sort();
        expected.sort();
        assert_eq!(rest, expected, "{set} {changed_before}");
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn any_file_of_the_index_may_be_deleted() {
    let mut number = 0;
    loop {
        let fixture = Fixture::new();
        let store = fixture.open();
        let held = fixture.submit(&store, None, 0.0).task.id;
        claim(&store).unwrap();
        let later = fixture.submit(&store, None, 30.0).task.id;
        let keyed = fixture.submit(&store, Some("k".into()), 0.0).task.id;
        let files = files_below(&fixture.state().join("indexes"));
        let Some(file) = files.get(number) else { break };
        remove(file);
        let shown = file.strip_prefix(fixture.state()).unwrap().display();
        assert_eq!(claim(&store).unwrap().id, keyed, "{shown}");
        assert_eq!(fixture.submit(&store, Some("k".into()), 0.0).task.id, keyed, "{shown}");
        fixture.clock.pass(120_000_000);
        let mut rest: Vec<_> = std::iter::from_fn(|| claim(&store).map(|task| task.id)).collect();
        let mut expected = [held, later, keyed];
        rest.sort();
        expected.sort();
        assert_eq!(rest, expected, "{shown}");
        number += 1;
    }
    assert!(number >= 7, "only {number} files were deleted");
}

#[test]
fn fsck_puts_a_damaged_index_right() {
    for (what, damage) in DAMAGES {
        let fixture = Fixture::new();
        let store = fixture.open();
        fixture.submit(&store, Some("k".into()), 0.0);
        claim(&store).unwrap();
        fixture.submit(&store, None, 0.0);
        damage(&fixture.state().join("indexes"));
        store.fsck(&mut |_, _| {}).unwrap();
        store.repair(&mut |_, _| {}).unwrap();
        let left = store.fsck(&mut |_, _| {}).unwrap();
        assert!(left.findings.is_empty(), "{what}: {:?}", left.findings);
        assert_eq!(store.queue_depth(&lane_name(LANE)).unwrap(), 1, "{what}");
    }
}

#[test]
fn a_directory_in_the_place_of_a_key_is_found_and_kept() {
    for repairs in [true, false] {
        let fixture = Fixture::new();
        let store = fixture.open();
        let keyed = fixture.submit(&store, Some("k".into()), 0.0).task.id;
        let key = below(&fixture.state().join("indexes/keys"), "");
        turn_into_directory(&key, "full");
        let report = store.fsck(&mut |_, _| {}).unwrap();
        assert_eq!((report.counts["not-a-file"], report.worst()), (1, Some(Severity::Damage)));
        if repairs {
            let report = store.repair(&mut |_, _| {}).unwrap();
            assert!(report.findings.iter().all(|finding| finding.repaired), "{:?}", report.findings);
        }
        assert_eq!(fixture.submit(&store, Some("k".into()), 0.0).task.id, keyed);
        assert!(key.is_file());
        let kept = below(&fixture.state().join("quarantine"), "").join("indexes/keys");
        assert!(kept.join(key.file_name().unwrap()).join("full").is_dir());
    }
}

#[test]
fn half_lines_and_zeros_at_the_end_are_cut_off() {
    let tails: [&[u8]; 5] = [b"{\"half\": ", &[0; 5000], b"\0\0\0{\"half\"", b"\xff\xfe", b"x"];
    for tail in tails {
        let fixture = Fixture::new();
        let store = fixture.open();
        let task = fixture.submit(&store, None, 0.0).task;
        store.apply(&task.id, &note("before")).unwrap();
        let events = fixture.state().join("tasks").join(task.id.as_str()).join("events.jsonl");
        let feed = fixture.state().join("feed.jsonl");
        append(&events, tail);
        append(&feed, tail);
        let messages = |store: &Store| -> Vec<String> {
            store.events(&task.id).unwrap().into_iter().map(|event| event.message).collect()
        };
        assert_eq!(messages(&store)[1..], ["before"], "readers skip it");
        assert_eq!(store.last_event(&store.task(&task.id).unwrap()).unwrap().unwrap().message, "before");
        assert_eq!((store.feed_since(0, 9).unwrap().len(), store.feed_end().unwrap()), (2, 2));
        store.apply(&task.id, &note("after")).unwrap();
        assert_eq!(messages(&store)[1..], ["before", "after"], "the next line is not joined to it");
        let seqs: Vec<u64> = store.feed_since(0, 9).unwrap().iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, [1, 2, 3]);
        for file in [events, feed] {
            let text = std::fs::read_to_string(file).unwrap();
            assert_eq!(text.lines().count(), 3, "{text:?}");
            assert!(text.lines().all(|line| json::parse_object(line.as_bytes()).is_ok()), "{text:?}");
        }
    }
}

#[test]
fn a_last_line_of_any_length_is_seen() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let task = fixture.submit(&store, None, 0.0).task;
    store.apply(&task.id, &note(&"long ".repeat(24_000))).unwrap();
    assert_eq!(store.feed_end().unwrap(), 2);
    assert_eq!(store.last_event(&store.task(&task.id).unwrap()).unwrap().unwrap().n, Some(2));
    remove(&fixture.state().join("indexes"));
    store.apply(&task.id, &note("after")).unwrap();
    let entries = store.feed_since(0, 9).unwrap();
    assert!(entries.iter().map(|entry| entry.seq).is_sorted_by(|a, b| a < b), "no number twice");
    assert_eq!(entries.last().unwrap().event.message, "after");
    assert_eq!(entries.len(), 3);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the feed is moved aside")]
fn what_could_not_be_noted_is_noted_later() {
    use std::fs::rename;
    let fixture = Fixture::new();
    let store = fixture.open();
    let (feed, aside) = (fixture.state().join("feed.jsonl"), fixture.state().join("aside"));
    let without_feed = |change: &dyn Fn() -> Task| {
        rename(&feed, &aside).unwrap();
        std::fs::create_dir(&feed).unwrap();
        let task = change();
        std::fs::remove_dir(&feed).unwrap();
        rename(&aside, &feed).unwrap();
        task
    };
    let first = fixture.submit(&store, None, 0.0).task;
    let task = without_feed(&|| fixture.submit(&store, Some("k".into()), 0.0).task);
    assert_eq!(store.queue_depth(&lane_name(LANE)).unwrap(), 2, "it is there");
    assert!(fixture.submit(&store, Some("k".into()), 0.0).existing, "and known");
    assert_eq!(
        without_feed(&|| store.claim(&task.id, &owner("a"), Duration::from_secs(60)).unwrap()).fence,
        1
    );
    assert_eq!(claim(&store).map(|task| task.id), Some(first.id));
    assert_eq!(claim(&store).map(|task| task.id), None, "it is held");
    let entries = store.feed_since(0, 9).unwrap();
    let kinds: Vec<&str> = entries.iter().map(|entry| entry.event.kind.as_str()).collect();
    assert_eq!(kinds, ["created", "created", "claimed", "claimed"]);
    assert!(entries.iter().map(|entry| entry.seq).is_sorted_by(|a, b| a < b));
}

#[test]
fn names_removed_from_the_index_are_noticed() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let task = fixture.submit(&store, Some("k".into()), 0.0).task;
    let indexes = fixture.state().join("indexes");
    for name in ["keys", "lanes"] {
        for entry in std::fs::read_dir(indexes.join(name)).unwrap() {
            remove(&entry.unwrap().path());
        }
        let again = fixture.submit(&store, Some("k".into()), 0.0);
        assert_eq!((again.existing, &again.task.id), (true, &task.id), "{name}");
        assert_eq!(store.queue_depth(&lane_name(LANE)).unwrap(), 1, "{name}");
    }
    remove(&std::fs::read_dir(indexes.join("lanes")).unwrap().next().unwrap().unwrap().path());
    assert_eq!(claim(&store).unwrap().id, task.id);
}

#[test]
fn what_we_change_ourselves_leaves_the_index_complete() {
    let fixture = Fixture::new();
    let store = fixture.open();
    fixture.submit(&store, Some("k".into()), 0.0);
    let state = || std::fs::read_to_string(fixture.state().join("indexes/state")).unwrap();
    let seq = |text: &str| text.split_whitespace().nth(5).unwrap().parse::<u64>().unwrap();
    for key in ["l", "m"] {
        fixture.submit(&store, Some(key.into()), 0.0);
    }
    claim(&store).unwrap();
    // A new index would continue after the next million.
    assert_eq!(seq(&state()), 4);
}

#[test]
fn a_key_stays_with_the_task_that_was_retried_last() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let fillers: Vec<_> = (0..8).map(|_| fixture.submit(&store, None, 0.0).task.id).collect();
    let old: Vec<Task> =
        (0..8).map(|number| fixture.submit(&store, Some(format!("k{number}")), 0.0).task).collect();
    // Their places in the directory go to the new tasks, so that those are listed before the old.
    for id in fillers {
        remove(&fixture.state().join("tasks").join(id.as_str()));
    }
    let mut newest = Vec::new();
    for old in &old {
        store.apply(&old.id, &Command::Cancel { reason: None, by: "me".into() }).unwrap();
        fixture.clock.pass(1000);
        newest.push(store.retry(&old.id, "me").unwrap().task);
    }
    // Another implementation adds a task, so that the index reads the newest ones.
    fixture.add_foreign(&newest[0], "20991231T000000000000Z-x-0123456789ab");
    assert_eq!(store.queue_depth(&lane_name(LANE)).unwrap(), 9);
    for (number, task) in newest.iter().enumerate() {
        let again = fixture.submit(&store, Some(format!("k{number}")), 0.0);
        assert_eq!((again.existing, again.task.id), (true, task.id.clone()), "k{number}");
    }
}
