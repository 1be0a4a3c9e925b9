//! Operations on random boards: each changes what it is about, and every other byte stays.

use proptest::prelude::*;

use super::super::document::{CardEntry, QueueEntry};
use super::*;
use crate::bridge::board::CardComment;

/// JSON with the order of its members.
#[derive(Clone, Debug)]
enum Json {
    Plain(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// How a file is written.
#[derive(Clone, Debug)]
struct Form {
    unit: Option<&'static str>,
    newline: &'static str,
    colon: &'static str,
    /// How deep values are on lines of their own.
    depth: usize,
    is_ascii: bool,
    has_mark: bool,
}

impl Form {
    fn string(&self, text: &str) -> String {
        let text = serde_json::to_string(text).unwrap();
        if self.is_ascii { crate::model::json::to_ascii(&text) } else { text }
    }

    fn write(&self, json: &Json, depth: usize) -> String {
        let (open, close, items) = match json {
            Json::Plain(text) => return text.clone(),
            Json::Array(items) => {
                ("[", "]", items.iter().map(|item| self.write(item, depth + 1)).collect::<Vec<_>>())
            }
            Json::Object(members) => {
                let member = |(key, value): &(String, Json)| {
                    format!("{}{}{}", self.string(key), self.colon, self.write(value, depth + 1))
                };
                ("{", "}", members.iter().map(member).collect())
            }
        };
        let line = |depth: usize| match self.unit {
            Some(unit) if depth <= self.depth + 1 && !items.is_empty() => {
                format!("{}{}", self.newline, unit.repeat(depth))
            }
            _ => String::new(),
        };
        let (lead, tail) = match line(depth + 1) {
            lead if lead.is_empty() => (String::new(), String::new()),
            lead => (lead, line(depth)),
        };
        let separator =
            if lead.is_empty() && self.colon.ends_with(' ') { ", ".to_string() } else { format!(",{lead}") };
        format!("{open}{lead}{}{tail}{close}", items.join(&separator))
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,6}", Just("ü 😀 \" \\ /\n".to_string()), Just("{\"id\": 1}, []".to_string())]
}

fn plain(text: &str) -> Json {
    Json::Plain(serde_json::to_string(text).unwrap())
}

/// A text or an object that stands for one.
fn named(key: &'static str) -> impl Strategy<Value = Json> {
    (text(), any::<bool>(), any::<bool>()).prop_map(move |(text, is_object, has_more)| match is_object {
        false => plain(&text),
        true => {
            let mut members = vec![(key.to_string(), plain(&text))];
            if has_more {
                members.insert(0, ("n".to_string(), Json::Plain("123456789012345678901.50".to_string())));
            }
            Json::Object(members)
        }
    })
}

fn names_of(key: &'static str) -> impl Strategy<Value = Json> {
    prop_oneof![
        4 => proptest::collection::vec(named(key), 0..3).prop_map(Json::Array),
        1 => Just(Json::Plain("null".to_string())),
    ]
}

/// The members of a card without its id, in any order.
fn members() -> impl Strategy<Value = Vec<(String, Json)>> {
    let member = prop_oneof![
        text().prop_map(|text| ("name".to_string(), plain(&text))),
        text().prop_map(|text| ("description".to_string(), plain(&text))),
        names_of("name").prop_map(|list| ("labels".to_string(), list)),
        names_of("username").prop_map(|list| ("assignees".to_string(), list)),
        names_of("text").prop_map(|list| ("comments".to_string(), list)),
        named("title").prop_map(|item| ("tasks".to_string(), Json::Array(vec![item]))),
        named("text").prop_map(|item| ("own".to_string(), item)),
    ];
    proptest::collection::vec(member, 0..6).prop_map(|members| {
        let mut unique: Vec<(String, Json)> = Vec::new();
        for (key, value) in members {
            if !unique.iter().any(|(other, _)| *other == key) {
                unique.push((key, value));
            }
        }
        unique
    })
}

fn form() -> impl Strategy<Value = Form> {
    (
        proptest::option::of(prop_oneof![Just("  "), Just("    "), Just("\t")]),
        prop_oneof![Just("\n"), Just("\r\n")],
        prop_oneof![Just(": "), Just(":"), Just(" : ")],
        0..7_usize,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(unit, newline, colon, depth, is_ascii, has_mark)| Form {
            unit,
            newline,
            colon,
            depth,
            is_ascii,
            has_mark,
        })
}

