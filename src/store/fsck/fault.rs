//! The faults of one task, and how each is repaired.

use super::report::Severity;
use crate::model::Task;

/// How a fault is put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    Nothing,
    /// Leave the task until it is removed.
    Collect,
    /// Leave it to a person: somebody may have opened it on purpose.
    Close,
    /// Leave it: no command uses the path.
    Refuse,
    /// Move the whole directory of the task.
    SetTaskAside,
    /// Move the file in question.
    SetAside,
    /// Move the file in question and write response.json from task.json.
    ReplaceResponse,
    Remove,
    CompleteEvents,
    RewriteEvents,
    /// Move what is no file and write events.jsonl from task.json.
    ReplaceEvents,
    /// Move what is there and write request.md from task.json.
    RestoreRequest,
    WriteResponse,
    RenameResponse,
}

impl Repair {
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Nothing => "nothing can be done about it",
            Self::Collect => "`lanes gc` without --archive removes the task when its time has come",
            Self::Close => "chmod 700 closes it",
            Self::Refuse => "no command uses that path; an answer is printed and stays in the store",
            Self::SetTaskAside => "repair moves the task's directory to the quarantine",
            Self::SetAside => "repair moves it to the quarantine",
            Self::ReplaceResponse | Self::ReplaceEvents => {
                "repair moves it to the quarantine and writes it anew from task.json"
            }
            Self::RestoreRequest => "repair writes it anew from task.json",
            Self::Remove => "repair removes it",
            Self::CompleteEvents => "repair completes it from task.json",
            Self::RewriteEvents => "repair copies it to the quarantine and keeps the lines that are events",
            Self::WriteResponse => "repair writes it from task.json",
            Self::RenameResponse => "repair gives it its proper name",
        }
    }
}

/// One thing that is wrong with a task.
pub(crate) struct Fault {
    pub(super) code: &'static str,
    pub(super) severity: Severity,
    pub(crate) file: String,
    pub(super) message: String,
    pub(crate) repair: Repair,
}

/// What a look at a task's directory says.
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
