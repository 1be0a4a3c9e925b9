//! Explains what a task is waiting for.

use serde_json::Value;

use crate::error::{Result, printable, shell_word};
use crate::model::bridge::{BRIDGE, metadata_text};
#[cfg(feature = "cli")]
use crate::model::spending::LaneOverBudget;
use crate::model::task::Availability;
use crate::model::{
    Claim, Cooldown, CooldownCause, CooldownKey, FailureClass, LaneName, Owner, RequestCheck, Status, Task,
    TaskId, Time, cooldown,
};
use crate::store::{BridgeInfo, HeldKey, Pause, Store, WorkerInfo, WorkerKind};

/// Why a task waits: a stable name for programs, and a sentence for people.
pub(crate) struct Reason {
    /// The name.
    pub code: &'static str,
    /// The sentence.
    pub sentence: String,
}

/// The name of the reason for which a task of a dead dispatcher waits.
pub(crate) const DISPATCHER_GONE: &str = "dispatcher_gone";

/// Explains the state of a task.
///
/// # Errors
/// The error of the store, when it cannot be read.
pub(crate) fn why(store: &Store, task: &Task) -> Result<Reason> {
    let mut reason = reason_of_state(store, task)?;
    if let Some(board) = state_of_board(store, task)? {
        reason.sentence = format!("{}; {board}", reason.sentence);
    }
    Ok(reason)
}

/// Explains what keeps the card of a task from telling what becomes of it; `None` if nothing does, or if it has no card.
fn state_of_board(store: &Store, task: &Task) -> Result<Option<String>> {
    let Some(name) = metadata_text(&task.spec.metadata, BRIDGE) else { return Ok(None) };
    let running =
        store.live_workers()?.iter().filter_map(WorkerInfo::bridge).find(|bridge| bridge.name == name);
    Ok(match running {
        Some(BridgeInfo { failure: Some((since, error)), .. }) => {
            Some(format!("board {name} has been unreachable since {since}: {}", shorten(&error, 200)))
        }
        Some(_) => None,
        // What the card of an ended task tells does not change any more.
        None if task.status.is_terminal() => None,
        None => Some(format!("its card is not updated: `lanes bridge {}` is not running", shell_word(name))),
    })
}

fn reason_of_state(store: &Store, task: &Task) -> Result<Reason> {
    let now = store.now();
    let say = |code, sentence| Ok(Reason { code, sentence });
    match (&task.status, task.availability(&now)) {
        (Status::Completed { at, .. }, _) => say("completed", format!("done: answered at {at}")),
        (Status::Failed { class: FailureClass::Cancelled, reason, .. }, _) => {
            say("cancelled", format!("ended: {reason}"))
        }
        (Status::Failed { class, reason, .. }, _) => {
            let word = if *class == FailureClass::Dead { "dead" } else { "failed" };
            say(word, failed_sentence(reason, task.retried_as.as_deref(), &task.id))
        }
        (Status::Unknown(word), _) => say("parked", format!("a newer lanes put it into the state '{word}'")),
        (_, Availability::Expired) => say(
            "expired",
            "its deadline has passed; the next command that looks for work or for the task fails it"
                .to_string(),
        ),
        (_, Availability::Blocked) => say("blocked", blocked_sentence(store, task)?),
        (Status::Claimed(claim), Availability::Leased(until)) => claimed_reason(store, claim, until),
        (_, Availability::Spent) => {
            say("spent", "its attempts are spent; the next claim in its lane declares it dead".to_string())
        }
        (_, Availability::InputRequired) => Ok(input_reason(task, now.wall)),
        (_, Availability::NotBefore(until)) => {
            say("scheduled", format!("waiting for its time: scheduled for {until}"))
        }
        _ => waiting_reason(store, task),
    }
}

/// Explains a task that has failed.
pub(super) fn failed_sentence(reason: &str, retried_as: Option<&str>, id: &TaskId) -> String {
    let reason = shorten(reason, 200);
    let then = match retried_as {
        Some(new) => format!("it was retried as {new}"),
        None => format!("`lanes retry {id}` submits it again"),
    };
    format!("failed ({reason}); {then}")
}

