//! Reports a usage error in one line.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::workspace::did_you_mean;

/// A usage error in the words of this program.
pub(super) struct UsageError {
    /// What is wrong, on one line.
    pub message: String,
    /// What to do instead, and which help to read.
    pub hint: String,
}

impl UsageError {
    /// Describes an error of the command line `args`, whose commands and flags are `all`.
    pub(super) fn of(error: &clap::Error, all: clap::Command, args: &[OsString]) -> Self {
        let names: Vec<String> = all.get_subcommands().map(|known| known.get_name().to_string()).collect();
        let command = named_command(all, args);
        let command = command.as_deref();
        let mut hint = String::new();
        let similar = suggestion(error).or_else(|| similar_command(error, &names));
        // What a flag is called here is known better than by its letters.
        let elsewhere = called_here(error, command).map(str::to_string);
        let tips = match elsewhere {
            Some(tip) => vec![tip],
            None => similar.into_iter().chain(tip(error, command).map(str::to_string)).collect(),
        };
        for tip in tips {
            hint.push_str(&tip);
            hint.push_str(if tip.ends_with('?') { " " } else { "; " });
        }
        match command {
            Some("help") | None => hint.push_str("`lanes help` lists the commands"),
            Some(command) => hint.push_str(&format!("`lanes help {command}` shows its options")),
        }
        Self { message: message(error, command), hint }
    }
}

/// Returns what is wrong.
fn message(error: &clap::Error, command: Option<&str>) -> String {
    let invalid = texts(error, ContextKind::InvalidArg);
    let value = texts(error, ContextKind::InvalidValue).join(" ");
    let arg = invalid.first().map(|arg| readable(arg)).unwrap_or_default();
    let flag = arg.split(' ').next().unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8 text".to_string(),
        // An error that this program has made has its text and names no argument.
        _ if invalid.is_empty() => rendered(error),
        ErrorKind::MissingRequiredArgument => {
            let who = command.unwrap_or("lanes");
            format!("{who} needs {}", needed(&invalid))
        }
        ErrorKind::ArgumentConflict => {
            let others: Vec<String> =
                texts(error, ContextKind::PriorArg).iter().map(|other| readable(other)).collect();
            match &others[..] {
                [] => format!("{arg} cannot be used with another argument"),
                [other] if *other == arg => format!("{arg} is given twice"),
                others => format!("{arg} cannot be used with {}", others.join(" or ")),
            }
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("{flag} needs a value, as in {arg}"),
        ErrorKind::InvalidValue => {
            let known = texts(error, ContextKind::ValidValue);
            format!("invalid value '{value}' for {flag}: expected {}", alternatives(&known))
        }
        ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            format!("invalid value '{value}' for {flag}: {reason}")
        }
        ErrorKind::TooManyValues => format!("{flag} does not take the value '{value}'"),
        _ => rendered(error),
    }
}

/// Returns what the parser says is wrong.
fn rendered(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let problem = text.split("\n\n").next().unwrap_or(&text);
    join_lines(problem.strip_prefix("error: ").unwrap_or(problem))
}

/// Returns the words of a part of an error.
fn texts(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        Some(ContextValue::StyledStr(text)) => vec![text.to_string()],
        _ => Vec::new(),
    }
}

/// Returns what clap suggests instead of a word that it does not know.
fn suggestion(error: &clap::Error) -> Option<String> {
    let kinds = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    let similar: Vec<String> = kinds.iter().flat_map(|kind| texts(error, *kind)).collect();
    (!similar.is_empty()).then(|| format!("did you mean {}?", alternatives(&similar)))
}

/// Returns the command whose name is similar to one that is unknown: clap suggests none to `lanes help`.
fn similar_command(error: &clap::Error, names: &[String]) -> Option<String> {
    let unknown = texts(error, ContextKind::InvalidSubcommand);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    did_you_mean(unknown.first()?, &names)
}

/// Writes an argument as people do: `--limit <N>` as `--limit N`, and `<ID|--lane <LANE>>` as `ID or --lane LANE`.
fn readable(arg: &str) -> String {
    let plain: String = arg.chars().filter(|c| !matches!(c, '<' | '>')).collect();
    let plain = match plain.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.to_string(),
        None => plain,
    };
    match arg.contains("|--") || arg.contains("|<") {
        true => alternatives(&plain.split('|').map(str::to_string).collect::<Vec<_>>()),
        false => plain,
    }
}

/// Lists what is missing: words, then flags, then those of which one is enough.
fn needed(args: &[String]) -> String {
    let mut all: Vec<String> = args.iter().map(|arg| readable(arg)).collect();
    all.sort_by_key(|arg| (arg.contains(" or "), arg.starts_with('-')));
    match all.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => {
            let comma = if last.contains(" or ") { "," } else { "" };
            format!("{}{comma} and {last}", rest.join(", "))
        }
        None => "another argument".to_string(),
    }
}

