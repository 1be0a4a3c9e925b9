//! Reports a usage error in one line.

use std::ffi::OsString;

/// Returns the message of `error`, the suggestions, and which help to read.
pub(super) fn one_line(error: &clap::Error, all: clap::Command, args: &[OsString]) -> String {
    format_line(&error.render().to_string(), named_command(all, args).as_deref())
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
