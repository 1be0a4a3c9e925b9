//! The file of a board as it is read: which queues and cards it has, and where they are.

use std::collections::HashMap;
use std::fmt::Write;

use super::located::{Located, LocatedMember, TextSpan, line_and_column};
use crate::model::json::raw::lenient_value;
use crate::model::json::{BYTE_ORDER_MARK, why_not_json};

/// The key of the object with the queues.
const QUEUES: &str = "queues";

/// How many names of queues a message lists at most.
const MAX_LISTED: usize = 20;

/// The content of a board's file.
#[derive(Debug)]
pub(super) struct BoardDocument<'a> {
    /// The text of the file.
    pub text: &'a str,
    /// The object around everything.
    pub root: Located<'a>,
    /// The object with the queues.
    pub queues_object: Located<'a>,
    /// The queues, in the order of the file.
    pub queues: Vec<QueueEntry<'a>>,
}

/// A queue in a board's file.
#[derive(Debug)]
pub(super) struct QueueEntry<'a> {
    /// Its name, which is its id.
    pub name: String,
    /// The name with its quotes.
    pub name_span: TextSpan,
    /// The array of its cards.
    pub array: Located<'a>,
    /// Its cards, in the order of the file.
    pub cards: Vec<CardEntry<'a>>,
}

/// A card in a board's file.
#[derive(Clone, Debug)]
pub(super) struct CardEntry<'a> {
    /// Its id: a text, or a number as it is written.
    pub id: String,
    /// The object.
    pub object: Located<'a>,
}

/// Why a text is not a board: what, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnreadableBoard(pub String);

impl<'a> BoardDocument<'a> {
    /// Reads the text of a board's file.
    ///
    /// # Errors
    /// What is wrong with it, with line and column.
    pub(super) fn parse(text: &'a str) -> Result<Self, UnreadableBoard> {
        let content = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let Some(root) = lenient_value(content) else { return Err(syntax_error(content)) };
        let root = Located::new(text, root);
        if !root.raw.is_object() {
            return Err(fault(text, root.at, "a board is an object with \"queues\""));
        }
        let [queues] = &members_named(&root, QUEUES)[..] else {
            let twice = members_named(&root, QUEUES).get(1).map(|member| member.key_span.start);
            return Err(match twice {
                Some(at) => fault(text, at, "\"queues\" is there twice"),
                None => fault(text, root.at, "a board needs the key \"queues\", as in {\"queues\": {}}"),
            });
        };
        let queues_object = queues.value;
        if !queues_object.raw.is_object() {
            return Err(fault(
                text,
                queues_object.at,
                "\"queues\" is not an object with a list of cards for each queue",
            ));
        }
        let queues = queues_object
            .members()
            .into_iter()
            .map(|member| QueueEntry::read(text, member))
            .collect::<Result<Vec<_>, _>>()?;
        let document = Self { text, root, queues_object, queues };
        document.refuse_twins()?;
        Ok(document)
    }

