//! The ways in which a command ends, with their exit codes.

use crate::error::{Error, ErrorKind};

/// The end of a command that did not fail with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CommandExit {
    /// It succeeded.
    Done,
    /// It found problems, or succeeded only in part, and has reported that.
    Problems,
    /// A wait timed out.
    TimedOut {
        /// What was waited for.
        message: String,
        /// What to do next.
        hint: String,
    },
    /// A task that was awaited or run failed.
    TaskFailed,
    /// There is nothing to claim now.
    NothingAvailable,
    /// An awaited task has an open question.
    QuestionOpen,
}

/// Exit code of a command that succeeded.
pub(super) const EXIT_OK: u8 = 0;
/// Returns the exit code of a command that failed.
pub(super) fn code_of(error: &Error) -> u8 {
    match error.kind() {
        _ if error.is_misuse() => EXIT_USAGE_OR_TIMEOUT,
        ErrorKind::Unavailable => EXIT_UNAVAILABLE,
        _ => EXIT_REFUSED,
    }
}

/// Exit code of a command that was refused or failed, or that found problems.
pub(super) const EXIT_REFUSED: u8 = 1;
/// Exit code of bad usage, and of a wait that timed out.
pub(super) const EXIT_USAGE_OR_TIMEOUT: u8 = 2;
/// Exit code of `call`, and of `wait` and `dispatch` with `--exit-status`, when a task itself failed.
pub(super) const EXIT_TASK_FAILED: u8 = 3;
/// Exit code of `claim --lane` when no task is available.
pub(super) const EXIT_NOTHING_AVAILABLE: u8 = 4;
/// Exit code of `call` and `wait` with `--or-question` when a task has an open question.
pub(super) const EXIT_QUESTION_OPEN: u8 = 5;
/// Exit code when the server of a store on another machine cannot be reached (`EX_TEMPFAIL` of sysexits.h).
pub(super) const EXIT_UNAVAILABLE: u8 = 75;
/// Exit code after a bug in this program (`EX_SOFTWARE` of sysexits.h).
pub(super) const EXIT_INTERNAL: u8 = 70;
/// Exit code of a command whose standard output was closed by its reader: what a shell reports for a process
/// that SIGPIPE (13) ended.
pub(super) const EXIT_READER_GONE: u8 = 128 + 13;

/// The meaning of each exit code, for the help.
pub(super) const EXIT_CODES: [(&str, &str); 7] = [
    ("0", "done"),
    ("1", "refused or failed, with one line on standard error"),
    ("2", "bad usage, or a wait that timed out"),
    ("3", "the task failed (call, wait --exit-status, dispatch --once --exit-status)"),
    ("4", "nothing to claim (claim --lane)"),
    ("5", "a question is open (call, wait --or-question)"),
    ("75", "the server of a store on another machine cannot be reached"),
];

impl CommandExit {
    /// Returns the exit code of the process.
    pub(super) const fn code(&self) -> u8 {
        match self {
            Self::Done => EXIT_OK,
            Self::Problems => EXIT_REFUSED,
            Self::TimedOut { .. } => EXIT_USAGE_OR_TIMEOUT,
            Self::TaskFailed => EXIT_TASK_FAILED,
            Self::NothingAvailable => EXIT_NOTHING_AVAILABLE,
            Self::QuestionOpen => EXIT_QUESTION_OPEN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        assert_eq!(CommandExit::Done.code(), 0);
        assert_eq!(CommandExit::Problems.code(), 1);
        assert_eq!(CommandExit::TimedOut { message: String::new(), hint: String::new() }.code(), 2);
        assert_eq!(CommandExit::TaskFailed.code(), 3);
        assert_eq!(CommandExit::NothingAvailable.code(), 4);
        assert_eq!(CommandExit::QuestionOpen.code(), 5);
        assert_eq!(EXIT_READER_GONE, 141);
    }
}
