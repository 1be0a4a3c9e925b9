//! The changes of a board as changes of its text: each touches what it is about and nothing else.

use super::card::{ASSIGNEE_KEYS, COMMENT_KEYS, LABEL_KEYS, list, names, text_key, text_of};
use super::document::{BoardDocument, CardEntry, QueueEntry};
use super::layout::{JsonContainer, JsonGaps, JsonStyle, TextEdit, apply, line_indentation};
use super::located::Located;
use crate::bridge::board::{BoardError, BoardErrorCode, BoardResult, CardChange, NewCard, QueueRef};

/// The keys that a comment may have for its author, and for its time.
const AUTHOR_KEYS: [&str; 4] = ["author", "user", "by", "name"];
const TIME_KEYS: [&str; 6] = ["created_at", "createdAt", "created", "timestamp", "date", "time"];

/// The key by which a repeated creation finds the card that it has made.
pub(super) const CREATION_KEY: &str = "key";

/// A board whose text is to be changed. The changes return the new text, or `None` if it stays as it is.
pub(super) struct BoardEditor<'b, 'a> {
    board: &'b BoardDocument<'a>,
    style: JsonStyle,
}

/// The new text of a board, or `None` if it stays as it is.
type NewText = Option<String>;

impl<'b, 'a> BoardEditor<'b, 'a> {
    /// Makes an editor of a board.
    pub(super) fn new(board: &'b BoardDocument<'a>) -> Self {
        Self { board, style: JsonStyle::of(board) }
    }

    /// Moves a card to the end of a queue, unless it is there.
    pub(super) fn move_card(
        &self,
        id: &str,
        queue: &QueueRef,
        expected: Option<&QueueRef>,
    ) -> BoardResult<NewText> {
        let (source, index, card) = find_card(self.board, id)?;
        let target = self.board.queue(queue_name(queue)).ok_or_else(|| {
            // Not `NotFound`, which would mean the card.
            BoardError::new(BoardErrorCode::Invalid, no_queue(self.board, queue))
        })?;
        if source.name == target.name {
            return Ok(None);
        }
        if let Some(expected) = expected.map(queue_name).filter(|expected| *expected != source.name) {
            return Err(BoardError::new(
                BoardErrorCode::Conflict,
                format!(
                    "the card {id:?} is in the queue {:?}, neither in {expected:?} nor in {:?}",
                    source.name, target.name
                ),
            ));
        }
        let removal = self.array(&source.array).remove(index);
        let insertion = self.append_card(target, card.object.raw.as_str());
        Ok(Some(apply(self.board.text, vec![removal, insertion])))
    }

    /// Adds a comment unless one that contains `marker` is there; `now` is its time if the other comments have one.
    pub(super) fn add_comment(&self, id: &str, text: &str, marker: &str, now: &str) -> BoardResult<NewText> {
        let (_, _, card) = find_card(self.board, id)?;
        let comments = list(&card.object, "comments");
        let is_there = |comment: &Located<'_>| text_of(comment, &COMMENT_KEYS).contains(marker);
        if !marker.is_empty() && comments.iter().any(is_there) {
            return Ok(None);
        }
        let model = self.model(card, "comments");
        let gaps = self.list_gaps(card, "comments");
        let item = match model {
            Some(model) if model.raw.is_object() => self.comment_object(&model, text, now, &gaps),
            _ => self.style.string(text),
        };
        let edit = match card.object.member("comments").map(|member| member.value) {
            Some(value) if value.raw.is_array() => self.array(&value).append(&item, &self.style, &gaps),
            _ => self.list_edit(card, "comments", comments.iter().map(json).chain([item]).collect()),
        };
        Ok(Some(apply(self.board.text, vec![edit])))
    }

    /// Changes what is given of a card.
    pub(super) fn update_card(&self, id: &str, change: &CardChange) -> BoardResult<NewText> {
        let (_, _, card) = find_card(self.board, id)?;
        let mut edits = Vec::new();
        for (key, wanted) in [("name", &change.name), ("description", &change.description)] {
            edits.extend(wanted.as_ref().and_then(|wanted| self.text_edit(card, key, wanted)));
        }
        for (key, wanted, name_keys) in [
            ("labels", &change.labels, &LABEL_KEYS[..]),
            ("assignees", &change.assignees, &ASSIGNEE_KEYS[..]),
        ] {
            edits.extend(wanted.as_ref().and_then(|wanted| self.names_edit(card, key, wanted, name_keys)));
        }
        Ok((!edits.is_empty()).then(|| apply(self.board.text, edits)))
    }

