//! Delivers the report of a run, retrying while the store is unavailable.

use std::time::{Duration, Instant};

use super::build::{ReportInput, answered_by_agent, build_report, record};
use super::{Report, ReportAction, ReportDelivery};
use crate::dispatch::cooldown;
use crate::dispatch::event::DispatchEvent;
use crate::dispatch::outcome::{NotStarted, RunOutcome};
use crate::dispatch::output::{ClosingStatus, closing};
use crate::dispatch::run::context::{AgentRun, ClaimedTask, FinishedRun, RunContext, RunEnd, run_id};
use crate::dispatch::run::retry;
use crate::dispatch::usage_record::{RecordedOutcome, UsageRecord};
use crate::dispatch::vendor::COMMAND;
use crate::error::{ErrorKind, Result};
use crate::model::cooldown::is_model;
use crate::model::{
    ClaimState, ClaimToken, Cooldown, CooldownCause, CooldownKey, Cooldowns, LaneName, Task, TaskId, Time,
    Verdict,
};
use crate::store::CooldownChange;

/// Time before a report is delivered again: first and maximum.
const FIRST_RETRY_PAUSE: Duration = Duration::from_secs(2);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(30);
/// How long delivery is retried, normally and while the dispatcher drains. A report that is not delivered by
/// then stays in the outbox until the next start.
const RETRY_TIME: Duration = Duration::from_secs(300);
const RETRY_TIME_WHILE_DRAINING: Duration = Duration::from_secs(3);
const PAUSE_WHILE_DRAINING: Duration = Duration::from_secs(1);

/// A run whose report is delivered, as far as the event loop needs to know.
pub(crate) struct ReportedRun {
    /// The token of the run's claim.
    pub token: ClaimToken,
    /// What became of the task.
    pub disposition: TaskDisposition,
    /// The cooldown that the run started or changed.
    pub cooldown: Option<Cooldown>,
}

/// What became of a task after its run.
pub(crate) enum TaskDisposition {
    /// It was answered.
    Answered,
    /// Its agent has asked a question.
    Asked,
    /// Its run failed.
    Failed {
        /// When the next attempt is due, if the task is retried.
        retry_at: Option<Time>,
        /// Whether the task has failed with it.
        has_ended: bool,
    },
    /// No run can be started for the lane.
    LaneUnready {
        /// The lane.
        lane: LaneName,
        /// What is missing.
        missing: String,
    },
    /// It was returned to its lane, or its claim is over.
    Returned,
}

/// Reports the result of a run: updates the vendor's cooldown, then delivers the report.
pub(crate) fn deliver(context: &RunContext<'_>, claimed: &ClaimedTask, result: &FinishedRun) -> ReportedRun {
    let store = context.store;
    let task_id = claimed.task.id.clone();
    let mut reported = ReportedRun {
        token: claimed.token.clone(),
        disposition: disposition(claimed, result),
        cooldown: None,
    };
    let is_task_the_cause = check_cause_of_refusals(context, claimed, result);
    // Before the task is returned: the next free slot must not send it to the same vendor at once.
    if !is_task_the_cause {
        reported.cooldown = update_cooldown(context, claimed, result);
    }
    // Read again: the agent may have answered the task itself.
    let current = store.task(&claimed.task.id).unwrap_or_else(|_| claimed.task.clone());
    let now = store.now().wall;
    let run = run_id(&claimed.token);
    let input = ReportInput {
        task: &current,
        token: &claimed.token,
        owner: &context.plan.owner,
        route: &claimed.served.route,
        vendor: &claimed.served.vendor.name,
        run: &run,
        result,
        is_task_the_cause,
        now,
        random: store.random() as u64,
    };
    if let Some(question) = question_of_run(context, claimed, &current) {
        // The claim was given back with the question, so that nothing is left to report.
        let _ = store.append_usage(&record(&input, RecordedOutcome::Asked).to_line());
        (context.observe)(DispatchEvent::asks(task_id, question));
        return ReportedRun { disposition: TaskDisposition::Asked, ..reported };
    }
    let report_and_event = match current.claim_state(&claimed.token) {
        ClaimState::Ended => {
            let (closing, verdict) = agents_own_answer(context, &current);
            let event = answered_event(&task_id, result, closing);
            Some((answered_by_agent(&input, closing, verdict), event))
        }
        _ => build_report(&input),
    };
    let Some((report, event)) = report_and_event else {
        // The usage counts all the same.
        let _ = store.append_usage(&record(&input, RecordedOutcome::Withheld).to_line());
        let message = "the claim is over: the agent was stopped and nothing is reported".to_string();
        (context.observe)(DispatchEvent::Returned { task_id, message });
        return reported;
    };
    if let DispatchEvent::Retry { delay, .. } = &event {
        reported.disposition = TaskDisposition::Failed {
            retry_at: Some(now.plus_seconds(delay.as_secs_f64())),
            has_ended: false,
        };
    }
    if matches!(report.action, ReportAction::Ask { .. }) {
        reported.disposition = TaskDisposition::Asked;
    }
    note_run_end(context, claimed, &event, result);
    match deliver_with_retries(context, claimed, &report) {
        Ok(ReportDelivery::Accepted) => {
            if let (TaskDisposition::Failed { has_ended, .. }, DispatchEvent::Failed { .. }) =
                (&mut reported.disposition, &event)
            {
                *has_ended = true;
            }
            (context.observe)(event);
        }
        Ok(ReportDelivery::ClaimOver) => {
            if matches!(reported.disposition, TaskDisposition::Answered | TaskDisposition::Asked) {
                reported.disposition = TaskDisposition::Returned;
            }
            let message = "the task was cancelled or taken over before the report".to_string();
            (context.observe)(DispatchEvent::Returned { task_id, message });
        }
        Err(error) => context.warn(format!("{task_id}: its report could not be delivered: {error}")),
    }
    reported
}

