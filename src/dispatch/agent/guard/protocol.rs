//! What dispatcher and guard say to each other.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;

use crate::dispatch::agent::process_tree::{GUARD_NAME, RunId};
use crate::dispatch::outcome::Exit;

/// What the dispatcher sends when it wants the run to end; the end of the socket alone says that the
/// dispatcher is gone.
pub const END_REQUEST: &[u8] = b"e";

/// What a guard is told before it starts.
pub struct GuardCommand<'a> {
    /// The run.
    pub run: &'a RunId,
    /// Time between the polite and the final signal.
    pub grace: Duration,
    /// The file to be held locked during the run.
    pub lock: Option<&'a Path>,
    /// The log of the agent's standard output.
    pub log: Option<&'a Path>,
    /// The agent's standard input.
    pub stdin: &'a Path,
    /// The agent's working directory.
    pub cwd: &'a Path,
    /// The agent's program.
    pub program: &'a OsStr,
    /// The agent's arguments.
    pub args: &'a [String],
}

impl GuardCommand<'_> {
    /// The guard's command line; `guard` is this program.
    pub fn command(&self, guard: &Path) -> Command {
        let mut command = Command::new(guard);
        command
            .arg0(GUARD_NAME)
            .arg(self.run.as_str())
            .arg(self.grace.as_millis().to_string())
            .args([self.lock, self.log].map(|path| path.unwrap_or(Path::new(""))))
            .args([self.stdin, self.cwd])
            .arg(self.program)
            .args(self.args)
            // Signals of a terminal are meant for the dispatcher.
            .process_group(0);
        command
    }
}

/// What a guard tells its dispatcher, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardMessage {
    /// The agent runs under this number.
    Started(u32),
    /// The agent cannot be started, for this reason (`errno`).
    SpawnFailed(i32),
    /// The lock is held by another run.
    Locked,
    /// The guard cannot do its work.
    GuardFailed(String),
    /// The agent ended.
    Exited(Exit),
    /// All is over: how many processes had to be ended after the agent, and how many are still there.
    Done(usize, usize),
}

impl GuardMessage {
    fn line(&self) -> String {
        match self {
            Self::Started(pid) => format!("started {pid}\n"),
            Self::SpawnFailed(errno) => format!("failed {errno}\n"),
            Self::Locked => "locked\n".to_string(),
            Self::GuardFailed(why) => format!("broken {}\n", why.replace('\n', " ")),
            Self::Exited(Exit::Signal(signal)) => format!("signal {signal}\n"),
            Self::Exited(Exit::Code(code)) => format!("exit {code}\n"),
            Self::Exited(Exit::NotStarted) => String::new(),
            Self::Done(leftovers, survivors) => format!("done {leftovers} {survivors}\n"),
        }
    }

    /// The word on a line, without its end.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match word {
            "started" => Self::Started(rest.parse().ok()?),
            "failed" => Self::SpawnFailed(rest.parse().ok()?),
            "locked" => Self::Locked,
            "broken" => Self::GuardFailed(rest.to_string()),
            "signal" => Self::Exited(Exit::Signal(rest.parse().ok()?)),
            "exit" => Self::Exited(Exit::Code(rest.parse().ok()?)),
            "done" => {
                let (leftovers, survivors) = rest.split_once(' ')?;
                Self::Done(leftovers.parse().ok()?, survivors.parse().ok()?)
            }
            _ => return None,
        })
    }

    /// Tells the dispatcher. If it is gone there is nobody to tell.
    pub(super) fn tell(&self) {
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
    fn words_come_back() {
        let words = [
            GuardMessage::Started(7),
            GuardMessage::SpawnFailed(2),
            GuardMessage::Locked,
            GuardMessage::GuardFailed("no room".to_string()),
            GuardMessage::Exited(Exit::Code(3)),
            GuardMessage::Exited(Exit::Signal(9)),
            GuardMessage::Done(2, 1),
        ];
        for word in words {
            assert_eq!(GuardMessage::parse(word.line().trim_end()).as_ref(), Some(&word));
        }
        for line in ["", "started", "started x", "done 1", "nonsense 1"] {
            assert_eq!(GuardMessage::parse(line), None, "{line}");
        }
    }
}
