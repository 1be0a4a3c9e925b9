//! `fsck`: every kind of damage is found, named and repaired without loss.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::testkit::store::{Fixture, idempotency_key, lane_name, owner, task_file};
use lanes::internals::error::ErrorKind;
use lanes::internals::model::NewRequest;
use lanes::internals::model::{RequestCheck, Status, Task};
use lanes::internals::store::{FsckReport, Severity, Store, StoreOptions};
use lanes::internals::workspace::{BaseDir, DiagnosisLevel, DoctorOptions, Identity, LocateOptions, doctor};

fn check(store: &Store) -> FsckReport {
    store.fsck(&mut |_, _| {}).unwrap()
}

fn codes(report: &FsckReport) -> Vec<&'static str> {
    report.counts.keys().copied().collect()
}

/// Checks that `code` is the only finding, that nothing changes without repair, and that a repair fixes it.
fn heals(store: &Store, code: &str) -> FsckReport {
    assert_eq!(codes(&check(store)), [code]);
    assert!(!store.root().join("quarantine").exists(), "a check changes nothing");
    let report = store.repair(&mut |_, _| {}).unwrap();
    assert_eq!(codes(&report), [code]);
    assert!(report.findings.iter().all(|finding| finding.repaired), "{:?}", report.findings);
    let after = check(store);
    assert!(after.findings.is_empty(), "{:?}", after.findings);
    report
}

/// A store with one task in every state.
fn busy_store(fixture: &Fixture) -> (Store, [Task; 3]) {
    let store = fixture.store();
    let ended = fixture.ended(&store, |_| {});
    let queued = fixture.submit(&store, |new| new.spec.key = idempotency_key("k"));
    let held = fixture.submit(&store, |new| new.spec.lane = lane_name("other"));
    let held = store.claim(&held.id, &owner("me"), Duration::from_secs(60)).unwrap();
    let later = store.now().wall.plus_seconds(60.0);
    fixture.submit(&store, |new| new.not_before = Some(later));
    (store, [ended, queued, held])
}

#[test]
fn a_sound_store_has_no_findings() {
    let fixture = Fixture::new();
    let (store, _) = busy_store(&fixture);
    let mut last = (0, 0);
    let report = store.fsck(&mut |done, total| last = (done, total)).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!((report.tasks, report.worst(), last), (4, None, (4, 4)));
    fixture.pass(100.0);
    store
        .claim_next(
            &lanes::internals::store::LaneQuery {
                lanes: vec![lane_name("other")],
                filter: lanes::internals::model::Filter::default(),
            },
            &owner("b"),
            Duration::from_secs(60),
        )
        .unwrap();
    assert!(check(&store).findings.is_empty(), "what has come due is no fault");
}

#[test]
fn unreadable_tasks_are_moved_aside_whole() {
    for content in [&b"{"[..], b"", b"\0\0\0", b"\xff\xfe", b"[]", b"{\"id\": \"x\"}"] {
        let fixture = Fixture::new();
        let (store, [ended, ..]) = busy_store(&fixture);
        fs::write(task_file(&store, &ended.id, "task.json"), content).unwrap();
        let report = store.repair(&mut |_, _| {}).unwrap();
        assert_eq!(report.counts["task-unreadable"], 1, "{:?}", report.findings);
        let aside = report.quarantine.unwrap().join("tasks").join(ended.id.as_str());
        assert_eq!(fs::read(aside.join("task.json")).unwrap(), content);
        assert!(aside.join("response.json").exists(), "nothing of it is lost");
        store.repair(&mut |_, _| {}).unwrap();
        assert!(check(&store).findings.is_empty(), "{:?}", check(&store).findings);
    }
}

#[test]
fn a_task_directory_without_a_task_and_things_that_are_no_task() {
    let fixture = Fixture::new();
    let (store, [_, queued, _]) = busy_store(&fixture);
    let tasks = store.root().join("tasks");
    fs::create_dir(tasks.join("20260101T000000000000Z-x-0123456789ab")).unwrap();
    fs::create_dir(tasks.join(".hidden")).unwrap();
    fs::write(tasks.join("note.txt"), "hello").unwrap();
    symlink(tasks.join(queued.id.as_str()), tasks.join("20260101T000000000001Z-y-0123456789ab")).unwrap();
    let report = store.repair(&mut |_, _| {}).unwrap();
    assert_eq!((report.counts["task-missing"], report.counts["not-a-task"]), (1, 3), "{:?}", report.findings);
    assert_eq!(report.tasks, 5, "what is no task does not count as one");
    let aside = report.quarantine.unwrap().join("tasks");
    assert_eq!(fs::read_to_string(aside.join("note.txt")).unwrap(), "hello");
    store.repair(&mut |_, _| {}).unwrap();
    assert!(check(&store).findings.is_empty(), "{:?}", check(&store).findings);
    assert_eq!(store.task(&queued.id).unwrap().status, Status::Queued);
}

