//! From the end of a run to the end of its report.

use std::time::{Duration, Instant};

use super::build::{Settling, answered_by_agent, record, settle};
use super::{Report, Told};
use crate::dispatch::cooldown::{self, Blocked};
use crate::dispatch::event::Moment;
use crate::dispatch::outcome::{Failure, Outcome};
use crate::dispatch::output::{Closing, closing};
use crate::dispatch::run::context::{Desk, Ended, Job, run_id};
use crate::dispatch::run::retry;
use crate::dispatch::usage_log::Record;
use crate::dispatch::vendor::COMMAND;
use crate::error::{ErrorKind, Result};
use crate::model::cooldown::{is_model, park_key};
use crate::model::{AllParked, ClaimState, Obstacle, Parked, Task, Time};
use crate::store::CooldownChange;

/// How long to wait before a report is told again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long telling a report is tried, and how long once the dispatcher is to end. What is not told by then
/// stays in the outbox for the next start.
const PATIENCE: Duration = Duration::from_secs(300);
const PATIENCE_WHILE_DRAINING: Duration = Duration::from_secs(3);
const PAUSE_WHILE_DRAINING: Duration = Duration::from_secs(1);

/// A run that is over and told, as far as the loop has to know.
pub struct Over {
    /// The task.
    pub task_id: String,
    /// It was answered.
    pub answered: bool,
    /// The run failed.
    pub failed: bool,
    /// When the next attempt is due.
    pub retry_at: Option<Time>,
    /// The pause that it began or changed.
    pub parked: Option<Parked>,
    /// The lane that no run can be started for, and why.
    pub unready: Option<(String, String)>,
}

/// Reports a run that is over.
pub fn tell(desk: &Desk<'_>, job: &Job, ended: &Ended) -> Over {
    let store = desk.store;
    let task_id = job.task.id.to_string();
    let mut over = Over {
        task_id: task_id.clone(),
        answered: matches!(ended.outcome, Outcome::Completed(_)),
        failed: matches!(ended.outcome, Outcome::Failed(_)),
        retry_at: None,
        parked: None,
        unready: match &ended.outcome {
            Outcome::Unready(missing) => Some((job.task.spec.lane.clone(), missing.clone())),
            _ => None,
        },
    };
    let is_to_blame = is_to_blame(desk, job, ended);
    // Before the task goes back: the next free slot must not send it to the same vendor at once.
    if !is_to_blame {
        over.parked = park(desk, job, ended);
    }
    // As it stands now: the agent may have answered by itself.
    let current = store.task(&job.task.id).unwrap_or_else(|_| job.task.clone());
    let now = store.now().wall;
    let run = run_id(&job.token);
    let settling = Settling {
        task: &current,
        token: &job.token,
        owner: &desk.plan.owner,
        route: &job.service.route,
        vendor: &job.service.vendor.name,
        run: run.as_str(),
        ended,
        is_to_blame,
        now,
        random: store.random() as u64,
    };
    let settled = match current.claim_state(&job.token) {
        ClaimState::Answered => {
            let closing = own_closing(desk, &current);
            let moment = answered_moment(&task_id, ended, closing);
            Some((answered_by_agent(&settling, closing), moment))
        }
        _ => settle(&settling),
    };
    let Some((report, moment)) = settled else {
        // What was spent is counted all the same.
        let _ = store.append_usage(&record(&settling, "withheld").to_line());
        let message = "the claim is over: the agent was stopped and nothing is reported".to_string();
        (desk.observe)(Moment::Returned { task_id, message });
        return over;
    };
    if let Moment::Retry { delay, .. } = &moment {
        over.retry_at = Some(now.plus_seconds(delay.as_secs_f64()));
    }
    note_end(desk, job, &moment, ended);
    match tell_patiently(desk, job, &report) {
        Ok(Told::Heard) => (desk.observe)(moment),
        Ok(Told::TooLate) => {
            over.answered = false;
            let message = "the task was cancelled or taken over before the report".to_string();
            (desk.observe)(Moment::Returned { task_id, message });
        }
        Err(error) => desk.warn(format!("{task_id}: its report could not be told: {error}")),
    }
    over
}

/// Whether a task that its vendor refused is to blame itself.
fn is_to_blame(desk: &Desk<'_>, job: &Job, ended: &Ended) -> bool {
    let Outcome::Failed(Failure { halt: Some(halt), .. }) = &ended.outcome else {
        return false;
    };
    let others_done = || {
        let usage = desk.store.usage().unwrap_or_default();
        let since = ended.past.last_halt.unwrap_or(job.task.created_at);
        let mut others = usage.lines().rev().filter_map(Record::from_line).filter(|record| {
            let is_same = match job.service.vendor.name.as_str() {
                COMMAND => record.lane == job.task.spec.lane,
                vendor => record.vendor == vendor,
            };
            let model = halt.model.as_ref();
            let has_model =
                model.is_none_or(|model| record.model.as_ref().is_some_and(|used| is_model(used, model)));
            let is_since = Time::parse(&record.started_at).is_ok_and(|started| started > since);
            is_same && has_model && is_since && record.task_id != job.task.id.as_str()
        });
        others.any(|record| record.outcome == "completed")
    };
    retry::is_to_blame(ended.past, retry::is_suspicious(ended.past) && others_done())
}

