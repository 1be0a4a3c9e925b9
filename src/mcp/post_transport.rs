//! The transport of one posted request, over which only its progress and its answer are sent.

use std::io;

use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The connection that the SDK sees.
pub(super) struct PostTransport {
    request: Option<ClientJsonRpcMessage>,
    messages: mpsc::UnboundedSender<ServerJsonRpcMessage>,
    done: CancellationToken,
}

impl PostTransport {
    /// Makes the transport of a request. `messages` receives what is sent; `done` is cancelled when nobody waits
    /// for the answer any more, and ends the connection.
    pub(super) fn new(
        request: ClientJsonRpcMessage,
        messages: mpsc::UnboundedSender<ServerJsonRpcMessage>,
        done: CancellationToken,
    ) -> Self {
        Self { request: Some(request), messages, done }
    }
}

impl Transport<RoleServer> for PostTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let sent = self.messages.send(message).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe));
        std::future::ready(sent)
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        match self.request.take() {
            Some(request) => Some(request),
            None => {
                self.done.cancelled().await;
                None
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.done.cancel();
        Ok(())
    }
}
