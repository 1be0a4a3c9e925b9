//! The log of `--verbose`: one line for each call of a tool, written by a separate thread, so that a reader that
//! has stopped reading does not delay a call.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use crate::error::{Error, Result, brief};
use crate::store::Clock;

/// The maximum number of lines that wait to be written; further ones are dropped.
const MAX_WAITING: usize = 1024;
/// How long a server that ends waits for the last lines.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// The queue of lines to the log of calls, if calls are logged.
#[derive(Debug, Default)]
pub(super) struct CallLog(Option<(SyncSender<String>, Clock)>);

/// Waits until a log of calls is written.
pub(super) struct CallLogEnd(Receiver<()>);

impl CallLog {
    /// Starts the thread. It ends when the log is dropped.
    ///
    /// # Errors
    /// `Io` when the thread cannot be started.
    pub(super) fn start(mut writer: Box<dyn Write + Send>, clock: Clock) -> Result<(Self, CallLogEnd)> {
        let (lines, inbox) = sync_channel::<String>(MAX_WAITING);
        let (is_written, end) = channel();
        let write = move || {
            for line in inbox {
                // The server continues when its log cannot be written.
                let _ = writer.write_all(line.as_bytes()).and_then(|()| writer.flush());
            }
            drop(is_written);
        };
        let started = std::thread::Builder::new().name("call log".to_string()).spawn(write);
        started.map_err(|error| Error::io("start", "a thread", error))?;
        Ok((Self(Some((lines, clock))), CallLogEnd(end)))
    }

    /// Logs a call, without its arguments, which concern only those who work on the task.
    pub(super) fn write(&self, tool: &str, took: Duration, outcome: &str) {
        if let Some((lines, clock)) = &self.0 {
            let at = clock.now().wall;
            let line = format!("lanes mcp: {at} {} {:.3} s {outcome}\n", brief(tool), took.as_secs_f64());
            let _ = lines.try_send(line);
        }
    }
}

impl CallLogEnd {
    /// Waits until all lines are written, for a limited time. The log must have been dropped.
    pub(super) fn wait(&self) {
        // Nothing is ever sent: the thread drops its end.
        let _ = self.0.recv_timeout(FINISH_TIMEOUT);
    }
}
