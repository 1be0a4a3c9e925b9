//! A store under a clock that the test moves, and tasks and answers for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lanes::internals::model::{
    Answer, AnswerOutcome, ClaimToken, Command, Effect, IdempotencyKey, LaneName, NewTask, Owner, Task,
    TaskId, json,
};
use lanes::internals::store::{LaneQuery, Store};

use super::clock::TestClock;

/// A directory for one test, and its clock.
pub struct Fixture {
    dir: tempfile::TempDir,
    clock: TestClock,
}

impl Fixture {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: TestClock::new() }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn store(&self) -> Store {
        self.store_named("state")
    }

    pub fn store_named(&self, name: &str) -> Store {
        Store::open(&self.dir.path().join(name), self.clock.options()).unwrap()
    }

    pub fn pass(&self, seconds: f64) {
        self.clock.pass((seconds * 1e6) as i64);
    }

    pub fn new_task(&self, lane: &str) -> NewTask {
        new_task(lane, self.root())
    }

    /// Checks that a store is consistent, whatever was done to it.
    pub fn check(&self, store: &Store) {
        let report = store.fsck(&mut |_, _| ()).unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
    }

    pub fn submit(&self, store: &Store, change: impl FnOnce(&mut NewTask)) -> Task {
        let mut new = self.new_task("l");
        change(&mut new);
        self.pass(0.001);
        store.submit(new).unwrap().task
    }

    pub fn claim(&self, store: &Store, lane: &str) -> Task {
        store.claim_next(&in_lane(lane), &owner("me"), Duration::from_secs(60)).unwrap().unwrap()
    }

    pub fn respond(&self, store: &Store, task: &Task, body: &str) -> Effect {
        self.answer(store, task, body, AnswerOutcome::Completed)
    }

    pub fn answer(&self, store: &Store, task: &Task, body: &str, outcome: AnswerOutcome) -> Effect {
        let answer = Answer { outcome, ..answer(task, body) };
        store.apply(&task.id, &Command::Respond(answer)).unwrap().1
    }

    /// A task that was submitted, claimed and answered just now.
    pub fn ended(&self, store: &Store, change: impl FnOnce(&mut NewTask)) -> Task {
        let task = self.submit(store, change);
        let claimed = store.claim(&task.id, &owner("me"), Duration::from_secs(60)).unwrap();
        self.respond(store, &claimed, "done");
        store.task(&task.id).unwrap()
    }
}

/// An idempotency key, as a task has it.
pub fn idempotency_key(key: impl Into<String>) -> Option<IdempotencyKey> {
    Some(IdempotencyKey::new(key).unwrap())
}

/// The name of a worker.
pub fn owner(name: &str) -> Owner {
    Owner::new(name).unwrap()
}

/// The name of a lane.
pub fn lane_name(name: &str) -> LaneName {
    LaneName::new(name).unwrap()
}

/// A prompt to submit to `lane`, in a workspace at `root`.
pub fn new_task(lane: &str, root: &Path) -> NewTask {
    let mut new = NewTask::prompt(lane_name(lane), "do it");
    new.spec.workspace_id = "w".into();
    new.spec.correlation_id = "c".into();
    new.spec.source_agent = "test".into();
    new.spec.workspace_root = root.to_string_lossy().into_owned();
    new
}

/// Any task of `lane`.
pub fn in_lane(lane: &str) -> LaneQuery {
    LaneQuery::lane(lane_name(lane))
}

/// An answer under the claim of `task`.
pub fn answer(task: &Task, body: &str) -> Answer {
    answer_with(task.status.claim().map(|claim| claim.token.clone()), body)
}

/// An answer under a token, or a direct one.
pub fn answer_with(token: Option<ClaimToken>, body: &str) -> Answer {
    Answer { token, ..Answer::completed("me", body) }
}

/// A command that adds an event to the history of a task.
pub fn note(message: &str) -> Command {
    Command::Note { kind: "note".into(), message: message.into(), data: json::Object::new(), token: None }
}

/// The path of a file in a task's directory.
pub fn task_file(store: &Store, id: &TaskId, name: &str) -> PathBuf {
    store.root().join("tasks").join(id.as_str()).join(name)
}
