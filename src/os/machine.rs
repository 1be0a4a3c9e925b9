//! The machine: since when it runs, and its name and limits.

use std::fs::File;
use std::io::Read;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::ClockId;

/// Returns the time since the machine was started. It goes on while the machine sleeps, and nobody can set it.
pub(crate) fn uptime() -> Duration {
    // It is never negative.
    Duration::try_from(rustix::time::clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// Returns a name for the time since the machine was started, which no other start of any machine has; empty when there is
/// none.
pub(crate) fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let mut text = [0; 64];
        let file = File::open("/proc/sys/kernel/random/boot_id");
        // The kernel gives all of it at once.
        let length = file.and_then(|mut file| file.read(&mut text)).unwrap_or(0);
        String::from_utf8_lossy(&text[..length]).trim().to_string()
    })
}

/// Returns the name of the machine.
pub(crate) fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_string()).filter(|name| !name.is_empty())
}

/// Returns how many watchers a user may have, and how many files these may watch together; as text, `None` where it is
/// unknown.
pub(crate) fn watch_limits() -> (Option<String>, Option<String>) {
    let limit = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?;
        Some(text.trim().to_string())
    };
    (limit("max_user_instances"), limit("max_user_watches"))
}
