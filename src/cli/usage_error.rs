//! Reports a usage error in one line.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Returns the message of `error`, the suggestions, and which help to read.
pub(super) fn one_line(error: &clap::Error, all: clap::Command, args: &[OsString]) -> String {
    let command = named_command(all, args);
    let mut line = format_line(&error.render().to_string(), command.as_deref());
    if let Some(tip) = tip(error, command.as_deref()) {
        line.insert_str(line.rfind("; `lanes help").unwrap_or(line.len()), &format!("; {tip}"));
    }
    line
}

/// Returns what clap cannot know: which command does what a name of other programs says, and that a text needs quotes.
fn tip(error: &clap::Error, command: Option<&str>) -> Option<&'static str> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => match word(ContextKind::InvalidSubcommand)? {
            "rm" | "remove" | "delete" => {
                Some("`lanes cancel` ends a task that is open, `lanes gc` deletes those that have ended")
            }
            "kill" | "stop" | "abort" => Some("`lanes cancel` ends a task"),
            "done" | "complete" | "finish" | "fail" => Some("`lanes respond` answers a task"),
            "run" | "start" => Some("`lanes dispatch` starts agents, `lanes claim` takes a task"),
            _ => None,
        },
        ErrorKind::UnknownArgument => {
            let is_text = !word(ContextKind::InvalidArg)?.starts_with('-');
            let takes_text = matches!(command, Some("submit" | "call" | "tell"));
            (is_text && takes_text).then_some("quote a text of several words")
        }
        _ => None,
    }
}

/// Returns the command that a command line names, as far as it can be parsed.
fn named_command(all: clap::Command, args: &[OsString]) -> Option<String> {
    let matches = all.ignore_errors(true).try_get_matches_from(args).ok()?;
    let (name, inner) = matches.subcommand()?;
    // `help` takes the names of commands as its arguments.
    match inner.subcommand_name().filter(|_| name != "help") {
        Some(inner) => Some(format!("{name} {inner}")),
        None => Some(name.to_string()),
    }
}

/// Formats the text of a usage error of clap: the problem, the tips, and the command's help.
fn format_line(text: &str, command: Option<&str>) -> String {
    let mut paragraphs = text.split("\n\n");
    let problem = paragraphs.next().unwrap_or(text);
    let mut line = join_lines(problem.strip_prefix("error: ").unwrap_or(problem));
    let tips = paragraphs.filter_map(|paragraph| paragraph.trim().strip_prefix("tip: "));
    // clap suggests how to pass a value that looks like a flag, which does not help after an unknown flag.
    for tip in tips.filter(|tip| !tip.starts_with("to pass ")) {
        line.push_str("; ");
        line.push_str(&join_lines(tip));
    }
    match command {
        Some("help") | None => line.push_str("; `lanes help` lists the commands"),
        Some(command) => line.push_str(&format!("; `lanes help {command}` shows its options")),
    }
    line
}

/// Joins lines into one: with commas after a line that ends with a colon, which introduces a list.
fn join_lines(text: &str) -> String {
    let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let first = lines.next().unwrap_or_default();
    let rest: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    if rest.is_empty() {
        return first;
    }
    let separator = if first.ends_with(':') { ", " } else { " " };
    format!("{first} {}", rest.join(separator))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn line(command_line: &str) -> String {
        let args: Vec<&str> = command_line.split_whitespace().collect();
        let error = Cli::command().try_get_matches_from(&args).unwrap_err();
        format_line(&error.render().to_string(), args.get(1).copied())
    }

    #[test]
    fn bad_usage_is_one_line_that_names_the_command() {
        for (command_line, expected) in [
            (
                "lanes claim",
                "the following required arguments were not provided: <ID|--lane <LANE>>; `lanes help claim` shows its options",
            ),
            (
                "lanes renew",
                "the following required arguments were not provided: --claim-token <TOKEN>, <ID>; `lanes help renew` shows its options",
            ),
            (
                "lanes submit --promt x",
                "unexpected argument '--promt' found; a similar argument exists: '--prompt'; `lanes help submit` shows its options",
            ),
            (
                "lanes respond x --status fail",
                "invalid value 'fail' for '--status <STATUS>' [possible values: completed, failed]; a similar value exists: 'failed'; `lanes help respond` shows its options",
            ),
            (
                "lanes list --limit -1",
                "invalid value '-1' for '--limit <N>': expected a whole number from 0; `lanes help list` shows its options",
            ),
            ("lanes help clam", "unrecognized subcommand 'clam'; `lanes help` lists the commands"),
        ] {
            assert_eq!(line(command_line), expected);
        }
    }

    #[test]
    fn an_unknown_flag_is_not_taken_for_a_value() {
        assert!(!line("lanes logs x -1").contains("to pass"));
    }
}
