//! Broken tasks among good ones, and planted links that lead outside: the other tasks work, and nothing outside
//! the state directory is touched.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::testkit::clock::TestClock;
use crate::testkit::store::{answer, in_lane, lane_name, new_task, note, owner};
use lanes::internals::model::NewRequest;
use lanes::internals::model::{Command, RequestCheck, Task, TaskId, Time, json};
use lanes::internals::store::{Store, StoreOptions, WorkerInfo, WorkerKind};
use lanes::{ErrorKind, Result};
use rustix::fs::{CWD, FileType, Mode};

const FOREIGN: &str = "20260101T000000000000Z-c-0123456789ab";

struct Fixture {
    dir: tempfile::TempDir,
    clock: TestClock,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap(), clock: TestClock::new() };
        std::fs::create_dir(fixture.outside()).unwrap();
        std::fs::write(fixture.outside().join("file"), "theirs").unwrap();
        fixture
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn open(&self) -> Result<Store> {
        Store::open(&self.state(), self.clock.options())
    }

    fn submit(&self, store: &Store) -> Result<Task> {
        self.clock.pass(1000);
        store.submit(new_task("l", self.dir.path())).map(|submitted| submitted.task)
    }

    /// What is outside of the store: names, contents, times.
    fn snapshot(&self) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
        let seen = |path: PathBuf| {
            let time = std::fs::metadata(&path).unwrap().modified().unwrap();
            (path.clone(), (std::fs::read(&path).unwrap_or_default(), time))
        };
        let names = std::fs::read_dir(self.outside()).unwrap().map(|entry| entry.unwrap().path());
        names.chain([self.outside()]).map(seen).collect()
    }
}

fn claim(store: &Store) -> Option<TaskId> {
    store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().map(|task| task.id)
}

fn respond(task: &Task) -> Command {
    Command::Respond(answer(task, "done"))
}

fn fifo(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn link(target: &Path, path: &Path) {
    std::os::unix::fs::symlink(target, path).unwrap();
}

/// A way to break a task; gets its directory, its whole text, and a place outside of the store.
type Breakage = fn(&Path, &str, &Path);

/// Every way in which a task can be broken.
const BREAKAGES: &[(&str, Breakage)] = &[
    ("empty", |dir, _, _| std::fs::write(dir.join("task.json"), "").unwrap()),
    ("truncated", |dir, text, _| std::fs::write(dir.join("task.json"), &text[..text.len() / 2]).unwrap()),
    ("zeros", |dir, text, _| std::fs::write(dir.join("task.json"), vec![0; text.len()]).unwrap()),
    ("not UTF-8", |dir, text, _| {
        let text = text.replace("\"test\"", "\"te#t\"");
        let bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'#' { 0xff } else { byte }).collect();
        std::fs::write(dir.join("task.json"), bytes).unwrap();
    }),
    ("no object", |dir, _, _| std::fs::write(dir.join("task.json"), "[1, 2]").unwrap()),
    ("no fields", |dir, _, _| std::fs::write(dir.join("task.json"), "{}").unwrap()),
    ("a field missing", |dir, text, _| {
        std::fs::write(dir.join("task.json"), text.replace("\"lane\"", "\"lame\"")).unwrap();
    }),
    ("a wrong type", |dir, text, _| {
        std::fs::write(dir.join("task.json"), text.replace("\"queued\"", "7")).unwrap();
    }),
    ("a wrong time", |dir, text, _| {
        std::fs::write(dir.join("task.json"), text.replace("\"created_at\": \"2", "\"created_at\": \"x"))
            .unwrap();
    }),
    ("the id of another", |dir, text, _| {
        let id = dir.file_name().unwrap().to_string_lossy().into_owned();
        std::fs::write(dir.join("task.json"), text.replace(&id, FOREIGN)).unwrap();
    }),
    ("huge", |dir, _, _| {
        std::fs::File::create(dir.join("task.json")).unwrap().set_len(100 << 20).unwrap();
    }),
    ("deep", |dir, text, _| {
        let (open, close) = ("[".repeat(200_000), "]".repeat(200_000));
        let text = text.replacen("{", &format!("{{\"deep\": {open}{close},"), 1);
        std::fs::write(dir.join("task.json"), text).unwrap();
    }),
    ("a pipe", |dir, _, _| {
        std::fs::remove_file(dir.join("task.json")).unwrap();
        fifo(&dir.join("task.json"));
    }),
    ("a directory", |dir, _, _| {
        std::fs::remove_file(dir.join("task.json")).unwrap();
        std::fs::create_dir(dir.join("task.json")).unwrap();
    }),
    ("a link", |dir, text, outside| {
        std::fs::remove_file(dir.join("task.json")).unwrap();
        std::fs::write(outside.join("task.json"), text).unwrap();
        link(&outside.join("task.json"), &dir.join("task.json"));
    }),
    ("no task.json", |dir, _, _| std::fs::remove_file(dir.join("task.json")).unwrap()),
    ("an empty directory", |dir, _, _| {
        std::fs::remove_dir_all(dir).unwrap();
        std::fs::create_dir(dir).unwrap();
    }),
    ("a file for its directory", |dir, text, _| {
        std::fs::remove_dir_all(dir).unwrap();
        std::fs::write(dir, text).unwrap();
    }),
    ("a pipe for its directory", |dir, _, _| {
        std::fs::remove_dir_all(dir).unwrap();
        fifo(dir);
    }),
    ("a link for its directory", |dir, text, outside| {
        std::fs::remove_dir_all(dir).unwrap();
        std::fs::create_dir(outside.join("task")).unwrap();
        std::fs::write(outside.join("task/task.json"), text).unwrap();
        link(&outside.join("task"), dir);
    }),
    ("a link to nowhere for its directory", |dir, _, outside| {
        std::fs::remove_dir_all(dir).unwrap();
        link(&outside.join("nowhere"), dir);
    }),
];

