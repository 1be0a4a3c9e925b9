//! What a dispatcher registers in addition to what every worker does: the lanes that it serves, its runs, and the
//! prefix of its claim tokens.
//!
//! A reader reads each key by itself. What another version writes in another form then costs that key alone: the
//! claims of a dispatcher that died must be found whatever else its registration contains.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::worker_registry::{WorkerInfo, WorkerKind};
use crate::model::json::Object;
use crate::model::message::MessageTime;
use crate::model::task::object;
use crate::model::{ClaimToken, CooldownKey, LaneName, RunId, TaskId, Time, TokenPrefix, duration};

/// What a dispatcher registers about itself.
#[derive(Clone, Debug)]
pub(crate) struct DispatcherInfo {
    /// The prefix of its claim tokens.
    pub token_prefix: TokenPrefix,
    /// The keys of the cooldowns that may affect it, sorted.
    pub cooldown_keys: Vec<CooldownKey>,
    /// The lanes that it serves.
    pub serves: Vec<LaneService>,
    /// The number of runs that it may have at the same time.
    pub max_concurrent: u32,
    /// What is missing for the lanes that cannot be served at present.
    pub unready: BTreeMap<LaneName, String>,
    /// Whether it was started because somebody needed it, and leaves when it is idle.
    pub is_on_demand: bool,
    /// Whether it claims no more tasks.
    pub is_draining: bool,
    /// Its runs, by task.
    pub running: BTreeMap<TaskId, RegisteredRun>,
}

/// How a dispatcher serves a lane.
#[derive(Clone, Debug)]
pub(crate) struct LaneService {
    /// The lane.
    pub lane: LaneName,
    /// The key of the cooldown that all runs of the lane share.
    pub cooldown_key: CooldownKey,
    /// The model of runs whose task names none.
    pub model: Option<String>,
    /// The model for each class of models that a task may name.
    pub model_classes: BTreeMap<String, String>,
    /// When a run times out.
    pub timeout: Option<Duration>,
    /// How long a run may be silent.
    pub silence_timeout: Option<Duration>,
}

/// A run in the registration of its dispatcher.
#[derive(Clone, Debug)]
pub(crate) struct RegisteredRun {
    /// The lane of the task.
    pub lane: LaneName,
    /// The name of the vendor.
    pub vendor: String,
    /// The id of the run.
    pub run: RunId,
    /// The name that boards show for the state of the run.
    pub in_progress: Option<String>,
    /// When it started.
    pub started_at: Time,
    /// When it times out.
    pub deadline: Option<Time>,
    /// How long it may be silent.
    pub silence_timeout: Option<Duration>,
    /// The process id of the agent, once it is started.
    pub pid: Option<u32>,
    /// The id of the conversation.
    pub session_id: Option<String>,
    /// The latest line of progress.
    pub progress: Option<String>,
    /// When its agent gets messages that come while it works; `None`: not at all.
    pub messages: Option<MessageTime>,
}

impl DispatcherInfo {
    /// Returns it as the data of a registration.
    pub(crate) fn to_data(&self) -> Object {
        let vendors: Vec<&str> = self.cooldown_keys.iter().map(CooldownKey::as_str).collect();
        let serves: Vec<Value> = self.serves.iter().map(|service| service.to_object().into()).collect();
        let unready: Object =
            self.unready.iter().map(|(lane, missing)| (lane.to_string(), missing.clone().into())).collect();
        let running: Vec<Value> = self.running.iter().map(|(id, run)| run.to_object(id).into()).collect();
        object([
            ("claims", self.token_prefix.as_str().into()),
            ("vendors", vendors.into()),
            ("serves", serves.into()),
            ("max_concurrent", self.max_concurrent.into()),
            ("unready", unready.into()),
            ("version", env!("CARGO_PKG_VERSION").into()),
            ("on_demand", self.is_on_demand.into()),
            ("draining", self.is_draining.into()),
            ("running", running.into()),
        ])
    }
}

impl LaneService {
    fn to_object(&self) -> Object {
        let classes = self.model_classes.iter();
        let classes: Object = classes.map(|(class, model)| (class.clone(), model.clone().into())).collect();
        let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs_f64());
        object([
            ("lane", (&self.lane).into()),
            ("vendor", self.cooldown_key.as_str().into()),
            ("model", self.model.clone().into()),
            ("model_classes", classes.into()),
            ("timeout_seconds", seconds(self.timeout).into()),
            ("silence_timeout_seconds", seconds(self.silence_timeout).into()),
        ])
    }
}

