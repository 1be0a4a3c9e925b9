//! `lanes logs`: what the runs of a task wrote.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::context::Context;
use crate::dispatch::runner::files;
use crate::error::{EXIT_OK, Error, Result};

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
    attempt: Option<u32>,
    /// Show the error output instead
    #[arg(long)]
    stderr: bool,
    /// Show the agent's progress instead, in short lines
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
        let runs = store.attempts_dir(&id);
        let mut watch = store.watch_tasks(std::slice::from_ref(&id));
        let mut open: Option<(PathBuf, File)> = None;
        loop {
            let ended = store.task(&id)?.status.is_terminal();
            if open.is_none() {
                open = self.find(&runs)?;
                if open.is_none() && (!self.follow || ended) {
                    return Err(Error::not_found(format!("no run of {id} has left any output"))
                        .with_hint("`lanes show ID` tells the task's history"));
                }
            }
            if let Some((path, file)) = &mut open {
                copy(context, path, file)?;
            }
            if !self.follow || ended {
                return Ok(EXIT_OK);
            }
            context.out.flush()?;
            // The files of a run are not watched; a look every half second keeps up with people.
            watch.wait(Instant::now() + Duration::from_millis(500));
        }
    }

    fn find(&self, runs: &Path) -> Result<Option<(PathBuf, File)>> {
        let number = match self.attempt {
            Some(number) => Some(number),
            None => std::fs::read_dir(runs)
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
                .max(),
        };
        let Some(number) = number else { return Ok(None) };
        let name = match (self.stderr, self.progress, self.prompt) {
            (true, ..) => files::STDERR,
            (_, true, _) => files::PROGRESS,
            (_, _, true) => files::PROMPT,
            _ => files::STDOUT,
        };
        let path = runs.join(number.to_string()).join(name);
        match File::open(&path) {
            Ok(file) => Ok(Some((path, file))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("open", path, error)),
        }
    }
}

/// Copies what has been written since the last call.
fn copy(context: &mut Context, path: &Path, file: &mut File) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(|error| Error::io("read", path, error))?;
        if read == 0 {
            return Ok(());
        }
        context.out.raw(&buffer[..read])?;
    }
}
