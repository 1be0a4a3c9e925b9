//! Makes submits that arrive together durable in one batch.
//!
//! Most of the cost of a submit is waiting for the disk, and a file system commits together what arrives
//! together. So one thread takes all submits that arrived while it was writing the previous ones as one batch;
//! each of them still succeeds or fails on its own. A thousand clients that submit while somebody keeps the
//! store locked occupy this thread and no other.

use super::api::views::submitted;
use super::responder::{DeferredRequest, Responder};
use super::sync::mpsc::{Receiver, SendError, Sender, channel};
use super::sync::{Mutex, PoisonError};
use super::transport::catch_panic::catch_panic;
use super::transport::response::HttpResponse;
use crate::error::{Error, Result};
use crate::model::NewTask;
use crate::store::{Store, SubmittedTask};
use crate::workspace::CheckedSubmit;

/// The maximum number of submits in one batch: the response to the first of them waits for the last.
const MAX_BATCH: usize = 128;

/// A submit on its way to the store.
pub(crate) struct QueuedSubmit {
    task: NewTask,
    warnings: Vec<String>,
    request: DeferredRequest,
}

/// The queue of submits; closed before its thread starts and once it is to end.
#[derive(Default)]
pub(crate) struct SubmitBatcher(Mutex<Option<Sender<QueuedSubmit>>>);

impl SubmitBatcher {
    /// Opens the queue and returns its receiving end, for [`SubmitBatcher::run`].
    pub(crate) fn open(&self) -> Receiver<QueuedSubmit> {
        let (sender, inbox) = channel();
        self.set(Some(sender));
        inbox
    }

    /// Closes the queue: what is still in it is refused, and then [`SubmitBatcher::run`] returns.
    pub(crate) fn close(&self) {
        self.set(None);
    }

    fn is_closed(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn set(&self, sender: Option<Sender<QueuedSubmit>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = sender;
    }

    /// Queues a submit, which is answered as soon as it is durable. Returns the request when the queue is closed.
    pub(crate) fn submit(&self, request: DeferredRequest, checked: CheckedSubmit) -> Option<DeferredRequest> {
        let CheckedSubmit { task, warnings } = checked;
        let queued = QueuedSubmit { task, warnings, request };
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match sender.as_ref() {
            Some(sender) => sender.send(queued).err().map(|SendError(queued)| queued.request),
            None => Some(queued.request),
        }
    }

    /// Submits batches with `submit_all` until the queue is closed and empty. `submit_all` returns one result for
    /// each task, in their order; see [`submit_all`].
    pub(crate) fn run(
        &self,
        inbox: &Receiver<QueuedSubmit>,
        responder: &dyn Responder,
        submit_all: impl Fn(Vec<NewTask>) -> Vec<Result<SubmittedTask>>,
    ) {
        while let Ok(first) = inbox.recv() {
            let batch = std::iter::once(first).chain(inbox.try_iter().take(MAX_BATCH - 1));
            let (tasks, clients): (Vec<NewTask>, Vec<(Vec<String>, DeferredRequest)>) =
                batch.map(|queued| (queued.task, (queued.warnings, queued.request))).unzip();
            if self.is_closed() {
                for (_, request) in clients {
                    request.respond(responder, HttpResponse::stopping());
                }
                continue;
            }
            let mut results = catch_panic(|| submit_all(tasks)).unwrap_or_default().into_iter();
            for (warnings, request) in clients {
                let response = match results.next() {
                    Some(Ok(task)) => submitted(&task, warnings),
                    Some(Err(error)) => HttpResponse::from_error(&error),
                    None => HttpResponse::internal_error(),
                };
                request.respond(responder, response);
            }
        }
    }
}

/// Submits tasks as one batch; when the batch as a whole fails, every task gets its error. Returns the tasks with the
/// states that are shown of them.
pub(super) fn submit_all(store: &Store, mut tasks: Vec<NewTask>) -> Vec<Result<SubmittedTask>> {
    let count = tasks.len();
    let results = if count == 1 {
        tasks.pop().map(|task| store.submit(task)).into_iter().collect()
    } else {
        store.submit_batch(tasks).unwrap_or_else(|error| {
            let again = || Err(Error::new(error.kind(), error.to_string()));
            (0..count).map(|_| again()).collect()
        })
    };
    let shown = store.shown_states();
    let as_shown = |new: SubmittedTask| SubmittedTask { task: shown.shown(new.task), ..new };
    results.into_iter().map(|result| result.map(as_shown)).collect()
}
