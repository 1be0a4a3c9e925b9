//! One call of a tool, as its function sees it.

use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::agents::AgentRegistry;
use super::client::ClientLimits;
use super::failure::ToolFailure;
use super::given_results::{CLIENT_GONE, GivenResult, GivenResults};
use super::open_queue::{LazyQueue, OpenQueue};
use super::permission::PermissionAsker;
use super::progress::ProgressReporter;
use crate::model::{AgentChain, Owner, TaskId};

/// What a tool answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ToolReply {
    /// The text for the model.
    pub text: String,
    /// JSON in place of the text, for clients that show nothing else when there is some.
    pub structured: Option<Value>,
    /// Whether the work that was asked about has failed.
    pub is_failure: bool,
    /// The open task about which the client asks from now on, in place of the text.
    pub handed_off: Option<TaskId>,
}

impl ToolReply {
    /// Makes a reply that is text alone.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// The result of a tool.
pub(super) type ToolResult = Result<ToolReply, ToolFailure>;

/// When a call is over for its client. The work that it began continues.
#[derive(Clone)]
pub(super) struct CallEnd {
    /// Cancelled when the client cancels the call.
    pub call: CancellationToken,
    /// Cancelled when the client is gone or the server ends.
    pub connection: CancellationToken,
}

impl CallEnd {
    /// Returns whether the client no longer waits for the result.
    pub(super) fn is_over(&self) -> bool {
        self.call.is_cancelled() || self.connection.is_cancelled()
    }

    /// Returns once the client no longer waits for the result.
    pub(super) async fn wait(&self) {
        tokio::select! {
            () = self.call.cancelled() => {}
            () = self.connection.cancelled() => {}
        }
    }
}

/// A call of a tool.
pub(super) struct ToolCall {
    /// What the calls of the same HTTP request were answered with; `None` over pipes.
    pub given_results: Option<Arc<GivenResults>>,
    /// The limits of the client.
    pub limits: ClientLimits,
    /// The name under which the client claims, answers and cancels.
    pub worker: Owner,
    /// The session of the client.
    pub session: String,
    /// The agents.
    pub agents: Arc<dyn AgentRegistry>,
    /// The agents above the client, if a dispatcher started one.
    pub chain: Option<AgentChain>,
    /// The run whose agent asks for permissions.
    pub permission: Option<Arc<PermissionAsker>>,
    /// Reports progress, if the client asked for it.
    pub progress: Option<ProgressReporter>,
    /// Whether the client accepts a task of the protocol in place of a result.
    pub takes_tasks: bool,
    /// The task that is returned as such, since the call would take long.
    pub handed_off: Option<TaskId>,
    /// When the call is over.
    pub end: CallEnd,
    /// The queue.
    pub queue: Arc<LazyQueue>,
}

impl ToolCall {
    /// Opens the queue, for work that goes on after the call.
    ///
    /// # Errors
    /// The queue cannot be opened.
    pub(super) async fn open_queue(&self) -> Result<Arc<OpenQueue>, ToolFailure> {
        let queue = Arc::clone(&self.queue);
        match tokio::task::spawn_blocking(move || queue.get()).await {
            Ok(opened) => Ok(opened?),
            Err(_) => Err(ToolFailure::server_is_ending()),
        }
    }

    /// Does `work` with the queue on a thread that may block.
    ///
    /// # Errors
    /// The queue cannot be opened, or the work fails.
    pub(super) async fn with_queue<T: Send + 'static>(
        &self,
        work: impl FnOnce(&OpenQueue) -> Result<T, ToolFailure> + Send + 'static,
    ) -> Result<T, ToolFailure> {
        let queue = Arc::clone(&self.queue);
        let done = tokio::task::spawn_blocking(move || work(&*queue.get()?)).await;
        // A panic ends the process before this is seen.
        done.unwrap_or_else(|_| Err(ToolFailure::server_is_ending()))
    }

    /// Takes note of what the call is answered with. Returns whether the client still waits for it; otherwise it is
    /// taken back.
    ///
    /// # Errors
    /// The queue cannot be opened.
    pub(super) async fn give(&self, result: GivenResult) -> Result<bool, ToolFailure> {
        if !self.end.is_over() {
            if let Some(given) = &self.given_results {
                given.keep(result);
            }
            return Ok(true);
        }
        self.with_queue(move |queue| {
            result.take_back(queue, CLIENT_GONE);
            Ok(false)
        })
        .await
    }
}
