//! What the machine itself takes: a process, and a durable write.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::measure::{processes, quantile, repeat};

/// Makes this program end at once.
pub const NOTHING: &str = "--do-nothing";

/// The cheapest way to do each of these, in the median.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// A Rust program that does nothing: this one, see [`NOTHING`].
    pub start: Duration,
    /// `/bin/true`, for comparison with other machines.
    pub least: Duration,
    /// A new directory with one file of 1 KB, durable.
    pub directory: Duration,
    /// A file of 1 KB replaced by another, durable.
    pub replace: Duration,
}

impl Floor {
    /// Measures in `dir`.
    pub fn measure(dir: &Path) -> Self {
        let least = processes("/bin/true".as_ref(), dir, &vec![Vec::<String>::new(); 200]).median();
        let this = std::env::current_exe().expect("this program has a path");
        let start = processes(&this, dir, &vec![vec![NOTHING]; 200]).median();
        let directory = repeat(200, |n| {
            let (made, name) = (dir.join(format!("made-{n}")), dir.join(format!("directory-{n}")));
            std::fs::create_dir(&made).expect("a new directory");
            write(&made.join("file"));
            sync(&made);
            std::fs::rename(made, name).expect("it can be renamed");
            sync(dir);
        });
        let replace = repeat(200, |_| {
            write(&dir.join("new"));
            std::fs::rename(dir.join("new"), dir.join("file")).expect("it can be renamed");
            sync(dir);
        });
        Self { start, least, directory: quantile(&directory, 0.5), replace: quantile(&replace, 0.5) }
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
