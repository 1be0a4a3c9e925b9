//! Maps the outcome of a run to its report and its event.

use std::time::Duration;

use serde_json::Value;

use super::{FollowUp, Report, ReportAction};
use crate::dispatch::config::route::Route;
use crate::dispatch::event::DispatchEvent;
use crate::dispatch::outcome::{NotStarted, RunAnswer, RunFailure, RunOutcome, StopReason};
use crate::dispatch::output::{ClosingStatus, Tokens, Usage, without_closing_lines};
use crate::dispatch::run::context::{AgentRun, FinishedRun, RunEnd};
use crate::dispatch::run::retry::{RetryDecision, after_failure};
use crate::dispatch::usage_record::{RecordedOutcome, UsageRecord};
use crate::model::json::Object;
use crate::model::question::{MAX_QUESTION, has_room};
use crate::model::release_reason::DISPATCHER_STOPPED;
use crate::model::task::object;
use crate::model::{ClaimToken, FailureClass, Owner, RunId, Status, Task, Time, Verdict};

/// Delay of a task whose conversation is in use by another run.
const BUSY_DELAY: Duration = Duration::from_secs(5);
/// Delay of a task whose agent could not be started because of an error of the store.
const STORE_ERROR_DELAY: Duration = Duration::from_secs(10);

/// The run to report, and everything the report depends on.
pub(crate) struct ReportInput<'a> {
    /// The task as it is now.
    pub task: &'a Task,
    /// Token of the claim.
    pub token: &'a ClaimToken,
    /// Owner of the claim.
    pub owner: &'a Owner,
    /// Route of the lane.
    pub route: &'a Route,
    /// Name of the vendor.
    pub vendor: &'a str,
    /// Id of the run.
    pub run: &'a RunId,
    /// Result of the run.
    pub result: &'a FinishedRun,
    /// Whether the task itself is the cause of its vendor's refusals.
    pub is_task_the_cause: bool,
    /// The current time.
    pub now: Time,
    /// Random number that spreads delays.
    pub random: u64,
}

/// Builds the report of a run and its event. Returns `None` if nothing may be reported because the claim is
/// over.
pub(crate) fn build_report(run: &ReportInput<'_>) -> Option<(Report, DispatchEvent)> {
    let (action, event, outcome) = match &run.result.end {
        RunEnd::Ran(AgentRun { outcome: RunOutcome::Completed(answer), .. }) => {
            let (action, event) = answered(run, answer);
            let outcome = match action {
                ReportAction::Ask { .. } => RecordedOutcome::Asked,
                _ => RecordedOutcome::Completed,
            };
            (action, event, outcome)
        }
        RunEnd::Ran(AgentRun { outcome: RunOutcome::Failed(failure), .. })
        | RunEnd::NotStarted(NotStarted::Task(failure)) => failed(run, failure),
        RunEnd::Ran(AgentRun { outcome: RunOutcome::Stopped(reason), .. })
        | RunEnd::NotStarted(NotStarted::Stopped(reason)) => match reason {
            StopReason::Shutdown => returned(run, DISPATCHER_STOPPED, Duration::ZERO),
            _ => return None,
        },
        RunEnd::NotStarted(NotStarted::LaneUnready(missing)) => returned(run, missing, Duration::ZERO),
        RunEnd::NotStarted(NotStarted::StoreFailed(error)) => {
            returned(run, &format!("its agent was not started: {error}"), STORE_ERROR_DELAY)
        }
        RunEnd::NotStarted(NotStarted::Busy) => {
            returned(run, "its conversation is being continued by another run", BUSY_DELAY)
        }
    };
    let closing = run.result.answer().and_then(|answer| answer.closing);
    let follow_up = match &action {
        ReportAction::Complete { verdict, .. } => after_answer(run, closing, *verdict),
        ReportAction::Fail { .. } => {
            after_failure_rule(run).or_else(|| run.route.dead_letter_lane.as_ref().map(FollowUp::dead_letter))
        }
        ReportAction::Release { .. } | ReportAction::Ask { .. } | ReportAction::Nothing => None,
    };
    let report = Report {
        task_id: run.task.id.clone(),
        fence: run.task.fence,
        token: run.token.clone(),
        owner: run.owner.clone(),
        action,
        follow_up,
        record: record(run, outcome),
    };
    Some((report, event))
}

