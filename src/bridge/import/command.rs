//! Translates the command of a route, whose arguments may have placeholders.

use std::path::Path;

use serde_yaml::{Mapping, Value};

use crate::error::shell_word;

/// The programs that are vendors here too, and the arguments by which they are told to print an answer and exit, which
/// a dispatcher gives them by itself.
const VENDORS: [(&str, &[&str]); 4] = [
    ("claude", &["-p", "--print"]),
    ("codex", &["exec"]),
    ("gemini", &["-p", "--prompt"]),
    ("opencode", &["run"]),
];

/// The placeholders, with the variables that agents have in their place.
const PLACEHOLDERS: [(&str, Option<&str>); 3] = [
    ("{task_id}", Some("\"$LANES_TASK_ID\"")),
    ("{task_url}", Some("\"$LANES_API_URL/tasks/$LANES_TASK_ID\"")),
    ("{task_name}", None),
];

/// A command and its arguments, as the other program has them.
pub(super) struct Program {
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// Returns the keys of a route that runs the same program, and adds notes about what differs.
pub(super) fn translate(program: &Program, lane: &str, notes: &mut Vec<String>) -> Mapping {
    let mut route = Mapping::new();
    let name = Path::new(&program.command).file_name().unwrap_or_default().to_string_lossy();
    if let Some((vendor, own_args)) = VENDORS.iter().find(|(vendor, _)| *vendor == name) {
        return as_vendor(program, vendor, own_args, lane, notes);
    }
    if !program.args.iter().any(|arg| has_placeholder(arg)) {
        route.insert("command".into(), program.command.as_str().into());
        put_list(&mut route, &program.args);
        return route;
    }
    let words: Vec<String> = program.args.iter().map(|arg| shell_argument(arg)).collect();
    if program.args.iter().any(|arg| arg.contains("{task_name}")) {
        notes.push(format!(
            "routes.{lane}: {{task_name}} stays empty in the arguments; the name is in the prompt, on standard input"
        ));
    }
    route.insert("command".into(), "sh".into());
    let line = format!("exec {} {}", quoted(&program.command), words.join(" "));
    put_list(&mut route, &["-c".to_string(), line]);
    route
}

fn as_vendor(
    program: &Program,
    vendor: &str,
    own_args: &[&str],
    lane: &str,
    notes: &mut Vec<String>,
) -> Mapping {
    let mut route = Mapping::new();
    route.insert("vendor".into(), vendor.into());
    let is_plain = |arg: &&String| !has_placeholder(arg) && !own_args.contains(&arg.as_str());
    let args: Vec<String> = program.args.iter().filter(is_plain).cloned().collect();
    put_list(&mut route, &args);
    let prompt: Vec<&str> =
        program.args.iter().filter(|arg| has_placeholder(arg)).map(String::as_str).collect();
    if !prompt.is_empty() {
        route.insert("prompt".into(), prompt.join("\n").into());
    }
    notes.push(format!(
        "routes.{lane}: {vendor} runs as a vendor, with the rights that docs/dispatch.md lists; check its `args`"
    ));
    route
}

fn put_list(route: &mut Mapping, args: &[String]) {
    if !args.is_empty() {
        let args = args.iter().map(|arg| Value::from(arg.as_str())).collect();
        route.insert("args".into(), Value::Sequence(args));
    }
}

fn has_placeholder(arg: &str) -> bool {
    PLACEHOLDERS.iter().any(|(name, _)| arg.contains(name))
}

/// Returns an argument as a word for a shell, with variables in place of the placeholders.
fn shell_argument(arg: &str) -> String {
    let mut word = String::new();
    let mut rest = arg;
    loop {
        let found =
            PLACEHOLDERS.iter().filter_map(|(name, variable)| Some((rest.find(name)?, name, variable)));
        let Some((at, name, variable)) = found.min_by_key(|(at, ..)| *at) else { break };
        if at > 0 {
            word.push_str(&quoted(&rest[..at]));
        }
        word.push_str(variable.unwrap_or_default());
        rest = &rest[at + name.len()..];
    }
    if !rest.is_empty() || word.is_empty() {
        word.push_str(&quoted(rest));
    }
    word
}

/// Returns a text as a word for a shell, unchanged in whatever it contains.
fn quoted(text: &str) -> String {
    if shell_word(text) == text { text.to_string() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_variables_and_the_rest_is_quoted() {
        assert_eq!(shell_argument("plain"), "plain");
        assert_eq!(shell_argument(""), "''");
        assert_eq!(shell_argument("a\nb"), "'a\nb'");
        assert_eq!(shell_argument("{task_id}"), "\"$LANES_TASK_ID\"");
        assert_eq!(
            shell_argument("do $x; {task_id} at {task_url}"),
            "'do $x; '\"$LANES_TASK_ID\"' at '\"$LANES_API_URL/tasks/$LANES_TASK_ID\""
        );
        let program = Program { command: "run".to_string(), args: vec!["{task_name}".to_string()] };
        let mut notes = Vec::new();
        translate(&program, "a", &mut notes);
        assert_eq!(notes.len(), 1);
    }
}