/// Leaves a vendor, or one of its models, alone that refused a run, and forgets the pauses of one that
/// works again. Returns the pause, if this began or changed one.
fn park(desk: &Desk<'_>, job: &Job, ended: &Ended) -> Option<Parked> {
    let (store, account) = (desk.store, job.service.account.as_str());
    let claimed = job.task.status.claim()?.claimed_at;
    let (asked, _) = job.service.model_for(&job.task);
    let changed = match &ended.outcome {
        Outcome::Failed(Failure { halt: Some(halt), message, .. }) => {
            let blocked = Blocked::by(halt, account, asked.as_deref());
            store.change_cooldown(&park_key(account, blocked.model.as_deref()), |before| {
                let times = (claimed, store.now().wall);
                cooldown::after_halt(halt, message, &blocked, times, before, store.random() as u64)
            })
        }
        outcome => {
            let is_done = matches!(outcome, Outcome::Completed(_));
            // A run that failed by itself shows that the account is in order.
            let has_worked = is_done || ended.report.tokens.is_some_and(|tokens| tokens.output > 0);
            let is_over = |parked: &&Parked| {
                parked.vendor == account
                    && (is_done || parked.obstacle == Obstacle::Account)
                    && match (&parked.model, &asked) {
                        (None, _) => true,
                        (Some(parked), Some(asked)) => is_model(asked, parked),
                        (Some(_), None) => parked.by_default,
                    }
            };
            // Most vendors are not parked, and then nobody needs the lock.
            let parked = if has_worked { store.cooldowns() } else { Ok(AllParked::new()) };
            let keys = parked
                .map(|parked| -> Vec<String> { parked.values().filter(is_over).map(Parked::key).collect() });
            let forget =
                |key: String| store.change_cooldown(&key, |before| cooldown::after_work(claimed, before));
            keys.and_then(|keys| keys.into_iter().try_fold(CooldownChange::Keep, |_, key| forget(key)))
        }
    };
    match changed {
        Ok(CooldownChange::Set(parked)) => Some(parked),
        Ok(_) => None,
        Err(error) => {
            desk.warn(format!("the pauses of {account} cannot be changed: {error}"));
            None
        }
    }
}

fn answered_moment(task_id: &str, ended: &Ended, closing: Option<Closing>) -> Moment {
    Moment::Answered {
        task_id: task_id.to_string(),
        duration: ended.duration,
        cost_usd: ended.report.cost_usd,
        outcome: closing.map(Closing::as_str),
    }
}

/// How the answer closes that an agent gave by itself.
fn own_closing(desk: &Desk<'_>, task: &Task) -> Option<Closing> {
    let response = desk.store.response(task).ok().flatten()?;
    closing(&response.body)
}

/// Adds how the run ended to the task's history; without it the report is as good.
fn note_end(desk: &Desk<'_>, job: &Job, moment: &Moment, ended: &Ended) {
    let kind = match ended.outcome {
        Outcome::Completed(_) => "headless_completed",
        // No run has begun.
        Outcome::Unready(_) | Outcome::NotBegun(_) => return,
        _ => "headless_failed",
    };
    let mut data = crate::model::json::Object::new();
    data.insert("seconds".to_string(), ended.duration.as_secs_f64().into());
    if let Some(cost) = ended.report.cost_usd {
        data.insert("cost_usd".to_string(), cost.into());
    }
    desk.note_if_possible(job, kind, moment.words(), data);
}

/// Tells a report, again and again if the store is in trouble: the claim is renewed meanwhile, and the
/// agent's work is worth a wait, though not a slot for ever. Somebody who wants the run to end ends this
/// too.
fn tell_patiently(desk: &Desk<'_>, job: &Job, report: &Report) -> Result<Told> {
    let warn = |message: String| desk.warn(format!("{}: {message}", job.task.id));
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match report.save_and_tell(desk.store, &warn) {
            Ok(told) => return Ok(told),
            Err(error) => error,
        };
        let is_over = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid);
        let is_draining = desk.roster.is_draining();
        let patience = if is_draining { PATIENCE_WHILE_DRAINING } else { PATIENCE };
        if is_over || job.stop.reason().is_some() || begun.elapsed() >= patience {
            return Err(error);
        }
        desk.warn(format!("{}: its report is tried again: {error}", job.task.id));
        if is_draining {
            std::thread::sleep(PAUSE_WHILE_DRAINING);
        } else {
            desk.roster.sleep_until_drain(pause);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
