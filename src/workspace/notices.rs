//! Notices: `notify:` in handoff.yaml, the commands that people want to be run when something happens.
//!
//! One process delivers the notices of a workspace at a time, each at least once: the position in the feed is recorded
//! after the delivery. A command that fails is tried again, with growing delays, and holds up no other notice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::bounded_command::output_within;
use super::config::Config;
use super::yaml::{FilePart, MappingReader};
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::json::{self, Object};
use crate::model::notice::{NoticeKind, is_end, retry_time};
use crate::model::task::object;
use crate::model::{Cooldown, CooldownCause, GroupName, LaneName, Status, Task, TaskId, Time, duration};
use crate::store::{FeedEntry, FileLock, NoticeState, PendingNotice, Store};

/// The time that a command of a notice may take unless its rule says otherwise, and the longest one.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_TIMEOUT: Duration = Duration::from_secs(600);
/// The maximum number of notices that are delivered at the same time.
const MAX_AT_ONCE: usize = 4;
/// The number of changes that are read at once. After so many without a notice, the position is recorded anyway.
const BATCH: usize = 200;
/// The maximum number of notices that wait for another attempt; the oldest is dropped for a new one.
const MAX_PENDING: usize = 1000;
/// The variables of a program of a notice, and what they hold of it.
const VARIABLES: [(&str, &str); 3] =
    [("LANES_NOTICE", "notice"), ("LANES_MESSAGE", "message"), ("LANES_TASK_ID", "task_id")];
/// The maximum number of characters of the reason in a message.
const MAX_REASON: usize = 300;

/// A rule: which notices are delivered, and how.
#[derive(Clone, Debug)]
pub(crate) struct NoticeRule {
    /// Its kinds of notices.
    on: Vec<NoticeKind>,
    /// Only tasks of these lanes; empty for all.
    lanes: Vec<LaneName>,
    /// The programs to run one after the other, each with its arguments.
    commands: Vec<Vec<String>>,
    /// The longest run of each.
    timeout: Duration,
    /// The settings as they are written, by which a changed rule is noticed.
    text: String,
    /// The directory in which the programs run: that of handoff.yaml.
    directory: PathBuf,
}

/// Reads the rules for notices of a workspace.
///
/// # Errors
/// `Config`, naming file and key.
pub(crate) fn notice_rules(config: &Config) -> Result<Vec<NoticeRule>> {
    let Some(value) = &config.notify else { return Ok(Vec::new()) };
    let file = config.file_part();
    let Value::Array(rules) = value else {
        return Err(file.part(&["notify"], "notify".into()).error_here("must be a list"));
    };
    let directory = config.path().and_then(|path| path.parent()).unwrap_or(&config.workspace_root);
    let rule = |(n, settings): (usize, &Value)| {
        let place = file.part(&["notify", &n.to_string()], format!("notify[{n}]"));
        rule(&place, settings, directory.to_path_buf())
    };
    rules.iter().enumerate().map(rule).collect()
}

fn rule(place: &FilePart, settings: &Value, directory: PathBuf) -> Result<NoticeRule> {
    let Value::Object(object) = settings else {
        return Err(place.error_here("must be a mapping"));
    };
    let refuse = |key: &str, why: &str| place.error(key, why);
    let mut fields = MappingReader::of_part(place.clone(), object.clone());
    let names: Vec<&str> = NoticeKind::NAMES.iter().map(|(name, _)| *name).collect();
    let kind = |name: String| {
        let expected =
            || refuse("on", &format!("unknown kind {}; expected {}", printable(&name), names.join(", ")));
        NoticeKind::parse(&name).ok_or_else(expected)
    };
    let on = fields.texts("on")?.into_iter().map(kind).collect::<Result<Vec<_>>>()?;
    if on.is_empty() {
        return Err(refuse("on", &format!("is missing; expected a list of {}", names.join(", "))));
    }
    let lanes = fields.texts("lanes")?.into_iter().map(LaneName::new).collect::<Result<Vec<_>>>();
    let lanes = lanes.map_err(|error| refuse("lanes", error.message()))?;
    let commands = commands(fields.value("command"), &directory).ok_or_else(|| {
        refuse(
            "command",
            "expected a line for sh, or a list of programs with arguments, as in [[notify-send, lanes]]",
        )
    })?;
    let timeout = match fields.seconds("timeout")? {
        None => DEFAULT_TIMEOUT,
        Some(seconds) => duration::from_seconds(seconds)
            .filter(|timeout| !timeout.is_zero() && *timeout <= MAX_TIMEOUT)
            .ok_or_else(|| refuse("timeout", "expected a time of at most 10 minutes"))?,
    };
    if let Some(unknown) = fields.unknown_keys() {
        return Err(Error::config(unknown.replace(", which are ignored", "")));
    }
    Ok(NoticeRule { on, lanes, commands, timeout, text: settings.to_string(), directory })
}

