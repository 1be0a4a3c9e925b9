//! The cards of Planka: read, moved, commented, assigned, changed, created.

use serde_json::{Value, json};

use super::PlankaBoard;
use super::queues::{POSITION_GAP, checked_id};
use super::records::{
    CommentRecord, Included, ManyRecords, NamedRecord, OneRecord, PlankaCard, UserRecord, card, comments,
    sort_by_position,
};
use crate::bridge::board::{
    BoardError, BoardErrorCode, BoardResult, Card, CardChange, CardComment, NewCard, QueueRef,
};
use crate::error::{brief, brief_list};

/// The number of comments that Planka sends at once.
const PAGE: usize = 50;
/// The longest comment, in characters.
const MAX_COMMENT: usize = 1_000_000;

impl PlankaBoard {
    pub(super) fn cards_of(&mut self, queue: &QueueRef, limit: usize) -> BoardResult<Vec<Card>> {
        let list = self.read_list(queue)?;
        let mut records = list.included.cards.clone();
        sort_by_position(&mut records, |card| card.position, |card| &card.id);
        records.truncate(limit);
        self.make_cards(&list.item.board_id, &records, &list.included)
    }

    /// Returns a card with its comments.
    pub(super) fn card_by_id(&mut self, id: &str) -> BoardResult<Card> {
        let reply = self.live_card(id)?;
        let made =
            self.make_cards(&reply.item.board_id, std::slice::from_ref(&reply.item), &reply.included)?;
        let mut made = made.into_iter().next().ok_or_else(|| gone(id))?;
        if reply.item.comments_total != Some(0) {
            made.comments = self.comments_of(id, None)?;
        }
        Ok(made)
    }

    fn make_cards(
        &mut self,
        board: &str,
        records: &[PlankaCard],
        included: &Included,
    ) -> BoardResult<Vec<Card>> {
        if !self.board(board)?.names().know(included) {
            // Somebody has added a label or a member since.
            self.reload_board(board)?;
        }
        let base = self.client.address().with("");
        let names = self.board(board)?.names();
        Ok(records.iter().map(|record| card(record, included, &names, &base)).collect())
    }

    /// Reads a card that is neither in the archive nor in the trash.
    fn live_card(&mut self, id: &str) -> BoardResult<OneRecord<PlankaCard>> {
        let reply: OneRecord<PlankaCard> = self.client.get(&format!("/api/cards/{}", checked_id(id)?))?;
        let list = &reply.item.list_id;
        let in_lists = |board: &super::queues::BoardContext| {
            board.lists.iter().find(|known| known.id == *list).map(super::records::ListRecord::is_column)
        };
        let mut is_column = in_lists(self.board(&reply.item.board_id)?);
        if is_column.is_none() {
            self.reload_board(&reply.item.board_id)?;
            is_column = in_lists(self.board(&reply.item.board_id)?);
        }
        if is_column == Some(true) { Ok(reply) } else { Err(gone(id)) }
    }

    /// Returns the comments of a card, oldest first; with a marker, only until one contains it.
    fn comments_of(&mut self, id: &str, marker: Option<&str>) -> BoardResult<Vec<CardComment>> {
        let path = format!("/api/cards/{}/comments", checked_id(id)?);
        let (mut records, mut users): (Vec<CommentRecord>, Vec<UserRecord>) = (Vec::new(), Vec::new());
        let mut next = path.clone();
        loop {
            let page: ManyRecords<CommentRecord> = self.client.get(&next)?;
            let is_last = page.items.len() < PAGE;
            let is_found =
                marker.is_some_and(|marker| page.items.iter().any(|item| item.text.contains(marker)));
            records.extend(page.items);
            users.extend(page.included.users);
            match records.last() {
                Some(oldest) if !is_last && !is_found => next = format!("{path}?beforeId={}", oldest.id),
                _ => return Ok(comments(&records, &users)),
            }
        }
    }

