//! Checks who can write to a configuration that was found by a search instead of given explicitly.
//!
//! A configuration decides where tasks go and which programs a dispatcher starts. One that a search finds is
//! used only if nobody else, except the administrator, could have put it there.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::paths::show;
use crate::error::{Error, Result, shell_word};

/// The mode bit: others may write.
const WORLD_WRITABLE: u32 = 0o002;
/// The mode bit: the group may write.
const GROUP_WRITABLE: u32 = 0o020;
/// The sticky bit: only the owner of an entry may rename or remove it.
const STICKY: u32 = 0o1000;

/// The user on whose behalf this process acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    uid: u32,
    /// The user who became root by sudo; set only for root.
    sudo_uid: Option<u32>,
}

impl Identity {
    /// Returns the identity of this process; `sudo_uid` is the value of `SUDO_UID`, which counts only for root.
    pub fn of_process(sudo_uid: Option<u32>) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        Self { uid, sudo_uid: sudo_uid.filter(|_| uid == 0) }
    }

    /// Returns whether `owner` is this user or the administrator.
    fn trusts(self, owner: u32) -> bool {
        owner == self.uid || owner == 0 || self.sudo_uid == Some(owner)
    }
}

/// A configuration file that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundConfig {
    /// The directory in which it was found: the one that contains `handoff/`.
    pub holder: PathBuf,
    /// The path of the file in it, not resolved.
    pub file: PathBuf,
    /// The user for whom the search was made.
    pub identity: Identity,
}

/// Everything on the way to a file: directories, links and the file itself.
pub(super) type PathEntries = Vec<(PathBuf, Metadata)>;

impl FoundConfig {
    /// Checks the file, its directory, the parent of that directory, and every link between them. `real` is the
    /// resolved path of the file, `passed` everything on the way to it.
    ///
    /// # Errors
    /// `Config` when another user can change one of them; the hint is the remedy.
    pub(super) fn check_file(&self, real: &Path, passed: &PathEntries) -> Result<()> {
        let found = format!("found {}", show(&self.file));
        let is_strict =
            |path: &Path| path == real || Some(path) == real.parent() || Some(path) == self.file.parent();
        self.check(passed, &found, is_strict, |path| path == self.holder)?;
        // The root directory is not a component of a path, so the walk does not visit it.
        if self.holder == Path::new("/") {
            let metadata = std::fs::metadata("/").map_err(|error| Error::io("access", "/", error))?;
            self.check_owner(Path::new("/"), &metadata, Protection::OfEntries, &found)?;
        }
        Ok(())
    }

    /// Checks the state directory that the file names, as far as it exists.
    ///
    /// # Errors
    /// As [`FoundConfig::check_file`].
    pub(super) fn check_store(&self, real: &Path, passed: &PathEntries) -> Result<()> {
        let found = format!("found {}, and its queue_root {}", show(&self.file), show(real));
        self.check(passed, &found, |path| path == real, |_| false)
    }

    fn check(
        &self,
        passed: &PathEntries,
        found: &str,
        is_strict: impl Fn(&Path) -> bool,
        is_holder: impl Fn(&Path) -> bool,
    ) -> Result<()> {
        for (path, metadata) in passed {
            if metadata.is_symlink() || is_strict(path) {
                self.check_owner(path, metadata, Protection::OfContent, found)?;
            } else if is_holder(path) || holds_link(path, passed) {
                self.check_owner(path, metadata, Protection::OfEntries, found)?;
            }
        }
        Ok(())
    }

    /// Refuses what others can change although it needs `protection`.
    fn check_owner(
        &self,
        path: &Path,
        metadata: &Metadata,
        protection: Protection,
        found: &str,
    ) -> Result<()> {
        let named = shell_word(&self.file.to_string_lossy());
        if !self.identity.trusts(metadata.uid()) {
            let owner = metadata.uid();
            return Err(Error::config(format!(
                "{found}, but {} belongs to another user (uid {owner})",
                show(path)
            ))
            .with_hint(format!("if you trust it, name it: --config {named}")));
        }
        // The mode of a link has no meaning.
        let mode = WriteAccess::of(metadata);
        match mode.weakness(protection).filter(|_| !metadata.is_symlink()) {
            None => Ok(()),
            Some((who, remedy)) => Err(Error::config(format!(
                "{found}, but {who} may write to {} (mode {:04o})",
                show(path),
                mode.bits
            ))
            .with_hint(format!(
                "`chmod {remedy} {}`, or name the file: --config {named}",
                shell_word(&path.to_string_lossy())
            ))),
        }
    }
}

/// Returns whether a followed link lies directly in `path`.
fn holds_link(path: &Path, passed: &PathEntries) -> bool {
    passed.iter().any(|(other, metadata)| metadata.is_symlink() && other.parent() == Some(path))
}

/// What must be protected from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    /// The content of a file, or of a directory with all that may be added to it.
    OfContent,
    /// The entries that a directory has; a sticky directory protects them.
    OfEntries,
}

/// Determines who may write, from the metadata of a file or directory.
#[derive(Clone, Copy)]
struct WriteAccess {
    bits: u32,
    uid: u32,
    gid: u32,
}

