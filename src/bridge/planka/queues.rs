//! The lists of Planka as queues: `Project.Board.List`, or an id.

use serde_json::{Value, json};

use super::PlankaBoard;
use super::records::{
    BoardNames, BoardRecord, Included, ListRecord, ManyRecords, NamedRecord, OneRecord, UserRecord,
    sort_by_position,
};
use crate::bridge::board::{BoardError, BoardErrorCode, BoardQueue, BoardResult, QueueRef};
use crate::error::{brief, brief_list};
use crate::model::json::Object;

/// The distance between the positions of two cards or lists, which leaves room between them.
pub(super) const POSITION_GAP: f64 = 65536.0;

/// A board of Planka, as it was when it was last read.
#[derive(Clone, Debug)]
pub(super) struct BoardContext {
    pub(super) id: String,
    /// `Project.Board`.
    pub(super) name: String,
    pub(super) lists: Vec<ListRecord>,
    pub(super) labels: Vec<NamedRecord>,
    pub(super) users: Vec<UserRecord>,
    /// Whether the user of the bridge may change its cards.
    is_editor: bool,
}

impl BoardContext {
    fn new(reply: OneRecord<BoardRecord>, user_id: &str) -> (Self, Included) {
        let OneRecord { item, mut included } = reply;
        let project = included.projects.first().and_then(|project| project.name.clone()).unwrap_or_default();
        let mut memberships = included.board_memberships.iter();
        let is_editor = memberships.any(|member| member.user_id == user_id && member.role == "editor");
        let context = Self {
            id: item.id,
            name: format!("{project}.{}", item.name),
            lists: std::mem::take(&mut included.lists),
            labels: std::mem::take(&mut included.labels),
            users: std::mem::take(&mut included.users),
            is_editor,
        };
        (context, included)
    }

    /// Returns the names of its labels and users.
    pub(super) fn names(&self) -> BoardNames<'_> {
        BoardNames::of(&self.labels, &self.users)
    }

    /// Returns its lists that people see as columns, from left to right.
    fn columns(&self) -> Vec<&ListRecord> {
        let mut columns: Vec<&ListRecord> = self.lists.iter().filter(|list| list.is_column()).collect();
        sort_by_position(&mut columns, |list| list.position, |list| &list.id);
        columns
    }

    fn full_name(&self, list: &ListRecord) -> String {
        format!("{}.{}", self.name, list.name.as_deref().unwrap_or_default())
    }

    fn queue(&self, list: &ListRecord) -> BoardQueue {
        BoardQueue { id: list.id.clone(), name: self.full_name(list), extra: Object::new() }
    }
}

/// Where a queue is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueuePlace {
    pub(super) list: String,
    pub(super) board: String,
}

impl PlankaBoard {
    /// Finds a queue, on a board that the user of the bridge may edit. A name is looked up once and then stands for the
    /// same list, also when that is renamed.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for a name that several lists have, `Forbidden` if the user may not edit the board.
    pub(super) fn resolve(&mut self, queue: &QueueRef) -> BoardResult<QueuePlace> {
        if let Some(place) = self.places.get(queue) {
            return Ok(place.clone());
        }
        let place = match queue {
            QueueRef::Id { id } => self.place_of_id(id)?,
            QueueRef::Name(name) => self.place_of_name(name)?,
        };
        self.check_editor(&place.board)?;
        self.places.insert(queue.clone(), place.clone());
        Ok(place)
    }

    /// Reads a list with its cards. A name whose list was deleted is looked up again.
    ///
    /// # Errors
    /// As [`PlankaBoard::resolve`].
    pub(super) fn read_list(&mut self, queue: &QueueRef) -> BoardResult<OneRecord<ListRecord>> {
        let place = self.resolve(queue)?;
        match self.client.get(&format!("/api/lists/{}", place.list)) {
            Err(error) if error.code == BoardErrorCode::NotFound => {
                self.places.remove(queue);
                self.boards.remove(&place.board);
                let again = self.resolve(queue)?;
                self.client.get(&format!("/api/lists/{}", again.list))
            }
            read => read,
        }
    }