    /// Returns the queue with this name.
    pub(super) fn queue(&self, name: &str) -> Option<&QueueEntry<'a>> {
        self.queues.iter().find(|queue| queue.name == name)
    }

    /// Returns the card with this id, with its queue and its index there.
    pub(super) fn card(&self, id: &str) -> Option<(&QueueEntry<'a>, usize, &CardEntry<'a>)> {
        self.queues.iter().find_map(|queue| {
            let index = queue.cards.iter().position(|card| card.id == id)?;
            Some((queue, index, &queue.cards[index]))
        })
    }

    /// Returns all cards, in the order of the file.
    pub(super) fn cards(&self) -> impl DoubleEndedIterator<Item = &CardEntry<'a>> {
        self.queues.iter().flat_map(|queue| &queue.cards)
    }

    /// Lists the names of the queues for a message.
    pub(super) fn queue_names(&self) -> String {
        let mut list = String::new();
        for (n, queue) in self.queues.iter().take(MAX_LISTED).enumerate() {
            // Writing to a text cannot fail.
            let _ = write!(list, "{}{:?}", if n == 0 { "" } else { ", " }, queue.name);
        }
        match self.queues.len() {
            0 => "no queues".to_string(),
            more if more > MAX_LISTED => format!("{list} and {} others", more - MAX_LISTED),
            _ => list,
        }
    }

    /// Refuses two queues with one name, and two cards with one id: nobody could tell which of the two is meant.
    fn refuse_twins(&self) -> Result<(), UnreadableBoard> {
        let mut names: HashMap<&str, usize> = HashMap::new();
        for queue in &self.queues {
            let at = queue.name_span.start;
            if let Some(first) = names.insert(&queue.name, at) {
                return Err(self.twins(
                    at,
                    first,
                    &format!("the queue {:?}", queue.name),
                    "rename one of the two",
                ));
            }
        }
        let mut ids: HashMap<&str, &CardEntry<'_>> = HashMap::new();
        for card in self.cards() {
            let Some(first) = ids.insert(&card.id, card) else { continue };
            let what = match card.is_number() == first.is_number() {
                true => format!("a card with the id {}", card.written_id()),
                false => {
                    format!("a card with the id {}, the same as {},", card.written_id(), first.written_id())
                }
            };
            return Err(self.twins(card.object.at, first.object.at, &what, "give one of the two another id"));
        }
        Ok(())
    }

    fn twins(&self, at: usize, first: usize, what: &str, remedy: &str) -> UnreadableBoard {
        let (line, column) = line_and_column(self.text, first);
        fault(self.text, at, &format!("{what} is there already at line {line} column {column}: {remedy}"))
    }
}

impl<'a> QueueEntry<'a> {
    fn read(text: &str, member: LocatedMember<'a>) -> Result<Self, UnreadableBoard> {
        if !member.value.raw.is_array() {
            let what = format!(
                "the queue {:?} is not a list of cards, as in \"{QUEUES}\": {{\"Todo\": []}}",
                member.key
            );
            return Err(fault(text, member.value.at, &what));
        }
        let cards = member.value.items().into_iter().map(|object| CardEntry::read(text, &member.key, object));
        Ok(Self {
            cards: cards.collect::<Result<_, _>>()?,
            name: member.key,
            name_span: member.key_span,
            array: member.value,
        })
    }
}

impl<'a> CardEntry<'a> {
    fn read(text: &str, queue: &str, object: Located<'a>) -> Result<Self, UnreadableBoard> {
        if !object.raw.is_object() {
            return Err(fault(text, object.at, &format!("a card in the queue {queue:?} is not an object")));
        }
        let wrong = |at: usize, what: &str| {
            fault(
                text,
                at,
                &format!("a card in the queue {queue:?} {what}: give it one that no other card has"),
            )
        };
        let Some(member) = object.member("id") else { return Err(wrong(object.at, "has no id")) };
        let id = match member.value.text() {
            Some(id) => id,
            None if is_number(&member.value) => member.value.raw.as_str().to_string(),
            None => return Err(wrong(member.value.at, "has an id that is neither a number nor a text")),
        };
        if id.trim().is_empty() {
            return Err(wrong(member.value.at, "has an empty id"));
        }
        Ok(Self { id, object })
    }

    /// Returns whether the id is written as a number.
    pub(super) fn is_number(&self) -> bool {
        self.object.member("id").is_some_and(|member| is_number(&member.value))
    }

    fn written_id(&self) -> String {
        if self.is_number() { self.id.clone() } else { format!("{:?}", self.id) }
    }
}

fn is_number(value: &Located<'_>) -> bool {
    value.raw.as_str().starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

fn members_named<'a>(object: &Located<'a>, key: &str) -> Vec<LocatedMember<'a>> {
    object.members().into_iter().filter(|member| member.key == key).collect()
}

fn fault(text: &str, at: usize, what: &str) -> UnreadableBoard {
    let (line, column) = line_and_column(text, at);
    UnreadableBoard(format!("{what} (line {line} column {column})"))
}

/// Says where a text stops being JSON.
fn syntax_error(text: &str) -> UnreadableBoard {
    if text.trim().is_empty() {
        return UnreadableBoard("the file is empty; a board without cards is {\"queues\": {}}".to_string());
    }
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Err(error) => UnreadableBoard(format!("not JSON: {}", why_not_json(&error))),
        // What the strict parser accepts and the scanner does not is nested too deeply.
        Ok(_) => UnreadableBoard("its values are nested more than 127 levels deep".to_string()),
    }
}
