//! Reads JSON text in place: finds its members and checks that all of it is valid, without copying.
//!
//! Most of a task.json is not needed by a reader of many tasks. Its members are therefore located first, and only
//! those that are requested are parsed into values.
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

/// The key that serde_json uses for long numbers; it takes any object with this key for a number.
const NUMBER_KEY: &str = "$serde_json::";

/// The text of one valid JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

/// The content of a JSON string, with its escapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawString<'a>(&'a str);

/// Calls `each` with every member of the JSON object `text`, in order; of duplicate keys the last one counts.
/// Returns `None` unless `text` is one complete, strictly valid object. Keys with escapes are refused as well,
/// so that keys can be compared as they are written.
pub fn members<'a>(text: &'a str, mut each: impl FnMut(&'a str, Raw<'a>)) -> Option<()> {
    let mut scanner = Scanner { text, at: 0, lenient: false };
    scanner.space();
    scanner.object(MAX_DEPTH, &mut each)?;
    scanner.end()
}

/// Returns the text of the value that `text` consists of; `None` unless it is one complete value. `NaN`, `Infinity`, lone
/// surrogates and keys with escapes are accepted, since Python writes them.
#[cfg(feature = "cli")]
pub(crate) fn lenient_value(text: &str) -> Option<Raw<'_>> {
    let mut scanner = Scanner::of(text);
    scanner.space();
    let value = scanner.value(MAX_DEPTH)?;
    scanner.end()?;
    Some(value)
}

/// Returns whether a text equals the text of a value except for white space between tokens; it is then
/// valid too.
pub(crate) fn same_text(value: Raw<'_>, text: &str) -> bool {
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

/// Reads a JSON object, including what only Python writes.
///
/// # Errors
/// The reason, if `bytes` is not a JSON object.
pub(crate) fn read_object<T>(bytes: &[u8], read: impl FnOnce(Raw<'_>) -> T) -> Result<T, String> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && members(text, |_, _| {}).is_some()
    {
        return Ok(read(Raw(text.trim_ascii())));
    }
    let object = super::parse_object(bytes)?;
    Ok(read(Raw(&serde_json::to_string(&object).map_err(|error| error.to_string())?)))
}

impl<'a> Raw<'a> {
    /// Wraps the text of a value that is known to be valid, since serde_json or this crate wrote it.
    pub fn from_valid(text: &'a str) -> Self {
        Self(text)
    }

    /// Calls `each` with every member of an object, and returns whether the value is an object. Of duplicate
    /// keys the last one counts.
    pub fn members(self, mut each: impl FnMut(&'a str, Raw<'a>)) -> bool {
        self.scanner().object(MAX_DEPTH, &mut each).is_some()
    }

    /// Calls `each` with every item of an array, and returns whether the value is an array.
    pub fn items(self, mut each: impl FnMut(Raw<'a>)) -> bool {
        self.scanner().array(MAX_DEPTH, &mut each).is_some()
    }

    fn scanner(self) -> Scanner<'a> {
        Scanner::of(self.0)
    }

    /// Returns the JSON text unchanged.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Returns whether the value is `null`.
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// Returns whether the value is an object.
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Returns whether the value is an array.
    pub fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    /// Returns the content of a string.
    pub fn text(self) -> Option<RawString<'a>> {
        self.0.strip_prefix('"')?.strip_suffix('"').map(RawString)
    }

    /// Returns an integer.
    pub fn integer<T: std::str::FromStr>(self) -> Option<T> {
        self.0.parse().ok()
    }

    /// Returns a finite number.
    pub fn float(self) -> Option<f64> {
        let is_number = self.0.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        self.0.parse().ok().filter(|number: &f64| is_number && number.is_finite())
    }

    /// Returns a boolean.
    pub fn boolean(self) -> Option<bool> {
        self.0.parse().ok()
    }

    /// Parses the value and everything inside it.
    pub fn value(self) -> Value {
        // Whatever the scanner accepts can be parsed; a test compares the two.
        super::parse_value(self.0).unwrap_or_default()
    }

    /// Parses an object.
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

impl<'a> RawString<'a> {
    /// Wraps the content of a key.
    pub fn of_key(key: &'a str) -> Self {
        Self(key)
    }

    /// Returns the text with its escapes decoded.
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

    /// Returns whether the decoded text equals `text`.
    pub fn is(self, text: &str) -> bool {
        self.0 == text || (self.0.contains('\\') && self.decode() == text)
    }

    /// Returns whether the text is empty.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// A position in a text that is being scanned.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Whether `NaN`, `Infinity`, lone surrogates and escapes in keys are accepted.
    lenient: bool,
}

impl<'a> Scanner<'a> {
    /// Makes a scanner for text that was validated before, leniently or not.
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

    /// Scans a number or a literal, up to its delimiter.
    fn token(&mut self) -> &'a str {
        let ends = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r' | b',' | b']' | b'}');
        let rest = &self.text.as_bytes()[self.at..];
        let start = self.at;
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
        &self.text[start..self.at]
    }

    fn literal(&mut self, word: &str) -> Option<()> {
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
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ if self.lenient && self.python_number().is_some() => {}
            _ => self.number()?,
        }
        Some(Raw(&self.text[start..self.at]))
    }

    fn python_number(&mut self) -> Option<()> {
        NUMBERS.iter().find_map(|word| self.literal(word))
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

    /// Scans the content of a string, and returns whether it has no escapes.
    fn string(&mut self) -> Option<(&'a str, bool)> {
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut is_plain = true;
        loop {
            self.at += plain_prefix(&bytes[self.at..]);
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
                        let low = self.text.get(self.at..).and_then(escaped_unit);
                        match low.filter(|low| (0xDC00..0xE000).contains(low)) {
                            Some(_) => self.at += 6,
                            None if self.lenient => {}
                            None => return None,
                        }
                    }
                    0xDC00..0xE000 if !self.lenient => return None,
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

/// Returns the number of leading bytes that are neither a quote, a backslash nor a control character. Checks
/// eight bytes at a time, since most of a store is text.
fn plain_prefix(bytes: &[u8]) -> usize {
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
            // Bits above a hit may be false positives; the lowest hit is real.
            return n * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    words.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests;
