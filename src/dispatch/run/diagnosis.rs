//! Attributes a failed run to the task, or to the account and the vendor's service.
//!
//! A refusal by the vendor causes a cooldown, not a failure of the task. It is recognised, in this order, by the
//! vendor's codes for the end of the run and for the refused call, the text of its message, the HTTP status, an
//! event about limits and, without any of these, the exit code. Their meanings are data ([`VendorMessages`]).
//!
//! [`VendorMessages`]: crate::dispatch::vendor::VendorMessages

use super::evidence::RunEvidence;
use super::reset_time::{MessageContext, instant_in, reset_in};
use crate::dispatch::outcome::{AgentExit, ResetTime, VendorRefusal};
use crate::dispatch::output::status_in;
use crate::dispatch::vendor::{MessageMatch, MessageMeaning, MessageSource, RefusedCall};
use crate::model::CooldownCause;

/// Maximum length of a message; a longer text is not taken for one.
const MAX_MESSAGE_BYTES: usize = 1000;

/// Cause of a failed run.
#[derive(Clone, Debug)]
pub(crate) struct FailureDiagnosis {
    /// Meaning of the failure.
    pub cause: MessageMeaning,
    /// The vendor's refusal, if that is the cause.
    pub vendor_refusal: Option<VendorRefusal>,
}

/// Determines the cause of a failed run from `message`, whose source is `source`, and from all other evidence.
pub(crate) fn diagnose(run: &RunEvidence<'_>, message: &str, source: MessageSource) -> FailureDiagnosis {
    let vendor_messages = run.vendor_messages;
    let reason = run.report.result.as_ref().and_then(|result| result.reason.as_ref());
    let reasons = reason.into_iter().chain(&run.report.error_codes);
    if let Some(cause) = reasons.into_iter().find_map(|reason| vendor_messages.meaning_of_reason(reason)) {
        return FailureDiagnosis {
            cause,
            vendor_refusal: vendor_refusal(run, match_of(cause), None, message),
        };
    }
    let message = if message.len() <= MAX_MESSAGE_BYTES { message } else { "" };
    let status = run.report.api_error_status;
    let status = status.or_else(|| status_in(message).filter(|_| source == MessageSource::Service));
    let refusal = refusal(run);
    let by_status = || status.and_then(|status| vendor_messages.meaning_of_status(status)).map(match_of);
    let matched = vendor_messages.find_message(message, source).or_else(by_status);
    let matched = matched.or_else(|| refusal.as_ref().map(|refusal| refusal.message.clone()));
    let matched =
        matched.or_else(|| exit_cause(run).map(match_of)).unwrap_or(match_of(MessageMeaning::Error));
    FailureDiagnosis {
        cause: matched.meaning,
        vendor_refusal: vendor_refusal(run, matched, refusal, message),
    }
}

/// Returns the usage limit of the account if an event reports that the last call was refused, and the text of the
/// answer consists of the message only.
pub(crate) fn refused_answer(run: &RunEvidence<'_>, message: &str) -> Option<FailureDiagnosis> {
    let refusal = refusal(run)?;
    let matched = run
        .vendor_messages
        .find_message(message, MessageSource::Anyone)
        .filter(|_| message.len() <= MAX_MESSAGE_BYTES);
    let matched = matched.filter(|matched| matched.meaning == MessageMeaning::UsageLimit)?;
    Some(FailureDiagnosis {
        cause: matched.meaning,
        vendor_refusal: vendor_refusal(run, matched, Some(refusal), message),
    })
}

/// Returns the diagnosis for a program that requests a cooldown by its exit code.
pub(crate) fn requested_pause(run: &RunEvidence<'_>, message: &str) -> FailureDiagnosis {
    let matched = run
        .vendor_messages
        .find_message(message, MessageSource::Anyone)
        .filter(|matched| matched.meaning == MessageMeaning::UsageLimit);
    let matched = matched.unwrap_or(match_of(MessageMeaning::UsageLimit));
    FailureDiagnosis {
        cause: MessageMeaning::UsageLimit,
        vendor_refusal: vendor_refusal(run, matched, None, message),
    }
}

/// Returns the last refused call that the vendor reported, unless its limit has been reset since.
fn refusal(run: &RunEvidence<'_>) -> Option<RefusedCall> {
    let refusal = run.vendor_messages.last_refused_call(&run.report.limits)?;
    let time = refusal.reset.as_deref().and_then(instant_in);
    // A reset in the last 600 seconds may belong to this refusal.
    let is_over = time.is_some_and(|time| run.now.seconds_since(time) > 600.0);
    (!is_over).then_some(refusal)
}

fn match_of(cause: MessageMeaning) -> MessageMatch {
    MessageMatch { meaning: cause, model: None, within: None }
}

fn exit_cause(run: &RunEvidence<'_>) -> Option<MessageMeaning> {
    match run.exit {
        AgentExit::Code(code) if run.report.current_result().is_none() => {
            run.vendor_messages.meaning_of_exit(code)
        }
        _ => None,
    }
}

fn vendor_refusal(
    run: &RunEvidence<'_>,
    matched: MessageMatch,
    refusal: Option<RefusedCall>,
    message: &str,
) -> Option<VendorRefusal> {
    let cause = match matched.meaning {
        MessageMeaning::UsageLimit => CooldownCause::UsageLimit,
        MessageMeaning::Overloaded => CooldownCause::Overloaded,
        MessageMeaning::Account => CooldownCause::Account,
        MessageMeaning::Permanent | MessageMeaning::Budget | MessageMeaning::Error => return None,
    };
    let event = refusal.filter(|_| cause == CooldownCause::UsageLimit);
    let event_match = event.as_ref().map(|refusal| refusal.message.clone());
    let within = event_match.as_ref().and_then(|matched| matched.within).or(matched.within);
    let model = event_match.and_then(|matched| matched.model).or(matched.model);
    let context =
        MessageContext { now: run.now, zone: run.zone, within, resets: run.vendor_messages.reset_markers() };
    let exact = event.and_then(|refusal| context.exact(instant_in(&refusal.reset?)?));
    let reset: Option<ResetTime> = exact.or_else(|| reset_in(message, context));
    Some(VendorRefusal { cause, reset, model })
}