#[test]
fn event_files_are_completed_cut_and_cleaned() {
    let fixture = Fixture::new();
    let (store, [ended, queued, _]) = busy_store(&fixture);
    let path = task_file(&store, &ended.id, "events.jsonl");
    let whole = fs::read(&path).unwrap();
    let events = store.events(&ended.id).unwrap();

    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    fs::write(&path, &whole[..second]).unwrap();
    heals(&store, "events-behind");
    assert_eq!(fs::read(&path).unwrap(), whole);

    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    heals(&store, "events-torn");
    assert_eq!(fs::read(&path).unwrap(), whole);

    fs::write(&path, [&whole[..], &[0; 100]].concat()).unwrap();
    heals(&store, "events-torn");
    assert_eq!(fs::read(&path).unwrap(), whole);

    fs::write(&path, [b"{\"half\": \n", &whole[..]].concat()).unwrap();
    assert_eq!(codes(&check(&store)), ["events-broken"]);
    store.repair(&mut |_, _| {}).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert_eq!(store.events(&ended.id).unwrap(), events);

    let path = task_file(&store, &queued.id, "events.jsonl");
    fs::remove_file(&path).unwrap();
    assert_eq!(codes(&check(&store)), ["events-behind"]);
    store.repair(&mut |_, _| {}).unwrap();
    assert!(check(&store).findings.is_empty());
}

