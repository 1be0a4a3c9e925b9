//! Starts the program under test, and others, with nothing of this process's environment.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The path of the program under test.
pub const LANES: &str = env!("CARGO_BIN_EXE_lanes");

/// The program under test with an empty environment and an empty standard input.
pub fn lanes() -> Command {
    clean(LANES)
}

/// A shell that runs `script` in an empty environment; in the script `"$0"` is the program under test.
pub fn lanes_in_shell(script: &str) -> Command {
    let mut command = clean("/bin/sh");
    command.args(["-c", script, LANES]);
    command
}

/// A program with an empty environment and an empty standard input.
pub fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    command
}

/// The same with the PATH of the system.
pub fn clean_with_path(program: impl AsRef<OsStr>) -> Command {
    let mut command = clean(program);
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

/// Gives `command` the variables that were set for another one.
pub fn with_variables_of(command: &mut Command, other: &Command) {
    command.envs(other.get_envs().filter_map(|(name, value)| Some((name, value?))));
}

/// The commands that a help lists, without `help`.
pub fn listed_commands(help: &str) -> Vec<&str> {
    let listed = help.lines().skip_while(|line| !line.starts_with("Usage:"));
    let listed = listed.take_while(|line| !line.ends_with("ptions:"));
    let rows = listed.filter_map(|line| line.strip_prefix("  "));
    let rows = rows.filter(|row| row.starts_with(|c: char| c.is_ascii_lowercase()));
    rows.filter_map(|row| row.split(' ').next()).filter(|name| *name != "help").collect()
}

/// What a command prints, without the last newline; it must succeed.
#[track_caller]
pub fn ok(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_string()
}

/// Runs git in `dir` with a user and no settings of the machine.
#[track_caller]
pub fn git(dir: &Path, args: &[&str]) -> String {
    let mut git = clean_with_path("git");
    git.env("GIT_CONFIG_NOSYSTEM", "1").args(["-c", "user.name=n", "-c", "user.email=e@x"]);
    ok(git.current_dir(dir).args(args))
}

/// The value of a JSON text.
#[track_caller]
pub fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
