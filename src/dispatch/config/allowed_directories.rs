//! Decides in which directories agents may work.
//!
//! A task can name any working directory, and the content of that directory determines what runs: agents read the
//! settings, hooks and build files of the directory in which they start. So an agent starts only in directories that
//! the operator of the dispatcher has allowed and in which other users cannot have created these files.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::options::ProcessContext;
use crate::error::printable;
use crate::workspace::Config;

/// Permission bits: writable by everyone; only owners may remove files (sticky).
const WORLD_WRITABLE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// The directories below which agents may work, and their permitted owners.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllowedDirectories {
    /// The workspace, and the other directories of the configuration.
    workspace_roots: Vec<PathBuf>,
    /// The directories in `worktree_roots`; the owner of such a directory may also own the directories in it.
    worktree_roots: Vec<PathBuf>,
    /// The ids of users who can choose what runs here anyway.
    trusted_uids: Vec<u32>,
}

impl AllowedDirectories {
    /// Creates the allowed directories of a workspace; `worktree_roots` are absolute paths, which need not exist.
    pub(crate) fn new(workspace: &Config, worktree_roots: Vec<PathBuf>, process: &ProcessContext) -> Self {
        let us = rustix::process::geteuid();
        let mut trusted_uids = vec![us.as_raw(), 0];
        if us.is_root() {
            // As in git: a user who became root by sudo works in their own directories.
            trusted_uids.extend(process.variable("SUDO_UID").and_then(|uid| uid.parse::<u32>().ok()));
        }
        // The owner of the configuration chooses the programs.
        let file = workspace.path().and_then(|path| std::fs::metadata(path).ok());
        trusted_uids.extend(file.map(|metadata| metadata.uid()));
        let workspace_roots =
            std::iter::once(workspace.workspace_root.clone()).chain(workspace.worktree_path.clone());
        // Consent covers the targets at the start: a symbolic link that replaces one later has no effect.
        let worktree_roots =
            worktree_roots.into_iter().map(|root| root.canonicalize().unwrap_or(root)).collect();
        Self { workspace_roots: workspace_roots.collect(), worktree_roots, trusted_uids }
    }

    /// Returns the real path of a directory that a task requests, if an agent may work there.
    ///
    /// # Errors
    /// The reason and the remedy, in one line. The message about a directory outside the allowed ones does not
    /// disclose whether it exists.
    pub(crate) fn admit(&self, requested: &Path) -> Result<PathBuf, String> {
        let shown = printable(&requested.to_string_lossy());
        let outside = || {
            let workspace = self.workspace_roots.first().map(|root| printable(&root.to_string_lossy()));
            format!(
                "the working directory {shown} is outside the workspace {}; if agents may work there, name a \
                 directory above it in dispatch.worktree_roots of handoff.yaml or with --worktree-root",
                workspace.unwrap_or_default()
            )
        };
        let is_inside = |path: &Path| self.all().any(|root| path.starts_with(root));
        let real = match requested.canonicalize() {
            Ok(real) => real,
            Err(_) if !is_inside(requested) => return Err(outside()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(format!("the working directory {shown} does not exist"));
            }
            Err(error) => return Err(format!("the working directory {shown} cannot be used: {error}")),
        };
        // The deepest root that contains it is the most specific one.
        let root =
            self.all().filter(|root| real.starts_with(root)).max_by_key(|root| root.components().count());
        let Some(root) = root else { return Err(outside()) };
        if !real.is_dir() {
            return Err(format!("the working directory {shown} does not exist"));
        }
        let is_named = self.worktree_roots.contains(root);
        if *root == real && is_named {
            return Ok(real);
        }
        let root_owner = is_named.then(|| owner(root)).flatten();
        let below: Vec<&Path> = real.ancestors().take_while(|path| path.starts_with(root)).collect();
        for path in below {
            let problem = match path.symlink_metadata() {
                Ok(metadata) => self.problem(&metadata, path == real, root_owner),
                Err(error) => Some(format!("cannot be inspected: {error}")),
            };
            if let Some(problem) = problem {
                let path = printable(&path.to_string_lossy());
                return Err(format!(
                    "the working directory {shown} is not used: {path} {problem}; if agents may work there, name \
                     {path} in dispatch.worktree_roots of handoff.yaml or with --worktree-root"
                ));
            }
        }
        Ok(real)
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.workspace_roots.iter().chain(&self.worktree_roots)
    }

    /// Returns the problem with a directory on the path; `is_last` is set for the working directory itself.
    fn problem(&self, metadata: &Metadata, is_last: bool, root_owner: Option<u32>) -> Option<String> {
        let (owner, mode) = (metadata.uid(), metadata.mode());
        if !self.trusted_uids.contains(&owner) && root_owner != Some(owner) {
            return Some(format!("belongs to another user (uid {owner})"));
        }
        // A user who can write to a directory on the path could replace the next one.
        let is_open = mode & WORLD_WRITABLE != 0 && (is_last || mode & STICKY == 0);
        is_open.then(|| "is writable by everyone".to_string())
    }
}

