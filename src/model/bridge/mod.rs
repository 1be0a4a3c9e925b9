//! The rules of a bridge: when a card of an outside board becomes a task, and what its card tells of the task.
//!
//! - [`generation`] decides which cards become tasks: once for each time that a card is put into a watched queue.
//! - [`place`] decides in which queue a card belongs.
//! - [`news`] decides what its comments say.

pub(crate) mod generation;
pub(crate) mod news;
pub(crate) mod place;
pub(crate) mod record;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::idempotency_key::IdempotencyKey;
use super::json::Object;
use super::limits::MAX_KEY;
use super::names;
use crate::error::{Error, Result, printable};

/// The metadata of a task that names its bridge.
pub(crate) const BRIDGE: &str = "bridge";
/// The metadata of a task that names the board: what its adapter calls itself.
pub(crate) const BOARD: &str = "board";
/// The metadata of a task that names the watched queue in which its card lay.
pub(crate) const BOARD_QUEUE: &str = "board_queue";
/// The metadata of a task with the id of its card.
pub(crate) const CARD: &str = "card";
/// The metadata of a task with the generation of its card.
pub(crate) const GENERATION: &str = "generation";
/// The metadata of a task with the address of its card.
pub(crate) const CARD_URL: &str = "card_url";
/// The type of the event by which an agent asks for its card to be moved; `queue` in its data names the queue.
pub(crate) const CARD_MOVE: &str = "card_move";

/// The longest name of a bridge, in bytes.
const MAX_NAME: usize = 64;

/// Checks the name of a bridge, which is also the name of files.
///
/// # Errors
/// `Invalid` unless it is a short word of letters, digits, `-`, `_` and `.` that begins with a letter or digit.
pub(crate) fn check_bridge_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && name.len() <= MAX_NAME && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(Error::invalid(format!("'{}' cannot be the name of a bridge", printable(name)))
        .with_hint(format!("give a word of at most {MAX_NAME} letters, digits, -, _ and .")))
}

/// Returns the idempotency key of the task of a card in one generation: `bridge:NAME:CARD:GENERATION`, with a hash in
/// place of the last two if they are long or not clearly told apart.
pub(crate) fn card_key(bridge: &str, card: &str, generation: &str) -> IdempotencyKey {
    let plain = format!("bridge:{bridge}:{card}:{generation}");
    let is_clear = !card.contains(':') && !card.is_empty() && names::first_hidden(&plain).is_none();
    if is_clear && plain.len() <= MAX_KEY {
        return IdempotencyKey::stored(plain);
    }
    let hash = Sha256::digest(format!("{card}\0{generation}").as_bytes());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    IdempotencyKey::stored(format!("bridge:{bridge}:{hex}"))
}

/// Returns a text in the metadata of a task.
pub(crate) fn metadata_text<'a>(metadata: &'a Object, key: &str) -> Option<&'a str> {
    metadata.get(key).and_then(Value::as_str)
}

/// Returns the beginning of `text` of at most `max_bytes`, cut between two characters.
pub(crate) fn cut(text: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_bridge_card_and_generation() {
        assert_eq!(card_key("team", "19", "2"), "bridge:team:19:2");
        let time = "2026-11-28T10:00:00.000Z";
        assert_eq!(card_key("team", "19", time), format!("bridge:team:19:{time}").as_str());
        // `19` in the generation `2:3` is not `19:2` in the generation `3`.
        assert_ne!(card_key("team", "19:2", "3"), card_key("team", "19", "2:3"));
        for odd in ["", "a\nb", "a\u{200b}", &"x".repeat(300), "owner/repo:1"] {
            let key = card_key("team", odd, "1");
            assert!(IdempotencyKey::new(key.as_str()).is_ok(), "{odd:?}: {key}");
            assert_ne!(key, card_key("team", odd, "2"));
            assert_ne!(key, card_key("other", odd, "1"));
        }
    }

    #[test]
    fn a_name_of_a_bridge_is_a_word() {
        for good in ["team", "Team-2", "a.b_c", "7"] {
            assert!(check_bridge_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "../x", "a b", "a/b", "-x", "é", &"x".repeat(65)] {
            assert!(check_bridge_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cut_is_between_two_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("aé", 99), "aé");
        assert_eq!(cut("é", 0), "");
    }
}
