//! Whether `lanes mcp` has tools for the agent of a run.

/// The environment variable that says whether the agent is offered the queue as tools.
pub(crate) const MCP_VARIABLE: &str = "LANES_MCP";

/// Whether `lanes mcp` offers an agent its tools, where the agent's program has it among its servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum McpAccess {
    /// It offers none.
    #[default]
    Off,
    /// It offers those for which it is registered.
    Inherit,
}

impl McpAccess {
    /// Returns the word for settings and for [`MCP_VARIABLE`].
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Inherit => "inherit",
        }
    }

    /// Reads the word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Off, Self::Inherit].into_iter().find(|access| access.as_str() == word)
    }
}
