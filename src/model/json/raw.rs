//! Reads JSON text in place: finds its members and checks that all of it is valid, without copying.
//!
//! A task.json is mostly text that a reader of many tasks does not need. So its members are found first, and only
//! those that are asked for become values.
//!
//! serde_json's `RawValue` is no drop-in replacement. It is as fast: 5 to 16 µs for a task.json of tests/frozen either
//! way, where a `Value` takes 32 to 112 µs. But of 198,792 mutated texts it accepted 97 that this reader refuses, and
//! none the other way round: lone surrogates such as `\ud800`, values nested 127 levels deep and more (it skips values
//! without counting), nested keys written with escapes, and keys that begin with `$serde_json::`. A task read by it
//! could be one that serde_json cannot parse.

use std::borrow::Cow;

use serde_json::Value;

use super::{NUMBERS, Object, escaped_unit};

/// The deepest nesting of values, the same as serde_json's.
const MAX_DEPTH: u32 = 127;

/// serde_json keeps long numbers in objects of this key and takes the key for one wherever it stands.
const NUMBER_KEY: &str = "$serde_json::";

/// The text of one valid JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

/// The inside of a JSON string, escapes and all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawText<'a>(&'a str);

/// Calls `each` with every member of the JSON object `text`, in their order; the last one counts of a key that
/// occurs twice. `None` for anything but one whole, strictly valid object. Keys with
/// escapes are refused as well, so that a key is what it looks like.
pub fn members<'a>(text: &'a str, mut each: impl FnMut(&'a str, Raw<'a>)) -> Option<()> {
    let mut scanner = Scanner { text, at: 0, lenient: false };
    scanner.space();
    scanner.object(MAX_DEPTH, &mut each)?;
    scanner.end()
}

/// Whether a text is written as a value is, apart from the white space between its parts; then it is
/// as valid as that.
pub fn same_text(value: Raw<'_>, text: &str) -> bool {
    let (mut a, mut b) = (Scanner::of(value.0), Scanner::of(text));
    loop {
        a.space();
        b.space();
        match (a.peek(), b.peek()) {
            (None, None) => return true,
            (Some(b'"'), Some(b'"')) if a.string().is_some_and(|string| b.string() == Some(string)) => {}
            (Some(x), Some(y)) if x == y && b"{}[],:".contains(&x) => {
                a.at += 1;
                b.at += 1;
            }
            (Some(x), Some(y)) if x == y && x != b'"' && a.token() == b.token() => {}
            _ => return false,
        }
    }
}

/// Reads a JSON object, also one as Python writes it; the error tells why it is none.
pub fn read_object<T>(bytes: &[u8], read: impl FnOnce(Raw<'_>) -> T) -> Result<T, String> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && members(text, |_, _| {}).is_some()
    {
        return Ok(read(Raw(text.trim_ascii())));
    }
    let object = super::parse_object(bytes)?;
    Ok(read(Raw(&serde_json::to_string(&object).map_err(|error| error.to_string())?)))
}

impl<'a> Raw<'a> {
    /// The text of a value that serde_json or a function of this module wrote.
    pub fn ours(text: &'a str) -> Self {
        Self(text)
    }

    /// Shows each member of a value that is an object, and says whether it is one. Of a key that
    /// stands twice, the last one counts.
    pub fn members(self, mut each: impl FnMut(&'a str, Raw<'a>)) -> bool {
        self.scanner().object(MAX_DEPTH, &mut each).is_some()
    }

    /// Shows each item of a value that is an array, and says whether it is one.
    pub fn items(self, mut each: impl FnMut(Raw<'a>)) -> bool {
        self.scanner().array(MAX_DEPTH, &mut each).is_some()
    }

    fn scanner(self) -> Scanner<'a> {
        Scanner::of(self.0)
    }

    /// The text as it stands.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Whether it is an array.
    pub fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    /// The inside of a string.
    pub fn text(self) -> Option<RawText<'a>> {
        self.0.strip_prefix('"')?.strip_suffix('"').map(RawText)
    }

    /// A whole number.
    pub fn integer<T: std::str::FromStr>(self) -> Option<T> {
        self.0.parse().ok()
    }

    /// A finite number.
    pub fn float(self) -> Option<f64> {
        let is_number = self.0.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        self.0.parse().ok().filter(|number: &f64| is_number && number.is_finite())
    }

    /// `true` or `false`.
    pub fn boolean(self) -> Option<bool> {
        self.0.parse().ok()
    }

    /// The value with all that is in it.
    pub fn value(self) -> Value {
        // Whatever the scanner lets pass can be parsed; a test compares the two.
        super::parse_value(self.0).unwrap_or_default()
    }

    /// The members of a value that is an object.
    pub fn object(self) -> Option<Object> {
        match self.0 {
            "{}" => Some(Object::new()),
            text if text.starts_with('{') => match self.value() {
                Value::Object(object) => Some(object),
                _ => None,
            },
            _ => None,
        }
    }
}

impl<'a> RawText<'a> {
    /// The inside of a key.
    pub fn of_key(key: &'a str) -> Self {
        Self(key)
    }

