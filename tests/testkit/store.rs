//! A store under a clock that the test moves, and tasks and answers for it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use lanes::internals::http::serve_until_exit;
use lanes::internals::model::{
    Answer, AnswerOutcome, ClaimToken, Command, DependencyRef, Effect, ExclusiveKey, IdempotencyKey,
    LaneName, NewTask, Owner, Task, TaskId, json,
};
use lanes::internals::store::{GcAge, GcPlan, LaneQuery, Store, StoreOptions};
use lanes::internals::workspace::Config;
use lanes::{GroupName, RemoteAccess};

use super::clock::TestClock;

/// The length of a claim.
pub const LEASE: Duration = Duration::from_secs(60);
/// The seconds of a day.
pub const DAY: f64 = 86_400.0;

/// A directory for one test, and its clock.
pub struct Fixture {
    dir: tempfile::TempDir,
    clock: TestClock,
    /// The servers of the stores, by their names, if they are on another machine.
    servers: Option<Mutex<HashMap<String, SocketAddr>>>,
}

impl Fixture {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: TestClock::new(), servers: None }
    }

    /// Its stores are reached through servers, which go by the same clock.
    pub fn on_servers() -> Self {
        Self { servers: Some(Mutex::default()), ..Self::new() }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn store(&self) -> Store {
        self.store_named("state")
    }

    pub fn store_named(&self, name: &str) -> Store {
        match &self.servers {
            None => self.files_named(name),
            Some(servers) => {
                let mut servers = servers.lock().unwrap();
                let address = *servers.entry(name.to_string()).or_insert_with(|| self.serve(name));
                self.store_at(address)
            }
        }
    }

    fn files_named(&self, name: &str) -> Store {
        Store::open(&self.dir.path().join(name), self.clock.options()).unwrap()
    }

    fn serve(&self, name: &str) -> SocketAddr {
        let mut config = Config::store_only(&self.dir.path().join(name), self.dir.path()).unwrap();
        // A server submits for its own workspace: that of the tasks of this fixture.
        config.workspace_id = "w".to_string();
        serve_until_exit(self.files_named(name), config).unwrap()
    }

    fn store_at(&self, address: SocketAddr) -> Store {
        let access = RemoteAccess { spool: self.dir.path().join("spool"), ..RemoteAccess::default() };
        let options = StoreOptions { remote: Some(access), ..self.clock.options() };
        Store::open(Path::new(&format!("http://{address}")), options).unwrap()
    }

    pub fn pass(&self, seconds: f64) {
        self.clock.pass((seconds * 1e6) as i64);
    }

    pub fn new_task(&self, lane: &str) -> NewTask {
        new_task(lane, self.root())
    }

    /// Checks that a store is consistent, whatever was done to it.
    pub fn check(&self, store: &Store) {
        let files = self.servers.is_some().then(|| self.files_named("state"));
        check(files.as_ref().unwrap_or(store));
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

/// Checks that a store is consistent, whatever was done to it.
pub fn check(store: &Store) {
    let report = store.fsck(&mut |_, _| ()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

/// The state of a task in the store.
pub fn state(store: &Store, task: &Task) -> String {
    store.task(&task.id).unwrap().status.as_str().to_string()
}

/// Claims the next task of a lane.
pub fn claimed(store: &Store, lane: &str) -> Option<Task> {
    store.claim_next(&in_lane(lane), &owner("me"), LEASE).unwrap()
}

/// Claims the next task of lane `l`.
pub fn claim_next(store: &Store) -> Option<TaskId> {
    claimed(store, "l").map(|task| task.id)
}

/// Claims and answers a task.
pub fn end(fixture: &Fixture, store: &Store, task: &Task, outcome: AnswerOutcome) {
    let claimed = store.claim(&task.id, &owner("me"), LEASE).unwrap();
    fixture.answer(store, &claimed, "the answer", outcome);
}

/// Claims and completes a task.
pub fn complete(fixture: &Fixture, store: &Store, task: &Task) {
    end(fixture, store, task, AnswerOutcome::Completed);
}

/// Dependencies on tasks that must complete.
pub fn completed(dependencies: &[&Task]) -> Vec<DependencyRef> {
    dependencies.iter().map(|task| DependencyRef::completed(task.id.as_str())).collect()
}

/// Submits a task to lane `l` that waits for others to complete.
pub fn after(fixture: &Fixture, store: &Store, dependencies: &[&Task]) -> Task {
    fixture.submit(store, |new| new.after = completed(dependencies))
}

/// Submits a task to lane `first`.
pub fn first(fixture: &Fixture, store: &Store) -> Task {
    fixture.submit(store, |new| new.spec.lane = lane_name("first"))
}

/// Gives a task exclusive keys.
pub fn with_keys(names: &[&str]) -> impl Fn(&mut NewTask) {
    let keys: Vec<ExclusiveKey> = names.iter().map(|name| ExclusiveKey::new(*name).unwrap()).collect();
    move |new| new.spec.exclusive = keys.clone()
}

/// Submits a task with these keys to lane `l`.
pub fn keyed(fixture: &Fixture, store: &Store, names: &[&str]) -> Task {
    fixture.submit(store, with_keys(names))
}

/// The name of a group.
pub fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

/// Submits a task that is in a group.
pub fn member(fixture: &Fixture, store: &Store, name: &str) -> Task {
    fixture.submit(store, |new| new.spec.group = Some(group(name)))
}

/// The tasks of a group, all of which can be read.
pub fn members(store: &Store, name: &str) -> Vec<TaskId> {
    let mut unreadable = 0;
    let found = store.group_members(&group(name), &|_| true, &mut |_| unreadable += 1).unwrap_or_default();
    assert_eq!(unreadable, 0);
    found
}

/// The ids of tasks.
pub fn ids(tasks: &[&Task]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.id.clone()).collect()
}

/// The ids of tasks, as text.
pub fn names_of(tasks: &[&Task]) -> Vec<String> {
    tasks.iter().map(|task| task.id.to_string()).collect()
}

/// The tasks of a store, by name.
pub fn left(store: &Store) -> Vec<String> {
    let mut left = Vec::new();
    store.scan(&mut |name, _| left.push(name.to_string())).unwrap();
    left
}

/// A plan to remove the tasks that ended so many days ago.
pub fn older_than(days: f64) -> GcPlan {
    GcPlan { age: GcAge::OlderThan(Duration::from_secs_f64(days * DAY)), ..GcPlan::default() }
}

/// Removes tasks, and returns which.
pub fn gc(store: &Store, plan: &GcPlan) -> Vec<String> {
    store.gc(plan).unwrap().removed.iter().map(ToString::to_string).collect()
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
