//! Keys of a terminal, from the bytes that it sends.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TerminalKey {
    Char(char),
    Enter,
    Escape,
    Backspace,
    /// Ctrl-U, which clears what was typed.
    Clear,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// Returns the keys in what a terminal has sent. Anything that is not one of them is dropped.
pub(super) fn keys(bytes: &[u8]) -> Vec<TerminalKey> {
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            0x1b if after.is_empty() || after[0] == 0x1b => keys.push(TerminalKey::Escape),
            0x1b => {
                let length = sequence_length(after);
                keys.extend(sequence(&after[..length]));
                rest = &after[length..];
            }
            b'\r' | b'\n' => keys.push(TerminalKey::Enter),
            0x7f | 0x08 => keys.push(TerminalKey::Backspace),
            0x15 => keys.push(TerminalKey::Clear),
            0x00..0x20 => {}
            _ => {
                let length = bytes_of_char(*first);
                let (character, more) = (first, after.get(..length - 1));
                let mut encoded = vec![*character];
                encoded.extend(more.unwrap_or_default());
                if let Ok(text) = std::str::from_utf8(&encoded) {
                    keys.extend(text.chars().map(TerminalKey::Char));
                    rest = &after[length - 1..];
                }
            }
        }
    }
    keys
}

/// Returns how many bytes of a character follow from its first one.
fn bytes_of_char(first: u8) -> usize {
    match first {
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..=0xff => 4,
        _ => 1,
    }
}

/// Returns the length of the rest of an escape sequence.
fn sequence_length(after: &[u8]) -> usize {
    let is_last = |byte: &u8| (0x40..0x7f).contains(byte);
    match after {
        [b'[', rest @ ..] => rest.iter().position(is_last).map_or(after.len(), |last| last + 2),
        [b'O', ..] => after.len().min(2),
        // With Alt.
        _ => after.len().min(1),
    }
}

fn sequence(sequence: &[u8]) -> Option<TerminalKey> {
    match sequence {
        b"[A" | b"OA" => Some(TerminalKey::Up),
        b"[B" | b"OB" => Some(TerminalKey::Down),
        b"[5~" => Some(TerminalKey::PageUp),
        b"[6~" => Some(TerminalKey::PageDown),
        b"[H" | b"OH" | b"[1~" | b"[7~" => Some(TerminalKey::Home),
        b"[F" | b"OF" | b"[4~" | b"[8~" => Some(TerminalKey::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_what_terminals_send() {
        use TerminalKey::{Backspace, Char, Clear, Down, End, Enter, Escape, Home, PageDown, PageUp, Up};
        for (bytes, expected) in [
            (&b"jk"[..], vec![Char('j'), Char('k')]),
            (b"\r\n", vec![Enter, Enter]),
            (b"\x1b", vec![Escape]),
            (b"\x1b\x1b", vec![Escape, Escape]),
            (b"\x1b[A\x1bOBx", vec![Up, Down, Char('x')]),
            (b"\x1b[5~\x1b[6~\x1b[H\x1b[4~", vec![PageUp, PageDown, Home, End]),
            // A key with modifiers, one with Alt and one that breaks off mean nothing here.
            (b"\x1b[1;5Aq", vec![Char('q')]),
            (b"\x1bxq", vec![Char('q')]),
            (b"\x1b[12", vec![]),
            ("é票🦀".as_bytes(), vec![Char('é'), Char('票'), Char('🦀')]),
            (b"\xffa\xc3", vec![Char('a')]),
            (b"\x00\x04\x15\x7f\x08", vec![Clear, Backspace, Backspace]),
        ] {
            assert_eq!(keys(bytes), expected, "{bytes:?}");
        }
    }
}
