//! The text about a task that a model reads: one line, then the answer.

use serde_json::Value;

use crate::error::brief;
use crate::model::AGENT_LANES;
use crate::model::json::Object;
use crate::model::task::object;

/// The state of a task, by the names that the tools use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ReportedState {
    // In the order in which several tasks are reported, the most urgent first.
    /// It failed.
    Failed,
    /// Cancelled.
    Cancelled,
    /// Ended with an answer.
    Done,
    /// It waits for the answer to a question.
    InputRequired,
    /// A worker has it.
    Running,
    /// Nobody has it yet.
    Queued,
}

impl ReportedState {
    /// All states.
    pub(super) const ALL: [Self; 6] =
        [Self::Failed, Self::Cancelled, Self::Done, Self::InputRequired, Self::Running, Self::Queued];

    /// Returns the word for it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
            Self::InputRequired => "input_required",
            Self::Running => "running",
            Self::Queued => "queued",
        }
    }

    /// Returns whether the task has ended.
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Failed | Self::Cancelled | Self::Done)
    }
}

/// The facts about a task that are reported.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TaskReport {
    /// Its id.
    pub id: String,
    /// Its lane.
    pub lane: String,
    /// Its state.
    pub state: ReportedState,
    /// How far the answer got, if its worker reported that.
    pub outcome: Option<String>,
    /// The kind of its failure.
    pub failure: Option<&'static str>,
    /// Whether the answer to an earlier request is given again.
    pub is_cached: bool,
    /// How long it took or has been taking, in seconds.
    pub seconds: f64,
    /// What its run cost.
    pub cost_usd: Option<f64>,
    /// How many turns its run took.
    pub turns: Option<u64>,
    /// The conversation that a later task may continue.
    pub session_id: Option<String>,
    /// What an open task waits for, or what its worker did last.
    pub note: String,
    /// The answer, or why the task failed.
    pub body: String,
    /// The answer as JSON, if it was asked for.
    pub json: Option<Value>,
    /// Whether the answer was asked for as JSON.
    pub wants_json: bool,
}

impl TaskReport {
    /// Returns the text for a model, with at most `max_chars` characters of the answer.
    pub(super) fn text(&self, max_chars: usize) -> String {
        let head = self.head();
        if self.state == ReportedState::InputRequired {
            return format!(
                "{head}. Answer it with answer(id:\"{}\", text: …) if you know, or ask the user.",
                self.id
            );
        }
        if !self.state.is_over() {
            return format!("{head}. Continue with wait(ids:[\"{}\"]).", self.id);
        }
        if self.body.is_empty() {
            return head;
        }
        format!("{head}\n\n{}", self.cut_body(max_chars))
    }

    fn cut_body(&self, max_chars: usize) -> String {
        TextPiece::of(&self.body, 0, max_chars).with_cut_line(&format!("id={}", self.id))
    }

    /// Returns the line about the task.
    pub(super) fn head(&self) -> String {
        let mut parts = vec![self.state.as_str().to_string(), self.id.clone()];
        parts.push(match self.lane.strip_prefix(AGENT_LANES) {
            Some(agent) => format!("agent={}", brief(agent)),
            None => format!("lane={}", brief(&self.lane)),
        });
        parts.extend(self.failure.map(|kind| format!("error={kind}")));
        parts.extend(self.outcome.as_deref().map(|outcome| format!("outcome={}", brief(outcome))));
        parts.extend(self.is_cached.then(|| "cached".to_string()));
        parts.push(format!("{:.0} s", self.seconds));
        parts.extend(self.cost_usd.map(dollars));
        parts.extend(self.session_id.as_deref().map(|session| format!("session={}", brief(session))));
        let line = parts.join(" ");
        if self.note.is_empty() { line } else { format!("{line}, {}", self.note) }
    }

    /// Returns the report as JSON, for an answer that was asked for as JSON; text that is not JSON has at most
    /// `max_chars` characters.
    pub(super) fn to_object(&self, max_chars: usize) -> Object {
        let text = (self.json.is_none() && !self.body.is_empty()).then(|| self.cut_body(max_chars));
        object([
            ("status", self.state.as_str().into()),
            ("id", self.id.clone().into()),
            ("lane", self.lane.clone().into()),
            ("outcome", self.outcome.clone().into()),
            ("error", self.failure.into()),
            ("cached", self.is_cached.then_some(true).into()),
            ("seconds", self.seconds.round().into()),
            ("cost_usd", self.cost_usd.into()),
            ("session_id", self.session_id.clone().into()),
            ("json", self.json.clone().into()),
            ("text", text.into()),
        ])
    }
}

fn dollars(amount: f64) -> String {
    if amount >= 0.01 || amount == 0.0 { format!("${amount:.2}") } else { format!("${amount:.4}") }
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextPiece<'a> {
    /// The part.
    pub text: &'a str,
    /// How many characters come before it.
    pub offset: usize,
    /// How many characters it has.
    pub length: usize,
    /// How many characters the whole text has.
    pub total: usize,
}

impl<'a> TextPiece<'a> {
    /// Returns at most `max_chars` characters of a text, from character `offset` on.
    pub(super) fn of(text: &'a str, offset: usize, max_chars: usize) -> Self {
        let total = text.chars().count();
        let offset = offset.min(total);
        let length = max_chars.min(total - offset);
        let byte_of =
            |text: &str, chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
        let rest = &text[byte_of(text, offset)..];
        Self { text: &rest[..byte_of(rest, length)], offset, length, total }
    }

