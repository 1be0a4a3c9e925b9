//! `handoff.yaml`: the configuration of a workspace and the location of its queue.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::base_dir::BaseDir;
use super::ownership::{FoundConfig, PathEntries};
use super::paths::{absolute, resolve, resolve_past, show};
use super::text_file::TextFile;
use super::trust::is_in_repository;
use super::yaml;
#[cfg(feature = "cli")]
use super::yaml::FilePart;
use super::yaml::MappingReader;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::model::LaneName;
use crate::store::{StorePlace, is_address};

const CONFIG_FILE: TextFile = TextFile {
    name: "config file",
    limit: 1024 * 1024,
    refusal: ErrorKind::Config,
    hint_if_missing: "`lanes init` writes a new workspace",
    // If two settings contradict each other, neither can be trusted.
    unique_keys: true,
};

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOrigin {
    /// There is no file: only a state directory was named.
    StoreOnly,
    /// A file that was named.
    NamedFile(ConfigFile),
    /// A file that a search found.
    FoundFile(ConfigFile, FoundConfig),
}

/// The file that a configuration was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its path, resolved.
    pub path: PathBuf,
    /// The state directory that it names, not resolved.
    pub queue_root: PathBuf,
    /// Whether a state directory was named that is used instead.
    pub store_is_named: bool,
}

/// The configuration of a workspace. All paths are absolute and resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it comes from.
    pub origin: ConfigOrigin,
    /// The id of the workspace, which every task contains.
    pub workspace_id: String,
    /// Request, response and supporting files must lie inside this directory.
    pub workspace_root: PathBuf,
    /// The state directory; it need not exist yet.
    pub store_root: PathBuf,
    /// The directory in which workers work, unless a task sets another one.
    pub worktree_path: Option<PathBuf>,
    /// The branch on which workers work, unless a task sets another one.
    pub expected_branch: Option<String>,
    /// The described lanes: name → description, which may be empty.
    pub lanes: BTreeMap<LaneName, String>,
    /// The `dispatch` section as it was written, for the dispatcher to read.
    pub dispatch: Option<serde_yaml::Value>,
    /// The `agents` section as it was written, for the dispatcher to read.
    pub agents: Option<serde_yaml::Value>,
    /// The `bridges` section as it was written, for the bridges to read.
    pub bridges: Option<serde_yaml::Value>,
    /// The `notify` section as it was written.
    pub notify: Option<Value>,
    /// The `schedules` section as it was written.
    pub schedules: Option<Value>,
    /// A file of agent-dispatch with further agents.
    pub agents_from: Option<PathBuf>,
    /// The directories below which chats may add agents.
    pub agent_roots: Vec<PathBuf>,
    /// Warnings for the user, such as unknown keys.
    pub warnings: Vec<String>,
    /// The text of the file, for the lines of its keys; empty if only a state directory was named.
    pub(crate) text: Arc<str>,
}

impl Config {
    /// Names the file in messages, with its lines.
    #[cfg(feature = "cli")]
    pub(super) fn file_part(&self) -> FilePart {
        let path = self.path().map(show).unwrap_or_default();
        FilePart::whole(format!("config file {path}"), self.text.clone())
    }

    /// Reads a `handoff.yaml`, which may also be JSON.
    ///
    /// Paths in the file are relative to its directory; `store_override` and `path` itself are
    /// relative to the current directory.
    ///
    /// # Errors
    /// `Config` or `Io`, naming the file and the key, or line and column.
    pub fn load(path: &Path, store_override: Option<&Path>) -> Result<Self> {
        Self::read(path, None, store_override)
    }

    /// Reads a file as [`Config::load`] does, after a search found it: it must not belong to another user.
    ///
    /// # Errors
    /// As [`Config::load`]; `Config` when another user can change the file, its directory, the directory
    /// that holds it, or the state directory that it names.
    pub fn load_found(found: FoundConfig, store_override: Option<&Path>) -> Result<Self> {
        Self::read(&found.file.clone(), Some(found), store_override)
    }

    /// Reads the same file once more, and checks it as it was checked the first time.
    ///
    /// # Errors
    /// As [`Config::load_found`].
    pub fn reload(&self, store_override: Option<&Path>) -> Result<Self> {
        let (path, found, store_is_named) = match &self.origin {
            ConfigOrigin::StoreOnly => return Ok(self.clone()),
            ConfigOrigin::NamedFile(file) => (&file.path, None, file.store_is_named),
            ConfigOrigin::FoundFile(file, found) => (&file.path, Some(found.clone()), file.store_is_named),
        };
        let mut again = Self::read(path, found, store_override)?;
        if let ConfigOrigin::NamedFile(file) | ConfigOrigin::FoundFile(file, _) = &mut again.origin {
            file.store_is_named = store_is_named;
        }
        Ok(again)
    }

