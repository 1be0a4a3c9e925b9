//! Decides what the card of a task tells of it: comments, each with a marker that makes it recognisable, and the edits
//! of its agent.

use serde_json::Value;

use super::cut;
use crate::model::event::Event;
use crate::model::json::Object;
use crate::model::release_reason::ReleaseReason;
use crate::model::response::Response;
use crate::model::task::{FailureClass, Status, Task};
use crate::model::time::Time;
use crate::model::{TaskId, duration};

/// The longest comment, in bytes, without its marker; what is longer ends with the command that shows all of it.
const MAX_COMMENT: usize = 16 * 1024;

/// A comment for a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CardNote {
    /// Its text, which ends with the marker.
    pub text: String,
    /// A part of the text that no other comment has.
    pub marker: String,
}

/// The edits of a task that its card takes over; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CardEdit {
    /// The title.
    pub name: Option<String>,
    /// The text.
    pub description: Option<String>,
    /// The complete list of labels.
    pub labels: Option<Vec<String>>,
    /// The complete list of assignees.
    pub assignees: Option<Vec<String>>,
}

/// Something that a card takes over from the history of its task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CardNews {
    /// A comment.
    Note(CardNote),
    /// An edit.
    Edit(CardEdit),
}

impl CardNote {
    /// Makes a comment about a task; `about` tells the comments of one task apart.
    fn new(task: &TaskId, about: &str, text: &str) -> Self {
        let marker = format!("_lanes {} · {about}_", short_id(task));
        let mut body = cut(text.trim(), MAX_COMMENT).to_string();
        if body.len() < text.trim().len() {
            let id = short_id(task);
            body.push_str(&format!("…\n\n({} bytes in all: `lanes show {id}`)", text.len()));
        }
        Self { text: format!("{body}\n\n{marker}"), marker }
    }

    /// Makes the comment that asks a person to move a card out of its queue and in again.
    pub(crate) fn doubt(task: &TaskId) -> Self {
        let text = "This card was in this queue before, and it is no longer known whether it was put here again. \
                    Move it to another queue and back to have it done once more.";
        Self::new(task, "in doubt", text)
    }

    /// Makes the comment about a card that cannot become a task; `why` is one line.
    pub(crate) fn refusal(bridge: &str, generation: &str, why: &str) -> Self {
        let marker = format!("_lanes {bridge} · not taken · {generation}_");
        let text = format!(
            "This card cannot be taken: {why}\n\nChange it, then move it to another queue and back.\n\n{marker}"
        );
        Self { text, marker }
    }

    /// Makes the comment by which one of several bridges of a board takes a card that was assigned before.
    pub(crate) fn taken(holder: &str, generation: &str) -> Self {
        let marker = format!("_lanes {holder} · taken · {generation}_");
        Self { text: format!("Taken.\n\n{marker}"), marker }
    }

    /// Makes the last comment about a task that has ended; `None` while it has not.
    pub(crate) fn last(task: &Task, response: Option<&Response>) -> Option<Self> {
        let attempt = task.attempt.max(1);
        let about = format!("attempt {attempt}");
        let body = response.map_or("", |response| response.body.as_str());
        Some(match &task.status {
            Status::Completed { .. } => {
                let answer = if body.trim().is_empty() { "Done." } else { body };
                Self::new(&task.id, &about, answer)
            }
            Status::Failed { class: FailureClass::Cancelled, reason, .. } => {
                Self::new(&task.id, "cancelled", &capitalised(reason))
            }
            Status::Failed { class: FailureClass::Dead, reason, .. } => {
                let tries = if attempt == 1 { "attempt" } else { "attempts" };
                let text = format!("Gave up after {attempt} {tries}: {reason}");
                Self::new(&task.id, &format!("{about} · given up"), &text)
            }
            Status::Failed { reason, .. } => Self::new(
                &task.id,
                &format!("{about} · given up"),
                &format!("Attempt {attempt} failed: {reason}"),
            ),
            Status::Queued
            | Status::Blocked { .. }
            | Status::InputRequired
            | Status::Scheduled { .. }
            | Status::Claimed(_)
            | Status::Unknown(_) => {
                return None;
            }
        })
    }

