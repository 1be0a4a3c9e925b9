//! What a running bridge registers, for `lanes workers` and others.

use crate::error::Result;
use crate::model::bridge::news::unreachable_for;
use crate::model::task::object;
use crate::model::{Owner, Time};
use crate::store::{Registration, Store, WorkerInfo, WorkerKind};

use super::board::BoardError;
use super::settings::{AdapterSettings, BridgeSettings};

/// The registration of a running bridge, which ends with it.
pub(crate) struct BridgeRegistration {
    registration: Registration,
    worker: WorkerInfo,
    failing: Option<(Time, String)>,
    last_success: Option<Time>,
}

impl BridgeRegistration {
    /// Registers a bridge. The registration has the kind `bridge`, no lanes, and these data: `bridge` (its name),
    /// `adapter`, `queues` (the watched ones), `last_success` (when a round was last complete), and while the board
    /// fails `failing_since` and `error`.
    ///
    /// # Errors
    /// As [`Store::register`].
    pub(crate) fn new(store: &Store, settings: &BridgeSettings) -> Result<Self> {
        let adapter = match &settings.adapter {
            AdapterSettings::Json { .. } => "json".to_string(),
            AdapterSettings::Planka { .. } => "planka".to_string(),
            AdapterSettings::Program { argv, .. } => argv.first().cloned().unwrap_or_default(),
        };
        let queues: Vec<String> = settings.queues.iter().map(|queue| queue.queue.to_string()).collect();
        let worker = WorkerInfo {
            kind: WorkerKind::Bridge,
            owner: Owner::stored(format!("bridge {}", settings.name)),
            pid: std::process::id(),
            lanes: Vec::new(),
            filter: String::new(),
            since: store.now().wall,
            data: object([
                ("bridge", settings.name.clone().into()),
                ("adapter", adapter.into()),
                ("queues", queues.into()),
            ]),
        };
        let registration = store.register(&worker)?;
        Ok(Self { registration, worker, failing: None, last_success: None })
    }

    /// Notes that the board fails. Returns whether this is news.
    pub(crate) fn note_failure(&mut self, error: &BoardError, now: Time) -> bool {
        let since = self.failing.as_ref().map_or(now, |(since, _)| *since);
        let is_new = self.failing.as_ref().is_none_or(|(_, message)| *message != error.message);
        self.failing = Some((since, error.message.clone()));
        self.write();
        is_new
    }

    /// Notes that a round was complete. Returns for how long the board had failed before.
    pub(crate) fn note_success(&mut self, now: Time) -> Option<String> {
        let failed_since = self.failing.take().map(|(since, _)| since);
        self.last_success = Some(now);
        self.write();
        failed_since.map(|since| unreachable_for(since, now))
    }

    fn write(&mut self) {
        let mut put = |key: &str, value: Option<String>| match value {
            Some(value) => drop(self.worker.data.insert(key.to_string(), value.into())),
            None => drop(self.worker.data.remove(key)),
        };
        put("last_success", self.last_success.map(|at| at.to_string()));
        put("failing_since", self.failing.as_ref().map(|(since, _)| since.to_string()));
        put("error", self.failing.as_ref().map(|(_, message)| message.clone()));
        // The bridge itself matters more than what others are told of it.
        let _ = self.registration.update(&self.worker);
    }
}