/// Builds the report of a run whose agent answered the task itself, with the status and the verdict of that answer:
/// only the usage log and the follow-up task remain.
pub(crate) fn answered_by_agent(
    run: &ReportInput<'_>,
    closing: Option<ClosingStatus>,
    verdict: Option<Verdict>,
) -> Report {
    let outcome = match run.task.status {
        Status::Completed { .. } => RecordedOutcome::Completed,
        _ => RecordedOutcome::Failed(FailureClass::Error),
    };
    Report {
        task_id: run.task.id.clone(),
        fence: run.task.fence,
        token: run.token.clone(),
        owner: run.owner.clone(),
        action: ReportAction::Nothing,
        follow_up: match run.task.status {
            Status::Completed { .. } => after_answer(run, closing, verdict),
            _ => after_failure_rule(run),
        },
        record: record(run, outcome),
    }
}

/// Builds the run's record for the usage log.
pub(crate) fn record(run: &ReportInput<'_>, outcome: RecordedOutcome) -> UsageRecord {
    let times = (run.now - run.result.duration, run.now);
    let record = UsageRecord {
        duration: run.result.duration.into(),
        verified: run.result.proof.map(|proof| proof.is_verified),
        ..UsageRecord::new(run.task, run.run, run.vendor, outcome, times)
    };
    match run.result.agent_run() {
        Some(agent_run) => UsageRecord {
            cli_version: version(agent_run),
            session_id: agent_run.report.session_id.clone(),
            ..record
        }
        .with_usage(&agent_run.report),
        None => UsageRecord { not_started: true, ..record },
    }
}

fn version(agent_run: &AgentRun) -> Option<String> {
    agent_run.report.cli_version.clone().or_else(|| agent_run.version.clone())
}

/// Returns the follow-up task of an answer with the status `closing`.
fn after_answer(
    run: &ReportInput<'_>,
    closing: Option<ClosingStatus>,
    verdict: Option<Verdict>,
) -> Option<FollowUp> {
    let rules = &run.route.follow_ups;
    // An agent may have answered its task before anything was verified.
    let is_verified = run.result.proof.is_none_or(|proof| proof.is_verified);
    let rule = rules.after_answer(closing, verdict, is_verified)?;
    Some(FollowUp::by_rule(rule, true, rules.max_hops))
}

/// Returns the follow-up task of a failure, if a rule asks for one.
fn after_failure_rule(run: &ReportInput<'_>) -> Option<FollowUp> {
    let rules = &run.route.follow_ups;
    rules.on_failure.as_ref().map(|rule| FollowUp::by_rule(rule, false, rules.max_hops))
}

/// Returns a task whose attempt does not count.
fn returned(
    run: &ReportInput<'_>,
    reason: &str,
    delay: Duration,
) -> (ReportAction, DispatchEvent, RecordedOutcome) {
    let event = DispatchEvent::Returned { task_id: run.task.id.clone(), message: reason.to_string() };
    (release(reason, delay, None), event, RecordedOutcome::Withheld)
}

fn release(reason: &str, delay: Duration, spent: Option<FailureClass>) -> ReportAction {
    ReportAction::Release { reason: reason.to_string(), delay, spent }
}

/// Returns the action and the event for the answer of an agent: it answers the task, or is a question about it.
fn answered(run: &ReportInput<'_>, answer: &RunAnswer) -> (ReportAction, DispatchEvent) {
    let task_id = run.task.id.clone();
    if let Some(question) = question_of(run.task, answer) {
        let event = DispatchEvent::asks(task_id, &question);
        return (ReportAction::Ask { question }, event);
    }
    let event = DispatchEvent::Answered {
        task_id,
        duration: run.result.duration,
        cost_usd: run.result.cost_usd(),
        outcome: answer.closing,
    };
    (respond(run, answer), event)
}

/// Returns the question that an answer is. An answer that is too long for one is cut at its beginning; a task that
/// cannot have more questions is answered with it.
fn question_of(task: &Task, answer: &RunAnswer) -> Option<String> {
    if answer.closing != Some(ClosingStatus::NeedsInput) {
        return None;
    }
    let text = without_closing_lines(&answer.body).trim();
    let start =
        (text.len().saturating_sub(MAX_QUESTION)..=text.len()).find(|at| text.is_char_boundary(*at))?;
    let question = text.get(start..).filter(|question| !question.is_empty())?;
    has_room(&task.questions, question).then(|| question.to_string())
}

