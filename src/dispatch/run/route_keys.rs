//! The exclusive keys that a route gives to its tasks.

use std::path::Path;

use super::git_directories::git_dirs;
use super::prepare::working_directory;
use crate::dispatch::config::exclusive_settings::KeyPlaces;
use crate::dispatch::config::plan::Plan;
use crate::dispatch::config::route::Route;
use crate::model::{ExclusiveKey, Task};

/// Returns the exclusive keys that the route of a task gives it.
pub(crate) fn route_keys(plan: &Plan, route: &Route, task: &Task) -> Vec<ExclusiveKey> {
    if route.exclusive.is_empty() {
        return Vec::new();
    }
    let worktree = task.spec.worktree_path.as_ref().unwrap_or(&task.spec.workspace_root).clone();
    // A task that has no usable directory fails before its agent starts.
    let cwd = working_directory(plan, route, task).unwrap_or_else(|_| worktree.clone().into());
    let cwd = cwd.canonicalize().unwrap_or(cwd);
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let repository = match git_dirs(&cwd).first() {
        Some(common) if common.ends_with(".git") => common.parent().map_or_else(|| text(common), text),
        Some(common) => text(common),
        None => text(&cwd),
    };
    let lane = task.spec.lane.to_string();
    route.exclusive.fill(&KeyPlaces { worktree, cwd: text(&cwd), repository, lane })
}
