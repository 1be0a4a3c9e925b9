//! `lanes edit`: changes a task that waits.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::args::integer;
use super::body;
use super::context::CommandContext;
use super::editor::EditedText;
use super::exit::CommandExit;
use super::output::Output;
use super::task_fields::TaskFieldsArg;
use super::view::{change_reply, print_reply};
use crate::error::{Error, Result};
use crate::model::limits::{self, MAX_PROMPT_ONLY};
use crate::model::{Command, Effect, ListEdit, Task, TaskEdit, TaskId};
use crate::store::Store;
use crate::workspace::check_edit;

/// Change a task that waits for a worker.
///
/// Without flags, the prompt opens in $VISUAL or $EDITOR. Prompt and priority cannot be changed once a worker has the
/// task, or it has ended; what only people see can.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes edit d64cf2\n  lanes edit d64cf2 --priority 5\n  \
                  lanes edit d64cf2 -p 'Review the new version.' --add-label urgent\n  \
                  lanes edit d64cf2 --prompt-file -")]
#[command(group(ArgGroup::new("text").args(["prompt", "prompt_file"])))]
pub(super) struct EditCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
    /// Text for the worker; `-` reads it from standard input
    #[arg(long, short, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Read the prompt from this file; `-` is standard input
    #[arg(long, value_name = "PATH")]
    prompt_file: Option<PathBuf>,
    /// Higher goes first; one step is worth an hour of waiting
    #[arg(long, value_name = "N", value_parser = integer, allow_negative_numbers = true)]
    priority: Option<i64>,
    /// Title shown in listings
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A description for people and boards; the worker gets the prompt
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    description: Option<String>,
    /// A label to add; repeatable
    #[arg(long, value_name = "TEXT")]
    add_label: Vec<String>,
    /// A label to remove; repeatable
    #[arg(long, value_name = "TEXT")]
    remove_label: Vec<String>,
    /// A person to assign the task to; repeatable
    #[arg(long, value_name = "NAME")]
    add_assignee: Vec<String>,
    /// A person to take it from; repeatable
    #[arg(long, value_name = "NAME")]
    remove_assignee: Vec<String>,
    #[command(flatten)]
    fields: TaskFieldsArg,
}

impl EditCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        self.fields.apply(context)?;
        let edit = self.edit(&context.out)?;
        let is_empty = edit == TaskEdit::default();
        if is_empty && !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
            return Err(Error::invalid("there is nothing to change").with_hint(
                "give --prompt, --priority or another flag; on a terminal, the prompt opens in $EDITOR without one",
            ));
        }
        let command = check_edit(edit)?;
        let store = context.store()?;
        let id = store.resolve(&self.id)?;
        let edited = if is_empty {
            edit_prompt(&context.out, &store, &id)?
        } else {
            Some(store.apply(&id, &command)?)
        };
        let (task, effect) = match edited {
            Some(edited) => edited,
            None => (store.task(&id)?, Effect::Unchanged),
        };
        if effect == Effect::Unchanged {
            context.out.note(&format!("lanes edit: {id} already says this; nothing was changed"));
        }
        print_reply(&mut context.out, &id, &change_reply("edited", &store, task, effect))
    }

    /// Returns what the flags change.
    fn edit(&self, out: &Output) -> Result<TaskEdit> {
        let list = |add: &[String], remove: &[String]| {
            let change = ListEdit::Change { add: add.to_vec(), remove: remove.to_vec() };
            (!add.is_empty() || !remove.is_empty()).then_some(change)
        };
        let prompt = match (&self.prompt, &self.prompt_file) {
            (Some(text), _) if text == "-" => Some(body::from_stdin(out, MAX_PROMPT_ONLY)?),
            (Some(text), _) => Some(text.clone()),
            (None, Some(path)) => Some(body::from_file(out, path, MAX_PROMPT_ONLY)?),
            (None, None) => None,
        };
        Ok(TaskEdit {
            prompt,
            priority: self.priority.map(limits::check_priority).transpose()?,
            name: self.name.clone(),
            description: self.description.clone(),
            labels: list(&self.add_label, &self.remove_label),
            assignees: list(&self.add_assignee, &self.remove_assignee),
        })
    }
}

/// Has the person change the prompt of a task; `None` if it stays.
fn edit_prompt(out: &Output, store: &Store, id: &TaskId) -> Result<Option<(Task, Effect)>> {
    let task = store.task(id)?;
    // Refused before somebody has typed a text for nothing.
    let unchanged = TaskEdit { priority: Some(task.spec.priority), ..TaskEdit::default() };
    store.apply(id, &Command::Edit(unchanged))?;
    let before = prompt_of(store, &task)?;
    let draft = EditedText::new(&before, "md")?;
    draft.open()?;
    let applied = draft.read(out, MAX_PROMPT_ONLY).and_then(|text| {
        // The line break at the end is the editor's, unless the prompt had one.
        let text = match text.strip_suffix('\n') {
            Some(line) if !before.ends_with('\n') => line.to_string(),
            _ => text,
        };
        if text == before {
            return Ok(None);
        }
        let now = store.task(id)?;
        if (&now.request_sha256, &now.spec.prompt) != (&task.request_sha256, &task.spec.prompt) {
            return Err(Error::refused(format!("somebody else has edited {id} meanwhile")));
        }
        store.apply(id, &check_edit(TaskEdit { prompt: Some(text), ..TaskEdit::default() })?).map(Some)
    });
    draft.finish(applied)
}

/// Returns the prompt, also where it is too long for task.json.
fn prompt_of(store: &Store, task: &Task) -> Result<String> {
    let Some(file) = store.blobs().stored_request(task)? else { return Ok(task.spec.prompt.clone()) };
    let mut text = String::new();
    file.take(MAX_PROMPT_ONLY as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| Error::io("read the prompt", &task.request_path, error))?;
    Ok(text)
}