    pub(super) fn move_card(
        &mut self,
        id: &str,
        queue: &QueueRef,
        expected: Option<&QueueRef>,
    ) -> BoardResult<()> {
        let card = self.live_card(id)?.item;
        let target = self.resolve(queue).map_err(missing_queue)?;
        // A queue that does not exist any more is not where the card is.
        let expected = match expected {
            None => None,
            Some(QueueRef::Id { id }) => Some(id.clone()),
            Some(name) => match self.resolve(name) {
                Err(error) if error.code == BoardErrorCode::NotFound => Some(String::new()),
                place => Some(place?.list),
            },
        };
        if card.list_id == target.list {
            return Ok(());
        }
        if expected.is_some_and(|expected| expected != card.list_id) {
            let message = format!("card {id} was moved by somebody else");
            return Err(BoardError::new(BoardErrorCode::Conflict, message));
        }
        let list = self.read_list(queue).map_err(missing_queue)?;
        let mut body = json!({"listId": list.item.id, "position": end_of(&list.included)});
        if list.item.board_id != card.board_id {
            body["boardId"] = json!(list.item.board_id);
        }
        self.change(id, |board| board.client.patch(&format!("/api/cards/{id}"), &body))
    }

    pub(super) fn comment(&mut self, id: &str, text: &str, marker: &str) -> BoardResult<()> {
        if text.trim().is_empty() || text.chars().count() > MAX_COMMENT {
            let message = format!("a comment of Planka has 1 to {MAX_COMMENT} characters");
            return Err(BoardError::new(BoardErrorCode::Invalid, message));
        }
        if self.comments_of(id, Some(marker))?.iter().any(|comment| comment.text.contains(marker)) {
            return Ok(());
        }
        let body = json!({"text": text});
        self.change(id, |board| board.client.post(&format!("/api/cards/{id}/comments"), &body))
    }

