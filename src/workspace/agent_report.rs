//! What is reported about an agent.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::agents::AgentSource;
use crate::error::printable;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{AgentName, duration};

/// The usual length and cost of an agent's runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TypicalRun {
    /// How many runs were counted.
    pub runs: u64,
    /// The median of the durations of those that were answered.
    pub median: Duration,
    /// Nine of ten of these took at most this long.
    pub p90: Duration,
    /// The mean cost of those that reported one, in US dollars.
    pub mean_cost_usd: Option<f64>,
}

/// What is known about an agent: its settings as they take effect, and whether it can work.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AgentReport {
    /// Its name.
    pub name: AgentName,
    /// Its own description, or one that was made from its directory; may be empty.
    pub description: String,
    /// Where it is defined.
    pub source: AgentSource,
    /// Its directory; `None` if it works in the workspace.
    pub directory: Option<PathBuf>,
    /// The vendor or program that serves it; `None` if none is configured.
    pub vendor: Option<String>,
    /// The model, if one is set.
    pub model: Option<String>,
    /// Its other settings, by the keys of an agent, with the defaults that apply to it.
    pub settings: Object,
    /// The right that lets it do whatever its user can do, if it has one.
    pub bypass: Option<String>,
    /// Why it cannot work; `None` if it can.
    pub problem: Option<String>,
    /// Its usual runs, when there were enough.
    pub typical: Option<TypicalRun>,
}

impl AgentReport {
    /// Returns the report as JSON.
    pub(crate) fn to_object(&self) -> Object {
        let typical = self.typical.map(|typical| {
            Value::Object(object([
                ("runs", typical.runs.into()),
                ("median_seconds", duration::seconds(typical.median).into()),
                ("p90_seconds", duration::seconds(typical.p90).into()),
                ("mean_cost_usd", typical.mean_cost_usd.into()),
            ]))
        });
        object([
            ("name", self.name.as_str().into()),
            ("lane", self.name.lane().into()),
            ("description", self.description.clone().into()),
            ("source", self.source.as_str().into()),
            ("directory", self.directory.as_ref().map(|path| path.to_string_lossy().into_owned()).into()),
            ("vendor", self.vendor.clone().into()),
            ("model", self.model.clone().into()),
            ("settings", self.settings.clone().into()),
            ("bypass", self.bypass.clone().into()),
            ("problem", self.problem.clone().into()),
            ("typical", typical.into()),
        ])
    }

    /// Returns the report as lines for a reader, the name first; control characters are escaped.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![printable(self.name.as_str())];
        let mut add = |key: &str, value: String| {
            if !value.is_empty() {
                lines.push(printable(&format!("  {key}: {value}")));
            }
        };
        add("description", self.description.clone());
        add("lane", self.name.lane().to_string());
        add("defined in", self.source.as_str().to_string());
        let directory = self.directory.as_ref().map(|path| path.to_string_lossy().into_owned());
        add("directory", directory.unwrap_or_default());
        add("vendor", self.vendor.clone().unwrap_or_default());
        add("model", self.model.clone().unwrap_or_default());
        for (key, value) in &self.settings {
            add(key, value.as_str().map_or_else(|| value.to_string(), str::to_string));
        }
        add("usual run", self.typical.map(|typical| typical.describe()).unwrap_or_default());
        lines.extend(self.warnings().iter().map(|warning| printable(&format!("  {warning}"))));
        lines
    }

    /// Returns what a reader has to know before it chooses the agent, in capitals what is dangerous; empty if there is
    /// nothing.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let bypass = self.bypass.as_ref().map(|right| format!("BYPASSES PERMISSIONS ({right})"));
        let problem = self.problem.as_ref().map(|why| format!("NOT READY: {why}"));
        bypass.into_iter().chain(problem).collect()
    }
}

impl TypicalRun {
    /// Returns the usual run in words.
    pub(crate) fn describe(&self) -> String {
        let cost = self.mean_cost_usd.map(|cost| format!(", ${cost:.2}")).unwrap_or_default();
        let (median, p90) = (duration::format_coarse(self.median), duration::format_coarse(self.p90));
        format!("{median} (90%: {p90}){cost}, of {} runs", self.runs)
    }
}
