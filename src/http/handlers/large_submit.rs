//! Submits that name large files, whose fingerprints take a while.
//!
//! A few threads of their own read such files, so that however many clients name however large files, others
//! are answered meanwhile.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::submit::{finish_batch, refusal};
use super::submit_body::Draft;
use crate::error::Result;
use crate::http::context::{App, Call, Later, Outcome, stopping};
use crate::http::response::Answer;
use crate::http::transport::catch_panic::{contain, internal};
use crate::http::transport::service::Reply;
use crate::workspace::Fingerprints;

/// Threads that read: more would share one disk.
pub const READERS: usize = 2;
/// Submits that may wait for them.
const MOST: usize = 64;

/// What is to be checked and submitted.
pub enum Errand {
    /// One task.
    One(Box<Draft>),
    /// A batch.
    Many(Vec<Result<Draft>>),
}

/// An errand, and who waits for it.
pub struct Pending {
    errand: Errand,
    files: Fingerprints,
    later: Later,
}

/// The way to the threads that read; nothing before they start and after they end.
#[derive(Default)]
pub struct Errands(Mutex<Option<SyncSender<Pending>>>);

impl Errands {
    /// Opens the way.
    pub fn connect(&self) -> Mutex<Receiver<Pending>> {
        let (way, inbox) = sync_channel(MOST);
        self.set(Some(way));
        Mutex::new(inbox)
    }

    /// Closes it; then [`work`] returns.
    pub fn end(&self) {
        self.set(None);
    }

    fn set(&self, way: Option<SyncSender<Pending>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = way;
    }

    /// Answers a request as soon as its files are read.
    pub fn send(&self, call: &Call<'_>, errand: Errand, files: Fingerprints) -> Outcome {
        let pending = Pending { errand, files, later: call.later() };
        let way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(way) = way.as_ref() else { return Err(stopping()) };
        way.try_send(pending).map(|()| Reply::Parked).map_err(|_| {
            let text = "too many requests that name large files are waiting; try again later";
            Answer::refusal(503, "too_many_files", text).with("Retry-After", "10")
        })
    }
}

/// Does what comes until the way to it is closed; for [`READERS`] threads.
pub fn work(app: &App, inbox: &Mutex<Receiver<Pending>>) {
    let next = || inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(Pending { errand, files, later }) = next() {
        // Whoever has hung up shall not make others wait.
        if !app.is_wanted(&later) {
            continue;
        }
        let refused = |error| refusal(app, &files, error);
        let answer = match errand {
            Errand::One(draft) => match contain(|| draft.check(app)) {
                Some(Ok(checked)) => {
                    if let Some(later) = app.submits.submit(later, checked) {
                        app.answer_later(&later, stopping());
                    }
                    continue;
                }
                Some(Err(error)) => refused(error),
                None => internal(),
            },
            Errand::Many(drafts) => {
                contain(|| finish_batch(app, drafts).unwrap_or_else(refused)).unwrap_or_else(internal)
            }
        };
        app.answer_later(&later, answer);
    }
}