/// Checks that the queue works except for the broken tasks, which are reported one by one.
fn check_others(fixture: &Fixture, what: &str, store: &Store, good: &[TaskId], broken: usize) {
    let (mut readable, mut reported) = (Vec::new(), 0);
    store
        .scan(&mut |_, task| match task {
            Ok(task) => readable.push(task.id),
            Err(error) => {
                assert!(!error.to_string().chars().any(char::is_control), "{what}: {error}");
                assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io), "{what}: {error}");
                reported += 1;
            }
        })
        .unwrap();
    assert_eq!((readable.as_slice(), reported), (good, broken), "{what}");
    assert!(store.lane_has_tasks(&lane_name("l")).unwrap());
    assert_eq!(store.peek_next(&in_lane("l")).unwrap().map(|task| task.id), good.first().cloned(), "{what}");
    let new = fixture.submit(store).unwrap().id;
    for id in good.iter().chain([&new]) {
        assert_eq!(store.resolve(&id.as_str()[id.as_str().len() - 6..]).unwrap(), *id, "{what}");
        assert_eq!(claim(store).as_ref(), Some(id), "{what}");
        let task = store.task(id).unwrap();
        store.apply(id, &note("m")).unwrap();
        store.apply(id, &respond(&task)).unwrap();
    }
    assert_eq!(claim(store), None, "{what}");
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 0, "{what}");
}

#[test]
fn a_broken_task_is_passed_over() {
    for (what, breakage) in BREAKAGES {
        let fixture = Fixture::new();
        let store = fixture.open().unwrap();
        let ids: Vec<TaskId> = (0..3).map(|_| fixture.submit(&store).unwrap().id).collect();
        let dir = fixture.state().join("tasks").join(ids[0].as_str());
        let text = std::fs::read_to_string(dir.join("task.json")).unwrap();
        breakage(&dir, &text, &fixture.outside());
        let outside = fixture.snapshot();
        let error = store.task(&ids[0]).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{what}: {error}");
        for command in [note("m"), Command::Settle, Command::Cancel { reason: None, by: "me".into() }] {
            store.apply(&ids[0], &command).unwrap_err();
        }
        assert!(store.claim(&ids[0], &owner("a"), Duration::from_secs(60)).is_err(), "{what}");
        check_others(&fixture, what, &store, &ids[1..], 1);
        assert_eq!(fixture.snapshot(), outside, "{what}");
    }
}