    /// Returns a board, from memory if it was read before.
    ///
    /// # Errors
    /// Those of the request.
    pub(super) fn board(&mut self, id: &str) -> BoardResult<&BoardContext> {
        if !self.boards.contains_key(id) {
            self.reload_board(id)?;
        }
        self.boards.get(id).ok_or_else(|| BoardError::new(BoardErrorCode::NotFound, format!("no board {id}")))
    }

    /// Reads a board and returns what is on it.
    ///
    /// # Errors
    /// Those of the request.
    pub(super) fn reload_board(&mut self, id: &str) -> BoardResult<Included> {
        let reply = self.client.get(&format!("/api/boards/{}", checked_id(id)?))?;
        let (context, included) = BoardContext::new(reply, &self.user.id);
        self.boards.insert(id.to_string(), context);
        Ok(included)
    }

    /// Fails unless the user of the bridge may change the cards of a board.
    ///
    /// # Errors
    /// `Forbidden`.
    pub(super) fn check_editor(&mut self, board: &str) -> BoardResult<()> {
        if !self.board(board)?.is_editor {
            self.reload_board(board)?;
        }
        let user = self.user.shown().to_string();
        let board = self.board(board)?;
        if board.is_editor {
            return Ok(());
        }
        let (user, name) = (brief(&user), brief(&board.name));
        let message =
            format!("{user} may not edit board {name}: add {user} as editor of board {name} in Planka");
        Err(BoardError::new(BoardErrorCode::Forbidden, message))
    }

    fn place_of_id(&mut self, id: &str) -> BoardResult<QueuePlace> {
        let known = self.boards.values().find(|board| board.columns().iter().any(|list| list.id == id));
        if let Some(board) = known {
            return Ok(QueuePlace { list: id.to_string(), board: board.id.clone() });
        }
        let reply: BoardResult<OneRecord<ListRecord>> =
            checked_id(id).and_then(|id| self.client.get(&format!("/api/lists/{id}")));
        match reply {
            Ok(reply) => Ok(QueuePlace { list: reply.item.id, board: reply.item.board_id }),
            Err(error) if error.code == BoardErrorCode::NotFound => {
                let (user, address) = (brief(self.user.shown()), self.client.address());
                let message = format!(
                    "no queue with id {} at {address}: it was deleted, or {user} is not a member of its board",
                    brief(id)
                );
                Err(BoardError::new(BoardErrorCode::NotFound, message))
            }
            Err(error) => Err(error),
        }
    }

    fn place_of_name(&mut self, name: &str) -> BoardResult<QueuePlace> {
        let all = self.visible_boards()?;
        let on_board = |(_, prefix): &&(String, String)| name.starts_with(prefix.as_str());
        let candidates: Vec<(String, String)> = all.iter().filter(on_board).cloned().collect();
        let (mut found, mut others) = (Vec::new(), Vec::new());
        for (id, prefix) in &candidates {
            self.reload_board(id)?;
            let board = self.board(id)?;
            for list in board.columns() {
                if name.strip_prefix(prefix.as_str()) == list.name.as_deref() {
                    found.push(QueuePlace { list: list.id.clone(), board: id.clone() });
                } else {
                    others.push(board.full_name(list));
                }
            }
        }
        let shown = brief(name);
        match &found[..] {
            [place] => Ok(place.clone()),
            [] => {
                let address = self.client.address();
                let hint = if !others.is_empty() {
                    format!("there are {}", brief_list(&others))
                } else if candidates.is_empty() {
                    let boards = all.iter().map(|(_, prefix)| prefix.trim_end_matches('.'));
                    let boards = brief_list(boards);
                    let boards = if boards.is_empty() { "no board".to_string() } else { boards };
                    format!("write Project.Board.List; {} sees {boards}", brief(self.user.shown()))
                } else {
                    "its board has no lists".to_string()
                };
                let message = format!("no queue '{shown}' at {address}: {hint}");
                Err(BoardError::new(BoardErrorCode::NotFound, message))
            }
            several => {
                let candidates = several.iter().map(|place| {
                    let board = self.client.address().with(&format!("/boards/{}", place.board));
                    format!("{{id: \"{}\"}} on {board}", place.list)
                });
                let candidates = candidates.collect::<Vec<_>>().join(", ");
                let message = format!(
                    "queue '{shown}' stands for {} lists: write one of {candidates} in place of the name",
                    several.len()
                );
                Err(BoardError::new(BoardErrorCode::Invalid, message))
            }
        }
    }

