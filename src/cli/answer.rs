//! `lanes answer`: answers a question of a worker.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use super::args::number;
use super::body;
use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use super::inside_run;
use super::output::Output;
use super::text_format::{SHORTEST_ID, end_of_id};
use crate::error::{Result, printable};
use crate::model::question::{MAX_ANSWER, is_about_tool};
use crate::model::task::object;
use crate::model::transition::question_to_answer;
use crate::model::{Command, Effect, Question, TaskId};

/// Answer a question that a worker has asked about a task.
///
/// The answer is read from --choice, --body, --file or standard input; a person at a terminal is shown the question
/// first. A question is answered once; the same
/// answer again succeeds and changes nothing. The task is then queued again in its old place, unless its
/// worker waits for the answer or another question is open.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes answer d64cf2 --body 'Use the staging database.'\n  \
                  lanes answer d64cf2 --question 2 --choice yes")]
#[command(group(ArgGroup::new("how").args(["choice", "body", "file"])))]
pub(super) struct AnswerCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
    /// Number of the question, if several are open
    #[arg(long, value_name = "N", value_parser = number::<u32>, allow_negative_numbers = true)]
    question: Option<u32>,
    /// One of the choices of the question
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    choice: Option<String>,
    /// The answer itself
    #[arg(long, short = 'm', visible_alias = "message", value_name = "TEXT", allow_hyphen_values = true)]
    body: Option<String>,
    /// Read the text from this file; `-` is standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Name of the person who does it [default: $USER]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl AnswerCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let id = store.resolve(&self.id)?;
        let task = store.task(&id)?;
        if is_about_tool(&task.questions, self.question) {
            inside_run::refuse(context, "answer about the call of a tool")?;
        }
        if self.is_typed() {
            // Refused before somebody has typed an answer for nothing.
            let question = question_to_answer(&task, store.now().wall, self.question)?;
            show_question(&context.out, &id, question);
        }
        let answer = Command::AnswerQuestion {
            number: self.question,
            text: self.read_text(&context.out)?,
            is_choice: self.choice.is_some(),
            by: self.by.clone().unwrap_or_else(env::user),
        };
        let (task, effect) = store.apply(&id, &answer)?;
        if context.out.json {
            context.out.object(&object([
                ("status", "answered".into()),
                ("task_id", id.as_str().into()),
                ("changed", (effect == Effect::Changed).into()),
                ("state", store.shown(task).status.as_str().into()),
            ]))?;
        } else {
            context.out.line(id.as_str())?;
        }
        Ok(CommandExit::Done)
    }

    /// Returns whether a person types the answer.
    fn is_typed(&self) -> bool {
        let is_given = self.choice.is_some() || self.body.is_some();
        let reads_stdin = self.file.as_deref().is_none_or(|file| file == Path::new("-"));
        !is_given && reads_stdin && std::io::stdin().is_terminal()
    }

    fn read_text(&self, out: &Output) -> Result<String> {
        if let Some(text) = self.choice.as_ref().or(self.body.as_ref()) {
            return Ok(text.clone());
        }
        let text = match &self.file {
            Some(file) => body::from_file(out, file, MAX_ANSWER)?,
            None => body::from_stdin(out, MAX_ANSWER)?,
        };
        // A file or a pipe ends with a line break that is not part of the answer.
        Ok(text.trim_end_matches(['\n', '\r']).to_string())
    }
}

/// Shows the person at the terminal a question, with its choices.
fn show_question(out: &Output, id: &TaskId, question: &Question) {
    let end = end_of_id(id.as_str(), SHORTEST_ID);
    out.hint(&format!("question {} of {} about {end}:", question.number, question.asked_by));
    // Tabs would be escaped.
    question.text.trim_end().lines().for_each(|line| out.hint(&format!("  {}", line.replace('\t', "    "))));
    question.choices.iter().for_each(|choice| out.hint(&format!("  - {}", printable(choice))));
    if let Some(default) = &question.default {
        out.hint(&format!(
            "without an answer by {}: {}",
            out.time(default.expires_at),
            printable(&default.text)
        ));
    }
}
