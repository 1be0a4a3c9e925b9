//! Measures the floor that the machine sets: a process, and a durable write.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::measure::{Cost, processes, quantile, repeat};

/// Argument that makes this program exit at once.
pub const NOTHING: &str = "--do-nothing";

/// Times of the operations that no command can do without.
#[derive(Clone, Debug, Default)]
pub struct Floor {
    start: Cost,
    directory: Vec<Duration>,
    replace: Vec<Duration>,
}

impl Floor {
    /// Measures each `times` more times in `dir`, which is created.
    pub fn take(&mut self, dir: &Path, times: usize) {
        std::fs::create_dir_all(dir).expect("a new directory");
        let this = std::env::current_exe().expect("this program has a path");
        self.start.add(processes(&this, dir, &vec![vec![NOTHING]; times]));
        let before = self.directory.len();
        self.directory.extend(repeat(times, |n| {
            let made = dir.join("made");
            std::fs::create_dir(&made).expect("a new directory");
            write(&made.join("file"));
            sync(&made);
            std::fs::rename(made, dir.join(format!("directory-{}", before + n))).expect("it can be renamed");
            sync(dir);
        }));
        self.replace.extend(repeat(times, |_| {
            write(&dir.join("new"));
            std::fs::rename(dir.join("new"), dir.join("file")).expect("it can be renamed");
            sync(dir);
        }));
    }

    /// Returns the median time of a Rust program, linked as usual, that does nothing: this one, see [`NOTHING`].
    pub fn start(&self) -> Duration {
        self.start.median()
    }

    /// Returns the median time to create a directory with one file of 1 KB durably.
    pub fn directory(&self) -> Duration {
        quantile(&self.directory, 0.5)
    }

    /// Returns the median time to replace a file of 1 KB durably.
    pub fn replace(&self) -> Duration {
        quantile(&self.replace, 0.5)
    }
}

fn write(path: &Path) {
    let mut file = File::create(path).expect("a new file");
    file.write_all(&[b'x'; 1024]).expect("it can be written");
    file.sync_all().expect("it can be synced");
}

fn sync(dir: &Path) {
    File::open(dir).and_then(|dir| dir.sync_all()).expect("a directory can be synced");
}
