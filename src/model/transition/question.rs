//! Questions to a person: asked under a claim, answered by anybody, once.

use serde_json::Value;

use super::{Effect, TransitionContext, current_claim};
use crate::error::{Error, Result, printable};
use crate::model::id::{ClaimToken, TaskId};
use crate::model::limits;
use crate::model::question::{
    DefaultAnswer, NewQuestion, Question, QuestionAnswer, check_answer, check_room,
};
use crate::model::refusal::Refusal;
use crate::model::task::{Status, Task, object};
use crate::model::time::Time;

/// The longest part of a question or an answer that the history repeats, in characters.
const MAX_IN_HISTORY: usize = 200;

/// Asks a question under a claim. Unless the worker keeps its claim, the task then waits for the answer in the state
/// `input_required`: the claim ends, and the attempt does not count.
///
/// # Errors
/// `Invalid` for a question that breaks a limit; `Refused` when `token` is not that of the current claim.
pub(super) fn ask(
    task: &mut Task,
    context: &TransitionContext<'_>,
    token: &ClaimToken,
    new: &NewQuestion,
) -> Result<Effect> {
    let now = context.now.wall;
    let owner = current_claim(task, token, "ask about")?.owner.clone();
    new.check()?;
    let default = new.default.as_ref();
    let size = new.text.len()
        + new.choices.iter().map(String::len).sum::<usize>()
        + default.map_or(0, |(text, _)| text.len());
    check_room(&task.id, &task.questions, true, size)?;
    apply_due_defaults(task, context);
    let number = task.questions.last().map_or(0, |question| question.number).saturating_add(1);
    let data = object([
        ("n", number.into()),
        ("owner", owner.clone().into()),
        ("question", first_line(&new.text).into()),
        ("kept_claim", new.keeps_claim.then_some(true).into()),
    ]);
    task.record(now, "asked", format!("question {number} of {owner}: {}", first_line(&new.text)), data);
    task.questions.push(Question {
        number,
        text: new.text.clone(),
        choices: new.choices.clone(),
        asked_by: owner,
        asked_at: now,
        default: default.map(|(text, after)| DefaultAnswer { text: text.clone(), expires_at: now + *after }),
        answer: None,
        tool: new.tool.clone(),
        extra: Default::default(),
    });
    if !new.keeps_claim {
        task.attempt = task.attempt.saturating_sub(1);
        task.bookkeeping.lease = None;
        task.status = Status::InputRequired;
    }
    Ok(Effect::Changed)
}

/// Answers a question: the one with this number, or the only open one. When the last open question is answered, a
/// task that waits for it is queued. The same answer again changes nothing.
///
/// # Errors
/// `Refused` when the task has ended, when there is no such question or it is not clear which one is meant, and when it
/// has another answer; `Invalid` for an answer that breaks a limit, or is none of the choices although it must be one.
pub(super) fn answer_question(
    task: &mut Task,
    context: &TransitionContext<'_>,
    number: Option<u32>,
    text: &str,
    is_choice: bool,
    by: &str,
) -> Result<Effect> {
    let now = context.now.wall;
    check_open(task)?;
    check_answer(text)?;
    limits::check_actor("the name of the person who answers", by)?;
    check_room(&task.id, &task.questions, false, text.len())?;
    let place = find_question(task, now, number)?;
    let question = &task.questions[place];
    if is_choice && !question.choices.iter().any(|choice| choice == text) {
        return Err(no_such_choice(question, text));
    }
    let number = question.number;
    if let Some(QuestionAnswer { text: given, by: Some(_), .. }) = &question.answer
        && given == text
    {
        return Ok(Effect::Unchanged);
    }
    check_unanswered(&task.id, question, now)?;
    let question = &mut task.questions[place];
    question.answer = Some(QuestionAnswer { text: text.to_string(), by: Some(by.to_string()), at: now });
    let data = object([("n", number.into()), ("by", by.into()), ("answer", first_line(text).into())]);
    let message = format!("question {number} answered by {by}: {}", first_line(text));
    task.record(now, "answered", message, data);
    apply_due_defaults(task, context);
    queue_if_answered(task, now);
    Ok(Effect::Changed)
}

