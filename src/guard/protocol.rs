//! The protocol between a dispatcher and its guards.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;

use super::process_tree::GUARD_NAME;
use crate::model::RunId;

/// Request of the dispatcher to end the run. The end of the socket without it means that the dispatcher has
/// died.
pub(crate) const END_REQUEST: &[u8] = b"e";

/// How an agent process exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentExit {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

/// Arguments of a guard.
pub(crate) struct GuardCommand<'a> {
    /// Id of the run.
    pub run: &'a RunId,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// File that is locked during the run.
    pub lock: Option<&'a Path>,
    /// Log of the agent's standard output.
    pub log: Option<&'a Path>,
    /// File that is the agent's standard input.
    pub stdin: &'a Path,
    /// Working directory of the agent.
    pub cwd: &'a Path,
    /// Program of the agent.
    pub program: &'a OsStr,
    /// Arguments of the agent.
    pub args: &'a [String],
}

impl GuardCommand<'_> {
    /// Returns the command that starts the guard; `guard` is the path of this program.
    pub(crate) fn command(&self, guard: &Path) -> Command {
        let mut command = Command::new(guard);
        command
            .arg0(GUARD_NAME)
            .arg(self.run.as_str())
            .arg(self.grace.as_millis().to_string())
            .args([self.lock, self.log].map(|path| path.unwrap_or(Path::new(""))))
            .args([self.stdin, self.cwd])
            .arg(self.program)
            .args(self.args)
            // Signals from the terminal are for the dispatcher.
            .process_group(0);
        command
    }
}

/// A message of a guard to its dispatcher, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GuardMessage {
    /// The agent was started, with this process id.
    Started(u32),
    /// The agent could not be started; the value is `errno`.
    SpawnFailed(i32),
    /// Another run holds the lock.
    Locked,
    /// The guard failed, with this message.
    GuardFailed(String),
    /// The agent exited.
    Exited(AgentExit),
    /// The run is over: the number of processes that were left after the agent's exit, and the number of those
    /// that could not be ended.
    Done(usize, usize),
}

impl GuardMessage {
    fn line(&self) -> String {
        match self {
            Self::Started(pid) => format!("started {pid}\n"),
            Self::SpawnFailed(errno) => format!("failed {errno}\n"),
            Self::Locked => "locked\n".to_string(),
            Self::GuardFailed(why) => format!("broken {}\n", why.replace('\n', " ")),
            Self::Exited(AgentExit::Signal(signal)) => format!("signal {signal}\n"),
            Self::Exited(AgentExit::Code(code)) => format!("exit {code}\n"),
            Self::Done(leftovers, survivors) => format!("done {leftovers} {survivors}\n"),
        }
    }

    /// Parses a line without its line break.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match keyword {
            "started" => Self::Started(rest.parse().ok()?),
            "failed" => Self::SpawnFailed(rest.parse().ok()?),
            "locked" => Self::Locked,
            "broken" => Self::GuardFailed(rest.to_string()),
            "signal" => Self::Exited(AgentExit::Signal(rest.parse().ok()?)),
            "exit" => Self::Exited(AgentExit::Code(rest.parse().ok()?)),
            "done" => {
                let (leftovers, survivors) = rest.split_once(' ')?;
                Self::Done(leftovers.parse().ok()?, survivors.parse().ok()?)
            }
            _ => return None,
        })
    }

    /// Sends the message to the dispatcher. A write error means that the dispatcher has died, and is ignored.
    pub(super) fn send(&self) {
        let line = self.line();
        let mut left = line.as_bytes();
        while !left.is_empty() {
            match rustix::io::write(rustix::stdio::stdin(), left) {
                Ok(length) => left = &left[length..],
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_parsed_as_they_were_sent() {
        let messages = [
            GuardMessage::Started(7),
            GuardMessage::SpawnFailed(2),
            GuardMessage::Locked,
            GuardMessage::GuardFailed("no room".to_string()),
            GuardMessage::Exited(AgentExit::Code(3)),
            GuardMessage::Exited(AgentExit::Signal(9)),
            GuardMessage::Done(2, 1),
        ];
        for message in messages {
            assert_eq!(GuardMessage::parse(message.line().trim_end()).as_ref(), Some(&message));
        }
        for line in ["", "started", "started x", "done 1", "nonsense 1"] {
            assert_eq!(GuardMessage::parse(line), None, "{line}");
        }
    }
}
