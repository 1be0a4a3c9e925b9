//! Attributes a failed run to the task, or to the account and the vendor's service.
//!
//! A refusal by the vendor causes a cooldown, not a failure of the task. It is recognised, in this order, by the
//! vendor's codes for the end of the run and for the refused call, the text of its notice, the HTTP status, an
//! event about limits and, without any of these, the exit code. Their meanings are data ([`Notices`]).
//!
//! [`Notices`]: crate::dispatch::vendor::Notices

use super::evidence::RunEvidence;
use super::reset_time::{NoticeContext, instant_in, reset_in};
use crate::dispatch::outcome::{AgentExit, ResetTime, VendorRefusal};
use crate::dispatch::output::status_in;
use crate::dispatch::vendor::{NoticeMatch, NoticeMeaning, NoticeSource, RefusedCall};
use crate::model::CooldownCause;

/// Maximum length of a notice; a longer text is not taken for one.
const MAX_NOTICE_BYTES: usize = 1000;

/// Cause of a failed run.
#[derive(Clone, Debug)]
pub(crate) struct FailureDiagnosis {
    /// Meaning of the failure.
    pub cause: NoticeMeaning,
    /// The vendor's refusal, if that is the cause.
    pub vendor_refusal: Option<VendorRefusal>,
}

/// Determines the cause of a failed run from `message`, whose source is `source`, and from all other evidence.
pub(crate) fn diagnose(run: &RunEvidence<'_>, message: &str, source: NoticeSource) -> FailureDiagnosis {
    let notices = run.notices;
    let reason = run.report.result.as_ref().and_then(|result| result.reason.as_ref());
    let reasons = reason.into_iter().chain(&run.report.error_codes);
    if let Some(cause) = reasons.into_iter().find_map(|reason| notices.meaning_of_reason(reason)) {
        return FailureDiagnosis {
            cause,
            vendor_refusal: vendor_refusal(run, match_of(cause), None, message),
        };
    }
    let message = if message.len() <= MAX_NOTICE_BYTES { message } else { "" };
    let status = run.report.api_error_status;
    let status = status.or_else(|| status_in(message).filter(|_| source == NoticeSource::Service));
    let refusal = refusal(run);
    let by_status = || status.and_then(|status| notices.meaning_of_status(status)).map(match_of);
    let matched = notices.find_notice(message, source).or_else(by_status);
    let matched = matched.or_else(|| refusal.as_ref().map(|refusal| refusal.notice.clone()));
    let matched = matched.or_else(|| exit_cause(run).map(match_of)).unwrap_or(match_of(NoticeMeaning::Error));
    FailureDiagnosis {
        cause: matched.meaning,
        vendor_refusal: vendor_refusal(run, matched, refusal, message),
    }
}

/// Returns the usage limit of the account if an event reports that the last call was refused, and the text of the
/// answer consists of the notice only.
pub(crate) fn refused_answer(run: &RunEvidence<'_>, message: &str) -> Option<FailureDiagnosis> {
    let refusal = refusal(run)?;
    let matched =
        run.notices.find_notice(message, NoticeSource::Anyone).filter(|_| message.len() <= MAX_NOTICE_BYTES);
    let matched = matched.filter(|matched| matched.meaning == NoticeMeaning::UsageLimit)?;
    Some(FailureDiagnosis {
        cause: matched.meaning,
        vendor_refusal: vendor_refusal(run, matched, Some(refusal), message),
    })
}

/// Returns the diagnosis for a program that requests a cooldown by its exit code.
pub(crate) fn requested_pause(run: &RunEvidence<'_>, message: &str) -> FailureDiagnosis {
    let matched = run
        .notices
        .find_notice(message, NoticeSource::Anyone)
        .filter(|matched| matched.meaning == NoticeMeaning::UsageLimit);
    let matched = matched.unwrap_or(match_of(NoticeMeaning::UsageLimit));
    FailureDiagnosis {
        cause: NoticeMeaning::UsageLimit,
        vendor_refusal: vendor_refusal(run, matched, None, message),
    }
}

/// Returns the last refused call that the vendor reported, unless its limit has been reset since.
fn refusal(run: &RunEvidence<'_>) -> Option<RefusedCall> {
    let refusal = run.notices.last_refused_call(&run.report.limits)?;
    let time = refusal.reset.as_deref().and_then(instant_in);
    // A reset in the last 600 seconds may belong to this refusal.
    let is_over = time.is_some_and(|time| run.now.seconds_since(time) > 600.0);
    (!is_over).then_some(refusal)
}

fn match_of(cause: NoticeMeaning) -> NoticeMatch {
    NoticeMatch { meaning: cause, model: None, within: None }
}

fn exit_cause(run: &RunEvidence<'_>) -> Option<NoticeMeaning> {
    match run.exit {
        AgentExit::Code(code) if run.report.current_result().is_none() => run.notices.meaning_of_exit(code),
        _ => None,
    }
}

fn vendor_refusal(
    run: &RunEvidence<'_>,
    matched: NoticeMatch,
    refusal: Option<RefusedCall>,
    message: &str,
) -> Option<VendorRefusal> {
    let cause = match matched.meaning {
        NoticeMeaning::UsageLimit => CooldownCause::UsageLimit,
        NoticeMeaning::Overloaded => CooldownCause::Overloaded,
        NoticeMeaning::Account => CooldownCause::Account,
        NoticeMeaning::Permanent | NoticeMeaning::Error => return None,
    };
    let event = refusal.filter(|_| cause == CooldownCause::UsageLimit);
    let event_match = event.as_ref().map(|refusal| refusal.notice.clone());
    let within = event_match.as_ref().and_then(|matched| matched.within).or(matched.within);
    let model = event_match.and_then(|matched| matched.model).or(matched.model);
    let context = NoticeContext { now: run.now, zone: run.zone, within, resets: run.notices.reset_markers() };
    let exact = event.and_then(|refusal| context.exact(instant_in(&refusal.reset?)?));
    let reset: Option<ResetTime> = exact.or_else(|| reset_in(message, context));
    Some(VendorRefusal { cause, reset, model })
}
