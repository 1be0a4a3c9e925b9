//! Classifies the outcome of a run from everything known about it, never from the exit code alone: agents exit
//! with 0 after an interrupt, and report failed runs as successes.

use super::diagnosis::{FailureDiagnosis, diagnose, refused_answer, requested_pause};
use super::evidence::{
    RunEvidence, agent_message, last_line, last_service_message, service_messages, stderr_reason, tail,
    with_detail,
};
use crate::dispatch::outcome::{AgentExit, RunAnswer, RunFailure, RunOutcome, StopReason};
use crate::dispatch::output::{
    self, AgentResult, BackgroundWork, ClosingStatus, ResultStatus, RunReport, one_line,
};
use crate::dispatch::vendor::{MessageMeaning, MessageSource};
use crate::model::release_reason::{ACCOUNT_REASON, OVERLOADED_REASON, USAGE_LIMIT_REASON};
use crate::model::{CooldownCause, FailureClass, duration};

/// Exit code of a program that requests a later retry (`EX_TEMPFAIL`).
pub(crate) const EXIT_TRY_LATER: i32 = 75;
/// Exit code of a program with a wrong configuration (`EX_CONFIG`).
pub(crate) const EXIT_MISCONFIGURED: i32 = 78;

/// Classifies a run; `wants_json` if the answer must be JSON.
pub fn classify(run: &RunEvidence<'_>, wants_json: bool) -> RunOutcome {
    match run.stopped {
        Some(reason @ (StopReason::Cancelled | StopReason::LeaseLost)) => {
            return RunOutcome::Stopped(reason);
        }
        // A complete result counts, however the process was ended.
        Some(reason @ StopReason::Shutdown) if !run.report.has_final_result() => {
            return RunOutcome::Stopped(reason);
        }
        _ => {}
    }
    if let Some(failure) = wrong_session(run) {
        return RunOutcome::Failed(failure);
    }
    let failure = if let Some(result) = run.report.current_result() {
        match result.status {
            ResultStatus::Success { .. } => failure_of_success(run),
            ResultStatus::Error => Some(reported_failure(run, result)),
        }
    } else if matches!(run.stopped, Some(StopReason::Timeout | StopReason::Silent)) {
        Some(timeout(run))
    } else if run.format.has_result_object() {
        Some(ended_without_result(run))
    } else {
        program_failure(run)
    };
    match failure {
        Some(failure) => RunOutcome::Failed(failure),
        None => RunOutcome::Completed(answer_of(run.report, wants_json)),
    }
}

fn answer_of(report: &RunReport, wants_json: bool) -> RunAnswer {
    let parsed = wants_json.then(|| match report.structured() {
        Some(value) => Ok(value.clone()),
        None => output::json_value(&report.text),
    });
    RunAnswer {
        verdict: output::verdict(&report.text),
        closing: ClosingStatus::with_unfinished_work(output::closing(&report.text), &report.unfinished_work),
        unfinished_work: report.unfinished_work.iter().map(BackgroundWork::describe).collect(),
        parsed,
        body: report.text.clone(),
    }
}

fn wrong_session(run: &RunEvidence<'_>) -> Option<RunFailure> {
    let wanted = run.resumed?;
    let found = run.report.session_id.as_deref()?;
    let is_wrong = wanted != found || run.stopped == Some(StopReason::WrongSession);
    is_wrong.then(|| {
        RunFailure::permanent(format!(
            "the agent was to continue conversation {} and started {} instead",
            one_line(wanted, 80),
            one_line(found, 80)
        ))
    })
}

/// Returns the failure of a run that reported success: its answer is a refusal by the vendor, or empty.
fn failure_of_success(run: &RunEvidence<'_>) -> Option<RunFailure> {
    let text = &run.report.text;
    // A limit may be presented as an ordinary answer; then an event reports it too.
    if let Some(diagnosis) = refused_answer(run, text.trim()) {
        return vendor_failure(&diagnosis, text);
    }
    text.trim().is_empty().then(|| {
        let message = "the agent ended its turn without an answer";
        RunFailure::new(FailureClass::Error, with_detail(message, run.stderr))
    })
}