/// Returns the question with which the agent of a run has given its claim back, if it has and nobody has claimed the task
/// since.
fn question_of_run<'t>(
    context: &RunContext<'_>,
    claimed: &ClaimedTask,
    current: &'t Task,
) -> Option<&'t str> {
    let is_given_back = current.claim_state(&claimed.token) == ClaimState::Lost
        && current.fence == claimed.task.fence
        && !current.status.is_terminal();
    let since = claimed.task.status.claim()?.claimed_at;
    let asked = current.questions.last().filter(|question| {
        is_given_back && question.asked_at >= since && question.asked_by == context.plan.owner
    });
    asked.map(|question| question.text.as_str())
}

/// Returns what becomes of a task after its run, if the report is accepted.
fn disposition(claimed: &ClaimedTask, result: &FinishedRun) -> TaskDisposition {
    match &result.end {
        RunEnd::Ran(AgentRun { outcome, .. }) => match outcome {
            RunOutcome::Completed(_) => TaskDisposition::Answered,
            RunOutcome::Failed(_) => TaskDisposition::Failed { retry_at: None, has_ended: false },
            RunOutcome::Stopped(_) => TaskDisposition::Returned,
        },
        RunEnd::NotStarted(reason) => match reason {
            NotStarted::Task(_) => TaskDisposition::Failed { retry_at: None, has_ended: false },
            NotStarted::LaneUnready(missing) => TaskDisposition::LaneUnready {
                lane: claimed.task.spec.lane.clone(),
                missing: missing.clone(),
            },
            NotStarted::StoreFailed(_) | NotStarted::Busy | NotStarted::Stopped(_) => {
                TaskDisposition::Returned
            }
        },
    }
}

/// Returns whether the task itself is the cause of its vendor's refusals.
fn check_cause_of_refusals(context: &RunContext<'_>, claimed: &ClaimedTask, result: &FinishedRun) -> bool {
    let Some((vendor_refusal, _)) = result.vendor_refusal() else { return false };
    let others_done = || {
        let usage = context.store.usage_log_text().unwrap_or_default();
        let since = result.past.last_refusal.unwrap_or(claimed.task.created_at);
        let mut others = usage.lines().rev().filter_map(UsageRecord::from_line).filter(|record| {
            let is_same = match claimed.served.vendor.name.as_str() {
                COMMAND => claimed.task.spec.lane == record.lane,
                vendor => record.vendor == vendor,
            };
            let model = vendor_refusal.model.as_ref();
            let has_model =
                model.is_none_or(|model| record.model.as_ref().is_some_and(|used| is_model(used, model)));
            let is_since = record.started_at.is_some_and(|started| started > since);
            is_same && has_model && is_since && record.task_id != claimed.task.id
        });
        others.any(|record| record.outcome == RecordedOutcome::Completed)
    };
    retry::is_cause_of_refusals(result.past, retry::depends_on_other_tasks(result.past) && others_done())
}

