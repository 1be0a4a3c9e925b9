//! Replaces a file that other programs change at the same time, so that no change of theirs is lost.
//!
//! Editors and scripts know nothing of our locks. A file that is compared and then renamed over may change between the two.
//! Here the new file and the old one exchange their names, and the old one is compared once it can no longer be reached by
//! its name: when it is not as it was read, the two are exchanged back. Meanwhile a lease of the kernel keeps programs that
//! open the old file to write into it waiting, so that none of them writes into a file that has lost its name.

use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, Stat};
use rustix::io::Errno;

use super::write_hold::{WriteHold, is_open_for_writing};
use super::{StagedEntry, create, keep_owner, remove, sync_dir, sync_file};
use crate::error::{Error, Result, printable};
use crate::os::rename;
use crate::store::bounded_file::{self, FileContent};
use crate::store::dir::Dir;

/// How long a program that has the replaced file open for writing may take to close it.
const MAX_WRITER_WAIT: Duration = Duration::from_secs(1);

/// How often it is checked whether it has.
const WRITER_CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// Replaces the file `name` in `dir`, which is `old`: durable, with the mode, the owner and the group of `old`. Returns the
/// metadata of the new file, or `None` with nothing changed when the file is no longer `old`. The caller holds a lock, so
/// that no other process of ours does the same.
///
/// # Errors
/// `Config` when it could not be helped that another program has lost what it had written; that is kept under another name
/// beside the file. `Io`; the file is then as it was.
pub(in crate::store) fn replace_if_unchanged(
    dir: &Dir,
    name: &str,
    content: &[u8],
    old: &FileContent,
) -> Result<Option<Stat>> {
    let staged = stage(dir, name, content, &old.stat)?;
    let new = stat(dir, &staged.name)?;
    let Some(hold) = WriteHold::take(dir, name)? else { return Ok(None) };
    // The file that is held cannot change any more, but another one can take its name, until the last moment.
    if !is_still(dir, name, old) || !stat(dir, name).is_ok_and(|now| hold.is_of(&now)) {
        return Ok(None);
    }
    match exchange(dir, &staged.name, name) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(None),
        // This file system cannot exchange two names.
        Err(Errno::INVAL | Errno::NOSYS) => {
            staged.publish(dir, name)?;
            sync_dir(dir)?;
            return Ok(Some(new));
        }
        Err(errno) => return Err(Error::io("rename into place", dir.path().join(name), errno)),
    }
    match keep_new(&staged, dir, old, &hold)? {
        true => Ok(Some(new)),
        false => put_back(staged, dir, name, &new, hold).map(|()| None),
    }
}

/// Makes the exchange durable and returns whether it can stay; `staged` is the old file now, which is removed on drop.
fn keep_new(staged: &StagedEntry<'_>, dir: &Dir, old: &FileContent, hold: &WriteHold) -> Result<bool> {
    // Up to here and back again it takes a few calls: a program that reads the new file now and writes it has not read
    // what another has put into the old one.
    if !hold.is_of(&stat(dir, &staged.name)?) || hold.is_awaited() {
        return Ok(false);
    }
    // Before the old file is removed: a power cut leaves one of the two.
    sync_dir(dir)?;
    // A program that has found the old file by its name before the exchange may open it late.
    if hold.is_awaited() {
        return Ok(false);
    }
    hold.release();
    Ok(!is_open_for_writing(dir, &staged.name) && is_still(dir, &staged.name, old))
}

/// Writes the new file beside the old one. Its name is always the same, so that what a killed process leaves is removed by
/// the next one.
fn stage<'d>(dir: &'d Dir, name: &str, content: &[u8], old: &Stat) -> Result<StagedEntry<'d>> {
    let temporary = format!(".{name}.lanes-tmp");
    remove(dir, &temporary)?;
    let staged = StagedEntry { tmp: dir, name: temporary, published: false };
    let path = || dir.path().join(name);
    let file = create(dir, &staged.name, content)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(old.st_mode & 0o7777))
        .map_err(|errno| Error::io("set the mode of", path(), errno))?;
    keep_owner(dir, &staged.name, old).map_err(|errno| Error::io("keep the owner of", path(), errno))?;
    sync_file(&file, &path())?;
    Ok(staged)
}

fn stat(dir: &Dir, name: &str) -> Result<Stat> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| Error::io("read", dir.path().join(name), errno))
}

fn exchange(dir: &Dir, one: &str, other: &str) -> rustix::io::Result<()> {
    rename::exchange(dir, one, dir, other)
}

/// Returns whether the file has the content of `old`. One that cannot be read does not.
fn is_still(dir: &Dir, name: &str, old: &FileContent) -> bool {
    let limit = old.bytes.len() as u64;
    bounded_file::read(dir, name, limit)
        .is_ok_and(|content| content.is_some_and(|content| content.bytes == old.bytes))
}

