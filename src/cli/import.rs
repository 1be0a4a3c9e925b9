//! `lanes import`: adds the tasks of an export.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::body;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::inside_run;
use super::output::ProgressLine;
use super::submit_batch::refusal;
use super::text_format::count;
use crate::error::Result;
use crate::model::task::object;
use crate::store::{Store, StoreOptions};

/// Import the tasks of an export under their own ids.
///
/// A task that exists already is skipped if it is the same, and refused if it differs. Exits with code 1
/// when any line was refused; the other lines are imported.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes import tasks.jsonl")]
pub(super) struct ImportCommand {
    /// File written by `lanes export` or `lanes gc --archive`; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl ImportCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        inside_run::refuse(context, "import")?;
        let mut input: Box<dyn BufRead> = if self.file == Path::new("-") {
            context.out.reads_stdin();
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::new(body::open(&self.file)?))
        };
        let options = StoreOptions { workspace_root: context.workspace_root(), ..context.store_options()? };
        let store = Store::open(&context.store_root()?, options)?;
        let mut progress = ProgressLine::new(&context.out, "lanes import");
        let imported = store.import(&mut input, &mut |line| progress.update(|| format!("{line} lines")))?;
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
