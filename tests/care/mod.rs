//! What the tests of the store's care share: a store under a clock moved by hand.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use lanes::model::task::NewRequest;
use lanes::model::{Answer, Command, FailureClass, Filter, NewTask, ResponseStatus, Task, TaskId, json};
use lanes::store::{Clock, Options, Store, Want};

/// A directory for one test, and its clock.
pub struct Fixture {
    dir: tempfile::TempDir,
    clock: Arc<AtomicI64>,
}

impl Fixture {
    pub fn new() -> Self {
        let clock = Arc::new(AtomicI64::new(1_795_244_400_000_000));
        Self { dir: tempfile::tempdir().unwrap(), clock }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn store(&self) -> Store {
        self.store_named("state")
    }

    pub fn store_named(&self, name: &str) -> Store {
        let options = Options { clock: Clock::by_hand(Arc::clone(&self.clock)), ..Options::default() };
        Store::open(&self.dir.path().join(name), options).unwrap()
    }

    pub fn pass(&self, seconds: f64) {
        self.clock.fetch_add((seconds * 1e6) as i64, Ordering::SeqCst);
    }

    pub fn wish(&self, lane: &str) -> NewTask {
        NewTask {
            workspace_id: "w".into(),
            correlation_id: "c".into(),
            source_agent: "test".into(),
            lane: lane.into(),
            workspace_root: self.root().to_string_lossy().into_owned(),
            worktree_path: None,
            expected_branch: None,
            request: NewRequest::Text("do it".into()),
            supporting_paths: Vec::new(),
            response_path: None,
            prompt: "do it".into(),
            metadata: json::Object::new(),
            priority: 0,
            not_before: None,
            max_attempts: None,
            key: None,
            name: None,
            labels: Vec::new(),
            timeout_seconds: None,
            retry_of: None,
        }
    }

    pub fn submit(&self, store: &Store, change: impl FnOnce(&mut NewTask)) -> Task {
        let mut new = self.wish("l");
        change(&mut new);
        self.pass(0.001);
        store.submit(new).unwrap().task
    }

    pub fn claim(&self, store: &Store, lane: &str) -> Task {
        let want = Want { lanes: vec![lane.into()], filter: Filter::default() };
        store.claim_next(&want, "me", 60.0).unwrap().unwrap()
    }

    pub fn respond(&self, store: &Store, task: &Task, body: &str) {
        self.answer(store, task, body, ResponseStatus::Completed);
    }

    pub fn answer(&self, store: &Store, task: &Task, body: &str, status: ResponseStatus) {
        let answer = Answer {
            token: task.status.claim().map(|claim| claim.token.clone()),
            reviewer: "me".into(),
            status,
            class: FailureClass::Error,
            body: body.into(),
            verdict: None,
            blocking_count: None,
            nonblocking_count: None,
            follow_up_required: false,
            expect_sha256: None,
            metadata: json::Object::new(),
        };
        store.apply(&task.id, &Command::Respond(answer)).unwrap();
    }

    /// A task that was submitted, claimed and answered just now.
    pub fn ended(&self, store: &Store, change: impl FnOnce(&mut NewTask)) -> Task {
        let task = self.submit(store, change);
        let claimed = store.claim(&task.id, "me", 60.0).unwrap();
        self.respond(store, &claimed, "done");
        store.task(&task.id).unwrap()
    }
}

/// The path of a file in a task's directory.
pub fn task_file(store: &Store, id: &TaskId, name: &str) -> PathBuf {
    store.root().join("tasks").join(id.as_str()).join(name)
}