    /// Adds a user to the assignees of a card; `None` if it is assigned to that user.
    pub(super) fn assign(&self, id: &str, user: &str) -> BoardResult<NewText> {
        let (_, _, card) = find_card(self.board, id)?;
        let mut assignees = names(&card.object, "assignees", &ASSIGNEE_KEYS);
        if assignees.iter().any(|name| name == user) {
            return Ok(None);
        }
        assignees.push(user.to_string());
        self.update_card(id, &CardChange { assignees: Some(assignees), ..CardChange::default() })
    }

    /// Creates a card at the end of a queue, unless one with the same key is there. Returns its id as well.
    pub(super) fn create_card(&self, new: &NewCard) -> BoardResult<(NewText, String)> {
        let queue = find_queue(self.board, &new.queue)?;
        let has_key = |card: &&CardEntry<'_>| {
            let key = card.object.member(CREATION_KEY).and_then(|member| member.value.text());
            key.is_some() && key == new.key
        };
        if let Some(card) = self.board.cards().find(has_key) {
            return Ok((None, card.id.clone()));
        }
        if new.name.trim().is_empty() {
            return Err(BoardError::new(BoardErrorCode::Invalid, "a card needs a name"));
        }
        let (id, written) = self.next_id();
        let empty = || "[]".to_string();
        let mut members = vec![
            ("id", written),
            ("name", self.style.string(&new.name)),
            ("description", self.style.string(&new.description)),
            ("labels", empty()),
            ("assignees", empty()),
            ("comments", empty()),
            ("tasks", empty()),
        ];
        members.extend(new.key.as_ref().map(|key| (CREATION_KEY, self.style.string(key))));
        let model = queue.cards.last().or_else(|| self.board.cards().next_back());
        let gaps = self.queue_gaps(queue);
        let text = match model {
            Some(model) => self.object_like(&model.object, &members, &gaps),
            None => self.style.object(&members, gaps.indentation()),
        };
        Ok((Some(apply(self.board.text, vec![self.append_card(queue, &text)])), id))
    }

    /// Creates a queue after the others.
    pub(super) fn create_queue(&self, name: &str) -> BoardResult<NewText> {
        self.check_new_queue(name)?;
        let queues = JsonContainer::object(self.board.text, &self.board.queues_object);
        let empty = self.style.gaps(self.board.text, self.board.queues_object.at, true);
        let edit = queues.append(&self.style.member(name, "[]"), &self.style, &empty);
        Ok(Some(apply(self.board.text, vec![edit])))
    }

    /// Renames a queue, which stays where it is.
    pub(super) fn rename_queue(&self, queue: &QueueRef, new_name: &str) -> BoardResult<NewText> {
        let queue = find_queue(self.board, queue)?;
        if queue.name == new_name {
            return Ok(None);
        }
        self.check_new_queue(new_name)?;
        let edit = TextEdit { span: queue.name_span.clone(), text: self.style.string(new_name) };
        Ok(Some(apply(self.board.text, vec![edit])))
    }

    /// Deletes an empty queue.
    pub(super) fn delete_queue(&self, queue: &QueueRef) -> BoardResult<NewText> {
        let queue = find_queue(self.board, queue)?;
        if !queue.cards.is_empty() {
            let count = queue.cards.len();
            let cards = if count == 1 { "a card".to_string() } else { format!("{count} cards") };
            return Err(BoardError::new(
                BoardErrorCode::Conflict,
                format!("the queue {:?} has {cards}: move or delete them first", queue.name),
            ));
        }
        let queues = JsonContainer::object(self.board.text, &self.board.queues_object);
        let index = self.board.queues.iter().position(|other| other.name == queue.name).unwrap_or_default();
        Ok(Some(apply(self.board.text, vec![queues.remove(index)])))
    }

    fn check_new_queue(&self, name: &str) -> BoardResult<()> {
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            let message = "the name of a queue is a text on one line that is not empty";
            return Err(BoardError::new(BoardErrorCode::Invalid, message));
        }
        match self.board.queue(name) {
            Some(_) => {
                Err(BoardError::new(BoardErrorCode::Conflict, format!("there is a queue {name:?} already")))
            }
            None => Ok(()),
        }
    }

    fn array(&self, value: &Located<'_>) -> JsonContainer<'a> {
        JsonContainer::array(self.board.text, value)
    }

    fn append_card(&self, queue: &QueueEntry<'_>, card: &str) -> TextEdit {
        self.array(&queue.array).append(card, &self.style, &self.queue_gaps(queue))
    }

    /// Returns the gaps around the cards of a queue: its own, those of another queue, or those that the file suggests.
    fn queue_gaps(&self, queue: &QueueEntry<'_>) -> JsonGaps {
        let others = self.board.queues.iter().map(|other| &other.array);
        std::iter::once(&queue.array).chain(others).find_map(|array| self.array(array).gaps()).unwrap_or_else(
            || {
                let around = JsonContainer::object(self.board.text, &self.board.queues_object);
                self.style.gaps(self.board.text, queue.array.at, around.is_expanded())
            },
        )
    }

    /// Returns an item of a list of this card or, if it has none, of another card, which shows the form of such items.
    fn model(&self, card: &CardEntry<'a>, key: &str) -> Option<Located<'a>> {
        let last = |card: &CardEntry<'a>| list(&card.object, key).pop();
        last(card).or_else(|| self.board.cards().rev().find_map(last))
    }

    /// Returns the gaps around the items of a list of a card: its own, those of another such card, or those that the file
    /// suggests.
    fn list_gaps(&self, card: &CardEntry<'a>, key: &str) -> JsonGaps {
        let is_expanded =
            |card: &CardEntry<'_>| JsonContainer::object(self.board.text, &card.object).is_expanded();
        let gaps = |card: &CardEntry<'_>| {
            let value = card.object.member(key)?.value;
            value.raw.is_array().then(|| self.array(&value).gaps())?
        };
        let expanded = is_expanded(card);
        gaps(card)
            .or_else(|| {
                self.board.cards().rev().filter(|other| is_expanded(other) == expanded).find_map(gaps)
            })
            .unwrap_or_else(|| match card.object.member(key) {
                Some(member) => self.style.gaps(self.board.text, member.key_span.start, expanded),
                // It will be on a line of its own, beside the other members.
                None => self.style.gaps(self.board.text, self.last_member(card), expanded),
            })
    }

    fn last_member(&self, card: &CardEntry<'_>) -> usize {
        card.object.members().last().map_or(card.object.at, |member| member.key_span.start)
    }

    fn comment_object(&self, model: &Located<'_>, text: &str, now: &str, gaps: &JsonGaps) -> String {
        let text_key = text_key(model, &COMMENT_KEYS).unwrap_or(COMMENT_KEYS[0]);
        let mut members = Vec::new();
        for member in model.members() {
            let is_text = member.value.raw.text().is_some();
            let value = match member.key.as_str() {
                key if key == text_key => text,
                key if is_text && AUTHOR_KEYS.contains(&key) => super::USER,
                key if is_text && TIME_KEYS.contains(&key) => now,
                _ => continue,
            };
            members.push((member.key, self.style.string(value)));
        }
        if !members.iter().any(|(key, _)| key == text_key) {
            members.push((text_key.to_string(), self.style.string(text)));
        }
        let members: Vec<(&str, String)> =
            members.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        self.object_like(model, &members, gaps)
    }

    /// Writes an object on one line or on several, as `model` is; `gaps` are those around it.
    fn object_like(&self, model: &Located<'_>, members: &[(&str, String)], gaps: &JsonGaps) -> String {
        let text = self.board.text;
        let outer = gaps.indentation().unwrap_or_else(|| line_indentation(text, model.at));
        self.style.object(members, JsonContainer::object(text, model).is_expanded().then_some(outer))
    }

    /// Sets a member of a card.
    fn member_edit(&self, card: &CardEntry<'_>, key: &str, value: String) -> TextEdit {
        match card.object.member(key) {
            Some(member) => TextEdit { span: member.value.span(), text: value },
            None => {
                let member = self.style.member(key, &value);
                // A card is never empty: it has an id.
                let gaps = self.style.gaps(self.board.text, card.object.at, false);
                JsonContainer::object(self.board.text, &card.object).append(&member, &self.style, &gaps)
            }
        }
    }

    fn text_edit(&self, card: &CardEntry<'_>, key: &str, wanted: &str) -> Option<TextEdit> {
        let present = card.object.member(key).map(|member| member.value.lenient_text()).unwrap_or_default();
        (present != wanted).then(|| self.member_edit(card, key, self.style.string(wanted)))
    }

    /// Makes a list of names the wanted one: those that stay are kept as they are written.
    fn names_edit(
        &self,
        card: &CardEntry<'a>,
        key: &str,
        wanted: &[String],
        keys: &[&str],
    ) -> Option<TextEdit> {
        if names(&card.object, key, keys) == wanted {
            return None;
        }
        let present = list(&card.object, key);
        let model = self.model(card, key).filter(|model| model.raw.is_object());
        let gaps = self.list_gaps(card, key);
        let item = |name: &String| {
            if let Some(kept) = present.iter().find(|value| text_of(value, keys) == *name) {
                return json(kept);
            }
            match &model {
                None => self.style.string(name),
                Some(model) => {
                    let name_key = text_key(model, keys).unwrap_or(keys[0]);
                    self.object_like(model, &[(name_key, self.style.string(name))], &gaps)
                }
            }
        };
        Some(self.list_edit(card, key, wanted.iter().map(item).collect()))
    }

    /// Sets a list of a card to these items.
    fn list_edit(&self, card: &CardEntry<'a>, key: &str, items: Vec<String>) -> TextEdit {
        let gaps = self.list_gaps(card, key);
        let value = card.object.member(key).map(|member| member.value).filter(|value| value.raw.is_array());
        let text = match value {
            Some(value) => self.array(&value).with_items(&items, &self.style, &gaps),
            None => self.style.array(&items, &gaps),
        };
        self.member_edit(card, key, text)
    }

    /// Returns an id that no card has, as a text and as it is written: one more than the largest number among the ids, as a
    /// text if the last card has a text.
    fn next_id(&self) -> (String, String) {
        let largest = self.board.cards().filter_map(|card| card.id.parse::<u128>().ok()).max().unwrap_or(0);
        let id = largest.saturating_add(1).to_string();
        let written = match self.board.cards().next_back() {
            Some(card) if !card.is_number() => self.style.string(&id),
            _ => id.clone(),
        };
        (id, written)
    }
}