    /// Planka accepts a membership once, however many ask for it at the same time.
    pub(super) fn assign(&mut self, id: &str) -> BoardResult<bool> {
        let path = format!("/api/cards/{}/card-memberships", checked_id(id)?);
        let body = json!({"userId": self.user.id});
        match self.change(id, |board| board.client.post(&path, &body)) {
            Ok(()) => Ok(true),
            Err(error) if error.code == BoardErrorCode::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn update(&mut self, id: &str, change: &CardChange) -> BoardResult<()> {
        let reply = self.live_card(id)?;
        let mut body = json!({});
        if let Some(name) = &change.name {
            body["name"] = json!(name);
        }
        if let Some(description) = &change.description {
            body["description"] = if description.is_empty() { Value::Null } else { json!(description) };
        }
        if body != json!({}) {
            self.change(id, |board| board.client.patch(&format!("/api/cards/{id}"), &body))?;
        }
        if let Some(names) = &change.labels {
            let have = reply.included.card_labels.into_iter().map(|row| row.label_id).collect();
            let wanted = self.label_ids(&reply.item.board_id, names)?;
            self.change_set(id, &SetOfCard { path: "card-labels", field: "labelId" }, have, wanted)?;
        }
        if let Some(names) = &change.assignees {
            let have = reply.included.card_memberships.into_iter().map(|row| row.user_id).collect();
            let wanted = self.user_ids(&reply.item.board_id, names)?;
            self.change_set(id, &SetOfCard { path: "card-memberships", field: "userId" }, have, wanted)?;
        }
        Ok(())
    }

    /// Adds and removes labels or members until a card has the wanted ones. One that somebody else has added or removed
    /// meanwhile is as it should be.
    fn change_set(
        &mut self,
        id: &str,
        set: &SetOfCard,
        have: Vec<String>,
        wanted: Vec<String>,
    ) -> BoardResult<()> {
        let SetOfCard { path, field } = set;
        for added in wanted.iter().filter(|wanted| !have.contains(wanted)) {
            let body = json!({*field: added});
            match self.change(id, |board| board.client.post(&format!("/api/cards/{id}/{path}"), &body)) {
                Err(error) if error.code != BoardErrorCode::Conflict => return Err(error),
                _ => {}
            }
        }
        for removed in have.iter().filter(|have| !wanted.contains(have)) {
            let path = format!("/api/cards/{id}/{path}/{field}:{removed}");
            match self.change(id, |board| board.client.delete(&path)) {
                Err(error) if error.code != BoardErrorCode::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the ids of labels, and creates those that the board does not have.
    fn label_ids(&mut self, board: &str, names: &[String]) -> BoardResult<Vec<String>> {
        self.reload_board(board)?;
        let mut ids = Vec::new();
        for name in names {
            let known = self.board(board)?.labels.iter().find(|label| label.name.as_ref() == Some(name));
            if let Some(label) = known {
                ids.push(label.id.clone());
                continue;
            }
            let position = POSITION_GAP * (self.board(board)?.labels.len() + 1) as f64;
            let body = json!({"name": name, "color": "morning-sky", "position": position});
            let reply: OneRecord<NamedRecord> =
                self.client.post(&format!("/api/boards/{board}/labels"), &body)?;
            ids.push(reply.item.id);
            self.reload_board(board)?;
        }
        Ok(ids)
    }

    fn user_ids(&mut self, board: &str, names: &[String]) -> BoardResult<Vec<String>> {
        self.reload_board(board)?;
        let board = self.board(board)?;
        let id_of = |name: &String| {
            let named = |user: &&UserRecord| user.shown() == name || user.name == *name || user.id == *name;
            board.users.iter().find(named).map(|user| user.id.clone()).ok_or_else(|| {
                let members = brief_list(board.users.iter().map(UserRecord::shown));
                let message = format!("board {} has no member {}: it has {members}", board.name, brief(name));
                BoardError::new(BoardErrorCode::Invalid, message)
            })
        };
        names.iter().map(id_of).collect()
    }

    pub(super) fn create(&mut self, new: &NewCard) -> BoardResult<Card> {
        let list = self.read_list(&new.queue)?;
        let mark = new.key.as_ref().map(|key| format!("_key: {key}_"));
        if let Some(mark) = &mark {
            let all = self.reload_board(&list.item.board_id)?.cards;
            let has_mark =
                |card: &&PlankaCard| card.description.as_ref().is_some_and(|text| text.ends_with(mark));
            if let Some(card) = all.iter().find(has_mark) {
                return self.card_by_id(&card.id);
            }
        }
        let mut body = json!({"type": "project", "position": end_of(&list.included), "name": new.name});
        let paragraphs = [Some(new.description.clone()).filter(|text| !text.is_empty()), mark];
        let description = paragraphs.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
        if !description.is_empty() {
            body["description"] = json!(description);
        }
        let path = format!("/api/lists/{}/cards", list.item.id);
        let reply: OneRecord<PlankaCard> = self.client.post(&path, &body)?;
        self.card_by_id(&reply.item.id)
    }

    /// Changes a card. A refusal says whether the user lacks a right: Planka hides cards that the user may not change.
    fn change(&mut self, id: &str, request: impl FnOnce(&mut Self) -> BoardResult<Value>) -> BoardResult<()> {
        checked_id(id)?;
        let error = match request(self) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if matches!(error.code, BoardErrorCode::NotFound | BoardErrorCode::Forbidden) {
            let board = self.live_card(id)?.item.board_id;
            self.reload_board(&board)?;
            self.check_editor(&board)?;
        }
        Err(error)
    }
}

/// The labels or the members of a card.
struct SetOfCard {
    path: &'static str,
    field: &'static str,
}

/// A missing queue says nothing of the card that is to go there, as `NotFound` would: it can come back.
fn missing_queue(error: BoardError) -> BoardError {
    match error.code {
        BoardErrorCode::NotFound => BoardError { code: BoardErrorCode::Unavailable, ..error },
        _ => error,
    }
}

fn gone(id: &str) -> BoardError {
    BoardError::new(BoardErrorCode::NotFound, format!("card {id} was archived or deleted"))
}

/// The position after the last card of a list.
fn end_of(list: &Included) -> f64 {
    let positions = list.cards.iter().filter_map(|card| card.position);
    positions.fold(0.0, f64::max) + POSITION_GAP
}
