//! Files that an answer may not replace, and files that a client may not pass to a worker, by their names.
//!
//! An answer is text that an agent wrote, perhaps under the influence of what it read. Where a program picks up a
//! file by its name alone (a git hook, an agent's settings, a CI workflow), such an answer would run, or decide
//! what runs, without any review. Source code is not in these lists: people build and run it deliberately.

use std::path::Path;

/// Directories whose files tools execute or read as settings.
const TOOL_DIRECTORIES: [&str; 41] = [
    ".aider",
    ".aws",
    ".azure",
    ".buildkite",
    ".bundle",
    ".cargo",
    ".ci",
    ".circleci",
    ".claude",
    ".codex",
    ".config",
    ".continue",
    ".cursor",
    ".devcontainer",
    ".direnv",
    ".docker",
    ".fleet",
    ".forgejo",
    ".gemini",
    ".git",
    ".gitea",
    ".github",
    ".gitlab",
    ".gnupg",
    ".gradle",
    ".hg",
    ".husky",
    ".idea",
    ".jj",
    ".kube",
    ".local",
    ".mvn",
    ".opencode",
    ".ssh",
    ".svn",
    ".venv",
    ".vscode",
    ".windsurf",
    ".woodpecker",
    ".yarn",
    ".zed",
];

/// Files that build tools and agents pick up by name; names that begin with a dot need no list.
const TOOL_FILES: [&str; 39] = [
    "agents.md",
    "agents.override.md",
    "build.gradle",
    "build.gradle.kts",
    "build.rs",
    "build.xml",
    "cargo.toml",
    "cmakelists.txt",
    "configure",
    "dockerfile",
    "mcp.json",
    "meson.build",
    "pom.xml",
    "pyproject.toml",
    "qwen.md",
    "setup.cfg",
    "claude.local.md",
    "claude.md",
    "conftest.py",
    "gemini.md",
    "gnumakefile",
    "jenkinsfile",
    "justfile",
    "lefthook.yml",
    "makefile",
    "opencode.json",
    "package.json",
    "polling-chat-prompt.md",
    "rakefile",
    "reviewer-agent-prompt.md",
    "setup.py",
    "sitecustomize.py",
    "taskfile.yaml",
    "taskfile.yml",
    "tox.ini",
    "usercustomize.py",
    "vagrantfile",
    "flake.nix",
    "shell.nix",
];

/// Suffixes of document names, which nothing executes even on a file system that marks every file as
/// executable.
const DOCUMENT_SUFFIXES: [&str; 11] =
    ["adoc", "csv", "diff", "html", "json", "jsonl", "markdown", "md", "patch", "rst", "txt"];

/// Directories that hold credentials.
const SECRET_DIRECTORIES: [&str; 8] =
    [".aws", ".azure", ".docker", ".git", ".gnupg", ".kube", ".ssh", ".password-store"];

/// Files that hold credentials.
const SECRET_FILES: [&str; 21] = [
    ".vault-token",
    "credentials.json",
    "credentials.toml",
    "kubeconfig",
    ".claude.json",
    ".credentials.json",
    ".dockercfg",
    ".env",
    ".envrc",
    ".git-credentials",
    ".htpasswd",
    ".my.cnf",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    "_netrc",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
];

/// Suffixes of the names of keys and key stores.
const SECRET_SUFFIXES: [&str; 8] = ["jks", "kdbx", "key", "keystore", "p12", "pem", "pfx", "ppk"];

/// The values of NAME for which `.env.NAME` is an example without secrets.
const EXAMPLE_SUFFIXES: [&str; 4] = ["dist", "example", "sample", "template"];

/// Returns whether some program executes the file at `path`, relative to a workspace root, or reads it as
/// configuration, judging by its name and those of its parent directories.
pub(super) fn runs_or_configures(path: &Path) -> bool {
    let (directories, file) = parts(path);
    directories.iter().any(|name| TOOL_DIRECTORIES.contains(&name.as_str()))
        || file.starts_with('.')
        || TOOL_FILES.contains(&file.as_str())
}

/// Returns whether the file at `path`, relative to a workspace root, usually contains credentials.
pub(super) fn is_secret(path: &Path) -> bool {
    let (directories, file) = parts(path);
    // Backup copies made by editors and people are as secret as the originals.
    let file = file.trim_end_matches('~');
    let file = [".bak", ".old", ".orig"].iter().find_map(|end| file.strip_suffix(end)).unwrap_or(file);
    let is_env = file.ends_with(".env")
        || file.strip_prefix(".env.").is_some_and(|rest| !EXAMPLE_SUFFIXES.contains(&rest));
    directories.iter().any(|name| SECRET_DIRECTORIES.contains(&name.as_str()))
        || is_env
        || SECRET_FILES.contains(&file)
        || file.rsplit_once('.').is_some_and(|(_, end)| SECRET_SUFFIXES.contains(&end))
}

/// Returns whether `path`, relative to a directory that a server allows, is or lies in a directory of credentials.
pub(crate) fn is_in_secret_directory(path: &Path) -> bool {
    let (mut names, last) = parts(path);
    names.push(last);
    names.iter().any(|name| SECRET_DIRECTORIES.contains(&name.as_str()))
}

/// Returns whether the file name of `path` is that of a document.
pub(super) fn is_document(path: &Path) -> bool {
    parts(path).1.rsplit_once('.').is_some_and(|(_, end)| DOCUMENT_SUFFIXES.contains(&end))
}

/// Returns the components of a path in lower case: some file systems are case-insensitive.
fn parts(path: &Path) -> (Vec<String>, String) {
    let mut names: Vec<String> =
        path.components().map(|part| part.as_os_str().to_string_lossy().to_ascii_lowercase()).collect();
    let file = names.pop().unwrap_or_default();
    (names, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_pick_up_by_name_is_known() {
        for name in [
            ".git/hooks/pre-commit",
            "sub/.git/config",
            ".GIT/config",
            ".claude/settings.json",
            "deep/er/.claude/agents/x.md",
            ".codex/config.toml",
            ".gemini/settings.json",
            ".github/workflows/ci.yml",
            ".github/copilot-instructions.md",
            ".vscode/tasks.json",
            ".husky/pre-push",
            ".envrc",
            ".env",
            ".env.local",
            ".bashrc",
            ".gitattributes",
            ".npmrc",
            ".mcp.json",
            "CLAUDE.md",
            "sub/AGENTS.md",
            "Makefile",
            "package.json",
            "Cargo.toml",
            "Dockerfile",
        ] {
            assert!(runs_or_configures(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn ordinary_answers_are_free() {
        for name in [
            "plan.review.md",
            "docs/answer.md",
            "handoff/responses/1.md",
            ".agent-lanes-queue/responses/1.md",
            ".reviews/1.md",
            ".scratch/out.json",
            "src/main.rs",
            "git/hooks.md",
            "env.md",
            "make.md",
        ] {
            assert!(!runs_or_configures(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn credentials_are_known_by_name() {
        for name in [
            ".env",
            "app/.env.production",
            "prod.env",
            ".env~",
            ".ssh/config",
            "certs/server.KEY",
            "id_ed25519",
            "id_rsa.bak",
            ".git/config",
            "kubeconfig",
        ] {
            assert!(is_secret(Path::new(name)), "{name}");
        }
        for name in ["plan.md", ".env.example", ".github/workflows/ci.yml", "keys.md", "key", "src/env.rs"] {
            assert!(!is_secret(Path::new(name)), "{name}");
        }
    }
}
