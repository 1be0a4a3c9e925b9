//! The embedded templates and the files created from them.

/// The permissions of a text that anybody may read.
const TEXT_MODE: u32 = 0o644;
/// The permissions of a text in a private directory.
const PRIVATE_TEXT_MODE: u32 = 0o600;
/// The permissions of a program.
const PROGRAM_MODE: u32 = 0o755;

/// A file that a scaffold creates.
pub(super) struct Template {
    /// The path relative to the directory of its group.
    pub path: &'static str,
    /// The text, with placeholders.
    pub text: &'static str,
    /// The permissions, before the umask.
    pub mode: u32,
}

/// A [`Template`] from `templates/<source>`.
macro_rules! template {
    ($path:literal, $source:literal, $mode:expr) => {
        Template { path: $path, text: include_str!(concat!("../../../templates/", $source)), mode: $mode }
    };
}

/// The files of `handoff/`.
pub(super) const WORKSPACE: &[Template] = &[
    template!("handoff.yaml", "handoff.yaml", TEXT_MODE),
    template!("dispatcher.sh", "workspace/dispatcher.sh", PROGRAM_MODE),
    template!("bin/handoff", "workspace/bin/handoff", PROGRAM_MODE),
    template!("README.md", "workspace/README.md", TEXT_MODE),
    template!("REVIEWER-AGENT-PROMPT.md", "worker-prompt.md", TEXT_MODE),
    template!(".gitignore", "workspace/prompt-gitignore", TEXT_MODE),
];

/// The files of a state directory, in a workspace or a pool.
pub(super) const STATE: &[Template] = &[
    template!(".gitignore", "workspace/gitignore", PRIVATE_TEXT_MODE),
    // Programs that expect the layout of agent-lanes find these even before the first task.
    Template { path: ".gitkeep", text: "", mode: PRIVATE_TEXT_MODE },
    Template { path: "lock", text: "", mode: PRIVATE_TEXT_MODE },
];

/// The files of `.agent-lanes-queue/`.
pub(super) const QUEUE: &[Template] = &[
    template!("handoff.yaml", "handoff.yaml", TEXT_MODE),
    template!("README.md", "pool/queue/README.md", TEXT_MODE),
];

/// The files of `dispatchers/`.
pub(super) const DISPATCHERS: &[Template] = &[
    template!("claude.sh", "pool/dispatchers/claude.sh", PROGRAM_MODE),
    template!("codex.sh", "pool/dispatchers/codex.sh", PROGRAM_MODE),
    template!("POLLING-CHAT-PROMPT.md", "worker-prompt.md", TEXT_MODE),
    template!(".gitignore", "pool/dispatchers/prompt-gitignore", TEXT_MODE),
    template!("README.md", "pool/dispatchers/README.md", TEXT_MODE),
];

/// The instructions for a chat that works on a queue.
pub(super) const WORKER_PROMPT: Template = template!("worker-prompt.md", "worker-prompt.md", TEXT_MODE);