/// Starts or changes the cooldown of a vendor, or of one of its models, that refused a run, and ends the
/// cooldowns of one that works again. Returns the cooldown that was started or changed.
fn update_cooldown(
    context: &RunContext<'_>,
    claimed: &ClaimedTask,
    result: &FinishedRun,
) -> Option<Cooldown> {
    let (store, account_key) = (context.store, &claimed.served.cooldown_key);
    let claimed_at = claimed.task.status.claim()?.claimed_at;
    let (asked, _) = claimed.served.model_for(&claimed.task);
    let changed = match result.vendor_refusal() {
        Some((vendor_refusal, message)) => {
            let scope = cooldown::scope_of_refusal(vendor_refusal, account_key, asked.as_deref());
            store.change_cooldown(&scope.key(), |before| {
                let times = (claimed_at, store.now().wall);
                cooldown::after_refusal(vendor_refusal, message, &scope, times, before, store.random() as u64)
            })
        }
        None => {
            let is_done = result.answer().is_some();
            let tokens = result.agent_run().and_then(|agent_run| agent_run.report.usage.tokens());
            // A run that worked and failed shows that the account is accepted.
            let has_worked = is_done || tokens.is_some_and(|tokens| tokens.output > 0);
            let is_over = |cooldown: &&Cooldown| {
                cooldown.scope.covers(account_key, asked.as_deref())
                    && (is_done || cooldown.cause == CooldownCause::Account)
            };
            // Most vendors have no cooldown, and then no lock is needed.
            let cooldowns = if has_worked { store.cooldowns() } else { Ok(Cooldowns::new()) };
            let keys = cooldowns.map(|cooldowns| -> Vec<CooldownKey> {
                cooldowns.values().filter(is_over).map(|cooldown| cooldown.scope.key()).collect()
            });
            let forget = |key: CooldownKey| {
                store.change_cooldown(&key, |before| cooldown::after_success(claimed_at, before))
            };
            keys.and_then(|keys| keys.into_iter().try_fold(CooldownChange::Keep, |_, key| forget(key)))
        }
    };
    match changed {
        Ok(CooldownChange::Set(cooldown)) => Some(cooldown),
        Ok(_) => None,
        Err(error) => {
            context.warn(format!("the pauses of {account_key} cannot be changed: {error}"));
            None
        }
    }
}

fn answered_event(task_id: &TaskId, result: &FinishedRun, closing: Option<ClosingStatus>) -> DispatchEvent {
    DispatchEvent::Answered {
        task_id: task_id.clone(),
        duration: result.duration,
        cost_usd: result.cost_usd(),
        outcome: closing,
    }
}

/// Reads the closing status and the verdict of an answer that the agent itself gave to the task.
fn agents_own_answer(context: &RunContext<'_>, task: &Task) -> (Option<ClosingStatus>, Option<Verdict>) {
    let Ok(Some(response)) = context.store.response(task) else { return (None, None) };
    (closing(&response.body), response.verdict.as_deref().and_then(Verdict::parse))
}

/// Adds the end of the run to the task's history. The report does not depend on it.
fn note_run_end(
    context: &RunContext<'_>,
    claimed: &ClaimedTask,
    event: &DispatchEvent,
    result: &FinishedRun,
) {
    let kind = match &result.end {
        RunEnd::Ran(AgentRun { outcome: RunOutcome::Completed(_), .. }) => "headless_completed",
        // Nothing about this task has failed.
        RunEnd::NotStarted(NotStarted::LaneUnready(_) | NotStarted::StoreFailed(_)) => return,
        RunEnd::Ran(_) | RunEnd::NotStarted(_) => "headless_failed",
    };
    let mut data = crate::model::json::Object::new();
    data.insert("seconds".to_string(), result.duration.as_secs_f64().into());
    if let Some(cost) = result.cost_usd() {
        data.insert("cost_usd".to_string(), cost.into());
    }
    context.note_if_possible(claimed, kind, event.message(), data);
}

/// Delivers a report, retrying on errors of the store for a limited time. The claim is renewed meanwhile. A
/// request to stop the run ends the retries too.
fn deliver_with_retries(
    context: &RunContext<'_>,
    claimed: &ClaimedTask,
    report: &Report,
) -> Result<ReportDelivery> {
    let warn = |message: String| context.warn(format!("{}: {message}", claimed.task.id));
    let begun = Instant::now();
    let mut pause = FIRST_RETRY_PAUSE;
    loop {
        let error = match report.save_and_deliver(context.store, &warn) {
            Ok(delivery) => return Ok(delivery),
            Err(error) => error,
        };
        let is_over = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid);
        let is_draining = context.registration.is_draining();
        let retry_time = if is_draining { RETRY_TIME_WHILE_DRAINING } else { RETRY_TIME };
        if is_over || claimed.stop.reason().is_some() || begun.elapsed() >= retry_time {
            return Err(error);
        }
        context.warn(format!("{}: its report will be retried: {error}", claimed.task.id));
        if is_draining {
            std::thread::sleep(PAUSE_WHILE_DRAINING);
        } else {
            context.registration.sleep_until_drain(pause);
        }
        pause = (pause * 2).min(MAX_RETRY_PAUSE);
    }
}
