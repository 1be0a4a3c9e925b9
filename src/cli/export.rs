//! `lanes export`: prints tasks as JSON lines.

use std::io::{self, Write};

use clap::Args;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::output::Output;
use crate::error::{Error, Result};

/// Print tasks as JSON, one per line.
///
/// Each has its history, its answer and its files. Tasks that cannot be read are skipped with a warning, and the command exits with code 1. Files of a
/// task that do not fit into a line are skipped with a warning.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes export --ended > tasks.jsonl")]
pub(super) struct ExportCommand {
    /// Only tasks of this lane
    #[arg(long, short, value_name = "LANE")]
    lane: Option<String>,
    /// Only completed and failed tasks
    #[arg(long)]
    ended: bool,
}

/// Writes to the output of a command, and keeps the error of a failed write.
struct OutputWriter<'a> {
    out: &'a mut Output,
    failed: Option<Error>,
}

impl Write for OutputWriter<'_> {
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
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let (mut unreadable, mut left_out) = (Vec::new(), Vec::new());
        let mut sink = OutputWriter { out: &mut context.out, failed: None };
        let result = store.export(
            &mut sink,
            &|task| {
                self.lane.as_ref().is_none_or(|lane| task.spec.lane == lane.as_str())
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
