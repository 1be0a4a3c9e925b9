//! The faults of one task, and how each is repaired.

use super::report::Severity;
use crate::model::Task;

/// How a fault is repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    Nothing,
    /// Not repaired: `gc` removes the task when its time has come.
    Collect,
    /// Left to a person, who may have changed the mode on purpose.
    Close,
    /// Not repaired: no command uses the path.
    Refuse,
    /// Move the directory of the task to the quarantine.
    SetTaskAside,
    /// Move the file to the quarantine.
    SetAside,
    /// Move the file to the quarantine and write response.json from task.json.
    ReplaceResponse,
    Remove,
    CompleteEvents,
    RewriteEvents,
    /// Move what is not a file to the quarantine and write events.jsonl from task.json.
    ReplaceEvents,
    /// Move the file to the quarantine and write request.md from task.json.
    RestoreRequest,
    RenameRequest,
    WriteResponse,
    RenameResponse,
}

impl Repair {
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Nothing => "nothing can be done about it",
            Self::Collect => "`lanes gc` without --archive removes the task when its time has come",
            Self::Close => "run `chmod 700` on it",
            Self::Refuse => "no command uses that path; an answer is printed and stays in the store",
            Self::SetTaskAside => "repair moves the task's directory to the quarantine",
            Self::SetAside => "repair moves it to the quarantine",
            Self::ReplaceResponse | Self::ReplaceEvents => {
                "repair moves it to the quarantine and rewrites it from task.json"
            }
            Self::RestoreRequest => "repair rewrites it from task.json",
            Self::Remove => "repair removes it",
            Self::CompleteEvents => "repair completes it from task.json",
            Self::RewriteEvents => "repair copies it to the quarantine and keeps the lines that are events",
            Self::WriteResponse => "repair writes it from task.json",
            Self::RenameRequest => "repair renames it to request.md",
            Self::RenameResponse => "repair renames it to response.json",
        }
    }
}

/// One fault of a task.
pub(crate) struct Fault {
    pub(super) code: &'static str,
    pub(super) severity: Severity,
    pub(crate) file: String,
    pub(super) message: String,
    pub(crate) repair: Repair,
}

/// The task in a directory, if it can be read, and its faults.
#[derive(Default)]
pub(crate) struct TaskCheck {
    pub(crate) faults: Vec<Fault>,
    pub(super) task: Option<Task>,
}

impl TaskCheck {
    pub(crate) fn fault(
        &mut self,
        code: &'static str,
        severity: Severity,
        file: &str,
        message: impl Into<String>,
        repair: Repair,
    ) {
        let (file, message) = (file.to_string(), message.into());
        self.faults.push(Fault { code, severity, file, message, repair });
    }
}
