//! The run that a process belongs to.
//!
//! A dispatcher describes it to the processes of the run by variables. Some clients, such as codex, pass none on to the
//! servers that they start, and an agent can change them. Among the processes above is the guard of the run, which was
//! started with the same variables; only from another process namespace it cannot be seen.

use super::mcp_access::{MCP_VARIABLE, McpAccess};
use crate::Result;
use crate::guard::process_tree::{RUN_ID_VARIABLE, variables_of_guard_above};
use crate::model::AgentChain;

/// A run, as its dispatcher describes it to the processes of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnclosingRun {
    /// The agents above the process.
    pub chain: AgentChain,
    /// Whether the agent is offered the queue as tools.
    pub mcp: McpAccess,
}

impl EnclosingRun {
    /// Returns the run that the calling process belongs to; `own` returns the variables of the process itself.
    ///
    /// # Errors
    /// `Invalid` when a variable has a value that no dispatcher gives it.
    pub(crate) fn find(own: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        if let Some(variables) = variables_of_guard_above() {
            return Self::read(|name| variables.get(name).cloned()).map(Some);
        }
        own(RUN_ID_VARIABLE).map(|_| Self::read(own)).transpose()
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        Ok(Self {
            chain: AgentChain::above_process(&variable)?.unwrap_or_default(),
            mcp: variable(MCP_VARIABLE).and_then(|word| McpAccess::parse(&word)).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_of_its_run_by_its_variables() {
        let find = |variables: &[(&str, &str)]| {
            let value = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
            EnclosingRun::find(|name| value(name).map(ToString::to_string))
        };
        let run = ("LANES_RUN_ID", "0123456789abcdef0123456789abcdef");
        let told = find(&[run, ("LANES_DEPTH", "2"), ("LANES_CHAIN", "a>b"), ("LANES_MCP", "inherit")]);
        let expected =
            EnclosingRun { chain: AgentChain::new(2, "a>b").expect("a chain"), mcp: McpAccess::Inherit };
        assert_eq!(told.expect("valid"), Some(expected));
        let odd = find(&[run, ("LANES_DEPTH", "deep"), ("LANES_MCP", "on")]).expect("lenient");
        assert_eq!(odd, Some(EnclosingRun { chain: AgentChain::default(), mcp: McpAccess::Off }));
        assert!(find(&[run, ("LANES_CHAIN", "a\nb")]).is_err());
    }
}
