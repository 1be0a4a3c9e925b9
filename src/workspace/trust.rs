//! Records of trust: the files that may choose what runs, with the content that a person has trusted.
//!
//! A configuration in a repository comes with the rest of the repository, and may change with every pull. Its
//! settings about programs and permissions count once a person has agreed to exactly these settings.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result, printable};
use crate::model::Time;
use crate::model::json::{self, Object};
use crate::model::task::object;
use crate::sha256::sha256_bytes;
use crate::store::{FileVersion, PrivateFiles};

/// The entries that mark the root of a repository.
const REPOSITORY_MARKS: [&str; 4] = [".git", ".jj", ".hg", ".svn"];
/// The number of trusted contents kept for one file: a server that changes a file records each of them.
const MAX_HASHES: usize = 16;

/// The settings of a file that choose what runs: the path of each, such as `dispatch.env`, and its value.
pub(crate) type SensitiveSettings = BTreeMap<String, Value>;

/// Returns whether a file, which may not exist, lies in a repository: in a git, jj, Mercurial or Subversion
/// worktree. `path` must be resolved.
pub(crate) fn is_in_repository(path: &Path) -> bool {
    path.ancestors()
        .skip(1)
        .any(|directory| REPOSITORY_MARKS.iter().any(|mark| directory.join(mark).symlink_metadata().is_ok()))
}

/// Returns the SHA-256 of the sensitive settings of a file.
pub(crate) fn settings_hash(settings: &SensitiveSettings) -> String {
    let all: Object = settings.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    sha256_bytes(json::to_line(&all).as_bytes()).into()
}

/// The relation of a file to its record of trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TrustState {
    /// Its settings are trusted.
    Trusted,
    /// Nothing has been trusted yet.
    Unknown,
    /// Its settings have changed; these keys are new, changed or removed.
    Changed(Vec<String>),
}

/// The record of trust for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustRecord {
    /// The file, resolved.
    pub path: String,
    /// The time at which it was last trusted.
    pub trusted_at: String,
    /// The SHA-256 of the trusted contents, the newest last.
    pub sha256: Vec<String>,
    /// The SHA-256 of the individual values of the newest content; the values themselves may be secret.
    settings: BTreeMap<String, String>,
}

impl TrustRecord {
    /// Compares `settings` with the record.
    pub(crate) fn compare(&self, settings: &SensitiveSettings) -> TrustState {
        if self.sha256.contains(&settings_hash(settings)) {
            return TrustState::Trusted;
        }
        let now = value_hashes(settings);
        let keys = now.keys().chain(self.settings.keys());
        let mut changed: Vec<String> =
            keys.filter(|key| now.get(*key) != self.settings.get(*key)).cloned().collect();
        changed.sort_unstable();
        changed.dedup();
        TrustState::Changed(changed)
    }
}

fn value_hashes(settings: &SensitiveSettings) -> BTreeMap<String, String> {
    settings
        .iter()
        .map(|(key, value)| (key.clone(), sha256_bytes(value.to_string().as_bytes()).into()))
        .collect()
}

/// The records of trust of one user.
#[derive(Clone, Debug)]
pub(crate) struct TrustRecords {
    files: PrivateFiles,
}

impl TrustRecords {
    /// Uses the records below the user's state directory (`XDG_STATE_HOME`), an absolute path.
    pub(crate) fn in_state_home(state_home: &Path) -> Self {
        Self { files: PrivateFiles::at(state_home.join("lanes/trust")) }
    }

    /// Returns the record for `path`, which must be resolved.
    ///
    /// # Errors
    /// `Corrupt` when the record is not valid or another user can write it; `Io` when it cannot be read.
    pub(crate) fn find(&self, path: &Path) -> Result<Option<TrustRecord>> {
        self.read(&name(path))
    }

    /// Trusts the current settings of a file, and only these.
    ///
    /// # Errors
    /// `Io` when the record cannot be written.
    pub(crate) fn trust(&self, path: &Path, settings: &SensitiveSettings, now: Time) -> Result<()> {
        self.write(path, settings, vec![settings_hash(settings)], now)
    }

    /// Trusts what a file is about to choose, in addition to what was trusted before.
    ///
    /// # Errors
    /// As [`TrustRecords::find`].
    pub(crate) fn add_trust(&self, path: &Path, settings: &SensitiveSettings, now: Time) -> Result<()> {
        let mut sha256 = self.find(path)?.map(|record| record.sha256).unwrap_or_default();
        sha256.retain(|before| *before != settings_hash(settings));
        sha256.push(settings_hash(settings));
        sha256.drain(..sha256.len().saturating_sub(MAX_HASHES));
        self.write(path, settings, sha256, now)
    }

    /// Removes a record; returns whether there was one.
    ///
    /// # Errors
    /// `Io` when the record cannot be removed.
    pub(crate) fn revoke(&self, path: &Path) -> Result<bool> {
        self.files.remove(&name(path))
    }

    /// Returns all records, by path.
    ///
    /// # Errors
    /// As [`TrustRecords::find`].
    pub(crate) fn all(&self) -> Result<Vec<TrustRecord>> {
        let names = self.files.names()?;
        let names = names.iter().filter(|name| name.ends_with(".json"));
        let mut records: Vec<TrustRecord> =
            names.filter_map(|name| self.read(name).transpose()).collect::<Result<_>>()?;
        records.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(records)
    }

    /// Returns the current version of the record for `path`; `None` if there is none.
    pub(crate) fn version_of(&self, path: &Path) -> Option<FileVersion> {
        self.files.version_of(&name(path))
    }

