//! Splits bytes that arrive in pieces of any size into lines of bounded length.

/// Maximum length of a line, in bytes. A result with a long answer is one line, so the limit is generous.
pub(crate) const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// The unfinished line at the end of the bytes so far.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    partial: Vec<u8>,
    /// The current line is too long: drop everything up to its end.
    skipping: bool,
    overlong: u64,
}

impl LineSplitter {
    /// Calls `line` for every line that `bytes` completes, without its terminator.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (piece, after) = (&rest[..end], &rest[end + 1..]);
            if self.partial.is_empty() && !self.skipping && piece.len() <= MAX_LINE_BYTES {
                // The common case needs no copy.
                line(trimmed(piece));
            } else {
                self.append(piece);
                self.finish(&mut line);
            }
            rest = after;
        }
        self.append(rest);
    }

    /// Calls `line` for a last line without a terminator.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.skipping && !self.partial.is_empty() {
            line(trimmed(&self.partial));
        }
        self.partial.clear();
        self.skipping = false;
    }

    /// Returns the number of lines that were skipped because of their length.
    pub(crate) fn overlong(&self) -> u64 {
        self.overlong
    }

    fn append(&mut self, piece: &[u8]) {
        if self.skipping {
            return;
        }
        if self.partial.len() + piece.len() > MAX_LINE_BYTES {
            self.skipping = true;
            self.overlong += 1;
            self.partial = Vec::new();
            return;
        }
        self.partial.extend_from_slice(piece);
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> (Vec<String>, u64) {
        let mut lines = LineSplitter::default();
        let mut out = Vec::new();
        let mut take = |line: &[u8]| out.push(String::from_utf8_lossy(line).into_owned());
        for piece in pieces {
            lines.feed(piece, &mut take);
        }
        lines.finish(&mut take);
        (out, lines.overlong())
    }

    #[test]
    fn pieces_join_to_lines() {
        let (out, _) = lines(&[b"a", b"b\r\n\nc", b"", b"d\ne"]);
        assert_eq!(out, ["ab", "", "cd", "e"]);
    }

    #[test]
    fn an_endless_line_is_skipped_up_to_its_end() {
        let block = vec![b'x'; MAX_LINE_BYTES / 2 + 1];
        let (out, overlong) = lines(&[b"a\n", &block, &block, &block, b"tail\nb\n"]);
        assert_eq!(out, ["a", "b"]);
        assert_eq!(overlong, 1);
    }
}
