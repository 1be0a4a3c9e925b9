//! Progress of a run for people: single lines of bounded length.

/// Maximum length of a progress note, in characters.
pub(super) const MAX_NOTE_CHARS: usize = 300;

/// One line of progress for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// One line without control characters, at most `MAX_NOTE_CHARS` characters.
    pub text: String,
}

impl Note {
    /// Creates a note from the beginning of `text`; `None` if it is blank.
    pub fn new(text: &str) -> Option<Self> {
        let text = one_line(text, MAX_NOTE_CHARS);
        (!text.is_empty()).then_some(Self { text })
    }
}

/// Returns `text` as one line of at most `limit` characters; a truncated line ends with `…`.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let space = usize::from(length > 0);
        for c in std::iter::repeat_n(' ', space).chain(word.chars()) {
            if length == limit {
                out.pop();
                out.push('…');
                return out;
            }
            out.push(c);
            length += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_one_bounded_line() {
        let note = Note::new("  a\n\tb \u{1b}[31m c\r\n").expect("text");
        assert_eq!(note.text, "a b [31m c");
        assert_eq!(Note::new(" \n\t"), None);
        let long = Note::new(&"é".repeat(1000)).expect("text");
        assert_eq!(long.text.chars().count(), MAX_NOTE_CHARS);
        assert!(long.text.ends_with('…'));
        let exact = Note::new(&"x".repeat(MAX_NOTE_CHARS)).expect("text");
        assert!(!exact.text.ends_with('…'));
    }
}