/// A board: its text. Its queues are `q0`, `q1`, …, its cards have the ids 1, "2", 3, …
fn board() -> impl Strategy<Value = String> {
    let card = (members(), 0..7_usize, any::<bool>());
    let queues = proptest::collection::vec(proptest::collection::vec(card, 0..4), 1..4);
    (queues, form(), any::<bool>()).prop_map(|(queues, form, has_more)| {
        let mut next = 0;
        let mut all = Vec::new();
        for (n, cards) in queues.into_iter().enumerate() {
            let mut list = Vec::new();
            for (mut members, at, is_text) in cards {
                next += 1;
                let id = if is_text { format!("\"{next}\"") } else { next.to_string() };
                members.insert(at.min(members.len()), ("id".to_string(), Json::Plain(id)));
                list.push(Json::Object(members));
            }
            all.push((format!("q{n}"), Json::Array(list)));
        }
        let mut root = vec![("queues".to_string(), Json::Object(all))];
        if has_more {
            root.insert(
                0,
                ("ü".to_string(), Json::Array(vec![plain("ü"), Json::Plain("1e400".to_string())])),
            );
            root.push(("z".to_string(), Json::Plain("null".to_string())));
        }
        let text = form.write(&Json::Object(root), 0);
        let mark = if form.has_mark { "\u{feff}" } else { "" };
        format!("{mark}{text}{}", if form.unit.is_some() { form.newline } else { "" })
    })
}

/// An operation: which card or queue, counted around, and with what.
#[derive(Clone, Debug)]
enum Operation {
    Move(usize, usize),
    Comment(usize, String),
    Name(usize, String),
    Labels(usize, Vec<String>),
    Assign(usize),
    Create(usize, String),
    CreateQueue,
    RenameQueue(usize),
    DeleteQueue(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let n = 0..12_usize;
    prop_oneof![
        3 => (n.clone(), n.clone()).prop_map(|(card, queue)| Operation::Move(card, queue)),
        3 => (n.clone(), text()).prop_map(|(card, text)| Operation::Comment(card, text)),
        1 => (n.clone(), text()).prop_map(|(card, text)| Operation::Name(card, text)),
        2 => (n.clone(), proptest::collection::vec(text(), 0..3)).prop_map(|(card, labels)| Operation::Labels(card, labels)),
        1 => n.clone().prop_map(Operation::Assign),
        1 => (n.clone(), "[a-z]{1,4}").prop_map(|(queue, name)| Operation::Create(queue, name)),
        1 => Just(Operation::CreateQueue),
        1 => n.clone().prop_map(Operation::RenameQueue),
        1 => n.prop_map(Operation::DeleteQueue),
    ]
}

/// The queues with their cards, as they are read.
type Content = Vec<(String, Vec<Card>)>;

fn content(board: &BoardDocument<'_>) -> Content {
    let cards =
        |queue: &QueueEntry<'_>| queue.cards.iter().map(|card| read_card(card, &queue.name)).collect();
    board.queues.iter().map(|queue| (queue.name.clone(), cards(queue))).collect()
}

/// Returns which queue and card the `n`th card is.
fn place(content: &Content, n: usize) -> Option<(usize, usize)> {
    let all: Vec<(usize, usize)> = content
        .iter()
        .enumerate()
        .flat_map(|(at, (_, cards))| (0..cards.len()).map(move |card| (at, card)))
        .collect();
    all.get(n.checked_rem(all.len())?).copied()
}

/// Does an operation to a text and to its content. Returns the new text, the keys of the card that it may change, and the card.
fn perform(
    text: &str,
    content: &mut Content,
    operation: &Operation,
) -> (Option<String>, &'static str, Option<String>) {
    let document = BoardDocument::parse(text).unwrap();
    let editor = BoardEditor::new(&document);
    let count = content.len();
    let name = |n: usize| format!("q{}", n % count);
    let by_card = |n: usize, content: &Content| {
        place(content, n).map(|(at, card)| (at, card, content[at].1[card].id.clone()))
    };
    match operation {
        Operation::Move(n, target) => {
            let Some((at, card, id)) = by_card(*n, content) else { return (None, "", None) };
            let new = editor
                .move_card(&id, &queue(&content[target % count].0), Some(&queue(&content[at].0)))
                .unwrap();
            if at != target % count {
                let mut moved = content[at].1.remove(card);
                moved.queue = content[target % count].0.clone();
                content[target % count].1.push(moved);
            }
            (new, "", Some(id))
        }
        Operation::Comment(n, text) => {
            let Some((at, card, id)) = by_card(*n, content) else { return (None, "", None) };
            let comment = CardComment { text: format!("{text} _m_"), extra: Object::new() };
            let new = editor.add_comment(&id, &comment.text, "_m_", "now").unwrap();
            content[at].1[card].comments.push(comment);
            (new, "comments", Some(id))
        }
        Operation::Name(n, name) => {
            let Some((at, card, id)) = by_card(*n, content) else { return (None, "", None) };
            content[at].1[card].name.clone_from(name);
            let change = CardChange { name: Some(name.clone()), ..CardChange::default() };
            (editor.update_card(&id, &change).unwrap(), "name", Some(id))
        }
        Operation::Labels(n, labels) => {
            let Some((at, card, id)) = by_card(*n, content) else { return (None, "", None) };
            content[at].1[card].labels.clone_from(labels);
            let change = CardChange { labels: Some(labels.clone()), ..CardChange::default() };
            (editor.update_card(&id, &change).unwrap(), "labels", Some(id))
        }
        Operation::Assign(n) => {
            let Some((at, card, id)) = by_card(*n, content) else { return (None, "", None) };
            content[at].1[card].assignees.push(USER.to_string());
            (editor.assign(&id, USER).unwrap(), "assignees", Some(id))
        }
        Operation::Create(n, title) => {
            let at = n % count;
            let (target, key) = (queue(&content[at].0), Some("k".to_string()));
            let new = NewCard { queue: target, name: title.clone(), description: title.clone(), key };
            let (new, id) = editor.create_card(&new).unwrap();
            let extra = [("key".to_string(), "k".into())].into_iter().collect();
            let (name, description, queue) = (title.clone(), title.clone(), content[at].0.clone());
            content[at].1.push(Card { id: id.clone(), queue, name, description, extra, ..Card::default() });
            (new, "", Some(id))
        }
        Operation::CreateQueue => {
            content.push(("new \"ü\"".to_string(), Vec::new()));
            (editor.create_queue("new \"ü\"").unwrap(), "", None)
        }
        Operation::RenameQueue(n) => {
            let queue = queue(&name(*n));
            content[n % count].0 = "new".to_string();
            content[n % count].1.iter_mut().for_each(|card| card.queue = "new".to_string());
            (editor.rename_queue(&queue, "new").unwrap(), "", None)
        }
        Operation::DeleteQueue(n) => match editor.delete_queue(&queue(&name(*n))) {
            Ok(new) => {
                assert!(content.remove(n % count).1.is_empty());
                (new, "", None)
            }
            Err(error) => {
                assert_eq!((error.code, content[n % count].1.is_empty()), (BoardErrorCode::Conflict, false));
                (None, "", None)
            }
        },
    }
}

/// Returns the texts of the members of a card except for one.
fn other_members<'a>(card: &CardEntry<'a>, except: &str) -> Vec<(String, &'a str)> {
    let members = card.object.members().into_iter().filter(|member| member.key != except);
    members.map(|member| (member.key, member.value.raw.as_str())).collect()
}

