//! Submits that come at the same time, made durable together.
//!
//! What a submit costs is mostly waiting for the disk, and a file system commits what comes together
//! in one go. So one thread takes all submits that came while it was at the ones before, as one
//! batch; each still succeeds or fails for itself. A thousand clients that submit while somebody
//! keeps the store locked occupy this thread and no other.

use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::context::{App, Later, stopping};
use super::handlers::submit::submitted;
use super::response::Answer;
use super::transport::catch_panic::{contain, internal};
use crate::error::{Error, Result};
use crate::model::NewTask;
use crate::store::Submitted;
use crate::workspace::Checked;

/// The most submits of one batch, for the answers to the first not to wait for the last.
const MOST: usize = 128;

/// A submit on its way.
pub struct Pending {
    task: NewTask,
    warnings: Vec<String>,
    later: Later,
}

/// The way to the thread that submits; nothing before it starts and after it ends.
#[derive(Default)]
pub struct Gather(Mutex<Option<Sender<Pending>>>);

impl Gather {
    /// Opens the way.
    pub fn connect(&self) -> Receiver<Pending> {
        let (way, inbox) = channel();
        self.set(Some(way));
        inbox
    }

    /// Closes it: what is still on the way is refused, and then [`work`] returns.
    pub fn end(&self) {
        self.set(None);
    }

    fn has_ended(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn set(&self, way: Option<Sender<Pending>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = way;
    }

    /// Answers a submit as soon as it is durable; gives back who waits for it when the way is closed.
    pub fn submit(&self, later: Later, checked: Checked) -> Option<Later> {
        let Checked { task, warnings } = checked;
        let pending = Pending { task, warnings, later };
        let way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match way.as_ref() {
            Some(way) => way.send(pending).err().map(|SendError(pending)| pending.later),
            None => Some(pending.later),
        }
    }
}

/// Submits what comes until the way to it is closed.
pub fn work(app: &App, inbox: &Receiver<Pending>) {
    while let Ok(first) = inbox.recv() {
        let batch = std::iter::once(first).chain(inbox.try_iter().take(MOST - 1));
        let (tasks, clients): (Vec<NewTask>, Vec<(Vec<String>, Later)>) =
            batch.map(|pending| (pending.task, (pending.warnings, pending.later))).unzip();
        if app.submits.has_ended() {
            clients.iter().for_each(|(_, later)| app.answer_later(later, stopping()));
            continue;
        }
        let mut results = contain(|| submit_all(app, tasks)).unwrap_or_default().into_iter();
        for (warnings, later) in clients {
            let answer = match results.next() {
                Some(Ok(task)) => submitted(&task, warnings),
                Some(Err(error)) => Answer::error(&error),
                None => internal(),
            };
            app.answer_later(&later, answer);
        }
    }
}

fn submit_all(app: &App, mut tasks: Vec<NewTask>) -> Vec<Result<Submitted>> {
    let count = tasks.len();
    if count == 1 {
        return tasks.pop().map(|task| app.store.submit(task)).into_iter().collect();
    }
    app.store.submit_batch(tasks).unwrap_or_else(|error| {
        let again = || Err(Error::new(error.kind(), error.to_string()));
        (0..count).map(|_| again()).collect()
    })
}
