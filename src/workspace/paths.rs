//! Resolves paths, and checks that they lie inside the workspace.

use std::ffi::OsString;
use std::fs::{FileType, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result, printable};
use crate::model::names;

/// The largest number of symbolic links in one path, the same as the kernel's.
const MAX_LINKS: usize = 40;

/// Replaces a leading `~` in `path` by the home directory, and makes it absolute against `base`.
///
/// Paths that a shell has already expanded are returned unchanged; the `~` is for paths in files. `~name` is
/// refused instead of being taken for a file of that name.
///
/// # Errors
/// `Invalid` for `~name`, and for `~` when the home directory is unknown.
pub(crate) fn absolute(base: &Path, path: &Path) -> Result<PathBuf> {
    Ok(base.join(expand_home(path, home().as_deref())?))
}

/// Returns an absolute path without `.` and `..`, and without links on the way to its last part, which may be a link
/// itself. A path of which a part cannot be accessed stays as it is.
pub(crate) fn plain_path(path: &Path) -> PathBuf {
    let plain = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => resolve(parent).map(|parent| parent.join(name)),
        _ => resolve(path),
    };
    plain.unwrap_or_else(|_| path.to_path_buf())
}

/// Returns `HOME`. `std::env::home_dir` also consults the list of users, which requires loading libraries; a
/// statically linked binary may find those of another libc.
#[expect(clippy::disallowed_methods, reason = "a ~ means the same wherever it is read")]
pub(crate) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

fn expand_home(path: &Path, home: Option<&Path>) -> Result<PathBuf> {
    let mut components = path.components();
    let Some(Component::Normal(first)) = components.next() else {
        return Ok(path.to_path_buf());
    };
    if !first.as_encoded_bytes().starts_with(b"~") {
        return Ok(path.to_path_buf());
    }
    if first != "~" {
        return Err(
            Error::invalid(format!("cannot expand {}", show(path))).with_hint("write the directory in full")
        );
    }
    match home {
        Some(home) if home.is_absolute() => Ok(home.join(components.as_path())),
        _ => Err(Error::invalid_here(format!("cannot expand {}: the home directory is unknown", show(path)))
            .with_hint("set HOME or write the directory in full")),
    }
}

/// Resolves `path`, relative to the absolute `base`: as [`absolute`], and without `.`, `..` and symbolic links. It
/// need not exist.
///
/// # Errors
/// As [`absolute`]; `Io` when a part of the path cannot be accessed, or links form a cycle.
pub(crate) fn real_path(base: &Path, path: &Path) -> Result<PathBuf> {
    resolve(&absolute(base, path)?)
}

/// Resolves `path`: absolute, without `.`, `..` and symbolic links.
///
/// What does not exist is kept as it is written, so that a path may name a file to be created; a dangling link
/// resolves to its target. `path` must be absolute.
///
/// # Errors
/// `Io` when a part of the path cannot be accessed, or links form a cycle.
pub(super) fn resolve(path: &Path) -> Result<PathBuf> {
    resolve_past(path, &mut |_, _| {})
}

/// Resolves as [`resolve`] does, and calls `visit` with everything on the way that exists, including links and the
/// end.
pub(super) fn resolve_past(path: &Path, visit: &mut dyn FnMut(&Path, Metadata)) -> Result<PathBuf> {
    walk(path, visit).map_err(|error| Error::io("follow", path, error))
}

fn walk(path: &Path, visit: &mut dyn FnMut(&Path, Metadata)) -> io::Result<PathBuf> {
    let mut real = PathBuf::from("/");
    // The components left to walk, the next one last.
    let mut left: Vec<OsString> = Vec::new();
    push_parts(&mut left, path);
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part == ".." {
            // `real` has no links, so its lexical parent is its parent on disk.
            real.pop();
            continue;
        }
        real.push(&part);
        let is_link = match std::fs::symlink_metadata(&real) {
            Ok(metadata) => {
                let is_link = metadata.is_symlink();
                visit(&real, metadata);
                is_link
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if is_link {
            links += 1;
            if links > MAX_LINKS {
                return Err(rustix::io::Errno::LOOP.into());
            }
            let target = std::fs::read_link(&real)?;
            real.pop();
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            push_parts(&mut left, &target);
        }
    }
    Ok(real)
}

fn push_parts(left: &mut Vec<OsString>, path: &Path) {
    let parts: Vec<OsString> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_os_string()),
            Component::ParentDir => Some("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        })
        .collect();
    left.extend(parts.into_iter().rev());
}

/// Refuses a resolved path that is not below `root`, which must be resolved too. `label` names the path in the
/// message.
pub(super) fn require_inside(root: &Path, path: &Path, label: &str) -> Result<()> {
    if path.starts_with(root) {
        return Ok(());
    }
    Err(Error::invalid_here(format!("{label} is outside workspace_root: {}", show(path)))
        .with_hint(format!("it must lie in {}, also after following links", show(root))))
}

/// Returns the type of the file at a resolved path; `None` if it does not exist.
pub(super) fn file_type(path: &Path) -> Result<Option<FileType>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("access", path, error)),
    }
}

