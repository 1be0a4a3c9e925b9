//! Reader threads for submits that name large files.
//!
//! Computing the SHA-256 of a large file takes long. A fixed number of threads does this, so that the threads
//! that handle requests stay free, however many such submits arrive.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::responder::{DeferredRequest, Responder};
use super::submit_batcher::SubmitBatcher;
use super::submit_draft::{SubmitDraft, failed_check, submit_drafts};
use super::transport::catch_panic::catch_panic;
use super::transport::response::HttpResponse;
use super::transport::service::Reply;
use crate::error::Result;
use crate::store::Store;
use crate::workspace::FileHashes;

/// The number of reader threads; more of them would only share one disk.
pub(super) const READER_THREADS: usize = 2;
/// The maximum number of submits that may wait for them.
const MAX_WAITING: usize = 64;

/// The tasks of a submit that names large files.
pub(crate) enum LargeSubmit {
    /// One task.
    One(Box<SubmitDraft>),
    /// A batch.
    Batch(Vec<Result<SubmitDraft>>),
}

/// A submit whose files are to be read.
pub(crate) struct QueuedFiles {
    submit: LargeSubmit,
    files: FileHashes,
    request: DeferredRequest,
}

/// The queue of the reader threads; closed before they start and when they are to end.
#[derive(Default)]
pub(crate) struct SubmitReaders(Mutex<Option<SyncSender<QueuedFiles>>>);

impl SubmitReaders {
    /// Opens the queue and returns its receiving end, for [`SubmitReaders::run`].
    pub(crate) fn open(&self) -> Mutex<Receiver<QueuedFiles>> {
        let (sender, inbox) = sync_channel(MAX_WAITING);
        self.set(Some(sender));
        Mutex::new(inbox)
    }

    /// Closes the queue; [`SubmitReaders::run`] returns once it is empty.
    pub(crate) fn close(&self) {
        self.set(None);
    }

    fn set(&self, sender: Option<SyncSender<QueuedFiles>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = sender;
    }

    /// Queues a submit, which is answered as soon as its files are read and it is durable.
    ///
    /// # Errors
    /// The response to a request for which the queue has no room, or that comes while the server stops.
    pub(crate) fn send(
        &self,
        request: DeferredRequest,
        submit: LargeSubmit,
        files: FileHashes,
    ) -> std::result::Result<Reply, HttpResponse> {
        let queued = QueuedFiles { submit, files, request };
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = sender.as_ref() else { return Err(HttpResponse::stopping()) };
        sender.try_send(queued).map(|()| Reply::Deferred).map_err(|_| {
            let text = "too many requests that name large files are waiting; try again later";
            HttpResponse::error(503, "too_many_files", text).with_header("Retry-After", "10")
        })
    }

    /// Checks and submits what is queued until the queue is closed and empty; for [`READER_THREADS`] threads.
    pub(crate) fn run(
        inbox: &Mutex<Receiver<QueuedFiles>>,
        store: &Store,
        batcher: &SubmitBatcher,
        responder: &dyn Responder,
    ) {
        let next = || inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        while let Ok(QueuedFiles { submit, files, request }) = next() {
            // Files of a client that has disconnected are not read.
            if !request.is_wanted(responder) {
                continue;
            }
            let refused = |error| failed_check(&files, responder.is_stopping(), error);
            let response = match submit {
                LargeSubmit::One(draft) => match catch_panic(|| draft.check(store)) {
                    Some(Ok(checked)) => {
                        if let Some(request) = batcher.submit(request, checked) {
                            request.respond(responder, HttpResponse::stopping());
                        }
                        continue;
                    }
                    Some(Err(error)) => refused(error),
                    None => HttpResponse::internal_error(),
                },
                LargeSubmit::Batch(drafts) => {
                    catch_panic(|| submit_drafts(store, drafts).unwrap_or_else(refused))
                        .unwrap_or_else(HttpResponse::internal_error)
                }
            };
            request.respond(responder, response);
        }
    }
}
