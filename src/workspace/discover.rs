//! Finds the workspace of a command.

use std::path::{Path, PathBuf};

use super::base_dir::BaseDir;
use super::config::Config;
use super::ownership::{FoundConfig, Identity};
use super::paths::show;
use crate::error::{Error, Result};
use crate::store::StorePlace;

/// The locations of a configuration below its workspace or pool, in order of precedence.
pub(super) const CONFIG_PLACES: [&str; 2] = ["handoff/handoff.yaml", ".agent-lanes-queue/handoff.yaml"];

/// The options of the search for a workspace, from flags and environment.
#[derive(Clone, Copy, Debug)]
pub struct LocateOptions<'a> {
    /// `--config`, relative to `base`.
    pub config: Option<&'a Path>,
    /// `--store`, a path relative to `base` or the address of a server; overrides the configuration's `queue_root`.
    pub store: Option<&'a Path>,
    /// The store to use when neither a configuration nor a store was given or found, relative to `base`.
    pub fallback_store: Option<&'a Path>,
    /// The current directory, where a search begins.
    pub base: &'a BaseDir,
    /// The user whose files are trusted when they are found.
    pub identity: Identity,
}

/// Finds and reads the configuration: the given one, otherwise the nearest `handoff/handoff.yaml` or
/// `.agent-lanes-queue/handoff.yaml` in the current directory or above it, otherwise only the store.
///
/// # Errors
/// `Config` when there is none of these; otherwise as [`Config::load`] for what was named, and as
/// [`Config::load_found`] for what was found.
pub(crate) fn locate(request: &LocateOptions<'_>) -> Result<Config> {
    let store = request.store.map(|store| store_place(store, request.base)).transpose()?;
    if let Some(config) = request.config {
        return Config::load(&request.base.absolute(config)?, store.as_deref());
    }
    let cwd = request.base.directory()?;
    if let Some(found) = nearest(cwd, request.identity) {
        return Config::load_found(found, store.as_deref());
    }
    let fallback = request.fallback_store.map(|store| request.base.absolute(store)).transpose()?;
    match store.or(fallback) {
        Some(store) => Config::store_only(&store, cwd),
        None => Err(Error::config(format!("no workspace found in {} or above it", show(cwd)))
            .with_hint("create one with `lanes init`, or name one with --config or --store")),
    }
}

/// Returns what names a store, as `--store` and `LANES_STORE` give it: an absolute path, or the address of a server.
///
/// # Errors
/// `Invalid` for the address of something else.
pub(crate) fn store_place(text: &Path, base: &BaseDir) -> Result<PathBuf> {
    match StorePlace::parse(text)? {
        StorePlace::Path(path) => base.absolute(&path),
        StorePlace::Server(address) => Ok(address),
    }
}

/// Finds the configuration file in `directory` without searching above it: in its `handoff/` or
/// `.agent-lanes-queue/`, or directly in it.
///
/// # Errors
/// `Config` when there is none.
pub(crate) fn find_in(directory: &Path) -> Result<PathBuf> {
    let candidates = CONFIG_PLACES.iter().chain(&["handoff.yaml"]).map(|place| directory.join(place));
    candidates.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        Error::config(format!("no handoff.yaml found in {}", show(directory))).with_hint("name the file")
    })
}

/// Finds the configuration file closest to `cwd`.
fn nearest(cwd: &Path, identity: Identity) -> Option<FoundConfig> {
    let (holder, file) = visible_from(cwd).next()?;
    Some(FoundConfig { holder: holder.to_path_buf(), file, identity })
}

/// Returns the configuration file that a search from `cwd` finds.
#[cfg(feature = "cli")]
pub(crate) fn visible_config(cwd: &Path) -> Option<PathBuf> {
    visible_from(cwd).next().map(|(_, file)| file)
}

