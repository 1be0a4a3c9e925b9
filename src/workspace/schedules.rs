//! Schedules: `schedules:` in handoff.yaml, and the tasks that are submitted by them.
//!
//! Any number of dispatchers and servers may run the schedules of a workspace: the idempotency key
//! `schedule:NAME:TIME` makes each time one task, and `schedules.json` in the store records which times are done with.

use serde_json::Value;

use super::base_dir::BaseDir;
use super::config::Config;
use super::submit::{SubmitContext, check_submit};
use super::submit_request::SubmitRequest;
use super::yaml::MappingReader;
use crate::error::{Error, ErrorKind, Result, brief};
use crate::model::json::Object;
use crate::model::schedule::{CatchUp, CronRule, ScheduleZone, check_schedule_name};
use crate::model::task::object;
use crate::model::{LaneName, Status, TaskId, Time};
use crate::store::{ScheduleRecord, Store, SubmittedTask};

/// A schedule of a workspace: when its task is submitted, and which one.
#[derive(Clone, Debug)]
pub(crate) struct ScheduledTask {
    /// Its name.
    pub name: String,
    /// When it is due.
    pub rule: CronRule,
    /// Which missed times are made up for.
    pub catch_up: CatchUp,
    /// The lane of its tasks.
    pub lane: LaneName,
    request: SubmitRequest,
}

/// What running the schedules once has done.
#[derive(Debug, Default)]
pub(crate) struct SchedulePass {
    /// The tasks that were made: schedule and id.
    pub submitted: Vec<(String, TaskId)>,
    /// The schedules whose task could not be submitted, with the reason. They stay due.
    pub failed: Vec<(String, Error)>,
    /// The next time at which a schedule is due.
    pub next: Option<Time>,
}

/// Reads the schedules of a workspace, by name.
///
/// # Errors
/// `Config`, naming file and key.
pub(crate) fn schedules(config: &Config) -> Result<Vec<ScheduledTask>> {
    let Some(value) = &config.schedules else { return Ok(Vec::new()) };
    let Value::Object(all) = value else {
        return Err(config
            .file_part()
            .part(&["schedules"], "schedules".into())
            .error_here("must be a mapping"));
    };
    all.iter().map(|(name, settings)| schedule(config, name, settings)).collect()
}

fn schedule(config: &Config, name: &str, settings: &Value) -> Result<ScheduledTask> {
    let place = config.file_part().part(&["schedules", name], format!("schedules.{}", brief(name)));
    check_schedule_name(name).map_err(|error| place.error_here(&format!("has an {}", error.message())))?;
    let Value::Object(settings) = settings else {
        return Err(place.error_here("must be a mapping"));
    };
    let refuse = |key: &str, why: &str| place.error(key, why);
    let mut fields = MappingReader::of_part(place.clone(), settings.clone());
    let zone = match fields.text_or_blank("timezone")? {
        Some(zone) => ScheduleZone::named(&zone).map_err(|why| refuse("timezone", &why))?,
        None => ScheduleZone::of_machine(),
    };
    let Some(cron) = fields.text_or_blank("cron")? else {
        return Err(refuse(
            "cron",
            "is missing; give minute, hour, day, month and weekday, as in '0 3 * * 1-5'",
        ));
    };
    let rule = CronRule::parse(&cron, zone).map_err(|why| refuse("cron", &why))?;
    if rule.next_after(Time::from_micros(0)).is_none() {
        return Err(refuse("cron", "this time never comes"));
    }
    let catch_up = match fields.text_or_blank("catch_up")? {
        None => CatchUp::default(),
        Some(text) => CatchUp::parse(&text).ok_or_else(|| refuse("catch_up", "expected one, all or none"))?,
    };
    for key in ["key", "not_before"] {
        if fields.has(key) {
            return Err(refuse(key, "a schedule sets it; remove it"));
        }
    }
    if fields.has("prompt") && fields.has("prompt_file") {
        return Err(refuse("prompt_file", "give either a file or `prompt`"));
    }
    let base = BaseDir::at(config.path().and_then(|path| path.parent()).unwrap_or(&config.workspace_root));
    let (mut request, warnings) = SubmitRequest::from_line(fields, &base)?;
    if let Some(warning) = warnings.into_iter().next() {
        return Err(Error::config(warning.replace(", which are ignored", "")));
    }
    let Some(lane) = request.lane.clone() else { return Err(refuse("lane", "is missing")) };
    let lane = LaneName::new(lane).map_err(|error| refuse("lane", error.message()))?;
    if request.prompt.is_none() && request.prompt_file.is_none() && request.request_from.is_none() {
        return Err(place.error_here("has nothing to do: give prompt, prompt_file or request_from"));
    }
    request.source_agent.get_or_insert_with(|| "schedule".to_string());
    request.correlation_id.get_or_insert_with(|| name.to_string());
    Ok(ScheduledTask { name: name.to_string(), rule, catch_up, lane, request })
}

impl ScheduledTask {
    /// Returns expression and time zone in one text, by which a changed schedule is noticed.
    fn rule_text(&self) -> String {
        format!("{} {}", self.rule.text(), self.rule.zone_name().unwrap_or("local"))
    }