    /// Returns the id of each board that the user sees, with the beginning of the names of its queues.
    fn visible_boards(&mut self) -> BoardResult<Vec<(String, String)>> {
        let reply: ManyRecords<NamedRecord> = self.client.get("/api/projects")?;
        let of_board = |board: BoardRecord| {
            let project = reply.items.iter().find(|project| project.id == board.project_id);
            let project = project.and_then(|project| project.name.as_deref()).unwrap_or_default();
            (board.id, format!("{project}.{}.", board.name))
        };
        Ok(reply.included.boards.into_iter().map(of_board).collect())
    }

    pub(super) fn all_queues(&mut self) -> BoardResult<Vec<BoardQueue>> {
        let mut queues = Vec::new();
        for (id, _) in self.visible_boards()? {
            self.reload_board(&id)?;
            let board = self.board(&id)?;
            queues.extend(board.columns().into_iter().map(|list| board.queue(list)));
        }
        Ok(queues)
    }

    pub(super) fn queue(&mut self, queue: &QueueRef) -> BoardResult<BoardQueue> {
        let list = self.read_list(queue)?.item;
        let board = self.board(&list.board_id)?;
        Ok(board.queue(&list))
    }

    pub(super) fn new_queue(&mut self, name: &str) -> BoardResult<BoardQueue> {
        match self.place_of_name(name) {
            Ok(place) => return self.queue(&QueueRef::Id { id: place.list }),
            Err(error) if error.code == BoardErrorCode::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut boards = self.visible_boards()?;
        boards.retain(|(_, prefix)| name.len() > prefix.len() && name.starts_with(prefix.as_str()));
        let [(id, prefix)] = &boards[..] else {
            let (code, reason) = if boards.is_empty() {
                (BoardErrorCode::NotFound, "its first part is not the name of a board")
            } else {
                (BoardErrorCode::Invalid, "its first part is the name of several boards")
            };
            return Err(BoardError::new(code, format!("cannot create queue '{}': {reason}", brief(name))));
        };
        self.check_editor(id)?;
        let last = self.board(id)?.columns().last().and_then(|list| list.position).unwrap_or(0.0);
        let body = json!({"type": "active", "position": last + POSITION_GAP, "name": &name[prefix.len()..]});
        let reply: OneRecord<ListRecord> = self.client.post(&format!("/api/boards/{id}/lists"), &body)?;
        self.reload_board(id)?;
        Ok(self.board(id)?.queue(&reply.item))
    }

    pub(super) fn rename_queue(&mut self, queue: &QueueRef, new_name: &str) -> BoardResult<BoardQueue> {
        let place = self.resolve(queue)?;
        let prefix = format!("{}.", self.board(&place.board)?.name);
        let name = new_name.strip_prefix(&prefix).unwrap_or(new_name);
        let path = format!("/api/lists/{}", place.list);
        let reply: OneRecord<ListRecord> = self.client.patch(&path, &json!({"name": name}))?;
        self.reload_board(&place.board)?;
        Ok(self.board(&place.board)?.queue(&reply.item))
    }

    /// Planka deletes a list with its cards, so this looks whether it is empty.
    pub(super) fn remove_queue(&mut self, queue: &QueueRef) -> BoardResult<()> {
        let list = self.read_list(queue)?;
        let count = list.included.cards.len();
        if count > 0 {
            let message = format!("queue {} has {count} cards: move them first", brief(&queue.to_string()));
            return Err(BoardError::new(BoardErrorCode::Conflict, message));
        }
        let _: Value = self.client.delete(&format!("/api/lists/{}", list.item.id))?;
        self.places.retain(|_, place| place.list != list.item.id);
        self.boards.remove(&list.item.board_id);
        Ok(())
    }
}

/// Returns an id that can be part of a path: Planka's are decimal numbers.
///
/// # Errors
/// `NotFound`: nothing has another id.
pub(super) fn checked_id(id: &str) -> BoardResult<&str> {
    if !id.is_empty() && id.len() <= 19 && id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(id);
    }
    let message = format!("'{}' is not an id of Planka, which is a number", brief(id));
    Err(BoardError::new(BoardErrorCode::NotFound, message))
}