    /// Returns the holder whose comment has taken a card in this generation: the first of these texts decides.
    pub(crate) fn holder<'t>(texts: impl IntoIterator<Item = &'t str>, generation: &str) -> Option<&'t str> {
        let end = format!(" · taken · {generation}_");
        texts.into_iter().find_map(|text| {
            let line = text.lines().last()?;
            line.strip_prefix("_lanes ")?.strip_suffix(&end)
        })
    }
}

/// Returns what the card takes over from the event at `at` of the history of its task.
pub(crate) fn news(task: &Task, events: &[Event], at: usize) -> Option<CardNews> {
    let event = &events[at];
    let text = |key: &str| event.data.get(key).and_then(Value::as_str);
    match event.kind.as_str() {
        "comment" => {
            let about = format!("comment {}", event.n.unwrap_or_default());
            Some(CardNews::Note(CardNote::new(&task.id, &about, &event.message)))
        }
        "follow_up_failed" => {
            let about = format!("follow-up {}", event.n.unwrap_or_default());
            Some(CardNews::Note(CardNote::new(&task.id, &about, &capitalised(&event.message))))
        }
        "edited" => {
            // A prompt and a priority are not on the card.
            Some(edit(task, &event.data)).filter(|edit| *edit != CardEdit::default()).map(CardNews::Edit)
        }
        "asked" => Some(CardNews::Note(question(task, number(&event.data, "n")?)?)),
        "answered" => {
            let about = format!("answer {}", number(&event.data, "n")?);
            Some(CardNews::Note(CardNote::new(&task.id, &about, &capitalised(&event.message))))
        }
        "claimed" => {
            text("previous_owner")?;
            let attempt = number(&event.data, "attempt")?.saturating_sub(1);
            let message =
                format!("Attempt {attempt} was lost: its worker disappeared; the next one has begun");
            Some(note(task, attempt, " · failed", &message))
        }
        "released" => {
            let attempt = attempt_before(events, at);
            let reason = text("reason").unwrap_or("no reason was given");
            if let Some(class) = text("spent") {
                // The last comment tells of the last attempt.
                let is_last = events.get(at + 1).is_some_and(|next| next.kind == "dead");
                let what = if class == "lost" { "was lost" } else { "failed" };
                let most = max_attempts(task, &events[..=at]).filter(|most| attempt <= *most);
                let of = most.map(|most| format!(" of {most}")).unwrap_or_default();
                let again = again(event);
                let message = format!("Attempt {attempt}{of} {what}: {reason}; {again}");
                return (!is_last).then(|| note(task, attempt, " · failed", &message));
            }
            let is_refused = ReleaseReason::from_message(reason) == ReleaseReason::VendorRefusal;
            let message = format!("Waiting: {reason}. The attempt does not count.");
            is_refused.then(|| note(task, attempt, " · waiting", &message))
        }
        _ => None,
    }
}

/// Returns the comment about a question that a worker asks.
fn question(task: &Task, number: u64) -> Option<CardNote> {
    let question = task.questions.iter().find(|question| u64::from(question.number) == number)?;
    let mut text = format!("Question {number}: {}", question.text.trim());
    if !question.choices.is_empty() {
        text.push_str(&format!("\n\nSuggested answers: {}", question.choices.join(", ")));
    }
    let how = format!("\n\nAnswer it with `lanes answer {} --question {number}`.", short_id(&task.id));
    // A long question is cut before it, so that the way to answer it is always there.
    text = format!("{}{how}", cut(&text, MAX_COMMENT - how.len()));
    Some(CardNote::new(&task.id, &format!("question {number}"), &text))
}