/// Names the dependencies of a task that are open, and their states.
fn blocked_sentence(store: &Store, task: &Task) -> Result<String> {
    const MAX_NAMED: usize = 5;
    let after = &task.spec.after;
    let (mut open, shown) = (Vec::new(), store.shown_states());
    for dependency in after {
        match store.task(&dependency.task).map(|task| shown.shown(task)) {
            Ok(task) if !task.status.is_terminal() => {
                open.push(format!("{} ({})", task.id, task.status.as_str()));
            }
            Ok(_) => {}
            Err(error) => open.push(format!("{} ({})", dependency.task, error.message())),
        }
    }
    if open.is_empty() {
        return Ok(
            "its dependencies have ended; the next command that looks for work releases it".to_string()
        );
    }
    let more = open.len().saturating_sub(MAX_NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let count = open.len();
    open.truncate(MAX_NAMED);
    Ok(format!(
        "waiting for {count} of {} {}: {}{more}",
        after.len(),
        if after.len() == 1 { "dependency" } else { "dependencies" },
        open.join(", ")
    ))
}

/// Explains a task that waits for the answer to a question.
pub(super) fn input_reason(task: &Task, now: Time) -> Reason {
    let open: Vec<_> = task.open_questions(now).collect();
    let more = match open.len() {
        0 | 1 => String::new(),
        n => format!(" ({} more)", n - 1),
    };
    let asked = open.first().map_or_else(String::new, |question| {
        let default = question.default.as_ref().map_or_else(String::new, |default| {
            format!(", or at {} the default applies", default.expires_at)
        });
        let text = shorten(&question.text, 200);
        format!(
            "question {} of {}: {text}{more}; `lanes answer {}` answers it{default}",
            question.number, question.asked_by, task.id
        )
    });
    Reason { code: "input_required", sentence: format!("waiting for an answer to {asked}") }
}

/// The dispatchers that have died, whose claims nobody has recovered yet.
pub(crate) struct DeadDispatchers(Vec<WorkerInfo>);

impl DeadDispatchers {
    /// Finds them.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn of(store: &Store) -> Result<Self> {
        store.dead_workers(&WorkerKind::Dispatcher).map(Self)
    }

    /// Returns whether one of them had this claim.
    pub(crate) fn had(&self, claim: &Claim) -> bool {
        self.0.iter().any(|worker| worker.claimed_with(&claim.token))
    }
}

/// Explains a task under a lease that has not ended.
fn claimed_reason(store: &Store, claim: &Claim, until: Time) -> Result<Reason> {
    if !DeadDispatchers::of(store)?.had(claim) {
        let workers = store.live_workers()?;
        let holder = workers.iter().find(|worker| worker.claimed_with(&claim.token) && worker.is_stopped());
        let stopped = holder.map_or_else(String::new, |worker| {
            format!("; its process is stopped: `kill -CONT {}` continues it", worker.pid)
        });
        let sentence = format!("{} is working on it, under a lease until {until}{stopped}", claim.owner);
        return Ok(Reason { code: "claimed", sentence });
    }
    let next = if store.live_workers()?.iter().any(|worker| worker.kind == WorkerKind::Dispatcher) {
        "another one recovers it in a moment".to_string()
    } else {
        format!(
            "the next `lanes dispatch` recovers it at once, otherwise it is free when its lease ends at {until}"
        )
    };
    let sentence = format!("waiting for a dispatcher: {}, which claimed it, has died; {next}", claim.owner);
    Ok(Reason { code: DISPATCHER_GONE, sentence })
}