/// Gives the file that another program has written its name back.
///
/// # Errors
/// `Config` when ours was written over meanwhile by a program that has not read what the other one has written: that one is
/// then kept under another name. `Io`.
fn put_back(mut staged: StagedEntry<'_>, dir: &Dir, name: &str, new: &Stat, hold: WriteHold) -> Result<()> {
    // From here on it is theirs, and must not be removed on drop.
    staged.published = true;
    match exchange(dir, &staged.name, name) {
        Ok(()) => {}
        // They have removed the file that we put there.
        Err(Errno::NOENT) => return staged.publish(dir, name),
        Err(errno) => return Err(Error::io("rename into place", dir.path().join(name), errno)),
    }
    drop(hold);
    wait_for_writers(dir, &staged.name);
    let out = stat(dir, &staged.name)?;
    let content = |stat: &Stat| (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    if content(&out) == content(new) {
        return remove(dir, &staged.name);
    }
    // Ours was written over while it had the name: what was written then is the newest.
    exchange(dir, &staged.name, name)
        .map_err(|errno| Error::io("rename into place", dir.path().join(name), errno))?;
    let kept = keep_aside(dir, &staged.name, name)?;
    let shown = |name: &str| printable(&dir.path().join(name).to_string_lossy());
    Err(Error::config(format!("{} was written by two programs at the same moment", shown(name))).with_hint(
        format!("the earlier version is {}: copy what is missing from it, then remove it", shown(&kept)),
    ))
}

/// Gives the file a name of its own beside the file `name`; returns it.
fn keep_aside(dir: &Dir, from: &str, name: &str) -> Result<String> {
    for number in 1u32.. {
        let kept = format!("{name}.lost-{number}");
        match rename::rename_to_free(dir, from, dir, &kept) {
            Ok(()) => {
                sync_dir(dir)?;
                return Ok(kept);
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::io("rename", dir.path().join(name), errno)),
        }
    }
    unreachable!("there are more numbers than files in a directory")
}

/// Waits until no program has the file open for writing, if the kernel tells.
fn wait_for_writers(dir: &Dir, name: &str) {
    let start = Instant::now();
    while is_open_for_writing(dir, name) && start.elapsed() < MAX_WRITER_WAIT {
        std::thread::sleep(WRITER_CHECK_INTERVAL);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests play scripts, which rename files")]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::error::ErrorKind;

    struct TestFile {
        directory: tempfile::TempDir,
        dir: Dir,
    }

    impl TestFile {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let dir = Dir::open_root(&directory.path().canonicalize().unwrap()).unwrap();
            let test = Self { directory, dir };
            test.write("file", "old");
            test
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.directory.path().join(name), text).unwrap();
        }

        fn read(&self, name: &str) -> String {
            std::fs::read_to_string(self.directory.path().join(name)).unwrap()
        }

        fn names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.directory.path()).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        fn content(&self) -> FileContent {
            bounded_file::read(&self.dir, "file", 100).unwrap().unwrap()
        }

        /// Puts "new" in the place of the file.
        fn exchanged(&self) -> (StagedEntry<'_>, Stat) {
            let staged = stage(&self.dir, "file", b"new", &self.content().stat).unwrap();
            let new = stat(&self.dir, &staged.name).unwrap();
            exchange(&self.dir, &staged.name, "file").unwrap();
            (staged, new)
        }
    }

    #[test]
    fn a_program_that_opens_the_old_file_waits_and_writes_into_the_file_with_the_name() {
        let test = TestFile::new();
        let old = test.content();
        let hold = WriteHold::take(&test.dir, "file").unwrap().unwrap();
        let path = test.directory.path().join("file");
        let script = std::thread::spawn(move || {
            std::fs::File::create(path).unwrap().write_all(b"theirs").unwrap();
        });
        while !hold.is_awaited() {
            std::thread::yield_now();
        }
        assert_eq!(test.read("file"), "old", "it is not emptied yet");
        let (staged, new) = test.exchanged();
        assert_eq!(test.read("file"), "new");
        assert!(!keep_new(&staged, &test.dir, &old, &hold).unwrap());
        put_back(staged, &test.dir, "file", &new, hold).unwrap();
        script.join().unwrap();
        assert_eq!((test.read("file").as_str(), test.names()), ("theirs", vec!["file".to_string()]));
    }

    #[test]
    fn a_file_that_is_open_for_writing_stays() {
        let test = TestFile::new();
        let old = test.content();
        let open = std::fs::File::options().append(true).open(test.directory.path().join("file")).unwrap();
        assert!(replace_if_unchanged(&test.dir, "file", b"new", &old).unwrap().is_none());
        drop(open);
        assert!(replace_if_unchanged(&test.dir, "file", b"new", &old).unwrap().is_some());
        assert_eq!((test.read("file").as_str(), test.names()), ("new", vec!["file".to_string()]));
    }

    #[test]
    fn of_two_writings_that_could_not_know_of_each_other_both_are_kept() {
        let test = TestFile::new();
        let hold = WriteHold::take(&test.dir, "file").unwrap().unwrap();
        test.write("theirs", "first");
        std::fs::rename(test.directory.path().join("theirs"), test.directory.path().join("file")).unwrap();
        let (staged, new) = test.exchanged();
        assert!(!hold.is_of(&stat(&test.dir, &staged.name).unwrap()));
        test.write("file", "second, made from new");
        let error = put_back(staged, &test.dir, "file", &new, hold).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.hint().unwrap().contains("file.lost-1: copy what is missing"), "{error:?}");
        assert_eq!(test.read("file"), "second, made from new");
        assert_eq!((test.read("file.lost-1").as_str(), test.names().len()), ("first", 2));
    }
}