fn respond(run: &ReportInput<'_>, answer: &RunAnswer) -> ReportAction {
    let mut metadata = metadata(run);
    if let Some(closing) = answer.closing {
        metadata.insert("outcome".to_string(), closing.as_str().into());
    }
    if !answer.unfinished_work.is_empty() {
        metadata.insert("background_cut_short".to_string(), answer.unfinished_work.clone().into());
    }
    match &answer.parsed {
        Some(Ok(value)) => drop(metadata.insert("parsed_result".to_string(), value.clone())),
        Some(Err(reason)) => drop(metadata.insert("parse_error".to_string(), reason.clone().into())),
        None => {}
    }
    ReportAction::Complete { body: answer.body.clone(), verdict: answer.verdict, metadata }
}

fn failed(run: &ReportInput<'_>, failure: &RunFailure) -> (ReportAction, DispatchEvent, RecordedOutcome) {
    let (task_id, message) = (run.task.id.clone(), failure.message.clone());
    let outcome = match (&failure.vendor_refusal, &failure.class) {
        (Some(vendor_refusal), _) => RecordedOutcome::Refused(vendor_refusal.cause),
        (
            None,
            class @ (FailureClass::Timeout
            | FailureClass::Permanent
            | FailureClass::Unverified
            | FailureClass::Budget),
        ) => RecordedOutcome::Failed(class.clone()),
        (None, _) => RecordedOutcome::Failed(FailureClass::Error),
    };
    let (action, event) =
        match after_failure(failure, run.result.past, run.is_task_the_cause, run.task, run.route, run.random)
        {
            RetryDecision::ReturnUnspent(delay) => {
                (release(&message, delay, None), DispatchEvent::Returned { task_id, message })
            }
            RetryDecision::Retry(delay) => {
                let spent = Some(failure.class.clone());
                (release(&message, delay, spent), DispatchEvent::Retry { task_id, message, delay })
            }
            RetryDecision::GiveUp(class) => {
                let body = match run.result.past.failures {
                    0 => message,
                    earlier => format!("{message} (after {} failed attempts)", earlier + 1),
                };
                let action = ReportAction::Fail { class, body: body.clone(), metadata: metadata(run) };
                (action, DispatchEvent::Failed { task_id, message: body })
            }
        };
    (action, event, outcome)
}

/// Returns the metadata of the response: what is known about the run, without unknown figures.
fn metadata(run: &ReportInput<'_>) -> Object {
    let mut metadata = object([
        ("vendor", run.vendor.into()),
        ("duration_seconds", run.result.duration.as_secs_f64().into()),
        ("attempt", run.task.attempt.into()),
    ]);
    if let Some(agent_run) = run.result.agent_run() {
        metadata.extend(run_metadata(agent_run));
    }
    if let Some(proof) = run.result.proof {
        metadata.insert("verified".to_string(), proof.is_verified.into());
        metadata.insert("verify_seconds".to_string(), proof.duration.as_secs_f64().into());
        metadata.insert("verify_rounds".to_string(), proof.rounds.into());
    }
    metadata.extend(run.result.worktree.clone().map(|worktree| ("worktree".to_string(), worktree.into())));
    metadata
}

fn run_metadata(agent_run: &AgentRun) -> Object {
    let report = &agent_run.report;
    let least = report.usage.lower_bound();
    let list = |texts: Vec<String>| if texts.is_empty() { Value::Null } else { texts.into() };
    object([
        ("model", report.models.first().cloned().into()),
        ("models", if report.models.len() > 1 { report.models.clone().into() } else { Value::Null }),
        ("cli_version", version(agent_run).into()),
        ("session_id", report.session_id.clone().into()),
        ("cost_usd", report.cost_usd().into()),
        ("cost_source", report.usage.cost().map(|cost| cost.source.as_str()).into()),
        ("tokens", tokens(report.usage.tokens())),
        ("model_usage", model_usage(report.usage.by_model())),
        ("at_least_cost_usd", least.and_then(|least| least.cost_usd).into()),
        ("at_least_tokens", tokens(least.map(|least| least.tokens))),
        ("num_turns", report.turns.into()),
        ("denied_tools", list(report.denials.iter().map(|denial| denial.call.clone()).collect())),
        ("truncated", if report.is_text_truncated { true.into() } else { Value::Null }),
    ])
}