    /// Returns the file that it was read from; `None` if only a state directory was named.
    pub fn file(&self) -> Option<&ConfigFile> {
        match &self.origin {
            ConfigOrigin::StoreOnly => None,
            ConfigOrigin::NamedFile(file) | ConfigOrigin::FoundFile(file, _) => Some(file),
        }
    }

    /// Returns the path of the file that it was read from; `None` if only a state directory was named.
    pub fn path(&self) -> Option<&Path> {
        self.file().map(|file| file.path.as_path())
    }

    /// Returns whether the state directory was named, and is not the one of the file.
    pub fn store_is_named(&self) -> bool {
        self.file().is_none_or(|file| file.store_is_named)
    }

    /// Returns whether a search found its file, which nobody named.
    pub fn is_found(&self) -> bool {
        matches!(self.origin, ConfigOrigin::FoundFile(..))
    }

    /// Returns whether this configuration may allow files at `path` to be written or served. A configuration found
    /// in a repository may have been written by anybody and only counts for its own project.
    pub fn may_reach(&self, path: &Path) -> bool {
        let ConfigOrigin::FoundFile(ConfigFile { path: file, .. }, _) = &self.origin else { return true };
        let project = file.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        path.starts_with(project) || !is_in_repository(file)
    }

    fn read(path: &Path, found: Option<FoundConfig>, store_override: Option<&Path>) -> Result<Self> {
        let here = BaseDir::current();
        let mut passed = PathEntries::new();
        let file = found.as_ref().map_or(path, |found| &found.file);
        let path =
            resolve_past(&here.absolute(file)?, &mut |path, metadata| passed.push((path.into(), metadata)))?;
        if let Some(found) = &found {
            found.check_file(&path, &passed)?;
        }
        let document = CONFIG_FILE.read_document(&path)?;
        let text = document.text.clone();
        // A file that could be read has a parent directory.
        let base = path.parent().unwrap_or(Path::new("/"));
        let mut fields = MappingReader::of_file(format!("config file {}", show(&path)), document);
        if fields.has("checkpoints") {
            return Err(Error::config(format!(
                "checkpoints in handoff.yaml are no longer supported: {}",
                show(&path)
            ))
            .with_hint("describe each task in a file of its own and submit it with `submit --task FILE`"));
        }
        let Some(workspace_id) = fields.text_or_blank("workspace_id")? else {
            return Err(fields.invalid_value("workspace_id", "a text that is not empty"));
        };
        let directory = |text: String| resolve(&absolute(base, Path::new(&text))?);
        let workspace_root = directory(fields.text("workspace_root")?.unwrap_or_else(|| "..".to_string()))?;
        let queue_root = fields.text("queue_root")?.unwrap_or_else(|| "state".to_string());
        let (queue_root, is_server) = match StorePlace::parse(Path::new(&queue_root))? {
            StorePlace::Path(path) => (absolute(base, &path)?, false),
            StorePlace::Server(address) => (address, true),
        };
        let worktree_path = fields.text_or_blank("worktree_path")?.map(directory).transpose()?;
        let store_root = match store_override {
            Some(store) if is_address(store) => store.to_path_buf(),
            Some(store) => here.real(store)?,
            None if is_server => server_of_file(&path, found.as_ref(), queue_root.clone())?,
            None => {
                let mut passed = PathEntries::new();
                let root = resolve_past(&queue_root, &mut |path, metadata| {
                    passed.push((path.into(), metadata));
                })?;
                if let Some(found) = &found {
                    found.check_store(&root, &passed)?;
                }
                root
            }
        };
        let expected_branch = fields.text_or_blank("expected_branch")?;
        let lanes = lanes(&mut fields)?;
        let dispatch = fields.value("dispatch").map(yaml::to_yaml);
        let agents = fields.value("agents").map(yaml::to_yaml);
        let bridges = fields.value("bridges").map(yaml::to_yaml);
        let notify = fields.value("notify");
        let schedules = fields.value("schedules");
        let agents_from = fields.text_or_blank("agents_from")?;
        let agents_from = agents_from.map(|text| absolute(base, Path::new(&text))).transpose()?;
        let agent_roots = match fields.has("agent_roots") {
            true => fields.texts("agent_roots")?.into_iter().map(directory).collect::<Result<_>>()?,
            false => vec![workspace_root.clone()],
        };
        let file = ConfigFile { path, queue_root, store_is_named: store_override.is_some() };
        Ok(Self {
            origin: match found {
                Some(found) => ConfigOrigin::FoundFile(file, found),
                None => ConfigOrigin::NamedFile(file),
            },
            workspace_id: workspace_id.trim().to_string(),
            workspace_root,
            store_root,
            worktree_path,
            expected_branch,
            lanes,
            dispatch,
            agents,
            bridges,
            notify,
            schedules,
            agents_from,
            agent_roots,
            warnings: fields.unknown_keys().into_iter().collect(),
            text,
        })
    }

