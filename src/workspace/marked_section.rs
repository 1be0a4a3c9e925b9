//! A section in a text file of a person, between two marks, which is updated in place and can be removed.

use crate::error::{Error, Result};

/// The lines around a section, in a comment of the language of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SectionMarks {
    /// The line before the section.
    pub begin: &'static str,
    /// How that line begins; the rest of it may change.
    pub begin_mark: &'static str,
    /// The line after the section.
    pub end: &'static str,
}

/// Returns `text` with the section `body`, which has complete lines: in place of the one that it has, or at its end.
/// Line ends are those of the first line. All other bytes stay, except that a last line gets its end.
///
/// # Errors
/// `Config` when the marks of `text` do not form one section.
pub(crate) fn with_section(marks: &SectionMarks, text: &str, body: &str) -> Result<String> {
    let line_end = if text.lines().next().is_some_and(|line| text[line.len()..].starts_with("\r\n")) {
        "\r\n"
    } else {
        "\n"
    };
    let section = format!("{}\n{body}{}\n", marks.begin, marks.end).replace('\n', line_end);
    Ok(match find_section(marks, text)? {
        Some((start, end)) => format!("{}{section}{}", &text[..start], &text[end..]),
        None if text.is_empty() => section,
        None if text.ends_with('\n') => format!("{text}{line_end}{section}"),
        None => format!("{text}{line_end}{line_end}{section}"),
    })
}

/// Returns `text` without its section and the empty line before it.
///
/// # Errors
/// As [`with_section`].
pub(crate) fn without_section(marks: &SectionMarks, text: &str) -> Result<String> {
    let Some((start, end)) = find_section(marks, text)? else { return Ok(text.to_string()) };
    let before = &text[..start];
    let before = ["\r\n", "\n"]
        .iter()
        .filter_map(|line_end| before.strip_suffix(line_end))
        .find(|rest| rest.is_empty() || rest.ends_with('\n'))
        .unwrap_or(before);
    Ok(format!("{before}{}", &text[end..]))
}

/// Returns where the section of `text` begins, and where the line after it begins.
///
/// # Errors
/// As [`with_section`].
pub(crate) fn find_section(marks: &SectionMarks, text: &str) -> Result<Option<(usize, usize)>> {
    let mut begin: Option<(usize, usize)> = None;
    let mut section = None;
    let mut offset = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let start = offset;
        offset += line.len();
        if line.starts_with(marks.begin_mark) {
            if section.is_some() || begin.is_some() {
                return Err(misplaced(number, "a second section of lanes begins"));
            }
            begin = Some((number, start));
        } else if line.trim_end() == marks.end {
            let Some((_, start)) = begin.take() else {
                return Err(misplaced(number, "a section of lanes ends that did not begin"));
            };
            section = Some((start, offset));
        }
    }
    match begin {
        Some((number, _)) => Err(misplaced(number, "the section of lanes does not end")),
        None => Ok(section),
    }
}

fn misplaced(line: usize, what: &str) -> Error {
    Error::config(format!("line {line}: {what}")).with_hint("remove that section by hand")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "<!-- lanes: begin. Written by `lanes setup`; `lanes setup --remove` removes it. -->";
    const BEGIN_MARK: &str = "<!-- lanes: begin";
    const END: &str = "<!-- lanes: end -->";
    const MARKS: SectionMarks = SectionMarks { begin: BEGIN, begin_mark: BEGIN_MARK, end: END };
    const BODY: &str = "## Title\n\ntext\n";

    #[test]
    fn a_section_is_added_updated_and_removed_and_the_rest_stays() {
        for text in
            ["", "# Mine\n", "# Mine\r\n\r\nmore\r\n", "one\n\n\n", "\n", "no line ends here: \u{e9}\n"]
        {
            let with = with_section(&MARKS, text, BODY).unwrap();
            assert!(with.starts_with(text) && with.contains("## Title"), "{with:?}");
            assert_eq!(with.contains('\r'), text.contains('\r'), "{with:?}");
            assert_eq!(with_section(&MARKS, &with, BODY).unwrap(), with, "twice is once");
            let updated = with_section(&MARKS, &format!("{with}after\n"), "new\n").unwrap();
            assert!(updated.ends_with("after\n") && updated.contains("new"), "{updated:?}");
            assert!(!updated.contains("Title"), "{updated:?}");
            assert_eq!(without_section(&MARKS, &with).unwrap(), text);
            assert_eq!(without_section(&MARKS, &updated).unwrap(), format!("{text}after\n"));
        }
        assert_eq!(without_section(&MARKS, &with_section(&MARKS, "a", BODY).unwrap()).unwrap(), "a\n");
        assert_eq!(without_section(&MARKS, "a\n").unwrap(), "a\n");
    }

    #[test]
    fn a_section_of_an_older_version_is_recognized() {
        let text = format!("a\n\n{BEGIN_MARK} -->\nold\n{END}");
        assert_eq!(find_section(&MARKS, &text).unwrap(), Some((3, text.len())));
        assert_eq!(without_section(&MARKS, &text).unwrap(), "a\n");
    }

    #[test]
    fn marks_that_form_no_section_are_refused_with_their_line() {
        let section = with_section(&MARKS, "", BODY).unwrap();
        for (text, expected) in [
            (format!("a\n{BEGIN}\nb\n"), "line 2: the section of lanes does not end"),
            (format!("{END}\n"), "line 1: a section of lanes ends that did not begin"),
            (format!("{section}{section}"), "line 6: a second section of lanes begins"),
            (format!("{BEGIN}\n{section}"), "line 2: a second section of lanes begins"),
        ] {
            for result in [with_section(&MARKS, &text, BODY), without_section(&MARKS, &text)] {
                assert_eq!(result.unwrap_err().message(), expected, "{text}");
            }
        }
    }
}
