//! State directories that were written once must stay readable; see `tests/frozen/README.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::testkit::clock::TestClock;
use crate::testkit::store::{answer, lane_name, new_task, note, owner};
use lanes::ErrorKind;
use lanes::internals::model::{Command, Effect, FailureClass, Filter, Status, Task, TaskId, Time, json};
use lanes::internals::store::{LaneQuery, Store};
use serde_json::Value;

struct Frozen {
    dir: tempfile::TempDir,
    clock: TestClock,
}

impl Frozen {
    /// A copy of a frozen directory, at the time `now`.
    fn copy(name: &str, now: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen").join(name);
        copy(&from, dir.path(), dir.path().to_str().unwrap());
        Self { dir, clock: TestClock::at(Time::parse(now).unwrap().micros()) }
    }

    fn open(&self) -> Store {
        Store::open(&self.dir.path().join("state"), self.clock.options()).unwrap()
    }

    fn path(&self, id: &TaskId, name: &str) -> PathBuf {
        self.dir.path().join("state/tasks").join(id.as_str()).join(name)
    }

    fn text(&self, id: &TaskId) -> String {
        std::fs::read_to_string(self.path(id, "task.json")).unwrap()
    }

    fn object(&self, id: &TaskId) -> json::Object {
        json::parse_object(self.text(id).as_bytes()).unwrap()
    }
}

/// Copies a tree and puts `root` in the place of the path at which it was frozen.
fn copy(from: &Path, to: &Path, root: &str) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target, root);
        } else {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            std::fs::write(target, text.replace("/srv/project", root)).unwrap();
        }
    }
}

/// The tasks of a store by a name that the caller takes from each; all must be readable.
fn tasks(store: &Store, name: impl Fn(&Task) -> String) -> BTreeMap<String, Task> {
    let mut tasks = BTreeMap::new();
    store
        .scan(&mut |_, task| {
            let task = task.unwrap();
            assert!(tasks.insert(name(&task), task).is_none());
        })
        .unwrap();
    tasks
}

fn want(lane: &str) -> LaneQuery {
    LaneQuery {
        lanes: vec![lane_name(lane)],
        filter: Filter::parse(&["required_vendor=claude,any"]).unwrap(),
    }
}

fn drain(store: &Store, lane: &str) -> Vec<Task> {
    std::iter::from_fn(|| store.claim_next(&want(lane), &owner("me"), Duration::from_secs(600)).unwrap())
        .collect()
}

fn respond(store: &Store, task: &Task, body: &str) -> lanes::Result<Effect> {
    store.apply(&task.id, &Command::Respond(answer(task, body))).map(|(_, effect)| effect)
}