/// Returns the failure of a run that reported an error.
fn reported_failure(run: &RunEvidence<'_>, result: &AgentResult) -> RunFailure {
    let report = run.report;
    let diagnosis = diagnosis(run);
    let reasons = [service_messages(run), one_line(run.stderr, 1000), agent_message(report)];
    let detail = reasons.into_iter().find(|reason| !reason.is_empty()).unwrap_or_default();
    let reason = result.reason.as_deref().unwrap_or("error");
    let message = match report.api_error_status {
        Some(status) => format!("the agent failed ({reason}, HTTP {status}): {detail}"),
        None => format!("the agent failed ({reason}): {detail}"),
    };
    vendor_failure(&diagnosis, &detail).unwrap_or_else(|| RunFailure::new(class_of(diagnosis.cause), message))
}

/// Diagnoses a failure by the service's message or, without one, by the end of standard error.
fn diagnosis(run: &RunEvidence<'_>) -> FailureDiagnosis {
    match last_service_message(run) {
        message if message.is_empty() => diagnose(run, &stderr_reason(run.stderr), MessageSource::Anyone),
        message => diagnose(run, &message, MessageSource::Service),
    }
}

/// Returns the failure of a run that its vendor refused, with the vendor's message.
fn vendor_failure(diagnosis: &FailureDiagnosis, detail: &str) -> Option<RunFailure> {
    let vendor_refusal = diagnosis.vendor_refusal.clone()?;
    let begins = match vendor_refusal.cause {
        CooldownCause::UsageLimit | CooldownCause::Person => USAGE_LIMIT_REASON,
        CooldownCause::Overloaded => OVERLOADED_REASON,
        CooldownCause::Account => ACCOUNT_REASON,
    };
    let message = with_detail(begins, detail);
    Some(RunFailure { class: class_of(diagnosis.cause), vendor_refusal: Some(vendor_refusal), message })
}

/// Returns the class of the failure if the task itself turns out to be the cause.
fn class_of(cause: MessageMeaning) -> FailureClass {
    match cause {
        MessageMeaning::UsageLimit => FailureClass::UsageLimit,
        MessageMeaning::Account | MessageMeaning::Permanent => FailureClass::Permanent,
        MessageMeaning::Budget => FailureClass::Budget,
        MessageMeaning::Overloaded | MessageMeaning::Error => FailureClass::Error,
    }
}

fn timeout(run: &RunEvidence<'_>) -> RunFailure {
    // The clock ran out while the service was refusing: that is the reason, not the work.
    let detail = match run.report.api_error_status {
        Some(status) => format!("the service kept answering HTTP {status} until the time was up"),
        None => "the service kept refusing until the time was up".to_string(),
    };
    if let Some(failure) = vendor_failure(&diagnose(run, "", MessageSource::Service), &detail) {
        return failure;
    }
    let is_silence = run.stopped == Some(StopReason::Silent);
    let message = match if is_silence { run.silence_timeout } else { run.timeout } {
        Some(limit) if is_silence => {
            let limit = duration::format_coarse(limit);
            format!("the agent was stopped: it printed nothing for {limit}; the limit is silence_timeout")
        }
        Some(limit) => {
            format!("the agent was stopped: it took longer than {}", duration::format_coarse(limit))
        }
        None => "the agent was stopped: it took too long".to_string(),
    };
    RunFailure::new(FailureClass::Timeout, message)
}

/// Returns the failure of a run that should have reported a result and did not.
fn ended_without_result(run: &RunEvidence<'_>) -> RunFailure {
    let diagnosis = diagnosis(run);
    let refused = match run.report.api_error_status {
        Some(status) if run.stopped == Some(StopReason::Refused) => {
            format!("the service answers HTTP {status}")
        }
        _ => String::new(),
    };
    let reason = format!("{} {} {refused}", service_messages(run), run.stderr);
    if let Some(failure) = vendor_failure(&diagnosis, &reason) {
        return failure;
    }
    let detail = format!("{} {}", agent_message(run.report), run.stderr);
    let garbage = match run.report.skipped_lines {
        0 => String::new(),
        count => format!(" ({count} unreadable lines)"),
    };
    let message = format!("the agent {} without a result{garbage}", describe_exit(run.exit));
    let class = if cannot_run(run.exit) { FailureClass::Permanent } else { class_of(diagnosis.cause) };
    RunFailure::new(class, with_detail(&message, &detail))
}