#[test]
fn broken_tasks_do_not_spoil_a_new_index() {
    let fixture = Fixture::new();
    let store = fixture.open().unwrap();
    let tasks: Vec<Task> = (0..BREAKAGES.len() + 2).map(|_| fixture.submit(&store).unwrap()).collect();
    let good: Vec<TaskId> = tasks[BREAKAGES.len()..].iter().map(|task| task.id.clone()).collect();
    for ((what, breakage), task) in BREAKAGES.iter().zip(&tasks) {
        let dir = fixture.state().join("tasks").join(task.id.as_str());
        let text = std::fs::read_to_string(dir.join("task.json")).unwrap();
        let outside = fixture.outside().join(what);
        std::fs::create_dir(&outside).unwrap();
        breakage(&dir, &text, &outside);
    }
    let text = std::fs::read_to_string(store.root().join("tasks").join(good[0].as_str()).join("task.json"));
    let (text, mut odd) = (text.unwrap(), BREAKAGES.len());
    for name in [".hidden", "a..b", "-rf", "x y", "\u{fc}", "line\nbreak", "\u{1b}[2J"] {
        std::fs::create_dir(fixture.state().join("tasks").join(name)).unwrap();
        std::fs::write(fixture.state().join("tasks").join(name).join("task.json"), &text).unwrap();
        odd += 1;
    }
    let not_text = std::ffi::OsStr::from_bytes(b"not \xff text");
    std::fs::create_dir(fixture.state().join("tasks").join(not_text)).unwrap();
    std::fs::remove_dir_all(fixture.state().join("indexes")).unwrap();
    check_others(&fixture, "all at once", &fixture.open().unwrap(), &good, odd);
}

/// Files of one task that may be planted, and whether the task can still be worked on.
#[test]
fn a_planted_history_is_not_followed() {
    type Plant = fn(&Path, &Path);
    let plants: [(&str, Plant); 3] = [
        ("a link", |outside, path| link(&outside.join("file"), path)),
        ("a pipe", |_, path| fifo(path)),
        ("a directory", |_, path| std::fs::create_dir(path).unwrap()),
    ];
    for (what, plant) in plants {
        for name in ["events.jsonl", "response.json", "response.md", "attempts"] {
            let what = format!("{what} for {name}");
            let fixture = Fixture::new();
            let store = fixture.open().unwrap();
            let ids: Vec<TaskId> = (0..2).map(|_| fixture.submit(&store).unwrap().id).collect();
            let path = fixture.state().join("tasks").join(ids[0].as_str()).join(name);
            let _ = std::fs::remove_file(&path);
            plant(&fixture.outside(), &path);
            let outside = fixture.snapshot();
            // Like a write by another implementation, so that the history must be read.
            let file = path.with_file_name("task.json");
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, text.replacen("\"updated_at\": \"2026", "\"updated_at\": \"2025", 1))
                .unwrap();
            let mut got = Vec::new();
            while let Some(id) = claim(&store) {
                let task = store.task(&id).unwrap();
                let _ = store.apply(&id, &note("m"));
                if store.apply(&id, &respond(&task)).is_ok() {
                    let done = store.task(&id).unwrap();
                    let response = store.response(&done).unwrap().unwrap();
                    let _ = store.copy_response(&done, &response);
                }
                got.push(id);
            }
            assert!(got.contains(&ids[1]), "{what}: {got:?}");
            assert!(got.contains(&ids[0]) || name == "events.jsonl", "{what}: {got:?}");
            let _ = (store.events(&ids[0]), store.last_event(&store.task(&ids[0]).unwrap()));
            let later = fixture.submit(&store).unwrap().id;
            assert_eq!(claim(&store), Some(later), "{what}");
            assert_eq!(fixture.snapshot(), outside, "{what}");
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the store's own files are moved out of it")]
fn planted_places_of_the_store_are_refused() {
    let names = [
        "tasks",
        "lock",
        "tmp",
        "indexes",
        "indexes/state",
        "indexes/lanes",
        "indexes/keys",
        "indexes/correlations",
        "bells",
        "workers",
        "feed.jsonl",
        "format.json",
        "lanes.json",
    ];
    for name in names {
        let fixture = Fixture::new();
        let store = fixture.open().unwrap();
        let task = fixture.submit(&store).unwrap();
        store.pause(&lane_name("other"), None).unwrap();
        let place = fixture.state().join(name);
        if place.is_dir() {
            std::fs::rename(&place, fixture.outside().join("moved")).unwrap();
            link(&fixture.outside().join("moved"), &place);
        } else if name == "bells" || name == "workers" {
            link(&fixture.outside(), &place);
        } else {
            let _ = std::fs::rename(&place, fixture.outside().join("moved"));
            link(&fixture.outside().join("moved"), &place);
        }
        let outside = fixture.snapshot();
        let Ok(store) = fixture.open() else {
            assert!(["tasks", "format.json"].contains(&name), "{name}");
            continue;
        };
        if ["lock", "tmp", "indexes", "lanes.json"].contains(&name) {
            let error = store
                .claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60))
                .unwrap_err()
                .to_string();
            assert!(error.contains(name), "{name}: {error}");
        }
        let _ = (
            fixture.submit(&store),
            store.pause(&lane_name("more"), None),
            store.apply(&task.id, &note("m")),
        );
        let _ = (
            store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)),
            store.peek_next(&in_lane("l")),
            store.queue_depth(&lane_name("l")),
        );
        let _ = store.feed_since(0, 10).map(|entries| assert!(entries.is_empty() || name != "feed.jsonl"));
        drop(store.watch_lanes(&[lane_name("l")]));
        drop(store.watch_feed());
        let worker = WorkerInfo {
            kind: WorkerKind::Other("test".into()),
            owner: owner("me"),
            pid: std::process::id(),
            lanes: vec![lane_name("l")],
            filter: String::new(),
            since: Time::from_micros(0),
            data: json::Object::new(),
        };
        assert_eq!(store.register(&worker).is_ok(), name != "workers", "{name}");
        let _ = store.live_workers();
        assert_eq!(fixture.snapshot(), outside, "{name}");
    }
}

