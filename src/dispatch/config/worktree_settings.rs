//! `worktree:` of a route: the worktree that each task gets.

use serde_yaml::Value;

use super::verify_settings::read_commands;
use crate::Result;
use crate::workspace::Section;

/// The keys below `worktree`.
const KEYS: [&str; 6] = ["base", "branch", "dir", "setup", "keep", "fresh"];

/// The worktree that each task of a route gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorktreeSettings {
    /// The commit that it starts from; `None`: the one that the repository is on.
    pub base: Option<String>,
    /// Its branch, with placeholders.
    pub branch: String,
    /// The directory of the worktrees, relative to the top of the repository.
    pub dir: String,
    /// Commands that make a new worktree ready.
    pub setup: Vec<Vec<String>>,
    /// Which worktrees stay after an attempt.
    pub keep: KeepWorktree,
    /// Whether every attempt gets a new one.
    pub fresh: bool,
}

/// Which worktrees stay after an attempt. One with changes that are in no commit stays in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KeepWorktree {
    /// None.
    Never,
    /// Those with commits.
    #[default]
    Changed,
    /// Those of attempts that failed.
    Failed,
    /// All.
    Always,
}

impl Default for WorktreeSettings {
    fn default() -> Self {
        Self {
            base: None,
            branch: "lanes/{short_id}".to_string(),
            dir: "../.lanes-worktrees".to_string(),
            setup: Vec::new(),
            keep: KeepWorktree::default(),
            fresh: false,
        }
    }
}

/// Reads `worktree` of a route; `null` switches off what the defaults say.
///
/// # Errors
/// `Config`, with file, line and key.
pub(super) fn read_worktree(
    section: &Section<'_>,
    inherited: Option<WorktreeSettings>,
) -> Result<Option<WorktreeSettings>> {
    match section.mapping().get("worktree") {
        None => return Ok(inherited),
        Some(Value::Null) => return Ok(None),
        Some(_) => {}
    }
    let section = section.section("worktree")?;
    section.refuse_unknown_keys(&KEYS)?;
    let inherited = inherited.unwrap_or_default();
    let branch = section.argument("branch")?.or(inherited.branch);
    if !section.boolean("fresh")?.or(inherited.fresh)
        && !branch.contains("{short_id}")
        && !branch.contains("{task_id}")
    {
        return Err(
            section.error("branch", "needs {short_id} or {task_id}: each task has a branch of its own")
        );
    }
    check_placeholders(&section, "branch", &branch)?;
    let dir = section.argument("dir")?.or(inherited.dir);
    check_placeholders(&section, "dir", &dir)?;
    Ok(Some(WorktreeSettings {
        base: section.argument("base")?.or_inherit(inherited.base),
        branch,
        dir,
        setup: section.read("setup", read_commands)?.or_inherit(Some(inherited.setup)).unwrap_or_default(),
        keep: section.read("keep", keep)?.or(inherited.keep),
        fresh: section.boolean("fresh")?.or(inherited.fresh),
    }))
}

fn check_placeholders(section: &Section<'_>, key: &str, text: &str) -> Result<()> {
    let mut rest = text.replace("{short_id}", "").replace("{task_id}", "");
    rest = rest.replace("{lane}", "");
    match rest.contains(['{', '}']) {
        true => {
            Err(section.error(key, "has an unknown placeholder: there are {short_id}, {task_id} and {lane}"))
        }
        false => Ok(()),
    }
}

fn keep(value: &Value) -> std::result::Result<KeepWorktree, String> {
    match value.as_str() {
        Some("never") => Ok(KeepWorktree::Never),
        Some("changed") => Ok(KeepWorktree::Changed),
        Some("failed") => Ok(KeepWorktree::Failed),
        Some("always") => Ok(KeepWorktree::Always),
        _ => Err("expected never, changed, failed or always".to_string()),
    }
}
