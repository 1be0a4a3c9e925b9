//! The tools that a server offers, by set; their descriptions and schemas are one static text.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use rmcp::model::Tool;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result, brief};
use crate::model::json::Object;

/// The tools by set. No schema is derived at run time.
const TOOLS: &str = include_str!("../../templates/mcp/tools.json");
/// The tools of agent-dispatch.
const OLD_TOOLS: &str = include_str!("../../templates/mcp/compat.json");

/// The maximum size of the list of the default tools, in bytes, because it takes part of a model's context.
pub(crate) const MAX_LIST_BYTES: usize = 7_000;

/// A set of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToolSet {
    /// Delegate work and collect its answers.
    Caller,
    /// Take tasks and answer them.
    Worker,
    /// Look after the queue.
    Admin,
    /// The tools of agent-dispatch.
    Compat,
    /// The question of an agent's program whether a tool may be called, for the run that a dispatcher starts it in.
    Permission,
}

impl ToolSet {
    /// All sets of this program's own tools, in the order in which their tools are listed.
    pub(crate) const ALL: [Self; 3] = [Self::Caller, Self::Worker, Self::Admin];
    /// The sets that are offered by default.
    pub(crate) const DEFAULT: [Self; 2] = [Self::Caller, Self::Worker];

    /// Returns the name of the set.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Worker => "worker",
            Self::Admin => "admin",
            Self::Compat => "compat",
            Self::Permission => "permission",
        }
    }
}

impl FromStr for ToolSet {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Self, String> {
        let known = || Self::ALL.into_iter().chain([Self::Compat]);
        known().chain([Self::Permission]).find(|set| set.as_str() == word).ok_or_else(|| {
            let known: Vec<&str> = known().map(Self::as_str).collect();
            format!("expected one of {}", known.join(", "))
        })
    }
}

/// A tool of agent-dispatch.
#[derive(Clone, Debug, Deserialize)]
struct OldTool {
    /// The set of this program's own tools that do the same.
    set: String,
    /// Whether it is listed. Those of later versions are not.
    #[serde(default = "is_listed")]
    is_listed: bool,
    tool: Tool,
    /// The properties that it accepts in addition to the listed ones: those of later versions, and of this
    /// program.
    #[serde(default)]
    more_arguments: Object,
}

const fn is_listed() -> bool {
    true
}

impl OldTool {
    /// Reads all tools of agent-dispatch.
    fn all() -> Result<Vec<Self>> {
        serde_json::from_str(OLD_TOOLS).map_err(|error| corrupt(&error))
    }

    /// Returns the schema of all arguments that it accepts.
    fn schema(&self) -> Object {
        let mut schema = self.tool.input_schema.as_ref().clone();
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.extend(self.more_arguments.clone());
        }
        schema
    }
}

/// Returns the error about a text in this program that is not valid.
fn corrupt(error: &serde_json::Error) -> Error {
    Error::corrupt(format!("the list of tools: {error}"))
}

/// The tools of a server.
#[derive(Clone, Debug)]
pub(super) struct Catalog {
    listed: Vec<Tool>,
    /// The schemas of the tools of agent-dispatch that are accepted, listed or not.
    old: BTreeMap<String, Arc<Object>>,
}

impl Catalog {
    /// Returns the tools of these sets.
    ///
    /// # Errors
    /// `Corrupt` when the text of the tools in this program is not valid.
    pub(super) fn of(sets: &[ToolSet]) -> Result<Self> {
        let mut by_set: Object = serde_json::from_str(TOOLS).map_err(|error| corrupt(&error))?;
        let (mut tools, mut old) = (Vec::new(), BTreeMap::new());
        let own = ToolSet::ALL.into_iter().chain([ToolSet::Permission]);
        for set in own.filter(|set| sets.contains(set)) {
            let listed = by_set.remove(set.as_str()).unwrap_or_default();
            let listed: Vec<Tool> = serde_json::from_value(listed).map_err(|error| corrupt(&error))?;
            tools.extend(listed);
        }
        let lists_old = sets.contains(&ToolSet::Compat);
        for tool in OldTool::all()? {
            if lists_old || sets.iter().any(|set| set.as_str() == tool.set) {
                old.insert(tool.tool.name.to_string(), Arc::new(tool.schema()));
            }
            if lists_old && tool.is_listed {
                tools.push(tool.tool);
            }
        }
        Ok(Self { listed: tools, old })
    }

    /// Returns the tools.
    pub(super) fn tools(&self) -> &[Tool] {
        &self.listed
    }

    /// Returns whether this is a tool of agent-dispatch that is accepted.
    pub(super) fn is_old(&self, name: &str) -> bool {
        self.old.contains_key(name)
    }

    /// Returns the input schema of a tool.
    ///
    /// # Errors
    /// A message that names the tools there are, when it is not one of them.
    pub(super) fn schema(&self, name: &str) -> std::result::Result<Arc<Object>, String> {
        let own = || self.listed.iter().find(|tool| tool.name == name).map(|tool| &tool.input_schema);
        match self.old.get(name).or_else(own) {
            Some(schema) => Ok(Arc::clone(schema)),
            None if self.listed.is_empty() => {
                let name = brief(name);
                Err(format!("unknown tool: {name}; agents have tools only if their route says mcp: inherit"))
            }
            None => {
                let known: Vec<&str> = self.listed.iter().map(|tool| tool.name.as_ref()).collect();
                Err(format!("unknown tool: {}; there are {}", brief(name), known.join(", ")))
            }
        }
    }
}