fn note(task: &Task, attempt: u64, kind: &str, message: &str) -> CardNews {
    CardNews::Note(CardNote::new(&task.id, &format!("attempt {attempt}{kind}"), message))
}

/// Returns what an event of the type `edited` has changed, as the task has it now.
fn edit(task: &Task, data: &Object) -> CardEdit {
    let has = |key: &str| data.contains_key(key);
    CardEdit {
        name: task.spec.name.clone().filter(|_| has("name")),
        description: has("description").then(|| task.description().to_string()),
        labels: has("labels").then(|| task.spec.labels.clone()),
        assignees: has("assignees").then(|| task.assignees()),
    }
}

/// Returns the number of the attempt that the event at `at` ends.
fn attempt_before(events: &[Event], at: usize) -> u64 {
    let claims = events[..at].iter().rev().filter(|event| event.kind == "claimed");
    claims.into_iter().find_map(|event| number(&event.data, "attempt")).unwrap_or(1)
}

/// Returns how many attempts a task has, as far as it or its dispatcher says so. A dispatcher does not count those that
/// were lost: the number of an attempt says nothing then.
fn max_attempts(task: &Task, events: &[Event]) -> Option<u64> {
    let started = events.iter().rev().find(|event| event.kind == "dispatcher_started");
    let by_dispatcher = started.and_then(|event| number(&event.data, "max_attempts"));
    let is_lost = |event: &Event| event.data.get("spent").and_then(Value::as_str) == Some("lost");
    match by_dispatcher {
        Some(_) if events.iter().any(is_lost) => None,
        Some(most) => Some(most),
        None => task.spec.max_attempts.map(u64::from),
    }
}

/// Returns when the next attempt begins at the earliest, for people.
fn again(event: &Event) -> String {
    match event.data.get("delay_seconds").and_then(Value::as_f64) {
        Some(delay) => format!("next attempt at {} UTC", clock_time(event.created_at.plus_seconds(delay))),
        None => "retrying now".to_string(),
    }
}

fn clock_time(time: Time) -> String {
    time.to_string().get(11..16).unwrap_or_default().to_string()
}

fn number(data: &Object, key: &str) -> Option<u64> {
    data.get(key).and_then(Value::as_u64)
}