    /// The text that is meant.
    pub fn decode(self) -> Cow<'a, str> {
        let Some(mut at) = self.0.find('\\') else { return Cow::Borrowed(self.0) };
        let mut out = String::with_capacity(self.0.len());
        let mut rest = self.0;
        loop {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let length = match rest.as_bytes().get(1).copied() {
                Some(b'u') => {
                    let high = escaped_unit(rest).unwrap_or(0xFFFD);
                    let low =
                        rest.get(6..).and_then(escaped_unit).filter(|low| (0xDC00..0xE000).contains(low));
                    let (unit, length) = match (high, low) {
                        (0xD800..0xDC00, Some(low)) => {
                            (0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00), 12)
                        }
                        _ => (high, 6),
                    };
                    out.push(char::from_u32(unit).unwrap_or('\u{FFFD}'));
                    length
                }
                Some(escape) => {
                    out.push(match escape {
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'n' => '\n',
                        b'r' => '\r',
                        b't' => '\t',
                        other => char::from(other),
                    });
                    2
                }
                None => 1,
            };
            rest = rest.get(length..).unwrap_or_default();
            match rest.find('\\') {
                Some(next) => at = next,
                None => {
                    out.push_str(rest);
                    return Cow::Owned(out);
                }
            }
        }
    }

    /// Whether it means the same as `text`.
    pub fn is(self, text: &str) -> bool {
        self.0 == text || (self.0.contains('\\') && self.decode() == text)
    }

    /// Whether it means nothing.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// A reader's place in a text.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Whether Python's words for numbers and escapes in keys are let pass.
    lenient: bool,
}

impl<'a> Scanner<'a> {
    /// For text that was found to be valid before, with whatever words were let pass.
    fn of(text: &'a str) -> Self {
        Self { text, at: 0, lenient: true }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// A number or a word, up to what ends one.
    fn token(&mut self) -> &'a str {
        let ends = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r' | b',' | b']' | b'}');
        let rest = &self.text.as_bytes()[self.at..];
        let start = self.at;
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
        &self.text[start..self.at]
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text.as_bytes()[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn end(&mut self) -> Option<()> {
        self.space();
        self.peek().is_none().then_some(())
    }

    fn value(&mut self, depth: u32) -> Option<Raw<'a>> {
        let start = self.at;
        match self.peek()? {
            b'"' => drop(self.string()?),
            b'{' => self.object(depth, &mut |_, _| {})?,
            b'[' => self.array(depth, &mut |_| {})?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ if self.lenient && self.number_word().is_some() => {}
            _ => self.number()?,
        }
        Some(Raw(&self.text[start..self.at]))
    }

    fn number_word(&mut self) -> Option<()> {
        NUMBERS.iter().find_map(|word| self.word(word))
    }

    fn object(&mut self, depth: u32, each: &mut dyn FnMut(&'a str, Raw<'a>)) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.expect(b'{')?;
        self.space();
        if self.expect(b'}').is_some() {
            return Some(());
        }
        loop {
            let (key, is_plain) = self.string()?;
            let is_odd = !is_plain || (key.starts_with('$') && key.starts_with(NUMBER_KEY));
            if is_odd && !self.lenient {
                return None;
            }
            self.space();
            self.expect(b':')?;
            self.space();
            each(key, self.value(depth)?);
            self.space();
            if self.expect(b'}').is_some() {
                return Some(());
            }
            self.expect(b',')?;
            self.space();
        }
    }

    fn array(&mut self, depth: u32, each: &mut dyn FnMut(Raw<'a>)) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.expect(b'[')?;
        self.space();
        if self.expect(b']').is_some() {
            return Some(());
        }
        loop {
            each(self.value(depth)?);
            self.space();
            if self.expect(b']').is_some() {
                return Some(());
            }
            self.expect(b',')?;
            self.space();
        }
    }

    /// The inside of a string, and whether it has no escapes.
    fn string(&mut self) -> Option<(&'a str, bool)> {
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut is_plain = true;
        loop {
            self.at += plain(&bytes[self.at..]);
            match bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some((&self.text[start..self.at - 1], is_plain));
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
            is_plain = false;
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.text.as_bytes().get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
            b'u' => {
                let unit = escaped_unit(self.text.get(self.at..)?)?;
                self.at += 6;
                match unit {
                    0xD800..0xDC00 => {
                        escaped_unit(self.text.get(self.at..)?)
                            .filter(|low| (0xDC00..0xE000).contains(low))?;
                        self.at += 6;
                    }
                    0xDC00..0xE000 => return None,
                    _ => {}
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let _ = self.expect(b'-');
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits()?,
            _ => return None,
        }
        if self.expect(b'.').is_some() {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

/// How many bytes at the head of a string mean themselves: no quote, no backslash, no control
/// character. Eight at a time, since most of a store is text.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (words, rest) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let special =
            control | zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if special != 0 {
            // What lies above a hit may be wrong, the lowest hit is one.
            return n * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    words.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests;