    /// Makes the configuration of a workspace of which only the store is known: its root is `cwd`, its id the name
    /// of `cwd`. `store` is relative to `cwd`.
    ///
    /// # Errors
    /// `Invalid` or `Io` when one of the paths cannot be resolved.
    pub fn store_only(store: &Path, cwd: &Path) -> Result<Self> {
        let workspace_root = resolve(cwd)?;
        let name = workspace_root.file_name().unwrap_or_default().to_string_lossy();
        let name = printable(name.trim());
        Ok(Self {
            origin: ConfigOrigin::StoreOnly,
            workspace_id: if name.is_empty() { "workspace".to_string() } else { name },
            store_root: if is_address(store) {
                store.to_path_buf()
            } else {
                resolve(&absolute(cwd, store)?)?
            },
            agent_roots: vec![workspace_root.clone()],
            workspace_root,
            worktree_path: None,
            expected_branch: None,
            lanes: BTreeMap::new(),
            dispatch: None,
            agents: None,
            bridges: None,
            notify: None,
            schedules: None,
            agents_from: None,
            warnings: Vec::new(),
            text: Arc::default(),
        })
    }
}

/// Returns the address of a server that a configuration names, if somebody has chosen that configuration: one that a search
/// found may have been written by anybody, who would be sent the prompts and the token.
fn server_of_file(path: &Path, found: Option<&FoundConfig>, address: PathBuf) -> Result<PathBuf> {
    if found.is_none() {
        return Ok(address);
    }
    Err(Error::config(format!("{} names a server as its queue_root: {}", show(path), show(&address)))
        .with_hint("if that is yours, name the file with --config, or the server with --store"))
}