/// Reads the programs of a rule: a line for `sh`, a program with arguments, or a list of such.
fn commands(value: Option<Value>, directory: &Path) -> Option<Vec<Vec<String>>> {
    let program = |items: &[Value]| -> Option<Vec<String>> {
        let mut words: Vec<String> =
            items.iter().map(|item| item.as_str().map(str::to_string)).collect::<Option<_>>()?;
        let first = words.first_mut().filter(|word| !word.trim().is_empty())?;
        if first.contains('/') {
            *first = super::paths::absolute(directory, first.as_ref()).ok()?.to_str()?.to_string();
        }
        Some(words)
    };
    match value? {
        Value::String(line) if !line.trim().is_empty() => Some(vec![vec!["sh".into(), "-c".into(), line]]),
        Value::Array(items) if items.iter().all(Value::is_array) && !items.is_empty() => {
            items.iter().map(|item| program(item.as_array()?)).collect()
        }
        Value::Array(items) => Some(vec![program(&items)?]),
        _ => None,
    }
}

impl NoticeRule {
    fn matches(&self, notice: &Object) -> bool {
        let text = |key: &str| notice.get(key).and_then(Value::as_str);
        let kind = text("notice").and_then(NoticeKind::parse);
        let lane = text("lane");
        kind.is_some_and(|kind| self.on.contains(&kind))
            && (self.lanes.is_empty() || lane.is_none_or(|lane| self.lanes.iter().any(|own| *own == *lane)))
    }

    /// Runs the programs of the rule one after the other, with the notice on standard input.
    ///
    /// # Errors
    /// The reason why one of them has failed.
    fn deliver(&self, notice: &Object) -> std::result::Result<(), String> {
        let input = json::portable_line(notice);
        let text = |key: &str| notice.get(key).and_then(Value::as_str).unwrap_or_default();
        for argv in &self.commands {
            let Some((program, arguments)) = argv.split_first() else { continue };
            let mut command = Command::new(program);
            command.args(arguments).current_dir(&self.directory);
            for (name, key) in VARIABLES {
                command.env(name, text(key));
            }
            let output = output_within(&mut command, input.as_bytes(), self.timeout)
                .map_err(|error| error.to_string())?;
            if !output.status.success() {
                let errors = String::from_utf8_lossy(&output.stderr);
                let last = errors.lines().rev().find(|line| !line.trim().is_empty());
                let said = last.map(|line| format!(": {}", shorten(line))).unwrap_or_default();
                return Err(printable(&format!("{program} ended with {}{said}", output.status)));
            }
        }
        Ok(())
    }
}

/// Delivers the notices of a workspace, in the one process that has the lock for it.
pub(crate) struct Notifier {
    _lock: FileLock,
    workspace_id: String,
    state: NoticeState,
    /// The position in the feed that is recorded.
    recorded: u64,
}

impl Notifier {
    /// Begins to deliver the notices of a workspace; `None` while another process does. The first one begins with what
    /// happens next.
    ///
    /// # Errors
    /// Any error of the store.
    pub(crate) fn start(store: &Store, config: &Config) -> Result<Option<Self>> {
        let workspace_id = config.workspace_id.clone();
        let Some(lock) = store.try_notice_lock(&workspace_id)? else { return Ok(None) };
        let state = match store.notice_state(&workspace_id)? {
            Some(state) => state,
            None => {
                let told = store.active_cooldowns()?.values().filter_map(told_entry).collect();
                let state = NoticeState { after: store.feed_end()?, told, pending: Vec::new() };
                store.set_notice_state(&workspace_id, &state)?;
                state
            }
        };
        Ok(Some(Self { _lock: lock, workspace_id, recorded: state.after, state }))
    }