    fn write(&self, path: &Path, settings: &SensitiveSettings, sha256: Vec<String>, now: Time) -> Result<()> {
        let settings: Object =
            value_hashes(settings).into_iter().map(|(key, value)| (key, value.into())).collect();
        let record = object([
            ("path", path.to_string_lossy().into()),
            ("sha256", sha256.into()),
            ("settings", settings.into()),
            ("trusted_at", now.to_string().into()),
        ]);
        self.files.write(&name(path), &json::to_text(&record))
    }

    fn read(&self, name: &str) -> Result<Option<TrustRecord>> {
        let Some(text) = self.files.read(name)? else { return Ok(None) };
        let record = json::parse_object(text.as_bytes()).ok().and_then(|object| record(&object));
        match record {
            Some(record) => Ok(Some(record)),
            None => {
                let path = printable(&self.files.path(name).to_string_lossy());
                Err(Error::corrupt(format!("{path} is not a record of trust")).with_hint("remove it"))
            }
        }
    }
}

fn record(object: &Object) -> Option<TrustRecord> {
    let text = |value: &Value| value.as_str().map(str::to_string);
    let sha256 = object.get("sha256")?.as_array()?;
    let settings = object.get("settings")?.as_object()?;
    Some(TrustRecord {
        path: text(object.get("path")?)?,
        trusted_at: text(object.get("trusted_at")?)?,
        sha256: sha256.iter().map(text).collect::<Option<_>>()?,
        settings: settings
            .iter()
            .map(|(key, value)| Some((key.clone(), text(value)?)))
            .collect::<Option<_>>()?,
    })
}

/// Returns the file name of the record for a path. The path itself may be too long for a name, or not UTF-8.
fn name(path: &Path) -> String {
    format!("{}.json", sha256_bytes(path.as_os_str().as_bytes()))
}

/// Returns the user's state directory; `None` if neither variable is set.
pub(crate) fn state_home(xdg_state_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    // The XDG base directory specification requires that relative paths are ignored.
    let named = xdg_state_home.filter(|path| path.is_absolute());
    named.or_else(|| Some(home.filter(|home| home.is_absolute())?.join(".local/state")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(pairs: &[(&str, Value)]) -> SensitiveSettings {
        pairs.iter().map(|(key, value)| ((*key).to_string(), value.clone())).collect()
    }

    fn compare(records: &TrustRecords, path: &Path, settings: &SensitiveSettings) -> TrustState {
        let record = records.find(path).unwrap();
        record.map_or(TrustState::Unknown, |record| record.compare(settings))
    }

    #[test]
    fn what_was_agreed_to_counts_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (records, path, now) =
            (TrustRecords::in_state_home(dir.path()), Path::new("/w/h.yaml"), Time::from_micros(0));
        let first = settings(&[("dispatch.command", json!("a")), ("dispatch.env", json!({"A": "1"}))]);
        assert_eq!(compare(&records, path, &first), TrustState::Unknown);
        records.trust(path, &first, now).unwrap();
        assert_eq!(compare(&records, path, &first), TrustState::Trusted);
        assert_eq!(compare(&records, Path::new("/w/other.yaml"), &first), TrustState::Unknown);
        let second = settings(&[("dispatch.args", json!(["x"])), ("dispatch.env", json!({"A": "2"}))]);
        let keys = ["dispatch.args", "dispatch.command", "dispatch.env"].map(str::to_string);
        assert_eq!(compare(&records, path, &second), TrustState::Changed(keys.to_vec()));
        assert!(
            matches!(compare(&records, path, &settings(&[])), TrustState::Changed(_)),
            "less is a change too"
        );
        records.trust(path, &second, now).unwrap();
        assert!(matches!(compare(&records, path, &first), TrustState::Changed(_)), "what was before is over");
        records.add_trust(path, &first, now).unwrap();
        assert_eq!(compare(&records, path, &first), TrustState::Trusted);
        assert_eq!(compare(&records, path, &second), TrustState::Trusted);
        assert_eq!(records.all().unwrap().len(), 1);
        assert!(records.revoke(path).unwrap() && !records.revoke(path).unwrap());
        assert_eq!(compare(&records, path, &first), TrustState::Unknown);
    }

    #[test]
    fn values_are_not_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let records = TrustRecords::in_state_home(dir.path());
        records
            .trust(Path::new("/w"), &settings(&[("env", json!({"KEY": "hush"}))]), Time::from_micros(0))
            .unwrap();
        let name = records.files.names().unwrap().remove(0);
        assert!(!records.files.read(&name).unwrap().unwrap().contains("hush"));
        records.files.write(&name, "{\"path\": 1}").unwrap();
        assert!(records.find(Path::new("/w")).unwrap_err().message().contains("is not a record of trust"));
    }

    #[test]
    fn repositories_are_known_by_their_marks() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        let file = root.join("a/b/handoff.yaml");
        if is_in_repository(&file) {
            return;
        }
        // A linked worktree and a submodule have a file there.
        std::fs::write(root.join("a/.git"), "gitdir: elsewhere\n").unwrap();
        assert!(is_in_repository(&file));
        assert!(!is_in_repository(&root.join("handoff.yaml")));
    }

    #[test]
    fn state_is_kept_in_the_directory_of_the_user() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(state_home(path("/x"), path("/h")), path("/x"));
        assert_eq!(state_home(path("x"), path("/h")), path("/h/.local/state"));
        assert_eq!(state_home(None, path("h")), None);
        assert_eq!(state_home(None, None), None);
    }
}
