//! Names of agents, and the lanes that they serve.

use super::lane::{AGENT_LANES, LaneName};
use crate::error::{Error, Result, brief};

/// The name of an agent: the part after `agent/` in the name of its lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AgentName {
    lane: LaneName,
}

impl AgentName {
    /// Checks a name: the name of its lane must be valid.
    ///
    /// # Errors
    /// `Invalid`, with the reason.
    pub(crate) fn new(name: &str) -> Result<Self> {
        match LaneName::new(format!("{AGENT_LANES}{name}")) {
            Ok(lane) => Ok(Self { lane }),
            Err(error) => {
                let reason = error.message().rsplit(": ").next().unwrap_or_default();
                Err(Error::invalid(format!("invalid agent name '{}': {reason}", brief(name))))
            }
        }
    }

    /// Returns the agent that serves a lane; `None` for the lane of no agent.
    pub(crate) fn of_lane(lane: &LaneName) -> Option<Self> {
        Self::new(lane.agent()?).ok()
    }

    /// Returns the name.
    pub(crate) fn as_str(&self) -> &str {
        self.lane.agent().unwrap_or_default()
    }

    /// Returns the lane of its tasks.
    pub(crate) fn lane(&self) -> &LaneName {
        &self.lane
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_the_name_of_its_lane() {
        let infra = AgentName::new("infra").unwrap();
        assert_eq!((infra.as_str(), infra.lane().as_str()), ("infra", "agent/infra"));
        assert_eq!(AgentName::of_lane(&LaneName::stored("agent/infra")), Some(infra));
        for lane in ["infra", "agent", "agent/", "agents/infra"] {
            assert_eq!(AgentName::of_lane(&LaneName::stored(lane)), None, "{lane}");
        }
        for (name, reason) in
            [("", "it reads as a path"), ("../x", "it reads as a path"), ("a\nb", "control")]
        {
            let refused = AgentName::new(name).unwrap_err().to_string();
            assert!(refused.starts_with("invalid agent name '") && refused.contains(reason), "{refused}");
        }
    }
}
