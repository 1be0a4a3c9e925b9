//! `lanes self-test`: runs a task through a temporary queue, to test this machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::context::CommandContext;
use super::exit::CommandExit;
use crate::error::{Error, ErrorKind, Result};
use crate::model::task::object;
use crate::model::{Answer, Command, LaneName, Owner, TaskId};
use crate::store::{LaneQuery, Store, StoreOptions};
use crate::workspace::{BaseDir, Config, SubmitContext, SubmitRequest, check_submit, deliver};

/// Run a task through a temporary queue.
///
/// It is submitted, claimed and answered, and its answer is waited for.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes self-test")]
pub(super) struct SelfTestCommand {}

const LANE: &str = "self-test";
const ANSWER: &str = "all is well\n";

impl SelfTestCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        context.refuse_queue("self-test", "it makes a queue of its own; `lanes doctor` examines yours")?;
        let place = TemporaryStore::make()?;
        let id = round(&place.0, &context.store_options()?)?;
        drop(place);
        if context.out.json {
            context.out.object(&object([("status", "ok".into()), ("task_id", id.as_str().into())]))?;
            return Ok(CommandExit::Done);
        }
        context.out.line(&format!("self-test passed: {id}"))?;
        Ok(CommandExit::Done)
    }
}

/// A temporary directory, removed on drop.
struct TemporaryStore(PathBuf);

impl TemporaryStore {
    fn make() -> Result<Self> {
        let random = crate::store::Entropy::system().next(crate::model::Time::from_micros(0));
        let path = std::env::temp_dir().join(format!("lanes-self-test-{random:032x}"));
        std::fs::create_dir(&path).map_err(|error| Error::io("create", &path, error))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryStore {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn round(place: &Path, options: &StoreOptions) -> Result<TaskId> {
    let question = place.join("request.md");
    let response = place.join("response.md");
    std::fs::write(&question, "Is all well?\n").map_err(|error| Error::io("write", &question, error))?;
    let config = Config::store_only(&place.join("state"), place)?;
    let store = Store::open(&config.store_root, options.clone())?;
    let request = SubmitRequest {
        lane: Some(LANE.to_string()),
        request_from: Some(question),
        response_to: Some(response.clone()),
        ..SubmitRequest::default()
    };
    let checked = check_submit(&SubmitContext::new(&config, &BaseDir::at(place), store.now().wall), request)?;
    let id = store.submit(checked.task)?.task.id;
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| run_worker(&config.store_root, options));
        let waited = wait(&store, &id);
        let worked = worker.join().unwrap_or_else(|_| Err(failed("the worker died")));
        worked.and(waited)
    })?;
    let task = store.task(&id)?;
    let answer = store.response(&task)?.ok_or_else(|| failed("there is no answer"))?;
    deliver(&store, &task, &answer, || Ok(config.clone()))?;
    let delivered =
        std::fs::read_to_string(&response).map_err(|error| Error::io("read", &response, error))?;
    if delivered == ANSWER { Ok(id) } else { Err(failed("the answer is not the one that was given")) }
}

fn run_worker(root: &Path, options: &StoreOptions) -> Result<()> {
    let store = Store::open(root, options.clone())?;
    let want = LaneQuery::lane(LaneName::new(LANE)?);
    let me = Owner::new("self-test")?;
    let task = store
        .claim_next(&want, &me, Duration::from_secs(60))?
        .ok_or_else(|| failed("the task could not be claimed"))?;
    let answer = Answer {
        token: task.status.claim().map(|claim| claim.token.clone()),
        ..Answer::completed(&me, ANSWER)
    };
    store.apply(&task.id, &Command::Respond(answer)).map(|_| ())
}

fn wait(store: &Store, id: &TaskId) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut watch = store.watch_tasks(std::slice::from_ref(id));
    while !store.task(id)?.status.is_terminal() {
        if !watch.wait(deadline) {
            return Err(failed("no answer came within 30 seconds"));
        }
    }
    Ok(())
}

fn failed(what: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("self-test failed: {what}"))
}
