//! The only place that reads the environment.

#![expect(clippy::disallowed_methods, reason = "this is the module that reads the environment")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::args;
use super::colour::ColourVariables;
#[cfg(feature = "mcp")]
use crate::dispatch::agent::enclosing_run::EnclosingRun;
use crate::error::{Error, Result, printable};
#[cfg(feature = "mcp")]
use crate::mcp::registration::ClientHomes;
use crate::model::{AgentChain, Time};
use crate::os::own_process;
use crate::store::{Clock, Entropy, StoreOptions};
use crate::workspace::{Identity, TrustRecords, state_home};

/// Returns `LANES_CONFIG`, the configuration, as `--config` gives it.
pub(super) fn config() -> Option<PathBuf> {
    set("LANES_CONFIG").map(PathBuf::from)
}

/// Returns `LANES_STORE`, the state directory, as `--store` gives it.
pub(super) fn store() -> Option<PathBuf> {
    set("LANES_STORE").map(PathBuf::from)
}

/// Returns `LANES_TOKEN`, the token of the server that keeps the store.
pub(super) fn store_token() -> Option<String> {
    set_text("LANES_TOKEN")
}

/// Returns `SSL_CERT_FILE`, the certificates of authorities that are trusted in place of the public ones.
pub(super) fn certificates() -> Option<PathBuf> {
    set("SSL_CERT_FILE").map(PathBuf::from)
}

/// Returns the directory of what is kept of stores on other machines, below `XDG_STATE_HOME` or `HOME`; `None` if neither
/// is set.
pub(super) fn remote_spool() -> Option<PathBuf> {
    let path = |name| set(name).map(PathBuf::from);
    state_home(path("XDG_STATE_HOME"), path("HOME")).map(|home| home.join("lanes/remote"))
}

/// Returns the user whose files are trusted when a search finds them. Root also trusts the files of the user in
/// `SUDO_UID`.
pub(super) fn identity() -> Identity {
    Identity::of_process(set("SUDO_UID").and_then(|uid| uid.to_str()?.parse().ok()))
}

/// Returns the directory of the user's trust records, below `XDG_STATE_HOME` or `HOME`; `None` if neither is set.
pub(super) fn trust_records() -> Option<TrustRecords> {
    let path = |name| set(name).map(PathBuf::from);
    state_home(path("XDG_STATE_HOME"), path("HOME")).map(|home| TrustRecords::in_state_home(&home))
}

/// Returns the directory of the user's own queue, below `XDG_STATE_HOME` or `HOME`; `None` if neither is set.
#[cfg(feature = "mcp")]
pub(super) fn user_queue() -> Option<PathBuf> {
    let path = |name| set(name).map(PathBuf::from);
    state_home(path("XDG_STATE_HOME"), path("HOME")).map(|home| home.join("lanes/queue"))
}

/// Returns the directories in which clients keep the settings of the user: `HOME`, `CLAUDE_CONFIG_DIR`, `CODEX_HOME`,
/// `GEMINI_CLI_HOME` and `XDG_CONFIG_HOME`. Relative ones are ignored.
#[cfg(feature = "mcp")]
pub(super) fn client_homes() -> ClientHomes {
    let path = |name| set(name).map(PathBuf::from).filter(|path| path.is_absolute());
    ClientHomes {
        home: path("HOME"),
        claude: path("CLAUDE_CONFIG_DIR"),
        codex: path("CODEX_HOME"),
        gemini: path("GEMINI_CLI_HOME"),
        xdg_config: path("XDG_CONFIG_HOME"),
    }
}

/// Returns the names of the variables that a server needs and that are set. Some clients pass none on.
#[cfg(feature = "mcp")]
pub(super) fn variables_of_server() -> Vec<String> {
    const NEEDED: [&str; 15] = [
        // For the queue.
        "XDG_STATE_HOME",
        "LANES_ALLOW_NETWORK_FS",
        "LANES_LOCK_TIMEOUT",
        // For the agents that a dispatcher runs which the server has started.
        "XDG_CONFIG_HOME",
        "CLAUDE_CONFIG_DIR",
        "CODEX_HOME",
        "GEMINI_CLI_HOME",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "GEMINI_API_KEY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
    ];
    NEEDED.into_iter().filter(|name| set(name).is_some()).map(str::to_string).collect()
}