/// Converts a path to text for task.json.
pub(super) fn as_text(path: &Path, label: &str) -> Result<String> {
    path.to_str().map(str::to_string).ok_or_else(|| {
        Error::invalid(format!("{label} is not valid UTF-8: {}", show(path)))
            .with_hint("tasks are JSON text; rename the file or directory")
    })
}

/// Converts a path as [`as_text`] does, for a path that an agent reads as part of its instructions.
pub(super) fn as_name(path: &Path, label: &str) -> Result<String> {
    let text = as_text(path, label)?;
    names::check_visible(label, &text).map_err(|error| error.with_hint("rename the file or directory"))?;
    Ok(text)
}

/// Formats a path for a message.
pub(super) fn show(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Makes a directory without links in its own path.
    fn real_dir() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        (dir, real)
    }

    #[test]
    fn a_plain_path_has_no_detours_and_keeps_a_link_at_its_end() {
        let (_dir, root) = real_dir();
        std::fs::create_dir_all(root.join("far/deep")).unwrap();
        symlink(root.join("far/deep"), root.join("near")).unwrap();
        symlink("board.json", root.join("link.json")).unwrap();
        for (path, expected) in [
            ("far/../board.json", "board.json"),
            ("./far/./x", "far/x"),
            // The parent of a directory behind a link is not that of the link.
            ("near/../board.json", "far/board.json"),
            ("link.json", "link.json"),
            ("far/deep/..", "far"),
            ("none/../x", "x"),
        ] {
            assert_eq!(plain_path(&root.join(path)), root.join(expected), "{path}");
        }
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let home = Some(Path::new("/home/u"));
        for (path, expanded) in [
            ("~", "/home/u"),
            ("~/x/~", "/home/u/x/~"),
            ("a/~", "a/~"),
            ("./~x", "./~x"),
            ("/x", "/x"),
            ("", ""),
        ] {
            assert_eq!(expand_home(Path::new(path), home).unwrap(), Path::new(expanded), "{path}");
        }
        assert!(expand_home(Path::new("~bob/x"), home).is_err());
        assert!(expand_home(Path::new("~/x"), None).is_err());
        assert!(expand_home(Path::new("~/x"), Some(Path::new(""))).is_err());
    }

    #[test]
    fn existing_paths_resolve_as_the_system_does() {
        let (_dir, real) = real_dir();
        std::fs::create_dir_all(real.join("a/b")).unwrap();
        std::fs::write(real.join("a/b/f"), "").unwrap();
        symlink("a/b", real.join("short")).unwrap();
        symlink(real.join("short"), real.join("a/chain")).unwrap();
        symlink("../../short/f", real.join("a/b/up")).unwrap();
        for path in ["short/f", "a/chain/f", "a/b/up", "short/../b/./f", "a/chain/../../a/b/f"] {
            let path = real.join(path);
            assert_eq!(resolve(&path).unwrap(), path.canonicalize().unwrap(), "{path:?}");
        }
    }

    #[test]
    fn missing_paths_resolve_as_far_as_they_exist() {
        let (_dir, real) = real_dir();
        std::fs::create_dir(real.join("d")).unwrap();
        symlink("d", real.join("l")).unwrap();
        symlink("/nowhere/x", real.join("dangling")).unwrap();
        assert_eq!(resolve(&real.join("l/new/f")).unwrap(), real.join("d/new/f"));
        assert_eq!(resolve(&real.join("new/../f")).unwrap(), real.join("f"));
        assert_eq!(resolve(&real.join("dangling/y")).unwrap(), Path::new("/nowhere/x/y"));
        assert_eq!(resolve(Path::new("/../../nowhere")).unwrap(), Path::new("/nowhere"));
    }

    #[test]
    fn circles_and_files_in_the_way_are_errors() {
        let (_dir, real) = real_dir();
        symlink("two", real.join("one")).unwrap();
        symlink("one", real.join("two")).unwrap();
        std::fs::write(real.join("f"), "").unwrap();
        for (path, expected) in [("one", "symbolic links"), ("f/x", "Not a directory"), ("a\0b", "nul")] {
            let error = resolve(&real.join(path)).unwrap_err().to_string();
            assert!(error.to_lowercase().contains(&expected.to_lowercase()), "{error}");
            assert!(!error.contains('\0'), "{error}");
        }
    }

    #[test]
    fn inside_goes_by_whole_names() {
        let root = Path::new("/w/root");
        assert!(require_inside(root, Path::new("/w/root/x"), "it").is_ok());
        assert!(require_inside(root, root, "it").is_ok());
        for outside in ["/w/root2/x", "/w", "/"] {
            let error = require_inside(root, Path::new(outside), "it").unwrap_err();
            assert_eq!(error.message(), format!("it is outside workspace_root: {outside}"));
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_in_one_clean_line() {
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/a\xff\n"));
        let error = as_text(path, "request_from").unwrap_err().to_string();
        assert!(error.starts_with("request_from is not valid UTF-8: "), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
