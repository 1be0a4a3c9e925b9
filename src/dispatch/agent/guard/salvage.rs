//! The agent's output that nobody reads any more, and where it goes.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// How much of what the dispatcher had not read is saved: a pipe holds less, but the agent may go on.
const MOST_UNREAD: usize = 16 * 1024 * 1024;

/// Saves what a dispatcher that is gone has not read.
pub struct Unread {
    pipe: File,
    log: File,
    /// How much more is kept.
    left: usize,
}

impl Unread {
    /// Continues `log` with the output of the agent, which shares this process's standard output.
    pub fn open(log: &Path) -> io::Result<Self> {
        // The guard has the writing end, which it shares with the agent; this opens the other one.
        let pipe = File::options()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open("/proc/self/fd/1")?;
        Ok(Self { pipe, log: File::options().append(true).open(log)?, left: MOST_UNREAD })
    }

    /// Saves what there is at present.
    pub fn save(&mut self) {
        let mut buffer = [0; 64 * 1024];
        while let Ok(length @ 1..) = self.pipe.read(&mut buffer) {
            let length = length.min(self.left);
            self.left -= length;
            if length == 0 || self.log.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    }
}
