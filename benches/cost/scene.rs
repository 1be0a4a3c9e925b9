//! Stores to measure in, prepared for each command.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lanes::internals::model::NewRequest;
use lanes::internals::model::{Answer, Command, NewTask, TaskId};
use lanes::internals::sha256::sha256_file;
use lanes::internals::store::{Store, StoreOptions};

use crate::support;

/// Path of the binary that is measured.
pub const LANES: &str = env!("CARGO_BIN_EXE_lanes");

/// The lane of all tasks.
pub const LANE: &str = "lane-00";

/// The directory for workspaces; removed at the end.
pub static WORK: OnceLock<PathBuf> = OnceLock::new();

/// A workspace with a store in it.
pub struct Scene {
    dir: PathBuf,
}

impl Scene {
    /// Creates a workspace with an empty store.
    pub fn empty() -> Self {
        let work = WORK.get().expect("it is set at the start");
        let dir = tempfile::tempdir_in(work).expect("a temporary directory").keep();
        let scene = Self { dir };
        let config =
            "workspace_id: bench\nworkspace_root: ..\nqueue_root: state\nlanes:\n  lane-00: measured\n";
        std::fs::create_dir(scene.dir.join("handoff")).expect("a new directory");
        std::fs::write(scene.dir.join("handoff/handoff.yaml"), config).expect("a new file");
        std::fs::write(scene.dir.join("request.md"), "do it").expect("a new file");
        scene.store();
        scene
    }

    /// Creates a workspace with a store filled according to `plan`, synced to disk.
    pub fn filled(plan: &support::Plan) -> Self {
        let scene = Self::empty();
        std::fs::remove_dir_all(scene.root()).expect("it was just made");
        support::make(&scene.root(), plan);
        rustix::fs::sync();
        scene
    }

    /// Returns the directory in which commands run.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Returns the state directory.
    pub fn root(&self) -> PathBuf {
        self.dir.join("handoff/state")
    }

    /// Opens the store with the library.
    pub fn store(&self) -> Store {
        Store::open(&self.root(), StoreOptions::default()).expect("the store opens")
    }
}

/// The state of the task that a command finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Queued,
    Claimed,
    Answered,
}

/// A command that is measured as a process.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Its name.
    pub name: &'static str,
    /// Number of durable writes that its promise needs: new directories, replaced files.
    pub durable: (u32, u32),
    /// Whether agent-lanes has it.
    pub at_peer: bool,
    found: Found,
    args: &'static [&'static str],
}

impl Measured {
    const fn new(
        name: &'static str,
        durable: (u32, u32),
        at_peer: bool,
        found: Found,
        args: &'static [&'static str],
    ) -> Self {
        Self { name, durable, at_peer, found, args }
    }

    /// Prepares `times` runs in the store, and returns the arguments of each.
    pub fn prepare(&self, store: &Store, times: usize) -> Vec<Vec<String>> {
        (0..times)
            .map(|_| {
                let (id, token) = self.task(store);
                self.args.iter().map(|word| word.replace("ID", &id).replace("TOKEN", &token)).collect()
            })
            .collect()
    }

    fn task(&self, store: &Store) -> (String, String) {
        if self.found == Found::Nothing {
            return (String::new(), String::new());
        }
        let id = store.submit(wish(store.root())).expect("a task can be submitted").task.id;
        if self.found == Found::Queued {
            return (id.to_string(), String::new());
        }
        let task =
            store.claim(&id, &support::owner("bench"), Duration::from_secs(3600)).expect("it can be claimed");
        let token = task.status.claim().expect("it is claimed").token.clone();
        if self.found == Found::Answered {
            store.apply(&id, &answer(token.clone())).expect("it can be answered");
        }
        (id.to_string(), token.as_str().to_string())
    }
}

const SUBMIT_FILE: [&str; 9] = [
    "submit",
    "--lane",
    LANE,
    "--request-from",
    "request.md",
    "--response-to",
    "response.md",
    "--prompt",
    "do it",
];

/// Returns every command whose cost must not depend on the size of the store.
pub const COMMANDS: [Measured; 10] = [
    Measured::new("submit FILE", (1, 0), true, Found::Nothing, &SUBMIT_FILE),
    Measured::new(
        "submit",
        (1, 0),
        false,
        Found::Nothing,
        &["submit", "-q", "--lane", LANE, "--prompt", "do it"],
    ),
    Measured::new("claim ID", (0, 1), true, Found::Queued, &["claim", "ID", "--owner", "bench"]),
    Measured::new(
        "claim --lane",
        (0, 1),
        false,
        Found::Queued,
        &["claim", "--lane", LANE, "--owner", "bench"],
    ),
    Measured::new("renew", (0, 1), true, Found::Claimed, &["renew", "ID", "--claim-token", "TOKEN"]),
    Measured::new("release", (0, 1), true, Found::Claimed, &["release", "ID", "--claim-token", "TOKEN"]),
    Measured::new(
        "respond",
        (0, 1),
        true,
        Found::Claimed,
        &["respond", "ID", "--claim-token", "TOKEN", "--body", "done"],
    ),
    Measured::new("status ID", (0, 0), true, Found::Queued, &["status", "ID"]),
    // It also writes the answer to the task's response_path.
    Measured::new("wait ID", (0, 1), true, Found::Answered, &["wait", "ID"]),
    Measured::new("cancel", (0, 1), false, Found::Queued, &["cancel", "ID"]),
];

/// Returns a small task with its own correlation id.
pub fn wish(root: &Path) -> NewTask {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut new = NewTask::prompt(support::lane_name(LANE), "do it");
    new.spec.workspace_id = "bench".into();
    new.spec.correlation_id = format!("bench-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    new.spec.source_agent = "bench".into();
    new.spec.workspace_root = root.to_string_lossy().into_owned();
    new
}

/// Returns a short answer.
pub fn answer(token: lanes::internals::model::ClaimToken) -> Command {
    Command::Respond(Answer { token: Some(token), ..Answer::completed("bench", "done") })
}

/// Submits a task that names a request file, as agent-lanes' tasks all do, claims and answers it.
pub fn cycle(store: &Store, request: &Path) -> TaskId {
    let request = NewRequest::File {
        path: request.to_string_lossy().into_owned(),
        sha256: sha256_file(request).expect("it can be read"),
    };
    let wish = NewTask { request, ..wish(store.root()) };
    let id = store.submit(wish).expect("a task can be submitted").task.id;
    let task =
        store.claim(&id, &support::owner("bench"), Duration::from_secs(3600)).expect("it can be claimed");
    let token = task.status.claim().expect("it is claimed").token.clone();
    store.apply(&id, &answer(token)).expect("it can be answered");
    id
}