#[test]
fn agent_lanes_0_1_1_is_read_and_its_tasks_go_on() {
    let frozen = Frozen::copy("agent-lanes-0.1.1", "2026-11-21T09:30:00Z");
    let store = frozen.open();
    let all = tasks(&store, |task| task.spec.correlation_id.replace(" one", ""));
    let state = |name: &str| all[name].status.as_str().to_string();
    assert_eq!(all.len(), 8);
    for (name, expected) in [
        ("queued", "queued"),
        ("claimed", "claimed"),
        ("released", "queued"),
        ("completed", "completed"),
        ("failed", "failed"),
        ("expired", "claimed"),
        ("renewed", "claimed"),
        ("supported", "queued"),
    ] {
        assert_eq!(state(name), expected, "{name}");
    }
    assert_eq!(all["supported"].spec.supporting_paths.len(), 1);
    let nested = "{\"deep\":[1,2.5,null]}";
    assert_eq!(all["supported"].spec.metadata["nested"].to_string(), nested);
    let before: BTreeMap<&str, json::Object> =
        all.iter().map(|(name, task)| (name.as_str(), frozen.object(&task.id))).collect();

    let response = store.response(&all["completed"]).unwrap().unwrap();
    assert_eq!((response.body.as_str(), response.reviewer.as_str()), ("All fine.\n✓ done\n", "anna"));
    assert_eq!(response.verdict.as_deref(), Some("accept-with-follow-ups"));
    assert_eq!((response.blocking_count, response.nonblocking_count), (Some(0), Some(2)));
    let delivered = PathBuf::from(&all["completed"].response_path);
    assert_eq!(delivered, frozen.dir.path().join("responses/completed.md"));
    let Status::Failed { reason, class, .. } = &all["failed"].status else { panic!("{:?}", all["failed"]) };
    assert_eq!((reason.as_str(), class), ("it does not build", &FailureClass::Error));
    let messages: Vec<String> =
        store.events(&all["claimed"].id).unwrap().into_iter().map(|event| event.message).collect();
    assert_eq!(messages.last().unwrap(), "half — way");

    assert_eq!(store.queue_depth(&lane_name("review")).unwrap(), 4);
    let claimed = drain(&store, "review");
    let names: Vec<&str> = claimed.iter().map(|task| task.spec.correlation_id.as_str()).collect();
    assert_eq!(names, ["queued one", "released one", "expired one", "supported"]);
    let counts: Vec<(u64, u32)> = claimed.iter().map(|task| (task.fence, task.attempt)).collect();
    assert_eq!(counts, [(1, 1), (2, 1), (2, 2), (1, 1)], "their claims count");
    assert!(respond(&store, &all["expired"], "late").is_err());
    for task in claimed.iter().chain([&all["claimed"], &all["renewed"]]) {
        assert_eq!(respond(&store, task, "fine").unwrap(), Effect::Changed, "{}", task.spec.correlation_id);
        assert_eq!(respond(&store, task, "fine").unwrap(), Effect::Unchanged, "{}", task.spec.correlation_id);
    }
    let again = store.retry(&all["failed"].id, "me").unwrap().task;
    assert_eq!(drain(&store, "other")[0].id, again.id);
    for (name, task) in &all {
        store.apply(&task.id, &note("read")).unwrap();
        let after = frozen.object(&task.id);
        for key in before[name.as_str()].keys() {
            assert!(after.contains_key(key), "{name} lost {key}");
        }
        let numbers: Vec<u64> = store.events(&task.id).unwrap().iter().filter_map(|event| event.n).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn odd_tasks_are_read_and_nothing_of_them_is_lost() {
    let frozen = Frozen::copy("oddities", "2026-01-02T00:00:00Z");
    let store = frozen.open();
    let all = tasks(&store, |task| task.id.as_str().split('-').nth(1).unwrap().to_string());
    assert_eq!(all.len(), 9);
    assert_eq!(all["legacy"].spec.correlation_id, "an old name");
    assert!(all["legacy"].spec.metadata.is_empty() && all["few"].spec.metadata.is_empty());
    assert_eq!(all["times"].updated_at.to_string(), "2026-01-01T00:00:00.500000Z");
    assert_eq!(all["twice"].spec.lane, "odd", "the last of two keys counts");
    assert_eq!(all["blocked"].status, Status::Unknown("blocked".into()));
    let response = store.response(&all["answered"]).unwrap().unwrap();
    assert!(response.body.starts_with("odd ") && response.body.ends_with("\r\n"), "{:?}", response.body);
    assert_eq!((response.verdict.as_deref(), response.blocking_count), (Some("splendid"), None));
    let before: BTreeMap<&str, json::Object> =
        all.iter().map(|(name, task)| (name.as_str(), frozen.object(&task.id))).collect();

    let given: Vec<TaskId> = drain(&store, "odd").into_iter().map(|task| task.id).collect();
    assert_eq!(given.len(), 7, "all but the blocked one and the answered one");
    for (name, task) in &all {
        store.apply(&task.id, &note("read")).unwrap();
        let after = frozen.object(&task.id);
        for (key, value) in &before[name.as_str()] {
            let ours =
                ["claim_", "claimed_at", "lease_", "state", "updated_at", "created_at", "completed_at"];
            match after.get(key) {
                Some(kept) if kept == value => {}
                Some(_) if *name != "blocked" && ours.iter().any(|ours| key.starts_with(ours)) => {}
                Some(_) if key == "updated_at" || (key == "metadata" && value.is_null()) => {}
                None if key == "checkpoint_id" => {}
                found => panic!("{name}: {key} was {value}, is {found:?}"),
            }
        }
        let events = store.events(&task.id).unwrap();
        assert_eq!(events.last().unwrap().message, "read", "{name}");
    }
    let numbers = frozen.text(&all["numbers"].id);
    for kept in [
        "\"a\": NaN",
        "\"b\": -Infinity",
        "\"c\": Infinity",
        "123456789012345678901234567890",
        "1e+400",
        "0.1000",
        "-0.0",
        "-99999999999999999999",
    ] {
        assert!(numbers.contains(kept), "{kept} is gone: {numbers}");
    }
    let characters = frozen.text(&all["characters"].id);
    for kept in ["\"\\ud800key\": \"\\ud800\"", "half \\ud83d a pair 😀 \\udfff end", "\\u0000, \u{10fffd}\""]
    {
        assert!(characters.contains(kept), "{kept} is gone: {characters}");
    }
    let unknown = frozen.object(&all["unknown"].id);
    assert_eq!(unknown["supporting_paths"][0]["note"], Value::from("theirs"));
    for id in &given {
        let task = store.task(id).unwrap();
        respond(&store, &task, "fine").unwrap();
        assert_eq!(store.response(&store.task(id).unwrap()).unwrap().unwrap().body, "fine");
    }
}

#[test]
fn format_1_is_read_and_its_tasks_go_on() {
    let frozen = Frozen::copy("lanes-1", "2026-11-21T07:30:00Z");
    let store = frozen.open();
    let entries = store.feed_since(0, 1000).unwrap();
    let seqs: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, (1..=49).collect::<Vec<_>>());
    let all = tasks(&store, |task| {
        format!("{}{}", task.spec.prompt, if task.spec.retry_of.is_some() { "+" } else { "" })
    });
    assert_eq!(all.len(), 12);
    let class = |name: &str| match &all[name].status {
        Status::Failed { class, .. } => class.as_str().to_string(),
        status => status.as_str().to_string(),
    };
    for (name, expected) in [
        ("later", "scheduled"),
        ("held", "claimed"),
        ("answered", "completed"),
        ("answered at length", "completed"),
        ("refused", "error"),
        ("refused+", "queued"),
        ("cancelled", "cancelled"),
        ("tried", "dead"),
        ("moved", "queued"),
        ("with a long history", "queued"),
    ] {
        assert_eq!(class(name), expected, "{name}");
        let answered = store.response(&all[name]).unwrap().is_some();
        assert_eq!(answered, all[name].status.is_terminal(), "{name}");
    }
    let titled = &all["Look at this: ä, 😀"];
    assert_eq!(
        (titled.spec.priority, titled.spec.key.as_ref().map(|key| key.as_str()), titled.spec.timeout),
        (2, Some("k1"), Some(Duration::from_secs(90).into()))
    );
    assert_eq!((titled.spec.name.as_deref(), titled.spec.labels.len()), (Some("A title"), 2));
    assert_eq!(store.response(&all["answered at length"]).unwrap().unwrap().body, "x".repeat(20_000));
    assert_eq!(all["refused"].retried_as.as_deref(), Some(all["refused+"].id.as_str()));
    assert_eq!(store.retry(&all["refused"].id, "me").unwrap().task.id, all["refused+"].id);
    assert!(store.paused().unwrap().contains_key("third"));
    let history = store.events(&all["with a long history"].id).unwrap();
    let numbers: Vec<Option<u64>> = history.iter().map(|event| event.n).collect();
    assert_eq!(numbers, (1..=23).map(Some).collect::<Vec<_>>());

    let ids = |tasks: Vec<Task>| tasks.into_iter().map(|task| task.id).collect::<Vec<_>>();
    assert_eq!(store.queue_depth(&lane_name("review")).unwrap(), 2);
    assert_eq!(ids(drain(&store, "review")), [titled.id.clone(), all[""].id.clone()]);
    assert_eq!(ids(drain(&store, "third")), []);
    store.resume(&lane_name("third")).unwrap();
    assert_eq!(ids(drain(&store, "third")), [all["moved"].id.clone(), all["with a long history"].id.clone()]);
    assert_eq!(store.task(&all["with a long history"].id).unwrap().fence, 2);
    let held = all["held"].status.claim().unwrap();
    let renew = Command::Renew { token: held.token.clone(), lease: None };
    assert_eq!(
        store.apply(&all["held"].id, &renew).unwrap().0.status.claim().unwrap().lease,
        Some(Duration::from_secs(3600).into())
    );
    frozen.clock.pass(2 * 3_600_000_000);
    assert_eq!(drain(&store, "review").len(), 4, "all leases are over and the delay too");
    let entries = store.feed_since(49, 1000).unwrap();
    assert!(entries.iter().map(|entry| entry.seq).is_sorted_by(|a, b| a < b));
    let worst = store.fsck(&mut |_, _| {}).unwrap();
    assert!(worst.findings.iter().all(|finding| finding.code == "mode"), "{:?}", worst.findings);
}

/// Every file below a directory, with its content.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(snapshot(&path));
        }
        files.insert(path.clone(), std::fs::read(&path).unwrap_or_default());
    }
    files
}