/// Explains why a task that can be claimed has not been claimed.
fn waiting_reason(store: &Store, task: &Task) -> Result<Reason> {
    let say = |code, sentence| Ok(Reason { code, sentence });
    let lane = &task.spec.lane;
    if let Some(pause) = store.paused()?.get(lane) {
        return say("paused", paused_sentence(lane, pause));
    }
    match store.blobs().request_check(task) {
        RequestCheck::Missing => {
            return say("request_missing", format!("its request file is missing: {}", task.request_path));
        }
        RequestCheck::Unreadable(why) => {
            let path = &task.request_path;
            return say("request_missing", format!("its request file cannot be read: {why}: {path}"));
        }
        RequestCheck::Changed(_) => {
            return say(
                "request_changed",
                format!(
                    "its request file is not the submitted one: {}; restore it or cancel the task",
                    task.request_path
                ),
            );
        }
        RequestCheck::Same | RequestCheck::Unchecked => {}
    }
    if let Some(held) = store.held_key(task)? {
        let HeldKey { key, holder, since } = held;
        let key = printable(key.as_str());
        let sentence = match since {
            Some(since) => format!("waiting for the key '{key}', which {holder} has held since {since}"),
            None => format!(
                "waiting for the key '{key}', which {holder} may hold, but cannot be read; `lanes fsck` shows what can be done"
            ),
        };
        return say("key_held", sentence);
    }
    let is_served = store.lane_is_served(lane)?;
    if let Some(cooldown) = all_vendors_cooling_down(store, task, is_served)? {
        let nobody = if is_served { String::new() } else { format!(" (and nobody serves lane {lane} now)") };
        return say(cooldown_code(&cooldown), cooldown_sentence(&cooldown, &nobody));
    }
    #[cfg(feature = "cli")]
    if let Some(over) = store.recorded_spending()?.over.remove(lane.as_str())
        && over.until > store.now().wall
    {
        return say("budget", budget_sentence(lane, &over));
    }
    if !is_served {
        return say("no_worker", unserved_sentence(lane));
    }
    if let Some(reason) = nobody_claims(store, lane)? {
        return Ok(reason);
    }
    if let Some((owner, missing)) = unready_everywhere(store, lane)? {
        return say("lane_unready", unready_sentence(&owner, lane, &missing));
    }
    let ahead = store.tasks_ahead(task)?;
    let what = match ahead {
        0 => "it is next".to_string(),
        1 => "1 task is ahead of it".to_string(),
        n => format!("{n} tasks are ahead of it"),
    };
    say("queued", format!("waiting for a free worker in lane {lane}: {what}"))
}

/// Explains a lane that is paused.
pub(super) fn paused_sentence(lane: &LaneName, pause: &Pause) -> String {
    let why = pause.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!(
        "lane {lane} has been paused since {}{why}; run `lanes resume {}` to reopen it",
        pause.since,
        shell_word(lane.as_str())
    )
}

/// Explains a lane that waits for a budget.
#[cfg(feature = "cli")]
pub(super) fn budget_sentence(lane: &LaneName, over: &LaneOverBudget) -> String {
    let then = match over.is_spent {
        true => format!("lane {lane} continues at {}, or after `lanes budget add`", over.until),
        false => format!("lane {lane} continues when they are done and have cost less"),
    };
    format!("waiting for a budget: {}; {then}", over.message)
}

/// Explains a lane that nobody serves.
pub(super) fn unserved_sentence(lane: &LaneName) -> String {
    format!("waiting for a worker: nobody serves lane {lane}")
}

/// Returns the command that starts a worker for a lane.
pub(super) fn worker_command(lane: &LaneName) -> String {
    match lane.agent() {
        Some(_) => "lanes dispatch --on-demand".to_string(),
        None => format!("lanes claim --lane {} --wait", shell_word(lane.as_str())),
    }
}

/// Explains a lane that a dispatcher skips.
pub(super) fn unready_sentence(owner: &Owner, lane: &LaneName, missing: &str) -> String {
    format!("waiting for what {owner} needs for lane {lane}: {}", shorten(missing, 200))
}

