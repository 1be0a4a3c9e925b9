//! One state directory, two implementations at once: processes of `lanes` and of agent-lanes 0.1
//! submit, claim, release, respond and wait on the same tasks.
//!
//! Skipped, with a line that reports it, unless `agent-lanes` is on PATH.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::testkit::command::{LANES, clean_with_path};
use crate::testkit::skip::agent_lanes;
use crate::testkit::wait::eventually;
use serde_json::Value;

const TASKS_EACH: usize = 15;

struct Pool {
    dir: tempfile::TempDir,
    python: PathBuf,
}

impl Pool {
    #[track_caller]
    fn new() -> Option<Self> {
        let pool = Self { dir: tempfile::tempdir().unwrap(), python: agent_lanes()? };
        pool.lanes(&["init", "--workspace-id", "shared"]);
        std::fs::write(pool.root().join("request.md"), "please look at this\n").unwrap();
        Some(pool)
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = clean_with_path(program);
        command.current_dir(self.root()).args(words);
        command
    }

    fn run(&self, by_python: bool, words: &[&str]) -> Output {
        let program = if by_python { self.python.clone() } else { PathBuf::from(LANES) };
        self.command(&program, words).output().unwrap()
    }

    fn ok(&self, by_python: bool, words: &[&str]) -> String {
        let output = self.run(by_python, words);
        assert!(
            output.status.success(),
            "python: {by_python}, {words:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn lanes(&self, words: &[&str]) -> String {
        self.ok(false, words)
    }

    fn json(&self, by_python: bool, words: &[&str]) -> Value {
        let mut words = words.to_vec();
        words.push("--json");
        serde_json::from_str(&self.ok(by_python, &words)).unwrap()
    }

    fn submit(&self, by_python: bool, n: usize) -> String {
        let answer = format!("answers/{by_python}-{n}.md");
        let name = format!("task {n}");
        let words = [
            "submit",
            "--lane",
            "l",
            "--request-from",
            "request.md",
            "--response-to",
            &answer,
            "--task-id",
            &name,
            "--prompt",
            "look",
        ];
        self.ok(by_python, &words).trim().to_string()
    }

    /// Claims one task and answers it, or now and then releases it. Returns `false` if there was none.
    fn work(&self, by_python: bool, turn: usize) -> bool {
        let owner = format!("{}-{turn}", if by_python { "python" } else { "rust" });
        let claimed: Value = if by_python {
            let next = self.json(true, &["next", "--lane", "l", "--timeout", "0"]);
            let Some(id) = next["task"]["id"].as_str() else { return false };
            let output = self.run(true, &["claim", id, "--owner", &owner, "--json"]);
            // Another process was faster, which is possible because selecting and claiming are two steps.
            if !output.status.success() {
                return true;
            }
            serde_json::from_slice(&output.stdout).unwrap()
        } else {
            let output = self.run(false, &["claim", "--lane", "l", "--owner", &owner, "--json"]);
            match output.status.code() {
                Some(0) => serde_json::from_slice(&output.stdout).unwrap(),
                Some(4) => return false,
                _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
            }
        };
        let id = claimed["task_id"].as_str().unwrap();
        let token = claimed["claim_token"].as_str().unwrap();
        if turn.is_multiple_of(4) {
            self.ok(by_python, &["release", id, "--claim-token", token, "--reason", "not today"]);
        } else {
            self.ok(by_python, &["renew", id, "--claim-token", token, "--lease-seconds", "600"]);
            self.ok(
                by_python,
                &["respond", id, "--claim-token", token, "--body", &owner, "--reviewer", &owner],
            );
        }
        true
    }
}

#[test]
fn both_work_on_one_store_without_a_task_done_twice() {
    let Some(pool) = Pool::new() else { return };
    let ids: Vec<String> = std::thread::scope(|scope| {
        let submits: Vec<_> = [true, false]
            .into_iter()
            .map(|by_python| {
                let pool = &pool;
                scope.spawn(move || (0..TASKS_EACH).map(|n| pool.submit(by_python, n)).collect::<Vec<_>>())
            })
            .collect();
        submits.into_iter().flat_map(|submit| submit.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 2 * TASKS_EACH);

    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // Each waits for what the other submitted.
        for (n, id) in ids.iter().enumerate() {
            if n.is_multiple_of(5) {
                let (pool, done) = (&pool, &done);
                let by_python = n >= TASKS_EACH;
                scope.spawn(move || {
                    let reply = pool.json(by_python, &["wait", id, "--timeout", "120", "--quiet"]);
                    let path = reply["response_path"].as_str().unwrap();
                    assert_eq!(
                        std::fs::read_to_string(path).unwrap(),
                        reply["response"]["body"].as_str().unwrap()
                    );
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
        }
        for (worker, by_python) in [true, false, true, false].into_iter().enumerate() {
            let pool = &pool;
            scope.spawn(move || {
                let mut turn = worker + 1;
                while pool.work(by_python, turn) {
                    turn += 1;
                }
            });
        }
    });
    // A task that was released after the last check of the others is still there.
    let mut turn = 1_usize;
    while pool.work(turn.is_multiple_of(2), turn * 4 + 1) {
        turn += 1;
    }
    assert_eq!(done.load(Ordering::SeqCst), ids.len().div_ceil(5));

    for id in &ids {
        check_history(&pool, id);
    }
    for by_python in [true, false] {
        let all = pool.json(by_python, &["status", "--all"]);
        assert_eq!(all["summary"]["completed"], ids.len(), "python: {by_python}");
        assert_eq!(all["summary"]["missing_response"], 0);
    }
}

/// One owner at a time, one answer at the end.
fn check_history(pool: &Pool, id: &str) {
    let path = pool.root().join("handoff/state/tasks").join(id).join("events.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let mut holder: Option<String> = None;
    let mut answered = false;
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert!(!answered, "{id}: something happened after the answer: {line}");
        match event["type"].as_str().unwrap() {
            "claimed" => {
                let owner = event["data"]["owner"].as_str().unwrap().to_string();
                assert!(holder.is_none(), "{id}: {owner} claimed it while {holder:?} held it\n{text}");
                holder = Some(owner);
            }
            "released" => assert!(holder.take().is_some(), "{id}: released by nobody\n{text}"),
            "renewed" => assert_eq!(event["data"]["owner"].as_str(), holder.as_deref(), "{id}\n{text}"),
            "response" => {
                assert_eq!(event["data"]["reviewer"].as_str(), holder.as_deref(), "{id}\n{text}");
                answered = true;
            }
            _ => {}
        }
    }
    assert!(answered, "{id} was never answered\n{text}");
}

#[test]
fn each_reads_what_the_other_writes() {
    let Some(pool) = Pool::new() else { return };
    let ours = pool.submit(false, 1);
    let theirs = pool.submit(true, 1);
    for by_python in [true, false] {
        let list = pool.json(by_python, &["list", "--lane", "l"]);
        assert_eq!(list["count"], 2, "python: {by_python}");
    }
    // Our fields survive when the other implementation writes, and its claims are counted.
    let claimed = pool.json(true, &["claim", &ours, "--owner", "python"]);
    let token = claimed["claim_token"].as_str().unwrap();
    pool.ok(true, &["release", &ours, "--claim-token", token]);
    let claimed = pool.json(false, &["claim", &ours, "--owner", "rust"]);
    assert_eq!((&claimed["task"]["fence"], &claimed["task"]["attempt"]), (&2.into(), &1.into()));
    // A cancelled task ends a wait of the other implementation too.
    pool.ok(false, &["cancel", &theirs, "--by", "rust"]);
    let waited = pool.run(true, &["wait", &theirs, "--timeout", "5"]);
    assert_ne!(waited.status.code(), Some(2), "{}", String::from_utf8_lossy(&waited.stderr));
    // A scheduled task is not offered to the other implementation.
    pool.lanes(&["submit", "--lane", "later", "--prompt", "x", "--delay", "1h"]);
    let idle = pool.json(true, &["next", "--lane", "later", "--timeout", "0"]);
    assert_eq!(idle["status"], "idle");
}

#[test]
fn a_task_that_waits_for_another_one_is_not_offered_and_returns_to_its_gate() {
    let Some(pool) = Pool::new() else { return };
    let first = pool.submit(true, 0);
    let waits = pool.lanes(&["submit", "--lane", "m", "--prompt", "later", "--after", &first]);
    let waits = waits.trim();
    let offered = || pool.json(true, &["next", "--lane", "m", "--timeout", "0"])["task"].clone();
    let state = || pool.json(false, &["show", waits])["task"]["state"].clone();
    assert_eq!((offered(), state()), (Value::Null, "blocked".into()));
    // By its id agent-lanes takes any task.
    let claim = pool.json(true, &["claim", waits, "--owner", "python"]);
    let token = claim["claim_token"].as_str().unwrap();
    assert_eq!(state(), "claimed");
    pool.ok(true, &["release", waits, "--claim-token", token, "--reason", "not today"]);
    assert_eq!(pool.run(false, &["claim", "--lane", "m"]).status.code(), Some(4));
    assert_eq!((offered(), state()), (Value::Null, "blocked".into()));
    let claim = pool.json(true, &["claim", &first, "--owner", "python"]);
    let token = claim["claim_token"].as_str().unwrap();
    pool.ok(true, &["respond", &first, "--claim-token", token, "--body", "done", "--reviewer", "python"]);
    let claimed = pool.json(false, &["claim", "--lane", "m", "--owner", "rust"]);
    assert_eq!(claimed["task_id"], waits);
    assert_eq!(claimed["dependencies"][0]["answer"], "done");
    pool.lanes(&["fsck"]);
}

#[test]
fn a_task_with_a_key_is_not_offered_and_a_claim_by_its_id_holds_the_key() {
    let Some(pool) = Pool::new() else { return };
    let submit = || {
        let id = pool.lanes(&["submit", "--lane", "m", "--prompt", "x", "--exclusive", "k"]);
        id.trim().to_string()
    };
    let (first, second) = (submit(), submit());
    let offered = || pool.json(true, &["next", "--lane", "m", "--timeout", "0"])["task"].clone();
    // As the file says; this implementation shows what can be claimed as queued.
    let state = |id: &str| {
        let file = pool.root().join("handoff/state/tasks").join(id).join("task.json");
        serde_json::from_slice::<Value>(&std::fs::read(file).unwrap()).unwrap()["state"].clone()
    };
    assert_eq!((offered(), state(&first), state(&second)), (Value::Null, "blocked".into(), "blocked".into()));
    assert_eq!(pool.json(false, &["show", &first])["task"]["state"], "queued");
    // By its id agent-lanes takes any task; that is a claim as any other.
    let claim = pool.json(true, &["claim", &second, "--owner", "python"]);
    let token = claim["claim_token"].as_str().unwrap();
    assert_eq!(pool.run(false, &["claim", "--lane", "m"]).status.code(), Some(4));
    assert_eq!(pool.json(false, &["why", &first])["reason"], "key_held");
    assert_eq!(offered(), Value::Null);
    pool.ok(true, &["release", &second, "--claim-token", token, "--reason", "not today"]);
    let claim = pool.json(false, &["claim", "--lane", "m", "--owner", "rust"]);
    assert_eq!(claim["task_id"], first.as_str());
    // A claim that finds nothing brings the other one back to its gate.
    assert_eq!(pool.run(false, &["claim", "--lane", "m"]).status.code(), Some(4));
    assert_eq!((offered(), state(&second)), (Value::Null, "blocked".into()));
    let token = claim["claim_token"].as_str().unwrap();
    pool.ok(false, &["renew", &first, "--claim-token", token, "--lease-seconds", "0.2"]);
    // The key passes on when the lease is over, and then the first one is not offered either.
    eventually("the key passes on", || pool.run(false, &["claim", &second]).status.success());
    assert_eq!((offered(), state(&first), state(&second)), (Value::Null, "blocked".into(), "claimed".into()));
    pool.lanes(&["fsck"]);
}
