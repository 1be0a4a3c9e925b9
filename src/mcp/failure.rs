//! Failures of tools and of tasks, by the kinds that models are shown.

use crate::error::{Error, ErrorKind};
use crate::model::{FailureClass, Recursion};

/// Why a tool did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToolFailure {
    /// A word for programs.
    pub kind: &'static str,
    /// What is wrong, in one line.
    pub what: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl ToolFailure {
    /// Makes a failure about arguments that are not valid.
    pub(super) fn invalid(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind: "invalid", what: what.into(), remedy: Some(remedy.into()) }
    }

    /// Makes the failure of a call that arrived while too many others were running.
    pub(super) fn too_many_calls() -> Self {
        let what = "too many calls are running".to_string();
        Self { kind: "busy", what, remedy: Some("wait for one of them, then repeat this one".to_string()) }
    }

    /// Makes the failure of a call that the end of the server cuts short.
    pub(super) fn server_is_ending() -> Self {
        Self { kind: "busy", what: "the server is ending".to_string(), remedy: None }
    }

    /// Returns the text for the model.
    pub(super) fn text(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("error ({}): {}. Do: {remedy}", self.kind, self.what),
            None => format!("error ({}): {}", self.kind, self.what),
        }
    }
}

impl From<Error> for ToolFailure {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Locked => "busy",
            kind => kind.code(),
        };
        Self { kind, what: error.message().to_string(), remedy: error.hint().map(str::to_string) }
    }
}

impl From<Recursion> for ToolFailure {
    fn from(recursion: Recursion) -> Self {
        Self { kind: "recursion", what: recursion.to_string(), remedy: Some(recursion.remedy().to_string()) }
    }
}

/// Returns the kind of a failed task.
pub(super) fn failure_kind(class: &FailureClass, has_denied_tools: bool) -> &'static str {
    match class {
        FailureClass::Timeout => "timeout",
        FailureClass::UsageLimit => "usage_limit",
        FailureClass::Cancelled => "cancelled",
        // No agent ran, or its answer did not count: denied tools explain none of these.
        FailureClass::Upstream => "upstream",
        FailureClass::Expired => "expired",
        FailureClass::Budget => "budget",
        FailureClass::Unverified => "unverified",
        _ if has_denied_tools => "permission",
        FailureClass::Error
        | FailureClass::Lost
        | FailureClass::Permanent
        | FailureClass::Dead
        | FailureClass::Other(_) => "cli_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_kind_and_what_to_do() {
        let error = Error::not_found("unknown task: x").with_hint("look for it");
        assert_eq!(ToolFailure::from(error).text(), "error (not_found): unknown task: x. Do: look for it");
        let locked = ToolFailure::from(Error::new(ErrorKind::Locked, "the store is locked"));
        assert_eq!(locked.text(), "error (busy): the store is locked");
    }

    #[test]
    fn denied_tools_explain_a_failure_that_has_no_other_reason() {
        assert_eq!(failure_kind(&FailureClass::Error, false), "cli_error");
        assert_eq!(failure_kind(&FailureClass::Error, true), "permission");
        assert_eq!(failure_kind(&FailureClass::Timeout, true), "timeout");
        assert_eq!(failure_kind(&FailureClass::Cancelled, false), "cancelled");
        assert_eq!(failure_kind(&FailureClass::Dead, false), "cli_error");
        for class in
            [FailureClass::Upstream, FailureClass::Expired, FailureClass::Budget, FailureClass::Unverified]
        {
            assert_eq!(failure_kind(&class, true), class.as_str());
        }
    }
}
