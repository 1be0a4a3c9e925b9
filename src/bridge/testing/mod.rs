//! Boards for tests, and a bridge to them that starts anew for each round.

mod board_file;
mod memory_board;
#[cfg(feature = "planka")]
mod planka_server;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use self::board_file::BoardFile;
pub(crate) use self::memory_board::BoardData;
#[cfg(feature = "planka")]
use self::planka_server::BoardServer;
use super::adapter::AdapterLog;
use super::board::{Board, Card, QueueRef};
use super::engine::{Bridge, BridgeContext, BridgeFailure, StepResult};
use super::event::BridgeEvent;
use super::settings::{AdapterSettings, BridgeSettings, CardRetry, MoveOn, TaskFate, WatchedQueue};
use super::stop::StopFlag;
use crate::model::{
    Answer, AnswerOutcome, Command, FailureClass, IdempotencyKey, LaneName, NewTask, Owner, Task, TaskId,
    json,
};
use crate::store::{LaneQuery, Store, StoreOptions};
use crate::workspace::Config;

/// The queues of the board.
pub(crate) const QUEUES: [&str; 6] = ["Todo", "In Progress", "Done", "Failed", "Attic", "Review"];

/// A directory in memory, if the machine has one: these tests are not about what survives a power cut.
fn quick_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// A queue as settings name it.
pub(crate) fn queue(name: &str) -> QueueRef {
    QueueRef::Name(name.to_string())
}

/// The settings of a watched queue.
pub(crate) fn watched(name: &str) -> WatchedQueue {
    WatchedQueue {
        queue: queue(name),
        lane: LaneName::stored("work"),
        in_progress: Some(queue("In Progress")),
        move_on: MoveOn::Submit,
        done: Some(queue("Done")),
        failed: Some(queue("Failed")),
        dead_letter: Some(queue("Attic")),
        retry: CardRetry::Comment,
        gone: TaskFate::Cancel,
        moved_away: TaskFate::Keep,
        poll_interval: Duration::ZERO,
    }
}

/// What a board is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BoardKind {
    /// In memory, without generations.
    Counted,
    /// In memory, with generations.
    Numbered,
    /// A JSON file.
    File,
    /// The stand-in for a Planka server.
    #[cfg(feature = "planka")]
    Planka,
}

impl BoardKind {
    /// All of them.
    pub(crate) const ALL: &[Self] = &[
        Self::Counted,
        Self::Numbered,
        Self::File,
        #[cfg(feature = "planka")]
        Self::Planka,
    ];
}

/// A board as the people see it who work with it: its queues are `QUEUES`.
trait PeoplesBoard: Send + Sync {
    /// Connects a bridge.
    fn connect(&self) -> Box<dyn Board + '_>;
    /// How settings name a queue that is watched.
    fn source(&self, queue: &str) -> QueueRef;
    /// Adds a card that is called `Card ID`.
    fn add(&self, id: &str, queue: &str);
    /// Moves a card to the end of a queue.
    fn put(&self, id: &str, queue: &str);
    /// Changes the title of a card.
    fn rename(&self, id: &str, name: &str);
    /// Deletes a card.
    fn remove(&self, id: &str);
    /// The id that the board has given a card.
    fn id(&self, id: &str) -> String {
        id.to_string()
    }
    /// The card, in the queue with this name.
    fn card(&self, id: &str) -> Card;
}

/// A board, a store, and a bridge between them.
pub(crate) struct World {
    dir: tempfile::TempDir,
    shared: Arc<dyn PeoplesBoard>,
    /// The board in memory, for tests that look into it.
    pub data: Arc<Mutex<BoardData>>,
    pub store: Store,
    pub config: Config,
    pub settings: BridgeSettings,
    pub events: Mutex<Vec<BridgeEvent>>,
}

impl World {
    pub(crate) fn new(has_generations: bool) -> Self {
        Self::on(Arc::new(Mutex::new(BoardData { has_generations, ..BoardData::default() })))
    }

    /// Another store for the same board in memory.
    pub(crate) fn on(data: Arc<Mutex<BoardData>>) -> Self {
        Self::with_board(data.clone(), data)
    }

    /// A store with a board of this kind.
    pub(crate) fn of(kind: BoardKind) -> Self {
        match kind {
            BoardKind::Counted => Self::new(false),
            BoardKind::Numbered => Self::new(true),
            BoardKind::File => Self::with_board(Arc::new(BoardFile::new()), Arc::default()),
            #[cfg(feature = "planka")]
            BoardKind::Planka => Self::with_board(Arc::new(BoardServer::new()), Arc::default()),
        }
    }

    /// Another store for the board of this one.
    pub(crate) fn beside(&self) -> Self {
        Self::with_board(Arc::clone(&self.shared), Arc::clone(&self.data))
    }

    fn with_board(shared: Arc<dyn PeoplesBoard>, data: Arc<Mutex<BoardData>>) -> Self {
        let dir = quick_directory();
        let root = dir.path().canonicalize().unwrap();
        let store = Store::open(&root.join("state"), StoreOptions::default()).unwrap();
        let config = Config::store_only(&root.join("state"), &root).unwrap();
        let settings = BridgeSettings {
            name: "team".to_string(),
            adapter: AdapterSettings::Json { path: root.join("board.json") },
            requests_per_second: 1000.0,
            take_assigned_after: Duration::ZERO,
            queues: vec![WatchedQueue { queue: shared.source("Todo"), ..watched("Todo") }],
        };
        Self { dir, shared, data, store, config, settings, events: Mutex::new(Vec::new()) }
    }

