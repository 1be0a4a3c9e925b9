//! `lanes logs`: prints the output of a task's runs.

use std::time::{Duration, Instant};

use clap::Args;

use super::args::number;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::waiting::FollowedTaskLine;
use crate::dispatch::run::context::files;
use crate::error::{Error, Result};
use crate::model::TaskId;
use crate::store::{RunLogFile, Store};

/// Time between two reads of the output that is followed.
const OUTPUT_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Show the output of a task's run.
///
/// Dispatchers keep the output of every run; tasks that were done by hand have none.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes logs -f d64cf2")]
pub(super) struct LogsCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
    /// Number of the run [default: the last]
    #[arg(long, value_name = "N", value_parser = number::<u64>, allow_negative_numbers = true)]
    attempt: Option<u64>,
    /// Show standard error instead
    #[arg(long)]
    stderr: bool,
    /// Show the agent's progress instead, one short line each
    #[arg(long, conflicts_with = "stderr")]
    progress: bool,
    /// Show the agent's prompt instead
    #[arg(long, conflicts_with_all = ["stderr", "progress"])]
    prompt: bool,
    /// Follow what is new; of a task, until it has ended
    #[arg(long, short)]
    follow: bool,
}

impl LogsCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        context.refuse_json(
            "logs",
            "it prints what the agent has printed; `lanes show ID --json` has the runs",
        )?;
        let store = context.store()?;
        let id = store.resolve(&self.id)?;
        let mut watch = store.watch_tasks(std::slice::from_ref(&id));
        let mut open: Option<OpenLog> = None;
        let mut line = FollowedTaskLine::new(&context.out);
        loop {
            let task = store.task(&id)?;
            let ended = task.status.is_terminal();
            // A retried task continues in another run.
            let run = self.run_number(&store, &id)?;
            let mut has_printed = false;
            if open.as_ref().map(|log| log.run) != run {
                if let Some(log) = &mut open {
                    has_printed |= log.copy(context)?;
                }
                open = run.map(|run| self.open(&store, &id, run)).transpose()?.flatten();
            }
            match &mut open {
                Some(log) => has_printed |= log.copy(context)?,
                None if self.follow && !ended => {}
                None => {
                    return Err(self
                        .no_output(&id)
                        .with_hint(format!("`lanes show {id}` shows the task's history")));
                }
            }
            if !self.follow || ended {
                return Ok(CommandExit::Done);
            }
            context.out.flush()?;
            // Changes of the task wake the wait; the output files of its run are not watched, but polled.
            let until = Instant::now() + OUTPUT_POLL_INTERVAL;
            if has_printed {
                line.begin_again();
            }
            if context.out.is_at_line_start() {
                line.sleep(&store, &task, &mut watch, until);
            } else {
                // The line would take the place of what stands there.
                watch.wait(until);
            }
        }
    }

    fn run_number(&self, store: &Store, id: &TaskId) -> Result<Option<u64>> {
        match self.attempt {
            Some(run) => Ok(Some(run)),
            None => Ok(store.blobs().attempt_numbers(id)?.pop()),
        }
    }

    fn open(&self, store: &Store, id: &TaskId, run: u64) -> Result<Option<OpenLog>> {
        let Some(attempt) = store.blobs().attempt(id, run)? else { return Ok(None) };
        Ok(attempt.log(self.file_name())?.map(|file| OpenLog { run, file, offset: 0 }))
    }

    fn file_name(&self) -> &'static str {
        match (self.stderr, self.progress, self.prompt) {
            (true, ..) => files::STDERR,
            (_, true, _) => files::PROGRESS,
            (_, _, true) => files::PROMPT,
            _ => files::STDOUT,
        }
    }

    fn no_output(&self, id: &TaskId) -> Error {
        Error::not_found(match self.attempt {
            Some(run) => format!("run {run} of {id} has left no {}", self.file_name()),
            None => format!("no run of {id} has left any output"),
        })
    }
}

/// The output of a run, and how far it is printed.
struct OpenLog {
    run: u64,
    file: RunLogFile,
    offset: u64,
}

impl OpenLog {
    /// Copies what has been written since the last call. Returns whether there was something.
    fn copy(&mut self, context: &mut CommandContext) -> Result<bool> {
        let mut buffer = vec![0; 64 * 1024];
        let begin = self.offset;
        loop {
            let read = self.file.read_at(&mut buffer, self.offset);
            let read = read.map_err(|error| Error::io("read", "the log", error))?;
            if read == 0 {
                return Ok(self.offset > begin);
            }
            self.offset += read as u64;
            context.out.foreign(&buffer[..read])?;
        }
    }
}
