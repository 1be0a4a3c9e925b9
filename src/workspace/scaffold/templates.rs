//! The embedded texts: which file each becomes.

/// A text that anybody may read.
const TEXT: u32 = 0o644;
/// A text in a directory that is nobody else's business.
const PRIVATE: u32 = 0o600;
/// A program.
const PROGRAM: u32 = 0o755;

/// One file to be made.
pub(super) struct Template {
    /// Relative to the directory of its group.
    pub path: &'static str,
    /// With placeholders.
    pub text: &'static str,
    /// Permissions, before the umask.
    pub mode: u32,
}

/// A [`Template`] from `templates/<source>`.
macro_rules! template {
    ($path:literal, $source:literal, $mode:expr) => {
        Template { path: $path, text: include_str!(concat!("../../../templates/", $source)), mode: $mode }
    };
}

/// `handoff/`.
pub(super) const WORKSPACE: &[Template] = &[
    template!("handoff.yaml", "workspace/handoff.yaml", TEXT),
    template!("dispatcher.sh", "workspace/dispatcher.sh", PROGRAM),
    template!("bin/handoff", "workspace/bin/handoff", PROGRAM),
    template!("README.md", "workspace/README.md", TEXT),
    template!("REVIEWER-AGENT-PROMPT.md", "workspace/REVIEWER-AGENT-PROMPT.md", TEXT),
];

/// The state directory of either kind.
pub(super) const STATE: &[Template] = &[
    template!(".gitignore", "workspace/gitignore", PRIVATE),
    // Programs that look for what agent-lanes lays out find these before the first task, too.
    Template { path: ".gitkeep", text: "", mode: PRIVATE },
    Template { path: "lock", text: "", mode: PRIVATE },
];

/// `.agent-lanes-queue/`.
pub(super) const QUEUE: &[Template] = &[
    template!("handoff.yaml", "pool/queue/handoff.yaml", TEXT),
    template!("README.md", "pool/queue/README.md", TEXT),
];

/// `dispatchers/`.
pub(super) const DISPATCHERS: &[Template] = &[
    template!("claude.sh", "pool/dispatchers/claude.sh", PROGRAM),
    template!("codex.sh", "pool/dispatchers/codex.sh", PROGRAM),
    template!("POLLING-CHAT-PROMPT.md", "pool/dispatchers/POLLING-CHAT-PROMPT.md", TEXT),
    template!("README.md", "pool/dispatchers/README.md", TEXT),
];