    /// Submits the task for `time`, unless it was submitted before. Returns the task; `None` if another process has
    /// submitted it with other settings than these.
    fn submit(&self, store: &Store, config: &Config, time: Time) -> Result<Option<SubmittedTask>> {
        let mut request = self.request.clone();
        let second = time.to_string().replace(".000000Z", "Z");
        request.key = Some(format!("schedule:{}:{second}", self.name));
        request.metadata.insert("schedule".to_string(), self.name.clone().into());
        request.metadata.insert("scheduled_for".to_string(), second.into());
        let base = BaseDir::at(config.workspace_root.clone());
        let checked = check_submit(&SubmitContext::new(config, &base, store.now().wall), request)?;
        match store.submit(checked.task) {
            Ok(submitted) => Ok(Some(submitted)),
            Err(error) if error.kind() == ErrorKind::Refused => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Submits the tasks of all schedules that are due. A schedule that is new, or whose expression or time zone has
/// changed, begins with its next time.
///
/// # Errors
/// Any error of the store; what one schedule alone prevents is in the result.
pub(crate) fn run_schedules(
    store: &Store,
    config: &Config,
    schedules: &[ScheduledTask],
) -> Result<SchedulePass> {
    let mut pass = SchedulePass::default();
    if schedules.is_empty() {
        return Ok(pass);
    }
    let now = store.now().wall;
    let mut records = store.schedule_records()?;
    for schedule in schedules {
        let rule = schedule.rule_text();
        let known = records.remove(&(config.workspace_id.clone(), schedule.name.clone()));
        let record = match known {
            Some(record) if record.rule == rule => record,
            before => {
                let last = before.and_then(|record| record.last);
                let record = ScheduleRecord { rule, until: now, last };
                store.record_schedule(&config.workspace_id, &schedule.name, &record)?;
                record
            }
        };
        let mut next = schedule.rule.next_after(record.until.max(now));
        for time in schedule.rule.due(record.until, now, schedule.catch_up) {
            match schedule.submit(store, config, time) {
                Ok(submitted) => {
                    let id = submitted.as_ref().map(|submitted| &submitted.task.id);
                    let last = id.map(|id| (time, id.to_string())).or(record.last.clone());
                    let record = ScheduleRecord { until: time, last, ..record.clone() };
                    store.record_schedule(&config.workspace_id, &schedule.name, &record)?;
                    // Of several processes that find it due, the one that made the task reports it.
                    let made = submitted.filter(|submitted| !submitted.existing);
                    pass.submitted.extend(made.map(|made| (schedule.name.clone(), made.task.id)));
                }
                Err(error) => {
                    next = Some(now);
                    pass.failed.push((schedule.name.clone(), error));
                    break;
                }
            }
        }
        pass.next = [pass.next, next].into_iter().flatten().min();
    }
    Ok(pass)
}

/// What a schedule has done and will do.
#[derive(Debug)]
pub(crate) struct ScheduleReport {
    /// The schedule.
    pub schedule: ScheduledTask,
    /// The next time for which it submits a task.
    pub next: Option<Time>,
    /// The time for which it submitted its last task.
    pub last: Option<Time>,
    /// The id of that task.
    pub last_task: Option<String>,
    /// The state of that task, with its failure class if it failed; `removed` if it is no longer there.
    pub last_state: Option<String>,
}

impl ScheduleReport {
    /// Returns the report as JSON.
    pub(crate) fn to_object(&self) -> Object {
        let ScheduledTask { name, rule, catch_up, lane, .. } = &self.schedule;
        object([
            ("name", name.as_str().into()),
            ("lane", lane.into()),
            ("cron", rule.text().into()),
            ("timezone", rule.zone_name().into()),
            ("catch_up", catch_up.as_str().into()),
            ("next", self.next.map(|time| time.to_string()).into()),
            ("last", self.last.map(|time| time.to_string()).into()),
            ("last_task", self.last_task.clone().into()),
            ("last_state", self.last_state.clone().into()),
        ])
    }
}

/// Returns what the schedules of a workspace have done and will do, by name.
///
/// # Errors
/// As [`schedules`]; any error of the store.
pub(crate) fn schedule_reports(store: &Store, config: &Config) -> Result<Vec<ScheduleReport>> {
    let mut records = store.schedule_records()?;
    let now = store.now().wall;
    let report = |schedule: ScheduledTask| -> Result<ScheduleReport> {
        let key = (config.workspace_id.clone(), schedule.name.clone());
        let record = records.remove(&key).filter(|record| record.rule == schedule.rule_text());
        let from = record.as_ref().map_or(now, |record| record.until);
        let overdue = schedule.rule.due(from, now, schedule.catch_up).into_iter().next();
        let next = overdue.or_else(|| schedule.rule.next_after(from.max(now)));
        let (last, last_task) = record.and_then(|record| record.last).unzip();
        let last_state = last_task.as_deref().map(|id| state_of(store, id)).transpose()?;
        Ok(ScheduleReport { schedule, next, last, last_task, last_state })
    };
    schedules(config)?.into_iter().map(report).collect()
}

/// Describes the state of a task in a word or two.
fn state_of(store: &Store, id: &str) -> Result<String> {
    match TaskId::parse(id).and_then(|id| store.task(&id)) {
        Ok(task) => Ok(match &store.shown(task).status {
            Status::Failed { class, .. } => format!("failed ({})", class.as_str()),
            status => status.as_str().to_string(),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok("removed".to_string()),
        Err(error) => Err(error),
    }
}
