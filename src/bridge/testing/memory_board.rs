//! A board in memory, which counts its changes and lets a bridge die at one of them.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::{PeoplesBoard, QUEUES};
use crate::bridge::board::{
    Board, BoardAbilities, BoardError, BoardErrorCode, BoardIdentity, BoardQueue, BoardResult, BoardUser,
    Card, CardChange, CardComment, NewCard, QueueRef,
};
use crate::model::json;

/// What is on the board.
#[derive(Default)]
pub(crate) struct BoardData {
    pub cards: Vec<Card>,
    pub has_generations: bool,
    pub assigns_once: bool,
    pub(super) moves: u64,
    /// The number of changes so far.
    pub changes: usize,
    /// The change before or after which the bridge dies.
    pub dies_at: Option<(usize, bool)>,
    /// How often a script will write the whole board over, as it was before the bridge changed it, with a card more.
    pub scripts: usize,
    /// What the next of them has read.
    pub(super) read: Option<Vec<Card>>,
    /// The failure of every request after a script.
    pub fails_after_script: Option<BoardError>,
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
pub(super) struct MemoryBoard<'d> {
    data: &'d Mutex<BoardData>,
    identity: BoardIdentity,
    is_dead: bool,
}

impl<'d> MemoryBoard<'d> {
    pub(super) fn connect(data: &'d Mutex<BoardData>) -> Self {
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
        Self { data, identity, is_dead: false }
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
        let data = self.data;
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
        if data.read.is_none() {
            data.read = Some(data.cards.clone());
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

impl Board for MemoryBoard<'_> {
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

    fn was_written_over(&mut self) -> bool {
        let mut data = self.data.lock().unwrap();
        let Some(read) = data.read.take().filter(|_| data.scripts > 0) else { return false };
        data.scripts -= 1;
        data.cards = read;
        let id = format!("script {}", data.scripts);
        data.add(&id, "Todo");
        data.failure = data.fails_after_script.take();
        true
    }

    fn wait_for_change(&mut self, _: Duration) -> BoardResult<bool> {
        Ok(false)
    }
}

impl PeoplesBoard for Mutex<BoardData> {
    fn connect(&self) -> Box<dyn Board + '_> {
        Box::new(MemoryBoard::connect(self))
    }

    fn source(&self, queue: &str) -> QueueRef {
        QueueRef::Name(queue.to_string())
    }

    fn add(&self, id: &str, queue: &str) {
        self.lock().unwrap().add(id, queue);
    }

    fn put(&self, id: &str, queue: &str) {
        self.lock().unwrap().put(id, queue);
    }

    fn rename(&self, id: &str, name: &str) {
        self.lock().unwrap().card_mut(id).name = name.to_string();
    }

    fn remove(&self, id: &str) {
        self.lock().unwrap().remove(id);
    }

    fn card(&self, id: &str) -> Card {
        self.lock().unwrap().card(id).clone()
    }
}