/// Returns `CLAUDE_CODE_SESSION_ID`, the session in which claude started this process.
#[cfg(feature = "mcp")]
pub(super) fn client_session() -> Option<String> {
    set("CLAUDE_CODE_SESSION_ID")?.into_string().ok()
}

/// Returns what `NO_COLOR`, `CLICOLOR_FORCE` and `TERM` say about colours.
pub(super) fn colour_variables() -> ColourVariables {
    ColourVariables {
        forbidden: set("NO_COLOR").is_some(),
        forced: set("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
        is_plain: is_plain_terminal(),
    }
}

/// Returns the time zone of the person: that of `TZ`, otherwise of the system, otherwise UTC.
pub(super) fn time_zone() -> TimeZone {
    TimeZone::system()
}

/// Returns `COLUMNS`, the width of a terminal that does not know its own.
pub(super) fn columns() -> Option<usize> {
    set_text("COLUMNS")?.parse().ok()
}

/// The variable that a completion script sets to the name of its shell.
pub(super) const COMPLETE_VARIABLE: &str = "LANES_COMPLETE";

/// Returns `LANES_COMPLETE`, the shell whose completion script runs this process.
pub(super) fn completing_shell() -> Option<OsString> {
    set(COMPLETE_VARIABLE)
}

/// Returns `PATH`, the directories in which a shell looks for programs.
pub(super) fn search_path() -> Option<OsString> {
    set("PATH")
}

/// Returns `BROWSER`, the browsers that the person prefers.
pub(super) fn browser() -> Option<OsString> {
    set("BROWSER")
}

/// Returns whether `LANES_LOCK_TIMEOUT` is set.
pub(super) fn has_lock_timeout() -> bool {
    set("LANES_LOCK_TIMEOUT").is_some()
}

/// Returns the name of the shell in `SHELL`, without its directory.
pub(super) fn shell_name() -> Option<String> {
    let path = PathBuf::from(set("SHELL")?);
    path.file_name().and_then(|name| name.to_str()).map(str::to_string)
}

/// Where shells read what belongs to one user.
pub(super) struct CompletionHomes {
    /// The directory of bash-completion: `BASH_COMPLETION_USER_DIR`, or below `XDG_DATA_HOME` or `HOME`.
    pub bash: Option<PathBuf>,
    /// The directory of fish, below `XDG_CONFIG_HOME` or `HOME`.
    pub fish: Option<PathBuf>,
    /// The directory of `.zshrc`: `ZDOTDIR` or `HOME`.
    pub zsh: Option<PathBuf>,
}

/// Returns where shells read what belongs to one user. Relative directories are ignored.
pub(super) fn completion_homes() -> CompletionHomes {
    let path = |name| set(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let below_home = |rest: &str| path("HOME").map(|home| home.join(rest));
    let data = path("XDG_DATA_HOME").or_else(|| below_home(".local/share"));
    let config = path("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
    CompletionHomes {
        bash: path("BASH_COMPLETION_USER_DIR").or_else(|| data.map(|data| data.join("bash-completion"))),
        fish: config.map(|config| config.join("fish")),
        zsh: path("ZDOTDIR").or_else(|| path("HOME")),
    }
}

/// Returns `VISUAL` or `EDITOR`, the editor that the person prefers.
pub(super) fn editor() -> Option<OsString> {
    set("VISUAL").or_else(|| set("EDITOR"))
}

/// Returns the directory for files that are soon removed: `TMPDIR`, or the usual one.
pub(super) fn temporary_directory() -> PathBuf {
    std::env::temp_dir()
}

/// Returns whether `DISPLAY` or `WAYLAND_DISPLAY` names a display.
pub(super) fn has_display() -> bool {
    set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY")).is_some()
}

/// Returns whether `TERM` says that the terminal only prints lines.
pub(super) fn is_plain_terminal() -> bool {
    set("TERM").is_none_or(|term| term == "dumb")
}

/// Returns whether `LANES_TEST_PANIC` makes `lanes top` panic, so that a test can see what becomes of the terminal.
pub(super) fn panics_for_test() -> bool {
    cfg!(debug_assertions) && set("LANES_TEST_PANIC").is_some()
}

/// Returns `USER`, the name of the user, for messages.
pub(super) fn user() -> String {
    set("USER").and_then(|user| user.into_string().ok()).unwrap_or_else(|| "somebody".to_string())
}

/// Returns all variables, for the processes that a dispatcher starts.
pub(super) fn all_variables() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// Returns whether `LANES_RUN_ID` is set: a dispatcher's agent, or a process that it started, runs this command.
pub(super) fn is_inside_run() -> bool {
    set(crate::guard::process_tree::RUN_ID_VARIABLE).is_some()
}

/// Returns the agents above this process, if a dispatcher started one: `LANES_DEPTH`, how many there are, and
/// `LANES_CHAIN`, their names.
///
/// # Errors
/// `Invalid` for names that no dispatcher would set.
pub(super) fn agent_chain() -> Result<Option<AgentChain>> {
    AgentChain::above_process(set_text)
}

/// Returns the run that this process belongs to, also where it was started without its environment.
///
/// # Errors
/// As [`agent_chain`].
#[cfg(feature = "mcp")]
pub(super) fn enclosing_run() -> Result<Option<EnclosingRun>> {
    EnclosingRun::find(set_text)
}

/// Returns the task of the run that this process belongs to and the token of its claim, if its environment names them.
#[cfg(feature = "mcp")]
pub(super) fn claimed_task() -> Option<(String, String)> {
    set_text("LANES_TASK_ID").zip(set_text("LANES_CLAIM_TOKEN"))
}

/// Returns a path by which this program can be started while this process lives, also when its file has been replaced.
pub(super) fn own_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok().filter(|program| program.exists());
    program.or_else(|| Some(own_process::program_for_others()))
}

/// Returns the options for opening the store: `LANES_LOCK_TIMEOUT` (a span), `LANES_ALLOW_NETWORK_FS` (set to
/// anything), and for tests `LANES_TEST_NOW` (a fixed time) and `LANES_TEST_SEED` (a number that determines ids
/// and tokens).
///
/// `lock_timeout` is the flag, in seconds; it takes precedence over the variable.
pub(super) fn store_options(lock_timeout: Option<f64>) -> Result<StoreOptions> {
    let mut options = StoreOptions::default();
    if let Some(seconds) = lock_timeout {
        options.lock_timeout =
            checked_timeout(Error::invalid, "--lock-timeout", &seconds.to_string(), seconds)?;
    } else if let Some(text) = text("LANES_LOCK_TIMEOUT")? {
        let seconds = args::seconds(&text).unwrap_or(f64::NAN);
        options.lock_timeout = checked_timeout(Error::invalid_here, "LANES_LOCK_TIMEOUT", &text, seconds)?;
    }
    options.allow_network_fs = set("LANES_ALLOW_NETWORK_FS").is_some();
    if let Some(text) = text("LANES_TEST_NOW")? {
        let time = Time::parse(&text)
            .map_err(|_| invalid_variable("LANES_TEST_NOW", &text, "a time like 2026-11-21T07:00:00Z"))?;
        options.clock = Clock::fixed(time);
    }
    if let Some(text) = text("LANES_TEST_SEED")? {
        let seed = text.parse().map_err(|_| invalid_variable("LANES_TEST_SEED", &text, "a whole number"))?;
        options.entropy = Entropy::seeded(seed);
    }
    Ok(options)
}

/// Checks a timeout of a flag or a variable; `invalid` makes the error.
fn checked_timeout(
    invalid: impl FnOnce(String) -> Error,
    name: &str,
    text: &str,
    seconds: f64,
) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|timeout| timeout.as_secs() <= 86_400)
        .ok_or_else(|| invalid(wrong_value(name, text, "seconds or a span such as 5m, at most 1d")))
}

fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the value of a variable that is text.
fn set_text(name: &str) -> Option<String> {
    set(name)?.into_string().ok()
}

fn text(name: &str) -> Result<Option<String>> {
    set(name)
        .map(|value| {
            value
                .into_string()
                .map_err(|value| invalid_variable(name, &value.to_string_lossy(), "UTF-8 text"))
        })
        .transpose()
}

fn invalid_variable(name: &str, value: &str, expected: &str) -> Error {
    Error::invalid_here(wrong_value(name, value, expected))
}

fn wrong_value(name: &str, value: &str, expected: &str) -> String {
    format!("{name} must be {expected}, not '{}'", printable(value))
}
