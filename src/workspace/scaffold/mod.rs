//! `init` and `init-pool`: create a workspace or a pool from the embedded templates.

mod created_files;
mod render;
mod templates;

use std::path::{Path, PathBuf};

use self::created_files::CreatedFiles;
use self::render::Values;
use self::templates::{DISPATCHERS, QUEUE, STATE, Template, WORKER_PROMPT, WORKSPACE};
use super::base_dir::BaseDir;
use super::config::Config;
use super::discover::visible_from;
use super::paths::{absolute, as_text, resolve, show};
use crate::error::{Error, ErrorKind, Result, printable, shell_word};
use crate::model::limits;

/// The values for a new `handoff.yaml`; `None` for the defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct InitOptions {
    /// The workspace id. Default: the name of the target directory.
    pub workspace_id: Option<String>,
    /// The workspace root as written in the file, relative to `handoff/`. Default: `..`.
    pub workspace_root: Option<String>,
    /// The state directory as written in the file, relative to `handoff/`. Default: `state`.
    pub queue_root: Option<String>,
}

/// The result of `init`.
#[derive(Clone, Debug)]
pub(crate) struct InitResult {
    /// The new directory, absolute.
    pub handoff: PathBuf,
    /// As it reads in the configuration.
    pub workspace_id: String,
    /// As it is written in the configuration.
    pub workspace_root: String,
    /// As it is written in the configuration.
    pub queue_root: String,
    /// The next steps, one line each.
    pub next_steps: Vec<String>,
    /// What the new workspace hides, in one sentence.
    pub warning: Option<String>,
}

