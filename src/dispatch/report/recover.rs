//! Recovers the tasks of a dispatcher that died.
//!
//! A dispatcher that was killed leaves its registration, which holds the prefix of its claim tokens. For each
//! of its claims the next dispatcher ends what is still running, delivers a report that was written, keeps a
//! result that had arrived, and returns every other task at once instead of after its lease.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::build::{ReportInput, build_report};
use super::{REPORT_FILE, Report, ReportDelivery};
use crate::dispatch::config::prices::Prices;
use crate::dispatch::config::route::Route;
use crate::dispatch::event::DispatchEvent;
use crate::dispatch::outcome::{AgentExit, RunOutcome, StopReason};
use crate::dispatch::output::{Baseline, Format, RunReport};
use crate::dispatch::run::answer_check::schema_problem;
use crate::dispatch::run::classify::classify;
use crate::dispatch::run::context::{
    AgentRun, FinishedRun, RunEnd, RunFile, files, hide_token, read_output, read_run_file, run_id,
};
use crate::dispatch::run::evidence::RunEvidence;
use crate::dispatch::run::retry::PastAttempts;
use crate::dispatch::run::session_baseline::baseline;
use crate::dispatch::run::worktree_run::record_changes_of;
use crate::dispatch::usage_record::{RecordedOutcome, UsageRecord};
use crate::dispatch::vendor::VendorMessages;
use crate::error::ErrorKind;
use crate::guard::process_tree;
use crate::model::json::Object;
use crate::model::{Command, FailureClass, RunId, StoredDuration, Task, TaskId, Time};
use crate::store::{AbandonedWorker, AttemptDir, Store, WorkerKind};
use crate::{Error, Result};

/// Time between SIGTERM and SIGKILL for processes that are left.
const TERMINATE_GRACE: Duration = Duration::from_secs(2);

/// Recovers the tasks of dispatchers that died; `prices` gives the cost of their runs. What cannot be recovered now
/// is left for the next call.
///
/// # Errors
/// When the registrations cannot be read.
pub(crate) fn recover(store: &Store, prices: &Prices, observe: &dyn Fn(DispatchEvent)) -> Result<()> {
    for dead in store.abandoned_workers(&WorkerKind::Dispatcher)? {
        match recover_dispatcher(store, prices, &dead, observe) {
            Ok(()) => dead.clear()?,
            Err(error) => observe(DispatchEvent::Warning {
                message: format!("what {} left behind is not in order yet: {error}", dead.info.owner),
            }),
        }
    }
    Ok(())
}

/// Delivers the reports that were written and not delivered completely.
///
/// # Errors
/// When the outbox cannot be read.
pub(crate) fn deliver_outbox(store: &Store, observe: &dyn Fn(DispatchEvent)) -> Result<()> {
    for (id, fence) in store.spool().outbox()? {
        let delivery = match Report::load(store, &id, fence) {
            Ok(Some(report)) => report.deliver(store, &|message| warn_about(&id, message, observe)),
            // Nothing to deliver: the task is gone, or its dispatcher died before the report was written.
            Ok(None) => store.spool().remove_from_outbox(&id, fence).map(|()| ReportDelivery::ClaimOver),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                store.spool().remove_from_outbox(&id, fence).map(|()| ReportDelivery::ClaimOver)
            }
            Err(error) => Err(error),
        };
        match delivery {
            Ok(ReportDelivery::Accepted) => observe(DispatchEvent::Recovered {
                task_id: id.clone(),
                message: "a report that was written and not sent was sent".to_string(),
            }),
            Ok(ReportDelivery::ClaimOver) => {}
            Err(error) => observe(DispatchEvent::Warning {
                message: format!("{id}: its report cannot be sent: {error}"),
            }),
        }
    }
    Ok(())
}

fn warn_about(id: &TaskId, message: String, observe: &dyn Fn(DispatchEvent)) {
    observe(DispatchEvent::Warning { message: format!("{id}: {message}") });
}

