//! SHA-256 hashes as the files of the queue contain them.

use serde::Serialize;

use super::text_type::text_type;
use crate::error::{Error, Result};

/// A SHA-256 hash: 64 hex digits. It pins the content of a request or a supporting file.
///
/// A hash from a file of the store is kept as it is, byte for byte, since another implementation may have written
/// something else there; such a text equals the hash of no content.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Sha256(String);

text_type!(Sha256);

impl Sha256 {
    /// Parses 64 hex digits.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for any other text.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let hash = Self(text.into());
        if hash.is_valid() { Ok(hash) } else { Err(Error::invalid("a SHA-256 is not 64 hex digits")) }
    }

    /// Makes the text of a hash that was just computed.
    pub(crate) fn computed(bytes: [u8; 32]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
        Self(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
    }

    /// Returns whether this is a hash; a text from a file may be something else.
    pub(crate) fn is_valid(&self) -> bool {
        self.0.len() == 64 && self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_hex_digits_are_a_hash() {
        assert!(Sha256::new("0123456789abcdef".repeat(4)).is_ok());
        assert!(Sha256::new("A".repeat(64)).is_ok());
        for text in ["", "ab", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64), &"ä".repeat(32)] {
            assert!(Sha256::new(text).is_err(), "{text}");
            assert_eq!(Sha256::stored(text), *text);
        }
        let mut bytes = [0; 32];
        (bytes[0], bytes[31]) = (0x0f, 0xa1);
        assert_eq!(Sha256::computed(bytes), format!("0f{}a1", "0".repeat(60)).as_str());
    }
}
