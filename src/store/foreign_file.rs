//! A text file that belongs to a person or to another program: read, and replaced as a whole.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, Stat};

use super::dir::Dir;
use super::{atomic, bounded_file};
use crate::error::{Error, Result, printable};

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// A text file of a person or another program, as it was when it was read.
#[derive(Debug)]
pub(crate) struct ForeignFile {
    /// The path by which it is known.
    path: PathBuf,
    /// The same with links resolved.
    target: PathBuf,
    content: Option<(String, Stat)>,
}

impl ForeignFile {
    /// Reads the file at `path`, an absolute path, through links. It need not exist.
    ///
    /// # Errors
    /// `Config` when it is not a regular file, not UTF-8 or too large, or a link that leads nowhere; `Io`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let target = match path.canonicalize() {
            Ok(target) => target,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if path.is_symlink() {
                    return Err(Error::config(format!("{} is a link that leads nowhere", show(path)))
                        .with_hint("remove it, or create the file to which it leads"));
                }
                let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
                let target = directory.zip(path.file_name()).map(|(directory, name)| directory.join(name));
                let path = path.to_path_buf();
                return Ok(Self { target: target.unwrap_or_else(|| path.clone()), path, content: None });
            }
            Err(error) => return Err(Error::io("open", path, error)),
        };
        let content = read_text(&target)?;
        Ok(Self { path: path.to_path_buf(), target, content })
    }

    /// Returns the text; `None` when the file does not exist.
    pub(crate) fn text(&self) -> Option<&str> {
        self.content.as_ref().map(|(text, _)| text.as_str())
    }

    /// Returns the path by which the file is known.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where the file is, if it or its directory is a link.
    pub(crate) fn link_target(&self) -> Option<&Path> {
        let is_linked = self.path.is_symlink() || self.path.parent().is_some_and(Path::is_symlink);
        is_linked.then_some(self.target.as_path())
    }

    /// Removes the file, which must not be reached through a link.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub(crate) fn remove(&self) -> Result<()> {
        let (dir, name, _) = self.open_for_change()?;
        atomic::remove(&dir, &name)
    }

    /// Replaces the text, and creates the file with `new_mode` if it does not exist. An existing one keeps its mode and its
    /// owner; a link stays, and the file to which it leads is replaced.
    ///
    /// # Errors
    /// `Refused` when the file is read-only or has changed since it was read; `Io`.
    pub(crate) fn replace(&self, text: &str, new_mode: u32) -> Result<()> {
        let (dir, name, old) = self.open_for_change()?;
        let mode = Mode::from_raw_mode(old.as_ref().map_or(new_mode, |old| old.st_mode & 0o7777));
        atomic::replace_foreign(&dir, &name, text.as_bytes(), mode, old.as_ref())
    }

    /// Checks that the file may be changed and is as it was read. Returns its directory, which is created if it is missing,
    /// its name there, and its metadata.
    fn open_for_change(&self) -> Result<(Dir, String, Option<Stat>)> {
        let (Some(parent), Some(name)) = (self.target.parent(), self.target.file_name()) else {
            return Err(Error::config(format!("{} is not a file", show(&self.path))));
        };
        let name = name.to_str().ok_or_else(|| {
            Error::config(format!("{}: the name of the file is not UTF-8", show(&self.path)))
        })?;
        if let Some((_, stat)) = &self.content
            && stat.st_mode & 0o222 == 0
        {
            return Err(Error::refused(format!("{} is read-only", show(&self.target)))
                .with_hint("make it writable, or add the lines by hand: --print shows them"));
        }
        if self.content.is_none() {
            std::fs::create_dir_all(parent)
                .map_err(|error| Error::io("create the directory", parent, error))?;
        }
        let now = read_text(&self.target)?;
        if now.as_ref().map(|(text, _)| text.as_str()) != self.text() {
            return Err(Error::refused(format!(
                "{} has just been changed by another program",
                show(&self.path)
            ))
            .with_hint("try again"));
        }
        Ok((Dir::open_root(parent)?, name.to_string(), now.map(|(_, stat)| stat)))
    }
}

/// Reads the file at a path without links; `None` when it does not exist.
fn read_text(path: &Path) -> Result<Option<(String, Stat)>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::config(format!("{} is not a file", show(path))));
    };
    if !path.exists() {
        return Ok(None);
    }
    let dir = Dir::open_root(parent)?;
    let unusable = |error: Error| match error.raw_os_error() {
        Some(_) => error,
        None => Error::config(error.message()),
    };
    let content = bounded_file::read(&dir, &name.to_string_lossy(), MAX_FILE_BYTES).map_err(unusable)?;
    let Some(content) = content else { return Ok(None) };
    match String::from_utf8(content.bytes) {
        Ok(text) => Ok(Some((text, content.stat))),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(Error::config(format!("{} is not UTF-8 text (at byte {at})", show(path))))
        }
    }
}

fn show(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_link_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (real, link) = (root.join("real"), root.join("link"));
        std::fs::write(&real, "one").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real", &link).unwrap();
        let file = ForeignFile::read(&link).unwrap();
        assert_eq!((file.text(), file.link_target()), (Some("one"), Some(real.as_path())));
        file.replace("two", 0o600).unwrap();
        assert!(link.is_symlink());
        assert_eq!((std::fs::read_to_string(&real).unwrap().as_str(), mode(&real)), ("two", 0o640));
        assert!(file.replace("three", 0o600).unwrap_err().message().contains("just been changed"));
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 2, "nothing is left behind");
        // The directory may be the link, also before the file exists.
        std::fs::create_dir(root.join("dotfiles")).unwrap();
        symlink("dotfiles", root.join("settings")).unwrap();
        let file = ForeignFile::read(&root.join("settings/new")).unwrap();
        assert_eq!(file.link_target(), Some(root.join("dotfiles/new").as_path()));
        file.replace("x", 0o600).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("dotfiles/new")).unwrap(), "x");
    }

    #[test]
    fn a_missing_file_is_made_with_its_directories() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/new");
        let file = ForeignFile::read(&path).unwrap();
        assert_eq!((file.text(), file.link_target()), (None, None));
        assert!(!dir.path().join("a").exists(), "reading makes nothing");
        file.replace("x", 0o644).unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("x", 0o644));
    }

    #[test]
    fn what_cannot_be_replaced_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("fixed"), "x").unwrap();
        std::fs::set_permissions(at("fixed"), std::fs::Permissions::from_mode(0o444)).unwrap();
        let before = at("fixed").metadata().unwrap().ino();
        let error = ForeignFile::read(&at("fixed")).unwrap().replace("y", 0o600).unwrap_err();
        assert!(error.message().ends_with("fixed is read-only"), "{error}");
        assert_eq!(at("fixed").metadata().unwrap().ino(), before);
        std::fs::write(at("latin"), b"a\xff").unwrap();
        symlink("nowhere", at("broken")).unwrap();
        for (name, expected) in [
            ("latin", "is not UTF-8 text (at byte 1)"),
            ("broken", "is a link that leads nowhere"),
            (".", "is not a regular file"),
        ] {
            let error = ForeignFile::read(&at(name)).unwrap_err();
            assert!(error.message().contains(expected), "{error}");
        }
    }
}
