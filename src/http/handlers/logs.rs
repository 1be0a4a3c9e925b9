//! What the runs of a task print: `GET /tasks/{id}/log`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};
use crate::http::context::{App, Call, Outcome};
use crate::http::long_poll::Wish;
use crate::http::response::Answer;
use crate::model::TaskId;

/// The most bytes sent of a run that is not followed.
const MAX_WHOLE: usize = 8 * 1024 * 1024;

/// The files a run writes, by the names that clients use for them.
const FILES: [(&str, &str); 4] = [
    ("stdout", "stdout.log"),
    ("stderr", "stderr.log"),
    ("progress", "progress.log"),
    ("prompt", "prompt.md"),
];

/// Those names.
pub const STREAMS: [&str; 4] = ["stdout", "stderr", "progress", "prompt"];

/// A place in the output of a task's runs.
#[derive(Clone, Debug)]
pub struct Follow {
    id: TaskId,
    /// The run; `None` before the first.
    attempt: Option<u64>,
    /// Whether later runs are none of the client's business.
    is_fixed: bool,
    file: &'static str,
    offset: u64,
}

/// What a look at a run's output came to.
pub enum Read {
    /// More of it.
    Piece(Vec<u8>),
    /// Nothing new yet.
    Nothing,
    /// Nothing new ever.
    End,
}

/// `GET /tasks/{id}/log`
pub fn show(call: &Call<'_>) -> Outcome {
    let id = call.id()?;
    call.app.store.task(&id)?;
    let wanted = call.query.text_or("stream", "stdout");
    let file = FILES.iter().find(|(name, _)| *name == wanted).map_or(FILES[0].1, |(_, file)| file);
    let attempt = call.query.count("attempt");
    let mut follow = Follow { id, attempt, is_fixed: attempt.is_some(), file, offset: 0 };
    if follow.attempt.is_none() {
        follow.attempt = follow.latest(call.app);
    }
    if call.query.flag("follow") {
        return call.stream(Wish::Log(follow), Answer::stream("text/plain; charset=utf-8"));
    }
    let Some(file) = follow.open(call.app)? else {
        let text = format!("no output of a run is kept for {}", follow.id);
        return Err(Error::not_found(text).into());
    };
    let mut bytes = vec![0; MAX_WHOLE];
    let length = read_at(&file, &mut bytes, 0)?;
    bytes.truncate(length);
    Ok(Answer::text("text/plain; charset=utf-8", bytes).into())
}

/// The last lines that the newest run of a task printed, at most `most` bytes of them.
pub fn recent(app: &App, id: &TaskId, most: u64) -> Option<String> {
    let mut follow = Follow { id: id.clone(), attempt: None, is_fixed: false, file: FILES[0].1, offset: 0 };
    follow.attempt = follow.latest(app);
    let file = follow.open(app).ok()??;
    let size = file.metadata().ok()?.len();
    let mut bytes = vec![0; usize::try_from(size.min(most)).ok()?];
    let length = read_at(&file, &mut bytes, size.saturating_sub(most)).ok()?;
    Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

impl Follow {
    /// Reads on.
    pub fn read(&mut self, app: &App, most: usize) -> Read {
        // The state first: what a terminal task's runs have printed by now is all there will be.
        let has_ended = app.store.task(&self.id).map_or(true, |task| task.status.is_terminal());
        let mut bytes = vec![0; most];
        let length = match self.open(app) {
            Ok(Some(file)) => read_at(&file, &mut bytes, self.offset).unwrap_or(0),
            Ok(None) | Err(_) => 0,
        };
        if length > 0 {
            bytes.truncate(length);
            self.offset += length as u64;
            return Read::Piece(bytes);
        }
        let latest = self.latest(app);
        if !self.is_fixed && latest > self.attempt {
            self.attempt = latest;
            self.offset = 0;
            return self.read(app, most);
        }
        if has_ended { Read::End } else { Read::Nothing }
    }

    /// The newest run.
    fn latest(&self, app: &App) -> Option<u64> {
        app.store.attempt_numbers(&self.id).ok()?.pop()
    }

    fn open(&self, app: &App) -> Result<Option<File>> {
        let Some(attempt) = self.attempt else { return Ok(None) };
        match app.store.existing_attempt(&self.id, attempt)? {
            Some(attempt) => attempt.open(self.file),
            None => Ok(None),
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) => return Err(Error::io("read", "the output of a run", error)),
        }
    }
    Ok(length)
}
