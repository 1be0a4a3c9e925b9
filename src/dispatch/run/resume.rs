//! Decides whether an attempt resumes the conversation of an interrupted run, or of one that asked a question, instead
//! of starting anew.
//!
//! The work of an interrupted agent has been paid for. If the route says so (`resume_on`), the next attempt resumes
//! the conversation of the previous one. This is tried once for each attempt: if the conversation no longer exists, or
//! contains no work, the next run is a fresh one.

use super::context::{AgentRun, FinishedRun, RunEnd, RunFile, read_output, read_run_file};
use crate::Result;
use crate::dispatch::config::served_lane::ServedLane;
use crate::dispatch::outcome::{Interruption, NotStarted, RunOutcome};
use crate::dispatch::output::Baseline;
use crate::model::release_reason::ReleaseReason;
use crate::model::{Event, FailureClass, Task};
use crate::store::{AttemptDir, Store};

/// A conversation to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConversationToResume {
    /// Id of the conversation.
    pub session: String,
    /// Interruption that ended its last run.
    pub interruption: Interruption,
}

/// Returns the interruption of a task's last run according to the task's history, or `None` if the run ended by
/// itself.
pub(crate) fn last_interruption(events: &[Event]) -> Option<Interruption> {
    let mut interruption = None;
    for event in events {
        let text = |key: &str| event.data.get(key).and_then(|value| value.as_str());
        match event.kind.as_str() {
            // Taken over after the previous lease expired.
            "claimed" if text("previous_owner").is_some() => interruption = Some(Interruption::Lost),
            "asked" if !event.data.contains_key("kept_claim") => interruption = Some(Interruption::Answered),
            "released" => match (text("spent"), text("reason").unwrap_or_default()) {
                (Some("lost"), _) => interruption = Some(Interruption::Lost),
                (Some("timeout"), _) => interruption = Some(Interruption::Timeout),
                (Some(_), _) => interruption = None,
                (None, reason) => match ReleaseReason::from_message(reason) {
                    ReleaseReason::VendorRefusal => interruption = Some(Interruption::Refused),
                    ReleaseReason::DispatcherStopped => interruption = Some(Interruption::Lost),
                    // That claim did not start a run: the state before it remains.
                    ReleaseReason::Other => {}
                },
            },
            _ => {}
        }
    }
    interruption
}

/// Returns the conversation that the run under claim `before` is to continue, if the task's route and vendor
/// allow it.
///
/// # Errors
/// When the files of earlier attempts cannot be read.
pub(crate) fn conversation_to_resume(
    store: &Store,
    task: &Task,
    events: &[Event],
    served: &ServedLane,
    before: u64,
) -> Result<Option<ConversationToResume>> {
    let (route, vendor) = (&served.route, &served.vendor);
    let Some(interruption) = last_interruption(events)
        .filter(|why| *why == Interruption::Answered || route.resume_on.contains(why))
    else {
        return Ok(None);
    };
    if vendor.resume_args.is_none() {
        return Ok(None);
    }
    let earlier = store.spool().attempt_numbers(&task.id)?.into_iter().rev().filter(|fence| *fence < before);
    for fence in earlier {
        let Some(attempt) = store.spool().existing_attempt(&task.id, fence)? else { continue };
        let Some(run_file) = read_run_file(&attempt) else { continue };
        // The last run that was prepared. This vendor cannot continue another vendor's conversation.
        let session = if run_file.vendor == vendor.name { session_of(&attempt, &run_file)? } else { None };
        return Ok(session.map(|session| ConversationToResume { session, interruption }));
    }
    Ok(None)
}

/// Returns the conversation of a run if it contains any work; otherwise the agent may not even know the task.
///
/// # Errors
/// When the output of the run cannot be read.
fn session_of(attempt: &AttemptDir, run_file: &RunFile) -> Result<Option<String>> {
    if let Some(resumed) = run_file.conversation.resumed_id() {
        return Ok(Some(resumed.to_string()));
    }
    let Some(parser) = read_output(attempt, run_file)? else { return Ok(None) };
    let report = parser.finish(&Baseline::Fresh);
    let session = report.session_id.or_else(|| run_file.conversation.new_id().map(str::to_string));
    Ok(session.filter(|_| report.has_worked))
}