fn tokens(tokens: Option<Tokens>) -> Value {
    serde_json::to_value(tokens).unwrap_or(Value::Null)
}

fn model_usage(usage: Option<&Usage>) -> Value {
    serde_json::to_value(usage).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dispatch::config::follow_ups::{FollowUpRule, FollowUpRules};
    use crate::dispatch::outcome::VendorRefusal;
    use crate::dispatch::output::{Cost, ReportedUsage, RunReport, RunUsage};
    use crate::dispatch::run::retry::PastAttempts;
    use crate::dispatch::testing;
    use crate::model::{CooldownCause, LaneName};

    fn to_review() -> FollowUpRules {
        let on_success = Some(FollowUpRule { lane: LaneName::stored("review"), prompt: None });
        FollowUpRules { on_success, ..FollowUpRules::default() }
    }

    fn report_of(outcome: RunOutcome, route: &Route) -> Option<(Report, DispatchEvent)> {
        let report = RunReport {
            usage: RunUsage::Reported(ReportedUsage {
                cost: Some(Cost::reported(0.5)),
                ..ReportedUsage::default()
            }),
            models: vec!["m".to_string()],
            ..RunReport::default()
        };
        report_of_end(RunEnd::Ran(AgentRun { outcome, report, version: Some("1.0".to_string()) }), route)
    }

    fn report_of_end(end: RunEnd, route: &Route) -> Option<(Report, DispatchEvent)> {
        let task = testing::task();
        let result = FinishedRun {
            end,
            duration: Duration::from_secs(5),
            past: PastAttempts::default(),
            worktree: None,
            proof: None,
        };
        build_report(&ReportInput {
            task: &task,
            token: &ClaimToken::from_text("t"),
            owner: &Owner::stored("me"),
            route,
            vendor: "claude",
            run: &RunId::from_random(1),
            result: &result,
            is_task_the_cause: false,
            now: task.created_at,
            random: 0,
        })
    }

    fn answer(body: &str) -> RunOutcome {
        RunOutcome::Completed(RunAnswer {
            body: body.to_string(),
            verdict: None,
            closing: None,
            unfinished_work: Vec::new(),
            parsed: None,
        })
    }

    #[test]
    fn an_answer_carries_what_is_known_and_names_the_next_lane() {
        let route = Route { follow_ups: to_review(), ..Route::with_defaults(LaneName::stored("work")) };
        let (report, event) = report_of(answer("done"), &route).expect("a report");
        let ReportAction::Complete { body, metadata, .. } = &report.action else {
            panic!("{:?}", report.action);
        };
        assert_eq!(body, "done");
        assert_eq!(metadata["cost_usd"], 0.5);
        assert_eq!(metadata["cli_version"], "1.0");
        assert!(!metadata.contains_key("tokens") && !metadata.contains_key("denied_tools"));
        assert_eq!(report.follow_up, to_review().on_success.map(|rule| FollowUp::by_rule(&rule, true, 10)));
        assert_eq!(report.record.outcome, RecordedOutcome::Completed);
        assert_eq!(event.kind(), "answered");
        let text = serde_json::to_string(&report).expect("JSON");
        let back: Report = serde_json::from_str(&text).expect("readable");
        assert_eq!(back, report);
    }

    #[test]
    fn only_what_is_done_goes_on_to_the_next_lane() {
        let route = Route { follow_ups: to_review(), ..Route::with_defaults(LaneName::stored("work")) };
        let next = |closing| {
            let answer = RunAnswer {
                body: "x".to_string(),
                verdict: None,
                closing,
                unfinished_work: vec!["background agent was stopped".to_string()],
                parsed: None,
            };
            let (report, event) = report_of(RunOutcome::Completed(answer), &route).expect("a report");
            let ReportAction::Complete { metadata, .. } = report.action else {
                panic!("{:?}", report.action)
            };
            assert_eq!(metadata["background_cut_short"][0], "background agent was stopped");
            let object = event.to_object();
            assert_eq!(object.get("outcome").and_then(Value::as_str), closing.map(ClosingStatus::as_str));
            report.follow_up.map(|next| next.lane)
        };
        assert_eq!(next(None).as_ref().map(LaneName::as_str), Some("review"));
        assert_eq!(next(Some(ClosingStatus::Done)).as_ref().map(LaneName::as_str), Some("review"));
        assert_eq!(next(Some(ClosingStatus::Partial)), None);
        assert_eq!(next(Some(ClosingStatus::Blocked)), None);
    }

    #[test]
    fn a_question_is_asked_and_an_empty_one_is_an_answer() {
        let route = Route::with_defaults(LaneName::stored("work"));
        let action = |body: &str| {
            let answer = RunAnswer {
                body: body.to_string(),
                verdict: None,
                closing: Some(ClosingStatus::NeedsInput),
                unfinished_work: Vec::new(),
                parsed: None,
            };
            report_of(RunOutcome::Completed(answer), &route).expect("a report").0.action
        };
        let asked = ReportAction::Ask { question: "Which one?".to_string() };
        assert_eq!(action("Which one?\n\nSTATUS: needs_input\n"), asked);
        assert!(matches!(action("STATUS: needs_input"), ReportAction::Complete { .. }));
        let ReportAction::Ask { question } = action(&format!("{}?\nSTATUS: needs_input", "ä".repeat(20_000)))
        else {
            panic!("no question");
        };
        assert!(question.len() <= MAX_QUESTION && question.ends_with("ä?"));
    }

    #[test]
    fn failures_are_retried_paused_or_final() {
        let failure = |class| RunOutcome::Failed(RunFailure::new(class, "boom"));
        let route = Route {
            max_retries: 1,
            dead_letter_lane: Some(LaneName::stored("attic")),
            ..Route::with_defaults(LaneName::stored("work"))
        };
        let (report, _) = report_of(failure(FailureClass::Error), &route).expect("a report");
        assert!(matches!(report.action, ReportAction::Release { spent: Some(_), .. }), "{:?}", report.action);
        assert_eq!(report.follow_up, None);
        let vendor_refusal = VendorRefusal { cause: CooldownCause::Overloaded, reset: None, model: None };
        let halted = RunFailure {
            vendor_refusal: Some(vendor_refusal),
            ..RunFailure::new(FailureClass::Error, "busy")
        };
        let (report, _) = report_of(RunOutcome::Failed(halted), &route).expect("a report");
        assert!(matches!(report.action, ReportAction::Release { spent: None, .. }), "{:?}", report.action);
        assert_eq!(report.record.outcome, RecordedOutcome::Refused(CooldownCause::Overloaded));
        let not_started = |reason| report_of_end(RunEnd::NotStarted(reason), &route);
        for (reason, delay) in [
            (NotStarted::StoreFailed("locked".to_string()), STORE_ERROR_DELAY),
            (NotStarted::Busy, BUSY_DELAY),
            (NotStarted::LaneUnready("no program".to_string()), Duration::ZERO),
        ] {
            let (report, event) = not_started(reason).expect("a report");
            let ReportAction::Release { spent: None, delay: found, .. } = report.action else {
                panic!("{:?}", report.action);
            };
            assert_eq!(found, delay);
            assert_eq!(report.follow_up, None);
            assert!(report.record.not_started && report.record.outcome == RecordedOutcome::Withheld);
            assert_eq!(event.kind(), "returned");
        }
        let (report, _) = not_started(NotStarted::permanent("no directory")).expect("a report");
        assert!(matches!(report.action, ReportAction::Fail { .. }), "{:?}", report.action);
        assert!(report.record.not_started);
        assert!(not_started(NotStarted::Stopped(StopReason::Cancelled)).is_none());
        let (report, event) = report_of(failure(FailureClass::Permanent), &route).expect("a report");
        assert!(matches!(report.action, ReportAction::Fail { .. }));
        assert_eq!(report.follow_up.map(|next| next.lane).as_ref().map(LaneName::as_str), Some("attic"));
        assert_eq!(event.kind(), "failed");
    }

    #[test]
    fn a_lost_claim_is_not_reported() {
        let route = Route::with_defaults(LaneName::stored("work"));
        assert!(report_of(RunOutcome::Stopped(StopReason::LeaseLost), &route).is_none());
        assert!(report_of(RunOutcome::Stopped(StopReason::Cancelled), &route).is_none());
        let (report, _) = report_of(RunOutcome::Stopped(StopReason::Shutdown), &route).expect("a release");
        assert!(matches!(report.action, ReportAction::Release { spent: None, .. }));
    }
}