/// Finds every configuration file in `cwd` and above it with the directory that holds it, in order of precedence:
/// the first is used, and it hides the others.
pub(super) fn visible_from(cwd: &Path) -> impl Iterator<Item = (&Path, PathBuf)> {
    let places = |directory: &Path| CONFIG_PLACES.map(|place| directory.join(place));
    let files = cwd.ancestors().flat_map(move |directory| places(directory).map(|file| (directory, file)));
    // What cannot be accessed counts as missing: the search continues above.
    files.filter(|(_, file)| std::fs::metadata(file).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn write(root: &Path, place: &str, id: &str) {
        let path = root.join(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("workspace_id: {id}\n")).unwrap();
    }

    fn find(cwd: &Path, config: Option<&str>, store: Option<&str>) -> Result<Config> {
        let identity = Identity::of_process(None);
        locate(&LocateOptions {
            config: config.map(Path::new),
            store: store.map(Path::new),
            fallback_store: None,
            base: &BaseDir::at(cwd),
            identity,
        })
    }

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("pool/project/deep")).unwrap();
        (dir, root)
    }

    #[test]
    fn the_nearest_configuration_wins() {
        let (_dir, root) = tree();
        let deep = root.join("pool/project/deep");
        write(&root, "handoff/handoff.yaml", "top");
        assert_eq!(find(&deep, None, None).unwrap().workspace_id, "top");
        write(&root, "pool/.agent-lanes-queue/handoff.yaml", "pool");
        assert_eq!(find(&deep, None, None).unwrap().workspace_id, "pool");
        write(&root, "pool/handoff/handoff.yaml", "nearest");
        assert_eq!(find(&deep, None, None).unwrap().workspace_id, "nearest");
        write(&root, "pool/project/handoff/handoff.yaml", "project");
        assert_eq!(find(&deep, None, None).unwrap().workspace_id, "project");
        assert_eq!(find(&root.join("pool"), None, None).unwrap().workspace_id, "nearest");
    }

    #[test]
    fn the_fallback_counts_where_nothing_else_is_found() {
        let (_dir, root) = tree();
        let project = root.join("pool/project");
        let find = || {
            let base = BaseDir::at(&project);
            locate(&LocateOptions {
                config: None,
                store: None,
                fallback_store: Some(Path::new("own")),
                base: &base,
                identity: Identity::of_process(None),
            })
        };
        let own = find().unwrap();
        assert_eq!((own.store_root, own.workspace_root), (project.join("own"), project.clone()));
        write(&root, "handoff/handoff.yaml", "top");
        assert_eq!(find().unwrap().workspace_id, "top");
    }

    #[test]
    fn flags_come_before_what_is_found() {
        let (_dir, root) = tree();
        write(&root, "handoff/handoff.yaml", "top");
        write(&root, "other.yaml", "other");
        let project = root.join("pool/project");
        let named = find(&project, Some("../../other.yaml"), Some("q")).unwrap();
        assert_eq!(named.workspace_id, "other");
        assert_eq!(named.store_root, project.join("q"));
        let found = find(&project, None, Some("q")).unwrap();
        assert_eq!(found.workspace_id, "top");
        assert_eq!(found.store_root, project.join("q"));
        assert!(find(&project, Some("none.yaml"), Some("q")).is_err());
    }

    #[test]
    fn without_configuration_a_store_is_enough_and_nothing_is_not() {
        let (_dir, root) = tree();
        // If the directory of temporary files lies below a workspace, there is nothing to test.
        if nearest(&root, Identity::of_process(None)).is_some() {
            return;
        }
        let config = find(&root.join("pool"), None, Some("q")).unwrap();
        assert_eq!(config.path(), None);
        assert_eq!(config.workspace_id, "pool");
        let error = find(&root, None, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("lanes init"), "{error}");
    }

    #[test]
    fn a_configuration_that_is_there_but_unusable_is_not_passed_over() {
        let (_dir, root) = tree();
        write(&root, "handoff/handoff.yaml", "top");
        std::fs::create_dir_all(root.join("pool/handoff/handoff.yaml")).unwrap();
        let error = find(&root.join("pool"), None, None).unwrap_err();
        assert!(error.to_string().contains("is a directory"), "{error}");
    }
}
