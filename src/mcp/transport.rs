//! Passes messages over two pipes, one per line.
//!
//! One thread reads and another writes, so that neither a client that sends nothing nor one that reads nothing
//! blocks the calls. The SDK's transport is not used, because it does not answer lines that are too long or not
//! JSON.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::message::{Incoming, MAX_LINE, read_line, too_long};
use crate::error::{Error, Result};

/// How many messages are read ahead of the calls.
const READ_AHEAD: usize = 4;
/// How many bytes may wait for a client that does not read. It is disconnected when there are more.
const MAX_UNREAD: usize = 128 * 1024 * 1024;
/// The memory that a waiting line takes in addition to its own bytes.
const LINE_OVERHEAD: usize = 1024;
/// How many bytes are read at once.
const READ_SIZE: usize = 64 * 1024;

/// A line for the client.
struct OutgoingLine {
    bytes: Vec<u8>,
    written: oneshot::Sender<io::Result<()>>,
}

impl OutgoingLine {
    /// Returns how many bytes it takes while it waits.
    fn cost(&self) -> usize {
        self.bytes.len() + LINE_OVERHEAD
    }
}

/// The lines that wait for the writer. Adding one never blocks, so the reader still notices the end of a client
/// that has stopped reading.
#[derive(Clone)]
struct Outbox {
    lines: mpsc::UnboundedSender<OutgoingLine>,
    /// How many bytes wait.
    unread: Arc<AtomicUsize>,
    /// Ends the connection.
    closing: CancellationToken,
}

impl Outbox {
    /// Adds a line, and returns a receiver for the result of writing it.
    ///
    /// # Errors
    /// `BrokenPipe` when the client is gone, or does not read.
    fn push(&self, bytes: Vec<u8>) -> io::Result<oneshot::Receiver<io::Result<()>>> {
        let (written, result) = oneshot::channel();
        let line = OutgoingLine { bytes, written };
        let cost = line.cost();
        if self.unread.fetch_add(cost, Ordering::Relaxed) + cost > MAX_UNREAD {
            self.closing.cancel();
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.lines.send(line).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(result)
    }
}

/// The connection to a client.
pub(super) struct PipeTransport {
    incoming: mpsc::Receiver<Box<ClientJsonRpcMessage>>,
    outbox: Outbox,
    closing: CancellationToken,
}

impl PipeTransport {
    /// Starts the threads. `closing` is cancelled when the client is gone, and ends the connection when it is
    /// cancelled.
    ///
    /// # Errors
    /// `Io` when a thread cannot be started.
    pub(super) fn start(
        input: Box<dyn Read + Send>,
        output: Box<dyn Write + Send>,
        closing: CancellationToken,
    ) -> Result<Self> {
        let (messages, incoming) = mpsc::channel(READ_AHEAD);
        let (lines, waiting) = mpsc::unbounded_channel();
        let outbox = Outbox { lines, unread: Arc::default(), closing: closing.clone() };
        let thread = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let started = std::thread::Builder::new().name(name.to_string()).spawn(run);
            started.map(drop).map_err(|error| Error::io("start", "a thread", error))
        };
        let answers = outbox.clone();
        thread("reader", Box::new(move || read_all(input, &messages, &answers)))?;
        let (gone, unread) = (closing.clone(), Arc::clone(&outbox.unread));
        thread(
            "writer",
            Box::new(move || {
                if write_all(output, waiting, &unread).is_err() {
                    gone.cancel();
                }
            }),
        )?;
        Ok(Self { incoming, outbox, closing })
    }
}

impl Transport<RoleServer> for PipeTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let line = line_of(&message).and_then(|bytes| self.outbox.push(bytes));
        async move { line?.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())) }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        tokio::select! {
            biased;
            () = self.closing.cancelled() => None,
            message = self.incoming.recv() => {
                if message.is_none() {
                    self.closing.cancel();
                }
                message.map(|message| *message)
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.closing.cancel();
        Ok(())
    }
}

fn line_of(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Passes messages on until the input ends or nobody takes them; answers lines that are not messages itself.
fn read_all(
    input: Box<dyn Read + Send>,
    messages: &mpsc::Sender<Box<ClientJsonRpcMessage>>,
    answers: &Outbox,
) {
    let mut input = BufReader::with_capacity(READ_SIZE, input);
    while let Ok(Some(incoming)) = next_line(&mut input) {
        let is_passed_on = match incoming {
            Incoming::Message(message) => messages.blocking_send(message).is_ok(),
            Incoming::Nothing => true,
            Incoming::Refused(answer) => line_of(&answer).and_then(|bytes| answers.push(bytes)).is_ok(),
        };
        if !is_passed_on {
            return;
        }
    }
}

/// Reads a line; `None` at the end of the input. Text after the last newline is not a message. A line that is
/// too long is discarded.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Incoming>> {
    let (mut line, mut is_too_long) = (Vec::new(), false);
    loop {
        let available = match input.fill_buf() {
            Ok([]) => return Ok(None),
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = available.iter().position(|byte| *byte == b'\n');
        let piece = &available[..end.unwrap_or(available.len())];
        is_too_long |= line.len() + piece.len() > MAX_LINE;
        if is_too_long {
            line = Vec::new();
        } else {
            line.extend_from_slice(piece);
        }
        let length = piece.len();
        input.consume(length + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(Some(if is_too_long { too_long() } else { read_line(&line) }));
        }
    }
}

/// Writes lines until all senders are gone, and subtracts them from `unread`.
///
/// # Errors
/// That of the first line that could not be written.
fn write_all(
    mut output: Box<dyn Write + Send>,
    mut lines: mpsc::UnboundedReceiver<OutgoingLine>,
    unread: &AtomicUsize,
) -> io::Result<()> {
    while let Some(line) = lines.blocking_recv() {
        let cost = line.cost();
        let result = output.write_all(&line.bytes).and_then(|()| output.flush());
        unread.fetch_sub(cost, Ordering::Relaxed);
        let failed = result.as_ref().err().map(io::Error::kind);
        // The reader does not wait for its answers to be written.
        let _ = line.written.send(result);
        if let Some(kind) = failed {
            return Err(kind.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whatever_their_pieces() {
        let ping = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let mut input = ping.to_vec();
        input.extend(b"\n\n");
        input.extend(vec![b'x'; MAX_LINE + 1]);
        input.extend(b"\n");
        input.extend(ping);
        input.extend(b"\n{\"half\":");
        for size in [1, 7, READ_SIZE] {
            let mut reader = BufReader::with_capacity(size, &input[..]);
            let mut kinds = String::new();
            while let Some(incoming) = next_line(&mut reader).unwrap() {
                kinds.push(match incoming {
                    Incoming::Message(_) => 'm',
                    Incoming::Refused(_) => 'r',
                    Incoming::Nothing => 'n',
                });
            }
            assert_eq!(kinds, "mnrm", "{size}");
        }
    }
}
