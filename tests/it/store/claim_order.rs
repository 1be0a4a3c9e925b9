//! Which tasks a worker is offered, and which are skipped without delaying the others.

use std::path::PathBuf;
use std::time::Duration;

use crate::testkit::clock::TestClock;
use crate::testkit::store::{lane_name, new_task, owner};
use lanes::internals::model::NewRequest;
use lanes::internals::model::{Command, Filter, NewTask, Status, Task, TaskId, Time, json};
use lanes::internals::sha256::sha256_bytes;
use lanes::internals::store::{LaneQuery, Store};

struct Fixture {
    dir: tempfile::TempDir,
    clock: TestClock,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let store = Store::open(&dir.path().join("state"), clock.options()).unwrap();
        Self { dir, clock, store }
    }

    fn request(&self) -> PathBuf {
        self.dir.path().join("request")
    }

    fn pass(&self, seconds: i64) {
        self.clock.pass(seconds * 1_000_000);
    }

    /// Submits a task to `lane` whose request is a file with the content `text`.
    fn submit(&self, lane: &str, text: &str, delay: i64) -> Task {
        self.pass(1);
        let path = match text {
            "" => self.request(),
            text => self.dir.path().join(text),
        };
        std::fs::write(&path, text).unwrap();
        let request = NewRequest::File {
            path: path.to_string_lossy().into_owned(),
            sha256: sha256_bytes(text.as_bytes()),
        };
        let not_before = (delay > 0).then(|| self.clock.now().plus_seconds(delay as f64));
        let new = NewTask { request, not_before, ..new_task(lane, self.dir.path()) };
        self.store.submit(new).unwrap().task
    }

    /// Returns the task that is offered and then claimed; both must agree.
    fn next(&self, lanes: &[&str]) -> Option<TaskId> {
        let lanes = lanes.iter().map(|lane| lane_name(lane)).collect();
        let want = LaneQuery { lanes, filter: Filter::default() };
        let offered = self.store.peek_next(&want).unwrap().map(|task| task.id);
        let given =
            self.store.claim_next(&want, &owner("a"), Duration::from_secs(60)).unwrap().map(|task| task.id);
        assert_eq!(offered, given, "what is offered can be had");
        given
    }

    fn kinds(&self, id: &TaskId) -> Vec<String> {
        self.store.events(id).unwrap().into_iter().map(|event| event.kind).collect()
    }
}

#[test]
fn a_task_whose_request_changed_is_skipped_and_records_it_once() {
    type Break = fn(&std::path::Path);
    let breaks: [Break; 3] = [
        |path| std::fs::write(path, "other").unwrap(),
        |path| std::fs::remove_file(path).unwrap(),
        |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
    ];
    for spoil in breaks {
        for state in ["queued", "due", "expired"] {
            let fixture = Fixture::new();
            let spoiled = fixture.submit("l", "", if state == "due" { 30 } else { 0 });
            if state == "expired" {
                assert_eq!(fixture.next(&["l"]).unwrap(), spoiled.id);
            }
            fixture.pass(60);
            spoil(&fixture.request());
            let good = fixture.submit("l", "good", 0);
            assert_eq!(fixture.next(&["l"]).unwrap(), good.id, "{state}");
            for _ in 0..3 {
                assert_eq!(fixture.next(&["l"]), None, "{state}");
            }
            let refusal = fixture
                .store
                .claim(&spoiled.id, &owner("a"), Duration::from_secs(60))
                .unwrap_err()
                .to_string();
            assert!(refusal.contains(spoiled.id.as_str()) && refusal.contains("request"), "{refusal}");
            let printed = fixture.kinds(&spoiled.id).iter().filter(|kind| *kind == "request_changed").count();
            assert_eq!(printed, 1, "{state}");
            let _ = std::fs::remove_dir(fixture.request());
            std::fs::write(fixture.request(), "").unwrap();
            assert_eq!(fixture.next(&["l"]).unwrap(), spoiled.id, "{state}: it is whole again");
        }
    }
}

#[test]
fn a_delay_that_ended_is_undone_by_a_clock_set_back() {
    let fixture = Fixture::new();
    let task = fixture.submit("l", "later", 30);
    let other = fixture.submit("other", "other", 0);
    fixture.pass(30);
    // A search has moved the task to those that can be claimed.
    assert_eq!(fixture.next(&["other", "l"]).unwrap(), other.id);
    assert_eq!(fixture.store.next_due(&[lane_name("l")]).map(Time::micros), Some(task_until(&task)));
    fixture.pass(-20);
    assert_eq!(fixture.next(&["l"]), None);
    fixture.pass(20);
    assert_eq!(fixture.next(&["l"]), Some(task.id.clone()));
    assert_eq!(fixture.kinds(&task.id), ["created", "due", "claimed"]);
}

fn task_until(task: &Task) -> i64 {
    let Status::Scheduled { until } = &task.status else { panic!("{:?}", task.status) };
    until.micros()
}

#[test]
fn a_history_goes_on_where_another_writer_dropped_our_keys() {
    let fixture = Fixture::new();
    let task = fixture.submit("l", "whole", 0);
    let note = |message: &str| {
        let (kind, data) = ("note".to_string(), json::Object::new());
        let note = Command::Note { kind, message: message.into(), data, token: None };
        fixture.store.apply(&task.id, &note).unwrap();
    };
    note("before");
    let path = fixture.store.root().join("tasks").join(task.id.as_str()).join("task.json");
    let mut object = json::parse_object(&std::fs::read(&path).unwrap()).unwrap();
    for ours in ["_lanes", "fence", "attempt"] {
        object.remove(ours);
    }
    std::fs::write(&path, json::to_text(&object)).unwrap();
    note("after");
    assert_eq!(fixture.kinds(&task.id), ["created", "note", "note"]);
    let numbers: Vec<Option<u64>> =
        fixture.store.events(&task.id).unwrap().iter().map(|event| event.n).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
}
