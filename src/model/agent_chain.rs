//! Agents that submit tasks to agents: how deep they may be nested, and whether one may wait for itself.

use std::fmt;

use serde_json::Value;

use super::LaneName;
use super::json::Object;
use super::names::first_hidden;
use crate::error::{Error, Result, brief};

/// The environment variable with the number of agents above a process.
pub(crate) const DEPTH_VARIABLE: &str = "LANES_DEPTH";
/// The environment variable with the names of those that have one.
pub(crate) const CHAIN_VARIABLE: &str = "LANES_CHAIN";

/// The key of a task's metadata with the depth of the agent that submitted it.
const DEPTH_KEY: &str = "dispatch_depth";
/// The key with the names in its chain.
const NAMES_KEY: &str = "dispatch_chain";
/// The separator between the names.
const SEPARATOR: &str = ">";
/// The longest text of names, in bytes: it becomes a variable in the environment of a run.
const MAX_NAMES: usize = 16 * 1024;

/// The agents above a task or a process, each of which works on a task that the one above it submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AgentChain {
    /// Their number.
    depth: u32,
    /// The names of those that have one, outermost first.
    names: String,
}

impl AgentChain {
    /// Makes a chain of `depth` agents; `names` are those of [agents with a name](LaneName::agent), outermost first,
    /// joined by `>`.
    ///
    /// # Errors
    /// `Invalid` when the names are too long or have hidden characters.
    pub(crate) fn new(depth: u32, names: &str) -> Result<Self> {
        let names = names.trim();
        if names.len() > MAX_NAMES {
            return Err(Error::invalid(format!("a chain of agents is longer than {MAX_NAMES} bytes")));
        }
        if first_hidden(names).is_some() {
            return Err(Error::invalid(format!(
                "a chain of agents has control or invisible characters: {}",
                brief(names)
            )));
        }
        Ok(Self { depth, names: names.to_string() })
    }

    /// Reads the chain above a task from its metadata. A task that no agent submitted has an empty one.
    ///
    /// # Errors
    /// `Invalid` for names that are not text, and as [`Self::new`].
    pub(crate) fn above_task(metadata: &Object) -> Result<Self> {
        let depth = match metadata.get(DEPTH_KEY) {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        let names = match metadata.get(NAMES_KEY) {
            None | Some(Value::Null) => "",
            Some(Value::String(names)) => names,
            Some(other) => {
                let other = brief(&other.to_string());
                return Err(Error::invalid(format!(
                    "{NAMES_KEY} in the task's metadata must be text, not {other}"
                )));
            }
        };
        // Saturates: a maximum depth is a `u32` too.
        Self::new(depth.unwrap_or(0.0) as u32, names)
    }

    /// Reads the chain above a process from its variables; `None` if no dispatcher set any.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn above_process(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let depth = variable(DEPTH_VARIABLE).and_then(|depth| depth.parse().ok());
        let names = variable(CHAIN_VARIABLE);
        if depth.is_none() && names.is_none() {
            return Ok(None);
        }
        Self::new(depth.unwrap_or(0), &names.unwrap_or_default())
            .map(Some)
            .map_err(|error| Error::invalid_here(format!("{CHAIN_VARIABLE}: {}", error.message())))
    }

    /// Records this chain in the metadata of a task that its last agent submits, in place of whatever is there.
    pub(crate) fn record_in(&self, metadata: &mut Object) {
        metadata.insert(DEPTH_KEY.to_string(), self.depth.to_string().into());
        match self.names() {
            Some(names) => drop(metadata.insert(NAMES_KEY.to_string(), names.into())),
            None => drop(metadata.remove(NAMES_KEY)),
        }
    }

    /// Returns how many agents there are.
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    /// Returns the names, joined by `>`, unless no agent in the chain has one.
    pub(crate) fn names(&self) -> Option<&str> {
        Some(self.names.as_str()).filter(|names| !names.is_empty())
    }

    /// Returns this chain with the agent that works on a task of `lane` at its end.
    pub(crate) fn joined_by(&self, lane: &LaneName) -> Self {
        let names = match (self.names(), lane.agent()) {
            (Some(names), Some(agent)) => [names, agent].join(SEPARATOR),
            (None, Some(agent)) => agent.to_string(),
            (_, None) => self.names.clone(),
        };
        Self { depth: self.depth.saturating_add(1), names }
    }

    /// Returns the chain of a task that is run inside `outer`, which it may or may not have recorded.
    pub(crate) fn inside(&self, outer: &Self) -> Self {
        let names = match (outer.names(), self.names()) {
            (Some(above), Some(own)) if !self.has(above) => [above, own].join(SEPARATOR),
            (Some(above), None) => above.to_string(),
            _ => self.names.clone(),
        };
        Self { depth: self.depth.max(outer.depth), names }
    }

    /// Returns whether these names follow one another in the chain. Joined, since a name may contain the separator.
    fn has(&self, names: &str) -> bool {
        let between = |names: &str| [SEPARATOR, names, SEPARATOR].concat();
        between(&self.names).contains(&between(names))
    }