impl RegisteredRun {
    /// Returns the run of a task as JSON.
    pub(crate) fn to_object(&self, task_id: &TaskId) -> Object {
        object([
            ("task_id", task_id.as_str().into()),
            ("lane", (&self.lane).into()),
            ("vendor", self.vendor.clone().into()),
            ("run", self.run.as_str().into()),
            ("in_progress", self.in_progress.clone().into()),
            ("started_at", self.started_at.to_string().into()),
            ("deadline", self.deadline.map(|deadline| deadline.to_string()).into()),
            ("silence_timeout_seconds", self.silence_timeout.map(|limit| limit.as_secs_f64()).into()),
            ("pid", self.pid.into()),
            ("session_id", self.session_id.clone().into()),
            ("progress", self.progress.clone().into()),
            ("messages", self.messages.map(MessageTime::as_str).into()),
        ])
    }

    fn from_value(entry: &Value) -> Option<(TaskId, Self)> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_string);
        let time = |key: &str| Time::parse(&text(key)?).ok();
        let run = Self {
            lane: LaneName::stored(text("lane")?),
            vendor: text("vendor")?,
            run: RunId::parse(&text("run")?)?,
            in_progress: text("in_progress"),
            started_at: time("started_at")?,
            deadline: time("deadline"),
            silence_timeout: entry
                .get("silence_timeout_seconds")
                .and_then(Value::as_f64)
                .and_then(duration::from_seconds),
            pid: entry.get("pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok()),
            session_id: text("session_id"),
            progress: text("progress"),
            messages: text("messages").as_deref().and_then(MessageTime::parse),
        };
        Some((TaskId::parse(&text("task_id")?).ok()?, run))
    }
}

/// What the data of a registration says; nothing for workers other than dispatchers.
impl WorkerInfo {
    /// Returns whether a claim with this token is one of the worker's: the tokens of a dispatcher share a prefix,
    /// which is in its registration.
    pub fn claimed_with(&self, token: &ClaimToken) -> bool {
        let prefix = self.data.get("claims").and_then(Value::as_str).and_then(TokenPrefix::parse);
        prefix.is_some_and(|prefix| prefix.begins(token))
    }

