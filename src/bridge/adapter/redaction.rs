//! Keeps secrets out of what an adapter says.

use crate::workspace::Secret;

/// What stands in place of a secret.
const HIDDEN: &str = "***";
/// A secret that is shorter is not replaced: it would be found in ordinary words.
const MIN_SECRET_BYTES: usize = 4;

/// The secrets of an adapter, to find them in texts.
#[derive(Clone, Default)]
pub(super) struct Redaction(Vec<Secret>);

impl Redaction {
    /// Makes it from the secrets that the adapter gets.
    pub(super) fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let mut forms = Vec::new();
        for secret in secrets {
            let text = secret.reveal();
            // As it is written in JSON, and each line of a key in several lines.
            let in_json = serde_json::to_string(text).unwrap_or_default();
            forms.push(in_json.trim_matches('"').to_string());
            forms.extend(text.lines().map(str::to_string));
            forms.push(text.to_string());
        }
        forms.retain(|form| form.len() >= MIN_SECRET_BYTES);
        // One that contains another is replaced as a whole.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Self(forms.into_iter().map(Secret::new).collect())
    }

    /// Returns the text without the secrets.
    pub(super) fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_string(), |text, secret| text.replace(secret.reveal(), HIDDEN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_replaced_and_words_are_not() {
        let redaction = Redaction::new(["token", "token-2", "a"].map(Secret::new));
        assert_eq!(redaction.hide("a bad token-2, not token"), "a bad ***, not ***");
        assert_eq!(Redaction::default().hide("token"), "token");
        let redaction = Redaction::new([Secret::new("first \"line\"\nsecond line")]);
        assert_eq!(redaction.hide("{\"key\":\"first \\\"line\\\"\\nsecond line\"}"), "{\"key\":\"***\"}");
        assert_eq!(redaction.hide("second line"), "***");
    }
}