#[test]
fn a_newer_format_is_read_and_left_alone() {
    let frozen = Frozen::copy("lanes-1", "2026-11-21T12:00:00Z");
    let format = frozen.dir.path().join("state/format.json");
    std::fs::write(format, "{\"version\": 2, \"writer\": \"lanes 9.0.0\"}\n").unwrap();
    let before = snapshot(frozen.dir.path());
    let store = frozen.open();
    let all = tasks(&store, |task| task.id.to_string());
    assert_eq!(all.len(), 12);
    let task = all.values().next().unwrap();
    assert_eq!(store.events(&task.id).unwrap().len(), 1);
    assert_eq!(store.feed_since(0, 1000).unwrap().len(), 49);
    let _ = (store.peek_next(&want("review")), store.queue_depth(&lane_name("review")));
    let refused = [
        store.submit(new_task("review", Path::new("/"))).map(drop),
        store.claim_next(&want("review"), &owner("me"), Duration::from_secs(60)).map(drop),
        store.claim(&task.id, &owner("me"), Duration::from_secs(60)).map(drop),
        store.apply(&task.id, &note("read")).map(drop),
        store.pause(&lane_name("review"), None).map(drop),
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::NewerFormat);
    }
    assert!(snapshot(frozen.dir.path()) == before, "something was written");
}
