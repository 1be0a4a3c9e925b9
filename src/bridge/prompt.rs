//! Makes the request of a task from its card.

use super::board::Card;
use crate::model::LaneName;
use crate::model::bridge::{BOARD, BOARD_QUEUE, BRIDGE, CARD, CARD_URL, GENERATION, cut};
use crate::model::json::Object;
use crate::model::limits::{MAX_KEY, MAX_LABEL, MAX_LABELS, MAX_SHORT_TEXT};
use crate::model::names::is_hidden;
use crate::model::task::object;
use crate::workspace::SubmitRequest;

/// Which card a task is made from.
pub(crate) struct CardOrigin<'a> {
    /// The name of the bridge.
    pub bridge: &'a str,
    /// What the adapter of the board calls itself.
    pub board: &'a str,
    /// The watched queue.
    pub queue: &'a str,
    /// The lane of the task.
    pub lane: &'a LaneName,
    /// The generation of the card.
    pub generation: &'a str,
    /// The id of the first task that the card had.
    pub first_task: Option<&'a str>,
    /// The id of the task that the card had before.
    pub previous_task: Option<&'a str>,
}

/// Returns the text of a card that its agent gets: name, description, check list and labels.
pub(crate) fn card_prompt(card: &Card) -> String {
    let mut parts = vec![card.name.trim().to_string(), card.description.trim().to_string()];
    if !card.tasks.is_empty() {
        let line = |name: &str, done: bool| format!("- [{}] {}", if done { "x" } else { " " }, name.trim());
        let lines: Vec<String> = card.tasks.iter().map(|item| line(&item.name, item.done)).collect();
        parts.push(lines.join("\n"));
    }
    if !card.labels.is_empty() {
        parts.push(format!("Labels: {}", card.labels.join(", ")));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// Returns the request for the task of a card. What is too long or hidden in names and labels is left out; the prompt has
/// all of it.
pub(crate) fn card_request(card: &Card, origin: &CardOrigin<'_>) -> SubmitRequest {
    let labels = card.labels.iter().map(|label| one_line(label, MAX_LABEL)).filter(|label| !label.is_empty());
    let name = one_line(&card.name, MAX_KEY);
    SubmitRequest {
        lane: Some(origin.lane.to_string()),
        prompt: Some(card_prompt(card)),
        metadata: metadata(card, origin),
        source_agent: Some(format!("bridge:{}", origin.bridge)),
        correlation_id: Some(one_line(&card.id, MAX_SHORT_TEXT)).filter(|id| !id.is_empty()),
        name: Some(name).filter(|name| !name.is_empty()),
        labels: labels.take(MAX_LABELS).collect(),
        ..SubmitRequest::default()
    }
}

fn metadata(card: &Card, origin: &CardOrigin<'_>) -> Object {
    object([
        (BRIDGE, origin.bridge.into()),
        (BOARD, origin.board.into()),
        (BOARD_QUEUE, origin.queue.into()),
        (CARD, card.id.clone().into()),
        (GENERATION, origin.generation.into()),
        (CARD_URL, card.url.clone().into()),
        ("thread_id", origin.first_task.into()),
        ("parent_task_id", origin.previous_task.into()),
    ])
}

/// Returns `text` as one line of at most `max_bytes` without hidden characters.
fn one_line(text: &str, max_bytes: usize) -> String {
    let plain: String = text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    cut(&words.join(" "), max_bytes).trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::board::CheckListItem;

    fn card() -> Card {
        let item = |name: &str, done| CheckListItem { name: name.to_string(), done, extra: Object::new() };
        Card {
            id: "19".to_string(),
            name: "Fix the parser".to_string(),
            description: "It fails on `é`.\n".to_string(),
            labels: vec!["bug".to_string(), "two\nlines".to_string()],
            tasks: vec![item("a test", true), item("a fix", false)],
            url: Some("https://board/19".to_string()),
            ..Card::default()
        }
    }

    #[test]
    fn a_prompt_is_all_that_a_card_says() {
        let expected =
            "Fix the parser\n\nIt fails on `é`.\n\n- [x] a test\n- [ ] a fix\n\nLabels: bug, two\nlines";
        assert_eq!(card_prompt(&card()), expected);
        assert_eq!(card_prompt(&Card { name: " x ".to_string(), ..Card::default() }), "x");
        assert_eq!(card_prompt(&Card::default()), "");
    }

    #[test]
    fn a_card_chooses_nothing_but_its_text() {
        let origin = CardOrigin {
            bridge: "team",
            board: "json",
            queue: "Todo",
            lane: &LaneName::stored("work"),
            generation: "2",
            first_task: None,
            previous_task: None,
        };
        let wishes = r#"{"lane": "root", "command": "./x", "model": "big", "worktree_path": "/", "metadata": {"session_id": "s"}, "priority": 9}"#;
        let extra = crate::model::json::parse_object(wishes.as_bytes()).unwrap();
        let made = card_request(&Card { extra, ..card() }, &origin);
        let expected = SubmitRequest {
            lane: Some("work".to_string()),
            prompt: Some(card_prompt(&card())),
            metadata: metadata(&card(), &origin),
            source_agent: Some("bridge:team".to_string()),
            correlation_id: Some("19".to_string()),
            name: Some("Fix the parser".to_string()),
            labels: vec!["bug".to_string(), "two lines".to_string()],
            ..SubmitRequest::default()
        };
        assert_eq!(format!("{made:?}"), format!("{expected:?}"));
    }

    #[test]
    fn names_and_labels_are_made_to_fit() {
        let origin = CardOrigin {
            bridge: "team",
            board: "json",
            queue: "Todo",
            lane: &LaneName::stored("work"),
            generation: "2",
            first_task: Some("t-1"),
            previous_task: None,
        };
        let long = Card {
            name: format!("a\u{200b}b\n{}", "é".repeat(300)),
            labels: vec!["x".repeat(300); 99],
            ..card()
        };
        let request = card_request(&long, &origin);
        let name = request.name.unwrap();
        assert!(name.len() <= MAX_KEY && name.starts_with("a b é"), "{name}");
        assert!(request.labels.len() == MAX_LABELS && request.labels[0].len() == MAX_LABEL);
        let plain = card_request(&card(), &origin);
        assert_eq!(plain.labels, ["bug", "two lines"]);
        let text = crate::model::json::to_line(&plain.metadata);
        let expected = r#"{"board":"json","board_queue":"Todo","bridge":"team","card":"19","card_url":"https://board/19","generation":"2","thread_id":"t-1"}"#;
        assert_eq!(text.trim_end(), expected);
    }
}