fn recover_dispatcher(
    store: &Store,
    prices: &Prices,
    dead: &AbandonedWorker,
    observe: &dyn Fn(DispatchEvent),
) -> Result<()> {
    // First the agents, whatever became of the tasks: some agents answer the task themselves.
    let runs = dead.info.runs();
    for run in runs.values() {
        end_run(&run.run)?;
    }
    let mut recorded: Vec<RunId> = Vec::new();
    for lane in &dead.info.lanes {
        let ours =
            |task: &Task| task.status.claim().is_some_and(|claim| dead.info.claimed_with(&claim.token));
        for task in store.held_tasks(lane, &ours)? {
            recorded.extend(recover_task(store, prices, &task, observe)?);
        }
    }
    for (task_id, run) in runs.iter().filter(|(_, run)| !recorded.contains(&run.run)) {
        record_lost_run(store, prices, task_id, &run.run)?;
    }
    Ok(())
}

/// Adds a run that was interrupted by the death of its dispatcher to the usage log, whatever became of its
/// task. A run that was reported is in the log already, and one without a run file never started.
fn record_lost_run(store: &Store, prices: &Prices, task_id: &TaskId, run: &RunId) -> Result<()> {
    let Ok(task) = store.task(task_id) else { return Ok(()) };
    for fence in store.spool().attempt_numbers(&task.id)?.into_iter().rev() {
        let Some(attempt) = store.spool().existing_attempt(&task.id, fence)? else { continue };
        let Some(run_file) = read_run_file(&attempt).filter(|run_file| run_file.run == *run) else {
            continue;
        };
        if attempt.open(REPORT_FILE)?.is_none() {
            store.append_usage(&lost_record(store, prices, &task, &attempt, &run_file)?.to_line())?;
        }
        break;
    }
    Ok(())
}

fn lost_record(
    store: &Store,
    prices: &Prices,
    task: &Task,
    attempt: &AttemptDir,
    run_file: &RunFile,
) -> Result<UsageRecord> {
    let started = run_file.started_at.unwrap_or(store.now().wall);
    // Its latest output; the exact end is unknown.
    let mut ended = started;
    for name in [files::STDOUT, files::STDERR, files::PROGRESS] {
        let written = attempt.open(name)?.and_then(|file| file.metadata().ok()?.modified().ok());
        let since_1970 = written.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let micros = since_1970.and_then(|time| i64::try_from(time.as_micros()).ok());
        ended = ended.max(micros.map_or(started, Time::from_micros));
    }
    let report = read_report(store, prices, attempt, run_file)?;
    let reported_session = report.as_ref().and_then(|report| report.session_id.clone());
    let outcome = RecordedOutcome::Failed(FailureClass::Lost);
    let usage = UsageRecord {
        duration: StoredDuration::stored(ended.seconds_since(started)),
        cli_version: report.as_ref().and_then(|report| report.cli_version.clone()),
        session_id: reported_session.or_else(|| run_file.conversation.id().map(str::to_string)),
        ..UsageRecord::new(task, &run_file.run, &run_file.vendor, outcome, (started, ended))
    };
    Ok(match &report {
        Some(report) => usage.with_usage(report),
        None => usage,
    })
}

fn end_run(run: &RunId) -> Result<()> {
    process_tree::terminate(run, TERMINATE_GRACE).map(drop).map_err(|left| {
        Error::new(ErrorKind::Locked, format!("{left} processes of its runs cannot be killed"))
    })
}