/// Returns the failure of a program whose output is the answer: the exit code decides, and an empty answer is a
/// failure. Only the last line of standard error may be a vendor message; earlier lines may contain anything.
fn program_failure(run: &RunEvidence<'_>) -> Option<RunFailure> {
    let last = last_line(run.stderr);
    let class = match run.exit {
        AgentExit::Code(0) if run.report.text.trim().is_empty() => FailureClass::Error,
        AgentExit::Code(0) => return None,
        AgentExit::Code(EXIT_TRY_LATER) => {
            let detail = if last.is_empty() { tail(&run.report.text) } else { last };
            return vendor_failure(&requested_pause(run, detail), detail);
        }
        exit if cannot_run(exit) => FailureClass::Permanent,
        _ => match diagnose(run, last, MessageSource::Anyone) {
            limit if limit.cause == MessageMeaning::UsageLimit => return vendor_failure(&limit, last),
            _ => FailureClass::Error,
        },
    };
    let message = match run.exit {
        AgentExit::Code(0) => "the program printed nothing".to_string(),
        exit => format!("the program {}", describe_exit(exit)),
    };
    // A program may print the reason on standard output.
    let detail = if run.stderr.trim().is_empty() { tail(&run.report.text) } else { run.stderr };
    Some(RunFailure::new(class, with_detail(&message, detail)))
}

/// Returns whether another attempt would end in the same way: the program says that its configuration is wrong, or a
/// shell wrapper could not start what it wraps (126 and 127).
fn cannot_run(exit: AgentExit) -> bool {
    matches!(exit, AgentExit::Code(EXIT_MISCONFIGURED | 126 | 127))
}