fn owner(path: &Path) -> Option<u32> {
    std::fs::metadata(path).map(|metadata| metadata.uid()).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Scene {
        _dir: tempfile::TempDir,
        top: PathBuf,
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let top = dir.path().canonicalize().expect("it exists");
            for name in ["ws/in/deep", "other/tree"] {
                std::fs::create_dir_all(top.join(name)).expect("made");
            }
            Self { _dir: dir, top }
        }

        fn admit(&self, worktree_roots: &[&str], requested: &str) -> Result<PathBuf, String> {
            let config = Config::store_only(Path::new("state"), &self.top.join("ws")).expect("a workspace");
            let worktree_roots = worktree_roots.iter().map(|name| self.top.join(name)).collect();
            AllowedDirectories::new(&config, worktree_roots, &ProcessContext::default())
                .admit(&self.top.join(requested))
        }

        fn open_up(&self, name: &str, mode: u32) {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(self.top.join(name), permissions).expect("changed");
        }
    }

    #[test]
    fn agents_work_in_the_workspace_and_in_worktree_roots() {
        let scene = Scene::new();
        assert_eq!(scene.admit(&[], "ws"), Ok(scene.top.join("ws")));
        assert_eq!(scene.admit(&[], "ws/in/../in/deep"), Ok(scene.top.join("ws/in/deep")));
        assert_eq!(scene.admit(&["other"], "other/tree"), Ok(scene.top.join("other/tree")));
        assert!(scene.admit(&["gone"], "ws").is_ok(), "a root that is not there hinders nothing");
        let missing = scene.admit(&[], "ws/gone").expect_err("missing");
        assert!(missing.ends_with("ws/gone does not exist"), "{missing}");
        std::fs::write(scene.top.join("ws/file"), "").expect("written");
        assert!(scene.admit(&[], "ws/file").is_err());
    }

    #[test]
    fn a_link_in_place_of_a_root_is_refused() {
        let scene = Scene::new();
        let config = Config::store_only(Path::new("state"), &scene.top.join("ws")).expect("a workspace");
        let places =
            AllowedDirectories::new(&config, vec![scene.top.join("other")], &ProcessContext::default());
        for (root, requested) in [("ws", "ws/in"), ("other", "other/in")] {
            std::fs::remove_dir_all(scene.top.join(root)).expect("removed");
            std::fs::create_dir_all(scene.top.join("elsewhere/in")).expect("made");
            symlink(scene.top.join("elsewhere"), scene.top.join(root)).expect("linked");
            let refusal = places.admit(&scene.top.join(requested)).expect_err("elsewhere");
            assert!(refusal.contains("is outside the workspace"), "{refusal}");
        }
    }

    #[test]
    fn existing_and_missing_directories_outside_get_the_same_refusal() {
        let scene = Scene::new();
        symlink(scene.top.join("other"), scene.top.join("ws/link")).expect("linked");
        std::fs::create_dir(scene.top.join("ws2")).expect("made");
        let refusal = |requested: &str| {
            let message = scene.admit(&[], requested).expect_err("outside");
            message.replace(scene.top.join(requested).to_str().expect("text"), "HERE")
        };
        let one = refusal("other/tree");
        assert!(
            one.contains("HERE is outside the workspace") && one.contains("dispatch.worktree_roots"),
            "{one}"
        );
        for requested in ["other/gone", "other", "ws2", "ws/link/tree", "ws/../other"] {
            assert_eq!(refusal(requested), one, "{requested}");
        }
        assert_eq!(scene.admit(&[], "/proc/self/fd/0"), scene.admit(&[], "/proc/self/fd/0"));
        assert!(scene.admit(&["other"], "ws/link/tree").is_ok(), "what it leads to counts");
    }

    #[test]
    fn a_world_writable_directory_is_refused_unless_it_is_named() {
        let scene = Scene::new();
        scene.open_up("ws/in", 0o1777);
        assert!(scene.admit(&[], "ws/in/deep").is_ok(), "others cannot replace it there");
        let refusal = scene.admit(&[], "ws/in").expect_err("any user may have written there");
        assert!(
            refusal.contains("ws/in is writable by everyone; if agents may work there, name"),
            "{refusal}"
        );
        assert!(scene.admit(&["ws/in"], "ws/in").is_ok());
        scene.open_up("ws/in", 0o777);
        assert!(scene.admit(&[], "ws/in/deep").is_err(), "others could replace it");
        scene.open_up("ws/in", 0o775);
        assert!(scene.admit(&[], "ws/in/deep").is_ok(), "a group shares its work");
    }

    #[test]
    fn a_directory_of_another_user_is_refused_unless_it_is_named() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give a directory away");
            return;
        }
        let scene = Scene::new();
        std::os::unix::fs::chown(scene.top.join("ws/in/deep"), Some(65534), None).expect("given away");
        let refusal = scene.admit(&[], "ws/in/deep").expect_err("a stranger's");
        assert!(refusal.contains("ws/in/deep belongs to another user (uid 65534)"), "{refusal}");
        assert!(scene.admit(&["ws/in/deep"], "ws/in/deep").is_ok());
        assert!(
            scene.admit(&["ws/in"], "ws/in/deep").is_err(),
            "the root is ours, so what is in it has to be"
        );
        // The owner of a root may own what is in it.
        std::os::unix::fs::chown(scene.top.join("ws/in"), Some(65534), None).expect("given away");
        assert!(scene.admit(&["ws/in"], "ws/in/deep").is_ok());
        assert!(scene.admit(&[], "ws/in/deep").is_err());
    }
}
