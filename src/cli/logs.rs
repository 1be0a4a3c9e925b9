//! `lanes logs`: what the runs of a task wrote.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use clap::Args;

use super::context::Context;
use crate::dispatch::runner::files;
use crate::error::{EXIT_OK, Error, Result};
use crate::model::TaskId;

/// Show what a run of a task wrote.
///
/// Dispatchers keep the output of every run; tasks that were worked on by hand have none.
#[derive(Args, Debug)]
pub struct LogsCommand {
    /// The task
    #[arg(value_name = "ID")]
    id: String,
    /// Which run [default: the last]
    #[arg(long, value_name = "N")]
    attempt: Option<u64>,
    /// Show the error output instead
    #[arg(long)]
    stderr: bool,
    /// Show the progress instead: when, and what
    #[arg(long, conflicts_with = "stderr")]
    progress: bool,
    /// Show what the agent was told instead
    #[arg(long, conflicts_with_all = ["stderr", "progress"])]
    prompt: bool,
    /// Go on until the task has ended
    #[arg(long, short)]
    follow: bool,
}

impl LogsCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<u8> {
        let store = context.store()?;
        let id = store.resolve(&self.id)?;
        let mut watch = store.watch_tasks(std::slice::from_ref(&id));
        let mut open = None;
        loop {
            let ended = store.task(&id)?.status.is_terminal();
            if open.is_none() {
                open = store.open_log(&id, self.attempt, self.file_name())?;
                if open.is_none() && (!self.follow || ended) {
                    return Err(self.nothing(&id).with_hint("`lanes show ID` tells the task's history"));
                }
            }
            if let Some(file) = &mut open {
                copy(context, file)?;
            }
            if !self.follow || ended {
                return Ok(EXIT_OK);
            }
            context.out.flush()?;
            // The files of a run are not watched; a look every half second keeps up with people.
            watch.wait(Instant::now() + Duration::from_millis(500));
        }
    }

    fn file_name(&self) -> &'static str {
        match (self.stderr, self.progress, self.prompt) {
            (true, ..) => files::STDERR,
            (_, true, _) => files::PROGRESS,
            (_, _, true) => files::PROMPT,
            _ => files::STDOUT,
        }
    }

    fn nothing(&self, id: &TaskId) -> Error {
        Error::not_found(match self.attempt {
            Some(run) => format!("run {run} of {id} has left no {}", self.file_name()),
            None => format!("no run of {id} has left any output"),
        })
    }
}

/// Copies what has been written since the last call.
fn copy(context: &mut Context, file: &mut File) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(|error| Error::io("read", "the log", error))?;
        if read == 0 {
            return Ok(());
        }
        context.out.foreign(&buffer[..read])?;
    }
}