/// Returns the random end of an id, by which people and commands know a task.
pub(crate) fn short_id(id: &TaskId) -> &str {
    id.as_str().rsplit('-').next().unwrap_or(id.as_str())
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Returns for how long a board has not been reached, for people.
pub(crate) fn unreachable_for(since: Time, now: Time) -> String {
    duration::format_coarse(std::time::Duration::from_secs_f64(now.seconds_since(since).max(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LaneName, NewTask, Owner, Question, ResponseStatus, json};

    fn task(status: Status) -> Task {
        Task {
            id: TaskId::parse("20261121T070000000000Z-work-d285194604e2-4a655c").unwrap(),
            spec: NewTask::prompt(LaneName::stored("work"), "x").spec,
            request_path: String::new(),
            request_sha256: crate::model::Sha256::stored(""),
            response_path: String::new(),
            status,
            created_at: Time::from_micros(0),
            updated_at: Time::from_micros(0),
            attempt: 2,
            fence: 2,
            retried_as: None,
            questions: Vec::new(),
            messages: Vec::new(),
            bookkeeping: crate::model::Bookkeeping::default(),
            extra: Object::new(),
        }
    }

    fn event(kind: &str, data: &str) -> Event {
        Event {
            n: Some(7),
            created_at: Time::from_micros(0),
            kind: kind.to_string(),
            message: "Half of it works.".to_string(),
            data: json::parse_object(data.as_bytes()).unwrap(),
        }
    }

    fn note_at(events: &[Event], at: usize) -> Option<(String, String)> {
        match news(&task(Status::Queued), events, at)? {
            CardNews::Note(note) => Some((note.text.lines().next()?.to_string(), note.marker)),
            CardNews::Edit(_) => None,
        }
    }

    fn response(body: &str) -> Response {
        Response {
            task_id: String::new(),
            reviewer: String::new(),
            status: ResponseStatus::Completed,
            body: body.to_string(),
            reviewed_request_sha256: crate::model::Sha256::stored(""),
            request_changed_before_response: false,
            follow_up_required: false,
            verdict: None,
            blocking_count: None,
            nonblocking_count: None,
            metadata: Object::new(),
            created_at: Time::from_micros(0),
            extra: Object::new(),
        }
    }

    #[test]
    fn a_card_tells_that_no_task_follows() {
        let failed = Event {
            message: "no task follows it in lane x: why".to_string(),
            ..event("follow_up_failed", "{}")
        };
        let (text, marker) = note_at(&[failed], 0).unwrap();
        assert_eq!(text, "No task follows it in lane x: why");
        assert_eq!(marker, "_lanes 4a655c · follow-up 7_");
    }

    #[test]
    fn a_card_tells_of_attempts_comments_and_pauses() {
        let events = [
            event("created", "{}"),
            event("claimed", r#"{"attempt": 1}"#),
            event("dispatcher_started", r#"{"max_attempts": 3}"#),
            event("comment", "{}"),
            event(
                "released",
                r#"{"spent": "timeout", "reason": "timeout after 30m", "delay_seconds": 50700}"#,
            ),
            event("claimed", r#"{"attempt": 2}"#),
            event("released", r#"{"reason": "the vendor's usage limit is reached: resets at 5"}"#),
            event("claimed", r#"{"attempt": 2}"#),
            event("released", r#"{"reason": "the dispatcher was stopped before the agent was done"}"#),
            event("claimed", r#"{"attempt": 3, "previous_owner": "me"}"#),
            event("released", r#"{"spent": "error", "reason": "boom"}"#),
            event("dead", "{}"),
        ];
        let comment = |text: &str, about: &str| Some((text.to_string(), format!("_lanes 4a655c · {about}_")));
        let expected = [
            None,
            None,
            None,
            comment("Half of it works.", "comment 7"),
            comment(
                "Attempt 1 of 3 failed: timeout after 30m; next attempt at 14:05 UTC",
                "attempt 1 · failed",
            ),
            None,
            comment(
                "Waiting: the vendor's usage limit is reached: resets at 5. The attempt does not count.",
                "attempt 2 · waiting",
            ),
            None,
            None,
            comment(
                "Attempt 2 was lost: its worker disappeared; the next one has begun",
                "attempt 2 · failed",
            ),
            None,
            None,
        ];
        for (at, expected) in expected.into_iter().enumerate() {
            assert_eq!(note_at(&events, at), expected, "event {at}");
        }
    }

    #[test]
    fn an_attempt_is_not_one_of_a_number_that_does_not_count_all() {
        let lost = r#"{"spent": "lost", "reason": "its dispatcher died"}"#;
        let events = [
            event("claimed", r#"{"attempt": 1}"#),
            event("dispatcher_started", r#"{"max_attempts": 2}"#),
            event("released", lost),
            event("claimed", r#"{"attempt": 2}"#),
            event("released", r#"{"spent": "error", "reason": "boom"}"#),
        ];
        let told = |at| note_at(&events, at).unwrap().0;
        assert_eq!(told(2), "Attempt 1 was lost: its dispatcher died; retrying now");
        assert_eq!(told(4), "Attempt 2 failed: boom; retrying now");
    }

    #[test]
    fn a_card_tells_what_its_worker_asks_and_the_answer() {
        let mut asking = task(Status::InputRequired);
        asking.questions.push(Question {
            number: 1,
            text: "Delete old.sql?".to_string(),
            choices: vec!["yes".to_string(), "no".to_string()],
            asked_by: Owner::stored("me"),
            asked_at: Time::from_micros(0),
            default: None,
            answer: None,
            tool: None,
            extra: Object::new(),
        });
        let events =
            [event("asked", r#"{"n": 1}"#), event("answered", r#"{"n": 1}"#), event("asked", r#"{"n": 2}"#)];
        let text = |at| match news(&asking, &events, at) {
            Some(CardNews::Note(note)) => Some(note.text),
            _ => None,
        };
        let expected = "Question 1: Delete old.sql?\n\nSuggested answers: yes, no\n\n\
                        Answer it with `lanes answer 4a655c --question 1`.\n\n_lanes 4a655c · question 1_";
        assert_eq!(text(0).as_deref(), Some(expected));
        assert_eq!(text(1).as_deref(), Some("Half of it works.\n\n_lanes 4a655c · answer 1_"));
        assert_eq!(text(2), None, "it is not there any more");
        asking.questions[0].text = "é".repeat(MAX_COMMENT);
        let Some(CardNews::Note(note)) = news(&asking, &events, 0) else { panic!("a note") };
        assert!(note.text.contains("`lanes answer 4a655c --question 1`"), "also of a long one");
    }

    #[test]
    fn the_last_comment_is_the_answer_or_the_reason() {
        let at = Time::from_micros(0);
        let failed =
            |class, reason: &str| Status::Failed { at, claim: None, reason: reason.to_string(), class };
        for (status, body, expected) in [
            (Status::Completed { at, claim: None }, "It works.\n", "It works.\n\n_lanes 4a655c · attempt 2_"),
            (Status::Completed { at, claim: None }, " ", "Done.\n\n_lanes 4a655c · attempt 2_"),
            (
                failed(FailureClass::Error, "boom"),
                "",
                "Attempt 2 failed: boom\n\n_lanes 4a655c · attempt 2 · given up_",
            ),
            (
                failed(FailureClass::Dead, "boom"),
                "",
                "Gave up after 2 attempts: boom\n\n_lanes 4a655c · attempt 2 · given up_",
            ),
            (
                failed(FailureClass::Cancelled, "cancelled by me"),
                "",
                "Cancelled by me\n\n_lanes 4a655c · cancelled_",
            ),
        ] {
            let note = CardNote::last(&task(status), Some(&response(body))).unwrap();
            assert_eq!(note.text, expected);
            assert!(note.text.ends_with(&note.marker));
        }
        assert_eq!(CardNote::last(&task(Status::Queued), None), None);
    }

    #[test]
    fn a_long_answer_is_cut() {
        let status = Status::Completed { at: Time::from_micros(0), claim: None };
        let body = "é".repeat(MAX_COMMENT);
        let note = CardNote::last(&task(status), Some(&response(&body))).unwrap();
        assert!(note.text.len() < MAX_COMMENT + 200, "{}", note.text.len());
        let end = "…\n\n(32768 bytes in all: `lanes show 4a655c`)\n\n_lanes 4a655c · attempt 2_";
        assert!(note.text.ends_with(end), "{}", &note.text[note.text.len() - 120..]);
    }

    #[test]
    fn an_edit_takes_over_what_was_edited() {
        let mut edited = task(Status::Queued);
        edited.spec.name = Some("New".to_string());
        edited.spec.labels = vec!["a".to_string()];
        let found = news(&edited, &[event("edited", r#"{"labels": ["a"]}"#)], 0);
        let expected = CardEdit { labels: Some(vec!["a".to_string()]), ..CardEdit::default() };
        assert_eq!(found, Some(CardNews::Edit(expected)));
    }

    #[test]
    fn of_several_bridges_the_first_comment_decides() {
        let [a, b] = ["aaa", "bbb"].map(|holder| CardNote::taken(holder, "2").text);
        let old = CardNote::taken("bbb", "1").text;
        let texts = ["hello", &old, &a, &b];
        assert_eq!(CardNote::holder(texts, "2"), Some("aaa"));
        assert_eq!(CardNote::holder(texts, "1"), Some("bbb"));
        assert_eq!(CardNote::holder(texts, "3"), None);
    }
}