/// Returns whether a run could not continue its conversation: it no longer exists, is too long, or the agent started
/// another one. The task then starts anew.
pub(crate) fn is_refused(run: &FinishedRun, session: &str) -> bool {
    let AgentRun { outcome: RunOutcome::Failed(failure), report, .. } = (match &run.end {
        RunEnd::Ran(run) => run,
        // The arguments for the conversation may be the reason.
        RunEnd::NotStarted(reason) => return matches!(reason, NotStarted::Task(_)),
    }) else {
        return false;
    };
    let is_other = report.session_id.as_deref().is_some_and(|found| found != session);
    let is_final = matches!(failure.class, FailureClass::Error | FailureClass::Permanent);
    // An error of the service would affect a new conversation too.
    is_other || (is_final && !report.has_worked && report.api_error_status.is_none())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dispatch::outcome::RunFailure;
    use crate::dispatch::output::RunReport;
    use crate::dispatch::run::retry::PastAttempts;
    use crate::dispatch::testing::event;
    use crate::model::release_reason::{
        ACCOUNT_REASON, DISPATCHER_STOPPED, OVERLOADED_REASON, USAGE_LIMIT_REASON,
    };

    #[test]
    fn what_cut_the_last_run_short_is_read_from_the_history() {
        let [limit, busy_service, account] = [USAGE_LIMIT_REASON, OVERLOADED_REASON, ACCOUNT_REASON]
            .map(|words| format!(r#"{{"reason": "{words}: soon"}}"#));
        let stopped = format!(r#"{{"reason": "{DISPATCHER_STOPPED}"}}"#);
        let busy = r#"{"reason": "its conversation is being continued by another run"}"#;
        for (data, expected) in [
            (r#"{"spent": "timeout", "reason": "x"}"#, Some(Interruption::Timeout)),
            (r#"{"spent": "lost", "reason": "x"}"#, Some(Interruption::Lost)),
            (limit.as_str(), Some(Interruption::Refused)),
            (busy_service.as_str(), Some(Interruption::Refused)),
            (account.as_str(), Some(Interruption::Refused)),
            (stopped.as_str(), Some(Interruption::Lost)),
            (r#"{"spent": "error", "reason": "boom"}"#, None),
            (busy, None),
        ] {
            assert_eq!(
                last_interruption(&[event("claimed", "{}"), event("released", data)]),
                expected,
                "{data}"
            );
        }
        let asked = event("asked", r#"{"n": 1}"#);
        assert_eq!(last_interruption(std::slice::from_ref(&asked)), Some(Interruption::Answered));
        assert_eq!(last_interruption(&[event("asked", r#"{"n": 1, "kept_claim": true}"#)]), None);
        assert_eq!(last_interruption(&[asked, event("released", r#"{"spent": "error"}"#)]), None);
        let taken_over = event("claimed", r#"{"previous_owner": "x"}"#);
        assert_eq!(last_interruption(&[taken_over]), Some(Interruption::Lost));
        let timeout = event("released", r#"{"spent": "timeout"}"#);
        assert_eq!(
            last_interruption(&[timeout.clone(), event("released", busy)]),
            Some(Interruption::Timeout)
        );
        assert_eq!(last_interruption(&[timeout, event("released", r#"{"spent": "error"}"#)]), None);
    }

    #[test]
    fn a_conversation_is_refused_only_when_no_new_one_would_be() {
        let ended = |end| FinishedRun {
            end,
            duration: Duration::ZERO,
            past: PastAttempts::default(),
            worktree: None,
            proof: None,
        };
        let failed = |class, report: &RunReport| {
            let outcome = RunOutcome::Failed(RunFailure::new(class, "x"));
            ended(RunEnd::Ran(AgentRun { outcome, report: report.clone(), version: None }))
        };
        let own = RunReport { session_id: Some("s".to_string()), ..RunReport::default() };
        assert!(is_refused(&failed(FailureClass::Permanent, &RunReport::default()), "s"));
        assert!(is_refused(&failed(FailureClass::Error, &own), "s"));
        let other = RunReport { session_id: Some("t".to_string()), has_worked: true, ..RunReport::default() };
        assert!(is_refused(&failed(FailureClass::Permanent, &other), "s"));
        let worked = RunReport { has_worked: true, ..own.clone() };
        assert!(!is_refused(&failed(FailureClass::Error, &worked), "s"));
        let served = RunReport { api_error_status: Some(500), ..own.clone() };
        assert!(!is_refused(&failed(FailureClass::Error, &served), "s"));
        assert!(!is_refused(&failed(FailureClass::UsageLimit, &own), "s"));
        assert!(!is_refused(&failed(FailureClass::Timeout, &own), "s"));
        let not_started = |reason| ended(RunEnd::NotStarted(reason));
        assert!(is_refused(&not_started(NotStarted::permanent("too long")), "s"));
        assert!(!is_refused(&not_started(NotStarted::Busy), "s"));
    }
}
