//! How many bridges run, as `lanes status` shows it.

use crate::model::json::Object;
use crate::model::task::object;
use crate::store::{BridgeInfo, WorkerInfo};
use crate::workspace::Config;

/// How many bridges run, and how many should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BridgeCounts {
    /// Those that run.
    running: usize,
    /// Those of them whose board fails.
    failing: usize,
    /// Those of the configuration that do not run.
    stopped: usize,
}

impl BridgeCounts {
    /// Counts the bridges among the workers, and those of the configuration.
    pub(super) fn of(config: Option<&Config>, workers: &[WorkerInfo]) -> Self {
        let running: Vec<BridgeInfo> = workers.iter().filter_map(WorkerInfo::bridge).collect();
        let configured = config.and_then(|config| config.bridges.as_ref()?.as_mapping());
        let names = configured.into_iter().flat_map(serde_yaml::Mapping::keys);
        let is_running =
            |name: &serde_yaml::Value| running.iter().any(|bridge| name.as_str() == Some(&bridge.name));
        Self {
            running: running.len(),
            failing: running.iter().filter(|bridge| bridge.failure.is_some()).count(),
            stopped: names.filter(|name| !is_running(name)).count(),
        }
    }

    /// Returns the counts as JSON: `running`, `failing` and `stopped`.
    pub(super) fn to_object(self) -> Object {
        object([
            ("running", self.running.into()),
            ("failing", self.failing.into()),
            ("stopped", self.stopped.into()),
        ])
    }

    /// Returns the counts as a line for people; `None` if there is no bridge.
    pub(super) fn line(self) -> Option<String> {
        if self.running + self.stopped == 0 {
            return None;
        }
        let mut counts = vec![format!("{} running", self.running)];
        if self.failing > 0 {
            let whose = if self.failing == 1 { "its board" } else { "their boards" };
            counts.push(format!("{} cannot reach {whose}", self.failing));
        }
        if self.stopped > 0 {
            counts.push(format!("{} not running", self.stopped));
        }
        Some(format!("bridges: {}", counts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_mentioned() {
        let line = |running, failing, stopped| BridgeCounts { running, failing, stopped }.line();
        assert_eq!(line(0, 0, 0), None);
        assert_eq!(line(2, 0, 0).as_deref(), Some("bridges: 2 running"));
        assert_eq!(line(0, 0, 1).as_deref(), Some("bridges: 0 running, 1 not running"));
        let all = "bridges: 3 running, 2 cannot reach their boards, 1 not running";
        assert_eq!(line(3, 2, 1).as_deref(), Some(all));
    }
}