    /// Returns the part, followed by a line with the arguments of `result` for the rest, if there is one; `whole` has
    /// the arguments that name the whole text.
    pub(super) fn with_cut_line(&self, whole: &str) -> String {
        let end = self.offset + self.length;
        if end == self.total {
            return self.text.to_string();
        }
        let total = self.total;
        format!("{}\n\n[cut: {end} of {total} characters; result {whole} offset={end}]", self.text)
    }
}

/// Returns the text about several tasks, the most urgent first, in about `max_chars` characters each and
/// `max_total` together.
pub(super) fn text_of_all(reports: &[TaskReport], max_chars: usize, max_total: usize) -> String {
    let mut sorted: Vec<&TaskReport> = reports.iter().collect();
    sorted.sort_by_key(|report| report.state);
    let heads: usize = sorted.iter().map(|report| report.head().chars().count() + CUT_LINE).sum();
    let each = max_chars.min(max_total.saturating_sub(heads) / sorted.len().max(1));
    let blocks: Vec<String> = sorted.iter().map(|report| report.text(each)).collect();
    blocks.join("\n\n")
}

/// The room for the line about omitted text, with the space around it, in characters.
const CUT_LINE: usize = 200;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> TaskReport {
        TaskReport {
            id: "20261121T070000000000Z-infra-d2-d64cf2".to_string(),
            lane: "agent/infra".to_string(),
            state: ReportedState::Done,
            outcome: Some("done".to_string()),
            failure: None,
            is_cached: false,
            seconds: 41.7,
            cost_usd: Some(0.08),
            turns: Some(3),
            session_id: Some("s-1".to_string()),
            note: String::new(),
            body: "Yes.".to_string(),
            json: None,
            wants_json: false,
        }
    }

    #[test]
    fn the_first_line_has_what_a_model_needs_next() {
        let done = report();
        assert_eq!(
            done.text(100),
            "done 20261121T070000000000Z-infra-d2-d64cf2 agent=infra outcome=done 42 s $0.08 session=s-1\n\nYes."
        );
        let cached = TaskReport { is_cached: true, session_id: None, ..report() };
        assert_eq!(
            cached.head(),
            "done 20261121T070000000000Z-infra-d2-d64cf2 agent=infra outcome=done cached 42 s $0.08"
        );
        let failed = TaskReport {
            state: ReportedState::Failed,
            lane: "review".to_string(),
            failure: Some("timeout"),
            outcome: None,
            cost_usd: Some(0.0004),
            session_id: None,
            ..report()
        };
        assert_eq!(
            failed.head(),
            "failed 20261121T070000000000Z-infra-d2-d64cf2 lane=review error=timeout 42 s $0.0004"
        );
        let running = TaskReport {
            state: ReportedState::Running,
            outcome: None,
            cost_usd: None,
            session_id: None,
            note: "last: \"reading\"".to_string(),
            ..report()
        };
        assert_eq!(
            running.text(100),
            "running 20261121T070000000000Z-infra-d2-d64cf2 agent=infra 42 s, last: \"reading\". Continue with \
             wait(ids:[\"20261121T070000000000Z-infra-d2-d64cf2\"])."
        );
    }

    #[test]
    fn pieces_join_to_the_whole_and_never_split_a_character() {
        let text = "añb😀c\u{301}".repeat(50);
        for size in [1, 2, 3, 7, 1000] {
            let (mut joined, mut offset) = (String::new(), 0);
            while offset < text.chars().count() {
                let piece = TextPiece::of(&text, offset, size);
                assert_eq!(piece.text.chars().count(), piece.length);
                joined.push_str(piece.text);
                offset += piece.length;
            }
            assert_eq!(joined, text, "{size}");
        }
        let beyond = TextPiece::of("ab", 9, 5);
        assert_eq!((beyond.text, beyond.offset), ("", 2));
        assert_eq!(
            TextPiece::of("abc", 1, 1).with_cut_line("id=x"),
            "b\n\n[cut: 2 of 3 characters; result id=x offset=2]"
        );
        assert_eq!(TextPiece::of("abc", 1, 2).with_cut_line("x"), "bc");
    }

    #[test]
    fn failures_come_first_and_all_share_the_room() {
        let of = |state, body: &str| TaskReport { state, body: body.to_string(), ..report() };
        let long = "x".repeat(100_000);
        let reports = [
            of(ReportedState::Running, ""),
            of(ReportedState::Done, &long),
            of(ReportedState::Failed, &long),
        ];
        let text = text_of_all(&reports, 100_000, 40_000);
        assert!(text.starts_with("failed "));
        assert!(text.find("\ndone ").unwrap() < text.find("\nrunning ").unwrap());
        assert!(text.chars().count() <= 40_000, "{}", text.chars().count());
        assert!(text.chars().count() > 25_000);
        assert_eq!(text.matches("[cut: ").count(), 2);
    }

    #[test]
    fn json_is_passed_on_as_json() {
        let with_json = TaskReport { json: Some(json!({"n": 1})), wants_json: true, ..report() };
        let object = with_json.to_object(100);
        assert_eq!(object["json"], json!({"n": 1}));
        assert!(!object.contains_key("text") && !object.contains_key("error"));
        assert_eq!(report().to_object(1)["text"].as_str().unwrap().lines().next(), Some("Y"));
    }
}
