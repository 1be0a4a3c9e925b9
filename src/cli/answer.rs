//! `lanes answer`: answers a question of a worker.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::args::number;
use super::body;
use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use super::inside_run;
use super::output::Output;
use crate::error::Result;
use crate::model::question::{MAX_ANSWER, is_about_tool};
use crate::model::task::object;
use crate::model::{Command, Effect};

/// Answer a question that a worker has asked about a task.
///
/// The answer is read from --choice, --body, --file or standard input. A question is answered once; the same
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
    /// Read the answer from this file; `-` is standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Name of the person who answers [default: $USER]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl AnswerCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let id = store.resolve(&self.id)?;
        if is_about_tool(&store.task(&id)?.questions, self.question) {
            inside_run::refuse(context, "answer about the call of a tool")?;
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
