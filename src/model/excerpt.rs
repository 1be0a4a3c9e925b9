//! Texts of others that a prompt or a reply repeats: cut in the middle where they are long.

/// Maximum size of all repeated answers together, in bytes.
pub(crate) const MAX_ANSWERS_BYTES: usize = 192 * 1024;
/// Maximum size of one repeated answer, in bytes; a longer one is cut in the middle.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Returns `text`, or its beginning and end around a note about the omitted part if it exceeds `limit` bytes.
pub(crate) fn head_and_tail(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_string();
    }
    let head = (0..=limit / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let from = text.len() - limit / 2;
    let tail = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    format!("{}\n[… {} bytes left out …]\n{}", &text[..head], tail - head, &text[tail..])
}