/// Returns the question that an answer at `now` would be for: the one with this number, or the only open one.
///
/// # Errors
/// `Refused` where no text would be accepted as its answer.
#[cfg(feature = "cli")]
pub(crate) fn question_to_answer(task: &Task, now: Time, number: Option<u32>) -> Result<&Question> {
    check_open(task)?;
    let question = &task.questions[find_question(task, now, number)?];
    check_unanswered(&task.id, question, now)?;
    Ok(question)
}

fn check_open(task: &Task) -> std::result::Result<(), Refusal> {
    if task.status.is_terminal() || matches!(task.status, Status::Unknown(_)) {
        return Err(Refusal::ended(task, "answer a question of", None));
    }
    Ok(())
}

/// Refuses an answer to a question that has one, or whose default counts.
fn check_unanswered(id: &TaskId, question: &Question, now: Time) -> std::result::Result<(), Refusal> {
    let refusal = |by, at| Refusal::QuestionAnswered { id: id.clone(), number: question.number, by, at };
    match (&question.answer, &question.default) {
        (Some(given), _) => Err(refusal(given.by.clone(), given.at)),
        (None, Some(default)) if !question.is_open(now) => Err(refusal(None, default.expires_at)),
        _ => Ok(()),
    }
}

/// Returns the place of the question that is meant.
fn find_question(task: &Task, now: Time, number: Option<u32>) -> std::result::Result<usize, Refusal> {
    let id = task.id.clone();
    let places = |open: bool| -> Vec<usize> {
        let fits = |question: &Question| match open {
            true => question.is_open(now),
            false => number == Some(question.number),
        };
        (0..task.questions.len()).filter(|place| fits(&task.questions[*place])).collect()
    };
    match number {
        Some(number) => places(false).first().copied().ok_or(Refusal::NoSuchQuestion { id, number }),
        None => match places(true)[..] {
            [place] => Ok(place),
            // The answer may be a repetition of the one that was given last.
            [] => task.questions.len().checked_sub(1).ok_or(Refusal::NoQuestion { id }),
            ref several => {
                let open = several.iter().map(|place| task.questions[*place].number).collect();
                Err(Refusal::SeveralQuestions { id, open })
            }
        },
    }
}

fn no_such_choice(question: &Question, text: &str) -> Error {
    let number = question.number;
    let wrong = format!("'{}' is not a choice of question {number}", printable(text));
    if question.choices.is_empty() {
        return Error::invalid_here(format!("{wrong}, which has no choices")).with_hint("answer with --body");
    }
    let choices: Vec<String> =
        question.choices.iter().map(|choice| format!("'{}'", printable(choice))).collect();
    Error::invalid_here(wrong).with_hint(format!("choose {}, or answer with --body", choices.join(" or ")))
}

/// Gives the questions whose time is over their defaults. Returns whether there was one.
pub(super) fn apply_due_defaults(task: &mut Task, context: &TransitionContext<'_>) -> bool {
    let now = context.now.wall;
    let mut applied = Vec::new();
    for question in &mut task.questions {
        if question.answer.is_none()
            && let Some(default) = &question.default
            && now >= default.expires_at
        {
            let text = default.text.clone();
            applied.push((question.number, first_line(&text)));
            question.answer = Some(QuestionAnswer { text, by: None, at: now });
        }
    }
    for (number, text) in &applied {
        let data = object([("n", (*number).into()), ("answer", text.as_str().into())]);
        task.record(now, "answered", format!("question {number} got its default: {text}"), data);
    }
    if !applied.is_empty() {
        queue_if_answered(task, now);
    }
    !applied.is_empty()
}

/// Makes a task wait for a claim that waited for answers and has them all.
fn queue_if_answered(task: &mut Task, now: Time) {
    if task.status == Status::InputRequired && !task.has_unanswered_question() {
        task.status = task.waiting_status(None, now);
    }
}

/// Makes a task wait for answers that lost its claim while a question was open.
pub(super) fn require_input(task: &mut Task, context: &TransitionContext<'_>) {
    let message = match task.status.claim() {
        Some(claim) => format!("the lease of {} ended while a question was open", claim.owner),
        None => "a question is open".to_string(),
    };
    let owner = task.status.claim().map_or(Value::Null, |claim| claim.owner.clone().into());
    task.record(context.now.wall, "input_required", message, object([("owner", owner)]));
    task.bookkeeping.lease = None;
    task.status = Status::InputRequired;
}

/// Returns the first line of a text, shortened.
pub(super) fn first_line(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(MAX_IN_HISTORY) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_string(),
    }
}
