//! Serves clients whose messages arrive over HTTP. Each message is served by itself: nothing is kept between two
//! of them.
//!
//! One thread runs all calls, and a waiting call holds no thread. The HTTP server reads requests and sends
//! replies; it passes a message to [`PostServer::take`], and gets the reply from [`PostServer::run`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rmcp::model::{
    ClientCapabilities, ClientJsonRpcMessage, ErrorCode, GetMeta, Implementation, InitializeRequestParams,
    JsonRpcMessage, ProtocolVersion, ServerJsonRpcMessage,
};
use rmcp::service::serve_directly;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::agent_dispatch::AgentDispatch;
use super::agents::AgentRegistry;
use super::call_log::CallLog;
use super::catalog::{Catalog, ToolSet};
use super::client::Channel;
use super::given_results::{CLIENT_GONE, GivenResults};
use super::message::{Incoming, read_line};
use super::open_queue::{LazyQueue, QueueSource, RecursionLimitsSource};
use super::post_transport::PostTransport;
use super::server::{McpServer, ServerState};
use super::{instructions_for, speaks_old};
use crate::error::{Error, Result, brief};
use crate::workspace::Config;

/// The maximum number of concurrent calls of all clients together.
const MAX_CALLS: usize = 256;
/// The maximum number of threads that use the store at the same time.
const MAX_STORE_THREADS: usize = 8;
/// How long a call may take before its progress is sent.
const EVENTS_AFTER: Duration = Duration::from_secs(1);
/// The interval at which a client is sent something, so that no proxy takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a server that ends waits for threads that use the store.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// A message as it was posted.
pub(crate) struct McpPost {
    /// The number that identifies its reply.
    pub number: u64,
    /// The message.
    pub body: Vec<u8>,
    /// The version of the protocol that the client names outside of the message.
    pub version: Option<String>,
    /// Whether the client reads a stream of events.
    pub takes_events: bool,
}

/// A reply to a posted message, or a part of one.
#[derive(Debug)]
pub(crate) enum McpPostReply {
    /// The whole reply: a status of HTTP, and a message or nothing.
    Whole(u16, Vec<u8>),
    /// The beginning of a stream of events.
    BeginEvents,
    /// A piece of the stream.
    Events(Vec<u8>),
    /// The last piece of the stream.
    EndEvents(Vec<u8>),
}

/// The number of a request, a reply to it, and what its calls were answered with.
type NumberedReply = (u64, McpPostReply, Arc<GivenResults>);

/// A request that is being answered.
struct PostedRequest {
    number: u64,
    request: ClientJsonRpcMessage,
    peer: Option<InitializeRequestParams>,
    takes_events: bool,
    /// Whether its errors have a status of HTTP, as those of the newest protocol do.
    has_error_status: bool,
    /// Cancelled when the client is gone or the server ends.
    closing: CancellationToken,
}

/// A server of posted messages.
pub(crate) struct PostServer {
    state: Arc<ServerState>,
    random: u128,
    requests: mpsc::UnboundedSender<PostedRequest>,
    inbox: Mutex<Option<mpsc::UnboundedReceiver<PostedRequest>>>,
    /// The requests that are being answered.
    open: Mutex<HashMap<u64, CancellationToken>>,
    stopping: CancellationToken,
    closed: CancellationToken,
}

impl PostServer {
    /// Makes a server, which starts nothing before [`Self::run`]. `random` distinguishes its sessions from those
    /// of other servers.
    ///
    /// # Errors
    /// `Corrupt` when the text of the tools in this program is not valid.
    pub(crate) fn new(
        tools: &[ToolSet],
        queue: QueueSource,
        dispatch: AgentDispatch,
        limits: RecursionLimitsSource,
        agents: Arc<dyn AgentRegistry>,
        config: Config,
        random: u128,
    ) -> Result<Self> {
        let (requests, inbox) = mpsc::unbounded_channel();
        let is_old = speaks_old(tools);
        let state = ServerState {
            catalog: Catalog::of(tools)?,
            has_prompts: false,
            instructions: Box::new(move || instructions_for(is_old, Some(&config))),
            config: OnceLock::new(),
            queue: Arc::new(LazyQueue::new(queue, Arc::new(dispatch), limits, None)),
            agents,
            // The sender of a message is not known.
            chain: None,
            permission: None,
            max_wait: None,
            calls: Semaphore::new(MAX_CALLS),
            // The HTTP server has a log of its own.
            log: CallLog::default(),
        };
        Ok(Self {
            state: Arc::new(state),
            random,
            requests,
            inbox: Mutex::new(Some(inbox)),
            open: Mutex::default(),
            stopping: CancellationToken::new(),
            closed: CancellationToken::new(),
        })
    }