/// Recovers one task whose claim belongs to a dead dispatcher. Returns the run if it was lost and is in the usage log now.
fn recover_task(
    store: &Store,
    prices: &Prices,
    task: &Task,
    observe: &dyn Fn(DispatchEvent),
) -> Result<Option<RunId>> {
    let Some(claim) = task.status.claim() else { return Ok(None) };
    end_run(&run_id(&claim.token))?;
    let notify = |message: &str| {
        observe(DispatchEvent::Recovered { task_id: task.id.clone(), message: message.to_string() });
    };
    if let Some(report) = Report::load(store, &task.id, task.fence)? {
        report.deliver(store, &|message| warn_about(&task.id, message, observe))?;
        notify("its dispatcher died before it could report; reported now");
        return Ok(None);
    }
    let attempt = store.spool().existing_attempt(&task.id, task.fence)?;
    let run_file = attempt.as_ref().and_then(read_run_file);
    if let Some(attempt) = &attempt
        && let Err(error) = hide_token(attempt, &claim.token)
    {
        warn_about(&task.id, format!("its logs may show the claim token of the run: {error}"), observe);
    }
    let worktree = attempt.as_ref().and_then(|attempt| match record_changes_of(attempt, &task.id) {
        Ok(worktree) => worktree,
        Err(error) => {
            warn_about(&task.id, format!("the changes in its worktree are not recorded: {error}"), observe);
            None
        }
    });
    let reason = "its dispatcher died during the run";
    let mut lost = None;
    let spent = match (&attempt, &run_file) {
        (Some(attempt), Some(run_file)) => {
            if let Some(report) = completed_report(store, prices, task, (attempt, worktree), run_file)? {
                report.save_and_deliver(store, &|message| warn_about(&task.id, message, observe))?;
                notify("its dispatcher died after the agent was done; the answer was kept");
                return Ok(None);
            }
            // Before the claim ends, so that no budget misses the run in between.
            store.append_usage(&lost_record(store, prices, task, attempt, run_file)?.to_line())?;
            lost = Some(run_file.run.clone());
            Some(FailureClass::Lost)
        }
        // Claimed, and no agent was started: the attempt does not count.
        _ => None,
    };
    let command =
        Command::Release { token: claim.token.clone(), reason: Some(reason.to_string()), delay: None, spent };
    match store.apply(&task.id, &command) {
        Ok(_) => notify("its dispatcher died; back in its lane"),
        // It was claimed by another worker or cancelled meanwhile.
        Err(error) if error.refusal().is_some_and(|refusal| refusal.claim_state().is_some()) => {}
        Err(error) => return Err(error),
    }
    Ok(lost)
}

/// Parses the output of a run as far as it was written.
fn read_report(
    store: &Store,
    prices: &Prices,
    attempt: &AttemptDir,
    run_file: &RunFile,
) -> Result<Option<RunReport>> {
    let Some(parser) = read_output(attempt, run_file)? else { return Ok(None) };
    let baseline = match run_file.conversation.resumed_id() {
        Some(session) => baseline(&store.usage_log_text().unwrap_or_default(), session),
        None => Baseline::Fresh,
    };
    let mut report = parser.finish(&baseline);
    report.attribute_to_model(run_file.model.as_deref());
    prices.complete(&mut report);
    Ok(Some(report))
}

/// Builds the report of a run that was complete when its dispatcher died. Only a success counts: everything
/// else may have been caused by that death.
fn completed_report(
    store: &Store,
    prices: &Prices,
    task: &Task,
    (attempt, worktree): (&AttemptDir, Option<Object>),
    run_file: &RunFile,
) -> Result<Option<Report>> {
    let (Some(format), Some(claim)) = (Format::parse(&run_file.format), task.status.claim()) else {
        return Ok(None);
    };
    // Nobody has verified what the agent calls done.
    if run_file.is_verified_later {
        return Ok(None);
    }
    let Some(report) = read_report(store, prices, attempt, run_file)? else {
        return Ok(None);
    };
    let now = store.now().wall;
    let run = RunEvidence {
        report: &report,
        format,
        exit: AgentExit::Signal(9),
        stopped: Some(StopReason::Shutdown),
        stderr: "",
        resumed: run_file.conversation.resumed_id(),
        timeout: None,
        silence_timeout: None,
        now,
        vendor_messages: &VendorMessages::default(),
        zone: &TimeZone::system(),
    };
    let outcome = classify(&run, run_file.wants_json);
    let RunOutcome::Completed(answer) = &outcome else { return Ok(None) };
    if schema_problem(task, answer).is_some() {
        return Ok(None);
    }
    let seconds = run_file.started_at.map_or(0.0, |started| now.seconds_since(started).max(0.0));
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let agent_run = AgentRun { outcome, report, version: None };
    let past = PastAttempts::default();
    let result = FinishedRun { end: RunEnd::Ran(agent_run), duration, past, worktree, proof: None };
    let route = Route { follow_ups: run_file.follow_up_rules(), ..Route::with_defaults(&task.spec.lane) };
    let report_and_event = build_report(&ReportInput {
        task,
        token: &claim.token,
        owner: &claim.owner,
        route: &route,
        vendor: &run_file.vendor,
        run: &run_file.run,
        result: &result,
        is_task_the_cause: false,
        now,
        random: 0,
    });
    Ok(report_and_event.map(|(report, _)| report))
}