#[test]
fn answers_are_restored_from_the_task() {
    let fixture = Fixture::new();
    let (store, [ended, ..]) = busy_store(&fixture);
    let path = task_file(&store, &ended.id, "response.json");
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    heals(&store, "response-missing");
    assert_eq!(fs::read(&path).unwrap(), whole);
    fs::write(&path, &whole[..20]).unwrap();
    let report = store.repair(&mut |_, _| {}).unwrap();
    assert_eq!(codes(&report), ["response-unreadable"]);
    assert_eq!(fs::read(&path).unwrap(), whole);
    let other = String::from_utf8(whole.clone()).unwrap().replace("done", "undone");
    fs::write(&path, &other).unwrap();
    let report = store.repair(&mut |_, _| {}).unwrap();
    assert_eq!(codes(&report), ["response-differs"]);
    let aside = report.quarantine.unwrap().join("tasks").join(ended.id.as_str()).join("response.json");
    assert_eq!(fs::read_to_string(aside).unwrap(), other);
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn answers_that_never_counted_and_large_ones() {
    let fixture = Fixture::new();
    let (store, [ended, queued, _]) = busy_store(&fixture);
    let answer = fs::read(task_file(&store, &ended.id, "response.json")).unwrap();
    let early = task_file(&store, &queued.id, "response.json");
    fs::write(&early, &answer).unwrap();
    fs::set_permissions(&early, fs::Permissions::from_mode(0o600)).unwrap();
    let report = heals(&store, "response-early");
    assert!(report.quarantine.unwrap().join("tasks").join(queued.id.as_str()).join("response.json").exists());
    fs::remove_dir_all(store.root().join("quarantine")).unwrap();
    fs::write(task_file(&store, &queued.id, "response.3.json"), "{").unwrap();
    heals(&store, "response-abandoned");

    let large = fixture.submit(&store, |new| new.spec.lane = lane_name("large"));
    let large = store.claim(&large.id, &owner("me"), Duration::from_secs(60)).unwrap();
    fixture.respond(&store, &large, &"x".repeat(100_000));
    let (proper, first) =
        (task_file(&store, &large.id, "response.json"), task_file(&store, &large.id, "response.1.json"));
    fs::copy(&proper, &first).unwrap();
    fs::remove_file(&proper).unwrap();
    heals(&store, "response-staged");
    fs::write(&proper, "torn").unwrap();
    let report = store.repair(&mut |_, _| {}).unwrap();
    assert_eq!(codes(&report), ["response-lost", "response-unreadable"]);
    assert_eq!(report.worst(), Some(Severity::Damage), "no copy is left");
    let report = check(&store);
    assert_eq!(codes(&report), ["response-lost"]);
    assert_eq!(report.worst(), Some(Severity::Damage), "what is lost stays known");
    assert!(report.findings[0].remedy.contains("lanes gc"), "{:?}", report.findings);
}

#[test]
fn staged_files_of_dead_processes_are_leftovers_and_those_of_live_ones_are_not() {
    let fixture = Fixture::new();
    let (store, _) = busy_store(&fixture);
    let tmp = store.root().join("tmp");
    fs::write(tmp.join("4294967295-1000000000-0"), "x").unwrap();
    fs::create_dir(tmp.join("4294967295-1000000000-1")).unwrap();
    fs::write(tmp.join("4294967295-1000000000-1/task.json"), "x").unwrap();
    let live = tmp.join(format!("lanes-{}", std::process::id()));
    fs::create_dir(&live).unwrap();
    let report = heals(&store, "staged");
    assert_eq!(report.counts["staged"], 2);
    assert!(report.findings[0].message.contains("process 4294967295"), "{:?}", report.findings);
    assert!(live.exists());
    let stranger = tmp.join("stranger");
    fs::write(&stranger, "x").unwrap();
    assert!(check(&store).findings.is_empty(), "young strangers are left alone");
    let file = fs::File::open(&stranger).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    heals(&store, "stranger");
}

#[test]
fn root_files_are_checked() {
    let fixture = Fixture::new();
    let (store, _) = busy_store(&fixture);
    let feed = store.root().join("feed.jsonl");
    let whole = fs::read(&feed).unwrap();
    fs::write(&feed, [&whole[..], b"{\"seq\""].concat()).unwrap();
    heals(&store, "feed-torn");
    assert_eq!(fs::read(&feed).unwrap(), whole);
    fs::create_dir(store.root().join("workers")).unwrap();
    let card = store.root().join("workers/4294967295-0-0.json");
    fs::write(&card, "{}").unwrap();
    let file = fs::File::open(&card).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    heals(&store, "dead-worker");
    fs::write(store.root().join("lanes.json"), "{").unwrap();
    assert_eq!(check(&store).worst(), Some(Severity::Blocking));
    heals(&store, "pauses-unreadable");
    fs::remove_dir_all(store.root().join("quarantine")).unwrap();
    for damaged in ["{bad", "", "[]", r#"{"parked": []}"#, r#"{"parked": {"claude": {"reason": "asked"}}}"#] {
        fs::write(store.root().join("vendors.json"), damaged).unwrap();
        assert_eq!(check(&store).worst(), Some(Severity::Blocking), "{damaged}");
        heals(&store, "vendors-unreadable");
        assert!(store.active_cooldowns().unwrap().is_empty());
        fs::remove_dir_all(store.root().join("quarantine")).unwrap();
    }
}

#[test]
fn the_index_is_compared_with_the_tasks() {
    let fixture = Fixture::new();
    let (store, [_, queued, _]) = busy_store(&fixture);
    let lanes = store.root().join("indexes/lanes");
    let ready = find(&lanes, "l-").join("ready");
    for chunk in fs::read_dir(&ready).unwrap() {
        fs::remove_file(chunk.unwrap().path()).unwrap();
    }
    let report = heals(&store, "index-disagrees");
    assert!(report.findings[0].message.contains(queued.id.as_str()), "{:?}", report.findings);
    assert_eq!(fixture.claim(&store, "l").id, queued.id);
    let count = find(&lanes, "l-").join("count");
    fs::write(count, "7                   \n").unwrap();
    heals(&store, "index-disagrees");
    let key = find(&store.root().join("indexes/keys"), "");
    fs::remove_file(&key).unwrap();
    let report = check(&store);
    assert_eq!(codes(&report), ["index-outdated", "key-missing"]);
    assert_eq!(report.worst(), Some(Severity::Leftover), "the next submit notices it");
    store.repair(&mut |_, _| {}).unwrap();
    assert!(key.exists() && check(&store).findings.is_empty());
    fs::write(&key, "20260101T000000000000Z-x-0123456789ab\n").unwrap();
    let report = store.repair(&mut |_, _| {}).unwrap();
    assert_eq!(codes(&report), ["key-missing", "key-stale"]);
    assert!(check(&store).findings.is_empty());
    let correlation = store.root().join("indexes/correlations/w--c.json");
    let whole = fs::read(&correlation).unwrap();
    fs::write(&correlation, "{").unwrap();
    heals(&store, "correlation-stale");
    assert_eq!(fs::read(&correlation).unwrap().len(), whole.len());
}

#[test]
fn the_request_of_an_open_task_is_restored_from_it() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let ask = |prompt: &str| {
        let (prompt, text) = (prompt.to_string(), "do it\n".to_string());
        fixture.submit(&store, |new| (new.spec.prompt, new.request) = (prompt, NewRequest::Text(text)))
    };
    let (whole, other) = (ask("do it\n"), ask("short"));
    assert!(check(&store).findings.is_empty());
    let file = task_file(&store, &whole.id, "request.md");
    fs::remove_file(&file).unwrap();
    heals(&store, "request-missing");
    assert_eq!(fs::read(&file).unwrap(), b"do it\n");
    fs::write(&file, "do that\n").unwrap();
    heals(&store, "request-changed");
    assert_eq!(fs::read(&file).unwrap(), b"do it\n");
    fs::remove_file(task_file(&store, &other.id, "request.md")).unwrap();
    let report = store.repair(&mut |_, _| {}).unwrap();
    assert_eq!((codes(&report), report.worst()), (vec!["request-missing"], Some(Severity::Damage)));
}