/// Explains why none of the workers that are registered for a lane claims, if that is so: each of them is stopped or
/// draining.
pub(super) fn nobody_claims(store: &Store, lane: &LaneName) -> Result<Option<Reason>> {
    let workers = store.live_workers()?;
    let of_lane: Vec<_> = workers.iter().filter(|worker| worker.lanes.contains(lane)).collect();
    if of_lane.iter().any(|worker| !worker.is_draining() && !worker.is_stopped()) {
        return Ok(None);
    }
    Ok(of_lane.first().map(|worker| {
        let (owner, pid) = (&worker.owner, worker.pid);
        if worker.is_stopped() {
            let sentence = format!(
                "waiting for {owner}, whose process is stopped: `kill -CONT {pid}` continues it, `kill -9 {pid}` ends it"
            );
            return Reason { code: "worker_stopped", sentence };
        }
        let next = match worker.is_on_demand() {
            true => "another one is started when a chat waits for the task",
            false => "it takes nothing new",
        };
        Reason { code: "draining", sentence: format!("waiting for a worker: {owner} is draining; {next}") }
    }))
}

/// Returns what is missing, if every worker of a lane is a dispatcher that skips the lane because of it.
fn unready_everywhere(store: &Store, lane: &LaneName) -> Result<Option<(Owner, String)>> {
    let mut first = None;
    for worker in store.live_workers()?.iter().filter(|worker| worker.lanes.contains(lane)) {
        let Some(missing) = worker.unready_lanes().remove(lane) else { return Ok(None) };
        first.get_or_insert((worker.owner.clone(), missing));
    }
    Ok(first)
}

fn cooldown_code(cooldown: &Cooldown) -> &'static str {
    if cooldown.cause == CooldownCause::Account { "vendor_unready" } else { "vendor_parked" }
}

/// Returns the command that ends a cooldown; `None` for one that only time ends.
#[cfg(feature = "cli")]
pub(super) fn resume_command(cooldown: &Cooldown) -> Option<String> {
    match cooldown.cause {
        CooldownCause::Account | CooldownCause::Person => Some(resume_vendor(cooldown)),
        CooldownCause::UsageLimit | CooldownCause::Overloaded => None,
    }
}

/// Returns when a cooldown ends by itself.
#[cfg(feature = "cli")]
pub(super) fn end_of(cooldown: &Cooldown) -> Option<Time> {
    Some(cooldown.until).filter(|until| *until != cooldown::indefinite_end())
}

fn resume_vendor(cooldown: &Cooldown) -> String {
    let vendor = shell_word(cooldown.scope.account_key.as_str());
    let model =
        cooldown.scope.model().map_or(String::new(), |model| format!(" --model {}", shell_word(model)));
    format!("lanes resume --vendor {vendor}{model}")
}

/// Explains what waits for the end of a cooldown.
pub(super) fn cooldown_sentence(cooldown: &Cooldown, nobody: &str) -> String {
    let (name, until) = (cooldown.name(), cooldown.until);
    let reason = shorten(&cooldown.reason, 200);
    let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
    let resume = format!("`{}`", resume_vendor(cooldown));
    let end = match cooldown.cause {
        CooldownCause::Account => {
            return format!(
                "waiting for {name}, which is unready: log in, then {resume}, or one task tests it at \
                 {until}{nobody}{reason}"
            );
        }
        CooldownCause::Person if until == cooldown::indefinite_end() => resume,
        CooldownCause::Person => format!("{until} or {resume}"),
        CooldownCause::UsageLimit | CooldownCause::Overloaded => until.to_string(),
    };
    format!("waiting for {name}, which is not used until {end}{nobody}{reason}")
}

/// Returns the cooldown that ends first, if all workers that may take a task are prevented by one.
fn all_vendors_cooling_down(store: &Store, task: &Task, is_served: bool) -> Result<Option<Cooldown>> {
    let all = store.active_cooldowns()?;
    if all.is_empty() {
        return Ok(None);
    }
    let now = store.now().wall;
    let vendors =
        if is_served { vendors_at_work(store, task)? } else { Vec::from_iter(usual_vendor(store, task)?) };
    let stopping = |(vendor, model): &(String, Option<String>)| {
        let account_key = CooldownKey::of_vendor(vendor.as_str());
        cooldown::cooldown_for(&all, &account_key, model.as_deref(), now).cloned()
    };
    let pauses: Option<Vec<Cooldown>> = vendors.iter().map(stopping).collect();
    Ok(pauses.into_iter().flatten().min_by_key(|pause| pause.until))
}