    /// Delivers what has happened since the last call, and what could not be delivered before. Returns warnings, and
    /// when there is something to deliver again.
    ///
    /// # Errors
    /// Any error of the store; what was not delivered stays to be delivered.
    pub(crate) fn deliver(
        &mut self,
        store: &Store,
        rules: &[NoticeRule],
    ) -> Result<(Vec<String>, Option<Time>)> {
        let mut warnings = Vec::new();
        // A store that was replaced by an older one continues with what happens next.
        self.state.after = self.state.after.min(store.feed_end()?);
        loop {
            let entries = store.feed_since(self.state.after, BATCH)?;
            let mut next = self.state.clone();
            next.after = entries.last().map_or(next.after, |entry| entry.seq);
            let mut notices: Vec<Object> = Vec::new();
            for entry in &entries {
                notices.extend(self.notice_of(store, entry)?);
            }
            if rules.iter().any(|rule| rule.on.contains(&NoticeKind::GroupDone)) {
                notices.extend(self.notices_of_groups(store, &entries)?);
            }
            notices.extend(notices_of_conditions(store, &mut next)?);
            let now = store.now().wall;
            let (due, later) = next.pending.into_iter().partition(|pending| pending.next <= now);
            next.pending = later;
            let has_work = self.run(rules, notices, due, now, &mut next.pending, &mut warnings);
            let is_changed = has_work || next.told != self.state.told;
            self.state = next;
            if is_changed || self.state.after - self.recorded >= BATCH as u64 {
                store.set_notice_state(&self.workspace_id, &self.state)?;
                self.recorded = self.state.after;
            }
            if entries.len() < BATCH {
                break;
            }
        }
        Ok((warnings, self.state.pending.iter().map(|pending| pending.next).min()))
    }

    /// Delivers notices, a few at a time. Those that fail are added to `pending`. Returns whether there were any.
    fn run(
        &self,
        rules: &[NoticeRule],
        notices: Vec<Object>,
        due: Vec<PendingNotice>,
        now: Time,
        pending: &mut Vec<PendingNotice>,
        warnings: &mut Vec<String>,
    ) -> bool {
        let mut jobs: Vec<(&NoticeRule, PendingNotice)> = Vec::new();
        let had_due = !due.is_empty();
        for old in due {
            // The rule may have been changed or removed.
            jobs.extend(rules.iter().find(|rule| rule.text == old.rule).map(|rule| (rule, old)));
        }
        for notice in &notices {
            for rule in rules.iter().filter(|rule| rule.matches(notice)) {
                let rule_text = rule.text.clone();
                let new = PendingNotice {
                    rule: rule_text,
                    notice: notice.clone(),
                    since: now,
                    failures: 0,
                    next: now,
                };
                jobs.push((rule, new));
            }
        }
        for some in jobs.chunks(MAX_AT_ONCE) {
            let results: Vec<_> = std::thread::scope(|scope| {
                let running: Vec<_> =
                    some.iter().map(|(rule, job)| scope.spawn(move || rule.deliver(&job.notice))).collect();
                let panicked = |_| Err("its thread has ended".to_string());
                running.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
            });
            for ((_, job), result) in some.iter().zip(results) {
                let Err(reason) = result else { continue };
                let message = job.notice.get("message").and_then(Value::as_str).unwrap_or_default();
                let failures = job.failures + 1;
                match retry_time(failures, job.since, now) {
                    Some(next) => {
                        if failures == 1 {
                            warnings.push(format!(
                                "a notice cannot be delivered and will be retried: {reason} ({message})"
                            ));
                        }
                        pending.push(PendingNotice { failures, next, ..job.clone() });
                    }
                    None => warnings.push(format!("a notice was dropped after a day: {reason} ({message})")),
                }
            }
        }
        if pending.len() > MAX_PENDING {
            let dropped = pending.len() - MAX_PENDING;
            pending.drain(..dropped);
            warnings.push(format!("{dropped} notices were dropped, because {MAX_PENDING} others wait"));
        }
        had_due || !jobs.is_empty()
    }

