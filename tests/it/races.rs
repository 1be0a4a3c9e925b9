//! Races between real processes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::Value;

use crate::testkit::command::{self, parse};
use crate::testkit::sandbox::Running;
use crate::testkit::wait::eventually;

fn lanes(store: &Path) -> Command {
    let mut command = command::lanes();
    command.current_dir(store.parent().unwrap()).arg("--store").arg(store);
    command
}

fn run(store: &Path, words: &[&str]) -> Output {
    lanes(store).args(words).output().unwrap()
}

fn ok(store: &Path, words: &[&str]) -> String {
    command::ok(lanes(store).args(words))
}

/// Waits until a command prints `expected` somewhere.
fn until(store: &Path, words: &[&str], expected: &str) {
    eventually(expected, || ok(store, words).contains(expected));
}

#[test]
fn sixty_four_processes_take_each_task_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("state");
    let count = 1000;
    std::thread::scope(|scope| {
        for part in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..count / 4 {
                    let vendor = if n % 2 == 0 { "required_vendor=claude" } else { "required_vendor=any" };
                    let name = format!("{part}-{n}");
                    ok(store, &["submit", "--lane", "l", "--prompt", &name, "--metadata", vendor]);
                }
            });
        }
    });
    let calls = AtomicUsize::new(0);
    let taken: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    let mut taken = Vec::new();
                    loop {
                        let output = run(
                            &store,
                            &["claim", "--lane", "l", "--match", "required_vendor=claude,any", "--json"],
                        );
                        calls.fetch_add(1, Ordering::SeqCst);
                        match output.status.code() {
                            Some(0) => {
                                let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
                                taken.push(reply["task_id"].as_str().unwrap().to_string());
                            }
                            Some(4) => return taken,
                            other => panic!("{other:?}: {}", String::from_utf8_lossy(&output.stderr)),
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(taken.len(), count, "every task is taken, none twice");
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), count);
    assert_eq!(calls.load(Ordering::SeqCst), count + 64, "no call was wasted while there was work");
}

/// What one call of a worker did, and when.
struct Call {
    lane: String,
    began: Instant,
    ended: Instant,
    /// The key of the task that was claimed and answered, and when its answer was there; `None` if there was no task.
    work: Option<(String, Instant)>,
}

/// Claims a task, checks that nobody else has its key, and answers it.
fn work_with_key(store: &Path, lane: &str, more: &[&str]) -> Call {
    let began = Instant::now();
    let output = run(store, &[&["claim", "--lane", lane, "--json"], more].concat());
    let ended = Instant::now();
    let work = match output.status.code() {
        Some(0) => {
            let claim: Value = serde_json::from_slice(&output.stdout).unwrap();
            let key = claim["task"]["exclusive"][0].as_str().unwrap().to_string();
            let held = store.with_file_name(&key);
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&held)
                .expect("two tasks have one key");
            let words = ["task_id", "claim_token"].map(|name| claim[name].as_str().unwrap().to_string());
            std::fs::remove_file(held).unwrap();
            ok(store, &["respond", &words[0], "--claim-token", &words[1], "--body", "done"]);
            Some((key, Instant::now()))
        }
        Some(4) => None,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(&output.stderr)),
    };
    Call { lane: lane.to_string(), began, ended, work }
}

/// Returns the keys that were free during all of a call that found no task, although a task of its lane with the key was
/// claimed later.
fn missed<'a>(calls: &'a [Call], idle: &Call) -> BTreeSet<&'a str> {
    let of = |key: &str| {
        let key = key.to_string();
        calls.iter().filter(move |call| call.work.as_ref().is_some_and(|(own, _)| *own == key))
    };
    let later = calls.iter().filter(|call| call.began > idle.ended && call.lane == idle.lane);
    let keys: BTreeSet<&str> =
        later.filter_map(|call| call.work.as_ref().map(|(key, _)| key.as_str())).collect();
    let is_free = |key: &&str| {
        of(key).all(|call| {
            call.began > idle.ended || call.work.as_ref().is_some_and(|(_, answered)| *answered < idle.began)
        })
    };
    keys.into_iter().filter(is_free).collect()
}