/// Returns the vendors of the running dispatchers that may take a task, with the models that it would get; empty
/// if another worker may take it too.
fn vendors_at_work(store: &Store, task: &Task) -> Result<Vec<(String, Option<String>)>> {
    let mut vendors = Vec::new();
    for worker in store.live_workers()?.iter().filter(|worker| worker.lanes.contains(&task.spec.lane)) {
        if worker.kind != WorkerKind::Dispatcher {
            return Ok(Vec::new());
        }
        vendors.extend(worker.vendors_for_lane(&task.spec.lane, model_class(task)));
    }
    if let Some(required) = required_vendor(task) {
        vendors.retain(|(vendor, _)| vendor == required);
    }
    Ok(vendors)
}

/// Returns the vendor and model of a task, as far as they are known without a dispatcher: from its metadata, or
/// from an earlier run.
fn usual_vendor(store: &Store, task: &Task) -> Result<Option<(String, Option<String>)>> {
    let started = store.events(&task.id)?.into_iter().rev().find(|event| event.kind == "headless_started");
    let recorded = |key: &str| started.as_ref()?.data.get(key)?.as_str().map(str::to_string);
    let model = recorded("model").or_else(|| model_class(task).map(str::to_string));
    Ok(required_vendor(task).map(str::to_string).or_else(|| recorded("vendor")).map(|vendor| (vendor, model)))
}

fn model_class(task: &Task) -> Option<&str> {
    task.spec.metadata.get("model_class").and_then(Value::as_str).filter(|class| *class != "any")
}

fn required_vendor(task: &Task) -> Option<&str> {
    task.spec.metadata.get("required_vendor").and_then(Value::as_str).filter(|vendor| *vendor != "any")
}

/// Returns at most `length` characters of the first line of a text.
fn shorten(text: &str, length: usize) -> String {
    let first = text.lines().next().unwrap_or_default();
    if first.chars().count() <= length {
        first.to_string()
    } else {
        let head: String = first.chars().take(length.saturating_sub(1)).collect();
        format!("{head}…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;

    #[test]
    fn a_cooldown_is_a_sentence() {
        let until = Time::from_micros(60_000_000);
        let mut cooldown = Cooldown {
            scope: cooldown::CooldownScope {
                account_key: CooldownKey::of_vendor("claude"),
                models: cooldown::CooledModels::One { name: "opus".to_string(), by_default: false },
            },
            cause: CooldownCause::UsageLimit,
            since: Time::from_micros(0),
            until,
            certainty: cooldown::Certainty::Guess,
            reason: "5 hours".to_string(),
            strikes: 1,
        };
        let nobody = " (and nobody serves lane l now)";
        let mut sentence = |cause, until, nobody| {
            (cooldown.cause, cooldown.until) = (cause, until);
            cooldown_sentence(&cooldown, nobody)
        };
        let waits = "waiting for claude with model opus, ";
        let (time, resume) = ("1970-01-01T00:01:00.000000Z", "`lanes resume --vendor claude --model opus`");
        for (cause, until, expected) in [
            (CooldownCause::UsageLimit, until, format!("which is not used until {time}: 5 hours")),
            (CooldownCause::Person, until, format!("which is not used until {time} or {resume}: 5 hours")),
            (
                CooldownCause::Person,
                cooldown::indefinite_end(),
                format!("which is not used until {resume}: 5 hours"),
            ),
            (
                CooldownCause::Account,
                until,
                format!("which is unready: log in, then {resume}, or one task tests it at {time}: 5 hours"),
            ),
        ] {
            assert_eq!(sentence(cause, until, ""), format!("{waits}{expected}"));
        }
        assert_eq!(
            sentence(CooldownCause::UsageLimit, until, nobody),
            format!("{waits}which is not used until {time}{nobody}: 5 hours")
        );
    }
}