impl WriteAccess {
    fn of(metadata: &Metadata) -> Self {
        Self { bits: metadata.mode() & 0o7777, uid: metadata.uid(), gid: metadata.gid() }
    }

    /// Returns who may write in addition to the owner, and the mode argument of `chmod` that revokes it; `None` if
    /// what needs `protection` has it.
    fn weakness(self, protection: Protection) -> Option<(&'static str, &'static str)> {
        if protection == Protection::OfEntries && self.bits & STICKY != 0 {
            return None;
        }
        if self.bits & WORLD_WRITABLE != 0 {
            return Some(("everybody", "o-w"));
        }
        // Read only for the few files that a group may write to.
        let list = |path| std::fs::read_to_string(path).unwrap_or_default();
        let shared = self.bits & GROUP_WRITABLE != 0
            && !is_private_group(self.uid, self.gid, &list("/etc/passwd"), &list("/etc/group"));
        shared.then_some(("its group", "g-w"))
    }
}

/// Returns whether the owner of a file is the only member of its group, as in the groups that systems create for
/// each user together with a umask of 002. `passwd` and `group` are the contents of the files in /etc.
///
/// The administrators' group counts as private: root can write everywhere. A group that is not listed, as in a
/// container whose user has only a number, is private if it has the same number.
fn is_private_group(uid: u32, gid: u32, passwd: &str, group: &str) -> bool {
    if gid == 0 {
        return true;
    }
    let field = |line: &str, place: usize| line.split(':').nth(place).unwrap_or_default().trim().to_string();
    let is_number = |text: &str, number: u32| text.parse() == Ok(number);
    let user = passwd.lines().find(|line| is_number(&field(line, 2), uid)).map(|line| field(line, 0));
    let is_others =
        passwd.lines().any(|line| is_number(&field(line, 3), gid) && !is_number(&field(line, 2), uid));
    let mut lists = group.lines().filter(|line| is_number(&field(line, 2), gid)).peekable();
    if lists.peek().is_none() {
        return gid == uid && !is_others;
    }
    let members: Vec<String> = lists
        .flat_map(|line| field(line, 3).split(',').map(|name| name.trim().to_string()).collect::<Vec<_>>())
        .filter(|name| !name.is_empty())
        .collect();
    !is_others && members.iter().all(|member| Some(member) == user.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_and_the_administrators_files_count() {
        let (alice, bob, root) = (1000, 1001, 0);
        let us = |uid, sudo_uid| Identity { uid, sudo_uid };
        assert!(us(alice, None).trusts(alice));
        assert!(us(alice, None).trusts(root));
        assert!(!us(alice, None).trusts(bob));
        assert!(us(root, None).trusts(root));
        assert!(!us(root, None).trusts(alice), "root in a container names a user's file");
        assert!(us(root, Some(alice)).trusts(alice), "the user who called sudo");
        assert!(!us(root, Some(alice)).trusts(bob));
        let process = Identity::of_process(Some(12345));
        assert_eq!(process.trusts(12345), process.uid == 0 || process.uid == 12345);
    }

    #[test]
    fn only_the_owner_may_write() {
        use Protection::{OfContent, OfEntries};
        let mode = |bits, gid| WriteAccess { bits, uid: 4_000_000, gid };
        for (bits, gid, protection, expected) in [
            (0o644, 5, OfContent, None),
            (0o755, 5, OfEntries, None),
            (0o666, 5, OfContent, Some("everybody")),
            (0o777, 5, OfEntries, Some("everybody")),
            (0o1777, 5, OfEntries, None),
            (0o1777, 5, OfContent, Some("everybody")),
            (0o1770, 4_100_000, OfEntries, None),
            (0o2775, 4_100_000, OfEntries, Some("its group")),
            (0o664, 4_100_000, OfContent, Some("its group")),
            (0o664, 4_000_000, OfContent, None),
            (0o664, 0, OfContent, None),
        ] {
            let weakness = mode(bits, gid).weakness(protection).map(|(who, _)| who);
            assert_eq!(weakness, expected, "{bits:o} {gid} {protection:?}");
        }
    }

    #[test]
    fn a_private_group_has_one_user() {
        let passwd = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nbob:x:1001:1002::/:/bin/sh\n\
                      carol:x:1003:100::/:/bin/sh\ndave:x:1004:100::/:/bin/sh\n";
        let group = "root:x:0:\nusers:x:100:\nalice:x:1000:\ndocker:x:1001:alice,bob\nbob:x:1002:bob\n\
                     team:x:1005:alice, bob\nbroken line\n";
        let private = |uid, gid| is_private_group(uid, gid, passwd, group);
        assert!(private(1000, 1000));
        assert!(private(1001, 1002), "numbers may differ");
        assert!(!private(1001, 1001), "equal numbers say nothing about a group that others are in");
        assert!(!private(1003, 100), "the primary group of two users");
        assert!(!private(1000, 1005));
        assert!(!private(1000, 1002));
        assert!(private(1234, 0), "the administrators");
        assert!(private(1234, 1234), "a user with only a number");
        assert!(!private(1234, 1235));
        assert!(is_private_group(1000, 1000, "", ""));
    }
}
