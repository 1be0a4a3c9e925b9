//! Checks how deep the brackets of a YAML text are nested before it is parsed: the time that the parser takes
//! grows with the square of the depth.
//!
//! Only brackets can be nested deeply in little text. The rest of YAML is recognized just well enough to skip
//! brackets that are text: in quotes, comments, block scalars and plain scalars.

/// The deepest accepted nesting; the parser refuses more, too.
const MAX_DEPTH: usize = 128;

/// Refuses text whose brackets are nested too deep.
///
/// # Errors
/// The reason, with the number of the line.
pub fn check(text: &str) -> Result<(), String> {
    let mut scan = DepthScanner::default();
    for (n, line) in text.lines().enumerate() {
        scan.scan_line(line.as_bytes());
        if scan.deepest > MAX_DEPTH {
            return Err(format!("it is nested more than {MAX_DEPTH} levels deep at line {}", n + 1));
        }
    }
    Ok(())
}

/// The lines of a block scalar, after a `|` or `>`.
struct BlockScalar {
    /// The column relative to which they are indented; -1 at the top level.
    parent: isize,
    /// The indentation of the first of them.
    own: Option<isize>,
}

#[derive(Default)]
struct DepthScanner {
    depth: usize,
    deepest: usize,
    quote: Option<u8>,
    block: Option<BlockScalar>,
}

impl DepthScanner {
    fn scan_line(&mut self, line: &[u8]) {
        let indent = line.iter().take_while(|byte| **byte == b' ').count() as isize;
        if let Some(block) = &mut self.block {
            if line.trim_ascii().is_empty() {
                return;
            }
            let first = if indent > block.parent { indent } else { isize::MAX };
            if indent >= *block.own.get_or_insert(first) {
                return;
            }
            self.block = None;
        }
        self.outside_of_blocks(line);
    }

    fn outside_of_blocks(&mut self, line: &[u8]) {
        // Whether a value may begin here, and the column of the mapping or list that it belongs to.
        let (mut fresh, mut parent, mut word) = (true, -1, -1);
        let mut at = if line.starts_with(b"---") { 3 } else { 0 };
        while let Some(byte) = line.get(at) {
            let ends = line.get(at + 1).is_none_or(u8::is_ascii_whitespace);
            if let Some(quote) = self.quote {
                match byte {
                    b'\\' if quote == b'"' => at += 1,
                    b'\'' if quote == b'\'' && line.get(at + 1) == Some(&b'\'') => at += 1,
                    _ if *byte == quote => self.quote = None,
                    _ => {}
                }
                at += 1;
                continue;
            }
            match byte {
                b' ' | b'\t' => {}
                b'#' if at == 0 || line[at - 1].is_ascii_whitespace() => return,
                b'"' | b'\'' if fresh => {
                    (self.quote, fresh) = (Some(*byte), false);
                    word = at as isize;
                }
                b'[' | b'{' if fresh || self.depth > 0 => {
                    self.depth += 1;
                    self.deepest = self.deepest.max(self.depth);
                    fresh = true;
                }
                b']' | b'}' if self.depth > 0 => {
                    self.depth -= 1;
                    fresh = false;
                }
                b',' if self.depth > 0 => fresh = true,
                b':' if ends || self.depth > 0 => (fresh, parent) = (true, word),
                b'-' | b'?' if fresh && ends => parent = at as isize,
                b'&' | b'!' if fresh => {
                    let rest = &line[at..];
                    at += rest.iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
                    continue;
                }
                b'|' | b'>' if fresh && self.depth == 0 && is_header(&line[at + 1..]) => {
                    self.block = Some(BlockScalar {
                        parent,
                        own: explicit(&line[at + 1..]).map(|n| parent.max(0) + n),
                    });
                    return;
                }
                _ => {
                    if fresh {
                        word = at as isize;
                    }
                    fresh = false;
                }
            }
            at += 1;
        }
    }
}

/// Returns whether what follows a `|` or `>` is the header of a block scalar.
fn is_header(rest: &[u8]) -> bool {
    let marks = rest.iter().take_while(|byte| matches!(byte, b'+' | b'-' | b'1'..=b'9')).count();
    let after = &rest[marks..];
    let words = after.trim_ascii_start();
    marks <= 2 && (words.is_empty() || (words[0] == b'#' && words.len() < after.len()))
}

/// Returns the indentation given in a header.
fn explicit(rest: &[u8]) -> Option<isize> {
    let digit = rest.iter().take(2).find(|byte| byte.is_ascii_digit())?;
    Some(isize::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(text: &str) -> usize {
        let mut scan = DepthScanner::default();
        text.lines().for_each(|line| scan.scan_line(line.as_bytes()));
        scan.deepest
    }

    #[test]
    fn brackets_that_nest_are_counted() {
        for (text, expected) in [
            ("a: 1\nb: x\n", 0),
            ("a: [1, [2, {b: [c]}]]\n", 4),
            ("a:\n  - [\n    [x],\n  [y]]\n", 2),
            ("{\"a\":[\"]\",[\"]\",[1]]]}", 4),
            ("a: ['it''s ]', [\"\\\"]\", [x]]]", 3),
            ("- - - [[x]]", 2),
            ("a: &x [!tag [x]]", 2),
            ("--- [[x]]", 2),
            ("a: | # text\n  x\nb: [[x]]", 2),
            ("- a: |\n    x\n  b: [[x]]", 2),
            ("- a: |\n  b: [[x]]", 2),
            ("a: |2\n    x\n [[x]]", 2),
            ("a: [ # ]\n [x]]", 2),
        ] {
            assert_eq!(depth(text), expected, "{text}");
        }
    }

    #[test]
    fn brackets_that_are_text_are_not() {
        let many = "[".repeat(1000);
        for text in [
            format!("prompt: |\n  {many}\n\n  {many}\nb: 1\n"),
            format!("- prompt: >-\n    {many}\n     {many}\n"),
            format!("p: |2-\n  {many}\n"),
            format!("p: word {many}\n"),
            format!("p: 'it''s {many}'\n"),
            format!("p: \"\\\"{many}\n  {many}\"\n"),
            format!("# {many}\na: 1 # {many}\n"),
            format!("a: {{b: \"{many}\"}}\n"),
        ] {
            assert!(depth(&text) <= 1, "{}", &text[..30]);
        }
        let log = "  \u{1b}[31mred\n".repeat(1000);
        assert_eq!(depth(&format!("prompt: |\n{log}")), 0);
    }

    #[test]
    fn what_is_too_deep_is_refused_with_its_line() {
        assert!(check(&format!("a: 1\nb: {}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH))).is_ok());
        let why = check(&format!("a: 1\nb: {}", "[{a: ".repeat(MAX_DEPTH))).unwrap_err();
        assert_eq!(why, "it is nested more than 128 levels deep at line 2");
    }
}
