//! Questions that a worker asks about its task, and the answers to them.

use std::time::Duration;

use serde_json::Value;

use super::id::TaskId;
use super::json::Object;
use super::json::raw::Raw;
use super::limits;
use super::owner::Owner;
use super::time::Time;
use crate::error::{Error, Result, printable};

/// The longest question, in bytes.
pub(crate) const MAX_QUESTION: usize = 16 * 1024;
/// The longest answer to a question, in bytes.
pub(crate) const MAX_ANSWER: usize = 64 * 1024;
/// The longest choice, in bytes.
const MAX_CHOICE: usize = 1000;
/// The largest number of choices of a question.
const MAX_CHOICES: usize = 20;
/// The largest number of questions of a task: an agent that only asks ends here.
const MAX_QUESTIONS: usize = 100;
/// The largest size of all questions and answers of a task together, in bytes: every reader of the task reads them.
const MAX_TOTAL: usize = 512 * 1024;

/// A question about a task. It is open until it has an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Its number within the task: 1, 2, 3, …
    pub number: u32,
    /// The question itself.
    pub text: String,
    /// The answers that it suggests; another one may be given too.
    pub choices: Vec<String>,
    /// The owner of the claim under which it was asked.
    pub asked_by: Owner,
    /// When it was asked.
    pub asked_at: Time,
    /// The answer that counts if nobody gives another one in time.
    pub default: Option<DefaultAnswer>,
    /// The answer.
    pub answer: Option<QuestionAnswer>,
    /// The tool whose call is asked about: such a question is for a person, and no agent may answer it.
    pub tool: Option<String>,
    /// Keys of a newer version.
    pub extra: Object,
}

/// The answer to a question that counts from a certain time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultAnswer {
    /// The answer.
    pub text: String,
    /// The time from which it counts.
    pub expires_at: Time,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionAnswer {
    /// The answer itself.
    pub text: String,
    /// The name of the person or program that gave it; `None` for the default.
    pub by: Option<String>,
    /// When it was given.
    pub at: Time,
}

/// A question as a worker asks it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewQuestion {
    /// The question itself.
    pub text: String,
    /// The answers that it suggests.
    pub choices: Vec<String>,
    /// The answer that counts if nobody gives another one within this time.
    pub default: Option<(String, Duration)>,
    /// Whether the worker keeps its claim until the answer.
    pub keeps_claim: bool,
    /// The tool whose call is asked about, if that is the question.
    pub tool: Option<String>,
}

impl NewQuestion {
    /// Checks the question against the limits.
    ///
    /// # Errors
    /// `Invalid` when a text is empty, too long or, in a choice, not one line; when there are too many choices or a
    /// choice twice; when the default is none of the choices; when its time is not in range.
    pub(super) fn check(&self) -> Result<()> {
        check_text("the question", &self.text, MAX_QUESTION)?;
        if self.choices.len() > MAX_CHOICES {
            return Err(Error::invalid(format!(
                "{} choices are too many; give at most {MAX_CHOICES}",
                self.choices.len()
            )));
        }
        for (place, choice) in self.choices.iter().enumerate() {
            limits::check_one_line("a choice", choice, MAX_CHOICE)?;
            if self.choices[..place].contains(choice) {
                return Err(Error::invalid(format!("the choice '{}' is given twice", printable(choice))));
            }
        }
        if let Some((text, after)) = &self.default {
            check_text("the default", text, MAX_ANSWER)?;
            if !self.choices.is_empty() && !self.choices.contains(text) {
                return Err(Error::invalid(format!(
                    "the default '{}' is none of the choices",
                    printable(text)
                )));
            }
            limits::check_expiry(*after)?;
        }
        Ok(())
    }
}

/// Checks the answer to a question against the limits.
///
/// # Errors
/// `Invalid` when it is empty or too long.
pub(super) fn check_answer(text: &str) -> Result<()> {
    check_text("the answer", text, MAX_ANSWER)
}

fn check_text(what: &str, text: &str, max_bytes: usize) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::invalid(format!("{what} is empty")));
    }
    limits::check_at_most(what, text, max_bytes)
}

impl Question {
    /// Returns whether the question has no answer at `now`: none was given, and its default does not count yet.
    pub fn is_open(&self, now: Time) -> bool {
        self.answer.is_none() && self.default.as_ref().is_none_or(|default| now < default.expires_at)
    }

    /// Returns the question as other programs see it.
    pub fn to_object(&self) -> Object {
        let mut all = self.extra.clone();
        let mut put = |key: &str, value: Value| {
            if !value.is_null() || key == "answer" {
                all.insert(key.to_string(), value);
            }
        };
        put("n", self.number.into());
        put("question", self.text.clone().into());
        put("choices", self.choices.clone().into());
        put("asked_by", self.asked_by.clone().into());
        put("asked_at", self.asked_at.to_string().into());
        let default = self.default.as_ref();
        put("default", default.map(|default| default.text.clone()).into());
        put("expires_at", default.map(|default| default.expires_at.to_string()).into());
        let answer = self.answer.as_ref();
        put("answer", answer.map(|answer| answer.text.clone()).into());
        put("answered_by", answer.and_then(|answer| answer.by.clone()).into());
        put("answered_at", answer.map(|answer| answer.at.to_string()).into());
        put("tool", self.tool.clone().into());
        all
    }

