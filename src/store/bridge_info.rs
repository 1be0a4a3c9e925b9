//! What a running bridge has registered.

use serde_json::Value;

use super::worker_registry::{WorkerInfo, WorkerKind};
use crate::model::Time;

/// What a running bridge has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BridgeInfo {
    /// Its name.
    pub name: String,
    /// The kind of its board.
    pub adapter: String,
    /// The watched queues.
    pub queues: Vec<String>,
    /// Since when its board fails, and why; `None` while it works.
    pub failure: Option<(Time, String)>,
}

impl WorkerInfo {
    /// Returns what a bridge has registered; `None` for workers of other kinds.
    pub(crate) fn bridge(&self) -> Option<BridgeInfo> {
        let text = |key: &str| self.data.get(key).and_then(Value::as_str);
        let queues = self.data.get("queues").and_then(Value::as_array).cloned().unwrap_or_default();
        let since = text("failing_since").and_then(|since| Time::parse(since).ok());
        (self.kind == WorkerKind::Bridge).then(|| BridgeInfo {
            name: text("bridge").unwrap_or_default().to_string(),
            adapter: text("adapter").unwrap_or_default().to_string(),
            queues: queues.iter().filter_map(|queue| queue.as_str().map(str::to_string)).collect(),
            failure: since.map(|since| (since, text("error").unwrap_or_default().to_string())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Owner, json};

    #[test]
    fn a_bridge_tells_what_it_serves_and_since_when_its_board_fails() {
        let mut worker = WorkerInfo {
            kind: WorkerKind::Bridge,
            owner: Owner::stored("bridge team"),
            pid: 1,
            lanes: Vec::new(),
            filter: String::new(),
            since: Time::from_micros(0),
            data: json::parse_object(br#"{"bridge": "team", "adapter": "json", "queues": ["Todo"]}"#)
                .unwrap(),
        };
        let info = worker.bridge().unwrap();
        assert_eq!((info.name.as_str(), info.queues.as_slice()), ("team", &["Todo".to_string()][..]));
        assert_eq!((info.adapter.as_str(), info.failure), ("json", None));
        worker.data.insert("failing_since".into(), "1970-01-01T00:00:01Z".into());
        worker.data.insert("error".into(), "refused".into());
        let failure = worker.bridge().unwrap().failure;
        assert_eq!(failure, Some((Time::from_micros(1_000_000), "refused".to_string())));
        worker.kind = WorkerKind::Dispatcher;
        assert_eq!(worker.bridge(), None);
    }
}
