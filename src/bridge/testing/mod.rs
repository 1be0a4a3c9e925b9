//! A board in memory, and a bridge to it that starts anew for each round.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::adapter::AdapterLog;
use super::board::{
    Board, BoardAbilities, BoardError, BoardErrorCode, BoardIdentity, BoardQueue, BoardResult, BoardUser,
    Card, CardChange, CardComment, NewCard, QueueRef,
};
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

/// What is on the board.
#[derive(Default)]
pub(crate) struct BoardData {
    pub cards: Vec<Card>,
    pub has_generations: bool,
    pub assigns_once: bool,
    moves: u64,
    /// The number of changes so far.
    pub changes: usize,
    /// The change before or after which the bridge dies.
    pub dies_at: Option<(usize, bool)>,
    /// The failure of every request.
    pub failure: Option<BoardError>,
}

impl BoardData {
    pub(crate) fn card(&self, id: &str) -> &Card {
        self.cards.iter().find(|card| card.id == id).expect("the card exists")
    }

    pub(crate) fn card_mut(&mut self, id: &str) -> &mut Card {
        self.cards.iter_mut().find(|card| card.id == id).expect("the card exists")
    }

    /// Adds a card to a queue.
    pub(crate) fn add(&mut self, id: &str, queue: &str) {
        self.cards.push(Card { id: id.to_string(), name: format!("Card {id}"), ..Card::default() });
        self.put(id, queue);
    }

    /// Moves a card, as a person does.
    pub(crate) fn put(&mut self, id: &str, queue: &str) {
        self.moves += 1;
        let generation = self.has_generations.then(|| format!("2026-11-28T10:00:{:02}Z", self.moves));
        let at = self.cards.iter().position(|card| card.id == id).expect("the card exists");
        let mut card = self.cards.remove(at);
        if card.queue != queue {
            card.generation = generation;
        }
        card.queue = queue.to_string();
        self.cards.push(card);
    }

    pub(crate) fn remove(&mut self, id: &str) {
        self.cards.retain(|card| card.id != id);
    }

    pub(crate) fn queue_of(&self, id: &str) -> String {
        self.card(id).queue.clone()
    }

    /// The comments of a card, without their markers.
    pub(crate) fn comments(&self, id: &str) -> Vec<String> {
        let text = |comment: &CardComment| comment.text.rsplit_once("\n\n_lanes").unwrap().0.to_string();
        self.card(id).comments.iter().map(text).collect()
    }
}

/// A connection to the board.
pub(crate) struct MemoryBoard {
    data: Arc<Mutex<BoardData>>,
    identity: BoardIdentity,
    is_dead: bool,
}

impl MemoryBoard {
    fn connect(data: &Arc<Mutex<BoardData>>) -> Self {
        let board = data.lock().unwrap();
        let can = BoardAbilities {
            generation: board.has_generations,
            assign_once: board.assigns_once,
            queues: true,
            labels: true,
            watch: false,
        };
        let user = Some(BoardUser { id: "1".to_string(), name: "bot".to_string() });
        let identity = BoardIdentity { name: "memory".to_string(), version: "1".to_string(), user, can };
        Self { data: Arc::clone(data), identity, is_dead: false }
    }

    fn open(&self) -> BoardResult<MutexGuard<'_, BoardData>> {
        let data = self.data.lock().unwrap();
        match &data.failure {
            Some(failure) => Err(failure.clone()),
            None if self.is_dead => Err(BoardError::new(BoardErrorCode::Unavailable, "killed")),
            None => Ok(data),
        }
    }

    /// Makes a change, unless the bridge dies before it.
    fn change<T>(&mut self, make: impl FnOnce(&mut BoardData) -> BoardResult<T>) -> BoardResult<T> {
        let data = Arc::clone(&self.data);
        let killed = || BoardError::new(BoardErrorCode::Unavailable, "killed");
        let mut data = {
            drop(self.open()?);
            data.lock().unwrap()
        };
        let number = data.changes;
        data.changes += 1;
        if data.dies_at == Some((number, false)) {
            self.is_dead = true;
            return Err(killed());
        }
        let made = make(&mut data);
        if data.dies_at == Some((number, true)) {
            self.is_dead = true;
            return Err(killed());
        }
        made
    }
}

fn not_found() -> BoardError {
    BoardError::new(BoardErrorCode::NotFound, "there is no such card or queue")
}

fn name_of(queue: &QueueRef) -> &str {
    match queue {
        QueueRef::Name(name) => name,
        QueueRef::Id { id } => id,
    }
}

impl Board for MemoryBoard {
    fn identity(&self) -> &BoardIdentity {
        &self.identity
    }