    /// Checks that an agent may work on a task of `lane` that the last agent of this chain submits.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub(crate) fn check(
        &self,
        lane: &LaneName,
        limits: RecursionLimits,
    ) -> std::result::Result<(), Recursion> {
        let RecursionLimits { max_depth, allows_cycles } = limits;
        if self.depth >= max_depth {
            return Err(Recursion::TooDeep { depth: self.depth, max_depth });
        }
        match lane.agent() {
            Some(agent) if !allows_cycles && self.has(agent) => {
                Err(Recursion::Cycle { agent: agent.to_string(), names: self.names.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// What the settings allow to agents that submit tasks to agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecursionLimits {
    /// The maximum number of nested agents.
    pub max_depth: u32,
    /// Whether an agent may be given a task by an agent that works for it.
    pub allows_cycles: bool,
}

/// Why an agent may not be given a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recursion {
    /// Too many agents are nested.
    TooDeep {
        /// Their number.
        depth: u32,
        /// The maximum number.
        max_depth: u32,
    },
    /// The agent is above the task, where it may be waiting for it.
    Cycle {
        /// The name of the agent.
        agent: String,
        /// The names in the chain.
        names: String,
    },
}

impl Recursion {
    /// Returns what to do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::TooDeep { .. } => {
                "do the work without another agent; a person can raise max_depth under dispatch in handoff.yaml"
            }
            Self::Cycle { .. } => {
                "choose another agent, or do the work without one; a person can set allow_cycles: true for this agent"
            }
        }
    }
}

impl fmt::Display for Recursion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep { depth, max_depth } => write!(
                f,
                "agents that hand tasks to agents are {depth} levels deep, at most {max_depth} are allowed"
            ),
            Self::Cycle { agent, names } => {
                write!(f, "the agent {} is already above this task: {}", brief(agent), brief(names))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: RecursionLimits = RecursionLimits { max_depth: 3, allows_cycles: false };

    fn lane(name: &str) -> LaneName {
        LaneName::new(name).expect("a lane")
    }

    fn chain(depth: u32, names: &str) -> AgentChain {
        AgentChain::new(depth, names).expect("a chain")
    }

    fn recorded(metadata: Value) -> Result<AgentChain> {
        AgentChain::above_task(metadata.as_object().expect("an object"))
    }

    #[test]
    fn agents_join_a_chain_and_other_workers_only_make_it_deeper() {
        let empty = AgentChain::default();
        let one = empty.joined_by(&lane("agent/a"));
        assert_eq!(one, chain(1, "a"));
        let two = one.joined_by(&lane("review"));
        assert_eq!(two, chain(2, "a"));
        assert_eq!(two.joined_by(&lane("agent/b/c")), chain(3, "a>b/c"));
        assert_eq!(empty.joined_by(&lane("review")).names(), None);
    }

    #[test]
    fn a_chain_survives_the_metadata_of_a_task_and_replaces_what_a_client_wrote() {
        let mut metadata = Object::from_iter([("dispatch_chain".to_string(), "forged".into())]);
        for chain in [chain(2, "a>b"), chain(1, ""), AgentChain::default()] {
            chain.record_in(&mut metadata);
            assert_eq!(AgentChain::above_task(&metadata).expect("readable"), chain);
        }
        assert!(!metadata.contains_key("dispatch_chain"));
    }

    #[test]
    fn a_recorded_depth_is_a_number_or_the_text_of_one() {
        for (given, expected) in [
            (json!("2"), 2),
            (json!(" 2 "), 2),
            (json!(2), 2),
            (json!(u64::MAX), u32::MAX),
            (json!("99999999999"), u32::MAX),
            (json!(-1), 0),
            (json!("deep"), 0),
            (json!(null), 0),
        ] {
            assert_eq!(recorded(json!({"dispatch_depth": given})).expect("lenient").depth(), expected);
        }
    }

    #[test]
    fn names_that_no_dispatcher_wrote_are_refused() {
        let message = |names: Value| recorded(json!({"dispatch_chain": names})).expect_err("bad").to_string();
        assert!(message(json!(["a"])).ends_with("must be text, not [\"a\"]"));
        assert!(message(json!("a\0b")).contains("control or invisible characters: a\\u{0}b"));
        assert!(message("x".repeat(MAX_NAMES + 1).into()).contains("longer than 16384 bytes"));
    }

    #[test]
    fn depth_and_cycles_are_refused_unless_they_are_allowed() {
        let check = |depth, names, target| chain(depth, names).check(&lane(target), LIMITS);
        assert_eq!(check(0, "", "agent/a"), Ok(()));
        assert_eq!(check(2, "a>b", "agent/c"), Ok(()));
        assert_eq!(check(3, "", "review"), Err(Recursion::TooDeep { depth: 3, max_depth: 3 }));
        let cycle =
            |agent: &str| Err(Recursion::Cycle { agent: agent.to_string(), names: "a>bc".to_string() });
        assert_eq!(check(2, "a>bc", "agent/a"), cycle("a"));
        assert_eq!(check(2, "a>bc", "agent/bc"), cycle("bc"));
        assert_eq!(check(2, "a>bc", "agent/b"), Ok(()), "a part of a name is not a name");
        assert_eq!(check(2, "a>bc", "a"), Ok(()), "a lane of that name is not the agent");
        let lenient = RecursionLimits { allows_cycles: true, ..LIMITS };
        assert_eq!(chain(2, "a>bc").check(&lane("agent/a"), lenient), Ok(()));
        assert!(chain(3, "a>bc").check(&lane("agent/a"), lenient).is_err(), "cycles end at the depth");
        assert!(chain(1, "a>b").check(&lane("agent/a>b"), LIMITS).is_err());
    }

    #[test]
    fn a_task_inside_a_run_has_the_agents_of_that_run_above_it() {
        let inside = |own: AgentChain, outer: AgentChain| own.inside(&outer);
        assert_eq!(inside(AgentChain::default(), chain(1, "a")), chain(1, "a"));
        assert_eq!(inside(chain(2, "a>b"), chain(1, "a")), chain(2, "a>b"));
        assert_eq!(inside(chain(1, "b"), chain(2, "a")), chain(2, "a>b"));
        assert_eq!(inside(chain(1, "b"), AgentChain::default()), chain(1, "b"));
    }
}