#[test]
fn a_link_in_the_place_of_a_request_is_not_followed() {
    let fixture = Fixture::new();
    std::fs::write(fixture.outside().join("file"), "do it").unwrap();
    let before = fixture.snapshot();
    let store = fixture.open().unwrap();
    let task = fixture.submit(&store).unwrap();
    let own = crate::testkit::store::task_file(&store, &task.id, "request.md");
    std::fs::remove_file(&own).unwrap();
    link(&fixture.outside().join("file"), &own);
    let refused = store.claim(&task.id, &owner("me"), Duration::from_secs(60)).unwrap_err().to_string();
    assert!(refused.contains("is missing"), "{refused}");
    assert!(store.claim_next(&in_lane("l"), &owner("me"), Duration::from_secs(60)).unwrap().is_none());
    assert_eq!(store.blobs().request_check(&task), RequestCheck::Missing);
    assert!(store.blobs().stored_request(&task).is_err());
    assert!(store.copy_request(&task).is_err());
    assert_eq!(fixture.snapshot(), before);

    let file = fixture.outside().join("asked.md");
    link(&fixture.outside().join("file"), &file);
    let mut new = new_task("l", fixture.dir.path());
    let path = file.to_string_lossy().into_owned();
    let sha256 = lanes::internals::sha256::sha256_file(&file).unwrap();
    new.request = NewRequest::File { path, sha256 };
    let asked = store.submit(new).unwrap().task;
    assert_eq!(
        store.claim(&asked.id, &owner("me"), Duration::from_secs(60)).unwrap().id,
        asked.id,
        "a person's file may be a link"
    );
}

#[test]
fn a_request_that_comes_to_lead_into_the_store_is_not_read() {
    let fixture = Fixture::new();
    let store = fixture.open().unwrap();
    let secret = fixture.submit(&store).unwrap();
    let secret = crate::testkit::store::task_file(&store, &secret.id, "task.json");
    let file = fixture.dir.path().join("asked.md");
    std::fs::copy(&secret, &file).unwrap();
    let mut new = new_task("l", fixture.dir.path());
    let sha256 = lanes::internals::sha256::sha256_file(&file).unwrap();
    new.request = NewRequest::File { path: file.to_string_lossy().into_owned(), sha256 };
    let asked = store.submit(new).unwrap().task;
    // With the same content, so that the SHA-256 does not differ.
    std::fs::remove_file(&file).unwrap();
    link(&secret, &file);
    let refused = store.claim(&asked.id, &owner("me"), Duration::from_secs(60)).unwrap_err().to_string();
    assert!(refused.contains("lies in the state directory"), "{refused}");
    let refused = store.copy_request(&asked).map(drop).unwrap_err().to_string();
    assert!(refused.contains("lies in the state directory"), "{refused}");
    std::fs::remove_file(&file).unwrap();
    std::fs::copy(&secret, &file).unwrap();
    assert!(
        store.claim(&asked.id, &owner("me"), Duration::from_secs(60)).is_ok(),
        "with the file back in its place"
    );
}

#[test]
fn a_request_of_the_store_is_known_by_any_path_to_it() {
    let fixture = Fixture::new();
    let store = fixture.open().unwrap();
    let task = fixture.submit(&store).unwrap();
    let other = fixture.dir.path().join("other");
    link(&fixture.state(), &other);
    let store = Store::open(&other, StoreOptions::default()).unwrap();
    assert!(store.blobs().stored_request(&task).unwrap().is_some());
    assert_eq!(store.claim(&task.id, &owner("me"), Duration::from_secs(60)).unwrap().id, task.id);
}