/// Returns the schema of one of the `tasks` of `delegate`: its own properties, without those of the call.
///
/// # Errors
/// As [`Catalog::of`].
pub(super) fn task_schema() -> Result<Object> {
    const OF_THE_CALL: [&str; 4] = ["tasks", "aggregate", "wait", "max_chars"];
    let schema = Catalog::of(&[ToolSet::Caller])?.schema("delegate").map_err(Error::corrupt)?;
    let mut schema = schema.as_ref().clone();
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.retain(|name, _| !OF_THE_CALL.contains(&name.as_str()));
    }
    Ok(schema)
}

/// Returns the schema of all arguments that a tool of agent-dispatch accepts.
///
/// # Errors
/// As [`Catalog::of`]; `Corrupt` when it has no such tool.
pub(super) fn old_schema(name: &str) -> Result<Object> {
    let tool = OldTool::all()?.into_iter().find(|tool| tool.tool.name == name);
    tool.map(|tool| tool.schema()).ok_or_else(|| Error::corrupt(format!("the list of tools lacks {name}")))
}

/// Returns the tools of these sets that Codex refuses where it cannot ask: those that may destroy something, or reach
/// beyond the queue.
///
/// # Errors
/// As [`Catalog::of`].
pub(crate) fn tools_to_approve(sets: &[ToolSet]) -> Result<Vec<String>> {
    let passes = |tool: &&Tool| {
        tool.annotations.as_ref().is_some_and(|hints| {
            let is_harmless = hints.destructive_hint == Some(false) && hints.open_world_hint == Some(false);
            hints.read_only_hint == Some(true) || is_harmless
        })
    };
    let catalog = Catalog::of(sets)?;
    Ok(catalog.tools().iter().filter(|tool| !passes(tool)).map(|tool| tool.name.to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(sets: &[ToolSet], only: &[&str]) -> usize {
        let mut catalog = Catalog::of(sets).unwrap();
        catalog.listed.retain(|tool| only.is_empty() || only.contains(&tool.name.as_ref()));
        serde_json::to_string(catalog.tools()).unwrap().len()
    }

    #[test]
    fn the_lists_are_small() {
        assert!(size(&ToolSet::DEFAULT, &[]) <= MAX_LIST_BYTES);
        assert!(size(&ToolSet::ALL, &[]) <= 8_500);
        assert!(size(&ToolSet::ALL, &["delegate", "wait"]) <= 2_500);
    }

    #[test]
    fn every_tool_says_what_it_may_do_and_takes_nothing_else() {
        for tool in Catalog::of(&ToolSet::ALL).unwrap().tools() {
            let annotations = tool.annotations.as_ref().unwrap();
            assert!(annotations.open_world_hint.is_some(), "{}", tool.name);
            let is_read_only = annotations.read_only_hint.unwrap();
            assert!(is_read_only || annotations.destructive_hint.is_some(), "{}", tool.name);
            assert_eq!(tool.input_schema["additionalProperties"], false, "{}", tool.name);
            assert!(tool.output_schema.is_none(), "{}", tool.name);
        }
    }

    #[test]
    fn the_tools_that_codex_would_refuse_are_known() {
        assert_eq!(tools_to_approve(&ToolSet::DEFAULT).unwrap(), ["delegate", "dialogue", "cancel"]);
        assert_eq!(tools_to_approve(&[ToolSet::Worker]).unwrap(), [""; 0]);
        assert_eq!(tools_to_approve(&[ToolSet::Admin]).unwrap(), ["edit_agent", "upkeep"]);
    }

    #[test]
    fn the_tools_of_agent_dispatch_are_listed_on_demand_and_accepted_with_their_counterparts() {
        let compat = Catalog::of(&[ToolSet::Compat]).unwrap();
        for tool in compat.tools() {
            let size = serde_json::to_string(tool.input_schema.as_ref()).unwrap().len();
            assert!(size <= 450, "{}: {size} bytes", tool.name);
            assert_eq!(tool.input_schema["additionalProperties"], false, "{}", tool.name);
        }
        assert!(serde_json::to_string(compat.tools()).unwrap().len() <= MAX_LIST_BYTES);
        let caller = Catalog::of(&[ToolSet::Caller]).unwrap();
        assert!(caller.is_old("dispatch") && !caller.is_old("dispatch_gc") && !caller.is_old("delegate"));
        assert!(!caller.tools().iter().any(|tool| tool.name == "dispatch"));
        assert!(caller.schema("dispatch").unwrap()["properties"].get("timeout_seconds").is_some());
        assert!(Catalog::of(&[ToolSet::Admin]).unwrap().is_old("dispatch_gc"));
        assert!(!Catalog::of(&[ToolSet::Worker]).unwrap().is_old("dispatch"));
        let sets: Vec<ToolSet> = ["caller", "admin", "compat"].map(|word| word.parse().unwrap()).to_vec();
        for tool in OldTool::all().unwrap() {
            assert!(sets.iter().any(|set| set.as_str() == tool.set), "{}", tool.tool.name);
        }
    }

    #[test]
    fn sets_are_kept_apart() {
        let names = |sets: &[ToolSet]| -> Vec<String> {
            Catalog::of(sets).unwrap().tools().iter().map(|tool| tool.name.to_string()).collect()
        };
        assert_eq!(names(&[ToolSet::Worker]), ["claim_next", "report", "respond"]);
        assert_eq!(names(&[ToolSet::Worker, ToolSet::Caller])[0], "delegate");
        assert_eq!(names(&[]), [""; 0]);
        let shown = Catalog::of(&[ToolSet::Worker]).unwrap().schema("upkeep").unwrap_err();
        assert_eq!(shown, "unknown tool: upkeep; there are claim_next, report, respond");
    }
}
