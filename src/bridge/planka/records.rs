//! What Planka sends, as far as a bridge reads it, and the cards that are made of it.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::bridge::board::{Card, CardComment, CheckListItem};
use crate::model::json::Object;

/// An answer: one thing, with what belongs to it.
#[derive(Debug, Deserialize)]
pub(super) struct OneRecord<T> {
    pub(super) item: T,
    #[serde(default)]
    pub(super) included: Included,
}

/// An answer: several things, with what belongs to them.
#[derive(Debug, Deserialize)]
pub(super) struct ManyRecords<T> {
    pub(super) items: Vec<T>,
    #[serde(default)]
    pub(super) included: Included,
}

/// What belongs to the thing that was asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Included {
    pub(super) projects: Vec<NamedRecord>,
    pub(super) boards: Vec<BoardRecord>,
    pub(super) board_memberships: Vec<MembershipRecord>,
    pub(super) lists: Vec<ListRecord>,
    pub(super) labels: Vec<NamedRecord>,
    pub(super) users: Vec<UserRecord>,
    pub(super) cards: Vec<PlankaCard>,
    pub(super) card_memberships: Vec<CardMemberRecord>,
    pub(super) card_labels: Vec<CardLabelRecord>,
    pub(super) task_lists: Vec<TaskListRecord>,
    pub(super) tasks: Vec<CheckRecord>,
}

/// A project or a label.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct NamedRecord {
    pub(super) id: String,
    /// Labels need none.
    pub(super) name: Option<String>,
}

/// A board.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BoardRecord {
    pub(super) id: String,
    pub(super) project_id: String,
    pub(super) name: String,
}

/// Who may do what on a board.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MembershipRecord {
    pub(super) user_id: String,
    pub(super) role: String,
}

/// A list: a queue of a bridge, or the archive or trash of a board.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListRecord {
    pub(super) id: String,
    pub(super) board_id: String,
    pub(super) name: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) position: Option<f64>,
}

impl ListRecord {
    /// Returns whether people see it as a column of the board.
    pub(super) fn is_column(&self) -> bool {
        self.kind == "active" || self.kind == "closed"
    }
}

/// A user.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct UserRecord {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) username: Option<String>,
}

impl UserRecord {
    /// The name in the assignees of cards.
    pub(super) fn shown(&self) -> &str {
        self.username.as_deref().unwrap_or(&self.name)
    }
}

/// A card.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlankaCard {
    pub(super) id: String,
    pub(super) board_id: String,
    pub(super) list_id: String,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) position: Option<f64>,
    pub(super) list_changed_at: Option<String>,
    pub(super) comments_total: Option<u64>,
}

/// A card and a member of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CardMemberRecord {
    pub(super) card_id: String,
    pub(super) user_id: String,
}

/// A card and a label of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CardLabelRecord {
    pub(super) card_id: String,
    pub(super) label_id: String,
}

/// A check list of a card, which may have several.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskListRecord {
    pub(super) id: String,
    pub(super) card_id: String,
    pub(super) position: Option<f64>,
}

/// A line of a check list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckRecord {
    pub(super) task_list_id: String,
    pub(super) name: Option<String>,
    pub(super) position: Option<f64>,
    #[serde(default)]
    pub(super) is_completed: bool,
}

/// A comment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CommentRecord {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) user_id: Option<String>,
}

/// The names of the labels and users of a board, by their ids.
pub(super) struct BoardNames<'a> {
    labels: HashMap<&'a str, &'a str>,
    users: HashMap<&'a str, &'a str>,
}

impl<'a> BoardNames<'a> {
    pub(super) fn of(labels: &'a [NamedRecord], users: &'a [UserRecord]) -> Self {
        let label = |label: &'a NamedRecord| (label.id.as_str(), label.name.as_deref().unwrap_or_default());
        Self {
            labels: labels.iter().map(label).collect(),
            users: users.iter().map(|user| (user.id.as_str(), user.shown())).collect(),
        }
    }

    /// Returns whether it has a name for every label and user in an answer.
    pub(super) fn know(&self, included: &Included) -> bool {
        included.card_labels.iter().all(|row| self.labels.contains_key(row.label_id.as_str()))
            && included.card_memberships.iter().all(|row| self.users.contains_key(row.user_id.as_str()))
    }
}

/// Compares by position, and by id where positions are equal, as Planka does.
pub(super) fn sort_by_position<T>(
    records: &mut [T],
    position: impl Fn(&T) -> Option<f64>,
    id: impl Fn(&T) -> &str,
) {
    records.sort_by(|a, b| {
        let positions = position(a).unwrap_or(f64::MAX).total_cmp(&position(b).unwrap_or(f64::MAX));
        // Ids are numbers without leading zeros, longer than a number of 64 bits may be.
        positions.then_with(|| id(a).len().cmp(&id(b).len())).then_with(|| id(a).cmp(id(b)))
    });
}

/// Makes the card of a bridge. `base` is the address of the server.
pub(super) fn card(record: &PlankaCard, included: &Included, names: &BoardNames<'_>, base: &str) -> Card {
    let name_of = |known: &HashMap<&str, &str>, id: &str| known.get(id).map_or(id, |name| *name).to_string();
    let labels = included.card_labels.iter().filter(|row| row.card_id == record.id);
    let members = included.card_memberships.iter().filter(|row| row.card_id == record.id);
    let mut lists: Vec<&TaskListRecord> =
        included.task_lists.iter().filter(|list| list.card_id == record.id).collect();
    sort_by_position(&mut lists, |list| list.position, |list| &list.id);
    let mut tasks = Vec::new();
    for list in lists {
        let mut checks: Vec<&CheckRecord> =
            included.tasks.iter().filter(|check| check.task_list_id == list.id).collect();
        sort_by_position(&mut checks, |check| check.position, |_| "");
        tasks.extend(checks.into_iter().map(|check| CheckListItem {
            name: check.name.clone().unwrap_or_default(),
            done: check.is_completed,
            extra: Object::new(),
        }));
    }
    Card {
        id: record.id.clone(),
        queue: record.list_id.clone(),
        name: record.name.clone(),
        description: record.description.clone().unwrap_or_default(),
        labels: labels
            .map(|row| name_of(&names.labels, &row.label_id))
            .filter(|name| !name.is_empty())
            .collect(),
        assignees: members.map(|row| name_of(&names.users, &row.user_id)).collect(),
        comments: Vec::new(),
        tasks,
        url: Some(format!("{base}/cards/{}", record.id)),
        generation: record.list_changed_at.clone(),
        extra: Object::new(),
    }
}

/// Makes the comments of a bridge, oldest first, of those that Planka sent, newest first.
pub(super) fn comments(records: &[CommentRecord], users: &[UserRecord]) -> Vec<CardComment> {
    let newest_first = records.iter().map(|record| {
        let author = users.iter().find(|user| Some(&user.id) == record.user_id.as_ref());
        let mut extra = Object::new();
        if let Some(author) = author {
            extra.insert("author".to_string(), Value::from(author.shown()));
        }
        CardComment { text: record.text.clone(), extra }
    });
    let mut oldest_first: Vec<CardComment> = newest_first.collect();
    oldest_first.reverse();
    oldest_first
}