/// With `LANES_TEST_LONG`, 64 processes work on 1,000 tasks with 10 keys.
#[test]
#[expect(clippy::disallowed_methods, reason = "a person asks for the long form")]
fn many_processes_never_hold_one_key_twice_and_are_not_idle_while_something_fits() {
    let is_long = std::env::var_os("LANES_TEST_LONG").is_some();
    let (workers, tasks, keys) = if is_long { (64, 1000, 10) } else { (6, 60, 8) };
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("state");
    let line = |n: usize| {
        let (lane, key) = (["a", "b"][n % 2], n / 2 % keys);
        format!("{{\"lane\": \"{lane}\", \"prompt\": \"{n}\", \"exclusive\": [\"key{key}\"]}}\n")
    };
    let batch = dir.path().join("batch.jsonl");
    std::fs::write(&batch, (0..tasks).map(line).collect::<String>()).unwrap();
    ok(&store, &["submit", "--batch", batch.to_str().unwrap()]);
    let done = AtomicUsize::new(0);
    // Many who call again and again would only wait for a processor.
    let more: &[&str] = if is_long { &["--wait", "--timeout", "2"] } else { &[] };
    let calls: Vec<Call> = std::thread::scope(|scope| {
        let (store, done) = (&store, &done);
        let work = |worker: usize| {
            let mut calls = Vec::new();
            while done.load(Ordering::SeqCst) < tasks {
                let call = work_with_key(store, ["a", "b"][worker % 2], more);
                done.fetch_add(usize::from(call.work.is_some()), Ordering::SeqCst);
                calls.push(call);
            }
            calls
        };
        let workers: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let idle: Vec<&Call> = calls.iter().filter(|call| call.work.is_none()).collect();
    assert_eq!(calls.len() - idle.len(), tasks);
    for idle in idle {
        assert_eq!(missed(&calls, idle), BTreeSet::new());
    }
    ok(&store, &["fsck"]);
}

#[test]
fn parked_claims_each_get_one_of_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("state");
    ok(&store, &["import", "/dev/null"]);
    let workers: Vec<_> = (0..6)
        .map(|n| {
            lanes(&store)
                .args([
                    "claim",
                    "--lane",
                    "l",
                    "--wait",
                    "--timeout",
                    "60",
                    "--json",
                    "--owner",
                    &format!("w{n}"),
                ])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    until(&store, &["workers", "--json"], "\"count\": 6");
    let submitted: BTreeSet<String> =
        (0..6).map(|n| ok(&store, &["submit", "--lane", "l", "--prompt", &n.to_string()])).collect();
    let taken: BTreeSet<String> = workers
        .into_iter()
        .map(|worker| {
            let output = worker.wait_with_output().unwrap();
            assert!(output.status.success());
            parse(&String::from_utf8(output.stdout).unwrap())["task_id"].as_str().unwrap().to_string()
        })
        .collect();
    assert_eq!(taken, submitted);
    assert!(ok(&store, &["workers", "--json"]).contains("\"count\": 0"));
}

#[test]
fn of_concurrent_submits_with_a_key_one_creates_the_task() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("state");
    let ids: BTreeSet<String> = std::thread::scope(|scope| {
        let submits: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| ok(&store, &["submit", "--lane", "l", "--prompt", "same", "--key", "k"])))
            .collect();
        submits.into_iter().map(|submit| submit.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[test]
fn one_answer_of_many_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("state");
    let id = ok(&store, &["submit", "--lane", "l", "--prompt", "x"]);
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            lanes(&store)
                .args(["wait", &id, "--timeout", "60", "--json"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let accepted: Vec<usize> = std::thread::scope(|scope| {
        let answers: Vec<_> = (0..16)
            .map(|n| {
                let (store, id) = (&store, &id);
                scope.spawn(move || {
                    run(store, &["respond", id, "--body", &n.to_string()]).status.success().then_some(n)
                })
            })
            .collect();
        answers.into_iter().filter_map(|answer| answer.join().unwrap()).collect()
    });
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    for waiter in waiters {
        let output = waiter.wait_with_output().unwrap();
        let reply = parse(&String::from_utf8(output.stdout).unwrap());
        assert_eq!(reply["response"]["body"], accepted[0].to_string());
    }
}

#[test]
fn a_cancelled_wait_leaves_no_worker_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("state");
    ok(&store, &["import", "/dev/null"]);
    let mut command = lanes(&store);
    command.args(["claim", "--lane", "l", "--wait"]).stdout(Stdio::null()).stderr(Stdio::null());
    let worker = Running::start(command);
    until(&store, &["workers", "--json"], "\"count\": 1");
    // It is killed.
    drop(worker);
    assert!(ok(&store, &["workers", "--json"]).contains("\"count\": 0"), "a killed worker is not alive");
    let id = ok(&store, &["submit", "--lane", "l", "--prompt", "x"]);
    assert!(ok(&store, &["why", &id]).contains("nobody serves lane l"));
}
