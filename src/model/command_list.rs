//! Lists of command lines in settings and tasks.

use serde_json::Value;

/// What a list of commands consists of, for messages.
pub(crate) const COMMAND_LIST: &str = "a list of commands, each a list of text or a text for sh";
/// The most commands of a list.
const MAX_COMMANDS: usize = 50;
/// The longest list, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// Returns the command line that has a shell run `text`.
pub(crate) fn shell_command(text: &str) -> Vec<String> {
    ["sh", "-c", text].map(str::to_string).to_vec()
}

/// Reads a list of command lines, each a list of words or a text for a shell; `None` if it is something else, has an empty
/// command or a word that no program can be given, or is too long.
pub(crate) fn command_list(items: &[Value]) -> Option<Vec<Vec<String>>> {
    let command = |value: &Value| match value {
        Value::String(text) if !text.trim().is_empty() => Some(shell_command(text)),
        Value::Array(words) => words.iter().map(|word| word.as_str().map(str::to_string)).collect(),
        _ => None,
    };
    let commands: Vec<Vec<String>> = items.iter().map(command).collect::<Option<_>>()?;
    let is_usable = |command: &Vec<String>| {
        command.first().is_some_and(|program| !program.trim().is_empty())
            && command.iter().all(|word| !word.contains('\0'))
            && !matches!(&command[..], [shell, flag, text] if shell == "sh" && flag == "-c" && text.trim().is_empty())
    };
    let bytes: usize = commands.iter().flatten().map(String::len).sum();
    let fits = commands.len() <= MAX_COMMANDS && bytes <= MAX_BYTES;
    (fits && commands.iter().all(is_usable)).then_some(commands)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_are_lists_of_words_or_texts_for_a_shell() {
        let read = |value: Value| command_list(value.as_array().unwrap());
        let expected = vec![vec!["cargo".to_string(), "test".to_string()], shell_command("a | b")];
        assert_eq!(read(json!([["cargo", "test"], "a | b"])), Some(expected));
        assert_eq!(read(json!([])), Some(Vec::new()));
        for wrong in [
            json!([[]]),
            json!([" "]),
            json!([["a", 1]]),
            json!([5]),
            json!([["a\u{0}"]]),
            json!([["", "x"]]),
        ] {
            assert_eq!(read(wrong.clone()), None, "{wrong}");
        }
        assert_eq!(read(Value::Array(vec!["true".into(); MAX_COMMANDS + 1])), None);
        assert_eq!(read(json!(["x".repeat(MAX_BYTES)])), None);
    }
}
