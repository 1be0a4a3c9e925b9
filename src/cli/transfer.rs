//! `lanes export` and `lanes import`: tasks as JSON lines.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::body;
use super::context::Context;
use super::exit::CommandExit;
use super::inside_run;
use super::output::{Output, Progress};
use super::submit_batch::refusal;
use super::table::count;
use crate::error::{Error, Result};
use crate::model::task::object;
use crate::store::{Store, StoreOptions};

/// Print tasks with their history, answers and files: one JSON object a line.
///
/// Tasks that cannot be read are left out with a warning, and the command ends with code 1. Files of
/// a task that a line cannot carry are left out with a warning.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes export --ended > tasks.jsonl")]
pub struct ExportCommand {
    /// Only tasks of this lane
    #[arg(long)]
    lane: Option<String>,
    /// Only completed and failed tasks
    #[arg(long)]
    ended: bool,
}

/// Lets the library write where a command writes, and keeps the kind of a failure.
struct Sink<'a> {
    out: &'a mut Output,
    failed: Option<Error>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.raw(bytes).map_err(|error| {
            self.failed = Some(error);
            io::Error::other("the reader is gone")
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ExportCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<CommandExit> {
        let store = context.store()?;
        let (mut unreadable, mut left_out) = (Vec::new(), Vec::new());
        let mut sink = Sink { out: &mut context.out, failed: None };
        let result = store.export(
            &mut sink,
            &|task| {
                self.lane.as_ref().is_none_or(|lane| *lane == task.spec.lane)
                    && (!self.ended || task.status.is_terminal())
            },
            &mut |_, error| unreadable.push(error),
            &mut |what| left_out.push(what.to_string()),
        );
        if let Some(error) = sink.failed {
            return Err(error);
        }
        result?;
        for what in &left_out {
            context.out.warn(what);
        }
        for error in &unreadable {
            context.out.warn(&error.to_string());
        }
        Ok(if unreadable.is_empty() { CommandExit::Done } else { CommandExit::Problems })
    }
}

/// Add the tasks of an export, under the ids they have.
///
/// A task that is here already is skipped when it is the same, and refused when it is not. Ends
/// with code 1 when any line was refused; the others are in.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes import tasks.jsonl")]
pub struct ImportCommand {
    /// The file that `lanes export` or `lanes gc --archive` wrote; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl ImportCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<CommandExit> {
        inside_run::refuse(context, "import")?;
        let mut input: Box<dyn BufRead> = if self.file == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::new(body::open(&self.file)?))
        };
        let options = StoreOptions { workspace_root: context.workspace_root(), ..context.store_options()? };
        let store = Store::open(&context.store_root()?, options)?;
        let mut progress = Progress::new(&context.out, "lanes import");
        let imported = store.import(&mut input, &mut |line| progress.tell(|| format!("{line} lines")))?;
        drop(progress);
        for (line, warning) in &imported.warnings {
            context.out.warn(&format!("line {line}: {warning}"));
        }
        for (line, error) in &imported.refused {
            let named = format!("line {line}");
            let text = error.to_string();
            let text = if text.starts_with(&named) { text } else { format!("{named}: {text}") };
            context.out.warn(&text);
        }
        let code = if imported.refused.is_empty() { CommandExit::Done } else { CommandExit::Problems };
        if context.out.json {
            let refused: Vec<Value> =
                imported.refused.iter().map(|(line, error)| refusal(*line, error)).collect();
            context.out.object(&object([
                ("status", if imported.refused.is_empty() { "ok" } else { "partly_refused" }.into()),
                ("added", imported.added.into()),
                ("skipped", imported.skipped.into()),
                ("errors", refused.into()),
            ]))?;
        } else {
            let (added, skipped) = (count(imported.added, "task"), imported.skipped);
            context.out.line(&format!("{added} added, {skipped} here already"))?;
        }
        Ok(code)
    }
}