    /// Takes a message. Returns the reply to one that needs no call; otherwise [`Self::run`] delivers it.
    pub(crate) fn take(&self, post: McpPost) -> Option<McpPostReply> {
        let message = match read_line(&post.body) {
            Incoming::Message(message) => *message,
            Incoming::Nothing => return Some(McpPostReply::Whole(202, Vec::new())),
            Incoming::Refused(answer) => return Some(McpPostReply::Whole(400, answer.to_string().into())),
        };
        let JsonRpcMessage::Request(request) = &message else {
            // A notification refers to nothing that is kept: a client cancels a call by closing the connection.
            return Some(McpPostReply::Whole(202, Vec::new()));
        };
        let meta = request.request.get_meta();
        let own_version = meta.protocol_version();
        let has_error_status = own_version.as_ref().is_some_and(|version| !version.has_initialize());
        let peer = match peer_of(post.version.as_deref(), own_version.as_ref()) {
            Ok(peer) => peer,
            Err(message) => {
                let error = json!({"code": ErrorCode::INVALID_REQUEST.0, "message": message});
                let answer = json!({"jsonrpc": "2.0", "id": request.id, "error": error});
                return Some(McpPostReply::Whole(400, answer.to_string().into()));
            }
        };
        let takes_events = post.takes_events && meta.get_progress_token().is_some();
        let closing = self.stopping.child_token();
        self.open().insert(post.number, closing.clone());
        let request = PostedRequest {
            number: post.number,
            request: message,
            peer,
            takes_events,
            has_error_status,
            closing,
        };
        match self.requests.send(request) {
            Ok(()) => None,
            Err(_) => {
                self.open().remove(&post.number);
                Some(stopping())
            }
        }
    }

    /// Records that the client of a message has hung up: its call stops waiting, and its work continues.
    pub(crate) fn gone(&self, number: u64) {
        if let Some(closing) = self.open().remove(&number) {
            closing.cancel();
        }
    }

    /// Ends all waiting, so that every request is answered soon.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
    }

    /// Lets [`Self::run`] return.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// Answers messages until [`Self::close`], and passes each reply to `deliver`, which must not block, and returns
    /// whether the client is still there. What a client is not told that is gone is taken back.
    ///
    /// # Errors
    /// `Io` when the runtime cannot be started.
    pub(crate) fn run(&self, deliver: &dyn Fn(u64, McpPostReply) -> bool) -> Result<()> {
        let Some(mut inbox) = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(MAX_STORE_THREADS)
            .build()
            .map_err(|error| Error::io("start", "the runtime", error))?;
        runtime.block_on(async {
            let (outgoing, mut replies) = mpsc::unbounded_channel::<NumberedReply>();
            loop {
                tokio::select! {
                    biased;
                    Some((number, reply, given)) = replies.recv() => {
                        let is_last = matches!(reply, McpPostReply::Whole(..) | McpPostReply::EndEvents(_));
                        if is_last {
                            self.open().remove(&number);
                        }
                        if !deliver(number, reply) && is_last {
                            self.take_back(&given);
                        }
                    }
                    Some(request) = inbox.recv() => {
                        tokio::spawn(answer(self.server_for(&request), request, outgoing.clone()));
                    }
                    () = self.closed.cancelled() => return,
                }
            }
        });
        runtime.shutdown_timeout(STOP_TIMEOUT);
        Ok(())
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, CancellationToken>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back what a request was answered with.
    fn take_back(&self, given: &GivenResults) {
        let results = given.take_all();
        if results.is_empty() {
            return;
        }
        let queue = Arc::clone(&self.state.queue);
        tokio::task::spawn_blocking(move || {
            if let Ok(queue) = queue.get() {
                results.iter().for_each(|result| result.take_back(&queue, CLIENT_GONE));
            }
        });
    }

    fn server_for(&self, request: &PostedRequest) -> McpServer {
        McpServer {
            state: Arc::clone(&self.state),
            // It is unknown which posts belong to one chat, and an equal request of another client is not the
            // same request.
            session: format!("{:032x}-{}", self.random, request.number),
            channel: Channel::Http,
            given_results: Some(Arc::default()),
            closing: request.closing.clone(),
        }
    }
}