    pub(crate) fn board(&self) -> MutexGuard<'_, BoardData> {
        self.data.lock().unwrap()
    }

    /// Adds a card that is called `Card ID`, as a person does.
    pub(crate) fn add(&self, id: &str, queue: &str) {
        self.shared.add(id, queue);
    }

    /// Moves a card to the end of a queue, as a person does.
    pub(crate) fn put(&self, id: &str, queue: &str) {
        self.shared.put(id, queue);
    }

    /// Changes the title of a card, as a person does.
    pub(crate) fn rename(&self, id: &str, name: &str) {
        self.shared.rename(id, name);
    }

    /// Deletes a card, as a person does.
    pub(crate) fn remove(&self, id: &str) {
        self.shared.remove(id);
    }

    /// A card.
    pub(crate) fn card(&self, id: &str) -> Card {
        self.shared.card(id)
    }

    /// The id that the board has given a card.
    pub(crate) fn id(&self, id: &str) -> String {
        self.shared.id(id)
    }

    /// The name of the queue of a card.
    pub(crate) fn queue_of(&self, id: &str) -> String {
        self.card(id).queue
    }

    /// The comments of a card that tell of its task, without their markers.
    pub(crate) fn comments(&self, id: &str) -> Vec<String> {
        let comments = self.card(id).comments.into_iter();
        let texts = comments.map(|comment| comment.text.rsplit_once("\n\n_lanes").unwrap().0.to_string());
        texts.filter(|text| text != "Taken.").collect()
    }

    /// Starts a bridge, makes a round, and ends it.
    pub(crate) fn try_round(&self, dry_run: bool) -> StepResult<()> {
        let stop = Arc::new(StopFlag::default());
        let adapter_log: AdapterLog = Arc::new(|_| {});
        let context = BridgeContext {
            settings: &self.settings,
            store: &self.store,
            config: &self.config,
            environment: &[],
            adapter_log: &adapter_log,
            stop: &stop,
            observe: &|event| self.events.lock().unwrap().push(event),
            dry_run,
        };
        let mut bridge = Bridge::open(&context, self.shared.connect())?;
        let cards = bridge.all_cards();
        let queues: Vec<usize> = (0..self.settings.queues.len()).collect();
        bridge.round(&cards, &queues)?;
        match bridge.problem.take() {
            Some(problem) => Err(BridgeFailure::Board(problem)),
            None => Ok(()),
        }
    }

    pub(crate) fn round(&self) {
        self.try_round(false).unwrap();
    }

    /// All tasks, oldest first.
    pub(crate) fn tasks(&self) -> Vec<Task> {
        let mut tasks = Vec::new();
        self.store.scan(&mut |_, task| tasks.push(task.unwrap())).unwrap();
        tasks
    }

    /// Claims the next task.
    pub(crate) fn claim(&self) -> Option<Task> {
        let query = LaneQuery::lane(LaneName::stored("work"));
        self.store.claim_next(&query, &Owner::stored("me"), Duration::from_secs(600)).unwrap()
    }

    pub(crate) fn respond(&self, task: &Task, body: &str, outcome: AnswerOutcome) {
        let token = task.status.claim().map(|claim| claim.token.clone());
        let answer = Answer { token, outcome, ..Answer::completed("me", body) };
        self.store.apply(&task.id, &Command::Respond(answer)).unwrap();
    }

    /// Submits the task that continues another one, as a dispatcher does when that is answered.
    pub(crate) fn continue_task(&self, task: &Task, lane: &str) -> Task {
        let old = self.store.task(&task.id).unwrap();
        let mut next = NewTask::with_spec_of(&old.spec, self.store.copy_request(&old).unwrap());
        next.spec.lane = LaneName::stored(lane);
        next.spec.key = Some(IdempotencyKey::continuation_of(&old.id));
        self.store.submit_again(next).unwrap().task
    }

    /// Claims and answers all tasks.
    pub(crate) fn answer_all(&self) {
        while let Some(task) = self.claim() {
            self.respond(&task, "It works.", AnswerOutcome::Completed);
        }
    }

    /// Returns a task to its lane after a failed attempt.
    pub(crate) fn release(&self, task: &Task, reason: &str, spent: Option<FailureClass>) {
        let token = task.status.claim().map(|claim| claim.token.clone()).unwrap();
        let release = Command::Release { token, reason: Some(reason.to_string()), delay: None, spent };
        self.store.apply(&task.id, &release).unwrap();
    }

    pub(crate) fn note(&self, task: &TaskId, kind: &str, message: &str, data: &str) {
        let data = json::parse_object(data.as_bytes()).unwrap();
        let note = Command::Note { kind: kind.to_string(), message: message.to_string(), data, token: None };
        self.store.apply(task, &note).unwrap();
    }

    /// Loses what the bridge remembers.
    pub(crate) fn forget(&self) {
        std::fs::remove_file(self.dir.path().join("state/bridges/team.json")).unwrap();
    }
}
