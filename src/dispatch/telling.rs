//! From the end of a run to the end of its report.

use std::time::{Duration, Instant};

use super::answer::{self, Closing};
use super::keeper::{Hold, Keeper, hold};
use super::moment::Moment;
use super::outcome::Outcome;
use super::policy;
use super::report::{Report, Told};
use super::runner::{Desk, Ended, Job, run_id};
use super::settle::{Settling, answered_by_agent, record, settle};
use crate::error::{ErrorKind, Result};
use crate::model::{FailureClass, Task, Time};
use crate::store::{ParkChange, Parked};

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
    /// The account that it parked.
    pub parked: Option<(String, Parked)>,
    /// The lane that no run can be started for, and why.
    pub unready: Option<(String, String)>,
}

/// Runs one task and reports it. For a thread of its own.
pub fn finish(desk: &Desk<'_>, keeper: &Keeper, job: &Job) -> Over {
    let ended = desk.run(job);
    let over = tell(desk, job, &ended);
    keeper.remove(&job.token);
    desk.roster.remove(job.task.id.as_str());
    over
}

fn tell(desk: &Desk<'_>, job: &Job, ended: &Ended) -> Over {
    let store = desk.store;
    let task_id = job.task.id.to_string();
    let mut over = Over {
        task_id: task_id.clone(),
        answered: matches!(ended.outcome, Outcome::Completed(_)),
        failed: matches!(ended.outcome, Outcome::Failed(_)),
        retry_at: None,
        parked: None,
        unready: match &ended.outcome {
            Outcome::Unready(missing) => Some((job.task.lane.clone(), missing.clone())),
            _ => None,
        },
    };
    // Before the task goes back: the next free slot must not send it to the same vendor at once.
    over.parked = park(desk, job, ended).map(|parked| (job.service.account.clone(), parked));
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
        now,
        random: store.random() as u64,
    };
    let settled = match hold(&current, &job.token) {
        Hold::Answered => {
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

/// Leaves a vendor alone that reported a usage limit, and forgets the pause of one that works again.
/// Returns the pause, if this began or changed one.
fn park(desk: &Desk<'_>, job: &Job, ended: &Ended) -> Option<Parked> {
    let (store, account) = (desk.store, &job.service.account);
    let claimed = job.task.status.claim()?.claimed_at;
    let changed = match &ended.outcome {
        Outcome::Failed(failure) if failure.class == FailureClass::UsageLimit => store
            .change_parked(account, |before| {
                policy::after_limit(failure, claimed, store.now().wall, before, store.random() as u64)
            }),
        // Most vendors are not parked, and then nobody needs the lock.
        Outcome::Completed(_) if store.parked_vendors().contains_key(account) => {
            store.change_parked(account, |before| policy::after_answer(claimed, before))
        }
        _ => return None,
    };
    match changed {
        Ok(ParkChange::Park(parked)) => Some(parked),
        Ok(_) => None,
        Err(error) => {
            desk.warn(format!("{account} cannot be parked: {error}"));
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
    answer::closing(&response.body)
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
