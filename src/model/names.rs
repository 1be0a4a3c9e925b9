//! The characters allowed in names, which appear in lists, on terminals, in prompts and on command lines.

use crate::error::{Error, Result, brief};

/// Returns whether a character is invisible, or moves or reverses the text next to it: control characters, line
/// and paragraph separators, zero-width characters, directional marks, tags.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// Returns the first hidden character of a text. A joiner between two non-ASCII letters or emoji belongs to their
/// spelling and is not hidden.
pub(crate) fn first_hidden(text: &str) -> Option<char> {
    let mut before = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let joins = |c: Option<char>| c.is_some_and(|c| !c.is_ascii() && !is_hidden(c));
        let is_joiner = matches!(c, '\u{200c}' | '\u{200d}') && joins(before) && joins(rest.peek().copied());
        if is_hidden(c) && !is_joiner {
            return Some(c);
        }
        before = Some(c);
    }
    None
}

/// Refuses a name with hidden characters; `what` names it in the message.
///
/// # Errors
/// `Invalid`, naming the first of them.
pub(crate) fn check_visible(what: &str, text: &str) -> Result<()> {
    let Some(found) = first_hidden(text) else { return Ok(()) };
    let kind = if found.is_control() { "control" } else { "invisible" };
    Err(Error::invalid(format!("{what} has {kind} characters (U+{:04X}): {}", u32::from(found), brief(text))))
}

/// Refuses the value of an argument that a program could take for a flag, or that has hidden characters. An
/// empty value is accepted, since it is not passed on.
///
/// # Errors
/// `Invalid` when it starts with a dash or has hidden characters.
pub(crate) fn check_argument(what: &str, text: &str) -> Result<()> {
    check_visible(what, text)?;
    if text.starts_with('-') {
        return Err(Error::invalid(format!("{what} starts with a dash: {}", brief(text)))
            .with_hint("a program would read it as a flag"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_refused_and_named() {
        for (text, expected) in [
            ("a\nb", "control characters (U+000A): a\\nb"),
            ("a\u{200b}", "invisible characters (U+200B): a\\u{200b}"),
            ("\u{202e}gpj.exe", "invisible characters (U+202E)"),
            ("a\u{200d}b", "invisible characters (U+200D)"),
            ("x\u{feff}", "invisible characters (U+FEFF)"),
            ("\u{e0041}", "invisible characters (U+E0041)"),
            ("é\u{200d}", "invisible characters (U+200D)"),
        ] {
            let refusal = check_visible("the name", text).unwrap_err().to_string();
            assert!(refusal.starts_with(&format!("the name has {expected}")), "{refusal}");
        }
        for text in ["", "Ein Name, 名前", "👩\u{200d}💻 work", "می\u{200c}خواهم", "❤\u{fe0f}", "e\u{301}"]
        {
            assert!(check_visible("it", text).is_ok(), "{text}");
        }
        assert!(
            check_visible("it", &format!("\u{7}{}", "x".repeat(10_000))).unwrap_err().to_string().len() < 200
        );
    }

    #[test]
    fn flags_are_no_values() {
        assert!(check_argument("the model", "opus-4.1[1m]").is_ok());
        for flag in ["-", "--x", "-rf"] {
            assert!(
                check_argument("the model", flag).unwrap_err().to_string().contains("starts with a dash")
            );
        }
    }
}