/// Lists words of which one is enough.
fn alternatives(words: &[String]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// Returns what a command calls an argument that it does not know by the name of another command.
fn called_here(error: &clap::Error, command: Option<&str>) -> Option<&'static str> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let unknown = texts(error, ContextKind::InvalidArg);
    match (command?, unknown.first()?.as_str()) {
        ("respond" | "renew" | "release" | "event" | "ask" | "messages", "--token") => {
            Some("the token of a claim is given with --claim-token")
        }
        ("edit", "--label") => Some("--add-label and --remove-label change the labels"),
        ("edit", "--assignee") => Some("--add-assignee and --remove-assignee change the assignees"),
        ("edit", "--lane") => Some("`lanes move ID --to LANE` changes the lane"),
        ("move", "--lane") => Some("the lane is given with --to"),
        ("move", word) if !word.starts_with('-') => Some("the lane is given with --to"),
        ("pause" | "resume", "--lane") => Some("the lane is given without a flag"),
        ("cancel", "--lane") => Some("`lanes list --lane LANE` prints the ids to cancel"),
        ("answer" | "ask" | "respond" | "event", word) if !word.starts_with('-') => {
            Some("the text is given with --message, in quotes")
        }
        _ => None,
    }
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
        let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        let UsageError { message, hint } = UsageError::of(&error, Cli::command(), &args);
        format!("{message}; {hint}")
    }

    #[test]
    fn bad_usage_is_one_line_that_names_the_command() {
        for (command_line, expected) in [
            ("lanes claim", "claim needs ID or --lane LANE; `lanes help claim` shows its options"),
            ("lanes pause", "pause needs LANE or --vendor VENDOR; `lanes help pause` shows its options"),
            ("lanes resume", "resume needs LANE or --vendor VENDOR; `lanes help resume` shows its options"),
            ("lanes bridge", "bridge needs NAME or --all; `lanes help bridge` shows its options"),
            (
                "lanes completions",
                "completions needs SHELL, --install or --uninstall; `lanes help completions` shows its options",
            ),
            (
                "lanes wait",
                "wait needs ID, --group GROUP or --lane LANE; `lanes help wait` shows its options",
            ),
            ("lanes renew", "renew needs ID and --claim-token TOKEN; `lanes help renew` shows its options"),
            (
                "lanes ask",
                "ask needs ID, --claim-token TOKEN, and --question TEXT or --file PATH; `lanes help ask` shows its options",
            ),
            (
                "lanes submit --promt x",
                "unexpected argument '--promt' found; did you mean --prompt? `lanes help submit` shows its options",
            ),
            (
                "lanes respond x --status fail",
                "invalid value 'fail' for --status: expected completed or failed; did you mean failed? `lanes help respond` shows its options",
            ),
            (
                "lanes list --limit -1",
                "invalid value '-1' for --limit: expected a whole number from 0; `lanes help list` shows its options",
            ),
            (
                "lanes budget add much",
                "invalid value 'much' for AMOUNT: expected a number above 0, such as 2.50; `lanes help budget add` shows its options",
            ),
            (
                "lanes list --group",
                "--group needs a value, as in --group GROUP; `lanes help list` shows its options",
            ),
            (
                "lanes list --json=1",
                "--json does not take the value '1'; `lanes help list` shows its options",
            ),
            (
                "lanes pause a --vendor b",
                "LANE cannot be used with --vendor VENDOR; `lanes help pause` shows its options",
            ),
            (
                "lanes list --state complted --limit 3",
                "invalid value 'complted' for --state: expected queued, scheduled, blocked, claimed, input_required, completed, failed, cancelled or dead; did you mean completed? `lanes help list` shows its options",
            ),
            (
                "lanes help clam",
                "unrecognized subcommand 'clam'; did you mean claim? `lanes help` lists the commands",
            ),
        ] {
            assert_eq!(line(command_line), expected);
        }
    }

    #[test]
    fn an_argument_of_another_command_is_named_as_it_is_called_here() {
        for (command_line, expected) in [
            (
                "lanes release x --token y",
                "unexpected argument '--token' found; the token of a claim is given with --claim-token; ",
            ),
            ("lanes edit x --label y", "--add-label and --remove-label change the labels"),
            ("lanes move x y", "the lane is given with --to"),
            ("lanes move x --lane y", "the lane is given with --to"),
            ("lanes pause --lane y", "the lane is given without a flag"),
            ("lanes answer x yes", "the text is given with --message, in quotes"),
            ("lanes event x y --claim-token t", "the text is given with --message, in quotes"),
        ] {
            let line = line(command_line);
            assert!(line.contains(expected) && !line.contains("did you mean"), "{command_line}: {line}");
        }
    }

    #[test]
    fn an_unknown_flag_is_not_taken_for_a_value() {
        assert!(!line("lanes logs x -1").contains("to pass"));
        assert!(!line("lanes dispatch --budget 1").contains("to pass"));
    }

    /// Every value that a program parses for clap: a wrong one is answered by what is right, not in the words of a library.
    #[test]
    fn a_wrong_value_is_answered_by_what_is_expected() {
        fn visit(command: &clap::Command, path: &str, seen: &mut usize) {
            for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
                let value = clap::Arg::new("value").value_parser(arg.get_value_parser().clone());
                let parsed = clap::Command::new("any").arg(value).try_get_matches_from(["any", "\u{202e}?"]);
                let Err(error) = parsed else { continue };
                *seen += 1;
                let message = message(&error, Some(path));
                assert!(message.contains("expected "), "{path}: {message}");
                assert!(!message.contains(['<', '>']), "{path}: {message}");
            }
            for inner in command.get_subcommands() {
                visit(inner, &format!("{path} {}", inner.get_name()), seen);
            }
        }
        let mut seen = 0;
        let mut all = Cli::command();
        all.build();
        visit(&all, "lanes", &mut seen);
        assert!(seen > 40, "{seen}");
    }
}