/// The result of `init_pool`; all paths are absolute.
#[derive(Clone, Debug)]
pub(crate) struct PoolInitResult {
    /// As it reads in the configuration.
    pub workspace_id: String,
    /// The directory of the configuration and the store.
    pub queue: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// The state directory.
    pub store: PathBuf,
    /// The dispatcher scripts: vendor and path.
    pub dispatchers: Vec<(&'static str, PathBuf)>,
    /// The instructions for a chat session that works on the queue.
    pub polling_prompt: PathBuf,
    /// What the new pool hides, or what hides it, in one sentence.
    pub warning: Option<String>,
}

/// Creates `handoff/` in `target`, which is created if missing and relative to the current directory.
///
/// # Errors
/// `Refused` when `handoff` already exists, `Invalid` for a workspace id that is not valid, `Io` when a file
/// cannot be created. After an error everything that was created is removed again.
pub(crate) fn init(target: &Path, options: InitOptions) -> Result<InitResult> {
    let target = real_target(target)?;
    let workspace_id = workspace_id(options.workspace_id.as_deref(), &target)?;
    let workspace_root = options.workspace_root.unwrap_or_else(|| "..".to_string());
    let queue_root = options.queue_root.unwrap_or_else(|| "state".to_string());
    for (what, text) in [("workspace root", &workspace_root), ("queue root", &queue_root)] {
        if text.trim().is_empty() {
            return Err(Error::invalid(format!("the {what} is empty")));
        }
    }
    let handoff = target.join("handoff");
    let store = resolve(&absolute(&handoff, Path::new(&queue_root))?)?;
    // Refuses now what reading the configuration would refuse later.
    resolve(&absolute(&handoff, Path::new(&workspace_root))?)?;
    let config_path = as_text(&handoff.join("handoff.yaml"), "the target directory")?;
    let values = Values {
        workspace_id: &workspace_id,
        workspace_root: &workspace_root,
        queue_root: &queue_root,
        config_path: &config_path,
        store_path: &as_text(&store, "the queue root")?,
        queue_flags: ["--config", &config_path],
        lanes: &["review"],
    };
    refuse_existing(&handoff)?;

    let mut created = CreatedFiles::new();
    created.directories(&target)?;
    claim_directory(&mut created, &handoff)?;
    write_all(&mut created, &handoff, WORKSPACE, &values)?;
    // A store elsewhere is created at its first use; one that git would see is hidden from it now.
    if store != handoff && store.starts_with(&handoff) {
        write_state(&mut created, &store, &values)?;
    }
    created.keep();
    Ok(InitResult {
        warning: hidden_queue(&target, &handoff.join("handoff.yaml")),
        handoff,
        workspace_id,
        workspace_root,
        queue_root,
        next_steps: vec![
            "submit a task: lanes submit --lane review --prompt 'What does this project do?'".to_string(),
            "start a worker: ./handoff/dispatcher.sh --lane review".to_string(),
            "or give a chat what `lanes prompt worker` prints; `lanes setup` tells this project's agents"
                .to_string(),
            "see handoff/README.md for the rest".to_string(),
        ],
    })
}

/// Creates `.agent-lanes-queue/` and `dispatchers/` in `target`, which is created if missing and relative to the
/// current directory.
///
/// # Errors
/// `Refused` when one of the two already exists, otherwise as [`init`]. After an error everything that was
/// created is removed again.
pub(crate) fn init_pool(target: &Path, id: Option<&str>) -> Result<PoolInitResult> {
    let target = real_target(target)?;
    let workspace_id = workspace_id(id, &target)?;
    let queue = target.join(".agent-lanes-queue");
    let dispatchers = target.join("dispatchers");
    let config = queue.join("handoff.yaml");
    let store = queue.join("state");
    let config_path = as_text(&config, "the target directory")?;
    let values = Values {
        workspace_id: &workspace_id,
        workspace_root: "..",
        queue_root: "state",
        config_path: &config_path,
        store_path: &as_text(&store, "the target directory")?,
        queue_flags: ["--config", &config_path],
        lanes: &["review", "work", "questions"],
    };
    refuse_existing(&queue)?;
    refuse_existing(&dispatchers)?;

    let mut created = CreatedFiles::new();
    created.directories(&target)?;
    claim_directory(&mut created, &queue)?;
    claim_directory(&mut created, &dispatchers)?;
    write_all(&mut created, &queue, QUEUE, &values)?;
    write_state(&mut created, &store, &values)?;
    write_all(&mut created, &dispatchers, DISPATCHERS, &values)?;
    created.keep();
    Ok(PoolInitResult {
        warning: hidden_queue(&target, &config),
        workspace_id,
        config,
        store,
        dispatchers: ["claude", "codex"]
            .map(|vendor| (vendor, dispatchers.join(format!("{vendor}.sh"))))
            .into(),
        polling_prompt: dispatchers.join("POLLING-CHAT-PROMPT.md"),
        queue,
    })
}

/// Returns the instructions for a chat that works on the lanes of a queue.
///
/// # Errors
/// `Invalid` when a path cannot be written as text.
pub(crate) fn worker_prompt(config: &Config, lanes: &[&str]) -> Result<String> {
    let store_path = as_text(&config.store_root, "the state directory")?;
    let config_path = config.path().map(|path| as_text(path, "the configuration file")).transpose()?;
    let queue_flags = match &config_path {
        Some(path) if !config.store_is_named() => ["--config", path.as_str()],
        _ => ["--store", store_path.as_str()],
    };
    let values = Values {
        workspace_id: &config.workspace_id,
        workspace_root: "",
        queue_root: "",
        config_path: config_path.as_deref().unwrap_or_default(),
        store_path: &store_path,
        queue_flags,
        lanes,
    };
    Ok(values.fill(&WORKER_PROMPT))
}

/// Says which queue commands in `target` no longer use now that `config` is there, or that they do not use this one.
fn hidden_queue(target: &Path, config: &Path) -> Option<String> {
    let mut files = visible_from(target).map(|(_, file)| file);
    let (used, hidden) = (files.next()?, files.next()?);
    let hint = format!("reach the other with --config {}", shell_word(&hidden.to_string_lossy()));
    Some(match used == config {
        true => format!("in {} and below, this queue hides that of {}; {hint}", show(target), show(&hidden)),
        false => format!("in {} and below, {} hides this queue; {hint}", show(target), show(&used)),
    })
}

fn real_target(target: &Path) -> Result<PathBuf> {
    let path = BaseDir::current().absolute(target)?;
    // A missing directory will be created; a file of that name, or above it, is an error.
    if let Some(there) = path.ancestors().find(|above| above.exists())
        && !there.is_dir()
    {
        return Err(Error::refused(format!("{} is a file, not a directory", show(there)))
            .with_hint("give the directory in which to create the queue"));
    }
    resolve(&path)
}

/// Returns the requested id, otherwise the name of the directory.
fn workspace_id(requested: Option<&str>, target: &Path) -> Result<String> {
    let id = match requested {
        Some(id) => id.trim().to_string(),
        None => match target.file_name() {
            Some(name) => name.to_string_lossy().trim().to_string(),
            None => "workspace".to_string(),
        },
    };
    limits::check_workspace_id(&id).map_err(|error| error.with_hint("choose another with --workspace-id"))?;
    Ok(id)
}

fn already_exists(path: &Path) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Error::refused(format!("{}/ already exists: {}", printable(&name), show(path)))
        .with_hint("nothing was changed; move it away to start afresh")
}

/// Refuses an existing directory before anything is created. Dangling links count as existing.
fn refuse_existing(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Err(already_exists(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("access", path, error)),
    }
}

/// Creates a directory that must not exist; of two concurrent processes only one succeeds.
fn claim_directory(created: &mut CreatedFiles, path: &Path) -> Result<()> {
    created.directory(path, created_files::PUBLIC_DIRECTORY_MODE).map_err(|error| {
        if error.kind() == ErrorKind::Io
            && error.raw_os_error() == Some(rustix::io::Errno::EXIST.raw_os_error())
        {
            already_exists(path)
        } else {
            error
        }
    })
}

fn write_all(
    created: &mut CreatedFiles,
    base: &Path,
    templates: &[Template],
    values: &Values<'_>,
) -> Result<()> {
    for template in templates {
        let path = base.join(template.path);
        if let Some(directory) = path.parent() {
            created.directories(directory)?;
        }
        created.file(&path, &values.fill(template), template.mode)?;
    }
    Ok(())
}

/// Creates the state directory, accessible only to its owner and ignored by git.
fn write_state(created: &mut CreatedFiles, store: &Path, values: &Values<'_>) -> Result<()> {
    if let Some(parent) = store.parent() {
        created.directories(parent)?;
    }
    created.directory(store, created_files::PRIVATE_DIRECTORY_MODE)?;
    created.directory(&store.join("indexes"), created_files::PRIVATE_DIRECTORY_MODE)?;
    write_all(created, store, STATE, values)
}

#[cfg(test)]
mod tests;