#[test]
fn a_claim_writes_what_was_lost_of_a_prompt_and_refuses_what_was_changed() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for (left, is_lost) in [(&b""[..], true), (b"do", true), (b"do\0\0\0\0", true), (b"do that\n", false)] {
        let task = fixture.submit(&store, |new| {
            (new.spec.prompt, new.request) = ("do it\n".to_string(), NewRequest::Text("do it\n".to_string()));
        });
        let file = task_file(&store, &task.id, "request.md");
        fs::write(&file, left).unwrap();
        assert_eq!(store.blobs().request_check(&task) == RequestCheck::Same, is_lost);
        let claimed = store.claim(&task.id, &owner("worker"), Duration::from_secs(60));
        if is_lost {
            claimed.unwrap();
            assert_eq!(fs::read(&file).unwrap(), b"do it\n");
        } else {
            assert_eq!(claimed.unwrap_err().kind(), ErrorKind::Refused);
            assert_eq!(fs::read(&file).unwrap(), left);
        }
    }
}

fn run(expected: &[&str], from: &Path, to: &Path) {
    let status = std::process::Command::new(expected[0]).args(&expected[1..]).args([from, to]).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_store_that_was_moved_or_copied_keeps_its_requests_and_answers() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let ask = || fixture.submit(&store, |new| new.request = NewRequest::Text(new.spec.prompt.clone()));
    let (first, second) = (ask(), ask());
    let old = store.root().to_path_buf();
    drop(store);
    for (expected, name, id) in [(&["mv"][..], "moved", first.id), (&["cp", "-a"], "copied", second.id)] {
        let new = old.with_file_name(name);
        run(expected, &old, &new);
        let store = Store::open(&new, StoreOptions::default()).unwrap();
        assert!(check(&store).findings.is_empty());
        let task = store.claim(&id, &owner("worker"), Duration::from_secs(60)).unwrap();
        assert_eq!(Path::new(&task.request_path), task_file(&store, &id, "request.md"));
        assert_eq!(fs::read_to_string(&task.request_path).unwrap(), task.spec.prompt);
        fixture.respond(&store, &task, "done");
        let task = store.task(&id).unwrap();
        let answer = store.response(&task).unwrap().unwrap();
        assert_eq!(Path::new(&task.response_path), task_file(&store, &id, "response.md"));
        store.copy_response(&task, &answer).unwrap();
        assert_eq!(fs::read_to_string(&task.response_path).unwrap(), "done");
        assert!(check(&store).findings.is_empty());
        if name == "moved" {
            run(expected, &new, &old);
        }
    }
}

#[test]
fn a_request_is_looked_at_wherever_its_store_was() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let task = fixture.submit(&store, |new| new.request = NewRequest::Text(new.spec.prompt.clone()));
    let moved = store.root().with_file_name("moved");
    run(&["mv"], store.root(), &moved);
    let store = Store::open(&moved, StoreOptions::default()).unwrap();
    fs::write(task_file(&store, &task.id, "request.md"), "something else").unwrap();
    heals(&store, "request-changed");
}

#[test]
fn a_history_that_is_no_file_is_written_anew_at_once() {
    for link in [false, true] {
        let fixture = Fixture::new();
        let store = fixture.store();
        let task = fixture.submit(&store, |_| {});
        let events = task_file(&store, &task.id, "events.jsonl");
        let whole = fs::read(&events).unwrap();
        fs::remove_file(&events).unwrap();
        if link {
            symlink("/nowhere", &events).unwrap()
        } else {
            fs::create_dir(&events).unwrap()
        }
        heals(&store, if link { "link" } else { "events-unreadable" });
        assert_eq!(fs::read(&events).unwrap(), whole);
    }
}