/// Returns the queue of a board that `queue` stands for.
///
/// # Errors
/// `NotFound`, with the queues that there are.
pub(super) fn find_queue<'b, 'a>(
    board: &'b BoardDocument<'a>,
    queue: &QueueRef,
) -> BoardResult<&'b QueueEntry<'a>> {
    let missing = || BoardError::new(BoardErrorCode::NotFound, no_queue(board, queue));
    board.queue(queue_name(queue)).ok_or_else(missing)
}

/// Returns a card, with its queue and its index there.
///
/// # Errors
/// `NotFound`.
pub(super) fn find_card<'b, 'a>(
    board: &'b BoardDocument<'a>,
    id: &str,
) -> BoardResult<(&'b QueueEntry<'a>, usize, &'b CardEntry<'a>)> {
    let missing = || BoardError::new(BoardErrorCode::NotFound, format!("there is no card {id:?}"));
    board.card(id).ok_or_else(missing)
}

fn no_queue(board: &BoardDocument<'_>, queue: &QueueRef) -> String {
    format!("there is no queue {:?}; the board has {}", queue_name(queue), board.queue_names())
}

/// Returns the name of a queue, which is its id.
fn queue_name(queue: &QueueRef) -> &str {
    match queue {
        QueueRef::Name(name) | QueueRef::Id { id: name } => name,
    }
}

fn json(value: &Located<'_>) -> String {
    value.raw.as_str().to_string()
}