/// Returns what is known of a client that names a version of the protocol in the head of its request.
///
/// # Errors
/// A message about an unknown version, unless the request itself names one.
fn peer_of(
    version: Option<&str>,
    own: Option<&ProtocolVersion>,
) -> std::result::Result<Option<InitializeRequestParams>, String> {
    let Some(version) = version.filter(|_| own.is_none()) else { return Ok(None) };
    let known = ProtocolVersion::KNOWN_VERSIONS;
    match known.iter().find(|known| known.as_str() == version) {
        Some(version) if version.has_initialize() => {
            let client =
                InitializeRequestParams::new(ClientCapabilities::default(), Implementation::new("", ""));
            Ok(Some(client.with_protocol_version(version.clone())))
        }
        Some(_) => Ok(None),
        None => {
            let known: Vec<&str> = known.iter().map(ProtocolVersion::as_str).collect();
            let version = brief(version);
            Err(format!("unknown version in MCP-Protocol-Version: {version}; there are {}", known.join(", ")))
        }
    }
}

/// Answers one request: by one message, or by a stream of events once it takes long enough.
async fn answer(server: McpServer, request: PostedRequest, outgoing: mpsc::UnboundedSender<NumberedReply>) {
    let (sender, mut messages) = mpsc::unbounded_channel();
    let closing = request.closing.clone();
    let transport = PostTransport::new(request.request, sender, closing.clone());
    let number = request.number;
    let given = server.given_results.clone().unwrap_or_default();
    let send = |reply| {
        // Fails only when the server has ended.
        let _ = outgoing.send((number, reply, Arc::clone(&given)));
    };
    let running = serve_directly(server, transport, request.peer);
    let (mut held, mut is_stream) = (Vec::new(), false);
    let mut wake = Instant::now() + EVENTS_AFTER;
    loop {
        tokio::select! {
            biased;
            message = messages.recv() => match message {
                Some(message @ (JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_))) => {
                    send(if is_stream {
                        McpPostReply::EndEvents(event_of(&message))
                    } else {
                        whole_reply(&message, request.has_error_status)
                    });
                    break;
                }
                Some(message) if is_stream => {
                    send(McpPostReply::Events(event_of(&message)));
                    wake = Instant::now() + KEEP_ALIVE;
                }
                Some(message) => held.extend(event_of(&message)),
                None => {
                    send(if is_stream { McpPostReply::EndEvents(Vec::new()) } else { stopping() });
                    break;
                }
            },
            () = sleep_until(wake), if request.takes_events => {
                if is_stream {
                    send(McpPostReply::Events(b": still here\n\n".to_vec()));
                } else {
                    is_stream = true;
                    send(McpPostReply::BeginEvents);
                    send(McpPostReply::Events(std::mem::take(&mut held)));
                }
                wake = Instant::now() + KEEP_ALIVE;
            }
        }
    }
    closing.cancel();
    let _ = running.waiting().await;
}

/// Returns the reply that is one message.
fn whole_reply(message: &ServerJsonRpcMessage, has_error_status: bool) -> McpPostReply {
    let status = match message {
        JsonRpcMessage::Error(error) if has_error_status => match error.error.code {
            ErrorCode::METHOD_NOT_FOUND => 404,
            ErrorCode::UNSUPPORTED_PROTOCOL_VERSION
            | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY
            | ErrorCode::HEADER_MISMATCH => 400,
            _ => 200,
        },
        _ => 200,
    };
    McpPostReply::Whole(status, text_of(message))
}

/// Returns a message as an event of a stream.
fn event_of(message: &ServerJsonRpcMessage) -> Vec<u8> {
    let mut event = b"event: message\ndata: ".to_vec();
    event.extend(text_of(message));
    event.extend(b"\n\n");
    event
}

/// Returns the JSON of a message, which is one line.
fn text_of(message: &ServerJsonRpcMessage) -> Vec<u8> {
    // All keys of a message are texts, so it can always be written.
    serde_json::to_vec(message).unwrap_or_default()
}

/// Returns the reply to a request that a server cannot answer any more.
fn stopping() -> McpPostReply {
    let error = json!({"code": ErrorCode::INTERNAL_ERROR.0, "message": "the server is stopping"});
    McpPostReply::Whole(503, json!({"jsonrpc": "2.0", "id": null, "error": error}).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_in_the_head_counts_unless_the_request_has_its_own() {
        let version = |head, own: Option<&ProtocolVersion>| {
            peer_of(head, own).map(|peer| peer.map(|peer| peer.protocol_version.to_string()))
        };
        assert_eq!(version(None, None), Ok(None));
        assert_eq!(version(Some("2025-06-18"), None), Ok(Some("2025-06-18".to_string())));
        assert_eq!(version(Some("2026-07-28"), None), Ok(None));
        assert_eq!(version(Some("2025-06-18"), Some(&ProtocolVersion::V_2026_07_28)), Ok(None));
        assert!(version(Some("1999-01-01"), None).unwrap_err().ends_with("2025-11-25, 2026-07-28"));
        assert_eq!(version(Some("2031-01-01"), Some(&ProtocolVersion::V_2026_07_28)), Ok(None));
    }
}