    fn get_ready_tasks(&mut self, queue: &QueueRef, limit: usize) -> BoardResult<Vec<Card>> {
        let data = self.open()?;
        Ok(data.cards.iter().filter(|card| card.queue == name_of(queue)).take(limit).cloned().collect())
    }

    fn get_task(&mut self, id: &str) -> BoardResult<Card> {
        self.open()?.cards.iter().find(|card| card.id == id).cloned().ok_or_else(not_found)
    }

    fn move_task(&mut self, id: &str, queue: &QueueRef, expected: Option<&QueueRef>) -> BoardResult<()> {
        self.change(|data| {
            let card = data.cards.iter().find(|card| card.id == id).ok_or_else(not_found)?;
            let is_expected = expected.is_none_or(|expected| card.queue == name_of(expected));
            if card.queue == name_of(queue) {
                return Ok(());
            }
            if !is_expected {
                return Err(BoardError::new(BoardErrorCode::Conflict, "it is elsewhere"));
            }
            data.put(id, name_of(queue));
            Ok(())
        })
    }

    fn add_comment(&mut self, id: &str, text: &str, marker: &str) -> BoardResult<()> {
        self.change(|data| {
            let card = data.cards.iter_mut().find(|card| card.id == id).ok_or_else(not_found)?;
            if !card.comments.iter().any(|comment| comment.text.contains(marker)) {
                card.comments.push(CardComment { text: text.to_string(), ..CardComment::default() });
            }
            Ok(())
        })
    }

    fn update_task(&mut self, id: &str, change: &CardChange) -> BoardResult<()> {
        self.change(|data| {
            let card = data.cards.iter_mut().find(|card| card.id == id).ok_or_else(not_found)?;
            let CardChange { name, description, labels, assignees } = change.clone();
            card.name = name.unwrap_or(card.name.clone());
            card.description = description.unwrap_or(card.description.clone());
            card.labels = labels.unwrap_or(card.labels.clone());
            card.assignees = assignees.unwrap_or(card.assignees.clone());
            Ok(())
        })
    }

    fn assign_task(&mut self, id: &str) -> BoardResult<bool> {
        self.change(|data| {
            let card = data.cards.iter_mut().find(|card| card.id == id).ok_or_else(not_found)?;
            let is_new = !card.assignees.iter().any(|name| name == "bot");
            if is_new {
                card.assignees.push("bot".to_string());
            }
            Ok(is_new)
        })
    }

    fn create_task(&mut self, card: &NewCard) -> BoardResult<Card> {
        self.change(|data| {
            let id = format!("new-{}", data.cards.len());
            data.add(&id, name_of(&card.queue));
            Ok(data.card(&id).clone())
        })
    }

    fn list_queues(&mut self) -> BoardResult<Vec<BoardQueue>> {
        QUEUES.iter().map(|name| self.get_queue(&QueueRef::Name((*name).to_string()))).collect()
    }

    fn get_queue(&mut self, queue: &QueueRef) -> BoardResult<BoardQueue> {
        drop(self.open()?);
        let name = name_of(queue);
        let queue =
            || BoardQueue { id: name.to_string(), name: name.to_string(), extra: json::Object::new() };
        QUEUES.contains(&name).then(queue).ok_or_else(not_found)
    }

    fn create_queue(&mut self, _: &str) -> BoardResult<BoardQueue> {
        Err(BoardError::new(BoardErrorCode::Unsupported, "the queues are fixed"))
    }

    fn update_queue(&mut self, _: &QueueRef, _: &str) -> BoardResult<BoardQueue> {
        Err(BoardError::new(BoardErrorCode::Unsupported, "the queues are fixed"))
    }

    fn delete_queue(&mut self, _: &QueueRef) -> BoardResult<()> {
        Err(BoardError::new(BoardErrorCode::Unsupported, "the queues are fixed"))
    }

    fn wait_for_change(&mut self, _: Duration) -> BoardResult<bool> {
        Ok(false)
    }
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

/// A board, a store, and a bridge between them.
pub(crate) struct World {
    dir: tempfile::TempDir,
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

    /// Another store for the same board.
    pub(crate) fn on(data: Arc<Mutex<BoardData>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let store = Store::open(&root.join("state"), StoreOptions::default()).unwrap();
        let config = Config::store_only(&root.join("state"), &root).unwrap();
        let settings = BridgeSettings {
            name: "team".to_string(),
            adapter: AdapterSettings::Json { path: root.join("board.json") },
            requests_per_second: 1000.0,
            take_assigned_after: Duration::ZERO,
            queues: vec![watched("Todo")],
        };
        Self { dir, data, store, config, settings, events: Mutex::new(Vec::new()) }
    }

    pub(crate) fn board(&self) -> MutexGuard<'_, BoardData> {
        self.data.lock().unwrap()
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
        let mut bridge = Bridge::open(&context, Box::new(MemoryBoard::connect(&self.data)))?;
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
