//! The only place that reads the environment.

#![expect(clippy::disallowed_methods, reason = "this is the module that reads the environment")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result, printable};
use crate::model::Time;
use crate::store::{Clock, Entropy, StoreOptions};
use crate::workspace::{Identity, TrustRecords, state_home};

/// `LANES_CONFIG`: the configuration, as `--config`.
pub(super) fn config() -> Option<PathBuf> {
    set("LANES_CONFIG").map(PathBuf::from)
}

/// `LANES_STORE`: the state directory, as `--store`.
pub(super) fn store() -> Option<PathBuf> {
    set("LANES_STORE").map(PathBuf::from)
}

/// Whose files count when a search finds them; root counts the files of the user that `SUDO_UID` names
/// as well.
pub(super) fn identity() -> Identity {
    Identity::of_process(set("SUDO_UID").and_then(|uid| uid.to_str()?.parse().ok()))
}

/// Returns the directory of the user's trust records, below `XDG_STATE_HOME` or `HOME`; `None` if neither is set.
pub(super) fn trust_records() -> Option<TrustRecords> {
    let path = |name| set(name).map(PathBuf::from);
    state_home(path("XDG_STATE_HOME"), path("HOME")).map(|home| TrustRecords::below(&home))
}

/// `NO_COLOR`: no colour, whatever the terminal could do.
pub(super) fn no_colour() -> bool {
    set("NO_COLOR").is_some()
}

/// The variable by which a completion script asks; its value is the name of the shell.
pub(super) const COMPLETE: &str = "LANES_COMPLETE";

/// `LANES_COMPLETE`: the shell whose script asks what may come next on a command line.
pub(super) fn completing() -> Option<OsString> {
    set(COMPLETE)
}

/// `PATH`: where a shell looks for programs.
pub(super) fn search_path() -> Option<OsString> {
    set("PATH")
}

/// `USER`: who we are, for messages.
pub(super) fn user() -> String {
    set("USER").and_then(|user| user.into_string().ok()).unwrap_or_else(|| "somebody".to_string())
}

/// Everything, for the processes that we start.
pub(super) fn all() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// `LANES_RUN_ID`: whether a dispatcher's agent, or something that it started, gave the command.
pub(super) fn is_inside_run() -> bool {
    set(crate::dispatch::agent::process_tree::MARKER).is_some()
}

/// `LANES_DEPTH`: how deep we are inside agents that a dispatcher started.
pub(super) fn depth() -> Option<u32> {
    set("LANES_DEPTH")?.to_str()?.parse().ok()
}

/// How to use the store: `LANES_LOCK_TIMEOUT` (seconds), `LANES_ALLOW_NETWORK_FS` (set to anything),
/// and for tests `LANES_TEST_NOW` (a time at which the clock stands still) and `LANES_TEST_SEED` (a
/// number from which ids and tokens follow).
///
/// `lock_timeout` is the flag, in seconds; it beats the variable.
pub(super) fn store_options(lock_timeout: Option<f64>) -> Result<StoreOptions> {
    let mut options = StoreOptions::default();
    if let Some(seconds) = lock_timeout {
        options.lock_timeout = checked_timeout("--lock-timeout", &seconds.to_string(), seconds)?;
    } else if let Some(text) = text("LANES_LOCK_TIMEOUT")? {
        let seconds = text.parse().unwrap_or(f64::NAN);
        options.lock_timeout = checked_timeout("LANES_LOCK_TIMEOUT", &text, seconds)?;
    }
    options.allow_network_fs = set("LANES_ALLOW_NETWORK_FS").is_some();
    if let Some(text) = text("LANES_TEST_NOW")? {
        let time = Time::parse(&text)
            .map_err(|_| wrong("LANES_TEST_NOW", &text, "a time like 2026-11-21T07:00:00Z"))?;
        options.clock = Clock::fixed(time);
    }
    if let Some(text) = text("LANES_TEST_SEED")? {
        let seed = text.parse().map_err(|_| wrong("LANES_TEST_SEED", &text, "a whole number"))?;
        options.entropy = Entropy::seeded(seed);
    }
    Ok(options)
}

fn checked_timeout(name: &str, text: &str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|timeout| timeout.as_secs() <= 86_400)
        .ok_or_else(|| wrong(name, text, "seconds from 0 to 86400"))
}

fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> Result<Option<String>> {
    set(name)
        .map(|value| value.into_string().map_err(|value| wrong(name, &value.to_string_lossy(), "UTF-8 text")))
        .transpose()
}

fn wrong(name: &str, value: &str, expected: &str) -> Error {
    Error::invalid(format!("{name} must be {expected}, not '{}'", printable(value)))
}