    /// Parses a question; `None` if it is none.
    pub(super) fn from_raw(raw: Raw<'_>) -> Option<Self> {
        let text = |raw: Raw<'_>| raw.text().map(|text| text.decode().into_owned());
        let time = |raw: Raw<'_>| Time::parse(&raw.text()?.decode()).ok();
        let (mut number, mut question, mut choices, mut extra) = (None, None, Vec::new(), Object::new());
        let (mut asked_by, mut asked_at, mut default, mut expires_at) = (None, None, None, None);
        let (mut answer, mut answered_by, mut answered_at, mut tool) = (None, None, None, None);
        let is_object = raw.members(|key, raw| match key {
            _ if raw.is_null() => {}
            "n" => number = raw.integer(),
            "question" => question = text(raw),
            "choices" => {
                raw.items(|raw| choices.extend(text(raw)));
            }
            "asked_by" => asked_by = text(raw).map(Owner::stored),
            "asked_at" => asked_at = time(raw),
            "default" => default = text(raw),
            "expires_at" => expires_at = time(raw),
            "answer" => answer = text(raw),
            "answered_by" => answered_by = text(raw),
            "answered_at" => answered_at = time(raw),
            "tool" => tool = text(raw),
            other => drop(extra.insert(other.to_string(), raw.value())),
        });
        let asked_at = asked_at?;
        is_object.then_some(Self {
            number: number?,
            text: question?,
            choices,
            asked_by: asked_by?,
            asked_at,
            default: default.zip(expires_at).map(|(text, expires_at)| DefaultAnswer { text, expires_at }),
            answer: answer.map(|text| QuestionAnswer {
                text,
                by: answered_by,
                at: answered_at.unwrap_or(asked_at),
            }),
            tool,
            extra,
        })
    }

    fn size(&self) -> usize {
        let answer = self.answer.as_ref().map_or(0, |answer| answer.text.len());
        let default = self.default.as_ref().map_or(0, |default| default.text.len());
        self.text.len() + self.choices.iter().map(String::len).sum::<usize>() + default + answer
    }
}

/// Returns whether an answer to the question `number`, or to the only open one, would be about the call of a tool.
#[cfg(any(feature = "cli", feature = "mcp"))]
pub(crate) fn is_about_tool(questions: &[Question], number: Option<u32>) -> bool {
    let mut meant = questions.iter().filter(|question| match number {
        Some(number) => question.number == number,
        None => question.answer.is_none(),
    });
    meant.any(|question| question.tool.is_some())
}

/// Returns when the last unanswered question gets its default; `None` if one has none.
pub(super) fn last_expiry(questions: &[Question]) -> Option<Time> {
    let unanswered = questions.iter().filter(|question| question.answer.is_none());
    let expiries: Option<Vec<Time>> =
        unanswered.map(|question| question.default.as_ref().map(|default| default.expires_at)).collect();
    expiries?.into_iter().max()
}

/// Checks that another question or answer of `more` bytes fits into the task `id`.
///
/// # Errors
/// `Invalid` when there are too many questions, or all of them together are too long.
pub(super) fn check_room(id: &TaskId, questions: &[Question], is_new: bool, more: usize) -> Result<()> {
    if is_new && questions.len() >= MAX_QUESTIONS {
        return Err(Error::invalid_here(format!(
            "{id} has {} questions, and no task may have more than {MAX_QUESTIONS}",
            questions.len()
        )));
    }
    let size = questions.iter().map(Question::size).sum::<usize>() + more;
    if size > MAX_TOTAL {
        return Err(Error::invalid_here(format!(
            "the questions and answers of {id} would be {size} bytes long together; at most {MAX_TOTAL} are accepted"
        ))
        .with_hint("write long texts to a file and name the file"));
    }
    Ok(())
}

/// Returns whether a task with these questions may have another one without choices.
#[cfg(feature = "cli")]
pub(crate) fn has_room(questions: &[Question], text: &str) -> bool {
    let size = questions.iter().map(Question::size).sum::<usize>() + text.len();
    questions.len() < MAX_QUESTIONS && size <= MAX_TOTAL
}

/// Returns the answered questions as a worker reads them, one after the other; empty without any.
#[cfg(feature = "mcp")]
pub(crate) fn answered_text(questions: &[Question]) -> String {
    let pairs = questions.iter().filter_map(|question| {
        let answer = question.answer.as_ref()?;
        let by =
            answer.by.as_ref().map_or_else(|| "by default".to_string(), |by| format!("by {}", printable(by)));
        Some(format!(
            "question {}: {}\nanswer: {}\n(answered {by})",
            question.number, question.text, answer.text
        ))
    });
    pairs.collect::<Vec<_>>().join("\n\n")
}

/// Returns questions as other programs see them.
pub(super) fn questions_value(questions: &[Question]) -> Value {
    questions.iter().map(|question| Value::Object(question.to_object())).collect()
}