    /// Returns the vendors that a dispatcher uses for a lane, each with the model for a task of `class`, if
    /// one is named.
    pub fn vendors_for_lane(&self, lane: &LaneName, class: Option<&str>) -> Vec<(String, Option<String>)> {
        let serves = self.data.get("serves").and_then(Value::as_array);
        let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_string);
        let serving = serves
            .into_iter()
            .flatten()
            .filter(|entry| text(entry, "lane").as_deref() == Some(lane.as_str()));
        let model = |entry: &Value| {
            let by_class = class.and_then(|class| text(entry.get("model_classes")?, class));
            by_class.or_else(|| text(entry, "model"))
        };
        serving.filter_map(|entry| Some((text(entry, "vendor")?, model(entry)))).collect()
    }

    /// Returns the lanes that a dispatcher cannot serve at present, and what each is missing.
    pub(crate) fn unready_lanes(&self) -> BTreeMap<LaneName, String> {
        let unready = self.data.get("unready").and_then(Value::as_object);
        let missing = |missing: &Value| missing.as_str().unwrap_or_default().to_string();
        unready.into_iter().flatten().map(|(lane, why)| (LaneName::stored(lane), missing(why))).collect()
    }

    /// Returns the number of runs that a dispatcher may have at the same time.
    pub(crate) fn max_concurrent(&self) -> u64 {
        self.data.get("max_concurrent").and_then(Value::as_u64).unwrap_or(0)
    }

    /// Returns the runs of a dispatcher, by task.
    pub(crate) fn runs(&self) -> BTreeMap<TaskId, RegisteredRun> {
        let running = self.data.get("running").and_then(Value::as_array);
        running.into_iter().flatten().filter_map(RegisteredRun::from_value).collect()
    }

    /// Returns whether this is the dispatcher that is started when somebody needs it and leaves when it is idle.
    pub fn is_on_demand(&self) -> bool {
        self.kind == WorkerKind::Dispatcher
            && self.data.get("on_demand").and_then(Value::as_bool) == Some(true)
    }

    /// Returns whether this is a dispatcher that does not claim any more tasks.
    pub fn is_draining(&self) -> bool {
        self.data.get("draining").and_then(Value::as_bool) == Some(true)
    }

    /// Returns whether it claims any task of the lane: it does not look for certain ones, and is not a dispatcher that
    /// is draining.
    pub fn attends(&self, lane: &LaneName) -> bool {
        self.filter.is_empty() && !self.is_draining() && self.lanes.contains(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Owner;

    fn dispatcher(data: Object) -> WorkerInfo {
        WorkerInfo {
            kind: WorkerKind::Dispatcher,
            owner: Owner::stored("d"),
            pid: 1,
            lanes: vec![LaneName::stored("work")],
            filter: String::new(),
            since: Time::from_micros(0),
            data,
        }
    }

    fn info() -> DispatcherInfo {
        let lane = LaneName::stored("work");
        let run = RegisteredRun {
            lane: lane.clone(),
            vendor: "claude".to_string(),
            run: RunId::from_random(7),
            in_progress: None,
            started_at: Time::from_micros(1_000_000),
            deadline: Some(Time::from_micros(2_000_000)),
            silence_timeout: Some(Duration::from_millis(1500)),
            pid: Some(4711),
            session_id: Some("s1".to_string()),
            progress: Some("reads".to_string()),
            messages: Some(MessageTime::Answer),
        };
        let service = LaneService {
            lane: lane.clone(),
            cooldown_key: CooldownKey::of_vendor("claude"),
            model: Some("sonnet".to_string()),
            model_classes: BTreeMap::from([("large".to_string(), "opus".to_string())]),
            timeout: Some(Duration::from_secs(60)),
            silence_timeout: None,
        };
        DispatcherInfo {
            token_prefix: TokenPrefix::from_random(5),
            cooldown_keys: vec![CooldownKey::of_vendor("claude")],
            serves: vec![service],
            max_concurrent: 3,
            unready: BTreeMap::from([(lane, "no program".to_string())]),
            is_on_demand: true,
            is_draining: false,
            running: BTreeMap::from([(TaskId::parse("t-1").unwrap(), run)]),
        }
    }

    #[test]
    fn what_a_dispatcher_registers_is_read_by_others() {
        let info = info();
        let worker = dispatcher(info.to_data());
        let work = LaneName::stored("work");
        assert!(worker.claimed_with(&info.token_prefix.token(1)));
        assert!(!worker.claimed_with(&TokenPrefix::from_random(6).token(1)));
        assert_eq!(worker.vendors_for_lane(&work, None), [("claude".into(), Some("sonnet".into()))]);
        assert_eq!(worker.vendors_for_lane(&work, Some("large")), [("claude".into(), Some("opus".into()))]);
        assert_eq!(worker.unready_lanes(), info.unready);
        assert_eq!(worker.max_concurrent(), 3);
        assert!(worker.is_on_demand() && !worker.is_draining() && worker.attends(&work));
        let objects = |runs: &BTreeMap<TaskId, RegisteredRun>| -> Vec<Object> {
            runs.iter().map(|(id, run)| run.to_object(id)).collect()
        };
        assert_eq!(objects(&worker.runs()), objects(&info.running));
    }

    #[test]
    fn what_another_version_writes_otherwise_costs_that_key_alone() {
        let mut data = info().to_data();
        for key in ["serves", "unready", "max_concurrent", "running", "draining"] {
            data.insert(key.to_string(), "otherwise".into());
        }
        let worker = dispatcher(data);
        assert!(worker.claimed_with(&info().token_prefix.token(1)));
        assert!(worker.vendors_for_lane(&LaneName::stored("work"), None).is_empty());
        assert!(worker.unready_lanes().is_empty() && worker.runs().is_empty());
        assert_eq!(worker.max_concurrent(), 0);
        assert!(!worker.is_draining());
        // A shorter prefix would match the claims of others.
        for prefix in ["", "0", "000000000000000", "0000000000000000f"] {
            let worker = dispatcher(object([("claims", prefix.into())]));
            assert!(!worker.claimed_with(&ClaimToken::from_random(0)), "{prefix:?}");
        }
    }
}