#[test]
fn two_open_tasks_with_one_key_are_reported() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let first = fixture.submit(&store, |new| new.spec.key = idempotency_key("first-key"));
    let second = fixture.submit(&store, |new| new.spec.key = idempotency_key("second-key"));
    let file = store.root().join("tasks").join(second.id.as_str()).join("task.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("second-key", "first-key")).unwrap();
    let report = check(&store);
    assert_eq!(report.worst(), Some(Severity::Damage));
    let shared: Vec<_> = report.findings.iter().filter(|finding| finding.code == "key-shared").collect();
    assert!(shared[0].message.contains(second.id.as_str()), "{shared:?}");
    assert!(shared[0].path.ends_with(first.id.as_str()), "{shared:?}");
}

#[test]
fn what_has_the_wrong_type_is_moved_out_of_the_way() {
    let files = ["feed.jsonl", "lock", "lanes.json"];
    let directories = ["tmp", "workers", "indexes", "indexes/correlations", "quarantine", "indexes/keys"];
    for name in files.into_iter().chain(directories) {
        let fixture = Fixture::new();
        let (store, [_, queued, _]) = busy_store(&fixture);
        let place = store.root().join(name);
        if place.is_dir() {
            fs::remove_dir_all(&place).unwrap()
        } else {
            drop(fs::remove_file(&place))
        }
        if name == "quarantine" {
            symlink(fixture.root(), &place).unwrap();
        } else if files.contains(&name) {
            fs::create_dir(&place).unwrap();
        } else {
            fs::write(&place, "x").unwrap();
        }
        assert!(store.live_workers().is_ok(), "{name}");
        let report = check(&store);
        assert_eq!(report.worst(), Some(Severity::Blocking), "{name}: {:?}", report.findings);
        assert!(report.findings.iter().any(|finding| finding.path == place), "{name}: {:?}", report.findings);
        let repair =
            |repair| Store::fsck_at(store.root(), StoreOptions::default(), repair, &mut |_, _| {}).unwrap();
        let report = repair(true);
        assert!(report.findings.iter().any(|finding| finding.path == place && finding.repaired), "{name}");
        assert!(report.worst().is_none_or(|worst| worst == Severity::Leftover), "{:?}", report.findings);
        let aside = report.quarantine.map(|run| run.join(name));
        assert!(name == "quarantine" || aside.is_some_and(|aside| aside.exists()), "{name}");
        assert!(repair(false).worst().is_none_or(|worst| worst == Severity::Leftover), "{name}");
        assert_eq!(fixture.claim(&store, "l").id, queued.id, "{name}");
    }
}

#[test]
fn the_doctor_reports_its_progress() {
    let fixture = Fixture::new();
    let (store, _) = busy_store(&fixture);
    let wish = DoctorOptions {
        locate: LocateOptions {
            config: None,
            store: Some(store.root()),
            fallback_store: None,
            base: &BaseDir::at(fixture.root()),
            identity: Identity::of_process(None),
        },
        options: StoreOptions::default(),
        search_path: None,
        program: None,
    };
    let mut reported = Vec::new();
    let diagnoses = doctor(&wish, &mut |done, of| reported.push((done, of)));
    let count = store.task_names().unwrap().len() as u64;
    assert_eq!(reported.last(), Some(&(count, count)), "{reported:?}");
    for diagnosis in diagnoses {
        assert_eq!(diagnosis.level == DiagnosisLevel::Ok, diagnosis.remedy.is_none(), "{diagnosis:?}");
    }
}

#[test]
fn open_modes_and_links_are_reported() {
    let fixture = Fixture::new();
    let (store, [ended, ..]) = busy_store(&fixture);
    let dir = task_file(&store, &ended.id, "");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let report = store.repair(&mut |_, _| {}).unwrap();
    assert_eq!(codes(&report), ["mode"]);
    assert!(!report.findings[0].repaired);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    let outside = fixture.root().join("outside");
    fs::write(&outside, "precious").unwrap();
    let events = task_file(&store, &ended.id, "events.jsonl");
    fs::remove_file(&events).unwrap();
    symlink(&outside, &events).unwrap();
    let report = store.repair(&mut |_, _| {}).unwrap();
    assert_eq!(codes(&report), ["link"]);
    store.repair(&mut |_, _| {}).unwrap();
    assert!(check(&store).findings.is_empty(), "{:?}", check(&store).findings);
    assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
}

/// The entry of a directory whose name begins like this.
fn find(dir: &Path, beginning: &str) -> std::path::PathBuf {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with(beginning))
        .unwrap()
}