/// Reads the lanes and their descriptions. The names may be those of another implementation; descriptions are for people, so any kind of value is accepted.
fn lanes(fields: &mut MappingReader) -> Result<BTreeMap<LaneName, String>> {
    let describe = |value: Value| match value {
        Value::Null => String::new(),
        other => yaml::scalar_text(&other).unwrap_or_else(|| other.to_string()),
    };
    let lanes = fields.mapping("lanes")?.into_iter();
    Ok(lanes
        .map(|(name, value)| {
            let description = match value {
                Value::Object(mut details) => describe(details.remove("description").unwrap_or_default()),
                other => describe(other),
            };
            (LaneName::stored(name), description)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a workspace whose `handoff/handoff.yaml` has this text.
    fn workspace(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("handoff")).unwrap();
        std::fs::write(root.join("handoff/handoff.yaml"), text).unwrap();
        (dir, root)
    }

    fn load(text: &str) -> Result<Config> {
        let (_dir, root) = workspace(text);
        Config::load(&root.join("handoff/handoff.yaml"), None)
    }

    #[test]
    fn defaults_are_next_to_the_file() {
        let (_dir, root) = workspace("workspace_id: ' demo '\n");
        let config = Config::load(&root.join("handoff/handoff.yaml"), None).unwrap();
        assert_eq!(config.workspace_id, "demo");
        assert_eq!(config.path(), Some(root.join("handoff/handoff.yaml").as_path()));
        assert_eq!(config.workspace_root, root);
        assert_eq!(config.store_root, root.join("handoff/state"));
        assert_eq!(config.worktree_path, None);
        assert_eq!(config.expected_branch, None);
        assert!(config.lanes.is_empty() && config.dispatch.is_none() && config.warnings.is_empty());
    }

    #[test]
    fn every_key_is_read_and_relative_to_the_file() {
        let (_dir, root) = workspace(
            "workspace_id: 7\nworkspace_root: ../src\nqueue_root: /q/../store\nworktree_path: ../wt\n\
             expected_branch: main\nlanes:\n  review: Look.\n  work: {description: Do., owner: x}\n  1: ~\n  n: {}\n  odd: [a]\n\
             dispatch: {lanes: [review], max_concurrent: 2}\nzeta: 1\nalpha: 2\n",
        );
        let config = Config::load(&root.join("handoff/handoff.yaml"), None).unwrap();
        assert_eq!(config.workspace_id, "7");
        assert_eq!(config.workspace_root, root.join("src"));
        assert_eq!(config.store_root, Path::new("/store"));
        assert_eq!(config.worktree_path, Some(root.join("wt")));
        assert_eq!(config.expected_branch.as_deref(), Some("main"));
        let lanes: Vec<(&str, &str)> =
            config.lanes.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(lanes, [("1", ""), ("n", ""), ("odd", "[\"a\"]"), ("review", "Look."), ("work", "Do.")]);
        assert_eq!(config.dispatch.unwrap()["max_concurrent"], 2);
        assert_eq!(config.warnings.len(), 1);
        assert!(
            config.warnings[0].contains("unknown keys") && config.warnings[0].ends_with(": alpha, zeta"),
            "{}",
            config.warnings[0]
        );
    }

    #[test]
    fn numbers_that_are_meant_as_text_stay_as_they_are_written() {
        for number in
            ["1.10", "6e2", "0x1F", "0o17", "+5", ".5", "007", "1_000", ".inf", "1:30", "2026-01-01", "yes"]
        {
            let config = load(&format!(
                "workspace_id: {number}\nexpected_branch: {number}\nqueue_root: {number}\nlanes:\n  {number}: x\n"
            ))
            .unwrap();
            assert_eq!(config.workspace_id, number);
            assert_eq!(config.expected_branch.as_deref(), Some(number));
            assert!(config.store_root.ends_with(number), "{number}: {:?}", config.store_root);
            assert_eq!(config.lanes.keys().collect::<Vec<_>>(), [number]);
        }
        for none in ["", "~", "null"] {
            assert_eq!(
                load(&format!("workspace_id: w\nexpected_branch: {none}\n")).unwrap().expected_branch,
                None
            );
        }
    }

    #[test]
    fn the_store_can_be_overridden_and_home_is_expanded() {
        let (_dir, root) = workspace("workspace_id: w\nqueue_root: ~/q\n");
        let path = root.join("handoff/handoff.yaml");
        let store = Path::new("relative");
        let config = Config::load(&path, Some(store)).unwrap();
        assert_eq!(config.store_root, std::env::current_dir().unwrap().join(store));
        if let Some(home) = crate::workspace::paths::home().filter(|home| home.is_absolute()) {
            let config = Config::load(&path, None).unwrap();
            assert_eq!(config.store_root, resolve(&home.join("q")).unwrap());
        }
    }

    #[test]
    fn a_linked_configuration_counts_from_where_it_really_is() {
        let (_dir, root) = workspace("workspace_id: w\n");
        let (_other, elsewhere) = workspace("workspace_id: other\n");
        let link = elsewhere.join("link.yaml");
        std::os::unix::fs::symlink(root.join("handoff/handoff.yaml"), &link).unwrap();
        assert_eq!(Config::load(&link, None).unwrap().workspace_root, root);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (text, expected) in [
            ("lanes: {}", "'workspace_id' must be a text that is not empty"),
            ("lanes: {}\nworkspace_id: [a]", "handoff.yaml line 2: 'workspace_id' must be text"),
            ("workspace_id:", "'workspace_id' must be a text that is not empty"),
            ("workspace_id: '  '", "'workspace_id' must be a text that is not empty"),
            ("workspace_id: [a]", "'workspace_id' must be text"),
            ("workspace_id: true", "'workspace_id' must be text; put it in quotes"),
            ("workspace_id: w\nworkspace_root: {}", "'workspace_root' must be text"),
            ("workspace_id: w\nqueue_root: [state]", "'queue_root' must be text"),
            ("workspace_id: w\nlanes: [a]", "'lanes' must be a mapping"),
            ("workspace_id: w\nqueue_root: ~nobody-here/x", "cannot expand ~nobody-here/x"),
            ("workspace_id: w\ncheckpoints: ~", "checkpoints in handoff.yaml are no longer supported"),
            ("workspace_id: w\nlanes: {}\nlanes: {}", "line 3: lanes: this key is given twice"),
            ("workspace_id: w\ndispatch: {a: 1,\n  a: 2}", "line 3: dispatch.a: this key is given twice"),
            ("workspace_id: [", "lacks a value or its end, at line 2 column 1, near 'workspace_id: ['"),
            ("- a", "must be a mapping"),
            ("", "must be a mapping"),
        ] {
            let error = load(text).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::Invalid), "{error}");
            assert!(error.to_string().contains(expected), "{text:?}: {error}");
            assert!(!error.to_string().contains('\n'), "{text:?}: {error}");
        }
        let missing = Config::load(Path::new("/nowhere/handoff.yaml"), None).unwrap_err();
        assert_eq!(missing.message(), "config file /nowhere/handoff.yaml does not exist");
        assert!(missing.hint().unwrap().contains("lanes init"));
    }

    #[test]
    fn a_store_alone_makes_a_workspace_of_the_current_directory() {
        let (_dir, root) = workspace("");
        let here = root.join("my project");
        std::fs::create_dir(&here).unwrap();
        let config = Config::store_only(Path::new("../q"), &here).unwrap();
        assert_eq!(config.workspace_id, "my project");
        assert_eq!(config.workspace_root, here);
        assert_eq!(config.store_root, root.join("q"));
        let config = Config::store_only(Path::new("/q"), Path::new("/")).unwrap();
        assert_eq!(config.workspace_id, "workspace");
    }
}