    /// Returns the notices of the groups that one of these changes has brought to an end: the end of the task that was
    /// the last one, so that each end of a group is told once.
    fn notices_of_groups(&self, store: &Store, entries: &[FeedEntry]) -> Result<Vec<Object>> {
        let mut ended: BTreeMap<GroupName, Vec<TaskId>> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| is_end(&entry.event)) {
            if let Some(task) = self.own_task(store, &entry.task_id)?
                && let Some(group) = task.spec.group
            {
                ended.entry(group).or_default().push(task.id);
            }
        }
        let mut notices = Vec::new();
        for (group, tasks) in ended {
            let Some(end) = store.ended_group(&group)?.filter(|end| tasks.contains(&end.last)) else {
                continue;
            };
            let message =
                format!("group {group} is done: {} completed, {} failed", end.completed, end.failed);
            notices.push(object([
                ("id", format!("group:{group}:{}", end.last).into()),
                ("notice", NoticeKind::GroupDone.as_str().into()),
                ("at", end.at.to_string().into()),
                ("message", printable(&message).into()),
                ("workspace_id", self.workspace_id.clone().into()),
                ("group", group.as_str().into()),
                ("completed", end.completed.into()),
                ("failed", end.failed.into()),
            ]));
        }
        Ok(notices)
    }

    /// Returns a task of this workspace; `None` for one of another, and for one that has been removed meanwhile or cannot be
    /// read, which `fsck` reports.
    fn own_task(&self, store: &Store, id: &TaskId) -> Result<Option<Task>> {
        match store.task(id) {
            Ok(task) => Ok(Some(task).filter(|task| task.spec.workspace_id == self.workspace_id)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the notice that a change of the store makes, if any: of a task of this workspace.
    fn notice_of(&self, store: &Store, entry: &FeedEntry) -> Result<Option<Object>> {
        let Some(kind) = NoticeKind::of_event(&entry.event) else { return Ok(None) };
        let Some(task) = self.own_task(store, &entry.task_id)? else { return Ok(None) };
        let (class, reason) = match &task.status {
            Status::Failed { class, reason, .. } => (Some(class.as_str().to_string()), Some(shorten(reason))),
            _ => (None, None),
        };
        let title = task.spec.name.clone().unwrap_or_else(|| task.id.to_string());
        let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let what = match kind {
            NoticeKind::Dead => "is dead".to_string(),
            NoticeKind::InputRequired => format!("asks: {}", shorten(&entry.event.message)),
            kind => kind.as_str().to_string(),
        };
        let message = format!("{title} in {} {what}{why}", task.spec.lane);
        let mut notice = object([
            ("id", format!("{}:{}", self.workspace_id, entry.seq).into()),
            ("notice", kind.as_str().into()),
            ("at", entry.event.created_at.to_string().into()),
            ("message", printable(&message).into()),
            ("workspace_id", self.workspace_id.clone().into()),
            ("task_id", task.id.as_str().into()),
            ("lane", (&task.spec.lane).into()),
            ("correlation_id", task.spec.correlation_id.clone().into()),
            ("source_agent", task.spec.source_agent.clone().into()),
            ("attempt", task.attempt.into()),
        ]);
        notice.insert("name".to_string(), task.spec.name.clone().into());
        notice.insert("failure_class".to_string(), class.into());
        notice.insert("reason".to_string(), reason.into());
        notice.insert("labels".to_string(), task.spec.labels.clone().into());
        notice.insert("metadata".to_string(), task.spec.metadata.clone().into());
        Ok(Some(notice))
    }
}

/// Returns the key and the beginning of a cooldown that is news. What a person has paused is none.
fn told_entry(cooldown: &Cooldown) -> Option<(String, String)> {
    (cooldown.cause != CooldownCause::Person)
        .then(|| (format!("parked:{}", cooldown.scope.key()), cooldown.since.to_string()))
}

/// Returns the notices of cooldowns that have begun, and of budgets that were spent, since the last look, and records
/// them in `state`.
fn notices_of_conditions(store: &Store, state: &mut NoticeState) -> Result<Vec<Object>> {
    let mut notices = Vec::new();
    let mut told = BTreeMap::new();
    for (key, cooldown) in store.active_cooldowns()? {
        let Some((entry, since)) = told_entry(&cooldown) else { continue };
        if state.told.get(&entry) != Some(&since) {
            let mut notice = cooldown.to_object();
            notice.extend(object([
                ("id", format!("{entry}:{since}").into()),
                ("notice", NoticeKind::Parked.as_str().into()),
                ("at", since.clone().into()),
                ("message", printable(&cooldown.describe()).into()),
                ("vendor", key.to_string().into()),
            ]));
            notices.push(notice);
        }
        told.insert(entry, since);
    }
    let now = store.now().wall;
    for (lane, over) in
        store.recorded_spending()?.over.into_iter().filter(|(_, over)| over.is_spent && over.until > now)
    {
        let (entry, until) = (format!("budget:{lane}"), over.until.to_string());
        if state.told.get(&entry) != Some(&until) {
            let mut notice = over.to_object();
            notice.extend(object([
                ("id", format!("{entry}:{until}").into()),
                ("notice", NoticeKind::Budget.as_str().into()),
                ("at", now.to_string().into()),
                ("message", printable(&format!("lane {lane} waits until {until}: {}", over.message)).into()),
                ("lane", lane.into()),
            ]));
            notices.push(notice);
        }
        told.insert(entry, until);
    }
    state.told = told;
    Ok(notices)
}

/// Returns the beginning of a long reason.
fn shorten(reason: &str) -> String {
    match reason.char_indices().nth(MAX_REASON) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_string(),
    }
}