/// Checks that what an operation is not about is as it was, byte by byte.
fn check_rest(before: &str, after: &str, touched: Option<&str>, key: &str) {
    let (old, new) = (BoardDocument::parse(before).unwrap(), BoardDocument::parse(after).unwrap());
    let around = |text: &str, board: &BoardDocument<'_>| {
        let span = board.queues_object.span();
        (text[..span.start].to_string(), text[span.end..].to_string())
    };
    assert_eq!(around(before, &old), around(after, &new));
    for card in old.cards() {
        let (_, _, same) = new.card(&card.id).unwrap();
        if touched != Some(card.id.as_str()) || key.is_empty() {
            assert_eq!(card.object.raw.as_str(), same.object.raw.as_str());
        }
        assert_eq!(other_members(card, key), other_members(same, key));
    }
    let touches = |queue: &QueueEntry<'_>| queue.cards.iter().any(|card| touched == Some(card.id.as_str()));
    for queue in &old.queues {
        let Some(same) = new.queue(&queue.name) else { continue };
        if !touches(queue) && !touches(same) {
            assert_eq!(queue.array.raw.as_str(), same.array.raw.as_str());
        }
    }
    assert_eq!(before.contains("\r\n"), after.contains("\r\n"));
    let lone = |text: &str| text.matches('\n').count() - text.matches("\r\n").count();
    if before.contains("\r\n") {
        assert_eq!(lone(after), 0, "all lines end as before");
    }
    if !before.contains('\n') {
        assert!(!after.contains('\n'), "what is on one line stays so");
    }
    if before.is_ascii() && before.contains("\\u") {
        assert!(after.is_ascii());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_operation_changes_what_it_says_and_nothing_else(text in board(), operation in operation()) {
        let before = content(&BoardDocument::parse(&text).unwrap());
        let mut expected = before.clone();
        let (new, key, touched) = perform(&text, &mut expected, &operation);
        let after = new.as_deref().unwrap_or(&text);
        let found = content(&BoardDocument::parse(after).unwrap());
        prop_assert_eq!(&found, &expected, "{}\n{}", text, after);
        prop_assert_eq!(new.is_some(), found != before, "it is written when it changes");
        check_rest(&text, after, touched.as_deref(), key);
        // Once more: comments, assignments, creations and moves find what they have done.
        if matches!(operation, Operation::Move(..) | Operation::Comment(..) | Operation::Assign(_) | Operation::Create(..)) {
            let id = touched.unwrap_or_default();
            let document = BoardDocument::parse(after).unwrap();
            let editor = BoardEditor::new(&document);
            let again = match &operation {
                Operation::Comment(_, text) => editor.add_comment(&id, text, "_m_", "now"),
                Operation::Assign(_) => editor.assign(&id, USER),
                Operation::Move(_, target) => editor.move_card(&id, &queue(&found[target % found.len()].0), None),
                Operation::Create(n, name) => {
                    let (name, description) = (name.clone(), String::new());
                    let target = queue(&found[n % found.len()].0);
                    let card = NewCard { queue: target, name, description, key: Some("k".to_string()) };
                    editor.create_card(&card).map(|(new, _)| new)
                }
                _ => Ok(None),
            };
            prop_assert!(matches!(again, Ok(None)) || id.is_empty(), "{:?}", again);
        }
    }
}