fn describe_exit(exit: AgentExit) -> String {
    match exit {
        AgentExit::Code(code) => format!("exited with code {code}"),
        AgentExit::Signal(signal) => format!("was killed by signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::dispatch::outcome::ResetTime;
    use crate::dispatch::output::Format;
    use crate::dispatch::vendor::{VendorMessages, Vendors};
    use crate::model::{Time, Verdict};

    /// Returns the messages of the vendor with this format.
    fn vendor_messages(format: Format) -> VendorMessages {
        let vendors = Vendors::built_in().expect("built-in profiles");
        let with_format =
            vendors.names().find(|name| vendors.get(name).is_ok_and(|one| one.format == format));
        match with_format {
            Some(name) => (*vendors.get(name).expect("a vendor").messages).clone(),
            None => (*vendors.common_messages()).clone(),
        }
    }

    fn complete(text: &str) -> RunReport {
        RunReport { result: Some(AgentResult::success(None)), text: text.to_string(), ..RunReport::default() }
    }

    fn failed(text: &str, status: Option<u16>, reason: &str) -> RunReport {
        RunReport {
            result: Some(AgentResult::error(Some(reason.to_string()))),
            api_error_status: status,
            ..complete(text)
        }
    }

    fn outcome(report: &RunReport, change: impl FnOnce(&mut RunEvidence<'_>)) -> RunOutcome {
        let mut run = RunEvidence {
            report,
            format: Format::ClaudeStream,
            exit: AgentExit::Code(0),
            stopped: None,
            stderr: "",
            resumed: None,
            timeout: Some(Duration::from_secs(900)),
            silence_timeout: Some(Duration::from_secs(1800)),
            now: Time::parse("2026-11-21T12:00:00Z").expect("a time"),
            vendor_messages: &VendorMessages::default(),
            zone: &TimeZone::UTC,
        };
        change(&mut run);
        classify(&RunEvidence { vendor_messages: &vendor_messages(run.format), ..run }, false)
    }

    fn failure(
        report: &RunReport,
        change: impl FnOnce(&mut RunEvidence<'_>),
    ) -> (String, Option<String>, String) {
        match outcome(report, change) {
            RunOutcome::Failed(failure) => (
                failure.class.as_str().to_string(),
                failure.vendor_refusal.and_then(|vendor_refusal| vendor_refusal.reset).map(
                    |reset| match reset {
                        ResetTime::Exact(time) | ResetTime::Clock(time) => {
                            time.to_string()[11..16].to_string()
                        }
                        ResetTime::Past => "passed".to_string(),
                    },
                ),
                failure.message,
            ),
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    #[test]
    fn a_result_decides_not_the_exit_code() {
        let report = complete("all good\nVERDICT: accept\nSTATUS: partial");
        for exit in [AgentExit::Code(0), AgentExit::Code(1), AgentExit::Signal(15)] {
            let RunOutcome::Completed(answer) = outcome(&report, |run| run.exit = exit) else {
                panic!("a result was reported");
            };
            assert_eq!(answer.body, report.text);
            assert_eq!(answer.verdict, Some(Verdict::Accept));
            assert_eq!(answer.closing, Some(ClosingStatus::Partial));
        }
        let (class, _, message) = failure(&RunReport::default(), |_| {});
        assert_eq!(class, "error");
        assert_eq!(message, "the agent exited with code 0 without a result");
        for (code, class) in [(1, "error"), (78, "permanent"), (126, "permanent"), (127, "permanent")] {
            assert_eq!(
                failure(&RunReport::default(), |run| run.exit = AgentExit::Code(code)).0,
                class,
                "{code}"
            );
        }
    }

    #[test]
    fn success_may_be_an_error() {
        let (class, _, message) = failure(&failed("API Error: 500", Some(500), "api_error"), |_| {});
        assert_eq!(class, "error");
        assert_eq!(message, "the agent failed (api_error, HTTP 500): API Error: 500");
    }

    #[test]
    fn a_result_that_arrived_survives_timeout_and_shutdown_but_not_cancel() {
        let report = complete("done");
        for reason in [StopReason::Timeout, StopReason::Shutdown, StopReason::Lingering] {
            let outcome = outcome(&report, |run| run.stopped = Some(reason));
            assert!(matches!(outcome, RunOutcome::Completed(_)), "{reason:?}");
        }
        for reason in [StopReason::Cancelled, StopReason::LeaseLost] {
            assert_eq!(outcome(&report, |run| run.stopped = Some(reason)), RunOutcome::Stopped(reason));
        }
        let unfinished = RunReport::default();
        let shutdown = outcome(&unfinished, |run| run.stopped = Some(StopReason::Shutdown));
        assert_eq!(shutdown, RunOutcome::Stopped(StopReason::Shutdown));
        let (class, _, message) = failure(&unfinished, |run| run.stopped = Some(StopReason::Timeout));
        assert_eq!(class, "timeout");
        assert_eq!(message, "the agent was stopped: it took longer than 15m");
        let (class, _, message) = failure(&unfinished, |run| run.stopped = Some(StopReason::Silent));
        assert_eq!(class, "timeout");
        assert!(message.starts_with("the agent was stopped: it printed nothing for 30m; the limit is"));
    }

    #[test]
    fn usage_limits_pause_until_the_named_time() {
        let report = failed("You've hit your limit · resets 3pm", None, "api_error");
        let (class, until, _) = failure(&report, |_| {});
        assert_eq!((class.as_str(), until.as_deref()), ("usage_limit", Some("15:00")));
        let (class, until, _) = failure(&failed("API Error", Some(429), "api_error"), |_| {});
        assert_eq!((class.as_str(), until), ("usage_limit", None));
        // An answer about usage limits is an answer, whatever it begins with.
        for essay in ["You've hit your usage limit, try again in 2 hours.", "usage limit reached|1795269600"]
        {
            assert!(matches!(outcome(&complete(essay), |_| {}), RunOutcome::Completed(_)), "{essay}");
            // The disguise as an ordinary answer, of a call that was refused.
            let mut refused = complete(essay);
            let info = r#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1795269600}}"#;
            refused.add_limit(&serde_json::from_str(info).expect("JSON"));
            let (class, until, _) = failure(&refused, |_| {});
            assert_eq!((class.as_str(), until.as_deref()), ("usage_limit", Some("14:00")));
            refused.text = "I documented how limits are handled.".to_string();
            assert!(matches!(outcome(&refused, |_| {}), RunOutcome::Completed(_)));
        }
        // The clock ran out during retries.
        let retrying = RunReport { api_error_status: Some(429), ..RunReport::default() };
        let (class, _, _) = failure(&retrying, |run| run.stopped = Some(StopReason::Timeout));
        assert_eq!(class, "usage_limit");
    }

    #[test]
    fn what_cannot_improve_is_permanent() {
        for report in [
            failed("Not logged in · Please run /login", None, "completed"),
            failed("x", Some(401), "api_error"),
            failed("Prompt is too long", None, "blocking_limit"),
        ] {
            assert_eq!(failure(&report, |_| {}).0, "permanent", "{report:?}");
        }
        let too_expensive = failed("x", None, "budget_exhausted");
        assert_eq!(failure(&too_expensive, |_| {}).0, "budget");
        let nothing = RunReport::default();
        let (class, _, message) = failure(&nothing, |run| {
            run.exit = AgentExit::Code(1);
            run.stderr = "No conversation found with session ID: 1234\n";
        });
        assert_eq!(class, "permanent");
        assert!(message.ends_with("without a result: No conversation found with session ID: 1234"));
        let (class, ..) = failure(&nothing, |run| {
            run.format = Format::CodexJsonl;
            run.exit = AgentExit::Code(2);
        });
        assert_eq!(class, "permanent");
    }

    #[test]
    fn the_words_of_the_model_are_not_those_of_its_service() {
        let last_service_message =
            "I raise the quota; not logged in users hit your limit, try again in 10 minutes";
        for format in [Format::CodexJsonl, Format::GeminiStream, Format::OpencodeJson] {
            let crashed = RunReport { text: last_service_message.to_string(), ..RunReport::default() };
            let (class, until, message) = failure(&crashed, |run| {
                run.format = format;
                run.exit = AgentExit::Code(1);
            });
            assert_eq!((class.as_str(), until), ("error", None), "{format:?}");
            assert!(message.contains(last_service_message), "{message}");
            let (class, ..) =
                failure(&failed(last_service_message, None, "error"), |run| run.format = format);
            assert_eq!(class, "error", "{format:?}");
            let (class, until, _) = failure(&crashed, |run| {
                run.format = format;
                run.stderr = "usage limit reached";
            });
            assert_eq!((class.as_str(), until), ("usage_limit", None), "{format:?}");
            let mut reported = crashed.clone();
            reported.add_error("Quota exceeded, try again in 20 minutes");
            let (class, until, _) = failure(&reported, |run| run.format = format);
            assert_eq!((class.as_str(), until.as_deref()), ("usage_limit", Some("12:20")), "{format:?}");
        }
    }

    #[test]
    fn another_conversation_is_refused() {
        let mut report = complete("done");
        report.session_id = Some("b".to_string());
        let (class, _, message) = failure(&report, |run| run.resumed = Some("a"));
        assert_eq!(class, "permanent");
        assert!(message.contains("continue conversation a and started b"), "{message}");
        let same = outcome(&report, |run| run.resumed = Some("b"));
        assert!(matches!(same, RunOutcome::Completed(_)));
    }

    #[test]
    fn programs_are_judged_by_their_exit_code() {
        let mut report = RunReport::default();
        let text = |run: &mut RunEvidence<'_>, exit| {
            run.format = Format::Text;
            run.exit = exit;
        };
        let (class, _, message) = failure(&report, |run| text(run, AgentExit::Code(0)));
        assert_eq!((class.as_str(), message.as_str()), ("error", "the program printed nothing"));
        report.text = "answer".to_string();
        assert!(matches!(outcome(&report, |run| text(run, AgentExit::Code(0))), RunOutcome::Completed(_)));
        let (class, _, message) = failure(&report, |run| text(run, AgentExit::Code(3)));
        assert_eq!((class.as_str(), message.as_str()), ("error", "the program exited with code 3: answer"));
        let (class, until, _) = failure(&report, |run| {
            text(run, AgentExit::Code(EXIT_TRY_LATER));
            run.stderr = "try again in 10 minutes";
        });
        assert_eq!((class.as_str(), until.as_deref()), ("usage_limit", Some("12:10")));
        for code in [78, 126, 127] {
            assert_eq!(failure(&report, |run| text(run, AgentExit::Code(code))).0, "permanent", "{code}");
        }
        assert_eq!(failure(&report, |run| text(run, AgentExit::Signal(9))).0, "error");
    }

    #[test]
    fn json_answers_are_parsed_and_failing_to_parse_fails_nothing() {
        let report = complete("```json\n{\"n\": 5}\n```");
        let answer = answer_of(&report, true);
        assert_eq!(answer.parsed.expect("asked for").expect("JSON")["n"], 5);
        assert!(answer_of(&complete("no"), true).parsed.expect("asked for").is_err());
        assert_eq!(answer_of(&report, false).parsed, None);
    }
}
